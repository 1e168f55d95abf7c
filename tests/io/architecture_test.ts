import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { exportDenoiser } from "../../src/engine/denoiser/export.ts";
import { decode } from "../../src/engine/onnx/proto.ts";
import { readSafetensors, writeSafetensors } from "../../src/io/safetensors.ts";
import { saveClassifier, saveDenoiser, saveNoisyClassifier } from "../../src/io/model/save.ts";
import { loadClassifier, loadDenoiser } from "../../src/io/weights.ts";
import {
  type Architecture,
  architectureNames,
  architectureOf,
  architectures,
  usualArchitecture,
} from "../../src/network/architecture.ts";
import { classifier, timedClassifier } from "../../src/network/classifier.ts";
import { count } from "../../src/network/field.ts";
import { dense } from "../../src/network/layer/linear.ts";
import { initialize, parametersOf } from "../../src/network/layer/parameter.ts";
import { networkOf } from "../../src/network/layer/network.ts";
import { mlp } from "../../src/network/mlp.ts";
import { imageModel } from "../../src/network/model.ts";
import { unet } from "../../src/network/unet.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
import { batches } from "../../src/data/batches.ts";
import { diffusionLoss } from "../../src/train/diffusion.ts";
import { newTraining } from "../../src/train/loop/state.ts";
import { train } from "../../src/train/loop/train.ts";
import { inFolder } from "./folder.ts";

const within = (use: (path: string) => Promise<void>): Promise<void> =>
  inFolder((at) => use(`${at}/w.safetensors`));

/** A network that is in no table of the library: one dense layer over the channels of each pixel, shifted by the time. */
interface PixelwiseConfig {
  readonly side: number;
  readonly features: number;
}

const pixelwise: Architecture<"denoiser", PixelwiseConfig> = {
  role: "denoiser",
  fields: { side: count(), features: count(2) },
  build: ({ side, features }) => {
    const pixel = dense("pixel", 1, 1), time = dense("time", features, 1);
    return networkOf(parametersOf(pixel, time), {
      classes: 0,
      features,
      forward: (params, x, { time: told }) => {
        const flat = tf.reshape(x, [-1, 1]);
        const shift = tf.reshape(time.apply(params, told), [-1, 1, 1, 1]);
        return tf.add(tf.reshape(pixel.apply(params, flat), [-1, side, side, 1]), shift);
      },
    });
  },
  sample: ({ side }) => [side, side, 1],
  classes: () => 0,
};

const table = { architectures: { ...architectures, pixelwise } };
const config = {
  schedule: { name: "linear", options: { steps: 20 } },
  kind: "x0",
  architecture: "pixelwise",
  network: { side: 4, features: 4 },
} as const;

before(() => useBackend("cpu"));

describe("a network of one's own", () => {
  it("is trained, saved, loaded, and goes on, by one entry in a table that is passed along", async () => {
    await within(async (path) => {
      const network = pixelwise.build(config.network), schedule = linear({ steps: 20 });
      const set = {
        images: new Uint8Array(8 * 16).fill(200),
        shape: [8, 4, 4, 1] as const,
      };
      const loss = diffusionLoss(network, { schedule, kind: "x0", nullShare: 0 });
      const trained = async (start: ReturnType<typeof newTraining>) => {
        const steps = train(start, { loss, key: key(1), adam: { rate: 0.1 } });
        const losses: number[] = [];
        for await (const state of steps(batches(set, { size: 4, key: key(2) }))) {
          losses.push(state.loss);
          if (losses.length < 8) continue;
          await saveDenoiser(path, { config, params: state.params }, table);
          break;
        }
        return losses;
      };
      const losses = await trained(newTraining(initialize(network.parameters, key(0))));
      assert.ok(losses.at(-1)! < losses[0]! / 2, `${losses}`);
      const loaded = await loadDenoiser<PixelwiseConfig>(path, table);
      assert.deepEqual(loaded.config, config);
      const x = normal(key(3), [2, 4, 4, 1]);
      const said = await loaded.model.predict(x, 5);
      const same = await imageModel(config, loaded.params, table).predict(x, 5);
      assert.ok(said.kind === "x0" && same.kind === "x0");
      assert.deepEqual(said.value.arraySync(), same.value.arraySync());
      const further = await trained(newTraining(loaded.params));
      assert.ok(further[0]! < losses[0]! / 2, `${further}`);
    });
  });

  it("is exported with the shape of its own samples", () => {
    const params = initialize(pixelwise.build(config.network).parameters, key(0));
    const { inputs, metadata } = decode(exportDenoiser(config, params, table));
    assert.deepEqual(inputs.map(({ dims }) => dims), [["N", 4, 4, 1], ["N"]]);
    assert.equal(metadata["size"], "[4,4,1]");
  });

  it("is refused by its name where the table does not have it, or its configuration is none", async () => {
    await within(async (path) => {
      const params = initialize(pixelwise.build(config.network).parameters, key(0));
      await saveDenoiser(path, { config, params }, table);
      await assert.rejects(loadDenoiser(path), {
        name: "SyntaxError",
        message: `Cannot load ${path}: its architecture must be one of unet, mlp, got pixelwise`,
      });
      const odd = { ...config, network: { side: 4, features: 1 } };
      await assert.rejects(saveDenoiser(path, { config: odd, params }, table), {
        name: "RangeError",
        message: `Cannot save ${path}: its features must be a whole number of at least 2, got 1`,
      });
      assert.throws(() => imageModel(config, params), {
        name: "RangeError",
        message: "Cannot find a network: architecture must be one of unet, mlp, got pixelwise",
      });
    });
  });
});

