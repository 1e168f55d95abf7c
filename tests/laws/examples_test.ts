import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";

const root = new URL("../../", import.meta.url);

/** An example: the arguments it gets, and what must hold of the numbers that it prints. */
interface Example {
  readonly args?: (folder: string) => string[];
  readonly needs?: "data" | "ffmpeg" | "onnx";
  readonly check: (output: string, folder: string) => void | Promise<void>;
}

const numbersOf = (text: string): number[] => (text.match(/\d+\.\d+|\d+/g) ?? []).map(Number);

const within = (value: number | undefined, low: number, high: number): void =>
  assert.ok(
    value !== undefined && value >= low && value <= high,
    `${value} is not in [${low}, ${high}]`,
  );

async function startsWith(path: string, bytes: readonly number[]): Promise<void> {
  const found = (await Deno.readFile(path)).subarray(0, bytes.length);
  assert.deepEqual([...found], bytes);
}

const examples: Record<string, Example> = {
  "01_gaussian_oracle.ts": {
    check: (output) => {
      const rows = output.split("\n").slice(0, 3).map((line) =>
        /mean (\S+) +standard deviation (\S+)/.exec(line)!
      );
      for (const [, mean, deviation] of rows) {
        within(Number(mean), 2.95, 3.05);
        within(Number(deviation), 0.41, 0.52);
      }
      assert.equal(rows.length, 3);
    },
  },
  "02_swiss_roll.ts": { check: (output) => within(numbersOf(output)[0], 801, 1000) },
  "03_sample_fashion.ts": {
    args: (folder) => [`${folder}/fashion.png`],
    check: (_, folder) => startsWith(`${folder}/fashion.png`, [0x89, 0x50, 0x4e, 0x47]),
  },
  "04_frames_to_ffmpeg.ts": {
    args: (folder) => [`${folder}/fashion.mp4`],
    needs: "ffmpeg",
    check: async (_, folder) => within((await Deno.stat(`${folder}/fashion.mp4`)).size, 1000, 1e6),
  },
  "05_train_from_scratch.ts": {
    args: () => ["40"],
    needs: "data",
    check: (output) => within(numbersOf(/loss (\S+) after/.exec(output)![1]!)[0], 0, 0.95),
  },
  "06_your_own_sampler.ts": { check: (output) => within(numbersOf(output)[0], 0.66, 0.74) },
  "07_native_speed.ts": {
    needs: "onnx",
    check: (output) => {
      const speeds = numbersOf(output.replace(/^greatest.*/m, ""));
      assert.equal(speeds.length, 2);
      for (const speed of speeds) within(speed, 0.01, 1e6);
      within(Number(/pixel: (\S+)/.exec(output)![1]), 1e-9, 1e-3);
    },
  },
  "08_onnx_out_and_in.ts": {
    args: (folder) => [`${folder}/fashion.onnx`],
    needs: "onnx",
    check: (output) => within(Number(/pixel: (\S+)/.exec(output)![1]), 1e-9, 1e-4),
  },
  "09_sde_paths.ts": {
    check: (output) => {
      const [half, whole] = output.split("\n").map((line) =>
        [...line.matchAll(/ (0\.\d{4})/g)].map(([, error]) => Number(error))
      );
      within(half![0]! / half![3]!, 2, 4);
      within(whole![0]! / whole![3]!, 5.6, 11);
      within(Number(/t = 1: (\S+)/.exec(output)![1]), 0.87, 1.13);
    },
  },
  "10_predictor_corrector.ts": {
    check: (output) => {
      const shares = [...output.matchAll(/: (0\.\d{3}) on/g)].map(([, share]) => Number(share));
      assert.ok(Math.abs(shares[1]! - 0.8) < Math.abs(shares[0]! - 0.8), output);
    },
  },
  "11_inpaint.ts": {
    check: (output) => {
      assert.match(output, /known number kept: true/);
      within(Number(/other: (\S+)/.exec(output)![1]), 0.9, 1.1);
    },
  },
  "12_everything.ts": {
    args: (folder) => [`${folder}/boots.png`, `${folder}/weighed.png`],
    needs: "data",
    check: async (output, folder) => {
      const nats = [...output.matchAll(/^step \d+: (\S+) nats$/gm)].map(([, each]) => Number(each));
      assert.equal(nats.length, 6);
      // From the density of noise, −ln(2πe)/2 = −1.42 a pixel, to that of garments.
      within(nats[0]! + 1.42, -0.05, 0.05);
      within(nats.at(-1), 0.5, 4);
      for (const name of ["boots", "weighed"]) {
        await startsWith(`${folder}/${name}.png`, [0x89, 0x50, 0x4e, 0x47]);
      }
    },
  },
  "13_sa_solver.ts": {
    check: (output) => {
      const rows = output.trim().split("\n").map((line) => /deviation (\S+)/.exec(line)![1]);
      assert.equal(rows.length, 3);
      for (const row of rows) within(Number(row), 0.09, 0.12);
    },
  },
  "14_brightness.ts": {
    args: (folder) => [`${folder}/bright.png`],
    check: async (output, folder) => {
      await startsWith(`${folder}/bright.png`, [0x89, 0x50, 0x4e, 0x47]);
      const pairs = [...output.matchAll(/asked (\S+), got (\S+)/g)];
      assert.equal(pairs.length, 3);
      for (const [, asked, got] of pairs) within(Number(got) - Number(asked), -0.15, 0.15);
    },
  },
  "15_ising.ts": {
    args: (folder) => [`${folder}/ising.png`],
    check: async (output, folder) => {
      await startsWith(`${folder}/ising.png`, [0x89, 0x50, 0x4e, 0x47]);
      const pairs = [...output.matchAll(/spin (\S+), at rest (\S+)/g)];
      assert.equal(pairs.length, 3);
      // Above the critical temperature rest is soon reached; below it, walls between the two signs take long to go.
      for (const [, got, rest] of pairs) within(Number(got) - Number(rest), -0.1, 0.15);
    },
  },
  "16_chains.ts": {
    check: (output) => {
      const rows = [...output.matchAll(/mean (\S+) ± (\S+), .* worth (\d+), R-hat (\S+),/g)];
      assert.equal(rows.length, 2);
      for (const [, mean, error] of rows) within((Number(mean) - 1) / Number(error), -4, 4);
      // Each move of the one costs ten of the other.
      assert.ok(Number(rows[1]![3]) > 4 * Number(rows[0]![3]), output);
    },
  },
  "17_dreams.ts": {
    args: (folder) => [`${folder}/dreams.png`, "1"],
    needs: "data",
    check: async (_, folder) => {
      await startsWith(`${folder}/dreams.png`, [0x89, 0x50, 0x4e, 0x47]);
      within((await Deno.stat(`${folder}/dreams.png`)).size, 1e5, 1e8);
    },
  },
  "18_restore.ts": {
    args: (folder) => [`${folder}/restored.png`],
    needs: "data",
    check: async (output, folder) => {
      await startsWith(`${folder}/restored.png`, [0x89, 0x50, 0x4e, 0x47]);
      const [before, after] = numbersOf(output);
      within(before, 9, 11);
      within(after, 2, 6);
    },
  },
};

