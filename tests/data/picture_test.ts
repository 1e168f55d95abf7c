import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import { decodePicture } from "../../src/data/picture/decode.ts";
import { fitInto, fitted, imageFits } from "../../src/data/picture/fit.ts";
import { PictureFault, pictureHeader } from "../../src/data/picture/header.ts";
import { png } from "../../src/io/png.ts";
import { chunk, jpegOf, pattern, pngOf, rawPng } from "./files.ts";

const side = fc.integer({ min: 1, max: 12 });

describe("fitInto()", () => {
  const fittedTo = (
    shape: readonly [number, number, number],
    picture: Parameters<typeof fitInto>[0],
    fit: Parameters<typeof fitInto>[2],
  ): number[] => {
    const out = new Uint8Array(shape[0] * shape[1] * shape[2]);
    fitInto(picture, shape, fit, out);
    return [...out];
  };

  it("fitInto() by a whole factor gives the mean of each block, and leaves what is of the size as it is", () =>
    fc.assert(
      fc.property(
        side,
        side,
        fc.integer({ min: 1, max: 5 }),
        fc.constantFrom(1 as const, 3 as const),
        (h, w, factor, c) => {
          const height = h * factor, width = w * factor, data = pattern(height * width * c, h);
          const wanted = Array.from({ length: h * w * c }, (_, i) => {
            const channel = i % c, x = Math.floor(i / c) % w, y = Math.floor(i / c / w);
            let sum = 0;
            for (let dy = 0; dy < factor; dy++) {
              for (let dx = 0; dx < factor; dx++) {
                sum += data[((y * factor + dy) * width + x * factor + dx) * c + channel]!;
              }
            }
            return Math.round(sum / factor ** 2);
          });
          const got = fittedTo([h, w, c], { height, width, channels: c, data }, "cover");
          assert.deepEqual(got, wanted);
        },
      ),
    ));

  it("fitInto() keeps a constant picture constant at any size", () =>
    fc.assert(
      fc.property(side, side, side, side, fc.nat(255), (height, width, h, w, level) => {
        const data = new Uint8Array(height * width * 3).fill(level);
        for (const channels of [1, 3]) {
          const got = fittedTo([h, w, channels], { height, width, channels: 3, data }, "cover");
          assert.deepEqual(got, Array(h * w * channels).fill(level));
        }
      }),
    ));

  it("fitInto() counts pixels by the part that is covered, and cuts what is too much on both sides alike", () => {
    const line = (...levels: number[]) => ({
      height: 1,
      width: levels.length,
      channels: 1 as const,
      data: new Uint8Array(levels),
    });
    // Cut to 1 × 1 it covers the middle; padded it is one third as high.
    assert.deepEqual(fittedTo([1, 1, 1], line(9, 60, 200), "cover"), [60]);
    assert.deepEqual(fittedTo([1, 2, 1], line(0, 90, 30), "cover"), [45, 60]);
    const square = { ...line(...[0, 90, 30], ...[0, 90, 30], ...[0, 90, 30]), height: 3, width: 3 };
    assert.deepEqual(fittedTo([2, 2, 1], square, "cover"), [30, 50, 30, 50]);
    assert.deepEqual(fittedTo([2, 2, 1], line(10, 20, 60, 80), "cover"), [20, 60, 20, 60]);
    assert.deepEqual(fittedTo([1, 2, 1], line(9, 60, 200, 7), "crop"), [60, 200]);
    assert.deepEqual(fittedTo([3, 2, 1], line(10, 20, 60, 80), "pad"), [0, 0, 15, 70, 0, 0]);
    assert.deepEqual(fittedTo([2, 4, 1], line(7, 8), "pad"), [0, 7, 8, 0, 0, 0, 0, 0]);
    assert.throws(
      () => fittedTo([2, 2, 1], line(1, 2), "crop"),
      /must be at least 2x2 to be cut to that, got 1x2/,
    );
  });

  it("fitted() refuses options, says which sets it takes, and leaves the rest of a set as it is", () => {
    const set = {
      images: pattern(24),
      shape: [2, 4, 3, 1],
      labels: new Uint8Array([0, 1]),
      classes: ["a", "b"],
    } as const;
    assert.equal(fitted(set, {}), set);
    const { labels, classes, shape } = fitted(set, { size: [2, 2], channels: 3 });
    assert.deepEqual([labels, classes, shape], [set.labels, set.classes, [2, 2, 2, 3]]);
    for (const fit of imageFits) fitted(set, { size: [2, 2], fit });
    const refused: readonly [object, RegExp][] = [
      [{ size: [0, 1] }, /size must be a height and a width/],
      [{ size: 3 }, /size must be/],
      [{ channels: 2 }, /channels must be 1 or 3, got 2/],
      [{ fit: "fill" }, /fit must be one of cover, pad, crop, got "?fill/],
      [{ sise: [1, 1] }, /options must be among size, channels, fit, got "sise"/],
      [{ size: [9, 9], fit: "crop" }, /Cannot fit images: they must be at least 9x9/],
    ];
    for (const [options, message] of refused) assert.throws(() => fitted(set, options), message);
    const odd = { images: pattern(8), shape: [1, 2, 2, 2] } as const;
    assert.throws(() => fitted(odd, { size: [1, 1] }), /1 or 3 channels, got 2/);
  });
});

describe("decodePicture()", () => {
  it("decodePicture() reads what png() writes, grey and in colour", async () => {
    for (const channels of [1, 3] as const) {
      const image = { height: 5, width: 7, channels, data: pattern(35 * channels) };
      assert.deepEqual(await decodePicture(png(image)), image);
    }
  });

  it("decodePicture() puts what is transparent on black, and takes 16 bits to the scale of 8", async () => {
    const rgba = await decodePicture(
      pngOf([1, 2, 4], new Uint8Array([200, 100, 50, 255, 255, 51, 0, 51])),
    );
    assert.deepEqual([rgba.channels, [...rgba.data].map(Math.round)], [3, [
      200,
      100,
      50,
      51,
      10,
      0,
    ]]);
    const greyAlpha = await decodePicture(pngOf([1, 2, 2], new Uint8Array([200, 255, 200, 0])));
    assert.deepEqual([greyAlpha.channels, [...greyAlpha.data]], [1, [200, 0]]);
    const deep = await decodePicture(pngOf([1, 3, 1], new Uint16Array([0, 257 * 77, 65535]), 16));
    assert.deepEqual([...deep.data].map(Math.fround), [0, 77, 255]);
    const deepAlpha = await decodePicture(
      pngOf([1, 1, 4], new Uint16Array([65535, 257 * 100, 0, 257 * 51]), 16),
    );
    assert.deepEqual([...deepAlpha.data].map(Math.round), [51, 20, 0]);
  });

  it("decodePicture() reads palettes and few bits, and their transparency", async () => {
    const two = { width: 3, height: 2, depth: 1, colour: 0 };
    const rows = new Uint8Array([0, 0b10100000, 0, 0b01100000]);
    assert.deepEqual([...(await decodePicture(rawPng(two, rows))).data], [
      255,
      0,
      255,
      0,
      255,
      255,
    ]);
    const clear = [chunk("tRNS", new Uint8Array([0, 1]))];
    assert.deepEqual([...(await decodePicture(rawPng(two, rows, clear))).data], Array(6).fill(0));
    const indexed = { width: 3, height: 1, depth: 2, colour: 3 };
    const palette = chunk("PLTE", new Uint8Array([1, 2, 3, 40, 50, 60, 100, 150, 200]));
    const opacity = chunk("tRNS", new Uint8Array([255, 0]));
    const bytes = rawPng(indexed, new Uint8Array([0, 0b10010000]), [palette, opacity]);
    const { channels, data } = await decodePicture(bytes);
    assert.deepEqual([channels, [...data]], [3, [100, 150, 200, 0, 0, 0, 1, 2, 3]]);
    await assert.rejects(
      decodePicture(rawPng(indexed, new Uint8Array([0, 0b11010000]), [palette])),
      /must have 3 colours, got one of number 3/,
    );
    // A palette beside true colours is a proposal.
    const rgb = { width: 1, height: 1, depth: 8, colour: 2 };
    const proposal = rawPng(rgb, new Uint8Array([0, 9, 8, 7]), [palette]);
    assert.deepEqual([...(await decodePicture(proposal)).data], [9, 8, 7]);
  });

  it("decodePicture() reads JPEG near to what was written", async () => {
    const { height, width, channels, data } = await decodePicture(jpegOf([16, 24]));
    assert.deepEqual([height, width, channels], [16, 24, 3]);
    for (let i = 0; i < 16 * 24; i++) {
      assert.ok(Math.abs(data[3 * i]! - 255 * (i % 24) / 24) < 12);
      assert.ok(Math.abs(data[3 * i + 2]! - 128) < 12);
    }
  });

  it("decodePicture() takes a JPEG's channels as they stand where it says that they are red, green and blue", async () => {
    const jpeg = jpegOf([8, 8]), coloured = (await decodePicture(jpeg)).data;
    const adobe = [0xff, 0xee, 0, 14, 0x41, 0x64, 0x6f, 0x62, 0x65, 0, 100, 0, 0, 0, 0, 0];
    const plain = new Uint8Array([...jpeg.subarray(0, 2), ...adobe, ...jpeg.subarray(2)]);
    const { data } = await decodePicture(plain);
    const [r, g, b] = coloured as unknown as [number, number, number];
    assert.ok(Math.abs(data[0]! - (0.299 * r + 0.587 * g + 0.114 * b)) < 4);
    assert.notDeepEqual(data, coloured);
  });

  it("decodePicture() refuses by the header what memory should not hold, and what bytes cannot stand for", async () => {
    const png = (width: number, height: number) =>
      rawPng({ width, height, depth: 8, colour: 2 }, new Uint8Array([0, 1, 2, 3]));
    const before = Deno.memoryUsage().external;
    await assert.rejects(
      decodePicture(png(100_000, 100_000)),
      /must have 1 to 67108864 pixels, got 100000x100000/,
    );
    await assert.rejects(
      decodePicture(png(8000, 8000)),
      /must be of a size that its bytes can stand for, got 8000x8000/,
    );
    await assert.rejects(decodePicture(png(0, 1)), /must have 1 to/);
    const jpeg = jpegOf([8, 8]),
      at = jpeg.findIndex((byte, i) => byte === 0xff && jpeg[i + 1] === 0xc0);
    for (const size of [0xffff, 5000]) {
      const lying = jpeg.slice(), view = new DataView(lying.buffer);
      view.setUint16(at + 5, size);
      view.setUint16(at + 7, size);
      await assert.rejects(decodePicture(lying), /must (have 1 to|be of a size)/);
    }
    assert.ok(Deno.memoryUsage().external - before < 5e7);
  });

  it("decodePicture() holds no more of what a PNG unpacks to than its size says", async () => {
    const bomb = rawPng({ width: 10, height: 10, depth: 8, colour: 0 }, new Uint8Array(50_000_000));
    assert.ok(bomb.length < 60_000);
    const since = performance.now();
    await assert.rejects(decodePicture(bomb), /must unpack to the 110 bytes of its size, got more/);
    assert.ok(performance.now() - since < 1500);
    const short = rawPng({ width: 10, height: 10, depth: 8, colour: 0 }, new Uint8Array(109));
    await assert.rejects(decodePicture(short), /must unpack to the 110 bytes of its size, got 109/);
  });

  it("decodePicture() refuses what is cut short, changed or of another kind, by what is wrong", async () => {
    const whole = pngOf([4, 5, 3]), jpeg = jpegOf([16, 16]);
    for (const cut of [0, 3, 20, 50, whole.length - 13]) {
      await assert.rejects(decodePicture(whole.subarray(0, cut)), PictureFault);
    }
    await assert.rejects(decodePicture(whole.with(45, whole[45]! ^ 1)), PictureFault);
    for (const cut of [2, 10, 300, jpeg.length - 20, jpeg.length - 2]) {
      await assert.rejects(decodePicture(jpeg.subarray(0, cut)), PictureFault, `${cut}`);
    }
    const ended = new Uint8Array([...jpeg.subarray(0, jpeg.length - 40), 0xff, 0xd9]);
    await assert.rejects(decodePicture(ended), /must be whole, got/);
    await assert.rejects(
      decodePicture(new TextEncoder().encode("GIF89a")),
      /must be a PNG or a JPEG/,
    );
    const at = jpeg.findIndex((byte, i) => byte === 0xff && jpeg[i + 1] === 0xc0);
    await assert.rejects(decodePicture(jpeg.with(at + 1, 0xc9)), /baseline or progressive/);
    await assert.rejects(decodePicture(jpeg.with(at + 9, 4)), /got four, as CMYK has/);
    await assert.rejects(
      decodePicture(jpeg.with(at + 4, 12)),
      /must have 8 bits a channel, got 12/,
    );
  });

  it("pictureHeader() asks for more bytes where segments stand before the frame, and not for ever", () => {
    const jpeg = jpegOf([8, 16]), size = 65533;
    const long = new Uint8Array([0xff, 0xe1, size >> 8, size & 255, ...new Uint8Array(size - 2)]);
    const file = new Uint8Array([...jpeg.subarray(0, 2), ...long, ...jpeg.subarray(2)]);
    assert.equal(pictureHeader(file.subarray(0, 4096), file.length), undefined);
    const { height, width } = pictureHeader(file, file.length)!;
    assert.deepEqual([height, width], [8, 16]);
    assert.throws(() => pictureHeader(file.subarray(0, 60000), 60000), /must have a frame header/);
  });
});
