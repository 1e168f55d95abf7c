import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import { guided } from "../../src/refine/guide/combine.ts";
import { byClassifier } from "../../src/refine/guide/gradient.ts";
import { thresholded } from "../../src/refine/threshold.ts";
import { ddim } from "../../src/sample/ancestral.ts";
import { prior, run } from "../../src/sample/run.ts";
import { key } from "../../src/tensor/key.ts";
import { last } from "../../src/watch/record.ts";
import {
  loadDenoiser,
  loadNoisyClassifier,
  type NoisyClassifierConfig,
} from "../../src/io/weights.ts";
import { saveCheckpoint } from "../../src/io/checkpoint.ts";
import { usualBatch } from "../../src/command/sample/batch.ts";
import { encodeSafetensors, readSafetensors, writeSafetensors } from "../../src/io/safetensors.ts";
import {
  called,
  guide,
  guideWeights,
  happening,
  listed,
  same,
  shell,
  started,
  tiles,
  tiny,
  tinyGuide,
  weights,
  weightsOf,
  within,
} from "./run.ts";
import { live } from "../measure.ts";

/** Runs in a folder that has the weights of a tiny denoiser of 8 x 8 pixels and three classes. */
const withWeights = <A>(use: (folder: string, path: string) => Promise<A>): Promise<A> =>
  within(async (folder) => await use(folder, await weights(`${folder}/w.safetensors`)));

const quick = ["--steps", "4", "--zoom", "1", "--engine", "wasm"];

/** Samples to a PNG and gives its bytes. */
async function picture(folder: string, ...more: string[]): Promise<Uint8Array> {
  const args = ["--checkpoint", `${folder}/w.safetensors`, "--out", `${folder}/picture.png`];
  const { code, said, shown } = await called("sample", ...args, ...quick, ...more);
  assert.deepEqual([code, said, shown], [0, "", ""]);
  return await Deno.readFile(`${folder}/picture.png`);
}

/** The samples of a picture, each the list of its pixels. */
const samples = async (folder: string, ...more: string[]): Promise<number[][]> =>
  tiles(await picture(folder, ...more), 8);

const latin = new TextDecoder("latin1");

/** The number of frames that an animated PNG says it has. */
function frameCount(apng: Uint8Array): number {
  const at = latin.decode(apng).indexOf("acTL");
  assert.ok(at > 0);
  return new DataView(apng.buffer, apng.byteOffset).getUint32(at + 4);
}

