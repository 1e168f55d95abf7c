import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import { limited, numeric, positive, positives } from "../../src/command/option.ts";
import {
  called,
  dataset,
  denoArgs,
  guide,
  shell,
  started,
  tiny,
  tinyGuide,
  weights,
  within,
} from "./run.ts";

const helpOf = async (...command: string[]): Promise<string> =>
  (await called(...command, "--help")).shown;

describe("numeric()", () => {
  it("numeric() reads what JavaScript writes, within its bounds", () => {
    fc.assert(fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
      assert.equal(numeric()(`${value}`), value + 0);
      assert.equal(numeric({ least: value, most: value })(`${value}`), value + 0);
    }));
    assert.equal(limited(12)(" 12 "), 12);
  });

  it("numeric() refuses everything else, and says what it wants", () => {
    const refused = (read: (text: string) => unknown, texts: readonly string[], wanted: string) => {
      for (const text of texts) {
        assert.throws(() => read(text), { message: `It must be ${wanted}.` }, text);
      }
    };
    refused(
      numeric(),
      ["", " ", "NaN", "Infinity", "-Infinity", "1e999", "1,5", "x", "1x"],
      "a number",
    );
    refused(
      positive,
      ["0", "-1", "0.5", "1e300", "9007199254740993"],
      "a whole number of at least 1",
    );
    refused(limited(3), ["0", "4"], "a whole number of at least 1 and at most 3");
    refused(numeric({ most: 1 }), ["1.0001"], "a number of at most 1");
    refused(numeric({ below: 1, least: 0 }), ["1", "-1"], "a number of at least 0 and below 1");
  });

  it("positives() reads a list, and refuses one with a wrong entry", () => {
    fc.assert(fc.property(fc.array(fc.integer({ min: 1 }), { minLength: 1 }), (list) => {
      assert.deepEqual(positives(list.join(",")), list);
    }));
    for (const text of ["", "1,", "1,0", "2x5"]) {
      assert.throws(() => positives(text), /whole numbers of at least 1, separated by commas/);
    }
  });
});

