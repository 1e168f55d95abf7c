import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { batches, type ImageBatch } from "../../src/data/batches.ts";
import { type ImageSource, inMemory } from "../../src/data/images.ts";
import { openImages } from "../../src/data/read.ts";
import { pictures } from "../../src/data/sets/folder.ts";
import { key } from "../../src/tensor/key.ts";
import { inFolder } from "../io/folder.ts";
import { jpegOf, pattern, pngOf, put } from "./files.ts";

/** Seven pictures in three classes, of several kinds and sizes. */
const several = {
  "zebras/a.png": pngOf([8, 8, 3]),
  "zebras/b.jpg": jpegOf([16, 24]),
  "Bees/a.png": pngOf([9, 7, 1]),
  "Bees/b.PNG": pngOf([8, 8, 4]),
  "ants/1.jpeg": jpegOf([8, 8]),
  "ants/10.png": pngOf([30, 31, 3]),
  "ants/2.png": pngOf([8, 8, 1], new Uint16Array(pattern(64)), 16),
} as const;

async function firstOf(
  all: Iterable<ImageBatch> | AsyncIterable<ImageBatch>,
  count: number,
): Promise<ImageBatch[]> {
  const found: ImageBatch[] = [];
  for await (const batch of all) if (found.push(batch) === count) break;
  return found;
}

describe("pictures() and what became of the files", () => {
  it("pictures() refuses a file that is another picture now, and numbers that are none of an image", () =>
    inFolder(async (folder) => {
      await put(folder, { "a.png": pngOf([2, 1, 1]), "b.png": pngOf([2, 1, 1]) });
      const source = await pictures(folder, { hold: 0 });
      const held = await pictures(folder, { hold: 1e6 });
      await put(folder, { "a.png": pngOf([2, 1, 1], new Uint8Array([9, 8])) });
      await assert.rejects(
        () => inMemory(source),
        /a\.png is another picture now, and was whole before/,
      );
      assert.equal((await inMemory(held)).images.length, 4);
      for (const each of [source, held]) {
        for (const number of [2, -1, 0.5, NaN]) {
          await assert.rejects(
            () => each.pixels([number]),
            /numbers must be whole and in \[0, 2\), got /,
          );
        }
      }
    }));
});