const present = {
  onnx: () => import("onnxruntime-node").then(() => true, () => false),
  data: () => Deno.stat("/usr/share/datasets/fashion-mnist").then(() => true, () => false),
  ffmpeg: () =>
    new Deno.Command("ffmpeg", { args: ["-version"] }).output().then(() => true, () => false),
};

/** The permissions that the example's own first lines name, with files allowed in its folder instead. */
function permissions(source: string, folder: string): string[] {
  const line = /^\/\/ Run: deno run (.*)$/m.exec(source)![1]!;
  return line.split(" ").filter((word) => word.startsWith("--")).map((flag) =>
    flag === "--allow-write=." ? `--allow-write=${folder}` : flag
  );
}

/** A copy of what the examples need, in a folder whose name a URL writes in another way. */
async function copied(): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "tweedie of mine, 100 % é " });
  for (const name of ["deno.json", "mod.ts", "src/", "examples/"]) {
    await copy(new URL(name, root), `${folder}/${name.replace("/", "")}`);
  }
  return folder;
}

async function copy(from: URL, to: string): Promise<void> {
  if (!from.href.endsWith("/")) return await Deno.copyFile(from, to);
  await Deno.mkdir(to);
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    await copy(
      new URL(`${encodeURIComponent(name)}${isDirectory ? "/" : ""}`, from),
      `${to}/${name}`,
    );
  }
}

async function runExample(
  name: string,
  { args, check }: Example,
  clone: string,
): Promise<void> {
  const folder = await Deno.makeTempDir(), path = `${clone}/examples/${name}`;
  try {
    const flags = permissions(await Deno.readTextFile(path), folder);
    const command = ["run", "--no-prompt", "--no-lock", ...flags, path, ...(args?.(folder) ?? [])];
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: command,
      cwd: clone,
      env: { NO_COLOR: "1" },
    }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    await check(new TextDecoder().decode(stdout), folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

describe("examples", () => {
  it("are all tested, and short", async () => {
    const names = (await Array.fromAsync(Deno.readDir(new URL("examples/", root)))).map((
      { name },
    ) => name).filter((name) => name.endsWith(".ts"));
    assert.deepEqual(names.sort(), Object.keys(examples));
    for (const name of names) {
      const lines =
        (await Deno.readTextFile(new URL(`examples/${name}`, root))).trimEnd().split("\n").length;
      assert.ok(lines <= 50, `${name} has ${lines} lines`);
    }
  });

  let clone = "";
  before(async () => void (clone = await copied()));
  after(() => Deno.remove(clone, { recursive: true }));

  for (const [name, example] of Object.entries(examples)) {
    it(`${name} runs in any folder with the permissions it names and prints what it says`, async () => {
      if (example.needs !== undefined && !await present[example.needs]()) {
        assert.equal(
          Deno.env.get(`TWEEDIE_REQUIRE_${example.needs.toUpperCase()}`),
          undefined,
          `${example.needs} is required but absent`,
        );
        console.log(`SKIPPED ${name}: no ${example.needs} here`);
        return;
      }
      await runExample(name, example, clone);
    });
  }
});