describe("tweedie sample", () => {
  it("the same key gives the same bytes, another key others", async () => {
    await withWeights(async (folder) => {
      const first = await picture(folder);
      same(await picture(folder), first);
      assert.notDeepEqual(await picture(folder, "--key", "1"), first);
    });
  });

  it("a sample does not depend on how many are drawn, by any sampler", async () => {
    await withWeights(async (folder) => {
      for (
        const sampler of [
          ["--sampler", "ddim"],
          ["--sampler", "ddim", "--eta", "0.7"],
          ["--sampler", "ddpm"],
          ["--sampler", "dpm"],
        ]
      ) {
        const [alone] = await samples(folder, "--count", "1", ...sampler);
        const all = await samples(folder, "--count", "4", ...sampler);
        assert.equal(all.length, 4);
        assert.deepEqual(all[0], alone, `${sampler}`);
        assert.ok(all.slice(1).every((sample) => `${sample}` !== `${alone}`));
      }
    });
  });

  it("samples and frames do not depend on how many are drawn at once, in any format", async () => {
    await withWeights(async (folder, path) => {
      const made = async (batch: string, ...more: string[]): Promise<Uint8Array[]> => {
        const out = `${folder}/${batch}`;
        await Deno.mkdir(out);
        const files = ["--out", `${out}/${more[0]}`, "--final", `${out}/final.png`];
        const { code, said } = await called(
          ...["sample", "--checkpoint", path, ...files, ...quick, "--count", "7"],
          ...["--batch", batch, "--sampler", "ddpm", ...more.slice(1)],
        );
        assert.deepEqual([code, said], [0, ""]);
        const names = [...Deno.readDirSync(out)].map(({ name }) => name).sort();
        const bytes = await Promise.all(names.map((name) => Deno.readFile(`${out}/${name}`)));
        await Deno.remove(out, { recursive: true });
        return bytes;
      };
      for (
        const format of [
          ["a.png"],
          ["%d.png", "--frames", "pngs", "--every", "3"],
          ["a.gray", "--frames", "gray", "--every", "2", "--of", "x0"],
          ["a.y4m", "--frames", "y4m", "--grid", "1,8", "--zoom", "2"],
        ]
      ) {
        const whole = await made("7", ...format);
        assert.equal(whole.length, format[0] === "%d.png" ? 4 : 2);
        for (const batch of ["3", "1"]) {
          const parts = await made(batch, ...format);
          assert.equal(parts.length, whole.length);
          parts.forEach((bytes, i) => same(bytes, whole[i]!, `${format} in batches of ${batch},`));
        }
      }
    });
  });

  it("--batch bounds memory whatever --count is, with frames and without; so does what it is unless given", async () => {
    await within(async (folder) => {
      const network = { ...tiny.network, patch: 1 }, path = `${folder}/w.safetensors`;
      await weights(path, { ...tiny, network });
      const peak = async (...more: string[]): Promise<number> => {
        const args = ["--checkpoint", path, "--out", `${folder}/o`, "--frames", "gray"];
        let ended: { code: number } | undefined;
        const { peakBytes } = await tf.profile(async () => {
          ended = await called("sample", ...args, ...quick, "--steps", "1", ...more);
          return [];
        });
        assert.equal(ended?.code, 0);
        // Weights that were loaded live as long as the process.
        return peakBytes - tf.memory().numBytes;
      };
      const one = await peak("--count", "4");
      assert.ok(await peak("--count", "64", "--batch", "64") > 8 * one);
      assert.ok(await peak("--count", "64", "--batch", "4") < 2 * one);
      // A network so large that few samples fit.
      const wide = { ...tiny, network: { ...network, size: [64, 64] } } as const;
      await weights(path, wide);
      const most = usualBatch(wide.network, "wasm");
      assert.equal(most, 16);
      assert.ok(await peak("--count", "33") < 2 * await peak("--count", `${most}`));
    });
  });

  it("the times are those that the library lays out for the model's schedule", async () => {
    await within(async (folder) => {
      const path = await weights(`${folder}/w.safetensors`, { ...tiny, schedule: { name: "edm" } });
      const { model } = await loadDenoiser(path);
      const { x, x0 } = await last(pipe(
        ddim(model.schedule, { steps: 4 }),
        thresholded(),
        run(prior([1, 8, 8, 1]), { model, key: key(0) }),
      ));
      const wanted = Array.from(await x.data(), (v) => 127.5 * (v + 1));
      tf.dispose([x, x0!]);
      const [found] = await samples(folder, "--class", "none", "--count", "1");
      found!.forEach((v, i) =>
        assert.ok(Math.abs(v - Math.min(255, Math.max(0, wanted[i]!))) <= 0.51)
      );
    });
  });

  it("a model that has seen no image without its class is not guided unless asked, and it is said", async () => {
    await withWeights(async (folder, path) => {
      const { tensors } = await readSafetensors(path), model = JSON.stringify(tiny);
      const trained = (nullShare: number, checkpoint = false) => {
        const plan = { target: { task: "denoise", model: tiny, nullShare } };
        if (!checkpoint) {
          const metadata = { format: "tweedie.denoise", model, plan: JSON.stringify(plan) };
          return writeSafetensors(path, tensors, metadata);
        }
        return saveCheckpoint(path, { groups: { ema: tensors }, meta: { plan } });
      };
      const drawn = async (...more: string[]) => {
        const args = ["--checkpoint", path, "--out", `${folder}/picture.png`, "--count", "2"];
        const { code, said } = await called("sample", ...args, ...quick, ...more);
        assert.equal(code, 0, said);
        return [await Deno.readFile(`${folder}/picture.png`), said] as const;
      };
      const [guided, silence] = await drawn(), [learned] = await drawn("--scale", "1");
      assert.equal(silence, "");
      for (const share of [0.1, 1]) {
        await trained(share);
        assert.deepEqual(await drawn(), [guided, ""]);
      }
      for (const checkpoint of [false, true]) {
        await trained(0, checkpoint);
        const line = (text: string) =>
          `tweedie: ${text}: the model never saw an image without its class (--null-share 0)\n`;
        assert.deepEqual(await drawn(), [learned, line("scale 1")]);
        assert.deepEqual(await drawn("--scale", "1"), [learned, ""]);
        const [asked, warning] = await drawn("--scale", "2");
        same(asked, guided);
        assert.equal(warning, line("--scale 2 leans on what the model has not learned"));
        const [, none] = await drawn("--class", "none,bag");
        assert.equal(none, line("no class asks for what the model has not learned"));
        const pull = ["--classifier", await guide(`${folder}/guide.safetensors`)];
        const [, pulled] = await drawn(...pull);
        assert.match(
          pulled,
          /^tweedie: --classifier asks the model without a class, which it has not/,
        );
      }
    });
  });

  it("sampler, eta, spacing, guidance, clipping and steps each change the picture", async () => {
    await withWeights(async (folder) => {
      const variants = [
        [],
        ["--sampler", "ddpm"],
        ["--sampler", "dpm"],
        ["--eta", "0.5"],
        ["--spacing", "karras"],
        ["--scale", "1"],
        ["--scale", "-1"],
        ["--no-clip"],
        ["--steps", "5"],
        ["--class", "none"],
        ["--of", "x0", "--steps", "3"],
      ];
      const made = new Map<string, string>();
      for (const variant of variants) {
        const bytes = `${await picture(folder, "--count", "3", ...variant)}`;
        assert.ok(!made.has(bytes), `${variant} gives what ${made.get(bytes)} gives`);
        made.set(bytes, `${variant}`);
      }
    });
  });

  it("--eta 1 is what DDPM is, and --scale 0 what no class is", async () => {
    await withWeights(async (folder) => {
      assert.deepEqual(
        await samples(folder, "--eta", "1"),
        await samples(folder, "--sampler", "ddpm"),
      );
      assert.deepEqual(
        await samples(folder, "--scale", "0"),
        await samples(folder, "--class", "none"),
      );
    });
  });

  it("a class is a name in any case, a number or none; a list is taken in turn", async () => {
    await withWeights(async (folder) => {
      const of = (list: string, count = 1) =>
        samples(folder, "--count", `${count}`, "--class", list);
      const [bag] = await of("Bag");
      assert.deepEqual((await of("bAG"))[0], bag);
      assert.deepEqual((await of(" 1 "))[0], bag);
      assert.deepEqual((await of("01"))[0], bag);
      const [none] = await of("none"), [boot] = await of("ankle boot");
      assert.notDeepEqual(none, bag);
      assert.notDeepEqual(boot, bag);
      // Sample i has its own noise, so classes are compared at one place.
      const mixed = await of("2, bag,None", 5);
      const rows = [await of("2", 5), await of("1", 5), await of("none", 5)];
      [0, 1, 2, 0, 1].forEach((row, i) => assert.deepEqual(mixed[i], rows[row]![i], `sample ${i}`));
      const all = await samples(folder, "--count", "4");
      assert.deepEqual(all, await of("trouser,bag,ankle boot", 4));
    });
  });

  it("--classifier guides by its gradient towards its own classes, and tells the model none", async () => {
    await withWeights(async (folder, path) => {
      const pull = await guide(`${folder}/guide.safetensors`), by = ["--classifier", pull];
      const none = await samples(folder, "--class", "none", "--count", "2");
      assert.deepEqual(await samples(folder, ...by, "--scale", "0", "--count", "2"), none);

      // What it is, step by step of the library.
      const { model } = await loadDenoiser(path), { schedule } = model;
      const { classifier } = await loadNoisyClassifier(pull, { under: schedule });
      const last2 = await last(pipe(
        ddim(schedule, { steps: 4 }),
        thresholded(),
        guided(byClassifier(classifier, [0, 2], { scale: 3 })),
        run(prior([2, 8, 8, 1]), { model, key: key(0) }),
      ));
      const wanted = Array.from(await last2.x.data(), (v) => 127.5 * (v + 1));
      tf.dispose([last2.x, last2.x0!]);
      const asked = ["--class", "bag,trouser", "--scale", "3", "--count", "2"];
      const found = (await samples(folder, ...by, ...asked)).flat();
      found.forEach((v, i) =>
        assert.ok(Math.abs(v - Math.min(255, Math.max(0, wanted[i]!))) <= 0.51)
      );
      assert.notDeepEqual(found, none.flat());

      // So it does for a model without classes.
      const { classes: _, ...nameless } = tiny;
      await weights(path, { ...nameless, network: { ...tiny.network, classes: 0 } });
      const [bag] = await samples(folder, ...by, "--class", "bag", "--count", "1");
      const [boot] = await samples(folder, ...by, "--class", "ankle boot", "--count", "1");
      assert.notDeepEqual(bag, boot);
    });
  });

  it("a count that does not fill its grid leaves the rest black; a grid is rows and columns", async () => {
    await withWeights(async (folder) => {
      const five = await samples(folder, "--count", "5", "--grid", "2,3");
      const row = await samples(folder, "--count", "5", "--grid", "1,5");
      assert.deepEqual([five.length, row.length], [6, 5]);
      assert.deepEqual(five.slice(0, 5), row);
      assert.ok(five[5]!.every((pixel) => pixel === 0));
      assert.equal((await samples(folder, "--count", "5")).length, 6);
    });
  });

  it("a model without names or without classes is sampled as well", async () => {
    await within(async (folder) => {
      const path = `${folder}/w.safetensors`, { classes: _, ...nameless } = tiny;
      await weights(path, nameless);
      const two = await picture(folder, "--class", "2");
      await weights(path);
      same(await picture(folder, "--class", "ankle boot"), two);
      await weights(path, { ...nameless, network: { ...tiny.network, classes: 0 } });
      await picture(folder);
      const { code, said } = await called(
        "sample",
        ...["--checkpoint", path, "--out", `${folder}/a.png`, "--class", "0", "--engine", "wasm"],
      );
      assert.equal(code, 1);
      assert.match(said, /class: it must be none, for the model knows no classes, got 0\n$/);
    });
  });

  it("every format goes to a file, with as many frames as were kept; --final is the last of them", async () => {
    await withWeights(async (folder, path) => {
      const to = async (out: string, ...more: string[]) => {
        const args = ["sample", "--checkpoint", path, "--out", `${folder}/${out}`, "--count", "1"];
        const { code, said } = await called(...args, ...quick, ...more);
        assert.deepEqual([code, said], [0, ""]);
      };
      const bytes = (name: string) => Deno.readFile(`${folder}/${name}`);
      await to("last.png");
      const last = await bytes("last.png");
      await to("f%02d.png", "--frames", "pngs", "--every", "3", "--final", `${folder}/final.png`);
      same(await bytes("final.png"), last);
      same(await bytes("f02.png"), last);
      assert.notDeepEqual(await bytes("f00.png"), last);
      await to("all.png", "--frames", "apng", "--final", `${folder}/final.png`);
      assert.equal(frameCount(await bytes("all.png")), 5);
      same(await bytes("final.png"), last);
      await to("all.y4m", "--frames", "y4m", "--fps", "7");
      const video = await bytes("all.y4m"), head = "YUV4MPEG2 W8 H8 F7:1 Ip A1:1 Cmono";
      assert.ok(latin.decode(video).startsWith(head));
      assert.equal(latin.decode(video).split("FRAME\n").length, 6);
      await to("all.gray", "--frames", "gray");
      assert.deepEqual([...(await bytes("all.gray")).slice(-64)], tiles(last, 8)[0]);
      await to("all.rgb", "--frames", "rgb24", "--zoom", "2");
      assert.equal((await bytes("all.rgb")).length, 5 * 16 * 16 * 3);
      assert.deepEqual(listed(folder).map((line) => line.split(" ")[0]), [
        "all.gray",
        "all.png",
        "all.rgb",
        "all.y4m",
        "f00.png",
        "f01.png",
        "f02.png",
        "final.png",
        "last.png",
        "w.safetensors",
      ]);
    });
  });

  it("runs with permission for nothing but its weights and the folder of its picture, and none to write to stdout", async () => {
    await withWeights(async (folder) => {
      await Deno.mkdir(`${folder}/out`);
      const run = (out: string, ...permissions: string[]) =>
        started(["sample", "--checkpoint", "w.safetensors", "--out", out, ...quick], {
          permissions,
          cwd: folder,
        }).ended;
      const file = await run("out/a.png", "--allow-read=w.safetensors,out", "--allow-write=out");
      assert.deepEqual([file.code, file.said], [0, ""]);
      const { code, said, out } = await run("-", "--allow-read=w.safetensors");
      assert.deepEqual([code, said], [0, ""]);
      same(out, await Deno.readFile(`${folder}/out/a.png`));
      const without = await run("out/b.png", "--allow-read=w.safetensors");
      assert.equal(without.code, 1);
      assert.match(without.said, /^tweedie: Cannot write out\/b\.png: .*--allow-read.*\n$/);
    });
  });
});

