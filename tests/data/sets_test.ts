import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { openImages } from "../../src/data/read.ts";
import { cifarImages } from "../../src/data/sets/cifar.ts";
import { numpyImages } from "../../src/data/sets/numpy.ts";
import { inFolder } from "../io/folder.ts";
import { cifar, npy, npz, pattern, pngOf, put } from "./files.ts";

const text = (words: string): Uint8Array => new TextEncoder().encode(words);

describe("numpyImages()", () => {
  it("numpyImages() reads bytes with labels, stored and deflated, by the names of the arrays or where there is one", () =>
    inFolder(async (folder) => {
      const pixels = pattern(2 * 3 * 4), images = npy("|u1", [2, 3, 4], pixels);
      const labels = npy("<i8", [2], new BigInt64Array([3n, 1n]));
      const path = `${folder}/set.npz`;
      for (const level of [0, 6] as const) {
        for (
          const names of [["images", "labels"], ["x_train", "y_train"], ["arr_0", "y"]] as const
        ) {
          await Deno.writeFile(path, npz({ [names[0]]: images, [names[1]]: labels }, level));
          const set = await numpyImages(path);
          assert.deepEqual(set, {
            images: pixels,
            shape: [2, 3, 4, 1],
            labels: new Uint8Array([3, 1]),
          });
        }
      }
      await Deno.writeFile(path, npz({ arr_0: images }));
      assert.deepEqual(await numpyImages(path), { images: pixels, shape: [2, 3, 4, 1] });
      await Deno.writeFile(path, npz({ a: images, b: images }));
      await assert.rejects(numpyImages(path), /must be called images, x_train, .* got a, b in /);
    }));

  it("numpyImages() takes floats to the nearest of 256 values, and refuses what is out of range", () =>
    inFolder(async (folder) => {
      const path = `${folder}/a.npy`;
      const of = async (descr: string, data: ArrayBufferView & { length: number }) => {
        await Deno.writeFile(path, npy(descr, [1, 1, data.length], data));
        return [...(await numpyImages(path)).images];
      };
      assert.deepEqual(await of("<f4", new Float32Array([0, 0.5, 1, 0.001])), [0, 128, 255, 0]);
      assert.deepEqual(await of("<f8", new Float64Array([-1, 0, 1])), [0, 128, 255]);
      assert.deepEqual(await of("<f2", new Float16Array([0, 1])), [0, 255]);
      assert.deepEqual(await of("|b1", new Uint8Array([0, 1])), [0, 255]);
      assert.deepEqual(await of("<i4", new Int32Array([0, 200])), [0, 200]);
      await Deno.writeFile(path, npy(">u2", [1, 1, 1], new Uint8Array([0, 7])));
      assert.deepEqual([...(await numpyImages(path)).images], [7]);
      await assert.rejects(
        of("<f4", new Float32Array([0, 255])),
        /floats in \[0, 1\] or in \[-1, 1\], got 255/,
      );
      await assert.rejects(of("<f4", new Float32Array([NaN])), /must be numbers, got NaN/);
      await assert.rejects(of("<i4", new Int32Array([-1])), /whole numbers in \[0, 255\], got -1/);
      await assert.rejects(of("<c8", new Float32Array(2)), /type must be one of b1, u1/);
    }));

  it("numpyImages() reads labels beside an array, more than 256 of them too, and holds them against the images", () =>
    inFolder(async (folder) => {
      const path = `${folder}/set.npy`;
      await put(folder, {
        "set.npy": npy("|u1", [2, 1, 1, 3], pattern(6)),
        "set-labels.npy": npy("<u2", [2, 1], new Uint16Array([5, 700])),
      });
      const set = await numpyImages(path);
      assert.deepEqual([set.shape, set.labels], [[2, 1, 1, 3], new Uint16Array([5, 700])]);
      await put(folder, { "set-labels.npy": npy("<u2", [3], new Uint16Array(3)) });
      await assert.rejects(numpyImages(path), /labels must be of shape \[2\], got \[3\]/);
      await put(folder, { "set-labels.npy": npy("<f4", [2], new Float32Array(2)) });
      await assert.rejects(numpyImages(path), /whole numbers, got floats/);
      await put(folder, { "set-labels.npy": npy("<i4", [2], new Int32Array([0, -1])) });
      await assert.rejects(numpyImages(path), /whole numbers in \[0, 65535\], got -1/);
    }));

  it("numpyImages() refuses sizes before it takes memory for them, and damage", () =>
    inFolder(async (folder) => {
      const path = `${folder}/a.npy`, big = npy("|u1", [1e9, 32, 32], new Uint8Array(9));
      await Deno.writeFile(path, big);
      await assert.rejects(numpyImages(path), /must be 1024000000000 bytes .*got 9, in .*a\.npy/);
      await Deno.writeFile(path, text("\x93NUM"));
      await assert.rejects(numpyImages(path), /must be one of NumPy's arrays/);
      const fortran = npy("|u1", [1, 1, 1], new Uint8Array(1));
      const at = new TextDecoder("latin1").decode(fortran).indexOf("False");
      fortran.set(text("True,"), at);
      fortran.set(text(" "), at + 5);
      await Deno.writeFile(path, fortran);
      await assert.rejects(numpyImages(path), /C order \(numpy\.ascontiguousarray/);
      const packed = `${folder}/a.npz`,
        archive = npz({ images: npy("|u1", [1, 40, 40], pattern(1600)) });
      await Deno.writeFile(packed, archive.with(200, archive[200]! ^ 255));
      await assert.rejects(numpyImages(packed), SyntaxError);
      // The directory says a size that the bytes cannot unpack to.
      const lying = archive.slice(), view = new DataView(lying.buffer);
      const entry = lying.length - 22 - (46 + 10);
      assert.equal(view.getUint32(entry, true), 0x02014b50);
      view.setUint32(entry + 24, 0xfffffff0, true);
      await Deno.writeFile(packed, lying);
      await assert.rejects(
        numpyImages(packed),
        /the size of images\.npy must be what \d+ bytes can hold/,
      );
      view.setUint32(entry + 24, 500, true);
      await Deno.writeFile(packed, lying);
      await assert.rejects(numpyImages(packed), /images\.npy must be 500 bytes, got more/);
    }));
});

describe("cifarImages()", () => {
  it("cifarImages() reads the batches of a folder in the order of their names, and the names of the classes", () =>
    inFolder(async (folder) => {
      await put(folder, {
        "data_batch_2.bin": cifar([2, 1]),
        "data_batch_1.bin": cifar([1]),
        "test_batch.bin": cifar([0]),
        "batches.meta.txt": text("cat\ndog\nfish\n\n"),
      });
      const { images, shape, labels, classes } = await cifarImages(folder);
      assert.deepEqual([shape, [...labels!]], [[3, 32, 32, 3], [1, 2, 1]]);
      assert.deepEqual(classes, ["cat", "dog", "fish"]);
      const record = pattern(3072, 1), at = 2 * 3072 + 3 * 77;
      assert.deepEqual([...images.subarray(at, at + 3)], [
        record[77],
        record[1024 + 77],
        record[2048 + 77],
      ]);
      assert.deepEqual((await cifarImages(folder, { split: "test" })).shape, [1, 32, 32, 3]);
      await put(folder, { "data_batch_2.bin": cifar([3]) });
      await assert.rejects(cifarImages(folder), /labels must be 0 to 2, got 3/);
      await put(folder, { "data_batch_2.bin": new Uint8Array(3072) });
      await assert.rejects(cifarImages(folder), /size must be a multiple of 3073 bytes, got 3072/);
    }));
});

describe("openImages()", () => {
  it("openImages() knows what lies at a path, and brings it to a size", () =>
    inFolder(async (folder) => {
      const images = npy("|u1", [1, 4, 4], pattern(16)),
        labels = npy("|u1", [1], new Uint8Array(1));
      await put(folder, {
        "idx/train-images-idx3-ubyte": new Uint8Array([
          0,
          0,
          8,
          3,
          0,
          0,
          0,
          1,
          0,
          0,
          0,
          4,
          0,
          0,
          0,
          4,
          ...pattern(16),
        ]),
        "cifar/data_batch_1.bin": cifar([1]),
        "npz/set.npz": npz({ images, labels }),
        "npy/set.npy": images,
        "npy/labels.npy": labels,
        "flat/a.png": pngOf([4, 4, 1]),
        "deep/x/a.png": pngOf([4, 4, 3]),
        "other/readme.txt": new Uint8Array(3),
        "both/a.png": pngOf([4, 4, 1]),
        "both/set.npz": npz({ images }),
      });
      const kinds = {
        idx: "idx",
        cifar: "cifar",
        "cifar/data_batch_1.bin": "cifar",
        npz: "numpy",
        "npz/set.npz": "numpy",
        npy: "numpy",
        "npy/set.npy": "numpy",
        flat: "pictures",
        deep: "pictures",
      };
      for (const [path, kind] of Object.entries(kinds)) {
        const opened = await openImages(`${folder}/${path}`, { size: [2, 2], channels: 1 });
        assert.deepEqual([path, opened.kind, opened.images.shape], [path, kind, [1, 2, 2, 1]]);
      }
      for (const path of ["other", "other/readme.txt", "gone"]) {
        await assert.rejects(
          openImages(`${folder}/${path}`),
          /train-images-idx3-ubyte .* data_batch_1\.bin, .* PNG or JPEG files.* must be there, got no such file/,
        );
      }
      await assert.rejects(openImages(`${folder}/both`), /one kind, got set\.npz and a\.png/);
    }));
});
