/**
 * What the compiling engine keeps and for how long, and that it answers what the eager one does.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import "../../../src/tensor/autodiff.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { eager, type Engine, type FoldStep, type Pure } from "../../../src/tensor/engine.ts";
import { compiler, type CompilerOptions } from "../../../src/engine/compile/compile.ts";
import { trace, type TraceOptions } from "../../../src/engine/compile/trace.ts";
import type { Executor, HostTensor } from "../../../src/engine/runtime/executor.ts";
import { start } from "../../../src/engine/runtime/session.ts";
import { live } from "../../measure.ts";

await useBackend("cpu");

/** What an executor was asked for, and what it holds. */
interface Account {
  /** Bytes of each graph that was loaded. */
  readonly loads: number[];
  /** Sessions that are loaded. */
  readonly sessions: Set<number>;
  /** Slots that hold something. */
  readonly slots: Set<string>;
  /** Numbers that were handed over to each run. */
  readonly given: number[];
  /** Makes the loads that follow fail. */
  fails: boolean;
}

/** An executor that keeps an account. */
function counted(executor: Executor): { readonly executor: Executor; readonly account: Account } {
  const account: Account = {
    loads: [],
    sessions: new Set(),
    slots: new Set(),
    given: [],
    fails: false,
  };
  const load: Executor["load"] = async (bytes) => {
    account.loads.push(bytes.length);
    if (account.fails) throw new Error("Cannot load a graph: it was asked not to");
    const info = await executor.load(bytes);
    account.sessions.add(info.id);
    return info;
  };
  const run: Executor["run"] = async (id, feeds, fetches) => {
    const tensors = Object.values(feeds).filter((feed) => typeof feed !== "string");
    account.given.push(tensors.reduce((n, feed) => n + (feed as HostTensor).data.length, 0));
    const answer = await executor.run(id, feeds, fetches);
    Object.values(fetches).forEach((to) => to !== true && account.slots.add(to));
    return answer;
  };
  const put: Executor["put"] = async (slot, tensor) => {
    await executor.put(slot, tensor);
    account.slots.add(slot);
  };
  const free: Executor["free"] = async (ids, names) => {
    await executor.free(ids, names);
    ids.forEach((id) => account.sessions.delete(id));
    names.forEach((name) => account.slots.delete(name));
  };
  return { account, executor: { ...executor, load, run, put, free } };
}

/** Forgets the loads and runs by which an engine tries what its executor can; they must have left nothing. */
function forget({ loads, given, sessions }: Account): void {
  assert.equal(sessions.size, 0);
  loads.length = given.length = 0;
}

/** A test with an engine that keeps an account; it must leave no tensor behind. */
const withEngine =
  (body: (engine: Engine, account: Account) => Promise<void>, options: CompilerOptions = {}) =>
  async (): Promise<void> => {
    const { executor, account } = counted(await start({ threads: 1 }));
    const engine = compiler(executor, { blocked: false, ...options }), alive = live();
    try {
      await body(engine, account);
      assert.equal(live(), alive);
    } finally {
      await engine.close();
    }
  };

/** Numbers of tensors, which are disposed of. */
function taken(tensors: Record<string, tf.Tensor>): Record<string, number[]> {
  const found = Object.entries(tensors).map(([name, t]) => [name, [...t.dataSync()]]);
  tf.dispose(tensors);
  return Object.fromEntries(found);
}

/** What a function answers to numbers, each as a vector; the vector is disposed of. */
async function asked(
  { run }: { run: (x: Record<string, tf.Tensor>) => Promise<Record<string, tf.Tensor>> },
  ...x: number[]
): Promise<number[]> {
  const tensor = tf.tensor1d(x);
  try {
    return taken(await run({ x: tensor }))["y"]!;
  } finally {
    tensor.dispose();
  }
}

const doubled: Pure = ({ x }) => ({ y: tf.add(x!, x!) });