describe("tweedie sample --out -", () => {
  const toStdout = (path: string, ...more: string[]): string[] => [
    ...["sample", "--checkpoint", path, "--out", "-", "--count", "1", "--engine", "wasm"],
    ...more,
  ];

  it("stdout carries the frames and nothing else, in every format", async () => {
    await withWeights(async (folder, path) => {
      const of = async (...more: string[]) => {
        const { code, said, out } = await started(toStdout(path, ...quick, ...more)).ended;
        assert.deepEqual([code, said], [0, ""]);
        return out;
      };
      const png = await picture(folder, "--count", "1");
      same(await of(), png);
      const last = tiles(png, 8)[0]!;
      const grey = await of("--frames", "gray");
      assert.deepEqual([grey.length, [...grey.subarray(-64)]], [5 * 64, last]);
      const colour = await of("--frames", "rgb24");
      assert.equal(colour.length, 5 * 64 * 3);
      assert.deepEqual([...colour.subarray(-192)], last.flatMap((level) => [level, level, level]));
      const video = await of("--frames", "y4m", "--every", "2");
      assert.deepEqual([...video.subarray(-64)], last);
      assert.equal(latin.decode(video).split("FRAME\n").length, 1 + 3);
      assert.equal(frameCount(await of("--frames", "apng")), 5);
    });
  });

  it("y4m goes through a pipe into ffmpeg, every frame of it", async () => {
    await withWeights(async (folder, path) => {
      const film = `${folder}/out.mp4`;
      const { code, said, shown } = await shell(
        `set -eo pipefail
         "$@" | ffmpeg -loglevel error -i - -pix_fmt yuv420p $FILM
         ffprobe -v error -count_frames -of csv=p=0 -show_entries stream=width,height,nb_read_frames $FILM`,
        toStdout(path, "--steps", "9", "--zoom", "4", "--frames", "y4m"),
        { FILM: film },
      );
      assert.deepEqual([code, said, shown.trim()], [0, "", "32,32,10"]);
    });
  });

  it("a reader that ends early is said in one line, with code 1", async () => {
    await withWeights(async (_, path) => {
      const readers = [
        "head -c 1000 >/dev/null",
        "true",
        "ffmpeg -loglevel quiet -i - /nowhere/out.mp4",
        "ffmpeg -loglevel quiet -f rawvideo -video_size 320x320 -i - -frames:v 1 -f null -",
      ];
      const args = toStdout(path, "--steps", "60", "--zoom", "40", "--frames", "rgb24");
      for (const reader of readers) {
        const { code, said, shown } = await shell(`"$@" | ${reader}; echo \${PIPESTATUS[0]}`, args);
        const closed = "tweedie: Cannot write on: the reader closed the pipe\n";
        assert.deepEqual([code, shown, said], [0, "1\n", closed], reader);
      }
    });
  });

  it("a full disk is said in one line, with code 1", async () => {
    await withWeights(async (_, path) => {
      const { code, said } = await shell(`"$@" >/dev/full`, toStdout(path, ...quick));
      assert.equal(code, 1);
      assert.match(said, /^tweedie: [^\n]*No space left on device[^\n]*\n$/);
    });
  });

  it("Ctrl-C ends with one line and code 130, and leaves no file behind", async () => {
    await withWeights(async (folder, path) => {
      const before = listed(folder);
      // One picture at the end: the steps before it neither read nor write.
      const args = [
        "--checkpoint",
        path,
        "--out",
        `${folder}/a.png`,
        "--steps",
        "50000",
        "--engine",
        "wasm",
      ];
      const run = started(["sample", ...args]);
      const late = setTimeout(() => run.kill("SIGKILL"), 60_000);
      // Whether the picture can be written is looked at twice, the second time when the steps begin.
      let looked = 0;
      await happening(folder, run, ({ kind }) => kind === "remove" && ++looked === 2);
      await new Promise((resolve) => setTimeout(resolve, 300));
      run.kill("SIGINT");
      const { code, said, out } = await run.ended;
      clearTimeout(late);
      assert.deepEqual([code, said, out.length], [130, "tweedie: stopped by SIGINT\n", 0]);
      assert.deepEqual(listed(folder), before);
    });
  });
});