describe("the name of a network in a file", () => {
  const size = [4, 4] as const;
  const small = { schedule: { name: "linear" }, kind: "eps" } as const;

  it("stands in the metadata for every role, and a perceptron is read by it", async () => {
    await within(async (path) => {
      const named = async () => (await readSafetensors(path)).metadata["architecture"];
      const shape = { dimension: 2, width: 4, layers: 1 };
      const points = { ...small, architecture: "mlp", network: shape } as const;
      await saveDenoiser(path, {
        config: points,
        params: initialize(mlp(shape).parameters, key(0)),
      });
      assert.equal(await named(), "mlp");
      assert.deepEqual((await loadDenoiser<typeof shape>(path)).config, points);
      const judge = { size, classes: 2, base: 8 };
      const params = initialize(classifier(judge).parameters, key(0));
      await saveClassifier(path, { config: judge, params });
      assert.equal(await named(), "classifier");
      const noisy = { ...judge, schedule: { name: "linear" } } as const;
      await saveNoisyClassifier(path, {
        config: noisy,
        params: initialize(timedClassifier(judge).parameters, key(0)),
      });
      assert.equal(await named(), "timedClassifier");
    });
  });

  it("may be absent, as in files of older versions", async () => {
    await within(async (path) => {
      const network = { size, base: 8, multipliers: [1], blocks: 1 },
        config = { ...small, network };
      await saveDenoiser(path, { config, params: initialize(unet(network).parameters, key(0)) });
      const { tensors, metadata: { architecture, ...older } } = await readSafetensors(path);
      assert.equal(architecture, "unet");
      await writeSafetensors(path, tensors, older);
      assert.deepEqual((await loadDenoiser(path)).config, config);
    });
  });

  it("must be of the role that is read, and is no part of the caller's metadata", async () => {
    await within(async (path) => {
      const judge = { size, classes: 2, base: 8 };
      const params = initialize(classifier(judge).parameters, key(0));
      const trained = { config: { ...judge, architecture: "unet" }, params };
      await assert.rejects(
        saveClassifier(path, trained),
        /architecture must be one of classifier, got unet$/,
      );
      const metadata = { architecture: "mine" };
      await assert.rejects(
        saveClassifier(path, { config: judge, params }, { metadata }),
        /metadata must leave architecture to the description, got "architecture"$/,
      );
      await saveClassifier(path, { config: judge, params });
      const { tensors, metadata: found } = await readSafetensors(path);
      await writeSafetensors(path, tensors, { ...found, architecture: "toString" });
      await assert.rejects(
        loadClassifier(path),
        /architecture must be one of classifier, got toString$/,
      );
    });
  });
});

describe("the table of networks", () => {
  /** The least that each network is built from. */
  const least: Readonly<Record<string, object>> = {
    unet: { size: [8, 8] },
    mlp: { dimension: 2 },
    classifier: { size: [4, 4], classes: 2 },
    timedClassifier: { size: [4, 4], classes: 2 },
    energyNet: { size: [4, 4] },
    energyMlp: { dimension: 2 },
  };

  for (const [name, { role }] of Object.entries(architectures)) {
    it(`${name} takes what its fields say where nothing is said`, () => {
      const { fields, build, sample, classes } = architectureOf(role, name);
      const usual = Object.entries(fields).flatMap(([field, { usual }]) =>
        usual === undefined ? [] : [[field, usual] as const]
      );
      const plain = least[name]!, filled = { ...Object.fromEntries(usual), ...plain };
      assert.deepEqual(build(filled).parameters, build(plain).parameters);
      assert.deepEqual(sample(filled), sample(plain));
      assert.equal(classes(filled), classes(plain));
      for (const [field, { fits }] of Object.entries(fields)) {
        assert.ok(fits((filled as Record<string, unknown>)[field]), field);
      }
    });
  }

  it("has a usual network for every role, among those of the role", () => {
    for (const role of ["denoiser", "classifier", "noisyClassifier", "energy"] as const) {
      assert.ok(architectureNames(role).includes(usualArchitecture[role]));
      assert.equal(architectureOf(role), architectureOf(role, usualArchitecture[role]));
    }
  });
});
