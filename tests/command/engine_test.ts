import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { Worker } from "node:worker_threads";
import { fileURLToPath } from "node:url";
import * as tf from "@tensorflow/tfjs-core";
import { type EngineName, onEngine, type StartOnnx } from "../../src/command/choose.ts";
import { onnx } from "../../src/engine/open.ts";
import { loadCheckpoint } from "../../src/io/checkpoint.ts";
import { floats, readSafetensors } from "../../src/io/safetensors.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { eager, type Engine } from "../../src/tensor/engine.ts";
import { assertClose } from "../network/weights.ts";
import { called, dataset, listed, same, started, weights, within } from "./run.ts";
import { live } from "../measure.ts";

/** Where the runtime cannot be had, tests are left out by name; TWEEDIE_REQUIRE_ONNX=1 makes them fail there. */
const missing = await onnx().then((engine) => engine.close()).then(() => undefined, String);
function onRuntime(name: string, body: () => Promise<void>): void {
  if (missing === undefined || Deno.env.get("TWEEDIE_REQUIRE_ONNX") === "1") it(name, body);
  else it.skip(`${name} (SKIPPED: ${missing})`, body);
}

/** An engine that notes whether it was closed, and how it was started. */
function observed(): { start: StartOnnx; started: object[]; closed: () => number } {
  const started: object[] = [];
  let closed = 0;
  const close = (): Promise<void> => Promise.resolve(void closed++);
  const start: StartOnnx = (options) => {
    started.push(options);
    return Promise.resolve({ ...eager, name: "observed", close });
  };
  return { start, started, closed: () => closed };
}

/** What a function writes to the standard error. */
async function heard(body: () => Promise<unknown>): Promise<string> {
  const { stderr } = Deno;
  let said = "";
  stderr.writeSync = (bytes: Uint8Array) => {
    said += new TextDecoder().decode(bytes);
    return bytes.length;
  };
  try {
    await body();
    return said;
  } finally {
    delete (stderr as { writeSync?: unknown }).writeSync;
  }
}

const given = (name: EngineName, start?: StartOnnx): Promise<Engine | undefined> =>
  onEngine({ engine: name }, ({ engine }) => Promise.resolve(engine), start);

const never: StartOnnx = () => assert.fail("onnx was started");

describe("onEngine()", () => {
  it("onEngine() puts a backend in place by its name, starts no onnx and says nothing", async () => {
    for (const name of ["cpu", "wasm"] as const) {
      await useBackend(name === "cpu" ? "wasm" : "cpu");
      const said = await heard(async () => {
        assert.equal(await given(name, never), undefined);
        assert.equal(tf.getBackend(), name);
      });
      assert.equal(said, "");
    }
  });

  it("onEngine() with onnx gives it with its threads, wasm for the rest, closes it and says nothing", async () => {
    await useBackend("cpu");
    const { start, started, closed } = observed();
    const said = await heard(() =>
      onEngine({ engine: "onnx", threads: 3 }, ({ engine }) => {
        assert.deepEqual([engine?.name, tf.getBackend(), closed()], ["observed", "wasm", 0]);
        return Promise.resolve();
      }, start)
    );
    assert.deepEqual([started, closed(), said], [[{ threads: 3 }], 1, ""]);
  });

  it("onEngine() closes the engine when the work fails, and hands its error on", async () => {
    const { start, closed } = observed(), own = new Error("own");
    await assert.rejects(onEngine({ engine: "onnx" }, () => Promise.reject(own), start), own);
    assert.equal(closed(), 1);
  });

  it("onEngine() with auto takes onnx where it starts, and says so in one line", async () => {
    const { start, started, closed } = observed();
    let engine: Engine | undefined;
    const said = await heard(async () => engine = await given("auto", start));
    assert.equal(engine?.name, "observed");
    assert.deepEqual([said, started, closed()], ["tweedie: engine onnx (observed)\n", [{}], 1]);
  });

  it("onEngine() with auto falls back to wasm where onnx does not start, and says why in one line", async () => {
    await useBackend("cpu");
    const why = (start: StartOnnx): Promise<string> =>
      heard(async () => {
        assert.equal(await given("auto", start), undefined);
        assert.equal(tf.getBackend(), "wasm");
      });
    assert.equal(
      await why(() => Promise.reject(new Error("Cannot use the onnx engine: no\n  luck"))),
      "tweedie: engine wasm (no onnx: no; luck; see docs/engines.md)\n",
    );
    // A module that is not there, and one whose binary is not: the real start, up to that.
    for (const code of ["import 'file:///nowhere.js'", "throw new Error('dlopen failed')"]) {
      const said = await why(() => onnx({ module: `data:text/javascript,${code}` }));
      assert.match(said, /^tweedie: engine wasm \(no onnx: data:\S+.* could not be loaded: .*\n$/);
      assert.doesNotMatch(said, / at |\n./);
    }
  });

  it("onEngine() with auto and threads does not fall back to wasm, which would ignore them", async () => {
    const start: StartOnnx = () => Promise.reject(new Error("no luck"));
    const said = await heard(() =>
      assert.rejects(
        onEngine({ engine: "auto", threads: 2 }, () => assert.fail("it began"), start),
        {
          name: "TypeError",
          message: "Cannot use --threads 2: --engine must be onnx, got wasm, which has one thread",
        },
      )
    );
    assert.equal(said, "tweedie: engine wasm (no onnx: no luck; see docs/engines.md)\n");
  });

  it("onEngine() never falls back from an engine that was named", async () => {
    const luckless: StartOnnx = () =>
      onnx({ module: "data:text/javascript,throw new Error('no')" });
    const said = await heard(() =>
      assert.rejects(
        given("onnx", luckless),
        /^EngineUnavailable: Cannot use the onnx engine: data:.* could not be loaded/,
      )
    );
    assert.equal(said, "");
  });
});

describe("the command line", () => {
  it("loads nothing of an engine before one is chosen", async () => {
    const root = new URL("../../src/", import.meta.url), seen = new Set([`${root}cli.ts`]);
    for (const url of seen) {
      const text = await Deno.readTextFile(new URL(url));
      for (const [, path] of text.matchAll(/^(?:import|export|\}) (?!type ).*?"(\.[^"]+)";$/gm)) {
        seen.add(new URL(path!, url).href);
      }
    }
    const reached = [...seen].map((url) => url.slice(root.href.length));
    assert.ok(reached.includes("command/choose.ts") && reached.includes("network/unet.ts"));
    assert.deepEqual(reached.filter((path) => path.startsWith("engine/")), []);
  });
});

