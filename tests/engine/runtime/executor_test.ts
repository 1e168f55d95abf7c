import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { create, toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema, TensorProto_DataType as DataType } from "onnx-buf";
import { onnx } from "../../../src/engine/open.ts";
import type { Executor, HostTensor } from "../../../src/engine/runtime/executor.ts";
import { EngineUnavailable, executor, remote, spawn } from "../../../src/engine/runtime/remote.ts";
import { closed, type Ort, sessions } from "../../../src/engine/runtime/session.ts";

/** An input or output: its name, type and sizes; a word is a size that is known when it is run. */
type Port = readonly [string, DataType, readonly (number | string)[]];

/** A node: its operator, inputs, outputs and whole-number attributes. */
type Node = readonly [string, readonly string[], readonly string[], Record<string, number>?];

const dimension = (size: number | string) => ({
  value: typeof size === "string"
    ? { case: "dimParam" as const, value: size }
    : { case: "dimValue" as const, value: BigInt(size) },
});

const port = ([name, elemType, sizes]: Port) => ({
  name,
  type: {
    value: {
      case: "tensorType" as const,
      value: { elemType, shape: { dim: sizes.map(dimension) } },
    },
  },
});

const integer = 2; // AttributeProto.AttributeType.INT

/** A model written by hand, encoded without the library's own encoder. */
function model(
  nodes: readonly Node[],
  inputs: readonly Port[],
  outputs: readonly Port[],
  unused: readonly string[] = [],
): Uint8Array {
  const node = nodes.map(([opType, input, output, attributes = {}]) => ({
    opType,
    input: [...input],
    output: [...output],
    attribute: Object.entries(attributes).map(([name, i]) => ({
      name,
      type: integer,
      i: BigInt(i),
    })),
  }));
  const initializer = unused.map((name) => (
    { name, dims: [2n], dataType: DataType.FLOAT, floatData: [1, 2] }
  ));
  const graph = {
    name: "graph",
    node,
    initializer,
    input: inputs.map(port),
    output: outputs.map(port),
  };
  const opsetImport = [{ domain: "", version: 18n }];
  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, { irVersion: 9n, opsetImport, graph }),
  );
}

const { FLOAT, INT32, INT64, BOOL, DOUBLE } = DataType;

const floats = (dims: readonly number[], ...values: number[]): HostTensor => (
  { type: "float32", dims, data: Float32Array.from(values) }
);

/** From x[N, 2]: twice x, x as int32, its shape as int64, whether it is below its double. */
const everyType = model(
  [
    ["Add", ["x", "x"], ["double"]],
    ["Cast", ["x"], ["whole"], { to: INT32 }],
    ["Shape", ["x"], ["shape"]],
    ["Less", ["x", "double"], ["less"]],
  ],
  [["x", FLOAT, ["N", 2]]],
  [
    ["double", FLOAT, ["N", 2]],
    ["whole", INT32, ["N", 2]],
    ["shape", INT64, [2]],
    ["less", BOOL, ["N", 2]],
  ],
);

/** A step of a fold: state s becomes s·s + x, and the caller is told s + x. */
const step = model(
  [["Mul", ["s", "s"], ["square"]], ["Add", ["square", "x"], ["next"]], ["Add", ["s", "x"], [
    "told",
  ]]],
  [["s", FLOAT, [3]], ["x", FLOAT, [3]]],
  [["next", FLOAT, [3]], ["told", FLOAT, [3]]],
);

/** Negation of a scalar. */
const negate = model([["Neg", ["x"], ["y"]]], [["x", FLOAT, []]], [["y", FLOAT, []]]);

/** A chain of products of 256×256 matrices, about a tenth of a second. */
const length = 300;
const long = model(
  Array.from({ length }, (_, i): Node => [
    "MatMul",
    [i ? `v${i}` : "x", "w"],
    [i === length - 1 ? "y" : `v${i + 1}`],
  ]),
  [["x", FLOAT, [256, 256]], ["w", FLOAT, [256, 256]]],
  [["y", FLOAT, [256, 256]]],
);

const square = (): HostTensor => (
  { type: "float32", dims: [256, 256], data: new Float32Array(256 * 256).fill(1 / 256) }
);

