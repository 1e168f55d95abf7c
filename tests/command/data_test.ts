/**
 * `tweedie train` on pictures of one's own, from a folder of files to samples with the names of the classes.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decode } from "fast-png";
import type { TrainPlan } from "../../src/command/train/plan.ts";
import { trainRun } from "../../src/command/train/run.ts";
import { pictures } from "../../src/data/sets/folder.ts";
import { loadCheckpoint } from "../../src/io/checkpoint.ts";
import { png } from "../../src/io/png.ts";
import { fillBits, fold, key } from "../../src/tensor/key.ts";
import { cifar, npy, npz, pattern, pngOf, put } from "../data/files.ts";
import { called, dataset, idx, listed, same, within } from "./run.ts";

const small = [
  ...["--batch", "2", "--base", "8", "--multipliers", "1", "--patch", "4", "--engine", "wasm"],
];

/** Pictures of a colour each, with some noise. */
function tinted(
  [height, width]: readonly [number, number],
  colour: readonly number[],
  seed: number,
): Uint8Array {
  const channels = colour.length as 1 | 3, data = new Uint8Array(height * width * channels);
  const words = fillBits(fold(key(3), seed), new Uint32Array(data.length));
  data.forEach((_, i) => data[i] = colour[i % channels]! + words[i]! % 32);
  return png({ height, width, channels, data });
}

/** Two folders of pictures. */
const pets = async (folder: string, count: number, size: readonly [number, number]) => {
  for (let i = 0; i < count; i++) {
    await put(folder, {
      [`dogs/${i}.png`]: tinted(size, [20, 40, 200], i),
      [`cats/${i}.png`]: tinted(size, [220, 90, 10], 1000 + i),
    });
  }
};

const files = (folder: string, name = "run"): string[] => [
  ...["--checkpoint", `${folder}/${name}.ckpt`, "--weights", `${folder}/${name}.safetensors`],
];

const succeeds = async (...args: string[]) => {
  const ended = await called(...args);
  assert.equal(ended.code, 0, ended.said);
  return ended;
};

const fails = async (message: RegExp, ...args: string[]) => {
  const { code, said } = await called(...args);
  assert.ok(code === 1 || code === 2, said);
  assert.match(said, message);
};