const quick = ["--count", "3", "--steps", "8", "--zoom", "1", "--frames", "gray"];

/** Arguments that sample the weights of a folder to raw frames. */
const sampling = (folder: string, engine: string, ...more: string[]): string[] => [
  ...["sample", "--checkpoint", `${folder}/w.safetensors`, "--out", `${folder}/${engine}.gray`],
  ...["--engine", engine, ...quick, ...more],
];

/** Runs in a folder that has the weights of a tiny denoiser of 8 x 8 pixels and three classes. */
const withWeights = (use: (folder: string) => Promise<void>): Promise<void> =>
  within(async (folder) => {
    await weights(`${folder}/w.safetensors`);
    await use(folder);
  });

/** The greatest difference of two lists of bytes. */
function apart(a: Uint8Array, b: Uint8Array): number {
  assert.ok(a.length > 0 && a.length === b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
}

const runtimeCode = fileURLToPath(new URL("../../src/engine/runtime", import.meta.url));

describe("tweedie sample --engine", () => {
  onRuntime("every sampler gives the frames of wasm on onnx and cpu, to rounding", async () => {
    await withWeights(async (folder) => {
      for (const sampler of ["ddim", "ddpm", "dpm"]) {
        const frames: Uint8Array[] = [];
        for (const engine of ["wasm", "onnx", "cpu"]) {
          const { code, said } = await called(
            ...sampling(folder, engine, "--sampler", sampler, "--threads", "1")
              .filter((word, i, all) =>
                engine === "onnx" || ![word, all[i - 1]].includes("--threads")
              ),
          );
          assert.deepEqual([code, said], [0, ""]);
          frames.push(await Deno.readFile(`${folder}/${engine}.gray`));
        }
        const [wasm, ...others] = frames;
        for (const other of others) assert.ok(apart(other, wasm!) <= 1, `${sampler}`);
        assert.ok(new Set(wasm).size > 100, "the frames are of many greys");
      }
    });
  });

  it("auto without --allow-ffi is wasm, and one line on stderr says so and what onnx needs", async () => {
    await withWeights(async (folder) => {
      const { code, said } = await started(sampling(folder, "auto")).ended;
      const line = "tweedie: engine wasm (onnx needs --allow-ffi: see docs/engines.md)\n";
      assert.deepEqual([code, said], [0, line]);
      assert.equal((await called(...sampling(folder, "wasm"))).code, 0);
      same(await Deno.readFile(`${folder}/auto.gray`), await Deno.readFile(`${folder}/wasm.gray`));
    });
  });

  onRuntime(
    "auto is the default; with the permissions for onnx it is that, and says so",
    async () => {
      await withWeights(async (folder) => {
        const args = sampling(folder, "auto").filter((word, i, all) =>
          ![word, all[i - 1]].includes("--engine")
        );
        const permissions = [
          "--allow-ffi",
          `--allow-read=${folder},${runtimeCode}`,
          `--allow-write=${folder}`,
        ];
        const { code, said } = await started(args, { permissions }).ended;
        const engine = await onnx(), { name } = engine;
        await engine.close();
        assert.match(name, /^ONNX Runtime \S+ \(cpu\), in a worker(, blocks of (8|16))?$/);
        assert.deepEqual([code, said], [0, `tweedie: engine onnx (${name})\n`]);
      });
    },
  );

  it("onnx that lacks a permission is one line, code 1 and no picture; auto goes on with wasm", async () => {
    await withWeights(async (folder) => {
      const files = [`--allow-read=${folder}`, `--allow-write=${folder}`], before = listed(folder);
      const refused = async (message: RegExp, ...permissions: string[]) => {
        const args = sampling(folder, "onnx");
        const { code, said } = await started(args, { permissions }).ended;
        assert.match(said, message);
        assert.match(said, /^tweedie: Cannot use the onnx engine: [^\n]*\n$/);
        assert.deepEqual([code, listed(folder)], [1, before]);
      };
      await refused(/run with --allow-ffi/, ...files);
      await refused(/its worker reads .*run with --allow-read/, ...files, "--allow-ffi");
      const permissions = [...files, "--allow-ffi"];
      const { code, said } = await started(sampling(folder, "auto"), { permissions }).ended;
      assert.match(
        said,
        /^tweedie: engine wasm \(no onnx: its worker reads [^\n]*engines\.md\)\n$/,
      );
      assert.equal(code, 0);
    });
  });

  onRuntime(
    "Ctrl-C on onnx ends with one line and code 130, and leaves no file behind",
    async () => {
      await withWeights(async (folder) => {
        const before = listed(folder), permissions = ["-A"];
        const args = sampling(folder, "auto", "--steps", "100000");
        const run = started(args, { permissions }),
          late = setTimeout(() => run.kill("SIGKILL"), 60_000);
        await run.saying(/engine onnx/);
        await new Promise((resolve) => setTimeout(resolve, 500));
        run.kill("SIGINT");
        const { code, said } = await run.ended;
        clearTimeout(late);
        assert.deepEqual([code, said.split("\n").slice(1)], [130, [
          "tweedie: stopped by SIGINT",
          "",
        ]]);
        assert.deepEqual(listed(folder), before);
      });
    },
  );
});

/** Ends the worker in the place of the n-th message that it is sent from here on, while a body runs. */
async function dying<A>(n: number, body: () => Promise<A>): Promise<A> {
  const { postMessage } = Worker.prototype;
  let sent = 0;
  Worker.prototype.postMessage = function (this: Worker, ...args: Parameters<typeof postMessage>) {
    if (++sent === n) setTimeout(() => this.terminate());
    return postMessage.apply(this, args);
  };
  try {
    const result = await body();
    assert.ok(sent >= n, `the worker was only sent ${sent} messages`);
    return result;
  } finally {
    Worker.prototype.postMessage = postMessage;
  }
}

const small = ["--batch", "2", "--base", "8", "--multipliers", "1", "--patch", "4"];

/** Arguments of a run that keeps its files in a folder. */
const training = (folder: string, engine: string, ...more: string[]): string[] => [
  ...["train", "--data", `${folder}/data`, "--checkpoint", `${folder}/run.safetensors`],
  ...["--weights", `${folder}/weights.safetensors`, "--engine", engine, ...small],
  ...["--clip", "0.1", "--steps", "12", "--every", "4", ...more],
];

/** Runs in a folder that has a data set. */
const withData = <A>(use: (folder: string) => Promise<A>): Promise<A> =>
  within(async (folder) => {
    await dataset(`${folder}/data`);
    return await use(folder);
  });

/** The bytes of the weights that a run ends with when nothing happens to it. */
const unbroken = (engine: string): Promise<Uint8Array> =>
  withData(async (folder) => {
    const { code, said } = await called(...training(folder, engine));
    assert.equal(code, 0, said);
    return await Deno.readFile(`${folder}/weights.safetensors`);
  });

describe("a worker that dies", () => {
  onRuntime("ends sample with one line and code 1, and leaves no file and no thread", async () => {
    await withWeights(async (folder) => {
      const before = listed(folder);
      for (const n of [1, 2, 5]) {
        const { code, said } = await dying(n, () => called(...sampling(folder, "onnx")));
        assert.match(said, /^tweedie: Cannot use the onnx engine: its worker ended[^\n]*\n$/);
        assert.deepEqual([code, listed(folder)], [1, before]);
      }
    });
  });

  onRuntime(
    "ends train with one line and code 1; the checkpoint is whole, and the run goes on from it to the same weights",
    async () => {
      const whole = await unbroken("onnx");
      for (const after of [0, 4, 8]) {
        await withData(async (folder) => {
          await useBackend("wasm");
          const alive = live(), args = training(folder, "onnx");
          const { code, said } = await diesAfter(after, args);
          assert.equal(code, 1);
          assert.match(said, /\ntweedie: Cannot use the onnx engine: its worker ended[^\n]*\n$/);
          assert.equal(live(), alive);
          const names = listed(folder).map((line) => line.split(" ")[0]);
          assert.deepEqual(names, after === 0 ? ["data"] : ["data", "run.safetensors"]);
          if (after > 0) {
            assert.equal((await loadCheckpoint(`${folder}/run.safetensors`)).meta["step"], after);
          }
          const again = await called(...args);
          assert.equal(again.code, 0, again.said);
          same(await Deno.readFile(`${folder}/weights.safetensors`), whole, `after ${after}`);
        });
      }
    },
  );
});

/** Runs a training whose worker dies once it has said that it kept a step, or before all steps. */
async function diesAfter(step: number, args: readonly string[]) {
  const { postMessage } = Worker.prototype, { stderr } = Deno;
  // The engine has been tried by then, and stands.
  const sign = step === 0 ? "tweedie: 12 steps of" : `step ${step}/`;
  let doomed = false, sent = 0;
  Worker.prototype.postMessage = function (this: Worker, ...args: Parameters<typeof postMessage>) {
    // Not at once, so that some steps are made after the checkpoint.
    if (doomed && ++sent === (step === 0 ? 5 : 2)) setTimeout(() => this.terminate());
    return postMessage.apply(this, args);
  };
  const running = called(...args), { writeSync } = stderr;
  stderr.writeSync = (bytes: Uint8Array) => {
    doomed ||= new TextDecoder().decode(bytes).startsWith(sign);
    return writeSync.call(stderr, bytes);
  };
  try {
    return await running;
  } finally {
    Worker.prototype.postMessage = postMessage;
  }
}

describe("tweedie train --engine", () => {
  onRuntime(
    "onnx, killed by SIGKILL and started again, gives the same weights file, bit for bit",
    async () => {
      const whole = await unbroken("onnx");
      await withData(async (folder) => {
        const args = training(folder, "onnx");
        for (const step of [4, 8]) {
          const run = started(args, { permissions: ["-A"] });
          await run.saying(new RegExp(`step ${step}/12`));
          run.kill("SIGKILL");
          const { code, said } = await run.ended;
          assert.ok(code === 137 || code === 0, said);
        }
        const { code, said } = await called(...args);
        assert.equal(code, 0, said);
        same(await Deno.readFile(`${folder}/weights.safetensors`), whole);
      });
    },
  );

  onRuntime(
    "a checkpoint of wasm is gone on from on onnx, to the same weights up to rounding",
    async () => {
      const plain = await withData(async (folder) => {
        assert.equal((await called(...training(folder, "wasm"))).code, 0);
        return await readSafetensors(`${folder}/weights.safetensors`);
      });
      await withData(async (folder) => {
        const run = started(training(folder, "wasm"));
        await run.saying(/step 4\/12/);
        run.kill("SIGKILL");
        await run.ended;
        const step = (await loadCheckpoint(`${folder}/run.safetensors`)).meta["step"] as number;
        const { code, said } = await called(...training(folder, "onnx"));
        assert.equal(code, 0, said);
        assert.match(said, new RegExp(`^tweedie: (steps ${step + 1} to 12 of|all 12 steps)`));
        const { tensors } = await readSafetensors(`${folder}/weights.safetensors`);
        for (const [name, tensor] of Object.entries(plain.tensors)) {
          assertClose(floats(tensors[name]!), floats(tensor), 3e-3);
        }
      });
    },
  );
});
