import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { decode, decodeApng } from "fast-png";
import { apng, png, saveApng, savePng, savePngs } from "../../src/io/png.ts";
import type { Image } from "../../src/watch/frames.ts";
import { inFolder, names } from "./folder.ts";

/** Any picture of up to 40 by 40 pixels. */
const picture: fc.Arbitrary<Image> = fc.tuple(
  fc.integer({ min: 1, max: 40 }),
  fc.integer({ min: 1, max: 40 }),
  fc.constantFrom(1 as const, 3 as const),
).chain(([width, height, channels]) => {
  const length = width * height * channels;
  return fc.uint8Array({ minLength: length, maxLength: length })
    .map((data) => ({ width, height, channels, data }));
});

const flat = (level: number, width = 3, height = 2): Image => (
  { width, height, channels: 3, data: new Uint8Array(width * height * 3).fill(level) }
);

interface Chunk {
  readonly type: string;
  readonly data: DataView;
}

/** The chunks of a PNG, whose signature, lengths and CRCs are held to be right. */
function chunksOf(bytes: Uint8Array): Chunk[] {
  assert.deepEqual([...bytes.subarray(0, 8)], [137, 80, 78, 71, 13, 10, 26, 10]);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), chunks: Chunk[] = [];
  let at = 8;
  while (at < bytes.length) {
    const length = view.getUint32(at), body = bytes.subarray(at + 4, at + 8 + length);
    assert.equal(view.getUint32(at + 8 + length), crc32(body));
    const type = new TextDecoder().decode(body.subarray(0, 4));
    chunks.push({ type, data: new DataView(bytes.buffer, bytes.byteOffset + at + 8, length) });
    at += length + 12;
  }
  assert.equal(at, bytes.length);
  return chunks;
}

/** Runs a test in a folder of its own. */

/** Pictures that note whether they were asked for and that their stream was closed. */
async function* noted(images: Image[], log: { pulled: number; closed: boolean }, fail = false) {
  try {
    for (const image of images) {
      log.pulled++;
      yield image;
    }
    if (fail) throw new Error("mine");
  } finally {
    log.closed = true;
  }
}

describe("png()", () => {
  it("png() is decoded back to the same picture, whatever its size, channels and level", () => {
    fc.assert(
      fc.property(picture, fc.nat(9), (image, level) => {
        const back = decode(png(image, { level }), { checkCrc: true });
        assert.deepEqual(
          { width: back.width, height: back.height, channels: back.channels, data: back.data },
          image,
        );
        assert.equal(back.depth, 8);
      }),
      { numRuns: 60 },
    );
  });

  it("png() consists of IHDR, IDAT and IEND with right CRCs", () => {
    const [ihdr, idat, iend, ...more] = chunksOf(png(flat(9)));
    assert.deepEqual([ihdr!.type, idat!.type, iend!.type, more.length], [
      "IHDR",
      "IDAT",
      "IEND",
      0,
    ]);
    assert.deepEqual([...new Uint8Array(ihdr!.data.buffer, ihdr!.data.byteOffset, 13)], [
      ...[0, 0, 0, 3, 0, 0, 0, 2],
      ...[8, 2, 0, 0, 0],
    ]);
  });

  it("png() with more effort is smaller", () => {
    const data = new Uint8Array(64 * 64).map((_, i) => (i * i) % 64);
    const size = (level: number) =>
      png({ width: 64, height: 64, channels: 1, data }, { level }).length;
    assert.ok(size(9) < size(1) && size(1) < size(0));
  });

  it("the writers of PNG refuse options that they do not know, before they ask for a picture", async () => {
    const bad = { levle: 3 } as { level?: number }, known = "options must be among level";
    const calls: readonly (readonly [() => unknown, string])[] = [
      [() => png(flat(0), bad), `${known}, got "levle"`],
      [() => png(flat(0), { delay: 3 } as typeof bad), `${known}, got "delay"`],
      [() => savePng("a.png", bad), `${known}, got "levle"`],
      [() => savePngs("%d.png", bad), `${known}, first, got "levle"`],
      [() => saveApng("a.png", bad), `${known}, delay, hold, loops, got "levle"`],
    ];
    for (const [call, message] of calls) {
      assert.throws(call, { name: "TypeError", message: `Cannot write a PNG: ${message}` });
    }
    const log = { pulled: 0, closed: false };
    await assert.rejects(apng(noted([flat(0)], log), bad), TypeError);
    assert.equal(log.pulled, 0);
  });

  it("png() refuses a picture that is not whole and a level out of range", () => {
    assert.throws(() => png({ ...flat(0), width: 4 }), RangeError);
    assert.throws(() => png(flat(0, 0, 2)), RangeError);
    for (const level of [-1, 10, 1.5]) assert.throws(() => png(flat(0), { level }), RangeError);
  });
});