/** Where the runtime cannot be had, tests are left out by name; TWEEDIE_REQUIRE_ONNX=1 makes them fail there. */
const missing = await executor().then((e) => e.close()).then(() => undefined, String);
const required = Deno.env.get("TWEEDIE_REQUIRE_ONNX") === "1";
function onRuntime(name: string, body: () => Promise<void>): void {
  if (missing === undefined || required) it(name, body);
  else it.skip(`${name} (SKIPPED: ${missing})`, body);
}

/** A test on an executor, which is closed at its end. */
const withExecutor = (worker: boolean, body: (e: Executor) => Promise<void>) => async () => {
  const e = await executor({ worker });
  try {
    await body(e);
  } finally {
    await e.close();
  }
};

for (const worker of [true, false]) {
  const where = worker ? "in a worker" : "in the same thread";
  const on = (name: string, body: (e: Executor) => Promise<void>): void =>
    onRuntime(`${name}, ${where}`, withExecutor(worker, body));

  describe(`executor() ${where}`, () => {
    on("executor() answers in each type, at sizes that are known when it is run", async (e) => {
      assert.match(e.name, worker ? /\(cpu\), in a worker$/ : /\(cpu\)$/);
      const { id, inputs, outputs } = await e.load(everyType);
      assert.deepEqual(inputs, [{ name: "x", type: "float32", dims: ["N", 2] }]);
      assert.deepEqual(outputs.map(({ type }) => type), ["float32", "int32", "int64", "bool"]);
      for (const n of [1, 2]) {
        const x = [1.5, -2, 0, 3].slice(0, 2 * n), dims = [n, 2];
        const all = { double: true, whole: true, shape: true, less: true } as const;
        assert.deepEqual(await e.run(id, { x: floats(dims, ...x) }, all), {
          double: floats(dims, ...x.map((v) => 2 * v)),
          whole: { type: "int32", dims, data: Int32Array.from(x) },
          shape: { type: "int64", dims: [2], data: BigInt64Array.of(BigInt(n), 2n) },
          less: { type: "bool", dims, data: Uint8Array.from(x, (v) => v < 2 * v ? 1 : 0) },
        });
      }
    });

    on("executor() takes inputs of every type, no elements and scalars", async (e) => {
      for (
        const [type, kind, data] of [
          ["float32", FLOAT, Float32Array.of(0.5, 0)],
          ["int32", INT32, Int32Array.of(-7, 9)],
          ["int64", INT64, BigInt64Array.of(2n ** 40n, -1n)],
          ["bool", BOOL, Uint8Array.of(1, 0)],
        ] as const
      ) {
        const same = model([["Identity", ["x"], ["y"]]], [["x", kind, ["N"]]], [["y", kind, [
          "N",
        ]]]);
        const { id } = await e.load(same);
        for (const n of [2, 0]) {
          const want: HostTensor = { type, dims: [n], data: data.slice(0, n) };
          const x: HostTensor = { type, dims: [n], data: data.slice(0, n) };
          assert.deepEqual((await e.run(id, { x }, { y: true })).y, want);
        }
      }
      const { id } = await e.load(negate);
      assert.deepEqual((await e.run(id, { x: floats([], 3) }, { y: true })).y, floats([], -3));
    });

    on("executor() folds from slot to slot as arithmetic does", async (e) => {
      const { id } = await e.load(step), xs = [0.5, -1, 0.25];
      let want = [0.1, 0.2, 0.3].map(Math.fround), [from, to] = ["p", "q"] as [string, string];
      await e.put("p", floats([3], ...want));
      for (let i = 0; i < 5; i++) {
        const back = await e.run(id, { s: from, x: floats([3], ...xs) }, { next: to, told: true });
        assert.deepEqual(back, { told: floats([3], ...want.map((s, j) => s + xs[j]!)) });
        want = want.map((s, j) => Math.fround(Math.fround(s * s) + xs[j]!));
        [from, to] = [to, from];
      }
      assert.deepEqual(await e.get(from), floats([3], ...want));
    });

    on(
      "executor() leaves slots alone that a copy, a failed run or another slot shares",
      async (e) => {
        const { id } = await e.load(step), data = Float32Array.of(1, 2, 3);
        const part = { type: "float32", dims: [3], data: data.subarray(0, 3) } as const;
        await e.put("p", part);
        await e.put("q", floats([3], 0, 0, 0));
        ((await e.get("p")).data as Float32Array).fill(9);
        await assert.rejects(e.run(id, { s: "p", x: floats([2], 1, 2) }, { next: "q" }));
        assert.deepEqual(await e.get("q"), floats([3], 0, 0, 0));
        await e.run(id, { s: "p", x: "q" }, { next: "q" });
        assert.deepEqual(await e.get("p"), floats([3], 1, 2, 3));
        assert.deepEqual(await e.get("q"), floats([3], 1, 4, 9));
      },
    );

    on(
      "executor() takes elements over, but copies what is a part of something larger",
      async (e) => {
        const { id } = await e.load(step), all = Float32Array.of(0, 1, 2, 3, 4);
        const x: HostTensor = { type: "float32", dims: [3], data: all.subarray(1, 4) };
        const s = floats([3], 1, 1, 1), want = { told: floats([3], 2, 3, 4) };
        assert.deepEqual(await e.run(id, { s, x }, { told: true }), want);
        assert.deepEqual([...all], [0, 1, 2, 3, 4]);
        assert.equal(s.data.length, 0);
        await assert.rejects(e.run(id, { s, x }, { told: true }), {
          name: "TypeError",
          message:
            "Cannot run a graph: input s must have elements, got some that were handed over before",
        });
        const both = floats([3], 1, 2, 3);
        const back = await e.run(id, { s: both, x: both }, { told: true });
        assert.deepEqual(back, { told: floats([3], 2, 4, 6) });
        const shared = new Float32Array(new SharedArrayBuffer(12)).fill(1);
        await e.put("p", { type: "float32", dims: [3], data: shared });
        assert.deepEqual(await e.get("p"), floats([3], 1, 1, 1));
        assert.deepEqual([...shared], [1, 1, 1]);
      },
    );

    on("executor() carries out what is asked one after another", async (e) => {
      const { id } = await e.load(step), x = () => floats([3], 1, 1, 1);
      const [, , , last] = await Promise.all([
        e.put("p", floats([3], 1, 2, 3)),
        e.run(id, { s: "p", x: x() }, { next: "q" }),
        e.run(id, { s: "q", x: x() }, { next: "p" }),
        e.get("p"),
      ]);
      assert.deepEqual(last, floats([3], 5, 26, 101));
    });

    on("executor() says which input, output, slot or session is wrong, and goes on", async (e) => {
      const { id } = await e.load(step), three = () => floats([3], 1, 2, 3);
      const double = model([["Cast", ["x"], ["y"], { to: DOUBLE }]], [["x", FLOAT, [3]]], [[
        "y",
        DOUBLE,
        [3],
      ]]);
      const other = (await e.load(double)).id;
      await e.put("p", floats([1, 3], 1, 2, 3));
      const int: HostTensor = { type: "int32", dims: [3], data: Int32Array.of(1, 2, 3) };
      const bad = { type: "float32", dims: [3], data: Int32Array.of(1, 2, 3) } as HostTensor;
      const half = { type: "float16", dims: [3], data: bad.data } as unknown as HostTensor;
      const run = (
        feeds: Record<string, HostTensor | string>,
        fetches: Record<string, true | string>,
      ) => e.run(id, feeds, fetches);
      const fine = () => ({ s: three(), x: three() });
      const cases: [() => Promise<unknown>, string, string][] = [
        [
          () => run({ s: three() }, { next: true }),
          "TypeError",
          "input x must be given, got nothing",
        ],
        [
          () => run({ ...fine(), z: three() }, { next: true }),
          "RangeError",
          "input must be one of s, x, got z",
        ],
        [
          () => run({ ...fine(), x: { ...int } }, { next: true }),
          "TypeError",
          "input x must be float32, got int32",
        ],
        [
          () => run({ ...fine(), x: bad }, { next: true }),
          "TypeError",
          "input x must have a Float32Array of elements, got Int32Array",
        ],
        [
          () => run({ ...fine(), x: { ...half, data: Int32Array.of(1) } }, { next: true }),
          "TypeError",
          "input x must be of a type of float32,int32,bool,int64, got float16",
        ],
        [
          () => run({ ...fine(), x: floats([3, 1], 1, 2, 3) }, { next: true }),
          "RangeError",
          "input x must have shape [3], got [3, 1]",
        ],
        [
          () => run({ ...fine(), x: floats([4], 1, 2, 3, 4) }, { next: true }),
          "RangeError",
          "input x must have shape [3], got [4]",
        ],
        [
          () => run({ ...fine(), x: floats([3], 1, 2) }, { next: true }),
          "RangeError",
          "input x must have 3 elements for shape [3], got 2",
        ],
        [
          () => run({ ...fine(), s: "p" }, { next: true }),
          "RangeError",
          "input s must have shape [3], got [1, 3]",
        ],
        [
          () => run(fine(), { last: true }),
          "RangeError",
          "output must be one of next, told, got last",
        ],
        [
          () => run(fine(), { next: "q", told: "q" }),
          "RangeError",
          "outputs must go to slots of their own, got q twice",
        ],
        [
          () => e.run(other, { x: three() }, { y: true }),
          "TypeError",
          "output y must be of a type of float32,int32,bool,int64, got float64",
        ],
        [
          () => e.run(77, {}, {}),
          "RangeError",
          "session must be loaded and not freed, got 77",
        ],
      ];
      for (const [call, name, message] of cases) {
        await assert.rejects(call, { name, message: `Cannot run a graph: ${message}` });
      }
      await assert.rejects(run({ s: "r", x: three() }, { next: true }), {
        name: "RangeError",
        message: "Cannot run a graph with input s: slot must hold something, got r",
      });
      await assert.rejects(e.get("r"), {
        name: "RangeError",
        message: "Cannot get a tensor: slot must hold something, got r",
      });
      await assert.rejects(e.put("r", floats([2, 2], 1)), {
        name: "RangeError",
        message: "Cannot put a tensor: slot r must have 4 elements for shape [2, 2], got 1",
      });
      assert.deepEqual(await run(fine(), { told: true }), { told: floats([3], 2, 4, 6) });
      assert.deepEqual(await run(fine(), {}), {});
    });

    on("executor() passes on why a graph does not load or run, and goes on", async (e) => {
      const unknown = model([["Wish", ["x"], ["y"]]], [["x", FLOAT, [3]]], [["y", FLOAT, [3]]]);
      await assert.rejects(e.load(unknown), /^Error: Cannot load a graph: .*Wish/);
      await assert.rejects(
        e.load(Uint8Array.of(1, 2, 3)),
        /^Error: Cannot load a graph: .*protobuf/,
      );
      const misspelt = { asWriten: true } as object;
      await assert.rejects(e.load(negate, misspelt), /^TypeError: Cannot load a graph: .*asWriten/);
      const add = model(
        [["Add", ["x", "w"], ["y"]]],
        [["x", FLOAT, ["N"]], ["w", FLOAT, ["M"]]],
        [["y", FLOAT, ["K"]]],
      );
      const { id } = await e.load(add), three = () => floats([3], 1, 2, 3);
      const run = e.run(id, { x: three(), w: floats([2], 1, 2) }, { y: "q" });
      await assert.rejects(run, /^Error: Cannot run a graph: .*Add/);
      await assert.rejects(e.get("q"), /slot must hold something, got q/);
      const back = await e.run(id, { x: three(), w: three() }, { y: true });
      assert.deepEqual(back, { y: floats([3], 2, 4, 6) });
    });

    on("free() frees what it is told to, and no more", async (e) => {
      const [a, b] = [await e.load(negate), await e.load(negate)];
      assert.notEqual(a.id, b.id);
      await e.put("p", floats([], 1));
      await e.put("q", floats([], 2));
      await e.free([a.id], ["p"]);
      await e.free([a.id], ["p"]);
      await assert.rejects(e.run(a.id, { x: "q" }, { y: true }), /session must be loaded/);
      await assert.rejects(e.get("p"), /slot must hold something, got p/);
      assert.deepEqual(await e.run(b.id, { x: "q" }, { y: true }), { y: floats([], -2) });
      assert.notEqual((await e.load(negate)).id, a.id);
    });

    on("close() rejects what waits and what comes, and may be called again", async (e) => {
      const { id } = await e.load(negate);
      const runs = [1, 2, 3].map((x) => e.run(id, { x: floats([], x) }, { y: true }));
      const settled = Promise.allSettled(runs);
      await Promise.all([e.close(), e.close()]);
      const last = (await settled).at(-1)!;
      assert.equal(last.status === "rejected" && last.reason.message, closed().message);
      const x = floats([], 1);
      for (
        const call of [
          () => e.load(negate),
          () => e.run(id, { x }, { y: true }),
          () => e.put("p", floats([], 1)),
          () => e.get("p"),
          () => e.free([id], []),
        ]
      ) await assert.rejects(call, closed());
      await e.close();
    });

    on(
      `executor() ${worker ? "lets timers run" : "stops timers"} while a graph runs`,
      async (e) => {
        const { id } = await e.load(long);
        let ticks = 0, done = false;
        const answer = e.run(id, { x: square(), w: square() }, { y: true }).then(({ y }) => {
          done = true;
          return y!;
        });
        await new Promise((resolve) => setTimeout(resolve, 0)); // the same thread is now about to run
        const timer = setInterval(() => done || ticks++, 1);
        const y = await answer;
        clearInterval(timer);
        assert.ok(Math.abs(y.data[0] as number - 1 / 256) < 1e-6, String(y.data[0]));
        assert.ok(worker ? ticks > 0 : ticks === 0, `${ticks} ticks`);
      },
    );
  });
}