describe("compiler().compile()", () => {
  it(
    "compiles once for each set of shapes and types",
    withEngine(async (engine, { loads, sessions }) => {
      const compiled = engine.compile(({ x }) => ({ y: tf.cast(tf.add(x!, x!), "float32") }));
      assert.equal(loads.length, 0);
      assert.deepEqual(await asked(compiled, 1, 2), [2, 4]);
      assert.deepEqual(await asked(compiled, 3, 4), [6, 8]);
      assert.equal(loads.length, 1);
      assert.deepEqual(await asked(compiled, 5), [10]);
      assert.deepEqual(await asked(compiled, 5, 6), [10, 12]);
      assert.equal(loads.length, 2);
      const whole = tf.tensor1d([7, 8], "int32"), row = tf.tensor2d([[1, 2]]);
      assert.deepEqual(taken(await compiled.run({ x: whole })), { y: [14, 16] });
      assert.deepEqual(taken(await compiled.run({ x: row })), { y: [2, 4] });
      assert.equal(loads.length, 4);
      assert.equal(sessions.size, 4);
      tf.dispose([whole, row]);
    }),
  );

  it(
    "compiles once for inputs in another order of names",
    withEngine(async (engine, { loads }) => {
      const compiled = engine.compile(({ a, b }) => ({ y: tf.sub(a!, b!) }));
      const a = tf.scalar(5), b = tf.scalar(3);
      assert.deepEqual(taken(await compiled.run({ a, b })), { y: [2] });
      assert.deepEqual(taken(await compiled.run({ b, a })), { y: [2] });
      assert.equal(loads.length, 1);
      tf.dispose([a, b]);
    }),
  );

  it(
    "keeps as many as `shapes` says, and frees the one that was used longest ago",
    withEngine(async (engine, { loads, sessions }) => {
      const compiled = engine.compile(doubled);
      await asked(compiled, 1);
      await asked(compiled, 1, 2);
      await asked(compiled, 1);
      assert.deepEqual([loads.length, [...sessions]], [2, [0, 1]]);
      await asked(compiled, 1, 2, 3);
      assert.deepEqual([loads.length, [...sessions]], [3, [0, 2]]);
      await asked(compiled, 1);
      assert.equal(loads.length, 3);
      assert.deepEqual(await asked(compiled, 1, 2), [2, 4]);
      assert.deepEqual([loads.length, [...sessions]], [4, [0, 3]]);
    }, { shapes: 2 }),
  );

  it(
    "keeps eight sets of shapes where nothing else is said, for each function by itself",
    withEngine(async (engine, { sessions }) => {
      const [first, second] = [engine.compile(doubled), engine.compile(doubled)];
      for (let n = 1; n <= 10; n++) await asked(first, ...Array<number>(n).fill(1));
      await asked(second, 1);
      assert.equal(sessions.size, 9);
    }),
  );

  it(
    "compiles once for two first calls at a time",
    withEngine(async (engine, { loads, sessions }) => {
      let looks = 0;
      const compiled = engine.compile((all) => (looks++, doubled(all)));
      const both = await Promise.all([asked(compiled, 1, 2), asked(compiled, 3, 4)]);
      assert.deepEqual(both, [[2, 4], [6, 8]]);
      assert.deepEqual([loads.length, sessions.size, looks], [1, 1, 2]);
    }),
  );

  it(
    "answers calls of more sets of shapes at a time than it keeps",
    withEngine(async (engine, { sessions }) => {
      const compiled = engine.compile(doubled);
      for (let turn = 0; turn < 3; turn++) {
        const all = await Promise.all([
          asked(compiled, 1),
          asked(compiled, 1, 2),
          asked(compiled, 1, 2, 3),
        ]);
        assert.deepEqual(all, [[2], [2, 4], [2, 4, 6]]);
      }
      assert.equal(sessions.size, 1);
    }, { shapes: 1 }),
  );

  it(
    "tries again after a session that did not load, for each that waited",
    withEngine(async (engine, account) => {
      const compiled = engine.compile(doubled);
      account.fails = true;
      const failed = await Promise.allSettled([asked(compiled, 1), asked(compiled, 2)]);
      assert.deepEqual(failed.map(({ status }) => status), ["rejected", "rejected"]);
      await assert.rejects(asked(compiled, 3), { message: /it was asked not to/ });
      account.fails = false;
      assert.deepEqual(await asked(compiled, 4), [8]);
      assert.deepEqual([account.loads.length, account.sessions.size], [3, 1]);
      await compiled.dispose();
      assert.equal(account.sessions.size, 0);
    }),
  );

  it(
    "tries again after a function that was refused, and leaves tfjs's backend alone",
    withEngine(async (engine, { loads }) => {
      let reads = true;
      const compiled = engine.compile(({ x }) => {
        if (reads) x!.dataSync();
        return { y: tf.neg(x!) };
      });
      await assert.rejects(asked(compiled, 1), { name: "TypeError", message: /must not read/ });
      assert.equal(tf.getBackend(), "cpu");
      reads = false;
      assert.deepEqual(await asked(compiled, 1), [-1]);
      assert.equal(loads.length, 1);
    }),
  );

  it(
    "rejects for a set of shapes that does not fit, and goes on for one that does",
    withEngine(async (engine, { loads }) => {
      const two = tf.tensor1d([10, 20]);
      const compiled = engine.compile(({ x, two }) => ({ y: tf.add(x!, two!) }), { two });
      assert.deepEqual(await asked(compiled, 1, 2), [11, 22]);
      await assert.rejects(asked(compiled, 1, 2, 3), /shape/i);
      assert.deepEqual(await asked(compiled, 1, 2), [11, 22]);
      assert.equal(loads.length, 1);
      two.dispose();
    }),
  );

  it(
    "rejects inputs that are neither float32 nor int32 nor bool, in words",
    withEngine(async (engine) => {
      const compiled = engine.compile(({ x }) => ({ y: x! })), x = tf.tensor(["a"]);
      await assert.rejects(compiled.run({ x }), { name: "TypeError", message: /Cannot .*string/ });
      x.dispose();
    }),
  );

  it(
    "writes constants into the graph once, and hands over inputs alone",
    withEngine(async (engine, { loads, given }) => {
      const w = tf.range(0, 10_000),
        compiled = engine.compile(
          ({ x, w }) => ({ y: tf.add(x!, tf.sum(tf.square(w!))) }),
          { w },
        );
      const first = await asked(compiled, 0, 1);
      assert.deepEqual(await asked(compiled, 0, 1), first);
      assert.deepEqual(given, [2, 2]);
      assert.equal(loads.length, 1);
      assert.ok(loads[0]! > 40_000 && loads[0]! < 42_000, `${loads[0]} bytes`);
      assert.equal(w.dataSync()[9_999], 9_999);
      w.dispose();
    }),
  );

  it(
    "does not hand over inputs' own memory: they can be read afterwards",
    withEngine(async (engine) => {
      const compiled = engine.compile(doubled), x = tf.tensor1d([1, 2]);
      tf.dispose([await compiled.run({ x }), await compiled.run({ x })]);
      assert.deepEqual([...x.dataSync()], [1, 2]);
      x.dispose();
    }),
  );

  it(
    "frees its sessions when disposed of, twice too, and no other function's",
    withEngine(async (engine, { sessions }) => {
      const [one, other] = [engine.compile(doubled), engine.compile(doubled)];
      await asked(one, 1);
      await asked(one, 1, 2);
      await asked(other, 1);
      await one.dispose();
      await one.dispose();
      assert.deepEqual([...sessions], [2]);
      assert.deepEqual(await asked(other, 4), [8]);
    }),
  );

  it(
    "frees a session that is being made while it is disposed of",
    withEngine(async (engine, account) => {
      const compiled = engine.compile(doubled), running = asked(compiled, 1).catch(() => {});
      await compiled.dispose();
      await running;
      assert.equal(account.sessions.size, 0);
    }),
  );

  it(
    "rejects when its engine is closed, which is closed once",
    withEngine(async (engine) => {
      const compiled = engine.compile(doubled);
      await asked(compiled, 1);
      await engine.close();
      await engine.close();
      const closed = { message: "Cannot use the onnx engine: its executor is closed" };
      await assert.rejects(asked(compiled, 1), closed);
      await assert.rejects(asked(compiled, 1, 2), closed);
    }),
  );

  it("compiler() refuses a number of shapes that is none", async () => {
    const executor = await start({ threads: 1 });
    for (const shapes of [0, -1, 1.5, NaN, Infinity]) {
      assert.throws(() => compiler(executor, { shapes }), {
        name: "RangeError",
        message:
          `Cannot make an engine: shapes must be a whole number of at least 1, got ${shapes}`,
      });
    }
    const wrong: readonly [object, RegExp][] = [
      [{ shape: 8 }, /^Cannot make an engine: options must be among shapes, blocked, got "shape"$/],
      [{ blocked: 1 }, /^Cannot make an engine: blocked must be a boolean, got 1$/],
    ];
    for (const [options, message] of wrong) {
      assert.throws(() => compiler(executor, options), { name: "TypeError", message });
    }
    assert.throws(() => trace(({ x }) => ({ x: x! }), {}, {}, { blocks: 8 } as TraceOptions), {
      name: "TypeError",
      message: 'Cannot compile: options must be among block, without, got "blocks"',
    });
    assert.throws(() => trace(({ x }) => ({ x: x! }), {}, {}, { block: -1 }), RangeError);
    assert.throws(() => trace(({ x }) => ({ x: x! }), {}, {}, { without: ["Conv"] } as object), {
      message:
        /^Cannot compile: without must be forms among convolution, filter gradient, .*, got /,
    });
    assert.equal(compiler(executor).name, executor.name);
    await executor.close();
  });
});

