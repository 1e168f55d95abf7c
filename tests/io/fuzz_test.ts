/**
 * Files with faults: every reader answers each with a value or with a refusal, at once, and leaves nothing behind.
 *
 * The faults are drawn under a seed: bytes changed, cut out, repeated, put in; and, in a header, words and numbers that are
 * others than they were, with its length set right, so that what stands behind the header is reached too.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import * as tf from "@tensorflow/tfjs-core";
import { loadCheckpoint, saveCheckpoint } from "../../src/io/checkpoint.ts";
import { loadState, saveState } from "../../src/io/model/state.ts";
import { apng, png } from "../../src/io/png.ts";
import {
  decodeSafetensors,
  encodeSafetensors,
  type HostTensors,
  readSafetensors,
} from "../../src/io/safetensors.ts";
import { saveClassifier, saveDenoiser, saveNoisyClassifier } from "../../src/io/model/save.ts";
import { loadClassifier, loadDenoiser, loadNoisyClassifier } from "../../src/io/weights.ts";
import { classifier, timedClassifier } from "../../src/network/classifier.ts";
import { initialize } from "../../src/network/layer/parameter.ts";
import type { ImageModelConfig } from "../../src/network/model.ts";
import { unet } from "../../src/network/unet.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { fillBits, fold, type Key, key } from "../../src/tensor/key.ts";
import { decodeIdx, readIdx } from "../../src/data/file/idx.ts";
import type { Image } from "../../src/watch/frames.ts";
import { live } from "../measure.ts";

/** How many faulty files are made of each whole one. */
const rounds = 60;

/** Numbers under a key, one after the other: whole, in [0, below). */
function drawing(under: Key): (below: number) => number {
  const words = fillBits(under, new Uint32Array(64));
  let at = 0;
  return (below) => Math.floor(words[at++ % words.length]! * 2 ** -32 * below);
}

type Draw = (below: number) => number;

const pick = <A>(draw: Draw, list: readonly A[]): A => list[draw(list.length)]!;

const spliced = (bytes: Uint8Array, at: number, length: number, put: Uint8Array): Uint8Array =>
  new Uint8Array([...bytes.subarray(0, at), ...put, ...bytes.subarray(at + length)]);

/** Faults anywhere in a file. */
const faults: readonly ((bytes: Uint8Array, draw: Draw) => Uint8Array)[] = [
  (bytes, draw) => bytes.with(draw(bytes.length), draw(256)),
  (bytes, draw) => bytes.with(draw(Math.min(64, bytes.length)), pick(draw, [0, 1, 127, 255])),
  (bytes, draw) => bytes.subarray(0, draw(bytes.length)),
  (bytes, draw) => spliced(bytes, draw(bytes.length), 1 + draw(9), new Uint8Array()),
  (bytes, draw) =>
    spliced(bytes, draw(bytes.length), 0, new Uint8Array(1 + draw(9)).fill(draw(256))),
  (bytes, draw) => {
    const at = draw(bytes.length), part = bytes.subarray(at, at + 1 + draw(40));
    return spliced(bytes, draw(bytes.length), 0, part);
  },
];

/** What is put in place of a number or a word of a header. */
const words = [
  ...["0", "-1", "1e9", "1e308", "9007199254740991", "0.5", "null", "true", "[]", "{}", '"x"'],
  ...["[[[[[[[[]]]]]]]]", '"F8_E4M3"', '"BOOL"', '"__proto__"', '"constructor"', '"linear"'],
];

/** A fault in a safetensors file's header, whose length is set right afterwards. */
function misheaded(bytes: Uint8Array, draw: Draw): Uint8Array {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const text = new TextDecoder("latin1").decode(bytes.subarray(8, 8 + length));
  // Also those in JSON within JSON.
  const places = [...text.matchAll(/-?\d[\d.e+-]*|\\?"[^"\\]*\\?"|true|false|null|\[[^[\]]*\]/g)];
  const place = pick(draw, places), word = pick(draw, words);
  const put = place[0].startsWith('\\"') ? word.replaceAll('"', '\\"') : word;
  const changed = text.slice(0, place.index) + put + text.slice(place.index + place[0].length);
  const header = Uint8Array.from(changed, (letter) => letter.charCodeAt(0));
  const whole = spliced(bytes, 8, length, header);
  new DataView(whole.buffer).setBigUint64(0, BigInt(header.length), true);
  return whole;
}

/** An IDX file. */
const idx = (shape: readonly number[]): Uint8Array => {
  const head = new Uint8Array(4 + 4 * shape.length), view = new DataView(head.buffer);
  head.set([0, 0, 8, shape.length]);
  shape.forEach((size, axis) => view.setUint32(4 + 4 * axis, size));
  const data = Uint8Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => i * 7);
  return new Uint8Array([...head, ...data]);
};