/** A worker that answers call 0 and then does as told. */
const stub = (then: string): Worker =>
  new Worker(
    new URL(`data:text/javascript,${
      encodeURIComponent(
        `import { parentPort } from "node:worker_threads"; import process from "node:process";
        parentPort.on("message", ({ method }) => { if (method !== "close") { ${then} } });
        parentPort.postMessage({ id: 0, value: "stub" });`,
      )
    }`),
  );

describe("remote()", () => {
  onRuntime("remote() rejects a run whose worker is killed, and all calls after it", async () => {
    const worker = spawn(), e = await remote(worker);
    const { id } = await e.load(long);
    const feeds = { x: square(), w: square() };
    const run = assert.rejects(e.run(id, feeds, { y: true }), /the onnx engine: its worker ended/);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await worker.terminate();
    await run;
    await assert.rejects(e.get("p"), /^Error: Cannot use the onnx engine: its worker ended with/);
    await e.close();
    await assert.rejects(e.get("p"), closed());
  });

  onRuntime("remote() ends its worker when it is closed, after the run under way", async () => {
    const worker = spawn(), e = await remote(worker);
    const ended = new Promise((resolve) => worker.once("exit", resolve));
    const { id } = await e.load(long);
    const run = assert.rejects(
      e.run(id, { x: square(), w: square() }, { y: true }),
      closed(),
    );
    await Promise.all([e.close(), run]);
    await ended;
  });

  it("remote() rejects when its worker ends itself", async () => {
    const e = await remote(stub("process.exit(3);"));
    assert.equal(e.name, "stub, in a worker");
    const died = /^Error: Cannot use the onnx engine: its worker ended with code 3$/;
    await Promise.all([assert.rejects(e.get("p"), died), assert.rejects(e.get("q"), died)]);
    await assert.rejects(e.get("p"), died);
    await e.close();
  });

  it("remote() rejects what its worker never answers, once it is closed", async () => {
    const worker = stub(""), e = await remote(worker);
    const waits = assert.rejects(e.get("p"), closed());
    const closing = e.close();
    await waits;
    await worker.terminate();
    await closing;
  });

  it("remote() rejects when its worker cannot start", async () => {
    const worker = new Worker(
      new URL("data:text/javascript,import('node:process').then((p)=>p.exit(4))"),
    );
    await assert.rejects(remote(worker), {
      name: "EngineUnavailable",
      message: "Cannot use the onnx engine: its worker does not start: " +
        "Cannot use the onnx engine: its worker ended with code 4",
    });
  });
});