describe("tweedie --help", () => {
  it("tweedie --version is the version of deno.json", async () => {
    const { version } = JSON.parse(
      await Deno.readTextFile(new URL("../../deno.json", import.meta.url)),
    );
    assert.deepEqual(await called("--version"), { code: 0, said: "", shown: `${version}\n` });
  });

  it("tweedie --help goes to stdout and needs no permission at all", async () => {
    for (const command of [[], ["train"], ["sample"], ["export"]]) {
      const { code, said, out } = await started([...command, "--help"], { permissions: [] }).ended;
      assert.deepEqual([code, said], [0, ""]);
      const text = new TextDecoder().decode(out);
      assert.ok(text.startsWith(`Usage: ${["tweedie", ...command].join(" ")} [options]`));
      assert.equal(text, await helpOf(...command));
    }
  });

  it("tweedie --help fits a terminal of 80 columns, says what each option is, and names the defaults", async () => {
    for (const command of ["train", "sample"]) {
      const help = await helpOf(command), options = help.slice(0, help.indexOf("\n\nPermissions"));
      for (const line of options.split("\n")) assert.ok(line.length <= 80, line);
      const flags = [...options.matchAll(/^ {2}(-\S+.*?)(?: {2,}(\S.*))?$/gm)];
      assert.ok(flags.length > 15);
      for (const [line, , text] of flags) assert.ok(text, `${line} is not explained`);
      assert.match(help, /Permissions: .*--allow-read/);
      assert.match(help, /\nExamples:\n/);
    }
    assert.match(await helpOf("train"), /--steps <n> .*\(default: 5000\)/);
    assert.match(await helpOf("train"), /\(default: 1,2\)/);
    assert.match(await helpOf("sample"), /--steps <n> .*\(default: 50\)/);
  });

  it("every example in the help does what it says", async () => {
    const helps = [[], ["train"], ["sample"], ["export"]].map((command) => helpOf(...command));
    const examples = (await Array.fromAsync(helps))
      .flatMap((help) =>
        [...help.matchAll(/^ +(tweedie (?:.*[\\|]\n)*.*)$/gm)].map(([, line]) => line!)
      )
      .filter((line) => !/^tweedie +[a-z]* *\[/.test(line));
    assert.equal(examples.length, 15);
    await within(async (folder) => {
      const names = ["T-shirt", "Trouser", "Ankle boot"];
      const data = await dataset(`${folder}/data`), work = `${folder}/work`;
      await Deno.mkdir(work);
      await weights(`${work}/fashion.safetensors`, { ...tiny, classes: names });
      await guide(`${work}/guide.safetensors`, { ...tinyGuide, names });
      // The program by its name, on a data set and for a time that a test can afford.
      await Deno.writeTextFile(
        `${folder}/tweedie`,
        `#!/bin/bash\nexec "${Deno.execPath()}" ${
          denoArgs(["--allow-read", "--allow-write"]).join(" ")
        } "$@" $(case $1 in train) echo --data ${data} --steps 1 --batch 1;; sample) echo --steps 5;; esac)\n`,
        { mode: 0o755 },
      );
      const sampling = examples.filter((line) => line.startsWith("tweedie sample"));
      const training = [...new Set(examples.filter((line) => line.startsWith("tweedie train")))];
      const exporting = examples.filter((line) => line.startsWith("tweedie export"));
      assert.deepEqual([sampling.length, training.length, exporting.length], [7, 5, 2]);
      for (const example of [...sampling, ...training, ...exporting]) {
        // The pictures are of 8 pixels here, not of 28.
        const line = example.replace("336x336", "96x96");
        const { code, said } = await shell(
          `set -eo pipefail; cd ${work}; PATH=${folder}:$PATH; ${line}`,
          [],
        );
        assert.equal(code, 0, `${example}: ${said}`);
      }
      const made = [...Deno.readDirSync(work)].map(({ name }) => name);
      for (
        const name of [
          "grid.png",
          "boots.png",
          "boot.png",
          "guided.png",
          "x0-000.png",
          "x0-005.png",
          "out.mp4",
        ]
      ) {
        assert.ok(made.includes(name), `${name} is not among ${made}`);
      }
      assert.ok(
        ["run.safetensors", "judge.safetensors", "guide.safetensors", "fashion.onnx"].every((
          name,
        ) => made.includes(name)),
      );
    });
  });
});

describe("tweedie, wrongly used", () => {
  it("wrong usage is said in one line with a hint, and ends with code 2", async () => {
    const sample = ["sample", "--checkpoint", "w", "--out", "a.png"];
    const train = ["train", "--checkpoint", "c"];
    const cases: readonly (readonly [args: readonly string[], message: RegExp])[] = [
      [["smaple"], /unknown command 'smaple'/],
      [["likelihood", "--help"], /unknown command 'likelihood'/],
      [["likelihood", "-h"], /unknown command 'likelihood'/],
      [["--help", "likelihood"], /unknown command 'likelihood'/],
      [["help", "likelihood"], /unknown command 'likelihood'/],
      [["likelihood", "--count", "3"], /unknown command 'likelihood'/],
      [["--frobnicate"], /unknown option '--frobnicate'/],
      [["sample", "--out", "a.png"], /required option '--checkpoint <file>' not specified/],
      [["sample", "--checkpoint", "w"], /required option '--out <file>' not specified/],
      [["train"], /required option '--checkpoint <file>' not specified/],
      [[...sample, "--stpes", "3"], /unknown option '--stpes'/],
      [[...sample, "more"], /too many arguments/],
      [[...sample, "--steps"], /option '--steps <n>' argument missing/],
      [[...sample, "--steps", "0"], /'0' is invalid\. It must be a whole number of at least 1/],
      [[...sample, "--steps", "-3"], /'-3' is invalid/],
      [[...sample, "--steps", "NaN"], /'NaN' is invalid/],
      [[...sample, "--steps", "1e9"], /'1e9' is invalid\. It must be .* at most 1000000/],
      [
        [...sample, "--sampler", "euler"],
        /'euler' is invalid\. Allowed choices are ddim, ddpm, dpm/,
      ],
      [[...sample, "--frames", "gif"], /'gif' is invalid\. Allowed choices are png, pngs, apng/],
      [[...sample, "--engine", "cuda"], /'cuda' is invalid\. Allowed choices are auto, wasm, onnx/],
      [[...sample, "--engine", "wasm", "--threads", "2"], /'--threads <n>' needs --engine onnx/],
      [[...train, "--engine", "cpu", "--threads", "2"], /'--threads <n>' needs --engine onnx/],
      [[...train, "--threads", "0"], /'0' is invalid/],
      [[...sample, "--grid", "2,2", "--count", "5"], /'--grid' .* room for 5, got 2,2/],
      [[...sample, "--grid", "5"], /'--grid' must be rows,columns/],
      [[...sample, "--sampler", "dpm", "--eta", "1"], /'--eta <number>' needs --sampler ddim/],
      [[...sample, "--sampler", "ddpm", "--eta", "0"], /'--eta <number>' needs --sampler ddim/],
      [[...sample, "--class", "none", "--scale", "2"], /'--scale <number>' needs a --class/],
      [
        [...sample, "--class", "none, None", "--classifier", "g"],
        /'--classifier <file>' needs a --class/,
      ],
      [[...sample, "--every", "1"], /'--every <n>' needs --frames other than png/],
      [[...sample, "--fps", "12"], /'--fps <number>' needs --frames apng or y4m/],
      [
        ["sample", "--checkpoint", "w", "--out", "%d.png", "--frames", "pngs", "--fps", "3"],
        /'--fps <number>' needs --frames apng or y4m/,
      ],
      [[...sample, "--batch", "0"], /'0' is invalid/],
      [[...sample, "--final", "./a.png"], /'--out <file>' and '--final <file>' must be two files/],
      [[...sample, "--final", "b.jpg"], /'--final <file>' must end in \.png, got b\.jpg/],
      [
        ["sample", "--checkpoint", "w", "--out", "a.mp4"],
        /'--out <file>' must end in \.png for png/,
      ],
      [[...sample, "--frames", "y4m"], /'--out <file>' must end in \.y4m for y4m, got a\.png/],
      [[...train, "--steps", "0"], /'0' is invalid/],
      [[...train, "--steps", "1.5"], /'1\.5' is invalid/],
      [[...train, "--rate", "NaN"], /'NaN' is invalid\. It must be a number of at least 0/],
      [[...train, "--schedule", "none"], /'none' is invalid\. Allowed choices are linear/],
      [
        [...train, "--times", "late"],
        /'late' is invalid\. Allowed choices are uniform, likelihood/,
      ],
      [[...train, "--task", "classify", "--least", "0.1"], /'--least <t>' needs --task denoise/],
      [
        [...train, "--schedule", "linear", "--least", "1"],
        /'--least <t>' needs a --schedule of continuous time/,
      ],
      [
        [...train, "--schedule", "rectified", "--predict", "eps"],
        /'--predict <kind>' must be x0 or v for rectified, which ends in noise alone, got eps/,
      ],
      [
        [...train, "--average", "1"],
        /'1' is invalid\. It must be a number of at least 0 and below 1/,
      ],
      [[...train, "--classes", "a,a"], /'a,a' is invalid\. It must be names, separated by commas/],
      [[...train, "--weights", "./c"], /'--checkpoint <file>' and '--weights <file>' must be two/],
      [[...train, "--start", "./c"], /'--checkpoint <file>' and '--start <file>' must be two/],
      [[...train, "--task", "classify", "--base", "8"], /'--base <n>' needs --task denoise/],
    ];
    for (const [args, message] of cases) {
      const { code, said, shown } = await called(...args), [line, hint, ...rest] = said.split("\n");
      assert.deepEqual([code, shown, rest.at(-1)], [2, "", ""], `${args}: ${said}`);
      assert.match(line!, message, `${args}`);
      assert.match(line!, /^tweedie: [^ ]/);
      assert.match(said, /\n\(tweedie (train |sample )?--help shows the (options|commands)\)\n$/);
      assert.ok(rest.length === 1 || hint!.startsWith("(Did you mean"), said);
    }
  });

  it("options that do not go together are all named", async () => {
    const sample = ["sample", "--checkpoint", "w", "--out", "a.png"];
    const { code, said } = await called(...sample, "--sampler", "dpm", "--eta", "1", "--fps", "3");
    assert.equal(code, 2);
    assert.match(
      said,
      /^tweedie: option '--eta <number>' needs --sampler ddim; option '--fps <number>' needs --frames/,
    );
  });

  it("wrong usage with a spelling near a right one says which", async () => {
    assert.match((await called("smaple")).said, /\(Did you mean sample\?\)/);
    assert.match(
      (await called("sample", "--checkpoint", "w", "--out", "a.png", "--stpes", "3")).said,
      /\(Did you mean --steps\?\)/,
    );
  });

  it("no arguments show the help, on stderr, and end with code 2", async () => {
    const { code, said, shown } = await called();
    assert.deepEqual([code, shown], [2, ""]);
    assert.equal(said, await helpOf());
  });
});