/** Counts, and tells the mean of what came in. */
const running: FoldStep = ({ sum, count }, { x }) => {
  const total = tf.add(sum!, tf.sum(x!)), more = tf.add(count!, x!.size);
  return { state: { sum: total, count: more }, outputs: { mean: tf.div(total, more), x: x! } };
};

const zeros = (): Record<string, tf.Tensor> => ({ sum: tf.scalar(0), count: tf.scalar(0) });

describe("compiler().fold()", () => {
  it(
    "keeps its state in slots from step to step, and hands over inputs alone",
    withEngine(async (engine, account) => {
      const { given, slots, sessions, loads } = account,
        start = { s: tf.zeros([1000]) },
        x = tf.scalar(2);
      const fold = await engine.fold(
        ({ s }, { x }) => ({
          state: { s: tf.add(s!, x!) },
          outputs: { first: tf.slice(s!, 0, 1) },
        }),
        start,
      );
      start.s.dispose();
      forget(account);
      const told: number[] = [];
      for (let i = 0; i < 4; i++) told.push(...taken(await fold.step({ x }))["first"]!);
      assert.deepEqual(told, [0, 2, 4, 6]);
      assert.deepEqual([given, loads.length, slots.size], [[1, 1, 1, 1], 1, 1]);
      assert.deepEqual(taken(await fold.state())["s"]!.slice(0, 2), [8, 8]);
      await fold.dispose();
      await fold.dispose();
      assert.deepEqual([sessions.size, slots.size], [0, 0]);
      x.dispose();
    }),
  );

  it(
    "holds two folds apart",
    withEngine(async (engine) => {
      const start = zeros(), x = tf.scalar(1);
      const [one, other] = [await engine.fold(running, start), await engine.fold(running, start)];
      for (let i = 0; i < 3; i++) tf.dispose(await one.step({ x }));
      tf.dispose(await other.step({ x }));
      assert.deepEqual(taken(await one.state()), { sum: [3], count: [3] });
      await one.dispose();
      assert.deepEqual(taken(await other.state()), { sum: [1], count: [1] });
      await other.dispose();
      tf.dispose([start, x]);
    }),
  );

  it(
    "frees the session of the shapes that were fed longest ago, and keeps its state",
    withEngine(async (engine, account) => {
      const { sessions, loads } = account, start = zeros();
      const fold = await engine.fold(running, start);
      forget(account);
      for (const n of [1, 2, 1, 3]) {
        const x = tf.ones([n]);
        tf.dispose(await fold.step({ x }));
        x.dispose();
      }
      assert.deepEqual([sessions.size, loads.length], [1, 4]);
      assert.deepEqual(taken(await fold.state()), { sum: [7], count: [7] });
      await fold.dispose();
      tf.dispose(start);
    }, { shapes: 1 }),
  );

  it(
    "keeps its state through a session that does not load",
    withEngine(async (engine, account) => {
      const start = zeros(), x = tf.scalar(5), fold = await engine.fold(running, start);
      tf.dispose(await fold.step({ x }));
      account.fails = true;
      const other = tf.ones([2]);
      await assert.rejects(fold.step({ x: other }), { message: /asked not to/ });
      account.fails = false;
      tf.dispose(await fold.step({ x: other }));
      assert.deepEqual(taken(await fold.state()), { sum: [7], count: [3] });
      await fold.dispose();
      tf.dispose([start, x, other]);
    }),
  );

  it(
    "rejects when its engine is closed",
    withEngine(async (engine) => {
      const start = zeros(), x = tf.scalar(1), fold = await engine.fold(running, start);
      await engine.close();
      const closed = { message: "Cannot use the onnx engine: its executor is closed" };
      await assert.rejects(fold.step({ x }), closed);
      await assert.rejects(fold.state(), closed);
      await assert.rejects(engine.fold(running, start), closed);
      tf.dispose([start, x]);
    }),
  );
});

