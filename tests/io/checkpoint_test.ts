import { beforeEach, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import * as tf from "@tensorflow/tfjs-core";
import {
  type Checkpoint,
  checkShapes,
  loadCheckpoint,
  saveCheckpoint,
} from "../../src/io/checkpoint.ts";
import { fromTensors, toTensors } from "../../src/io/tensors/device.ts";
import { encodeSafetensors, type HostTensor, writeSafetensors } from "../../src/io/safetensors.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { fold, type Key, key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
import { disposeTraining, newTraining } from "../../src/train/loop/state.ts";
import { live } from "../measure.ts";

const f32 = (...values: number[]): HostTensor<"F32"> => ({
  dtype: "F32",
  shape: [values.length],
  data: new Float32Array(values),
});

/** Saves and loads under a name that is gone afterwards. */
async function returned(checkpoint: Checkpoint): Promise<Checkpoint> {
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  try {
    await saveCheckpoint(path, checkpoint);
    return await loadCheckpoint(path);
  } finally {
    await Deno.remove(path);
  }
}

/** A file in a folder of its own. */
async function within<A>(use: (path: string) => Promise<A>): Promise<A> {
  const folder = await Deno.makeTempDir();
  try {
    return await use(`${folder}/run.safetensors`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

describe("saveCheckpoint and loadCheckpoint", () => {
  it("saveCheckpoint() and loadCheckpoint() keep groups, dots, empty groups and plain data", async () => {
    const checkpoint: Checkpoint = {
      groups: {
        model: { "down.0.w": f32(0.1, -0), "b": f32() },
        ema: { "down.0.w": f32(-0.1, 1e-30) },
        "adam.m": { "down.0.w": f32(1e-45, 3.4e38) },
        "adam.v": {},
        model2: { n: { dtype: "I32", shape: [], data: new Int32Array([7]) } },
      },
      meta: {
        step: 120,
        key: key(2 ** 53 - 1),
        rate: 2e-4,
        name: 'a "b"\n',
        none: null,
        list: [1, [true]],
        of: {},
      },
    };
    assert.deepEqual(await returned(checkpoint), checkpoint);
    assert.deepEqual(await returned({ groups: {}, meta: {} }), { groups: {}, meta: {} });
  });

  it("saveCheckpoint() and loadCheckpoint() keep every finite number as it is", async () => {
    const anyNumber = fc.double({ noNaN: true, noDefaultInfinity: true });
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyNumber, { minLength: 20 }),
        fc.jsonValue(),
        async (numbers, json) => {
          // Arrays and plain objects only: jsonValue's have no prototype where a name is `__proto__`.
          const meta = {
            numbers: [-0, 5e-324, 0.1 + 0.2, ...numbers],
            json: JSON.parse(JSON.stringify(json)),
          };
          assert.deepEqual((await returned({ groups: {}, meta })).meta, meta);
        },
      ),
      { numRuns: 25 },
    );
  });

  it("saveCheckpoint() leaves out what is undefined", async () => {
    const { meta } = await returned({ groups: {}, meta: { a: undefined, b: 1 } });
    assert.deepEqual(meta, { b: 1 });
  });

  const selfish: { list: unknown[] } = { list: [] };
  selfish.list.push(selfish);
  const lost: [string, unknown, RegExp][] = [
    ["NaN", NaN, /meta\.a must be plain data with finite numbers, got number NaN$/],
    ["infinity deep down", [{ b: -Infinity }], /meta\.a\.0\.b must be .*, got number -Infinity$/],
    ["a bigint", 3n, /got bigint 3$/],
    ["a function", Math.sin, /meta\.a must be .*, got function/],
    ["undefined in a list", [undefined], /meta\.a\.0 must be .*, got undefined undefined$/],
    ["an array of floats", new Float32Array(2), /got \[object Float32Array\]$/],
    ["a date", new Date(0), /got \[object Date\]$/],
    ["a map", new Map(), /got \[object Map\]$/],
    ["a hole in a list", [, 1], /meta\.a\.0 must be .*, got undefined undefined$/],
    ["what holds itself", selfish, /meta\.a\.list\.0 must be .*, got one that holds itself$/],
  ];
  for (const [what, a, message] of lost) {
    it(`saveCheckpoint() refuses ${what}, and writes nothing`, () =>
      within(async (path) => {
        await assert.rejects(saveCheckpoint(path, { groups: {}, meta: { a } }), {
          name: "TypeError",
          message,
        });
        await assert.rejects(Deno.stat(path), Deno.errors.NotFound);
      }));
  }

  it("saveCheckpoint() refuses NaN and infinity, of the host and of a backend, and leaves the old file", () =>
    within(async (path) => {
      await useBackend("cpu");
      const old = { groups: { model: { w: f32(1) } }, meta: {} };
      await saveCheckpoint(path, old);
      for (const value of [NaN, Infinity, -Infinity]) {
        const onDevice = tf.tensor1d([0, value]);
        const double = { dtype: "F64", shape: [1], data: new Float64Array([value]) } as const;
        const half = { dtype: "F16", shape: [1], data: new Float16Array([value]) } as const;
        for (const w of [f32(0, value), double, half, onDevice]) {
          await assert.rejects(saveCheckpoint(path, { groups: { ema: { w } }, meta: {} }), {
            name: "RangeError",
            message: `Cannot save checkpoint: tensor ema.w must be of finite numbers, got ${value}`,
          });
        }
        onDevice.dispose();
      }
      assert.deepEqual(await loadCheckpoint(path), old);
    }));

  it("saveCheckpoint() keeps a double that float32 cannot hold, and whole numbers", () =>
    within(async (path) => {
      const w = { dtype: "F64", shape: [1], data: new Float64Array([1e300]) } as const;
      const n = { dtype: "I64", shape: [1], data: new BigInt64Array([-7n]) } as const;
      await saveCheckpoint(path, { groups: { g: { w, n } }, meta: {} });
      assert.deepEqual((await loadCheckpoint(path)).groups, { g: { w, n } });
    }));

  it("saveCheckpoint() takes what training gives, and reads it before it can be disposed of", () =>
    within(async (path) => {
      await useBackend("cpu");
      const before = live(), params = { w: tf.tensor2d([[1, 2]]), b: tf.scalar(3) };
      const state = newTraining(params), { mean, square } = state.moments;
      const groups = {
        model: state.params,
        ema: state.ema,
        "adam.mean": mean,
        "adam.square": square,
      };
      const saving = saveCheckpoint(path, { groups, meta: { step: 3 } });
      tf.dispose(params);
      disposeTraining(state);
      await saving;
      assert.equal(live(), before);
      const w: HostTensor = { dtype: "F32", shape: [1, 2], data: new Float32Array([1, 2]) };
      const b: HostTensor = { dtype: "F32", shape: [], data: new Float32Array([3]) };
      const { groups: got } = await loadCheckpoint(path);
      assert.deepEqual([got.model, got.ema], [{ w, b }, { w, b }]);
      assert.deepEqual(Object.keys(got), Object.keys(groups));
      assert.deepEqual([...got["adam.mean"]!.w!.data], [0, 0]);
    }));

  it("saveCheckpoint() refuses what its reader would not take, and tensors that are gone", () =>
    within(async (path) => {
      await useBackend("cpu");
      const gone = tf.scalar(1), [re, im] = [tf.scalar(1), tf.scalar(2)], c = tf.complex(re, im);
      gone.dispose();
      const groups = { g: {} }, none = {}, start = "Cannot save checkpoint: ";
      const cases: [unknown, string][] = [
        [{ groups, meta: [] }, "meta must be an object, got []"],
        [{ groups, meta: null }, "meta must be an object, got null"],
        [{ groups: [{}], meta: none }, "groups must be an object, got [{}]"],
        [{ groups: { g: null }, meta: none }, "group g must be an object, got null"],
        [{ groups: { g: { w: 3 } }, meta: none }, "g.w must be a tensor, got number"],
        [
          { groups: { g: { gone } }, meta: none },
          "g.gone must be a tensor that lives, got one that was disposed of",
        ],
        [
          { groups: { g: { c } }, meta: none },
          "g.c must be float32, int32 or bool, got complex64",
        ],
      ];
      for (const [checkpoint, message] of cases) {
        const saving = saveCheckpoint(path, checkpoint as Checkpoint);
        await assert.rejects(saving, { name: "TypeError", message: start + message });
        await assert.rejects(Deno.stat(path), Deno.errors.NotFound);
      }
      tf.dispose([re, im, c]);
    }));

  it("saveCheckpoint() refuses groups that cannot be told apart", () =>
    within(async (path) => {
      const groups = { "adam.m": { w: f32(1) }, adam: { "m.w": f32(2) } };
      const message =
        'Cannot save checkpoint: group "adam.m" must not go on from another with a dot, got "adam" too';
      await assert.rejects(saveCheckpoint(path, { groups, meta: {} }), {
        name: "RangeError",
        message,
      });
    }));

  it("loadCheckpoint() throws on a file that is cut anywhere", () =>
    within(async (path) => {
      await saveCheckpoint(path, { groups: { model: { w: f32(1, 2) } }, meta: { step: 1 } });
      const whole = await Deno.readFile(path);
      for (let length = 0; length < whole.length; length += 7) {
        await Deno.writeFile(path, whole.subarray(0, length));
        await assert.rejects(loadCheckpoint(path), (error: Error) => {
          assert(
            error instanceof SyntaxError && error.message.endsWith(`in ${path}`),
            `${length}: ${error}`,
          );
          return true;
        });
      }
    }));

  const format = "tweedie.checkpoint";
  const others: [string, Record<string, string>, RegExp][] = [
    ["a plain safetensors file", {}, /must be of format tweedie\.checkpoint 1, got no format$/],
    ["a file of another format", { format: "pt" }, /got pt$/],
    [
      "a later version",
      { format, version: "2", groups: "[]", meta: "{}" },
      /got tweedie\.checkpoint 2$/,
    ],
    [
      "no groups",
      { format, version: "1", meta: "{}" },
      /hold groups as JSON in its metadata, got nothing$/,
    ],
    [
      "groups of numbers",
      { format, version: "1", groups: "[1]", meta: "{}" },
      /hold groups as JSON.*, got \[1\]$/,
    ],
    [
      "meta that are no JSON",
      { format, version: "1", groups: '["g"]', meta: "{" },
      /hold meta as JSON.*, got {$/,
    ],
    [
      "meta in a list",
      { format, version: "1", groups: '["g"]', meta: "[]" },
      /hold meta as JSON.*, got \[\]$/,
    ],
    [
      "a tensor of no group",
      { format, version: "1", groups: '["h"]', meta: "{}" },
      /by its groups h, got g\.w$/,
    ],
  ];
  for (const [what, metadata, message] of others) {
    it(`loadCheckpoint() refuses ${what}`, () =>
      within(async (path) => {
        await writeSafetensors(path, { "g.w": f32(1) }, metadata);
        await assert.rejects(loadCheckpoint(path), (error: Error) => {
          assert(
            error instanceof SyntaxError &&
              error.message.startsWith(`Cannot load checkpoint: ${path} must`),
          );
          assert.match(error.message, message);
          return true;
        });
      }));
  }

  it("loadCheckpoint() reads a file whose groups stand in the metadata's order", () =>
    within(async (path) => {
      const metadata = { format, version: "1", groups: '["b","a"]', meta: "{}" };
      await Deno.writeFile(path, encodeSafetensors({ "a.w": f32(1), "b.w": f32(2) }, metadata));
      assert.deepEqual(Object.keys((await loadCheckpoint(path)).groups), ["b", "a"]);
    }));
});

/** Adam on a quadratic with noisy gradients: enough state to go wrong. */
interface Training {
  readonly w: tf.Tensor;
  readonly m: tf.Tensor;
  readonly v: tf.Tensor;
  readonly step: number;
  readonly key: Key;
}

const trained = (training: Training, steps: number): Training =>
  Array.from({ length: steps }).reduce<Training>(({ w, m, v, step, key }) => {
    const g = tf.add(w, normal(fold(key, step), [3]));
    const m1 = tf.add(tf.mul(m, 0.9), tf.mul(g, 0.1)),
      v1 = tf.add(tf.mul(v, 0.99), tf.mul(tf.square(g), 0.01));
    return {
      w: tf.sub(w, tf.div(tf.mul(m1, 0.1), tf.add(tf.sqrt(v1), 1e-8))),
      m: m1,
      v: v1,
      step: step + 1,
      key,
    };
  }, training);

describe("tensors of a checkpoint", () => {
  beforeEach(() => useBackend("cpu"));

  it("loadCheckpoint() lets a training go on bit for bit", () =>
    within(async (path) => {
      tf.engine().startScope();
      const start: Training = {
        w: tf.tensor1d([1, -2, 3]),
        m: tf.zeros([3]),
        v: tf.zeros([3]),
        step: 0,
        key: key(5),
      };
      const half = trained(start, 7), { w, m, v, step } = half;
      const groups = {
        model: await fromTensors({ w }),
        "adam.m": await fromTensors({ w: m }),
        "adam.v": await fromTensors({ w: v }),
      };
      await saveCheckpoint(path, { groups, meta: { step, key: half.key } });
      const loaded = await loadCheckpoint(path), meta = loaded.meta as { step: number; key: Key };
      const [w2, m2, v2] = ["model", "adam.m", "adam.v"].map((group) =>
        toTensors(loaded.groups[group]!).w!
      );
      const resumed = trained({ w: w2!, m: m2!, v: v2!, ...meta }, 6),
        unbroken = trained(start, 13);
      assert.deepEqual(await resumed.w.data(), await unbroken.w.data());
      assert.notDeepEqual(await resumed.w.data(), await w.data());
      tf.engine().endScope();
    }));

  it("toTensors() and fromTensors() keep numbers, shapes and types", async () => {
    const before = live();
    const group: Record<string, HostTensor> = {
      w: { dtype: "F32", shape: [1, 2], data: new Float32Array([0.1, NaN]) },
      s: { dtype: "F32", shape: [], data: new Float32Array([3]) },
      e: { dtype: "F32", shape: [0, 2], data: new Float32Array() },
      n: { dtype: "I32", shape: [2], data: new Int32Array([-(2 ** 31), 2 ** 31 - 1]) },
      b: { dtype: "BOOL", shape: [2], data: new Uint8Array([1, 0]) },
    };
    const tensors = toTensors(group);
    assert.equal(live(), before + 5);
    assert.deepEqual(await fromTensors(tensors), group);
    tf.dispose(tensors);
    assert.equal(live(), before);
  });

  it("toTensors() widens floats and narrows whole numbers that fit", async () => {
    const tensors = toTensors({
      half: { dtype: "F16", shape: [1], data: new Float16Array([0.1]) },
      brain: { dtype: "BF16", shape: [1], data: new Uint16Array([0x3fc0]) },
      long: { dtype: "I64", shape: [1], data: new BigInt64Array([-7n]) },
      byte: { dtype: "U8", shape: [1], data: new Uint8Array([200]) },
    });
    const seen = await Promise.all(
      Object.values(tensors).map(async (t) => [t.dtype, ...await t.data()]),
    );
    assert.deepEqual(seen, [["float32", Math.f16round(0.1)], ["float32", 1.5], ["int32", -7], [
      "int32",
      200,
    ]]);
    tf.dispose(tensors);
  });

  it("toTensors() refuses whole numbers beyond int32, and makes no tensor then", () => {
    const before = live();
    for (const big of [2n ** 31n, -(2n ** 31n) - 1n, 2n ** 53n]) {
      const n: HostTensor = { dtype: "I64", shape: [1], data: new BigInt64Array([big]) };
      const message = `Cannot make a tensor: n (I64) must be within int32, got ${big}`;
      assert.throws(() => toTensors({ w: f32(1), n }), { name: "RangeError", message });
    }
    assert.equal(live(), before);
  });

  it("toTensors() and fromTensors() share no memory with what they are given", async () => {
    const w = f32(1, 2),
      b: HostTensor<"BOOL"> = { dtype: "BOOL", shape: [1], data: new Uint8Array([1]) };
    const tensors = toTensors({ w, b });
    w.data.fill(9);
    b.data.fill(0);
    const host = await fromTensors(tensors);
    assert.deepEqual([...host.w!.data, ...host.b!.data], [1, 2, 1]);
    (host.w as HostTensor<"F32">).data.fill(9);
    assert.deepEqual([...await tensors.w!.data()], [1, 2]);
    tf.dispose(tensors);
  });

  it("fromTensors() reads before the tensors can be disposed of", async () => {
    const a = tf.tensor1d([1]), b = tf.tensor1d([2]);
    const reading = fromTensors({ a, b });
    tf.dispose([a, b]);
    assert.deepEqual(await reading, { a: f32(1), b: f32(2) });
  });

  it("toTensors() says how to get a backend where none is in use", async () => {
    const root = new URL("../../", import.meta.url);
    const file = JSON.stringify(new URL("src/io/tensors/device.ts", root).href);
    const w = '{ dtype: "F32", shape: [1], data: new Float32Array(1) }';
    const text = `const { toTensors } = await import(${file});
      try { toTensors({ w: ${w} }) } catch (error) { console.log(error.name, error.message) }`;
    const config = `--config=${fileURLToPath(new URL("deno.json", root))}`;
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--quiet", "--cached-only", "--frozen", config, text],
    }).output();
    assert.equal(
      new TextDecoder().decode(stdout),
      "TypeError Cannot make a tensor: a backend must be chosen first, by await useBackend() of " +
        "@tweedie/tweedie/backend, got none\n",
    );
  });

  it("fromTensors() refuses complex numbers", async () => {
    const [re, im] = [tf.tensor1d([1]), tf.tensor1d([2])], c = tf.complex(re, im);
    const message = "Cannot read tensors: c must be float32, int32 or bool, got complex64";
    await assert.rejects(fromTensors({ c }), { name: "TypeError", message });
    tf.dispose([re, im, c]);
  });
});

