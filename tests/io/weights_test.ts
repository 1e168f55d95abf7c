import { beforeEach, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import * as tf from "@tensorflow/tfjs-core";
import { saveCheckpoint } from "../../src/io/checkpoint.ts";
import { toTensors } from "../../src/io/tensors/device.ts";
import {
  floats,
  type HostTensors,
  readSafetensors,
  writeSafetensors,
} from "../../src/io/safetensors.ts";
import {
  saveClassifier,
  saveDenoiser,
  saveEnergy,
  saveNoisyClassifier,
  type SaveOptions,
} from "../../src/io/model/save.ts";
import {
  checkWeights,
  loadClassifier,
  loadDenoiser,
  loadEnergy,
  loadNoisyClassifier,
} from "../../src/io/weights.ts";
import { classifier, timedClassifier } from "../../src/network/classifier.ts";
import { energyMlp, energyNet } from "../../src/network/energy.ts";
import type { Parameters, Params } from "../../src/network/layer/parameter.ts";
import type { EngineOptions, ImageModelConfig } from "../../src/network/model.ts";
import { scheduleOf } from "../../src/noise/named.ts";
import { unet } from "../../src/network/unet.ts";
import { subVp, ve } from "../../src/noise/schedule/continuous.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { fold, key } from "../../src/tensor/key.ts";
import { normal, normals } from "../../src/tensor/random.ts";
import { batches } from "../../src/data/batches.ts";
import { diffusionLoss } from "../../src/train/diffusion.ts";
import { newTraining } from "../../src/train/loop/state.ts";
import { train } from "../../src/train/loop/train.ts";
import { live } from "../measure.ts";

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

const guide = { ...judge, schedule: { name: "subVp", options: { betaMax: 5 } } } as const;

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
      const before = live(),
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
      assert.equal(live(), before);
    });
  });

  it("loadDenoiser() reads bytes as it reads a file of them, and says so of what is damaged", async () => {
    await within(async (path) => {
      await written(path, denoiser(), config);
      const bytes = await Deno.readFile(path), { params, config: got } = await loadDenoiser(bytes);
      assert.deepEqual(got, config);
      for (const [name, { data }] of Object.entries(denoiser())) {
        assert.deepEqual(await params[name]!.data(), data, name);
      }
      disposed(params);
      await assert.rejects(loadDenoiser(bytes.subarray(0, -1)), {
        name: "SyntaxError",
        message: /data must be \d+ bytes, got \d+, in the bytes$/,
      });
      await assert.rejects(loadDenoiser(new Uint8Array()), { name: "SyntaxError" });
      await assert.rejects(loadClassifier(bytes), /^SyntaxError: Cannot load the bytes: /);
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

describe("loadEnergy()", () => {
  const faces = { size: [4, 4], base: 8, classes: 2, names: ["sad", "glad"] } as const;
  const points = { dimension: 2, layers: 1, reference: 3, architecture: "energyMlp" } as const;

  it("loadEnergy() gives the energy that was saved, from weights and from a checkpoint", async () => {
    const described = [[faces, energyNet(faces)], [points, energyMlp(points)]] as const;
    await within(async (path) => {
      for (const [config, network] of described) {
        const params = weightsOf(network.parameters, 4);
        const x = normal(key(2), [3, ...network.sample]),
          label = tf.tensor2d([[1, 0], [0, 1], [0, 1]]);
        for (
          const write of [
            () => saveEnergy(path, { config, params }),
            () => saveCheckpoint(path, { groups: { ema: params }, meta: plan("energy", config) }),
          ]
        ) {
          await write();
          const found = await loadEnergy(path), wanted = network.apply(found.params, x);
          assert.deepEqual(found.config, config);
          assert.deepEqual(
            await found.params["energy.weight"]!.data(),
            params["energy.weight"]!.data,
          );
          assert.deepEqual(await found.energy(x).data(), await wanted.data());
          if (network.classes === 2) {
            assert.deepEqual(
              await found.network.apply(found.params, x, label).data(),
              await network.apply(found.params, x, label).data(),
            );
          }
          disposed(found.params);
        }
      }
    });
  });

  it("saveEnergy() refuses what loadEnergy() would", async () => {
    const params = weightsOf(energyNet(faces).parameters, 4);
    const wrong: readonly [object, RegExp][] = [
      [{ ...faces, size: [5, 4] }, /must describe a network, got one that fails: .*multiples of 4/],
      [{ ...faces, names: ["sad"] }, /list of class names must be of length 2, got 1/],
      [{ ...faces, reference: 0 }, /its reference must be positive and finite, got 0/],
      [
        { ...faces, architecture: "unet" },
        /architecture must be one of energyNet, energyMlp, got unet/,
      ],
      [{ ...faces, base: 16 }, /conv.0/],
    ];
    await within(async (path) => {
      for (const [config, message] of wrong) {
        await assert.rejects(saveEnergy(path, { config, params }), { message });
      }
      const lost = {
        ...params,
        "energy.bias": { dtype: "F32", shape: [2], data: Float32Array.of(1, NaN) },
      } as const;
      await assert.rejects(
        saveEnergy(path, { config: faces, params: lost }),
        /energy.bias must be finite floats, got NaN/,
      );
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
      const isDenoiser = ": a denoiser, which loadDenoiser reads";
      const isClassifier = ": a classifier of clean images, which loadClassifier reads";
      await written(path, denoiser(), config);
      await assert.rejects(loadClassifier(path), {
        name: "SyntaxError",
        message:
          `Cannot load ${path}: its format must be tweedie.classify, got tweedie.denoise${isDenoiser}`,
      });
      await saveCheckpoint(path, { groups: { ema: denoiser() }, meta: plan("denoise", config) });
      await assert.rejects(
        loadClassifier(path),
        (error: Error) =>
          error.message.endsWith(`its task must be classify, got denoise${isDenoiser}`),
      );
      await saveCheckpoint(path, { groups: {}, meta: plan("classify", judge) });
      await assert.rejects(
        loadDenoiser(path),
        (error: Error) =>
          error.message.endsWith(`its task must be denoise, got classify${isClassifier}`),
      );
      await saveCheckpoint(path, { groups: {}, meta: { step: 1 } });
      await assert.rejects(
        loadDenoiser(path),
        /its task must be denoise, got none: a checkpoint of something else, which loadCheckpoint reads$/,
      );
    });
  });
});

describe("loadClassifier() of the shipped weights", () => {
  it("loadClassifier() gives the shipped classifier's logits, which are those of before there were noisy ones", async () => {
    const path = new URL(
      "../../examples/weights/fashion-mnist-classifier.safetensors",
      import.meta.url,
    );
    const { network, params, config } = await loadClassifier(fileURLToPath(path));
    const x = normal(key(3), [1, 28, 28, 1]), logits = network.apply(params, x);
    assert.deepEqual(Object.keys(config).sort(), ["channels", "classes", "names", "size"]);
    assert.deepEqual([...await logits.data()].map((v) => v.toFixed(4)), [
      ...["-0.1019", "0.4743", "-0.7510", "-0.1821", "-0.0355"],
      ...["1.7890", "2.4398", "-4.1682", "2.7749", "-3.9759"],
    ]);
    tf.dispose([x, logits]);
    disposed(params);
  });
});

describe("loadNoisyClassifier()", () => {
  const weights = weightsOf(timedClassifier(guide).parameters, 5);
  const writes = [
    (path: string) => written(path, weights, guide, "classify"),
    (path: string) =>
      saveCheckpoint(path, { groups: { ema: weights }, meta: plan("classify", guide) }),
  ];

  it("loadNoisyClassifier() gives the classifier of its weights and schedule, from weights and from a checkpoint", async () => {
    await within(async (path) => {
      for (const write of writes) {
        await write(path);
        const before = live(), loaded = await loadNoisyClassifier(path);
        const { classifier, schedule, network, config: got, params } = loaded;
        assert.deepEqual(got, guide);
        assert.deepEqual(schedule.at(0.3), subVp({ betaMax: 5 }).at(0.3));
        for (const [name, { data }] of Object.entries(weights)) {
          assert.deepEqual(await params[name]!.data(), data, name);
        }
        const x = normal(key(2), [2, 4, 4, 1]), { alpha, sigma } = schedule.at(0.3);
        const shown = tf.div(x, Math.hypot(alpha, sigma));
        const wanted = network.apply(params, shown, [300, 300]), logits = classifier(x, 0.3);
        assert.deepEqual(logits.shape, [2, 2]);
        assert.deepEqual(await logits.data(), await wanted.data());
        tf.dispose([x, shown, wanted, logits]);
        disposed(params);
        assert.equal(live(), before);
      }
    });
  });

  it("loadNoisyClassifier() under another schedule is asked at that one's times", async () => {
    await within(async (path) => {
      await writes[0]!(path);
      const under = ve(), own = await loadNoisyClassifier(path);
      const other = await loadNoisyClassifier(path, { under });
      const { alpha, sigma } = own.schedule.at(0.5), t = under.timeOf(2 * Math.log(alpha / sigma));
      const x = normal(key(2), [2, 4, 4, 1]), wide = tf.div(x, alpha);
      const [wanted, got] = [own.classifier(x, 0.5), other.classifier(wide, t)];
      const [a, b] = [await wanted.data(), await got.data()];
      assert.ok(a.every((value, i) => Math.abs(value - b[i]!) < 1e-4), `${b} instead of ${a}`);
      tf.dispose([x, wide, wanted, got]);
      disposed(own.params);
      disposed(other.params);
    });
  });

  it("loadNoisyClassifier() refuses a classifier of clean images, and loadClassifier() one of noisy ones", async () => {
    await within(async (path) => {
      for (const write of writes) {
        await write(path);
        await assert.rejects(loadClassifier(path), {
          name: "SyntaxError",
          message:
            `Cannot load ${path}: its schedule must be none, got {"name":"subVp","options":{"betaMax":5}}: ` +
            `a classifier of noisy images, which loadNoisyClassifier reads`,
        });
      }
      await written(path, weightsOf(classifier(judge).parameters, 4), judge, "classify");
      await assert.rejects(loadNoisyClassifier(path), {
        name: "SyntaxError",
        message: `Cannot load ${path}: its schedule must be an object, got none: ` +
          `a classifier of clean images, which loadClassifier reads`,
      });
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
      const before = live(), error = await load(path).then(() => null, (e) => e);
      assert.ok(error instanceof Error, `${message}`);
      assert.match(error.message, message);
      assert.match(error.message, /^Cannot [^\n]*[^\n.]$/);
      assert.ok(error.message.includes(path), error.message);
      assert.equal(error.name, name, error.message);
      assert.equal(live(), before);
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
    await assert.rejects(loadDenoiser("/dev/zero"), {
      name: "Error",
      message: "Cannot load /dev/zero: it must be a file that can be read, got TypeError: " +
        "Cannot read /dev/zero: path must be that of a file, got a device or a pipe",
    });
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
      [
        { ...config, schedule: { name: "linear", options: { steps: 1e9 } } },
        /its schedule must be of at most 1000000 steps, got 1000000000$/,
      ],
      [{ ...config, kind: "noise" }, /kind must be one of eps, x0, v, flow, score, got noise/],
      [{ ...config, classes: 2 }, /classes must be a list of names, got 2/],
      [{ ...config, classes: ["bag", 1] }, /classes must be a list of names/],
      [{ ...config, classes: ["bag"] }, /list of class names must be of length 2, got 1/],
      [{ ...config, network: { ...network, size: [4] } }, /size must be two whole numbers/],
      [{ ...config, network: { ...network, size: [4, 0] } }, /size must be .* got \[4,0\]/],
      [{ ...config, network: { ...network, size: [5, 4], patch: 2 } }, /one that fails: .*5/],
      [{ ...config, network: { ...network, channels: 2 } }, /channels must be 1 or 3, got 2/],
      [
        { ...config, network: { ...network, channels: 2, base: 0 } },
        /: its channels must be 1 or 3, got 2; its base must be a whole number .*, got 0$/,
      ],
      [
        { ...config, network: { ...network, base: 1.5 } },
        /base must be a whole number .* got 1\.5/,
      ],
      [{ ...config, network: { ...network, multipliers: [] } }, /multipliers must be .* got \[\]/],
      [{ ...config, network: { ...network, blocks: 1e9 } }, /blocks must be .* got 1000000000/],
      [
        { ...config, network: { ...network, multipliers: Array(30).fill(1), blocks: 2 } },
        /blocks must be at most 1 on each of 30 levels, for 55 tensors, got 2$/,
      ],
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

  it("loadNoisyClassifier() refuses descriptions and tensors that are not of a classifier of noisy images", async () => {
    const weights = weightsOf(timedClassifier(guide).parameters, 4);
    const cases: readonly (readonly [model: unknown, message: RegExp])[] = [
      [{ ...guide, size: [4, 6] }, /one that fails: .*6/],
      [{ ...guide, names: ["bag"] }, /names must be of length 2, got 1/],
      [{ ...guide, schedule: "linear" }, /schedule must be an object, got linear/],
      [
        { ...guide, schedule: { name: "straight" } },
        /one that fails: .*name must be .* got straight/,
      ],
      [
        { ...guide, schedule: { name: "linear", options: { steps: 0 } } },
        /one that fails: .* got 0/,
      ],
    ];
    for (const [model, message] of cases) {
      await refused(
        loadNoisyClassifier,
        (path) => written(path, weights, model, "classify"),
        message,
      );
    }
    await refused(
      loadNoisyClassifier,
      (path) => written(path, weightsOf(classifier(judge).parameters, 4), guide, "classify"),
      /got 10 missing \(time\.0\.weight, time\.0\.bias, /,
      "RangeError",
    );
    await refused(
      loadNoisyClassifier,
      (path) => written(path, denoiser(), config),
      /its format must be tweedie\.classify, got tweedie\.denoise/,
    );
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

describe("the readers of weights before they read", () => {
  it("the readers of weights say which kind of file came, and what reads it", async () => {
    const kinds = {
      loadDenoiser: "a denoiser",
      loadClassifier: "a classifier of clean images",
      loadNoisyClassifier: "a classifier of noisy images",
      loadEnergy: "an energy",
      loadState: "a sampler's state",
      loadCheckpoint: "a checkpoint of something else",
      readSafetensors: "tensors without a model's description",
    } as const;
    const writes: Record<keyof typeof kinds, (path: string) => Promise<void>> = {
      loadDenoiser: (path) => saveDenoiser(path, { config, params: denoiser() }),
      loadClassifier: (path) => written(path, {}, judge, "classify"),
      loadNoisyClassifier: (path) => written(path, {}, guide, "classify"),
      loadEnergy: (path) => written(path, {}, { size: [4, 4] }, "energy"),
      loadState: (path) => writeSafetensors(path, {}, { format: "tweedie.state" }),
      loadCheckpoint: (path) => saveCheckpoint(path, { groups: {}, meta: {} }),
      readSafetensors: (path) => writeSafetensors(path, {}, { format: "pt" }),
    };
    const readers = { loadDenoiser, loadClassifier, loadNoisyClassifier, loadEnergy };
    await within(async (path) => {
      for (const [reader, write] of Object.entries(writes)) {
        await write(path);
        for (const [name, read] of Object.entries(readers)) {
          if (name === reader) continue;
          const words = kinds[reader as keyof typeof kinds];
          const error = await read(path).then(() => null, (error: Error) => error);
          assert.ok(error instanceof SyntaxError, `${name} of ${words}: ${error}`);
          assert.ok(error.message.endsWith(`: ${words}, which ${reader} reads`), error.message);
          assert.match(
            error.message,
            /^Cannot load .*: its (format|task|schedule) must be .*, got /,
          );
        }
      }
    });
  });

  it("loadDenoiser() looks at names and shapes before it reads a weight", async () => {
    await within(async (path) => {
      // A terabyte that is not there: who reads it does not come back.
      const range = [0, 2 ** 40], w = { dtype: "U8", shape: [2 ** 40], data_offsets: range };
      const metadata = { format: "tweedie.denoise", model: JSON.stringify(config) };
      const header = new TextEncoder().encode(JSON.stringify({ __metadata__: metadata, w }));
      const bytes = new Uint8Array(8 + header.length);
      new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
      bytes.set(header, 8);
      await Deno.writeFile(path, bytes);
      await Deno.truncate(path, bytes.length + 2 ** 40);
      await assert.rejects(loadDenoiser(path), /blocks must be at most 1 .*, got 1|missing/);
    });
  });

  it("the readers of weights refuse options that they do not know", async () => {
    const misspelt = { egine: 1 };
    await assert.rejects(loadDenoiser("w", misspelt as EngineOptions), {
      name: "TypeError",
      message: 'Cannot load w: options must be among engine, architectures, got "egine"',
    });
    await assert.rejects(
      loadNoisyClassifier("w", misspelt as { under?: never }),
      /Cannot load w: options must be among under, architectures, got "egine"$/,
    );
  });
});

describe("saveDenoiser(), saveClassifier() and saveNoisyClassifier()", () => {
  /** The weights of a network under a key, as tensors. */
  const trained = (parameters: Parameters, seed: number) => toTensors(weightsOf(parameters, seed));
  const same = async (got: Params, wanted: Params) => {
    assert.deepEqual(Object.keys(got).sort(), Object.keys(wanted).sort());
    for (const [name, tensor] of Object.entries(wanted)) {
      assert.deepEqual(await got[name]!.data(), await tensor.data(), name);
    }
  };

  it("what they write is read back, to the last bit, by the reader of its kind", async () => {
    await within(async (path) => {
      const before = live();
      const ofDenoiser = trained(unet(config.network).parameters, 1);
      await saveDenoiser(path, { config, params: ofDenoiser });
      const one = await loadDenoiser(path);
      assert.deepEqual(one.config, config);
      await same(one.params, ofDenoiser);
      const clean = trained(classifier(judge).parameters, 2);
      await saveClassifier(path, { config: judge, params: clean });
      const two = await loadClassifier(path);
      assert.deepEqual(two.config, judge);
      await same(two.params, clean);
      const noisy = trained(timedClassifier(guide).parameters, 3);
      await saveNoisyClassifier(path, { config: guide, params: noisy });
      const three = await loadNoisyClassifier(path);
      assert.deepEqual(three.config, guide);
      await same(three.params, noisy);
      // What a reader gives is what a writer takes.
      await saveDenoiser(path, one);
      const again = await loadDenoiser(path);
      await same(again.params, ofDenoiser);
      for (
        const params of [
          ofDenoiser,
          clean,
          noisy,
          ...[one, two, three, again].map((l) => l.params),
        ]
      ) {
        disposed(params);
      }
      assert.equal(live(), before);
    });
  });

  it("saveDenoiser() writes what a training of the library has learned", async () => {
    await within(async (path) => {
      const network = unet(config.network), schedule = scheduleOf(config.schedule);
      const loss = diffusionLoss(network, { schedule, kind: config.kind });
      const set = {
        images: Uint8Array.from({ length: 64 }, (_, i) => 4 * i),
        shape: [4, 4, 4, 1],
      } as const;
      const start = newTraining(trained(network.parameters, 1));
      const states = train(start, { loss, key: key(0) });
      for await (const { step, ema } of states(batches(set, { size: 2, key: key(1) }))) {
        if (step < 2) continue;
        await saveDenoiser(path, { config, params: ema }, { metadata: { from: "a test" } });
        const { params } = await loadDenoiser(path);
        await same(params, ema);
        assert.equal((await readSafetensors(path)).metadata["from"], "a test");
        disposed(params);
        break;
      }
    });
  });

  it("saveDenoiser() stores half floats if asked to, as tweedie train does", async () => {
    await within(async (path) => {
      const params = denoiser(), metadata = { step: "7" };
      await saveDenoiser(path, { config, params }, { dtype: "F16", metadata });
      const { tensors, metadata: got } = await readSafetensors(path);
      assert.deepEqual(got, {
        step: "7",
        format: "tweedie.denoise",
        architecture: "unet",
        model: JSON.stringify(config),
      });
      for (const [name, { data, dtype }] of Object.entries(tensors)) {
        assert.deepEqual([dtype, data], [
          "F16",
          new Float16Array(params[name]!.data as Float32Array),
        ]);
      }
    });
  });

  it("they refuse what their readers would, and leave the old file", async () => {
    await within(async (path) => {
      const params = denoiser(), { "in.bias": bias, ...rest } = params;
      await saveDenoiser(path, { config, params });
      const old = await Deno.readFile(path), before = live();
      const withBias = (data: Float32Array | Float64Array, dtype = "F32") =>
        ({ ...rest, "in.bias": { ...bias, dtype, data } }) as HostTensors;
      const gone = tf.zeros([16]);
      gone.dispose();
      const cases: readonly (readonly [() => Promise<void>, RegExp])[] = [
        [
          () => saveDenoiser(path, { config, params: rest }),
          /55 tensors, got 1 missing \(in\.bias\)$/,
        ],
        [
          () => saveDenoiser(path, { config, params: withBias(new Float32Array(16).fill(NaN, 9)) }),
          /tensor in\.bias must be finite floats, got NaN$/,
        ],
        [
          () =>
            saveDenoiser(path, {
              config,
              params: withBias(new Float64Array(16).fill(1e300), "F64"),
            }),
          /tensor "in\.bias" must be within ±3\.4028235e38 to be stored as F32, got 1e\+300$/,
        ],
        [
          () =>
            saveDenoiser(path, { config, params: withBias(new Float32Array(16).fill(7e4)) }, {
              dtype: "F16",
            }),
          /must be within ±65504 to be stored as F16, got 70000$/,
        ],
        [
          () => saveDenoiser(path, { config, params: { ...rest, "in.bias": gone } }),
          /in\.bias must be a tensor that lives, got one that was disposed of$/,
        ],
        [
          () => saveDenoiser(path, { config: { ...config, classes: ["bag"] }, params }),
          /list of class names must be of length 2, got 1$/,
        ],
        [
          () => saveDenoiser(path, { config: { ...config, kind: "noise" as "eps" }, params }),
          /kind must be one of eps, x0, v, flow, score, got noise$/,
        ],
        [
          () =>
            saveDenoiser(path, {
              config: { ...config, schedule: { name: "linear", options: { betaEnd: NaN } } },
              params,
            }),
          /config\.schedule\.options\.betaEnd must be plain data with finite numbers, got number NaN$/,
        ],
        [
          () => saveDenoiser(path, { config, params }, { metadata: { model: "mine" } }),
          /metadata must leave format and model to the description, got "model"$/,
        ],
        [
          () => saveDenoiser(path, { config, params }, { type: "F16" } as SaveOptions),
          /options must be among dtype, metadata, architectures, got "type"$/,
        ],
        [
          () => saveDenoiser(path, { config, params }, { dtype: "F8" as "F16" }),
          /dtype must be "F32" or "F16", got "F8"$/,
        ],
        [
          () => saveClassifier(path, { config: guide, params: {} }),
          /its schedule must be none, got .*: a classifier of noisy images, /,
        ],
        [
          () => saveNoisyClassifier(path, { config: judge as typeof guide, params: {} }),
          /its schedule must be an object, got none: a classifier of clean images, /,
        ],
        [
          () => saveClassifier(path, { config: { ...judge, classes: 3 }, params: {} }),
          /list of class names must be of length 3, got 2$/,
        ],
      ];
      for (const [save, message] of cases) {
        const error = await save().then(() => null, (error: Error) => error);
        assert.ok(
          error instanceof RangeError || error instanceof TypeError,
          `${message}: ${error}`,
        );
        assert.match(error.message, message);
        assert.match(error.message, /^Cannot (save|encode) .*: .* must .*, got /);
        assert.deepEqual(await Deno.readFile(path), old);
      }
      assert.equal(live(), before);
    });
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
