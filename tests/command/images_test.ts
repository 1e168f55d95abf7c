import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { labels } from "../../src/command/option.ts";
import { digestOf, trainingSet } from "../../src/command/train/images.ts";
import { loadClassifier, loadDenoiser } from "../../src/io/weights.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { called, dataset, idx, within } from "./run.ts";

const installed = await Deno.stat("/usr/share/datasets/fashion-mnist").then(
  () => true,
  () => false,
);

/** A set whose labels are these. */
const labelled = <A>(list: readonly number[], use: (folder: string) => Promise<A>): Promise<A> =>
  within(async (folder) => await use(await dataset(folder, { labels: list })));

const repeated = (...list: number[]): number[] =>
  Array.from({ length: 20 }, (_, i) => list[i % list.length]!);

describe("trainingSet()", () => {
  it("trainingSet() takes the classes from the labels: ten digits are ten, two classes two, and letters begin at 1", async () => {
    const cases = [
      [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
      [[0, 1], [0, 1]],
      [[3], [0]],
      [[1, 2, 26], [0, 1, 2]],
      [[255, 0, 12], [2, 0, 1]],
    ] as const;
    for (const [found, wanted] of cases) {
      await labelled(repeated(...found), async (folder) => {
        const { shape, labels, classes } = await trainingSet(folder);
        assert.deepEqual(shape, [20, 8, 8, 1]);
        assert.deepEqual([...labels!], repeated(...wanted));
        assert.deepEqual(classes, [...found].sort((a, b) => a - b).map(String));
      });
    }
  });

  it("trainingSet() gives classes the names that it is given: one for each number, or one for each label", async () => {
    await labelled(repeated(0, 2), async (folder) => {
      const of = async (...names: string[]) => {
        const { labels, classes } = await trainingSet(folder, names);
        return [[...new Set(labels)], classes];
      };
      assert.deepEqual(await of("a", "b", "c"), [[0, 2], ["a", "b", "c"]]);
      assert.deepEqual(await of("a", "c"), [[0, 1], ["a", "c"]]);
      await assert.rejects(of("a"), {
        name: "RangeError",
        message:
          "Cannot name the classes: --classes must be 2 names, for the labels 0, 2, got 1: a",
      });
    });
  });

  it(`trainingSet() knows Fashion-MNIST by its bytes${installed ? "" : " (SKIPPED: not here)"}`, async () => {
    if (!installed) return;
    const set = await trainingSet("/usr/share/datasets/fashion-mnist");
    assert.deepEqual([set.shape, set.classes?.[9]], [[60000, 28, 28, 1], "Ankle boot"]);
    // The same pictures with one label that is another are some set.
    await within(async (folder) => {
      const path = "/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz";
      await Deno.symlink(path, `${folder}/train-images-idx3-ubyte.gz`);
      const changed = set.labels!.with(0, 0);
      await Deno.writeFile(`${folder}/train-labels-idx1-ubyte`, idx([60000], changed));
      assert.equal((await trainingSet(folder)).classes?.[9], "9");
    });
  });

  it("digestOf() is another for other images, other labels and another shape, and for nothing else", async () => {
    const set = {
      images: new Uint8Array(12),
      shape: [3, 2, 2, 1],
      labels: Uint8Array.of(0, 1, 0),
    } as const;
    const digests = await Promise.all([
      set,
      { ...set, images: set.images.with(3, 1) },
      { ...set, labels: Uint8Array.of(1, 0, 1) },
      { ...set, shape: [3, 4, 1, 1] } as const,
    ].map(digestOf));
    assert.equal(new Set(digests).size, 4);
    assert.match(digests[0]!, /^[0-9a-f]{64}$/);
    assert.equal(await digestOf({ ...set, classes: ["a", "b"] }), digests[0]);
  });
});

describe("labels()", () => {
  it("labels() reads names, and refuses what sample could not ask for", () => {
    assert.deepEqual(labels(" zero,one , two words"), ["zero", "one", "two words"]);
    for (const text of ["", "a,", "a,A", "a,none", "None"]) {
      assert.throws(() => labels(text), /names, separated by commas, each of its own/);
    }
  });
});

describe("tweedie train on any data", () => {
  const small = [
    ...["--batch", "2", "--base", "8", "--multipliers", "1", "--patch", "4", "--engine", "wasm"],
    ...["--steps", "1"],
  ];

  it("two classes stay two, with the names of --classes, in the weights and for sample", async () => {
    await useBackend("wasm");
    await labelled(repeated(0, 1), async (data) => {
      const run = async (task: string, name: string, ...more: string[]) => {
        const files = ["--checkpoint", `${data}/${name}.ckpt`, "--weights", `${data}/${name}`];
        const options = task === "denoise" ? small : small.filter((_, i) => i < 2 || i > 7);
        const { code, said } = await called(
          ...["train", "--task", task, "--data", data, ...files, ...options, ...more],
        );
        assert.equal(code, 0, said);
      };
      await run("denoise", "plain");
      await run("denoise", "named", "--classes", "cat,dog");
      await run("classify", "judge", "--classes", "cat,dog");
      for (const [name, wanted] of [["plain", ["0", "1"]], ["named", ["cat", "dog"]]] as const) {
        const { config, params } = await loadDenoiser(`${data}/${name}`);
        assert.deepEqual([config.classes, config.network.classes], [wanted, 2]);
        tf.dispose(Object.values(params));
      }
      const { config, params } = await loadClassifier(`${data}/judge`);
      assert.deepEqual([config.names, config.classes], [["cat", "dog"], 2]);
      tf.dispose(Object.values(params));
      const sample = (checkpoint: string, name: string) =>
        called(
          ...["sample", "--checkpoint", `${data}/${checkpoint}`, "--class", name, "--count", "1"],
          ...["--out", `${data}/a.png`, "--steps", "1", "--engine", "wasm"],
        );
      assert.equal((await sample("named", "Dog")).code, 0);
      assert.equal((await sample("plain", "1")).code, 0);
      const { code, said } = await sample("plain", "Trouser");
      assert.equal(code, 1);
      assert.match(said, /it must be none, a number in \[0, 1\] or one of 0, 1, got Trouser/);
    });
  });
});