describe("apng()", () => {
  it("apng() numbers its chunks in sequence and holds the last frame", async () => {
    const chunks = chunksOf(
      await apng([flat(1), flat(2), flat(3)], { delay: 40, hold: 900, loops: 2 }),
    );
    assert.deepEqual(
      chunks.map(({ type }) => type),
      ["IHDR", "acTL", "fcTL", "IDAT", "fcTL", "fdAT", "fcTL", "fdAT", "IEND"],
    );
    const of = (...types: string[]) =>
      chunks.filter(({ type }) => types.includes(type)).map(({ data }) => data);
    assert.deepEqual([of("acTL")[0]!.getUint32(0), of("acTL")[0]!.getUint32(4)], [3, 2]);
    assert.deepEqual(of("fcTL", "fdAT").map((data) => data.getUint32(0)), [0, 1, 2, 3, 4]);
    assert.deepEqual(of("fcTL").map((data) => data.getUint16(20)), [40, 40, 900]);
    for (const data of of("fcTL")) {
      assert.equal(data.byteLength, 26);
      assert.deepEqual([data.getUint32(4), data.getUint32(8), data.getUint16(22)], [3, 2, 1000]);
    }
  });

  it("apng() is decoded back frame by frame", async () => {
    const images = [flat(10), flat(20), flat(30)];
    const { frames, numberOfFrames } = decodeApng(await apng(ReadableStream.from(images)));
    assert.equal(numberOfFrames, 3);
    assert.deepEqual(frames.map(({ data }) => data), images.map(({ data }) => data));
  });

  it("apng() holds the frames that ffprobe counts", async () => {
    const path = await Deno.makeTempFile({ suffix: ".png" });
    await Deno.writeFile(path, await apng([flat(1), flat(2), flat(3), flat(4)]));
    const args = "-v error -count_frames -show_entries stream=nb_read_frames -of csv=p=0".split(
      " ",
    );
    try {
      const { stdout } = await new Deno.Command("ffprobe", { args: [...args, path] }).output();
      assert.equal(new TextDecoder().decode(stdout).trim(), "4");
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      console.log("ffprobe is absent: the count of APNG frames was checked by fast-png alone");
    } finally {
      await Deno.remove(path);
    }
  });

  it("apng() names the frame that is of another size, closes its source, and refuses no frames", async () => {
    const log = { pulled: 0, closed: false };
    const stream = noted([flat(1), flat(1, 4), flat(1)], log);
    await assert.rejects(apng(stream), /picture 1 must be 3x2x3 like the first, got 4x2x3/);
    assert.deepEqual(log, { pulled: 2, closed: true });
    await assert.rejects(apng([]), /must be at least one/);
  });

  it("apng() refuses delays and loops out of range", async () => {
    for (const bad of [{ delay: -1 }, { delay: 65536 }, { hold: 0.5 }, { loops: -1 }]) {
      await assert.rejects(apng([flat(1)], bad), RangeError);
    }
  });
});

describe("savePng(), savePngs() and saveApng()", () => {
  it("savePng() writes the last picture of the stream", () =>
    inFolder(async (folder) => {
      await savePng(`${folder}/a.png`)(ReadableStream.from([flat(1), flat(2)]));
      assert.deepEqual(decode(await Deno.readFile(`${folder}/a.png`)).data, flat(2).data);
      assert.deepEqual(names(folder), ["a.png"]);
      await assert.rejects(savePng(`${folder}/b.png`)(ReadableStream.from([])), RangeError);
    }));

  it("savePngs() numbers the files by its pattern", () =>
    inFolder(async (folder) => {
      const three = () => ReadableStream.from([flat(1), flat(2), flat(3)]);
      const paths = await savePngs(`${folder}/%03d.png`, { first: 9 })(three());
      assert.deepEqual(paths, ["009", "010", "011"].map((n) => `${folder}/${n}.png`));
      assert.deepEqual(decode(await Deno.readFile(paths[2]!)).data, flat(3).data);
      await savePngs(`${folder}/100%%-%d.png`)(ReadableStream.from([flat(1)]));
      assert.deepEqual(names(folder), ["009.png", "010.png", "011.png", "100%-0.png"]);
    }));

  it("savePngs() refuses a pattern that does not hold one number, before work starts", () => {
    for (const bad of ["a.png", "%d-%d.png", "%s.png", "%4d.png", "%%d.png", "50%.%d.png"]) {
      assert.throws(() => savePngs(bad), SyntaxError, bad);
    }
    savePngs("%d.png");
    savePngs("%%%d.png");
    assert.throws(() => savePngs("%d.png", { first: -1 }), RangeError);
  });

  it("saveApng() writes all pictures to one file", () =>
    inFolder(async (folder) => {
      await saveApng(`${folder}/a.png`)(ReadableStream.from([flat(1), flat(2)]));
      assert.equal(decodeApng(await Deno.readFile(`${folder}/a.png`)).numberOfFrames, 2);
    }));

  it("the sinks ask for no picture when the folder is missing", () =>
    inFolder(async (folder) => {
      for (
        const sink of [
          savePng(`${folder}/no/a.png`),
          savePngs(`${folder}/no/%d.png`),
          saveApng(`${folder}/no/a.png`),
        ]
      ) {
        const log = { pulled: 0, closed: false };
        await assert.rejects(sink(noted([flat(1)], log)), /folder .* must exist and be writable/);
        assert.equal(log.pulled, 0);
      }
      assert.deepEqual(names(folder), []);
    }));

  it("the sinks close their source when it fails, and leave nothing half-written", () =>
    inFolder(async (folder) => {
      await savePng(`${folder}/a.png`)(ReadableStream.from([flat(7)]));
      for (const sink of [savePng(`${folder}/a.png`), saveApng(`${folder}/a.png`)]) {
        const log = { pulled: 0, closed: false };
        await assert.rejects(sink(noted([flat(1)], log, true)), /mine/);
        assert.ok(log.closed);
      }
      assert.deepEqual(decode(await Deno.readFile(`${folder}/a.png`)).data, flat(7).data);
      assert.deepEqual(names(folder), ["a.png"]);
    }));

  it("the sinks close their source when a picture is not whole", () =>
    inFolder(async (folder) => {
      const broken = { ...flat(1), data: new Uint8Array(1) };
      const log = { pulled: 0, closed: false };
      await assert.rejects(
        savePngs(`${folder}/%d.png`)(noted([flat(1), broken, flat(1)], log)),
        RangeError,
      );
      assert.deepEqual(log, { pulled: 2, closed: true });
      assert.deepEqual(names(folder), ["0.png"]);
    }));
});
