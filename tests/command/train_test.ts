import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import * as tf from "@tensorflow/tfjs-core";
import { reported } from "../../src/command/train/report.ts";
import { trainingSet } from "../../src/command/train/images.ts";
import type { TrainPlan } from "../../src/command/train/plan.ts";
import { type TrainFiles, type TrainReport, trainRun } from "../../src/command/train/run.ts";
import { loadCheckpoint, saveCheckpoint } from "../../src/io/checkpoint.ts";
import { floats, readSafetensors, writeSafetensors } from "../../src/io/safetensors.ts";
import { loadClassifier, loadDenoiser, loadNoisyClassifier } from "../../src/io/weights.ts";
import { timedClassifier } from "../../src/network/classifier.ts";
import { initialize } from "../../src/network/layer/parameter.ts";
import { vp } from "../../src/noise/schedule/continuous.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { guided } from "../../src/refine/guide/combine.ts";
import { byClassifier } from "../../src/refine/guide/gradient.ts";
import { ddim } from "../../src/sample/ancestral.ts";
import { prior, run } from "../../src/sample/run.ts";
import { gaussian } from "../../src/denoise/oracle/gaussian.ts";
import { unet, type UNetConfig } from "../../src/network/unet.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { eager } from "../../src/tensor/engine.ts";
import { fold, key } from "../../src/tensor/key.ts";
import { uniforms } from "../../src/tensor/random.ts";
import { batches } from "../../src/data/batches.ts";
import type { ImageSet } from "../../src/data/images.ts";
import { diffusionLoss, noisyClassifierLoss } from "../../src/train/diffusion.ts";
import { lossOf } from "../../src/train/loop/objective.ts";
import { last } from "../../src/watch/record.ts";
import { timeLaws } from "../../src/train/timestep/law.ts";
import { timeSampler } from "../../src/train/timestep/sampler.ts";
import { assertClose } from "../network/weights.ts";
import {
  called,
  dataset,
  garments,
  happening,
  idx,
  listed,
  type Running,
  same,
  started,
  weights,
  within,
} from "./run.ts";
import { live } from "../measure.ts";

/** A network and a batch that make a step quick; every gradient is clipped, by a norm that sums over all weights. */
const small = [
  ...["--batch", "2", "--base", "8", "--multipliers", "1", "--patch", "4"],
  ...["--clip", "0.1", "--engine", "wasm"],
];

/** Arguments of a run that keeps its files in a folder. */
const training = (folder: string, ...more: string[]): string[] => [
  "train",
  ...["--data", `${folder}/data`, "--checkpoint", `${folder}/run.safetensors`],
  ...["--weights", `${folder}/weights.safetensors`, ...small, ...more],
];

/** The bytes of the weights that a run ends with when nothing happens to it. */
const unbroken = (...more: string[]): Promise<Uint8Array> =>
  within(async (folder) => {
    await dataset(`${folder}/data`);
    const { code, said } = await called(...training(folder, ...more));
    assert.equal(code, 0, said);
    return await Deno.readFile(`${folder}/weights.safetensors`);
  });

