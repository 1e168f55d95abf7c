import { beforeEach, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { mixture } from "../../src/denoise/oracle/gaussian.ts";
import { loadState, saveState } from "../../src/io/model/state.ts";
import { saveCheckpoint } from "../../src/io/checkpoint.ts";
import { readSafetensors, writeSafetensors } from "../../src/io/safetensors.ts";
import { vp } from "../../src/noise/schedule/continuous.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { annealedLangevin, corrected } from "../../src/refine/correct.ts";
import { inpainted } from "../../src/refine/known/observe.ts";
import { repainted } from "../../src/refine/known/repaint.ts";
import { likelihood } from "../../src/refine/likelihood.ts";
import { ddim, ddpm } from "../../src/sample/ancestral.ts";
import { after, type RunOptions, type Sampler, type State } from "../../src/sample/path.ts";
import { prior, run } from "../../src/sample/run.ts";
import { deis, lms } from "../../src/sample/solver/deis.ts";
import { adaptiveFlow, arrived } from "../../src/sample/flow/adaptive.ts";
import { flow } from "../../src/sample/flow/flow.ts";
import { pndm } from "../../src/sample/solver/pndm.ts";
import { dpmSolver } from "../../src/sample/solver/dpm.ts";
import { uniPc } from "../../src/sample/solver/unipc.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { recorded } from "../../src/watch/record.ts";
import { inFolder } from "./folder.ts";
import { live } from "../measure.ts";

const schedule = linear(), grid = { steps: 6 };
const components = { means: [[-1, 0], [1, 0.5]], variances: [0.1, 0.2] };
const options: RunOptions = { model: mixture(schedule, components), key: key(7) };
const known = tf.util.flatten([[[1, 0]]]) as number[];

/** What a state holds, as plain data. */
function told(value: unknown): unknown {
  if (value instanceof tf.Tensor) return [value.dtype, value.shape, [...value.dataSync()]];
  if (Array.isArray(value)) return value.map(told);
  if (typeof value !== "object" || value === null) return value;
  const fields = Object.entries(value).filter(([, inner]) => inner !== undefined);
  return Object.fromEntries(fields.map(([name, inner]) => [name, told(inner)]));
}

const disposed = (state: State) => tf.dispose({ ...state } as unknown as tf.TensorContainer);

beforeEach(async () => await useBackend("cpu"));

describe("saveState() and loadState()", () => {
  const kept = () => tf.tensor2d([known], [1, 2]);
  const samplers: Readonly<Record<string, () => Sampler>> = {
    "ddpm()": () => ddpm(schedule, grid),
    "ddim() with eta": () => ddim(schedule, { ...grid, eta: 0.5 }),
    "dpmSolver() of order 3": () => dpmSolver(schedule, { ...grid, order: 3 }),
    "uniPc()": () => uniPc(schedule, grid),
    "deis()": () => deis(schedule, grid),
    "lms()": () => lms(schedule, grid),
    "pndm()": () => pndm(schedule, grid),
    "corrected lms()": () => corrected(annealedLangevin())(lms(schedule, grid)),
    "inpainted uniPc() with jumps back": () =>
      repainted({ jumps: 2, length: 3 })(
        inpainted(kept(), tf.tensor2d([[0.5, 0.5]]))(uniPc(schedule, grid)),
      ),
    "deis() with its density": () => likelihood()(deis(schedule, grid)) as Sampler,
    "flow() with its density": () => likelihood()(flow(schedule, grid)) as Sampler,
  };
  for (const [name, make] of Object.entries(samplers)) {
    it(`saveState() and loadState() let ${name} go on bit for bit from any step`, async () => {
      const sampler = make(), before = live();
      const states = await recorded(run(prior([3, 2]), options)(sampler)), whole = states.map(told);
      await inFolder(async (folder) => {
        const path = `${folder}/state.safetensors`;
        for (const [k, state] of states.slice(0, -1).entries()) {
          await saveState(path, state);
          const from = await loadState(path), rest = after(from.step)(sampler);
          assert.deepEqual(told(from), whole[k]);
          const seen: unknown[] = [];
          for await (const next of run(from, options)(rest)) seen.push(told(next));
          assert.deepEqual(seen, whole.slice(k));
          disposed(from);
        }
      });
      states.forEach(disposed);
      assert.equal(live(), before);
    });
  }

  it("saveState() and loadState() let a sampler that chooses its steps go on bit for bit", async () => {
    const schedule = vp(), model = mixture(schedule, components);
    const env = { model, key: key(1), until: arrived(1e-2) };
    const sampler = adaptiveFlow(schedule, {
      final: 1e-2,
      control: { absolute: 1e-2, relative: 1e-2 },
    });
    const states = await recorded(run(prior([2, 2]), env)(sampler as Sampler));
    await inFolder(async (folder) => {
      const path = `${folder}/state.safetensors`, at = Math.floor(states.length / 2);
      await saveState(path, states[at]!);
      const from = await loadState(path), seen: unknown[] = [];
      assert.ok(["length", "previous"].every((name) => Object.hasOwn(from, name)));
      for await (const next of run(from, env)(sampler as Sampler)) seen.push(told(next));
      assert.deepEqual(seen, states.slice(at).map(told));
      disposed(from);
    });
    states.forEach(disposed);
  });

  it("saveState() and loadState() keep fields of any name and kind, and store what is twice once", async () => {
    const x = tf.tensor2d([[0.1, -0], [1e-45, 3.4e38]]), same = tf.clone(x), before = live();
    const state = {
      x,
      t: 0.1 + 0.2,
      step: 3,
      x0: same,
      history: [{ t: 1, x0: x, x: tf.tensor1d([1, 2], "int32") }, { t: 2, x0: tf.scalar(3) }],
      "a.b": tf.scalar(true, "bool"),
      a: { b: tf.scalar(7) },
      wide: tf.reshape(x, [4]),
      plain: [null, true, -0, "tensor", { tensor: "x", fields: {} }, []],
      absent: undefined,
      ["__proto__"]: { polluted: 1 },
    };
    await inFolder(async (folder) => {
      const path = `${folder}/state.safetensors`;
      await saveState(path, state);
      const made = live(), back = await loadState<typeof state>(path);
      assert.deepEqual(told(back), told(state));
      assert.deepEqual([...new Set(Object.keys(back))].sort(), [
        ...["__proto__", "a", "a.b", "history", "plain", "step", "t", "wide", "x", "x0"],
      ]);
      assert.equal(({} as { polluted?: number }).polluted, undefined);
      const { tensors } = await readSafetensors(path);
      assert.deepEqual(Object.keys(tensors).length, 6);
      // Each can be disposed of by itself.
      back.x.dispose();
      assert.deepEqual(told(back.x0), told(same));
      disposed(back);
      assert.equal(live(), made);
    });
    disposed(state);
    assert.equal(live(), before - 2);
  });

  it("saveState() refuses what no run could go on from, and leaves the old file", async () => {
    const x = tf.scalar(1), good = { x, t: 1, step: 0 }, gone = tf.scalar(1);
    gone.dispose();
    const deep = Array.from({ length: 70 }).reduce<unknown>((inner) => [inner], 1);
    const selfish: Record<string, unknown> = {};
    selfish.self = selfish;
    const bad = tf.tensor1d([0, NaN]);
    const cases: readonly (readonly [unknown, string, string])[] = [
      [{ ...good, x: bad }, "RangeError", "tensor x must be of finite numbers, got NaN"],
      [
        { ...good, history: [{ t: 1, x0: bad }] },
        "RangeError",
        "tensor history.0.x0 must be of finite numbers, got NaN",
      ],
      [
        { ...good, x: gone },
        "TypeError",
        "x must be a tensor that lives, got one that was disposed of",
      ],
      [{ ...good, x: [1] }, "TypeError", "state.x must be a tensor, got [1]"],
      [
        { ...good, step: 0.5 },
        "TypeError",
        "state.step must be a whole number of at least 0, got 0.5",
      ],
      [
        { ...good, t: NaN },
        "TypeError",
        "state.t must be plain data with finite numbers, got number NaN",
      ],
      [{ x, step: 0 }, "TypeError", "state.t must be a finite number, got undefined"],
      [
        { ...good, tau: new Float32Array(1) },
        "TypeError",
        "state.tau must be plain data with finite numbers, got [object Float32Array]",
      ],
      [
        { ...good, more: { next: Math.sin } },
        "TypeError",
        `state.more.next must be plain data with finite numbers, got function ${Math.sin}`,
      ],
      [
        { ...good, deep },
        "TypeError",
        `the state must be at most 64 levels deep, got more at state.deep${".0".repeat(35)}`,
      ],
      [
        { ...good, selfish },
        "TypeError",
        `the state must be at most 64 levels deep, got more at state.selfish${
          ".self".repeat(13)
        }.s`,
      ],
      [x, "TypeError", 'the state must be an object, got {"tensor":""}'],
      [null, "TypeError", "the state must be an object, got null"],
    ];
    await inFolder(async (folder) => {
      const path = `${folder}/state.safetensors`, before = live();
      await saveState(path, good);
      const old = await Deno.readFile(path);
      for (const [state, name, message] of cases) {
        await assert.rejects(saveState(path, state as State), {
          name,
          message: `Cannot save state: ${message}`,
        });
        assert.deepEqual(await Deno.readFile(path), old);
      }
      assert.equal(live(), before);
    });
    tf.dispose([x, bad]);
  });

  it("saveState() reads the state before it can be disposed of", async () => {
    await inFolder(async (folder) => {
      const path = `${folder}/state.safetensors`, x = tf.tensor1d([1, 2]);
      const saving = saveState(path, { x, t: 1, step: 0 });
      x.dispose();
      await saving;
      const back = await loadState(path);
      assert.deepEqual([...back.x.dataSync()], [1, 2]);
      disposed(back);
    });
  });

  it("loadState() refuses other files, and says what reads them", async () => {
    await inFolder(async (folder) => {
      const path = `${folder}/w.safetensors`,
        start = `Cannot load state: ${path} must be of format `;
      const wanted = `${start}tweedie.state 1, got `;
      await saveCheckpoint(path, { groups: {}, meta: {} });
      await assert.rejects(loadState(path), {
        name: "SyntaxError",
        message:
          `${wanted}tweedie.checkpoint 1: a checkpoint of something else, which loadCheckpoint reads`,
      });
      await writeSafetensors(path, {}, { format: "tweedie.denoise", model: "{}" });
      await assert.rejects(loadState(path), {
        message: `${wanted}tweedie.denoise: a denoiser, which loadDenoiser reads`,
      });
      await writeSafetensors(path, {});
      await assert.rejects(
        loadState(path),
        /got no format: tensors without a model's description, /,
      );
      await assert.rejects(loadState(`${folder}/no`), Deno.errors.NotFound);
      await assert.rejects(loadState("/dev/zero"), /got a device or a pipe$/);
    });
  });

  it("loadState() refuses a state that is not what it says, and makes no tensor", async () => {
    const x = { dtype: "F32", shape: [1], data: new Float32Array(1) } as const;
    const fields = { x: { tensor: "x" }, t: 1, step: 0 };
    const cases: readonly (readonly [unknown, RegExp])[] = [
      [
        { fields: { ...fields, t: "now" } },
        /must hold a state: state\.t must be a finite number, got "now"$/,
      ],
      [{ fields: { ...fields, x: 3 } }, /state\.x must be a tensor, got 3$/],
      [{ fields: { ...fields, step: -1 } }, /state\.step must be a whole number .*, got -1$/],
      [fields, /the state must be an object, got /],
      [[], /the state must be an object, got \[\]$/],
      [
        { fields: { ...fields, x0: { tensor: "y" } } },
        /must hold the tensors that its state names, got none of name "y"$/,
      ],
      [
        { fields: { ...fields, x: { tensor: "toString" } } },
        /got (none of name "toString"|"x" besides)$/,
      ],
      [{ fields: { ...fields, a: {} } }, /must hold objects as \{"tensor": …\} or .*, got \{\}$/],
      [{ fields: { ...fields, a: { tensor: 3 } } }, /must hold objects as .*, got \{"tensor":3\}$/],
      [{ fields: { ...fields, a: { tensor: "x", fields: {} } } }, /must hold objects as .*, got /],
      [
        { fields: { ...fields, a: { fields: [] } } },
        /must hold objects as .*, got \{"fields":\[\]\}$/,
      ],
      [
        { fields: { ...fields, a: JSON.parse("[".repeat(70) + "]".repeat(70)) } },
        /must be at most 64 levels deep, got more$/,
      ],
    ];
    await inFolder(async (folder) => {
      const path = `${folder}/state.safetensors`, before = live();
      const write = (state: string) =>
        writeSafetensors(path, { x }, { format: "tweedie.state", version: "1", state });
      for (const [state, message] of cases) {
        await write(JSON.stringify(state));
        await assert.rejects(loadState(path), { name: "SyntaxError", message });
      }
      await write("{");
      await assert.rejects(loadState(path), /hold its state as JSON in its metadata, got "\{"$/);
      await write(
        `{"fields":{"a":${"[".repeat(1e6)}${"]".repeat(1e6)},"x":{"tensor":"x"},"t":1,"step":0}}`,
      );
      await assert.rejects(loadState(path), /must be at most 64 levels deep, got more$/);
      assert.equal(live(), before);
    });
  });
});