/** Both engines, each closed after its test. */
const engines: Record<string, () => Promise<Engine>> = {
  eager: () => Promise.resolve(eager),
  "the compiling engine": async () => compiler(await start({ threads: 1 }), { shapes: 3 }),
};

/** A function, what it is given, and what must come out, to the last bit. */
interface Row {
  readonly fn: Pure;
  readonly given: () => Record<string, tf.Tensor>;
  readonly constants?: () => Record<string, tf.Tensor>;
  readonly wanted: Readonly<
    Record<string, readonly [dtype: string, shape: number[], numbers: number[]]>
  >;
}

const table: Record<string, Row> = {
  "float32 and a constant": {
    fn: ({ x, c }) => ({ y: tf.mul(x!, c!) }),
    given: () => ({ x: tf.tensor2d([[1, -2], [3, 0.5]]) }),
    constants: () => ({ c: tf.tensor1d([2, 4]) }),
    wanted: { y: ["float32", [2, 2], [2, -8, 6, 2]] },
  },
  "an input in a constant's place": {
    fn: ({ x, c }) => ({ y: tf.sub(x!, c!) }),
    given: () => ({ x: tf.scalar(1), c: tf.scalar(10) }),
    constants: () => ({ c: tf.scalar(2) }),
    wanted: { y: ["float32", [], [-9]] },
  },
  "int32": {
    fn: ({ i }) => ({ y: tf.add(i!, tf.scalar(3, "int32")), i: i! }),
    given: () => ({ i: tf.tensor1d([1, -2, 2 ** 30], "int32") }),
    wanted: {
      y: ["int32", [3], [4, 1, 2 ** 30 + 3]],
      i: ["int32", [3], [1, -2, 2 ** 30]],
    },
  },
  "bool": {
    fn: ({ b, x }) => ({ not: tf.logicalNot(b!), large: tf.greater(x!, 1), b: b! }),
    given: () => ({ b: tf.tensor1d([true, false], "bool"), x: tf.tensor1d([0, 2]) }),
    wanted: {
      not: ["bool", [2], [0, 1]],
      large: ["bool", [2], [0, 1]],
      b: ["bool", [2], [1, 0]],
    },
  },
  "scalars": {
    fn: ({ x, i, b }) => ({ x: tf.neg(x!), i: tf.neg(i!), b: tf.logicalNot(b!) }),
    given: () => ({ x: tf.scalar(1.5), i: tf.scalar(7, "int32"), b: tf.scalar(true, "bool") }),
    wanted: { x: ["float32", [], [-1.5]], i: ["int32", [], [-7]], b: ["bool", [], [0]] },
  },
  "an output that is an input, a constant, or there twice": {
    fn: ({ x, c }) => {
      const y = tf.add(x!, c!);
      return { x: x!, c: c!, y, again: y, seen: tf.reshape(x!, [2, 1]) };
    },
    given: () => ({ x: tf.tensor1d([1, 2]) }),
    constants: () => ({ c: tf.scalar(3) }),
    wanted: {
      x: ["float32", [2], [1, 2]],
      c: ["float32", [], [3]],
      y: ["float32", [2], [4, 5]],
      again: ["float32", [2], [4, 5]],
      seen: ["float32", [2, 1], [1, 2]],
    },
  },
  "inputs that are not looked at": {
    fn: ({ x }) => ({ y: tf.neg(x!) }),
    given: () => ({ x: tf.scalar(1), other: tf.ones([3]), b: tf.scalar(true, "bool") }),
    wanted: { y: ["float32", [], [-1]] },
  },
  "no inputs": {
    fn: () => ({ y: tf.fill([2], 3), z: tf.tensor1d([1, 2], "int32") }),
    given: () => ({}),
    wanted: { y: ["float32", [2], [3, 3]], z: ["int32", [2], [1, 2]] },
  },
  "no outputs": { fn: () => ({}), given: () => ({ x: tf.scalar(1) }), wanted: {} },
  "nothing at all": { fn: () => ({}), given: () => ({}), wanted: {} },
  "tensors without elements": {
    fn: ({ x }) => ({ y: tf.mul(x!, 2), sum: tf.sum(x!, 0) }),
    given: () => ({ x: tf.zeros([0, 2]) }),
    wanted: { y: ["float32", [0, 2], []], sum: ["float32", [2], [0, 0]] },
  },
  "names of every kind": {
    fn: (all) => ({ "input.x": all["output.x"]!, "%0": all["%0"]!, "": all["ä b"]! }),
    given: () => ({ "output.x": tf.scalar(1), "%0": tf.scalar(2), "ä b": tf.scalar(3) }),
    wanted: {
      "input.x": ["float32", [], [1]],
      "%0": ["float32", [], [2]],
      "": ["float32", [], [3]],
    },
  },
  "numbers at the edges": {
    fn: ({ x }) => ({
      y: tf.mul(x!, 1),
      z: tf.add(x!, tf.tensor1d([NaN, Infinity, 0, 1, 2])),
      w: tf.div(1, x!),
    }),
    given: () => ({ x: tf.tensor1d([NaN, Infinity, -0, 0, 3e38]) }),
    wanted: {
      y: ["float32", [5], [NaN, Infinity, -0, 0, Math.fround(3e38)]],
      z: ["float32", [5], [NaN, Infinity, 0, 1, Math.fround(3e38)]],
      w: ["float32", [5], [NaN, 0, -Infinity, Infinity, Math.fround(1 / Math.fround(3e38))]],
    },
  },
  "a gradient": {
    fn: ({ x }) => ({ y: tf.grad((x) => tf.sum(tf.mul(tf.square(x), x)))(x!) }),
    given: () => ({ x: tf.tensor1d([1, 2, -3]) }),
    wanted: { y: ["float32", [3], [3, 12, 27]] },
  },
};