/** Bytes of all numbers in a value, wherever they are. */
function sizeOf(value: unknown): number {
  if (value instanceof tf.Tensor) return value.size * 4;
  if (ArrayBuffer.isView(value)) return value.byteLength;
  if (typeof value !== "object" || value === null) return 0;
  return Object.values(value).reduce((sum: number, inner) => sum + sizeOf(inner), 0);
}

function disposeAll(value: unknown): void {
  if (value instanceof tf.Tensor) value.dispose();
  else if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value)) {
    Object.values(value).forEach(disposeAll);
  }
}

/** The outcome of a reader: a value no larger than its file allows, or a refusal; in time, and with nothing left. */
async function outcome(what: string, read: () => unknown, most: number): Promise<boolean> {
  const before = live(), since = performance.now();
  try {
    const value = await read();
    assert.ok(sizeOf(value) <= most, `${what}: ${sizeOf(value)} bytes of ${most}`);
    disposeAll(value);
    return true;
  } catch (error) {
    assert.ok(
      error instanceof Error && !(error instanceof assert.AssertionError),
      `${what}: ${error}`,
    );
    assert.match(error.message, /^Cannot [^]+ must [^]+, got [^]/, `${what}: ${error.stack}`);
    const { name } = error;
    assert.ok(
      ["SyntaxError", "RangeError", "TypeError", "Error"].includes(name),
      `${what}: ${name}`,
    );
    return false;
  } finally {
    assert.equal(live(), before, `${what}: tensors are left`);
    assert.ok(performance.now() - since < 2000, `${what}: ${performance.now() - since} ms`);
  }
}

const network = {
  size: [4, 4],
  base: 8,
  multipliers: [1],
  blocks: 1,
  groups: 4,
  middleAttention: false,
} as const;
const config: ImageModelConfig = {
  schedule: { name: "linear", options: { steps: 10 } },
  kind: "eps",
  network: { ...network, classes: 2 },
  classes: ["a", "b"],
};
const judge = { size: [4, 4], classes: 2, base: 8, features: 4, names: ["a", "b"] } as const;
const guide = { ...judge, schedule: { name: "vp", options: { betaMax: 5 } } } as const;

const mixed: HostTensors = {
  w: { dtype: "F32", shape: [2, 3], data: new Float32Array([1, 2, 3, 4, 5, 6]) },
  h: { dtype: "F16", shape: [2], data: new Float16Array([1, 0.5]) },
  n: { dtype: "I64", shape: [1], data: new BigInt64Array([-3n]) },
  b: { dtype: "BOOL", shape: [3], data: new Uint8Array([1, 0, 1]) },
  q: { dtype: "F8_E5M2", shape: [1], data: new Uint8Array([0x3c]) },
};

/** Whole files by name, each written by the library. */
async function wholes(path: string): Promise<Record<string, Uint8Array>> {
  const written = async (write: Promise<void>): Promise<Uint8Array> => {
    await write;
    return await Deno.readFile(path);
  };
  const weights = initialize(unet(config.network).parameters, key(1));
  const clean = initialize(classifier(judge).parameters, key(2));
  const noisy = initialize(timedClassifier(guide).parameters, key(3));
  const x = tf.tensor2d([[1, 2]]),
    state = { x, t: 1, step: 3, history: [{ t: 2, x0: x }], tau: 0.5 };
  const plan = { target: { task: "denoise", model: config } };
  const files = {
    safetensors: encodeSafetensors(mixed, { of: "a test" }),
    checkpoint: await written(
      saveCheckpoint(path, { groups: { ema: weights }, meta: { plan, step: 3 } }),
    ),
    denoiser: await written(saveDenoiser(path, { config, params: weights })),
    classifier: await written(saveClassifier(path, { config: judge, params: clean })),
    noisyClassifier: await written(saveNoisyClassifier(path, { config: guide, params: noisy })),
    state: await written(saveState(path, state)),
    idx: idx([5, 2, 3]),
    zipped: new Uint8Array(gzipSync(idx([5, 20, 30]))),
  };
  tf.dispose([x, ...[weights, clean, noisy].flatMap((params) => Object.values(params))]);
  return files;
}