describe("tweedie train on pictures", () => {
  it("200 colour pictures in two folders become samples in colour with the names of the folders", () =>
    within(async (folder) => {
      await pets(`${folder}/pets`, 100, [32, 32]);
      await put(`${folder}/pets`, { "cats/broken.png": new Uint8Array(50) });
      const { said } = await succeeds(
        ...["train", "--data", `${folder}/pets`, ...files(folder), ...small, "--steps", "3"],
      );
      assert.match(
        said,
        /200 pictures of cats, dogs, as images of 32x32x3; left out: 1 file: cats\/broken\.png must be/,
      );
      const weights = `${folder}/run.safetensors`;
      const { shown } = await succeeds("sample", "--checkpoint", weights, "--classes");
      assert.equal(shown, "0 cats\n1 dogs\n");
      const out = `${folder}/cat.png`;
      await succeeds(
        ...[
          "sample",
          "--checkpoint",
          weights,
          "--class",
          "Cats,dogs",
          "--count",
          "2",
          "--zoom",
          "1",
        ],
        ...["--steps", "2", "--engine", "wasm", "--out", out],
      );
      const { width, height, channels, data } = decode(await Deno.readFile(out));
      assert.deepEqual([width, height, channels], [64, 32, 3]);
      assert.ok(data.some((value, i) => i % 3 === 0 && value !== data[i + 1]));
      await fails(
        /it must be none, a number in \[0, 1\] or one of cats, dogs, got mice/,
        ...["sample", "--checkpoint", weights, "--class", "mice", "--count", "1", "--out", out],
      );
    }));

  it("the README's commands lead from pictures to samples", () =>
    within(async (folder) => {
      await pets(`${folder}/pets`, 2, [32, 32]);
      const readme = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
      const [section] = /^## Your own pictures$[^]*?(?=^## )/m.exec(readme)!;
      const lines = [...section.matchAll(/^deno task tweedie (.*)$/gm)].map(([, line]) => line!);
      assert.equal(lines.length, 3);
      for (const line of lines) {
        const words = line.split(" ").map((word) =>
          word === "pets" || /\.(safetensors|png)$/.test(word) ? `${folder}/${word}` : word
        );
        const quick = line.startsWith("train")
          ? [...small, "--steps", "1"]
          : ["--steps", "1", "--engine", "wasm"];
        await succeeds(...words, ...quick);
      }
      const { channels, width } = decode(await Deno.readFile(`${folder}/samples.png`));
      assert.deepEqual([channels, width], [3, 3 * 4 * 32]);
    }));

  it("grey pictures of 27x31 are refused with what has to change, and each of the ways works", () =>
    within(async (folder) => {
      const data = `${folder}/grey`;
      for (let i = 0; i < 4; i++) await put(data, { [`${i}.png`]: tinted([27, 31], [60], i) });
      const usual = ["train", "--data", data, "--batch", "2", "--base", "8", "--engine", "wasm"];
      const args = [...usual, "--steps", "1"], before = listed(folder);
      await fails(
        /size must be multiples of 4 pixels for --patch 2 and --multipliers 1,2, got 27x31 \(--size 28,32 --fit pad .*; --size 24,28 --fit crop .*; --size 28,32 resizes them; --multipliers 1 --patch 1 takes any\)/,
        ...args,
        ...files(folder),
      );
      assert.deepEqual(listed(folder), before);
      const ways = {
        pad: [["--size", "28,32", "--fit", "pad"], [28, 32]],
        crop: [["--size", "24,28", "--fit", "crop"], [24, 28]],
        cover: [["--size", "28,32"], [28, 32]],
        square: [["--size", "16"], [16, 16]],
        any: [["--multipliers", "1", "--patch", "1"], [27, 31]],
      } as const;
      for (const [name, [more, [height, width]]] of Object.entries(ways)) {
        const { said } = await succeeds(...args, ...more, ...files(folder, name));
        assert.match(said, /4 pictures without classes/);
        const out = `${folder}/${name}.png`;
        await succeeds(
          ...["sample", "--checkpoint", `${folder}/${name}.safetensors`, "--count", "1"],
          ...["--steps", "1", "--zoom", "1", "--engine", "wasm", "--out", out],
        );
        const picture = decode(await Deno.readFile(out));
        assert.deepEqual([picture.height, picture.width, picture.channels], [height, width, 1]);
      }
      const { shown } = await succeeds(
        ...["sample", "--checkpoint", `${folder}/pad.safetensors`, "--classes"],
      );
      assert.equal(shown, "no classes\n");
      await fails(
        /a classifier: images must have classes, got none/,
        ...["train", "--task", "classify", "--data", data, "--size", "16", ...files(folder, "no")],
      );
    }));

  it("pictures that are decoded batch by batch give the weights of those that are held; other pictures are another plan", () =>
    within(async (folder) => {
      const data = `${folder}/pets`, more = ["--steps", "4", "--flip", "--dequantize"];
      await pets(data, 5, [8, 8]);
      const held = ["train", "--data", data, ...files(folder, "held"), ...small, ...more];
      await succeeds(...held);
      const { meta } = await loadCheckpoint(`${folder}/held.ckpt`);
      const streamed = { checkpoint: `${folder}/s.ckpt`, weights: `${folder}/s.safetensors` };
      const set = await pictures(data);
      for await (const _ of trainRun(meta["plan"] as TrainPlan, { set, files: streamed }));
      const [a, b] = await Promise.all(
        [`${folder}/held.safetensors`, streamed.weights].map((path) => Deno.readFile(path)),
      );
      same(b!, a!);
      await put(data, { "cats/0.png": tinted([8, 8], [1, 2, 3], 77) });
      await fails(
        /its plan must be that of this run, got data [0-9a-f]{64} \(here [0-9a-f]{64}\)/,
        ...held,
      );
    }));

  it("pictures of several sizes, names that cannot be asked for, and files within the data are refused", () =>
    within(async (folder) => {
      const data = `${folder}/pets`, args = ["train", "--data", data, ...small, "--steps", "1"];
      await put(data, { "a/1.png": pngOf([8, 8, 3]), "None/1.png": pngOf([8, 12, 3]) });
      await fails(
        /size must be given .*, got 8x12 \(None\/1\.png\) and 8x8 \(a\/1\.png\); --size 32 makes/,
        ...args,
        ...files(folder),
      );
      const sized = [...args, "--size", "8"];
      await fails(/folders must have names .*, got None; --classes/, ...sized, ...files(folder));
      await succeeds(...sized, ...files(folder), "--classes", "x,y");
      await fails(/--classes must be 2 names/, ...sized, ...files(folder), "--classes", "x");
      await fails(
        /'--data <folder>' must not be written into, got .*1\.png/,
        ...[...sized, "--checkpoint", `${folder}/c`, "--weights", `${data}/a/1.png`],
      );
      await fails(
        /must be a side, or a height and a width/,
        ...args,
        "--size",
        "1,2,3",
        ...files(folder),
      );
    }));
});