describe("checkShapes", () => {
  const shapes = (record: Record<string, number[]>): Record<string, { shape: number[] }> =>
    Object.fromEntries(Object.entries(record).map(([name, shape]) => [name, { shape }]));

  it("checkShapes() accepts the same names and shapes in any order", () => {
    checkShapes(shapes({ b: [], a: [2, 3], n: [0] }), { a: [2, 3], n: [0], b: [] }, "x");
    checkShapes({}, {}, "x");
  });

  it("checkShapes() lists all that is missing, unexpected and of another shape", () => {
    const got = shapes({ a: [2, 3], c: [1], d: [4], same: [5] });
    assert.throws(
      () => checkShapes(got, { a: [3, 2], b: [1], d: [], same: [5] }, "run.safetensors"),
      {
        name: "RangeError",
        message:
          "Cannot load run.safetensors: it must hold the model's 4 tensors, got 1 missing (b); 1 unexpected (c); " +
          "2 of another shape (a [3,2], got [2,3], d [], got [4])",
      },
    );
  });

  it("checkShapes() counts all names and lists the first few", () => {
    const wanted = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`w${i}`, [1]]));
    assert.throws(() => checkShapes({}, wanted, "x"), /got 30 missing \(w0, w1, w2, w3, \.\.\.\)$/);
    assert.throws(
      () => checkShapes(shapes(wanted), {}, "x"),
      /0 tensors, got 30 unexpected \(w0, w1, w2, w3, \.\.\.\)$/,
    );
  });

  it("checkShapes() is not misled by names that every object has", () => {
    assert.throws(() => checkShapes({}, { constructor: [] }, "x"), /1 missing \(constructor\)/);
    assert.throws(
      () => checkShapes(shapes({ toString: [1] }), {}, "x"),
      /1 unexpected \(toString\)/,
    );
  });
});
