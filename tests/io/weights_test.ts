import { beforeEach, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { saveCheckpoint } from "../../src/io/checkpoint.ts";
import { floats, type HostTensors, writeSafetensors } from "../../src/io/safetensors.ts";
import { checkWeights, loadClassifier, loadDenoiser } from "../../src/io/weights.ts";
import { classifier } from "../../src/network/classifier.ts";
import type { Parameters } from "../../src/network/layer.ts";
import type { ImageModelConfig } from "../../src/network/model.ts";
import { unet } from "../../src/network/unet.ts";
import { useBackend } from "../../src/tensor/backend.ts";
import { fold, key } from "../../src/tensor/key.ts";
import { normal, normals } from "../../src/tensor/random.ts";

const config: ImageModelConfig = {
  schedule: { name: "linear", options: { steps: 100 } },
  kind: "v",
  network: {
    size: [4, 4],
    channels: 1,
    base: 16,
    multipliers: [1],
    blocks: 1,
    middleAttention: false,
    classes: 2,
  },
  classes: ["bag", "boot"],
};

const judge = { size: [4, 4], classes: 2, base: 8, features: 4, names: ["bag", "boot"] } as const;

/** Weights under a key, so that two files can hold different ones. */
function weightsOf(parameters: Parameters, seed: number): HostTensors {
  return Object.fromEntries(
    Object.entries(parameters).map(([name, { shape }]) => {
      const data = normals(fold(key(seed), name), shape.reduce((a, b) => a * b, 1));
      return [name, { dtype: "F32", shape, data }];
    }),
  );
}

const denoiser = (seed: number = 1): HostTensors =>
  weightsOf(unet(config.network).parameters, seed);

/** A file in a folder that is gone afterwards. */
async function within<A>(use: (path: string) => Promise<A>): Promise<A> {
  const folder = await Deno.makeTempDir();
  try {
    return await use(`${folder}/w.safetensors`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const written = (path: string, tensors: HostTensors, model: unknown, task = "denoise") =>
  writeSafetensors(path, tensors, { format: `tweedie.${task}`, model: JSON.stringify(model) });

const plan = (task: string, model: unknown) => ({ plan: { target: { task, model } } });

const disposed = (params: Readonly<Record<string, tf.Tensor>>) => tf.dispose(Object.values(params));

beforeEach(async () => await useBackend("cpu"));

describe("loadDenoiser()", () => {
  it("loadDenoiser() gives the model of its weights and description, which predicts", async () => {
    await within(async (path) => {
      await written(path, denoiser(), config);
      const before = tf.memory().numTensors,
        { model, config: got, params } = await loadDenoiser(path);
      assert.deepEqual(got, config);
      assert.deepEqual(model.schedule.span, [0, 100]);
      for (const [name, { data }] of Object.entries(denoiser())) {
        assert.deepEqual(await params[name]!.data(), data, name);
      }
      const x = normal(key(2), [2, 4, 4, 1]);
      const network = unet(config.network);
      const wanted = network.apply(params, x, [300, 300], [1, null]);
      const got2 = await model.given!([1, null]).predict(x, 30);
      assert.ok(got2.kind === "v");
      assert.deepEqual(await got2.value.data(), await wanted.data());
      tf.dispose([x, wanted, got2.value]);
      disposed(params);
      assert.equal(tf.memory().numTensors, before);
    });
  });

  it("loadDenoiser() takes the moving average of a checkpoint", async () => {
    await within(async (path) => {
      const groups = { model: denoiser(1), ema: denoiser(2), "adam.mean": denoiser(3) };
      await saveCheckpoint(path, { groups, meta: { ...plan("denoise", config), step: 7 } });
      const { params, config: got } = await loadDenoiser(path);
      assert.deepEqual(got, config);
      for (const [name, { data }] of Object.entries(groups.ema)) {
        assert.deepEqual(await params[name]!.data(), data, name);
      }
      disposed(params);
    });
  });

  it("loadDenoiser() widens float16 to float32", async () => {
    await within(async (path) => {
      await writeSafetensors(path, denoiser(), {
        format: "tweedie.denoise",
        model: JSON.stringify(config),
      }, { dtype: "F16" });
      const { params } = await loadDenoiser(path);
      const [name, tensor] = Object.entries(denoiser())[0]!;
      const data = new Float16Array(floats(tensor));
      assert.equal(params[name]!.dtype, "float32");
      assert.deepEqual(await params[name]!.data(), new Float32Array(data));
      disposed(params);
    });
  });
});

describe("loadClassifier()", () => {
  it("loadClassifier() gives the network, from weights and from a checkpoint", async () => {
    const weights = weightsOf(classifier(judge).parameters, 4);
    await within(async (path) => {
      for (
        const write of [
          () => written(path, weights, judge, "classify"),
          () => saveCheckpoint(path, { groups: { ema: weights }, meta: plan("classify", judge) }),
        ]
      ) {
        await write();
        const { network, config: got, params } = await loadClassifier(path);
        assert.deepEqual(got, judge);
        const x = normal(key(2), [3, 4, 4, 1]), logits = network.apply(params, x);
        assert.deepEqual(logits.shape, [3, 2]);
        assert.deepEqual(
          await params["logits.weight"]!.data(),
          weights["logits.weight"]!.data,
        );
        tf.dispose([x, logits]);
        disposed(params);
      }
    });
  });

  it("loadClassifier() refuses a denoiser, and loadDenoiser() a classifier, as weights or as a checkpoint", async () => {
    await within(async (path) => {
      await written(path, denoiser(), config);
      await assert.rejects(loadClassifier(path), {
        name: "SyntaxError",
        message: `Cannot load ${path}: its format must be tweedie.classify, got tweedie.denoise`,
      });
      await saveCheckpoint(path, { groups: { ema: denoiser() }, meta: plan("denoise", config) });
      await assert.rejects(loadClassifier(path), /its task must be classify, got denoise$/);
      await saveCheckpoint(path, { groups: {}, meta: plan("classify", judge) });
      await assert.rejects(loadDenoiser(path), /its task must be denoise, got classify$/);
      await saveCheckpoint(path, { groups: {}, meta: { step: 1 } });
      await assert.rejects(loadDenoiser(path), /its task must be denoise, got none$/);
    });
  });
});

describe("the readers of weights", () => {
  /** Refused as the file's fault, on one line, with its path, and without a tensor left. */
  async function refused(
    load: (path: string) => Promise<unknown>,
    write: (path: string) => Promise<unknown>,
    message: RegExp,
    name: string = "SyntaxError",
  ): Promise<void> {
    await within(async (path) => {
      await write(path);
      const before = tf.memory().numTensors, error = await load(path).then(() => null, (e) => e);
      assert.ok(error instanceof Error, `${message}`);
      assert.match(error.message, message);
      assert.match(error.message, /^Cannot [^\n]*[^\n.]$/);
      assert.ok(error.message.includes(path), error.message);
      assert.equal(error.name, name, error.message);
      assert.equal(tf.memory().numTensors, before);
    });
  }

  it("loadDenoiser() says why a file cannot be read", async () => {
    const nothing = () => Promise.resolve();
    await refused(
      loadDenoiser,
      nothing,
      /must be a file that can be read, got NotFound: /,
      "Error",
    );
    await refused(
      loadDenoiser,
      (path) => Deno.mkdir(path),
      /can be read, got \w+: .*irectory/,
      "Error",
    );
    await refused(loadDenoiser, (path) => Deno.writeTextFile(path, ""), /at least 8 bytes, got 0/);
  });

  it("loadDenoiser() refuses descriptions that are none, or are not of what they say", async () => {
    const { network } = config;
    const cases: readonly (readonly [model: unknown, message: RegExp])[] = [
      [undefined, /description must be JSON, got none/],
      [null, /description must be an object, got null/],
      [[], /description must be an object, got \[\]/],
      [{}, /network must be an object, got none/],
      [{ ...config, network: 3 }, /network must be an object, got 3/],
      [{ ...config, schedule: "linear" }, /schedule must be an object, got linear/],
      [
        { ...config, schedule: { name: "toString" } },
        /schedule: name must be one of .* got toString/,
      ],
      [{ ...config, schedule: { name: "linear", options: { steps: -1 } } }, /one that fails: .*-1/],
      [{ ...config, kind: "noise" }, /kind must be one of eps, x0, v, flow, score, got noise/],
      [{ ...config, classes: 2 }, /classes must be a list of names, got 2/],
      [{ ...config, classes: ["bag", 1] }, /classes must be a list of names/],
      [{ ...config, classes: ["bag"] }, /list of class names must be of length 2, got 1/],
      [{ ...config, network: { ...network, size: [4] } }, /size must be two whole numbers/],
      [{ ...config, network: { ...network, size: [4, 0] } }, /size must be .* got \[4,0\]/],
      [{ ...config, network: { ...network, size: [5, 4], patch: 2 } }, /one that fails: .*5/],
      [{ ...config, network: { ...network, channels: 2 } }, /channels must be 1 or 3, got 2/],
      [
        { ...config, network: { ...network, base: 1.5 } },
        /base must be a whole number .* got 1\.5/,
      ],
      [{ ...config, network: { ...network, multipliers: [] } }, /multipliers must be .* got \[\]/],
      [{ ...config, network: { ...network, blocks: 1e9 } }, /blocks must be .* got 1000000000/],
      [{ ...config, network: { ...network, attention: "no" } }, /attention must be .* got no/],
      [
        { ...config, network: { ...network, middleAttention: 0 } },
        /middleAttention must be true or/,
      ],
      [{ ...config, network: { ...network, groups: 7 } }, /one that fails: .* got 7/],
      [{ ...config, network: { ...network, classes: -1 } }, /classes must be a whole number .* -1/],
    ];
    for (const [model, message] of cases) {
      await refused(loadDenoiser, (path) =>
        writeSafetensors(path, denoiser(), {
          format: "tweedie.denoise",
          ...(model === undefined ? {} : { model: JSON.stringify(model) }),
        }), message);
    }
  });

  it("loadClassifier() refuses descriptions that are not of a classifier", async () => {
    const weights = weightsOf(classifier(judge).parameters, 4);
    const cases: readonly (readonly [model: unknown, message: RegExp])[] = [
      [{ ...judge, size: 4 }, /size must be two whole numbers/],
      [{ ...judge, size: [4, 6] }, /one that fails: .*6/],
      [{ ...judge, classes: 0 }, /classes must be a whole number of at least 1, got 0/],
      [{ ...judge, names: ["bag"] }, /names must be of length 2, got 1/],
      [{ ...judge, features: "x" }, /features must be .* got x/],
    ];
    for (const [model, message] of cases) {
      await refused(loadClassifier, (path) => written(path, weights, model, "classify"), message);
    }
  });

  it("loadDenoiser() refuses tensors that are not those of the network, with the names", async () => {
    const { "in.bias": bias, ...rest } = denoiser();
    const broken: readonly (readonly [HostTensors, RegExp])[] = [
      [rest, /\d+ tensors, got 1 missing \(in\.bias\)$/],
      [{ ...denoiser(), more: bias! }, /got 1 unexpected \(more\)$/],
      [
        { ...rest, "in.bias": { dtype: "F32", shape: [2, 8], data: new Float32Array(16) } },
        /1 of another shape \(in\.bias \[16\], got \[2,8\]\)$/,
      ],
      [
        { ...rest, "in.bias": { dtype: "I32", shape: [16], data: new Int32Array(16) } },
        /tensor in\.bias must be finite floats, got I32$/,
      ],
      ...[NaN, Infinity].map((value) =>
        [
          {
            ...rest,
            "in.bias": { dtype: "F32", shape: [16], data: new Float32Array(16).fill(value, 9) },
          },
          new RegExp(`tensor in\\.bias must be finite floats, got ${value}$`),
        ] as const
      ),
    ];
    for (const [tensors, message] of broken) {
      await refused(loadDenoiser, (path) => written(path, tensors, config), message, "RangeError");
    }
  });
});

describe("checkWeights()", () => {
  it("checkWeights() takes every float type, and wants all of them finite", () => {
    const w = { shape: [1] }, path = "w";
    checkWeights({ w: { dtype: "F16", shape: [1], data: new Float16Array([1]) } }, { w }, path);
    checkWeights({ w: { dtype: "F64", shape: [1], data: new Float64Array([1]) } }, { w }, path);
    checkWeights(
      { w: { dtype: "BF16", shape: [1], data: new Uint16Array([0x3fc0]) } },
      { w },
      path,
    );
    const infinite = { dtype: "BF16", shape: [1], data: new Uint16Array([0x7f80]) } as const;
    assert.throws(() => checkWeights({ w: infinite }, { w }, path), /finite floats, got Infinity/);
  });
});
