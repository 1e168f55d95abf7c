import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { raw, y4m } from "../../src/io/video.ts";
import type { Image } from "../../src/watch/frames.ts";

async function joined(bytes: AsyncIterable<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await new Response(ReadableStream.from(bytes)).arrayBuffer());
}

const latin = new TextDecoder("latin1");

/** Three pictures of 6 by 4 pixels that differ everywhere. */
const film = (channels: 1 | 3): Image[] =>
  Array.from({ length: 3 }, (_, k) => ({
    width: 6,
    height: 4,
    channels,
    data: new Uint8Array(24 * channels).map((_, i) => (i * 37 + k * 101) % 256),
  }));

const stream = (images: Image[]): AsyncIterable<Image> => ReadableStream.from(images);

/** The bytes that ffmpeg decodes from a y4m, or null where there is no ffmpeg, which is said. */
async function throughFfmpeg(images: Image[], format: string): Promise<Uint8Array | null> {
  const args = `-v error -f yuv4mpegpipe -i - -f rawvideo -pix_fmt ${format} -`.split(" ");
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command("ffmpeg", { args, stdin: "piped", stdout: "piped" }).spawn();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    console.log("ffmpeg is absent: y4m was checked byte by byte alone");
    return null;
  }
  const output = child.output();
  await ReadableStream.from(y4m({ fps: 8 })(stream(images))).pipeTo(child.stdin);
  const { success, stdout } = await output;
  assert.ok(success);
  return stdout;
}

describe("y4m()", () => {
  it("y4m() writes grey pictures byte for byte after their header", async () => {
    const images = film(1), bytes = await joined(y4m({ fps: 12 })(stream(images)));
    const head = "YUV4MPEG2 W6 H4 F12:1 Ip A1:1 Cmono XCOLORRANGE=FULL\n";
    const wanted = head + images.map(({ data }) => `FRAME\n${latin.decode(data)}`).join("");
    assert.equal(latin.decode(bytes), wanted);
  });

  it("y4m() writes colours as the planes of BT.601 in limited range", async () => {
    const rgb = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [
      128,
      128,
      128,
    ]];
    const image: Image = { width: 6, height: 1, channels: 3, data: new Uint8Array(rgb.flat()) };
    const bytes = await joined(y4m()(stream([image]))), text = latin.decode(bytes);
    const head = "YUV4MPEG2 W6 H1 F24:1 Ip A1:1 C444 XCOLORRANGE=LIMITED\nFRAME\n";
    assert.ok(text.startsWith(head));
    // The values of 8-bit BT.601 as tables of colour bars give them.
    assert.deepEqual([...bytes.subarray(head.length)], [
      ...[16, 235, 81, 145, 41, 126],
      ...[128, 128, 90, 54, 240, 128],
      ...[128, 128, 240, 34, 110, 128],
    ]);
  });

  it("y4m() writes fractions of a rate", async () => {
    const rate = async (fps: number | [number, number]) =>
      latin.decode(await joined(y4m({ fps })(stream(film(1))))).match(/F(\d+:\d+)/)![1];
    assert.deepEqual(
      [await rate(25), await rate(12.5), await rate([30000, 1001])],
      ["25:1", "12500:1000", "30000:1001"],
    );
  });

  it("y4m() comes back from ffmpeg: grey the same, also as colour", async () => {
    const images = film(1), grey = await throughFfmpeg(images, "gray");
    const colour = await throughFfmpeg(images, "rgb24");
    if (!grey || !colour) return;
    const wanted = images.flatMap(({ data }) => [...data]);
    assert.deepEqual([...grey], wanted);
    assert.deepEqual([...colour], wanted.flatMap((v) => [v, v, v]));
  });

  it("y4m() comes back from ffmpeg: colours to within 3 of 255, and on average within 1", async () => {
    const images = film(3), back = await throughFfmpeg(images, "rgb24");
    if (!back) return;
    const wanted = images.flatMap(({ data }) => [...data]);
    assert.equal(back.length, wanted.length);
    const errors = wanted.map((v, i) => Math.abs(v - back[i]!));
    assert.ok(Math.max(...errors) <= 3, `largest error ${Math.max(...errors)}`);
    assert.ok(errors.reduce((a, b) => a + b) / errors.length < 1);
  });

  it("y4m() refuses rates that are not above 0", () => {
    for (const fps of [0, -1, NaN, Infinity, 0.0001, [1, 0] as const, [1.5, 2] as const]) {
      assert.throws(() => y4m({ fps }), RangeError);
    }
  });
});

describe("raw()", () => {
  it("raw() writes pictures as they are unless told otherwise", async () => {
    for (const channels of [1, 3] as const) {
      const images = film(channels), wanted = images.flatMap(({ data }) => [...data]);
      assert.deepEqual([...await joined(raw()(stream(images)))], wanted);
    }
  });

  it("raw() turns grey into colour by repetition and colour into grey by its luma", async () => {
    const grey: Image = { width: 2, height: 1, channels: 1, data: new Uint8Array([5, 9]) };
    assert.deepEqual([...await joined(raw({ format: "rgb24" })(stream([grey])))], [
      5,
      5,
      5,
      9,
      9,
      9,
    ]);
    const data = new Uint8Array([255, 0, 0, 0, 255, 0, 0, 0, 255, 7, 7, 7]);
    const colour: Image = { width: 4, height: 1, channels: 3, data };
    assert.deepEqual([...await joined(raw({ format: "gray" })(stream([colour])))], [
      76,
      150,
      29,
      7,
    ]);
  });

  it("raw() refuses another format", () => {
    assert.throws(() => raw({ format: "yuv420p" as "gray" }), RangeError);
  });
});

describe("y4m() and raw()", () => {
  for (const [name, write] of Object.entries({ y4m: y4m(), raw: raw() })) {
    /** Pictures that note how many were asked for and that their stream was closed. */
    const noted = async function* (images: Image[], log: { pulled: number; closed: boolean }) {
      try {
        for (const image of images) {
          log.pulled++;
          yield image;
        }
        throw new DOMException("stop", "AbortError");
      } finally {
        log.closed = true;
      }
    };

    it(`${name}() names the frame that is of another size and closes its source`, async () => {
      const [a, b, c] = film(3), log = { pulled: 0, closed: false };
      const odd = { ...b!, width: 4, height: 6 };
      await assert.rejects(joined(write(noted([a!, odd, c!], log))), /picture 1 must be 6x4x3/);
      assert.deepEqual(log, { pulled: 2, closed: true });
    });

    it(`${name}() asks for one picture at a time and closes its source on break`, async () => {
      const log = { pulled: 0, closed: false };
      for await (const _ of write(noted(film(1), log))) break;
      assert.deepEqual(log, { pulled: 1, closed: true });
    });

    it(`${name}() hands on an abort of its source`, async () => {
      const log = { pulled: 0, closed: false };
      await assert.rejects(joined(write(noted(film(1), log))), { name: "AbortError" });
      assert.deepEqual(log, { pulled: 3, closed: true });
    });

    it(`${name}() writes nothing for an empty stream`, async () => {
      assert.equal((await joined(write(stream([])))).length, 0);
    });
  }
});

describe("y4m() and raw()", () => {
  it("y4m() and raw() refuse options that they do not know", () => {
    const start = "Cannot write a video: options must be among";
    assert.throws(() => y4m({ rate: 3 } as { fps?: number }), {
      name: "TypeError",
      message: `${start} fps, got "rate"`,
    });
    assert.throws(() => raw({ fps: 3 } as { format?: "gray" }), {
      name: "TypeError",
      message: `${start} format, got "fps"`,
    });
  });
});