/** What a promise rejects with: the class and the message. */
const reason = (promise: Promise<unknown>): Promise<string> =>
  promise.then(() => "nothing", ({ name, message }: Error) => `${name}: ${message}`);

for (const [what, make] of Object.entries(engines)) {
  const on = (name: string, body: (engine: Engine) => Promise<void>): void =>
    it(`${what} ${name}`, async () => {
      const engine = await make(), alive = live();
      try {
        await body(engine);
        assert.equal(live(), alive);
      } finally {
        await engine.close();
      }
    });

  describe(`Engine twins: ${what}`, () => {
    for (const [name, { fn, given, constants = () => ({}), wanted }] of Object.entries(table)) {
      on(`computes with ${name}`, async (engine) => {
        const inputs = given(), fixed = constants(), compiled = engine.compile(fn, fixed);
        for (let turn = 0; turn < 2; turn++) {
          const made = await compiled.run(inputs);
          const got = Object.fromEntries(
            Object.entries(made).map(([name, t]) => [name, [t.dtype, t.shape, [...t.dataSync()]]]),
          );
          assert.deepEqual(got, wanted);
          tf.dispose(made);
        }
        await compiled.dispose();
        tf.dispose([inputs, fixed]);
      });
    }

    on("refuses functions that answer later, or other than tensors by name", async (engine) => {
      const x = tf.scalar(1),
        got = (what: string): object => ({
          name: "TypeError",
          message: new RegExp(`: the function must answer tensors by name, got ${what}$`),
        });
      const wrong = [
        [() => Promise.resolve({ x }), "a promise"],
        [() => new Map([["x", x]]), "object"],
        [() => [x], "a list"],
        [() => null, "null"],
      ] as unknown as [Pure, string][];
      for (const [fn, what] of wrong) {
        await assert.rejects(engine.compile(fn).run({ x }), got(what));
        await assert.rejects(engine.run(fn, { x }), got(what));
      }
      x.dispose();
    });

    on("folds 20 steps over inputs of changing shapes, with state() in between", async (engine) => {
      const start = zeros(), fold = await engine.fold(running, start);
      tf.dispose(start);
      let sum = 0, count = 0;
      for (let i = 0; i < 20; i++) {
        const shape = [[1], [2, 2], [3], [1, 1, 2], []][i % 5]!, x = tf.fill(shape, i - 8);
        sum += (i - 8) * x.size;
        count += x.size;
        const outputs = await fold.step({ x });
        assert.deepEqual(outputs["x"]!.shape, shape);
        const { mean, x: again } = taken(outputs);
        assert.deepEqual([mean, again], [[Math.fround(sum / count)], Array(x.size).fill(i - 8)]);
        if (i % 3 === 0) {
          const state = await fold.state();
          assert.deepEqual(state["sum"]!.shape, []);
          assert.deepEqual(taken(state), { sum: [sum], count: [count] });
        }
        x.dispose();
      }
      assert.deepEqual(taken(await fold.state()), { sum: [sum], count: [count] });
      await fold.dispose();
    });

    on("folds a state that is swapped, kept, int32, bool and without elements", async (engine) => {
      const start = {
        a: tf.tensor1d([1, 2]),
        b: tf.tensor1d([3, 4]),
        kept: tf.scalar(5),
        n: tf.scalar(0, "int32"),
        odd: tf.scalar(false, "bool"),
        none: tf.zeros([0]),
      };
      const fold = await engine.fold(({ a, b, kept, n, odd, none }) => ({
        state: {
          none: none!,
          a: b!,
          b: a!,
          kept: kept!,
          n: tf.add(n!, tf.scalar(1, "int32")),
          odd: tf.logicalNot(odd!),
        },
        outputs: {},
      }), start);
      for (let i = 0; i < 3; i++) assert.deepEqual(await fold.step({}), {});
      const state = await fold.state();
      assert.deepEqual(state["n"]!.dtype, "int32");
      assert.deepEqual(state["odd"]!.dtype, "bool");
      assert.deepEqual(taken(state), {
        a: [3, 4],
        b: [1, 2],
        kept: [5],
        n: [3],
        odd: [1],
        none: [],
      });
      await fold.dispose();
      tf.dispose(start);
    });

    on("makes steps that are asked for at once one after another", async (engine) => {
      const start = { s: tf.scalar(1) }, inputs = [2, 3, 5].map((x) => tf.scalar(x));
      const fold = await engine.fold(({ s }, { x }) => ({
        state: { s: tf.add(tf.mul(s!, 10), x!) },
        outputs: { before: s! },
      }), start);
      const told = await Promise.all(inputs.map((x) => fold.step({ x })));
      assert.deepEqual(told.map((outputs) => taken(outputs)["before"]), [[1], [12], [123]]);
      assert.deepEqual(taken(await fold.state()), { s: [1235] });
      await fold.dispose();
      tf.dispose([start, inputs]);
    });

    on("refuses a step that changes a shape or a name, and keeps its state", async (engine) => {
      const start = { s: tf.scalar(1) };
      const wrong: Record<string, () => Record<string, tf.Tensor>> = {
        "another shape": () => ({ s: tf.zeros([2]) }),
        "another name": () => ({ other: tf.scalar(1) }),
        "one more": () => ({ s: tf.scalar(1), more: tf.scalar(1) }),
        "none": () => ({}),
      };
      for (const [fault, state] of Object.entries(wrong)) {
        let right = false;
        const fold = await engine.fold(
          ({ s }) => ({ state: right ? { s: tf.add(s!, 1) } : state(), outputs: {} }),
          start,
        );
        const message = await reason(fold.step({}));
        assert.match(
          message,
          /^(Type|Range)Error: Cannot .*fold: .*state.* must (stay|keep)/,
          fault,
        );
        assert.deepEqual(taken(await fold.state()), { s: [1] }, fault);
        right = true;
        await fold.step({});
        assert.deepEqual(taken(await fold.state()), { s: [2] }, fault);
        await fold.dispose();
      }
      tf.dispose(start);
    });

    on("refuses a fold that was disposed of, in the same words", async (engine) => {
      const start = zeros(), x = tf.scalar(1), fold = await engine.fold(running, start);
      tf.dispose(await fold.step({ x }));
      await fold.dispose();
      const gone = "TypeError: Cannot use the fold: it must be open, got one that was disposed of";
      assert.equal(await reason(fold.step({ x })), gone);
      assert.equal(await reason(fold.state()), gone);
      tf.dispose([start, x]);
    });

    on("passes on what a function throws, and leaves nothing", async (engine) => {
      const compiled = engine.compile(() => {
        tf.scalar(1);
        throw new RangeError("no");
      });
      assert.equal(await reason(compiled.run({})), "RangeError: no");
      const start = zeros(),
        fold = await engine.fold(() => {
          throw new RangeError("no step");
        }, start);
      assert.equal(await reason(fold.step({})), "RangeError: no step");
      await fold.dispose();
      tf.dispose(start);
    });

    on("may be disposed of after it was closed", async (engine) => {
      const start = zeros(), x = tf.scalar(1);
      const compiled = engine.compile(doubled), fold = await engine.fold(running, start);
      tf.dispose(await compiled.run({ x }));
      await engine.close();
      await compiled.dispose();
      await fold.dispose();
      tf.dispose([start, x]);
    });
  });
}
