/**
 * Files of images with faults, drawn under a seed: each is read, to a value of a size that it allows, or refused in words.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { inMemory } from "../../src/data/images.ts";
import { openImages } from "../../src/data/read.ts";
import { fillBits, fold, type Key, key } from "../../src/tensor/key.ts";
import { inFolder } from "../io/folder.ts";
import { chunk, cifar, jpegOf, npy, npz, pattern, pngOf, rawPng } from "./files.ts";

const rounds = 150;

/** Whole numbers in [0, below), one after the other. */
function drawing(under: Key): (below: number) => number {
  const words = fillBits(under, new Uint32Array(64));
  let at = 0;
  return (below) => Math.floor(words[at++ % words.length]! * 2 ** -32 * below);
}

/** A fault: a byte changed, more often at the beginning; bytes left out, put in, or the end cut off. */
function faulty(bytes: Uint8Array, draw: (below: number) => number): Uint8Array {
  const at = draw(draw(2) === 0 ? Math.min(80, bytes.length) : bytes.length);
  const extreme = [0, 1, 127, 255, draw(256)][draw(5)]!;
  const kinds = [
    () => bytes.with(at, extreme),
    () => bytes.with(at, bytes[at]! ^ 1 << draw(8)),
    () => bytes.slice(0, at),
    () => new Uint8Array([...bytes.subarray(0, at), ...bytes.subarray(at + 1 + draw(9))]),
    () =>
      new Uint8Array([
        ...bytes.subarray(0, at),
        ...Array(1 + draw(9)).fill(extreme),
        ...bytes.subarray(at),
      ]),
  ];
  return kinds[draw(kinds.length)]!();
}

const palette = chunk("PLTE", pattern(12));

/** Whole files by the name that says what they are. */
const wholes: Readonly<Record<string, Uint8Array>> = {
  "grey.png": pngOf([9, 7, 1]),
  "colour.png": pngOf([9, 7, 4]),
  "deep.png": pngOf([5, 6, 3], new Uint16Array(pattern(90)), 16),
  "palette.png": rawPng(
    { width: 5, height: 3, depth: 2, colour: 3 },
    new Uint8Array(9),
    [palette, chunk("tRNS", new Uint8Array([0, 9]))],
  ),
  "picture.jpg": jpegOf([17, 24]),
  "stored.npz": npz({
    images: npy("|u1", [2, 5, 4], pattern(40)),
    labels: npy("<i4", [2], new Int32Array(2)),
  }, 0),
  "packed.npz": npz({ images: npy("<f4", [2, 5, 4], new Float32Array(40)) }),
  "array.npy": npy("<f8", [1, 3, 4], new Float64Array(12)),
  "batch.bin": cifar([1, 2]),
};

describe("files of images with faults", () => {
  for (const [name, whole] of Object.entries(wholes)) {
    it(`${name} is read whole, and with faults read or refused, at once`, () =>
      inFolder(async (folder) => {
        const isPicture = /png|jpg$/.test(name), path = `${folder}/${name}`;
        // Sizes as they come, and one that a damaged size is brought to.
        const read = async (): Promise<number> => {
          const { images } = await openImages(isPicture ? folder : path, { size: [4, 4] });
          return ("images" in images ? images : await inMemory(images)).images.length;
        };
        await Deno.writeFile(path, whole);
        const most = await read() * 1032;
        let refused = 0;
        for (let round = 0; round < rounds; round++) {
          const draw = drawing(fold(fold(key(12), name), round)), since = performance.now();
          await Deno.writeFile(path, faulty(whole, draw));
          try {
            assert.ok(await read() <= most);
          } catch (error) {
            assert.ok(
              error instanceof Error && !(error instanceof assert.AssertionError),
              `${error}`,
            );
            assert.match(
              error.message,
              /^Cannot [^]+ must [^]+, got [^]/,
              `round ${round}: ${error.stack}`,
            );
            refused++;
          }
          assert.ok(
            performance.now() - since < 1500,
            `round ${round}: ${performance.now() - since} ms`,
          );
        }
        assert.ok(refused > rounds / 10, `${refused} of ${rounds} refused`);
      }));
  }
});