describe("executor() that cannot be had", () => {
  for (const worker of [true, false]) {
    const where = worker ? "in a worker" : "in the same thread";
    const refused = async (module: string, message: RegExp, cause: string): Promise<void> => {
      await assert.rejects(
        executor({ worker, module: `data:text/javascript,${module}` }),
        (error) => {
          assert.ok(error instanceof EngineUnavailable);
          assert.equal(error.name, "EngineUnavailable");
          assert.match(error.message, message);
          assert.equal((error.cause as Error).message, cause);
          return true;
        },
      );
    };

    it(`executor() says how to get a package that does not load, ${where}`, async () => {
      const message =
        /^Cannot use the onnx engine: data:.* loaded: gone; `deno cache npm:onnxruntime-node@/;
      await refused("throw new Error('gone')", message, "gone");
    });

    it(`executor() says that this platform has no binary, ${where}`, async () => {
      const why = "Cannot find module '../bin/napi-v6/plan9/onnxruntime_binding.node'";
      const message = new RegExp(`no binary for ${Deno.build.os} on ${Deno.build.arch}; choose`);
      await refused(`throw new Error("${why}")`, message, why);
    });

    onRuntime(`executor() says what a provider needs that does not start, ${where}`, async () => {
      await assert.rejects(executor({ worker, provider: "cuda" }), (error) => {
        assert.ok(error instanceof EngineUnavailable);
        assert.match(error.message, /: the provider cuda does not start: it needs CUDA on Linux/);
        assert.match((error.cause as Error).message, /Cannot load a graph/);
        return true;
      });
    });
  }

  it("executor() refuses options that make no sense, before anything is loaded", async () => {
    await assert.rejects(executor({ provider: "tpu" as "cpu" }), {
      name: "RangeError",
      message: "Cannot use the onnx engine: provider must be one of cpu, webgpu, cuda, got tpu",
    });
    for (const threads of [0, 1.5, -1]) {
      await assert.rejects(executor({ threads }), {
        name: "RangeError",
        message:
          `Cannot use the onnx engine: threads must be a positive whole number, got ${threads}`,
      });
    }
    const wrong: readonly [object, string][] = [
      [
        { thread: 1 },
        'options must be among provider, threads, spinning, worker, module, got "thread"',
      ],
      [{ spinning: 1 }, "spinning must be a boolean, got 1"],
      [{ worker: "no" }, 'worker must be a boolean, got "no"'],
      [{ module: 5 }, "module must be a string, got 5"],
    ];
    for (const [options, message] of wrong) {
      await assert.rejects(executor(options), {
        name: "TypeError",
        message: `Cannot use the onnx engine: ${message}`,
      });
    }
  });

  it("threads wait in a busy loop for a moment by default, and for long only where it is wanted", async () => {
    const seen: (Record<string, unknown> | undefined)[] = [];
    const create = (_: Uint8Array, given: Record<string, unknown>) => {
      seen.push(given["extra"] as Record<string, unknown> | undefined);
      return Promise.reject(new Error("not here"));
    };
    const ort = { env: { versions: {} }, InferenceSession: { create } } as unknown as Ort;
    for (const options of [{}, { spinning: false }, { spinning: true }]) {
      await assert.rejects(sessions(ort, options).load(new Uint8Array(1)), /not here/);
    }
    const brief = { session: { intra_op: { spin_duration_us: "20" } } };
    assert.deepEqual(seen, [brief, brief, undefined]);
  });

  it("the memory of what a slot held is given back when another takes its place, or none", async () => {
    const made: Float32Array[] = [], y = { name: "y", isTensor: true, type: "float32", shape: [2] };
    const session = {
      inputMetadata: [],
      outputMetadata: [y],
      run: () => {
        made.push(Float32Array.of(made.length, 7));
        return Promise.resolve({ y: { type: "float32", dims: [2], data: made.at(-1) } });
      },
      release: () => Promise.resolve(),
    };
    class Tensor {
      constructor(readonly type: string, readonly data: unknown, readonly dims: number[]) {}
    }
    const InferenceSession = { create: () => Promise.resolve(session) };
    const e = sessions({ env: { versions: {} }, InferenceSession, Tensor } as unknown as Ort);
    const { id } = await e.load(new Uint8Array(1));
    const gone = (): boolean[] => made.map(({ buffer }) => (buffer as ArrayBuffer).detached);
    await e.run(id, {}, { y: "a" });
    await e.run(id, {}, { y: "b" });
    assert.deepEqual(gone(), [false, false]);
    await e.run(id, {}, { y: "a" });
    assert.deepEqual(gone(), [true, false, false]);
    await e.put("b", { type: "float32", dims: [1], data: Float32Array.of(5) });
    assert.deepEqual(gone(), [true, true, false]);
    assert.deepEqual([...(await e.get("a")).data, ...(await e.get("b")).data], [2, 7, 5]);
    await e.free([], ["a", "none"]);
    assert.deepEqual(gone(), [true, true, true]);
    await e.run(id, {}, { y: "a" });
    await e.close();
    assert.deepEqual(gone(), [true, true, true, true]);
  });

  it("onnx() refuses what executor() and compiler() do, before anything is started", async () => {
    // A module that tells whether it was loaded.
    const module = "data:text/javascript,globalThis.loadedByMistake = true; throw new Error('no');";
    const wrong: readonly [object, RegExp][] = [
      [
        { thread: 1 },
        /^Cannot use the onnx engine: options must be among .*blocked, got "thread"$/,
      ],
      [{ shapes: 0 }, /shapes must be a whole number of at least 1, got 0$/],
      [{ blocked: "no" }, /blocked must be a boolean, got "no"$/],
      [{ threads: 0 }, /threads must be a positive whole number, got 0$/],
      [
        { threads: 0, shapes: 0 },
        /: threads must be a positive whole number, got 0; shapes must be a whole .*, got 0$/,
      ],
    ];
    for (const [options, message] of wrong) {
      await assert.rejects(onnx({ ...options, module, worker: false }), { message });
    }
    assert.equal("loadedByMistake" in globalThis, false);
  });
});

// Straight on Deno.test, which can take permissions away.
const needs = async (options: Parameters<typeof executor>[0], message: RegExp): Promise<void> => {
  await assert.rejects(executor(options), (error) => {
    assert.ok(error instanceof EngineUnavailable);
    assert.match(error.message, message);
    return true;
  });
};

Deno.test({
  name: "executor() without --allow-ffi says so, downloads nothing and asks nobody",
  permissions: { ffi: false, read: true, net: false, import: false },
  fn: async () => {
    await needs({}, /^Cannot use the onnx engine: it is native code; run with --allow-ffi, or /);
    await needs({ worker: false }, /run with --allow-ffi/);
  },
});

Deno.test({
  name: "executor() without --allow-read says so where its worker is a file",
  permissions: { ffi: true, read: false },
  fn: () =>
    needs({}, /^Cannot use the onnx engine: its worker reads .*worker\.ts; run with --allow-read$/),
});

/** Runs a program in a Deno of its own; how it ended, and what it printed. */
async function program(code: string): Promise<{ code: number; out: string; err: string }> {
  const remote = new URL("../../../src/engine/runtime/remote.ts", import.meta.url);
  const config = fileURLToPath(new URL("../../../deno.json", import.meta.url));
  const flags = ["run", "--quiet", "--no-lock", "--no-check"];
  const child = new Deno.Command(Deno.execPath(), {
    args: [...flags, "--config", config, "--allow-ffi", "--allow-read", "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(
    new TextEncoder().encode(`import { executor } from ${JSON.stringify(remote)};\n${code}`),
  );
  await writer.close();
  const { code: status, stdout, stderr } = await child.output(), decoder = new TextDecoder();
  return { code: status, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

describe("executor() in a program", () => {
  onRuntime("executor() that is forgotten lets the program end, in silence", async () => {
    const bytes = model([["Neg", ["x"], ["y"]]], [["x", FLOAT, [1]]], [["y", FLOAT, [1]]], [
      "idle",
    ]);
    const ended = await program(`
      const e = await executor();
      const { id } = await e.load(Uint8Array.of(${bytes}));
      const x = { type: "float32", dims: [1], data: Float32Array.of(3) };
      e.run(id, { x }, { y: true }).then(({ y }) => console.log(y.data[0]));
    `);
    assert.equal(ended.out, "-3\n");
    assert.equal(ended.code, 0);
    assert.doesNotMatch(ended.err, /onnxruntime:/);
  });
});