/** Starts a run, does something to it, and gives its end. */
async function disturbed(
  args: readonly string[],
  disturb: (run: Running) => Promise<void>,
): Promise<Awaited<Running["ended"]>> {
  const run = started(args), late = setTimeout(() => run.kill("SIGKILL"), 60_000);
  try {
    await disturb(run);
    return await run.ended;
  } finally {
    clearTimeout(late);
  }
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const ended = async (folder: string): Promise<Uint8Array> =>
  await Deno.readFile(`${folder}/weights.safetensors`);

describe("tweedie train, killed", () => {
  it("a run that SIGKILL ends at random moments, and is started again, gives the same weights file", async () => {
    const options = ["--steps", "12", "--every", "2", "--flip", "--dequantize"];
    const whole = await unbroken(...options);
    await within(async (folder) => {
      await dataset(`${folder}/data`);
      const args = training(folder, ...options), moments: string[] = [];
      const shares = uniforms(key(33), 5);
      for (const [i, step] of [2, 4, 6, 8, 10].entries()) {
        const ms = shares[i]! * 60;
        const { code, said } = await disturbed(args, async (run) => {
          await run.saying(new RegExp(`step ${step}/12`));
          await wait(ms);
          run.kill("SIGKILL");
        });
        moments.push(`${ms.toFixed(1)} ms after step ${step}`);
        // Only late kills may come too late, and even those seldom do.
        assert.ok(code === 137 || step >= 8 && code === 0, said);
        if (code === 0) break;
      }
      const { code, said } = await called(...args);
      assert.equal(code, 0, said);
      same(await ended(folder), whole, `killed ${moments.join(", ")}`);
    });
  });

  it("a run that SIGKILL ends while it writes a checkpoint goes on from the one before, and tidies up", async () => {
    // Weights enough that writing them takes a while.
    const options = ["--steps", "10", "--every", "1", "--base", "32"];
    const whole = await unbroken(...options);
    await within(async (folder) => {
      await dataset(`${folder}/data`);
      const args = training(folder, ...options);
      const halves = () => listed(folder).filter((name) => name.includes(".part"));
      for (const moment of ["create", "modify"]) {
        let torn = 0;
        for (let attempt = 0; attempt < 4 && torn === 0; attempt++) {
          const { code, said } = await disturbed(args, async (run) => {
            await run.saying(/step \d+\/10/);
            await happening(
              folder,
              run,
              ({ kind, paths }) => kind === moment && paths.some((path) => path.endsWith(".part")),
            );
            run.kill("SIGKILL");
          });
          assert.equal(code, 137, said);
          torn = halves().length;
        }
        assert.ok(torn > 0, "no kill came while a checkpoint was being written");
      }
      const { code, said } = await called(...args);
      assert.equal(code, 0, said);
      same(await ended(folder), whole);
      assert.deepEqual(listed(folder).map((name) => name.split(" ")[0]), [
        "data",
        "run.safetensors",
        "weights.safetensors",
      ]);
    });
  });
});

describe("tweedie train, stopped", () => {
  it("Ctrl-C writes a checkpoint and ends with one line and code 130; the run then goes on to the same weights file", async () => {
    const options = ["--steps", "14", "--every", "5"], whole = await unbroken(...options);
    await within(async (folder) => {
      await dataset(`${folder}/data`);
      const args = training(folder, ...options);
      const { code, said, out } = await disturbed(args, async (run) => {
        await run.saying(/step 5\/14/);
        run.kill("SIGINT");
      });
      assert.deepEqual([code, out.length], [130, 0], said);
      const last = /step 5\/14[^\n]*\n(?:step 10\/14[^\n]*\n)?(.*)\n$/.exec(said)?.[1];
      const step = /^tweedie: stopped by SIGINT at step (\d+); the same command goes on from there$/
        .exec(last ?? "")?.[1];
      assert.ok(step !== undefined, said);
      const { meta } = await loadCheckpoint(`${folder}/run.safetensors`);
      assert.equal(meta["step"], Number(step));
      assert.ok(!listed(folder).some((name) => /part|weights/.test(name)), `${listed(folder)}`);
      const again = await called(...args);
      assert.equal(again.code, 0, again.said);
      assert.match(again.said, new RegExp(`^tweedie: steps ${Number(step) + 1} to 14 of 2 images`));
      same(await ended(folder), whole);
    });
  });

  it("SIGTERM is heard in the middle of a run of many steps between checkpoints, and ends it with code 143", async () => {
    await within(async (folder) => {
      await dataset(`${folder}/data`);
      const args = training(folder, "--steps", "1000000", "--every", "1000000");
      const { code, said } = await disturbed(args, async (run) => {
        await run.saying(/tweedie: 1000000 steps/);
        await wait(400);
        run.kill("SIGTERM");
      });
      assert.equal(code, 143, said);
      assert.match(said, /\ntweedie: stopped by SIGTERM at step \d+; .*\n$/);
    });
  });
});

describe("tweedie train", () => {
  it("a data set gives the same weights gzipped or not", async () => {
    const options = ["--steps", "2"], plain = await unbroken(...options);
    await within(async (folder) => {
      await dataset(`${folder}/data`, { zip: true });
      assert.equal((await called(...training(folder, ...options))).code, 0);
      same(await ended(folder), plain);
    });
  });

  it("a run leaves no tensor behind, whether it starts, goes on or is done", async () => {
    await within(async (folder) => {
      await dataset(`${folder}/data`);
      await useBackend("wasm");
      const args = training(folder, "--steps", "3", "--every", "1"), { numTensors } = tf.memory();
      const complete = async () => {
        assert.equal((await called(...args)).code, 0);
        assert.equal(live(), numTensors);
      };
      await complete();
      await complete();
      const path = `${folder}/run.safetensors`, { groups, meta } = await loadCheckpoint(path);
      await saveCheckpoint(path, { groups, meta: { ...meta, step: 1 } });
      await complete();
    });
  });

  it("a run that is done says so, and writes its weights again", async () => {
    await within(async (folder) => {
      await dataset(`${folder}/data`);
      const args = training(folder, "--steps", "2");
      assert.equal((await called(...args)).code, 0);
      const before = await ended(folder);
      await Deno.remove(`${folder}/weights.safetensors`);
      const { code, said } = await called(...args);
      assert.equal(code, 0);
      same(await ended(folder), before);
      assert.match(
        said,
        /^tweedie: all 2 steps were made before, \d+ weights\n.*weights are in .*\n$/,
      );
    });
  });

  it("a checkpoint without the losses since its last point, as older versions wrote it, is gone on from", async () => {
    const options = ["--steps", "4", "--every", "2"], whole = await unbroken(...options);
    await within(async (folder) => {
      await dataset(`${folder}/data`);
      const path = `${folder}/run.safetensors`, args = training(folder, ...options);
      const run = started(args);
      await run.saying(/step 2\/4/);
      run.kill("SIGKILL");
      await run.ended;
      const { groups, meta: { losses: _, ...meta } } = await loadCheckpoint(path);
      assert.deepEqual(Object.keys(meta), ["plan", "step", "curve"]);
      await saveCheckpoint(path, { groups, meta });
      assert.equal((await called(...args)).code, 0);
      same(await ended(folder), whole);
    });
  });

  it("the weights file holds the plan, the curve and the model, which loadDenoiser() builds", async () => {
    await within(async (folder) => {
      await dataset(`${folder}/data`);
      const more = ["--steps", "3", "--every", "2", "--key", "9", "--clip", "0", "--constant"];
      more.push(...garments);
      assert.equal((await called(...training(folder, ...more, "--predict", "eps"))).code, 0);
      const path = `${folder}/weights.safetensors`,
        { metadata, tensors } = await readSafetensors(path);
      assert.ok(Object.values(tensors).every(({ dtype }) => dtype === "F16"));
      const plan = JSON.parse(metadata["plan"]!), curve = JSON.parse(metadata["curve"]!);
      assert.deepEqual([plan.steps, plan.batch, plan.seed, plan.decay], [3, 2, 9, 0.999]);
      assert.deepEqual(plan.adam, { rate: 2e-3, warmup: 200, decay: 0, beta2: 0.99 });
      assert.deepEqual(curve.map(([step]: [number]) => step), [2, 3]);
      await useBackend("cpu");
      const { config, params } = await loadDenoiser(path);
      assert.deepEqual([config.kind, config.network.size, config.network.base], ["eps", [8, 8], 8]);
      assert.deepEqual(config.classes?.[9], "Ankle boot");
      tf.dispose(Object.values(params));
    });
  });

  it("--start begins with the weights of a file or the moving average of a checkpoint, and goes on when killed", async () => {
    await within(async (folder) => {
      await dataset(`${folder}/data`);
      const tensors = async (path: string) => (await readSafetensors(path)).tensors;
      assert.equal((await called(...training(folder, "--steps", "3"))).code, 0);
      const first = `${folder}/weights.safetensors`, before = await tensors(first);
      const on = (name: string, from: string, ...more: string[]) => [
        ...training(folder, ...more, "--start", `${folder}/${from}.safetensors`),
        ...["--checkpoint", `${folder}/${name}.ckpt`, "--weights", `${folder}/${name}`],
      ];
      for (const from of ["weights", "run"]) {
        // Steps of size zero leave them as they were.
        assert.equal((await called(...on(from, from, "--steps", "1", "--rate", "0"))).code, 0);
        const after = await tensors(`${folder}/${from}`);
        assert.deepEqual(Object.keys(after), Object.keys(before));
        // Of zeros, only the sign is lost.
        for (const [name, tensor] of Object.entries(before)) {
          assertClose(floats(after[name]!), floats(tensor), 0);
        }
      }
      const steps = ["--steps", "6", "--every", "2"];
      assert.equal((await called(...on("whole", "weights", ...steps))).code, 0);
      const whole = await Deno.readFile(`${folder}/whole`);
      const { code, said } = await disturbed(on("torn", "weights", ...steps), async (run) => {
        await run.saying(/step 2\/6/);
        run.kill("SIGKILL");
      });
      assert.equal(code, 137, said);
      assert.equal((await called(...on("torn", "weights", ...steps))).code, 0);
      same(await Deno.readFile(`${folder}/torn`), whole);
      // Other weights make it another run.
      const again = await called(...on("torn", "run", ...steps));
      assert.equal(again.code, 1);
      assert.match(
        again.said,
        /plan must be that of this run, got start [0-9a-f]{64} \(here [0-9a-f]{64}\)/,
      );
    });
  });

  it("--times and --least are the law of the objective's times", async () => {
    await within(async (folder) => {
      const data = await dataset(`${folder}/data`), schedule = vp();
      const more = ["--schedule", "vp", "--times", "likelihood", "--least", "1e-4", "--key", "3"];
      assert.equal((await called(...training(folder, "--steps", "1", ...more))).code, 0);
      const { metadata } = await readSafetensors(`${folder}/weights.safetensors`);
      const { target, seed, batch: size }: TrainPlan = JSON.parse(metadata["plan"]!);
      assert.ok(target.task === "denoise");
      assert.deepEqual(target.times, { law: "likelihood", least: 1e-4 });
      // The first step's loss, made by hand.
      const network = unet(target.model.network as UNetConfig), root = key(seed);
      const loss = lossOf(diffusionLoss(network, {
        schedule,
        kind: "v",
        nullShare: 0.1,
        times: timeSampler(schedule, { law: timeLaws.likelihood(schedule), least: 1e-4 }),
        reweighted: false,
      }));
      const params = initialize(network.parameters, fold(root, "weights"));
      const set = await trainingSet(data);
      const [batch] = batches(set as ImageSet, { size, key: fold(root, "data") });
      const value = loss(params, batch!, fold(fold(root, "train"), 1));
      const [[, first]] = JSON.parse(metadata["curve"]!);
      assertClose([first], await value.data(), 1e-5);
      tf.dispose([value, ...Object.values(params)]);
    });
  });

  it("--weights does not replace a checkpoint, and --start takes no weights of another meaning", async () => {
    await within(async (folder) => {
      await dataset(`${folder}/data`);
      const other = `${folder}/other.safetensors`, first = ["--steps", "1", "--predict", "v"];
      assert.equal((await called(...training(folder, ...first))).code, 0);
      await Deno.rename(`${folder}/run.safetensors`, other);
      const before = await Deno.readFile(other);
      const replacing = await called(...training(folder, ...first, "--weights", other));
      assert.equal(replacing.code, 2);
      assert.match(replacing.said, /option '--weights <file>' must not replace a checkpoint, got/);
      const start = ["--steps", "1", "--predict", "x0"];
      for (const path of [other, `${folder}/weights.safetensors`]) {
        const { code, said } = await called(
          ...["train", "--data", `${folder}/data`, "--checkpoint", `${folder}/new`, ...small],
          ...start,
          ...["--start", path],
        );
        assert.equal(code, 1);
        assert.match(said, /its prediction must be "x0", got "v"/);
      }
      assert.deepEqual(await Deno.readFile(other), before);
    });
  });

  it("--base 8 trains a network whose norms leave it time and class", async () => {
    await within(async (folder) => {
      await dataset(`${folder}/data`);
      const narrow = ["--base", "8", "--multipliers", "1", "--steps", "1"];
      assert.equal((await called(...training(folder, ...narrow))).code, 0);
      const { model, config, params } = await loadDenoiser(`${folder}/weights.safetensors`);
      assert.equal(config.network.groups, 4);
      tf.dispose(Object.values(params));
      assert.ok(model.given);
    });
  });

  it("--average 1, which would keep the first weights, is refused before anything is read", async () => {
    await within(async (folder) => {
      const { code, said } = await called(...training(folder, "--steps", "2", "--average", "1"));
      assert.equal(code, 2);
      assert.match(
        said,
        /--average <number>' argument '1' is invalid. It must be a number of at least 0 and below 1/,
      );
      assert.deepEqual(listed(folder), []);
    });
  });

  it("--task classify trains a classifier, which loadClassifier() builds and loadDenoiser() refuses", async () => {
    await within(async (folder) => {
      await dataset(`${folder}/data`);
      const files = ["--checkpoint", `${folder}/c`, "--weights", `${folder}/w`];
      const { code, said } = await called(
        "train",
        ...["--task", "classify", "--data", `${folder}/data`, ...files, "--steps", "2"],
        ...["--batch", "4", "--engine", "cpu", ...garments],
      );
      assert.equal(code, 0, said);
      for (const path of [`${folder}/c`, `${folder}/w`]) {
        const { config, params } = await loadClassifier(path);
        assert.deepEqual([config.size, config.classes, config.names?.[1]], [[8, 8], 10, "Trouser"]);
        tf.dispose(Object.values(params));
        await assert.rejects(
          loadDenoiser(path),
          /its (format|task) must be .*denoise, got .*classify/,
        );
      }
    });
  });

  it("--task classify --schedule trains a classifier of noisy images, whose losses are noisyClassifierLoss()'s and which guides", async () => {
    await within(async (folder) => {
      const data = await dataset(`${folder}/data`);
      const files = ["--checkpoint", `${folder}/c`, "--weights", `${folder}/w`];
      const args = [
        ...["train", "--task", "classify", "--schedule", "linear", "--data", data, ...files],
        ...["--steps", "2", "--batch", "4", "--engine", "cpu", "--every", "1"],
      ];
      const { code, said } = await called(...args);
      assert.equal(code, 0, said);
      // The first loss is that of the first weights on the first batch, with the first draws.
      await useBackend("cpu");
      const set = await trainingSet(data), schedule = linear();
      const network = timedClassifier({ size: [8, 8], classes: 10 });
      const loss = lossOf(noisyClassifierLoss(network, { schedule }));
      const [batch] = batches(set, { size: 4, key: fold(key(0), "data") }) as Iterable<never>;
      const params = initialize(network.parameters, fold(key(0), "weights"));
      const value = loss(params, batch!, fold(fold(key(0), "train"), 1)),
        [wanted] = value.dataSync();
      const { meta } = await loadCheckpoint(`${folder}/c`), [first] = meta["curve"] as number[][];
      assert.deepEqual(first![0], 1);
      assert.ok(Math.abs(first![1]! - wanted!) < 1e-5, `${first} instead of ${wanted}`);
      tf.dispose([value, params]);
      for (const path of [`${folder}/c`, `${folder}/w`]) {
        const { config, classifier, params } = await loadNoisyClassifier(path);
        assert.deepEqual(config, {
          size: [8, 8],
          channels: 1,
          classes: 10,
          names: set.classes,
          schedule: { name: "linear" },
        });
        /** The log-odds of class 3 against 4 where a sampler that is guided to a class ends. */
        const end = async (label: number): Promise<number> => {
          const guide = guided(byClassifier(classifier, [label], { scale: 20 }));
          const trajectory = run(prior([1, 8, 8, 1]), { model: gaussian(schedule), key: key(0) });
          const { x, x0 } = await last(trajectory(guide(ddim(schedule, { steps: 2 }))));
          const logits = classifier(x, 1), [three, four] = logits.dataSync().slice(3);
          tf.dispose([x, x0 ?? [], logits]);
          return three! - four!;
        };
        if (path.endsWith("w")) assert.ok(await end(3) > await end(4) + 0.1);
        tf.dispose(Object.values(params));
        await assert.rejects(
          loadClassifier(path),
          /its schedule must be none, .*got \{"name":"linear"\}/,
        );
        await assert.rejects(loadDenoiser(path), /denoise, got .*classify/);
      }
      const clean = await called(...args.filter((arg) => !/schedule|linear/.test(arg)));
      assert.equal(clean.code, 1);
      assert.match(clean.said, /got target\.model\.schedule\.name linear \(here none\)/);
    });
  });

  it("--schedule is cosineContinuous for a denoiser where none is given", async () => {
    await within(async (folder) => {
      await dataset(`${folder}/data`);
      for (
        const [given, wanted] of [[[], "cosineContinuous"], [["--schedule", "vp"], "vp"]] as const
      ) {
        const file = ["--checkpoint", `${folder}/${wanted}`];
        const { code, said } = await called(...training(folder, "--steps", "1", ...given, ...file));
        assert.equal(code, 0, said);
        const { config, params } = await loadDenoiser(`${folder}/${wanted}`);
        assert.deepEqual(config.schedule, { name: wanted });
        tf.dispose(Object.values(params));
      }
    });
  });

  it("runs with permission for nothing but its data and the folders of its files, and asks for no more", async () => {
    await within(async (folder) => {
      await dataset(`${folder}/data`);
      await Deno.mkdir(`${folder}/out`);
      const args = [
        ...["train", "--data", "data", "--checkpoint", "out/c", "--weights", "out/w"],
        ...small,
        ...["--steps", "1"],
      ];
      const run = (...permissions: string[]) => started(args, { permissions, cwd: folder }).ended;
      const { code, said } = await run("--allow-read=data,out", "--allow-write=out");
      assert.equal(code, 0, said);
      const without = await run("--allow-read=out", "--allow-write=out");
      assert.equal(without.code, 1);
      assert.match(without.said, /^tweedie: Requires read access to "data\/.*--allow-read.*\n$/);
    });
  });
});

describe("trainRun() on an engine", () => {
  const set: ImageSet = {
    images: Uint8Array.from({ length: 6 * 64 }, (_, i) => (i * 7919) % 256),
    shape: [6, 8, 8, 1],
    labels: Uint8Array.of(0, 1, 2, 0, 1, 2),
  };
  const rest = { steps: 23, batch: 2, seed: 1, adam: { rate: 1e-2, clip: 0.1 }, decay: 0.9 };
  const augmented = { ...rest, flip: true, dequantize: true };
  const plans: Record<string, TrainPlan> = {
    denoise: {
      ...augmented,
      target: {
        task: "denoise",
        nullShare: 0.5,
        model: {
          schedule: { name: "linear" },
          kind: "v",
          network: { size: [8, 8], patch: 4, base: 8, groups: 4, multipliers: [1], classes: 3 },
        },
      },
    },
    classify: {
      ...augmented,
      steps: 12,
      target: { task: "classify", model: { size: [8, 8], classes: 3, base: 8 } },
    },
    "classify, noisy": {
      ...augmented,
      steps: 12,
      target: {
        task: "classify",
        model: { size: [8, 8], classes: 3, base: 8, schedule: { name: "ve" } },
      },
    },
  };

  /** The reports of a run. */
  async function ran(plan: TrainPlan, options: Parameters<typeof trainRun>[1]) {
    const reports: TrainReport[] = [];
    for await (const report of trainRun(plan, options)) reports.push(report);
    return reports;
  }

  for (const [task, plan] of Object.entries(plans)) {
    it(`trainRun() on an engine reports, saves and learns what it does without, to rounding: ${task}`, async () => {
      await useBackend("cpu");
      await within(async (folder) => {
        const alive = live();
        const files = (name: string): TrainFiles => ({
          checkpoint: `${folder}/${name}`,
          weights: `${folder}/${name}.weights`,
          every: 8,
        });
        const wanted = await ran(plan, { set, files: files("plain") });
        const got = await ran(plan, { set, files: files("engine"), engine: eager });
        assert.deepEqual(got.map(({ step }) => step), [...Array(plan.steps + 1).keys()]);
        const saved = (list: readonly TrainReport[]) =>
          list.filter((r) => r.saved).map((r) => r.step);
        assert.deepEqual(saved(got), saved(wanted));
        assertClose(got.slice(1).map((r) => r.loss), wanted.slice(1).map((r) => r.loss), 1e-4);
        const [a, b] = [
          await readSafetensors(`${folder}/engine.weights`),
          await readSafetensors(`${folder}/plain.weights`),
        ];
        const points = ({ metadata }: typeof a): number[][] => JSON.parse(metadata["curve"]!);
        assert.deepEqual(points(a).map(([step]) => step), points(b).map(([step]) => step));
        assertClose(points(a).flat(), points(b).flat(), 1e-4);
        for (const [name, tensor] of Object.entries(b.tensors)) {
          assertClose(floats(a.tensors[name]!), floats(tensor), 3e-3);
        }
        assert.equal(live(), alive);
      });
    });
  }

  it("trainRun() on an engine stops at a signal within ten steps, and goes on to the same weights file", async () => {
    await useBackend("cpu");
    await within(async (folder) => {
      const plan = plans["denoise"]!, alive = live();
      const files = (name: string): TrainFiles => ({
        checkpoint: `${folder}/${name}`,
        weights: `${folder}/${name}.weights`,
        every: 20,
      });
      await ran(plan, { set, files: files("whole"), engine: eager });
      const control = new AbortController(), { signal } = control, seen: number[] = [];
      const options = { set, files: files("broken"), engine: eager };
      await assert.rejects(async () => {
        for await (const { step } of trainRun(plan, { ...options, signal })) {
          seen.push(step);
          if (step === 2) control.abort(new Error("stop"));
        }
      }, /stop/);
      assert.equal(seen.at(-1), 20);
      assert.equal((await loadCheckpoint(`${folder}/broken`)).meta["step"], 20);
      const again = await ran(plan, options);
      assert.deepEqual(again.map(({ step }) => step), [20, 21, 22, 23]);
      const [whole, broken] = await Promise.all(
        ["whole", "broken"].map((name) => Deno.readFile(`${folder}/${name}.weights`)),
      );
      same(broken!, whole!);
      assert.equal(live(), alive);
    });
  });
});

describe("tweedie train, given what it cannot use", () => {
  /** Runs in a folder with a data set; the refusal must be one line and leave the folder as it was. */
  async function refused(
    prepare: (folder: string) => Promise<unknown>,
    message: RegExp,
    ...more: string[]
  ): Promise<void> {
    await within(async (folder) => {
      await dataset(`${folder}/data`);
      await prepare(folder);
      const before = [...listed(folder), ...listed(`${folder}/data`)],
        tensors = live();
      const { code, said, shown } = await called(...training(folder, "--steps", "2", ...more));
      assert.deepEqual([code, shown], [1, ""], said);
      assert.match(said, /^tweedie: [^\n]*[^\n.]\n$/);
      assert.match(said, message);
      assert.deepEqual([...listed(folder), ...listed(`${folder}/data`)], before);
      assert.equal(live(), tensors, "tensors are left");
    });
  }

  const nothing = () => Promise.resolve();
  const file =
    (name: string, change: (bytes: Uint8Array) => Uint8Array) => async (folder: string) => {
      const path = `${folder}/data/train-${name}-ubyte`;
      await Deno.writeFile(path, change(await Deno.readFile(path)));
    };
  /** A finished run of the same plan, then changed. */
  const checkpoint = (
    change: (path: string) => Promise<unknown>,
    ...more: string[]
  ) =>
  async (folder: string) => {
    assert.equal((await called(...training(folder, "--steps", "2", ...more))).code, 0);
    await Deno.remove(`${folder}/weights.safetensors`);
    await change(`${folder}/run.safetensors`);
  };

  it("a data folder that is not there: how to get the data", async () => {
    await refused(
      nothing,
      /train-\w+-idx\d-ubyte.* must be there.*apt install/,
      "--data",
      "/nowhere",
    );
  });

  it("a data folder that is a file", async () => {
    const path = fileURLToPath(new URL(import.meta.url));
    await refused(nothing, /must be there, got no such file/, "--data", path);
  });

  it("images or labels that are cut short, of another kind, or do not fit each other", async () => {
    await refused(
      file("images-idx3", (bytes) => bytes.subarray(0, -1)),
      /data must be 1280 bytes .*got 1279, in .*images/,
    );
    await refused(
      file("labels-idx1", (bytes) => bytes.subarray(0, 3)),
      /file must be at least 4 bytes, got 3, in .*labels/,
    );
    await refused(
      file("images-idx3", () => new Uint8Array([0x1f, 0x8b, 8, 0, 1, 2, 3])),
      /gzip data must be whole/,
    );
    await refused(file("labels-idx1", () => idx([19], Array(19).fill(0))), /labels must be \[20\]/);
    await refused(
      file("labels-idx1", () => idx([20], [...Array(19).fill(0), 10])),
      /--classes must be 2 names, for the labels 0, 10, got 10: T-shirt/,
      ...garments,
    );
    await refused(
      file("images-idx3", () => idx([20, 64], Array(1280).fill(0))),
      /rank .* must be 3/,
    );
  });

  it("images that do not fit the network", async () => {
    await refused(nothing, /size must be .*, got 8/, "--patch", "3");
  });

  it("sizes that no memory holds: which option", async () => {
    await refused(
      nothing,
      /Cannot train: --batch must be at most 4194304 for images of 8x8x1, got 1000000000\n/,
      ...["--batch", "1000000000"],
    );
    await refused(
      nothing,
      /Cannot train: --base, --multipliers and --blocks must give at most 268435456 weights, got \d{9,}\n/,
      ...["--base", "4096"],
    );
  });

  it("folders that are not there, and paths of folders", async () => {
    const gone = "/nowhere/at/all.safetensors";
    await refused(
      nothing,
      /folder \/nowhere\/at\/ must exist and be writable/,
      "--checkpoint",
      gone,
    );
    await refused(nothing, /folder \/nowhere\/at\/ must exist and be writable/, "--weights", gone);
    await refused(nothing, /path must be that of a file, got a folder/, "--checkpoint", "/tmp");
  });

  it("a checkpoint of another plan: what differs", async () => {
    await refused(
      checkpoint(nothing, "--key", "4", "--rate", "0.5"),
      /plan must be that of this run, got seed 4 \(here 0\), adam\.rate 0\.5 \(here 0\.002\); give/,
    );
    await refused(
      checkpoint(nothing, "--base", "16"),
      /target\.model\.network\.base 16 \(here 8\)/,
    );
    await refused(checkpoint(nothing, "--clip", "0"), /adam\.clip none \(here 0\.1\)/);
  });

  it("weights to start from that are not there, or of another network or task", async () => {
    await within(async (other) => {
      const path = `${other}/w`;
      const from = (message: RegExp) => refused(nothing, message, "--start", path);
      await from(/Cannot load .*: it must be a file that can be read, got NotFound/);
      await weights(path);
      await from(/Cannot load .*: it must hold the model's \d+ tensors/);
      const config = { size: [8, 8], classes: 10 };
      await writeSafetensors(path, {}, {
        format: "tweedie.classify",
        model: JSON.stringify(config),
      });
      await from(/Cannot load .*: its format must be tweedie\.denoise, got tweedie\.classify/);
    });
  });

  it("a checkpoint that is cut short, is none, or is not what it says", async () => {
    const bytes = (change: (bytes: Uint8Array) => Uint8Array) =>
      checkpoint(async (path) => Deno.writeFile(path, change(await Deno.readFile(path))));
    const content = (change: (content: Awaited<ReturnType<typeof loadCheckpoint>>) => unknown) =>
      checkpoint(async (path) => {
        const content = structuredClone(await loadCheckpoint(path));
        change(content);
        await saveCheckpoint(path, content);
      });
    await refused(bytes((all) => all.subarray(0, -1)), /data must be \d+ bytes, got \d+, in .*run/);
    await refused(bytes(() => new Uint8Array()), /file must be at least 8 bytes, got 0/);
    await refused(checkpoint((path) => weights(path)), /must be of format tweedie\.checkpoint 1/);
    // deno-lint-ignore no-explicit-any -- the type is what these break
    const cases: readonly (readonly [(content: any) => unknown, RegExp])[] = [
      [({ meta }) => meta.step = 3, /its step must be a whole number in \[0, 2\], got 3/],
      [({ meta }) => delete meta.step, /its step must be .*, got none/],
      [({ meta }) => meta.curve = [1], /its curve must be pairs of numbers, got \[1\]/],
      [({ meta }) => meta.losses = "x", /its losses must be numbers, got "x"/],
      [
        ({ meta }) => delete meta.plan,
        /its plan must be .* got target\.task none \(here denoise\)/,
      ],
      [
        ({ groups }) => delete groups["adam.square"],
        /must hold the model's \d+ tensors, got \d+ miss/,
      ],
      [({ groups }) => delete groups.ema["in.bias"], /1 missing \(in\.bias\)/],
      [
        ({ groups }) =>
          groups.ema["in.bias"] = { dtype: "I32", shape: [8], data: new Int32Array(8) },
        /in\.bias must be finite floats, got I32/,
      ],
    ];
    for (const [change, message] of cases) await refused(content(change), message);
    const notFinite = checkpoint(async (path) => {
      const { tensors, metadata } = await readSafetensors(path);
      tensors["model.in.bias"]!.data[0] = NaN;
      await writeSafetensors(path, tensors, metadata);
    });
    await refused(notFinite, /in\.bias must be finite floats, got NaN/);
  });
});

describe("reported()", () => {
  async function* reports(list: readonly (readonly [number, number, boolean])[], tick: () => void) {
    for (const [step, loss, saved] of list) {
      tick();
      yield { step, loss, saved };
    }
  }

  /** What is written of reports that come a second apart, the first one before the first step. */
  async function written(
    list: readonly (readonly [number, number, boolean])[],
    options: { readonly terminal: boolean; readonly signal?: AbortSignal; readonly apart?: number },
  ): Promise<string> {
    const { apart = 1000, ...rest } = options;
    let text = "", at = 0;
    const write = (part: string) => void (text += part);
    const watch = reported({ steps: 8000, batch: 4, write, now: () => at, ...rest });
    const seen: TrainReport[] = [];
    for await (const report of watch(reports(list, () => at += apart))) seen.push(report);
    assert.equal(seen.length, list.length);
    return text;
  }

  const run = [[4, NaN, false], [5, 1, false], [6, 2, true], [7, 3, false], [8, 5, true]] as const;

  it("reported() writes a line at each checkpoint in a log, with loss, speed and time left", async () => {
    assert.equal(
      await written(run, { terminal: false }),
      "step 6/8000  loss 1.50000  4.0 images/s  2:13:14 left\n" +
        "step 8/8000  loss 4.00000  4.0 images/s  2:13:12 left\n",
    );
    assert.equal(
      await written([[7999, NaN, false], [8000, 1, true]], { terminal: false }),
      "step 8000/8000  loss 1.00000  4.0 images/s\n",
    );
  });

  it("reported() renews one line on a terminal, keeps it at a checkpoint, and is never quicker than the eye", async () => {
    const lines = (text: string) => text.split("\r\x1b[K").slice(1);
    const slow = lines(await written(run, { terminal: true }));
    assert.deepEqual(slow.map((line) => /^step (\d+).*?(\n?)$/.exec(line)?.slice(1)), [
      ["5", ""],
      ["6", "\n"],
      ["7", ""],
      ["8", "\n"],
    ]);
    const quick = lines(await written(run, { terminal: true, apart: 50 }));
    assert.deepEqual(quick.map((line) => /^step (\d+)/.exec(line)?.[1]), ["6", "8"]);
  });

  it("reported() ends its line when the run breaks off, and is silent once it was stopped", async () => {
    const broken = (await written(run.slice(0, 2), { terminal: true })).split("\r\x1b[K");
    assert.deepEqual([broken.length, broken[0]], [2, ""]);
    assert.match(broken[1]!, /^step 5[^\n]*\n$/);
    assert.equal(await written(run, { terminal: false, signal: AbortSignal.abort() }), "");
  });
});