describe("pictures()", () => {
  it("pictures() takes the sub-folders as classes, in the order of their names", () =>
    inFolder(async (folder) => {
      await put(folder, {
        ...several,
        "zebras/notes.txt": new Uint8Array(1),
        ".git/a.png": new Uint8Array(1),
        "ants/.a.png": new Uint8Array(1),
      });
      const { shape, classes, labels, files, skipped } = await pictures(folder, { size: [8, 8] });
      assert.deepEqual(shape, [7, 8, 8, 3]);
      assert.deepEqual(classes, ["Bees", "ants", "zebras"]);
      assert.deepEqual([...labels!], [0, 0, 1, 1, 1, 2, 2]);
      assert.deepEqual(files, [
        ...["Bees/a.png", "Bees/b.PNG", "ants/1.jpeg", "ants/10.png", "ants/2.png"],
        ...["zebras/a.png", "zebras/b.jpg"],
      ]);
      assert.deepEqual(skipped, []);
    }));

  it("pictures() without sub-folders are without classes; grey ones stay grey unless asked", () =>
    inFolder(async (folder) => {
      await put(folder, { "a.png": pngOf([2, 3, 1]), "b.png": pngOf([2, 3, 1], pattern(6, 1)) });
      const source = await pictures(folder), set = await inMemory(source);
      assert.deepEqual([source.shape, "labels" in source, "classes" in source], [
        [2, 2, 3, 1],
        false,
        false,
      ]);
      assert.deepEqual([...set.images], [...pattern(6), ...pattern(6, 1)]);
      assert.deepEqual((await pictures(folder, { channels: 3 })).shape, [2, 2, 3, 3]);
    }));

  it("pictures() leaves damaged files out and names them; none that is whole is an error", () =>
    inFolder(async (folder) => {
      const bad = {
        "a/cut.png": pngOf([8, 8, 3]).subarray(0, 70),
        "a/text.jpg": new TextEncoder().encode("not a picture"),
        "b/photo.webp": new Uint8Array(9),
      };
      await put(folder, { "a/ok.png": pngOf([8, 8, 3]), "b/ok.png": pngOf([8, 8, 3]), ...bad });
      await Deno.symlink("nowhere", `${folder}/b/link.png`);
      const { files, skipped } = await pictures(folder);
      assert.deepEqual(files, ["a/ok.png", "b/ok.png"]);
      assert.deepEqual(
        skipped.map(({ path }) => path).sort(),
        ["a/cut.png", "a/text.jpg", "b/link.png", "b/photo.webp"],
      );
      for (const { reason } of skipped) assert.match(reason, /^must .*, got /);
      await Deno.remove(`${folder}/a/ok.png`);
      await assert.rejects(
        pictures(folder),
        /each sub-folder.* must hold .*, got none in a\/ of 2 files: a\/cut\.png must /,
      );
      await Deno.remove(`${folder}/b/ok.png`);
      await assert.rejects(
        pictures(folder),
        /must be a whole PNG or JPEG, got none in 4 files: .*a\/text\.jpg/,
      );
      await Deno.mkdir(`${folder}/none`);
      await assert.rejects(pictures(`${folder}/none`), /got no pictures/);
      await assert.rejects(pictures(`${folder}/gone`), /the folder must be there, got none/);
    }));

  it("pictures() refuses folders of which the classes are not clear, and several sizes where none is given", () =>
    inFolder(async (folder) => {
      await put(folder, several);
      await assert.rejects(
        pictures(folder),
        /size must be given .*, got 9x7 \(Bees\/a\.png\) and 8x8 \(Bees\/b\.PNG\)/,
      );
      await put(folder, { "top.png": pngOf([8, 8, 1]) });
      await assert.rejects(pictures(folder), /either in sub-folders.*, got top\.png beside Bees\//);
      await Deno.remove(`${folder}/top.png`);
      await put(folder, { "ants/more/a.png": pngOf([8, 8, 1]) });
      await assert.rejects(pictures(folder), /must hold pictures and no folders, got ants\/more/);
      await assert.rejects(pictures(folder, { hold: -1 }), /hold must be/);
      await assert.rejects(pictures(folder, { sizes: 1 } as object), /options must be among/);
    }));

  it("pictures(), openImages() and batches() tell all that is wrong with their options at once", async () => {
    const wrong = { size: [0, 4], channels: 2, hold: -1 } as unknown as { hold: number };
    const all = /size must be .*\[0,4\].*channels must be 1 or 3.*hold must be .*-1/s;
    for (const open of [pictures, openImages]) await assert.rejects(open("nowhere", wrong), all);
    const set = { images: new Uint8Array(1), shape: [1, 1, 1, 1] } as const;
    assert.throws(
      () => batches(set, { size: 0, key: 3, flip: 1 } as unknown as { size: 0; key: never }),
      /size must be .*got 0.*key must be .*got 3.*flip must be true or false, got 1/s,
    );
  });

  it("pictures() refuses 100,000 x 100,000 pixels by the header, without reading more", () =>
    inFolder(async (folder) => {
      const huge = pngOf([8, 8, 3]), view = new DataView(huge.buffer, huge.byteOffset);
      view.setUint32(16, 100_000);
      view.setUint32(20, 100_000);
      await put(folder, { "a.png": pngOf([8, 8, 3]), "huge.png": huge });
      // And so with a file that is as large as it would have to be.
      await Deno.truncate(`${folder}/huge.png`, 2 ** 27);
      const before = Deno.memoryUsage().external, { skipped } = await pictures(folder);
      assert.match(skipped[0]!.reason, /pixels, got 100000x100000/);
      assert.ok(Deno.memoryUsage().external - before < 2 ** 26);
    }));

  it("pictures() has another digest for other bytes, names and fits, and the same whether held or not", () =>
    inFolder(async (folder) => {
      await put(folder, several);
      const digest = async (options: object = {}) =>
        (await pictures(folder, { size: [8, 8], ...options })).digest;
      const first = await digest();
      assert.match(first, /^[0-9a-f]{64}$/);
      assert.equal(await digest({ hold: 1e9 }), first);
      const others = [await digest({ fit: "pad" }), await digest({ channels: 1 })];
      await put(folder, { "ants/10.png": pngOf([30, 31, 3], pattern(2790, 1)) });
      others.push(await digest());
      await Deno.rename(`${folder}/ants/10.png`, `${folder}/ants/11.png`);
      others.push(await digest());
      assert.equal(new Set([first, ...others]).size, 5);
    }));
});

describe("batches() of a folder", () => {
  const options = { size: 3, key: key(4), flip: true, dequantize: true };

  it("batches() of pictures are the same streamed, held and in memory, bit for bit, from any start", () =>
    inFolder(async (folder) => {
      await put(folder, several);
      const source = await pictures(folder, { size: [8, 8] }), set = await inMemory(source);
      const held = await pictures(folder, { size: [8, 8], hold: 1e6 });
      const wanted = await firstOf(batches(set, options), 8);
      for (const ahead of [0, 1, 5]) {
        assert.deepEqual(await firstOf(batches(source, { ...options, ahead }), 8), wanted);
      }
      assert.deepEqual(await firstOf(batches(held, options), 8), wanted);
      const later = batches(source, { ...options, start: 5 });
      // It can be iterated again and again.
      for (let i = 0; i < 2; i++) assert.deepEqual(await firstOf(later, 3), wanted.slice(5));
    }));

  it("batches() reads a few ahead, and closing waits for what is under way and leaves nothing", async () => {
    let under = 0, asked = 0;
    const source: ImageSource = {
      shape: [10, 1, 1, 1],
      pixels: async (numbers, signal) => {
        under++;
        asked++;
        await new Promise((resolve) => setTimeout(resolve, 5));
        under--;
        signal?.throwIfAborted();
        return Uint8Array.from(numbers);
      },
    };
    const stream = batches(source, { ...options, ahead: 3 });
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(asked, 0);
    for await (const { position } of stream) {
      assert.ok(asked <= position + 4, `${asked} at ${position}`);
      if (position === 4) break;
    }
    assert.equal(under, 0);
    assert.equal(asked, 8);
  });

  it("batches() gives what goes wrong ahead where its batch is asked for, and closes", async () => {
    let under = 0;
    const source: ImageSource = {
      shape: [12, 1, 1, 1],
      pixels: async (numbers) => {
        under++;
        await Promise.resolve();
        under--;
        if (Array.from(numbers).includes(7)) throw new Error("Cannot read 7");
        return Uint8Array.from(numbers);
      },
    };
    const set = await inMemory({
      ...source,
      pixels: (numbers) => Promise.resolve(Uint8Array.from(numbers)),
    });
    const plain = { size: 2, key: key(1) };
    const sound = (await firstOf(batches(set, plain), 6)).findIndex(({ images }) =>
      [...images].some((x) => Math.round((x + 1) * 127.5) === 7)
    );
    const seen: number[] = [];
    await assert.rejects(async () => {
      for await (const { position } of batches(source, { ...plain, ahead: 5 })) {
        seen.push(position);
        // Until then nobody has asked for what went wrong.
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }, /Cannot read 7/);
    assert.deepEqual([seen.length, under], [sound, 0]);
  });

  it("batches() names a file that is not any more what it was, and refuses options at once", () =>
    inFolder(async (folder) => {
      await put(folder, { "a.png": pngOf([2, 2, 1]) });
      const source = await pictures(folder);
      await put(folder, { "a.png": new Uint8Array(40) });
      await assert.rejects(
        firstOf(batches(source, options), 1),
        /Cannot read pictures: .*a\.png must be a PNG or a JPEG, got .*, and was whole before/,
      );
      await Deno.remove(`${folder}/a.png`);
      await assert.rejects(firstOf(batches(source, options), 1), /a\.png must be readable/);
      assert.throws(
        () => batches(source, { ...options, ahead: -1 }),
        /ahead must be a whole number/,
      );
      assert.throws(
        () => batches(source, { ...options, behind: 1 } as never),
        /options must be among/,
      );
      assert.throws(
        () => batches({ ...source, labels: new Uint8Array(2) }, options),
        /labels must be 1 num/,
      );
    }));
});