const readers: Readonly<Record<string, (path: string) => Promise<unknown>>> = {
  readSafetensors,
  loadCheckpoint,
  loadDenoiser,
  loadClassifier,
  loadNoisyClassifier,
  loadState,
  readIdx,
};

/** Which reader each kind of file is for; a wrong one must refuse it. */
const own: Readonly<Record<string, readonly string[]>> = {
  safetensors: ["readSafetensors"],
  checkpoint: ["readSafetensors", "loadCheckpoint", "loadDenoiser"],
  denoiser: ["readSafetensors", "loadDenoiser"],
  classifier: ["readSafetensors", "loadClassifier"],
  noisyClassifier: ["readSafetensors", "loadNoisyClassifier"],
  state: ["readSafetensors", "loadState"],
  idx: ["readIdx"],
  zipped: ["readIdx"],
};

describe("files with faults", () => {
  let files: Record<string, Uint8Array> = {}, folder = "";
  before(async () => {
    await useBackend("cpu");
    folder = await Deno.makeTempDir();
    files = await wholes(`${folder}/whole`);
  });
  after(() => Deno.remove(folder, { recursive: true }));

  for (const [kind, ofKind] of Object.entries(own)) {
    it(`every reader takes a whole ${kind} file or says why not`, async () => {
      const path = `${folder}/file`;
      await Deno.writeFile(path, files[kind]!);
      for (const [reader, read] of Object.entries(readers)) {
        const fits = await outcome(`${reader} of ${kind}`, () => read(path), Infinity);
        assert.equal(fits, ofKind.includes(reader), `${reader} of ${kind}`);
      }
    });

    it(`${kind} files with faults are read or refused`, async () => {
      const path = `${folder}/file`, whole = files[kind]!, isIdx = /idx|zipped/.test(kind);
      let refused = 0;
      for (let round = 0; round < rounds; round++) {
        const draw = drawing(fold(fold(key(10), kind), round));
        const inHeader = !isIdx && round % 2 === 0;
        const bytes = inHeader ? misheaded(whole, draw) : pick(draw, faults)(whole, draw);
        await Deno.writeFile(path, bytes);
        // Half floats become twice as large, float8 four times; what is packed, a thousand times.
        const most = bytes.length * (kind === "zipped" ? 1032 : 4);
        for (const reader of ofKind) {
          const what = `${reader} of ${kind}, round ${round}`;
          if (!await outcome(what, () => readers[reader]!(path), most)) refused++;
        }
        const decode = isIdx ? decodeIdx : decodeSafetensors;
        await outcome(`${decode.name} of ${kind}, round ${round}`, () => decode(bytes), most);
      }
      assert.ok(refused > rounds / 4, `${refused} of ${rounds} refused`);
    });
  }

  it("pictures with faults are encoded or refused", async () => {
    const draw = drawing(key(11)),
      good: Image = { width: 2, height: 3, channels: 1, data: new Uint8Array(6) };
    const odd: readonly unknown[] = [
      0,
      -1,
      0.5,
      NaN,
      1e9,
      2 ** 31,
      "2",
      null,
      undefined,
      [],
      new Uint8Array(6),
    ];
    for (let round = 0; round < rounds; round++) {
      const name = pick(draw, ["width", "height", "channels", "data"]);
      const image = { ...good, [name]: pick(draw, odd) };
      await outcome(`png of ${name}, round ${round}`, () => png(image), 1000);
      await outcome(`apng of ${name}, round ${round}`, () => apng([good, image]), 1000);
    }
  });
});