describe("tweedie train on other files", () => {
  it("IDX without labels, CIFAR-10 and NumPy's arrays train, with the names that they bring", () =>
    within(async (folder) => {
      const images = npy("|u1", [4, 8, 8, 3], pattern(768));
      const labels = npy("<i8", [4], new BigInt64Array([0n, 2n, 0n, 2n]));
      await put(folder, {
        "idx/train-images-idx3-ubyte": idx([4, 8, 8], pattern(256)),
        "cifar/data_batch_1.bin": cifar([0, 1, 1]),
        "cifar/batches.meta.txt": new TextEncoder().encode("cat\ndog\n"),
        "set.npz": npz({ images, labels }),
      });
      const wanted = { idx: "no classes", cifar: "0 cat\n1 dog", "set.npz": "0 0\n1 2" };
      for (const [path, classes] of Object.entries(wanted)) {
        const name = `of-${path}`;
        await succeeds(
          ...["train", "--data", `${folder}/${path}`, ...files(folder, name), ...small],
          ...["--steps", "1"],
        );
        const { shown } = await succeeds(
          ...["sample", "--checkpoint", `${folder}/${name}.safetensors`, "--classes"],
        );
        assert.equal(shown, `${classes}\n`);
      }
    }));

  it("--size and --channels change images of any kind, and the same weights come of the same images", () =>
    within(async (folder) => {
      const data = await dataset(`${folder}/idx`);
      const train = (path: string, name: string, ...more: string[]) =>
        succeeds(
          ...["train", "--data", path, ...files(folder, name), ...small, "--steps", "2", ...more],
        );
      await train(data, "a");
      const bytes = await Deno.readFile(`${data}/train-images-idx3-ubyte`);
      const labels = await Deno.readFile(`${data}/train-labels-idx1-ubyte`);
      await put(folder, {
        "set.npz": npz({
          images: npy("|u1", [20, 8, 8], bytes.subarray(16)),
          labels: npy("|u1", [20], labels.subarray(8)),
        }),
      });
      await train(`${folder}/set.npz`, "b");
      const [a, b] = await Promise.all(
        ["a", "b"].map((name) => Deno.readFile(`${folder}/${name}.safetensors`)),
      );
      same(b!, a!);
      await train(data, "c", "--size", "4", "--channels", "3");
      const out = `${folder}/c.png`;
      await succeeds(
        ...["sample", "--checkpoint", `${folder}/c.safetensors`, "--count", "1", "--steps", "1"],
        ...["--zoom", "1", "--engine", "wasm", "--out", out],
      );
      const { width, height, channels } = decode(await Deno.readFile(out));
      assert.deepEqual([width, height, channels], [4, 4, 3]);
    }));
});