describe("tweedie sample, given what it cannot use", () => {
  const loaded = Object.keys(weightsOf()).length + Object.keys(guideWeights()).length;

  /** The refusal must be one line and leave the folder as it was. */
  async function refused(
    message: RegExp,
    more: readonly string[] = [],
    prepare: (path: string) => Promise<unknown> = () => Promise.resolve(),
  ): Promise<void> {
    await withWeights(async (folder, path) => {
      await prepare(path);
      const before = listed(folder), tensors = live();
      const args = ["--checkpoint", path, "--out", `${folder}/a.png`, ...quick, ...more];
      const { code, said, shown } = await called("sample", ...args);
      assert.deepEqual([code, shown], [1, ""], said);
      assert.match(said, /^tweedie: [^\n]*[^\n.]\n$/);
      assert.match(said, message);
      assert.deepEqual(listed(folder), before);
      // Weights that were loaded live as long as the process.
      assert.ok(live() - tensors <= loaded);
    });
  }

  it("weights that are not there, a folder, no safetensors file, or cut short", async () => {
    await refused(/^tweedie: Cannot load \/nowhere\/w: it must be a file .*NotFound/, [
      "--checkpoint",
      "/nowhere/w",
    ]);
    await refused(/Cannot load \/tmp: it must be a file .*directory/, ["--checkpoint", "/tmp"]);
    await refused(
      /Cannot decode safetensors: .*, in .*w\.safetensors/,
      [],
      (path) => Deno.writeTextFile(path, "these are no weights"),
    );
    await refused(/data must be \d+ bytes, got \d+, in/, [], async (path) => {
      await Deno.writeFile(path, (await Deno.readFile(path)).subarray(0, -5));
    });
  });

  it("weights of a classifier, of nothing known, or whose description lies", async () => {
    const described = (model: unknown, format = "tweedie.denoise") => async (path: string) =>
      await writeSafetensors(path, weightsOf(), { format, model: JSON.stringify(model) });
    await refused(
      /its format must be tweedie\.denoise, got tweedie\.classify/,
      [],
      described({ size: [8, 8], classes: 3 }, "tweedie.classify"),
    );
    await refused(/its format must be tweedie\.denoise, got none/, [], async (path) => {
      const { tensors } = await readSafetensors(path);
      await Deno.writeFile(path, encodeSafetensors(tensors));
    });
    const wider = { ...tiny, network: { ...tiny.network, base: 32 } };
    await refused(
      /must hold the model's \d+ tensors, got \d+ of another shape/,
      [],
      described(wider),
    );
  });

  it("classes that there are not", async () => {
    const wanted = "none, a number in [0, 2] or one of Trouser, Bag, Ankle boot";
    for (const name of ["sock", "3", "-1", "1.5", ""]) {
      const text = `it must be ${wanted}, got ${name || "nothing"}\n`;
      await refused(
        new RegExp(`choose a class: ${text.replace(/[[\].]/g, "\\$&")}`),
        ["--class", `Bag,${name}`],
      );
    }
  });

  it("a classifier of other images, of clean ones, or of none", async () => {
    await within(async (folder) => {
      const path = `${folder}/guide.safetensors`, { schedule: _, ...clean } = tinyGuide;
      await guide(path, { ...tinyGuide, size: [4, 8] });
      await refused(
        /guide by .*guide\.safetensors: its images must be .* \[8,8,1\], got \[4,8,1\]/,
        [
          "--classifier",
          path,
        ],
      );
      await guide(path, clean as NoisyClassifierConfig);
      await refused(/Cannot load .*guide\.safetensors: its schedule must be/, [
        "--classifier",
        path,
      ]);
      await weights(path);
      await refused(/its format must be tweedie\.classify, got tweedie\.denoise/, [
        "--classifier",
        path,
      ]);
    });
  });

  it("folders that are not there, paths of folders, patterns without a number", async () => {
    await refused(/folder \/nowhere\/ must exist and be writable/, ["--out", "/nowhere/a.png"]);
    await refused(/folder \/nowhere\/ must exist and be writable/, ["--final", "/nowhere/a.png"]);
    await refused(/pattern must hold one %d or %04d/, ["--frames", "pngs"]);
    await refused(/pattern must hold .*, got -/, ["--frames", "pngs", "--out", "-"]);
    await refused(/folder \/nowhere\/ must/, ["--frames", "pngs", "--out", "/nowhere/%d.png"]);
    await within(async (folder) => {
      await Deno.mkdir(`${folder}/a.png`);
      await refused(/must be that of a file, got a folder/, ["--out", `${folder}/a.png`]);
    });
  });

  it("a scale where nothing guides", async () => {
    await within(async (folder) => {
      const { classes: _, ...nameless } = tiny, path = `${folder}/w.safetensors`;
      await weights(path, { ...nameless, network: { ...tiny.network, classes: 0 } });
      const args = ["--checkpoint", path, "--out", `${folder}/a.png`, ...quick, "--scale", "3"];
      const { code, said } = await called("sample", ...args);
      const wanted = "--scale must be left out, as the model knows no classes, got 3";
      assert.deepEqual([code, said], [1, `tweedie: Cannot guide: ${wanted}\n`]);
    });
  });

  it("a picture or a batch that does not fit into memory: what was too large", async () => {
    await refused(
      /--grid 2000,2000 of 8x8 pixels at --zoom 30 must be at most 1 GiB, got 480000x480000 pixels/,
      ["--grid", "2000,2000", "--zoom", "30"],
    );
    await within(async (folder) => {
      const network = { ...tiny.network, size: [1024, 1024], patch: 1, base: 64 } as const;
      const path = await weights(`${folder}/w.safetensors`, { ...tiny, network });
      const args = ["--checkpoint", path, "--out", `${folder}/a.png`, ...quick];
      // A process of its own, whose WebAssembly is not used any more.
      const run = started(["sample", ...args, "--count", "9", "--batch", "8"]);
      const { code, said } = await run.ended;
      assert.equal(code, 1);
      assert.match(
        said,
        /^tweedie: Cannot sample: 5 samples of 1024x1024x1 at once must fit into memory \(a smaller --batch needs less\), got [^\n]+\n$/,
      );
    });
  });

  it("a spacing that does not fit the schedule, and an eta beyond what the steps allow", async () => {
    await refused(/spacing must be one of .*, got leading/, ["--spacing", "leading"]);
    await refused(
      /--spacing must be one of uniform, quadratic, karras, logLinear for this model, whose time is continuous \(cosineContinuous\), got trailing/,
      ["--spacing", "trailing"],
    );
    await refused(/eta must be at most .*, got 30/, ["--eta", "30"]);
  });

  it("an engine that is not there: what to do", async () => {
    await withWeights(async (folder, path) => {
      const before = listed(folder);
      const args = ["sample", "--checkpoint", path, "--out", `${folder}/a.png`, ...quick];
      const { code, said } = await started([...args, "--engine", "tensorflow"]).ended;
      assert.equal(code, 1);
      assert.match(said, /(^|\n)tweedie: Cannot use the tensorflow backend: [^\n]* "wasm"\n$/);
      assert.doesNotMatch(said, /^ +at /m);
      assert.deepEqual(listed(folder), before);
    });
    await withWeights(async (folder) => void await picture(folder, "--engine", "cpu"));
  });
});
