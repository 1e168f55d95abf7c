/**
 * What a function may do while it is traced, what is refused and in which words, and that a trace leaves no trace.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import "../../../src/tensor/autodiff.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import type { Pure, Tensors } from "../../../src/tensor/engine.ts";
import { type Program, trace } from "../../../src/engine/compile/trace.ts";
import type { DType } from "../../../src/engine/graph/value.ts";

await useBackend("cpu");

const specs = { x: { shape: [2, 3] } };

const opsOf = ({ graph }: Program): string[] => graph.nodes.map(({ op }) => op);

/** Where tfjs stands: its backend, and what it holds. */
function standing(): readonly [backend: string, tensors: number, buffers: number] {
  const { numTensors, numDataBuffers } = tf.memory();
  return [tf.getBackend(), numTensors, numDataBuffers];
}

/** Asserts that a function is not traced, and that nothing is left of the attempt. */
function refused(fn: Pure, name: "TypeError" | "RangeError", message: string | RegExp): void {
  const before = standing();
  assert.throws(() => trace(fn, specs), { name, message });
  assert.deepEqual(standing(), before);
}

/** A function of x whose answer is called y. */
const of = (f: (x: tf.Tensor) => tf.Tensor): Pure => ({ x }) => ({ y: f(x!) });

const reading = "Cannot compile: the function must not read a tensor's numbers, got dataSync(), " +
  "arraySync() or print() of a tensor of shape [2,3]; a branch on numbers is tf.where";

const impure = (where: string): string =>
  "Cannot compile: the function must be pure, got another graph at a second look, first at " +
  `${where}: random numbers, times and counters must be inputs`;

const captured = (shape: string): string =>
  "Cannot compile: a tensor of more than 4096 different numbers must be an input or a constant " +
  `of the function, got one of shape ${shape} from outside, or made inside from random numbers`;

/** A function that is another one each time it is called. */
const counting = (f: (x: tf.Tensor, count: number) => Record<string, tf.Tensor>): Pure => {
  let count = 0;
  return ({ x }) => f(x!, count++);
};

describe("trace() of what cannot be compiled", () => {
  const reads: Record<string, (x: tf.Tensor) => tf.Tensor> = {
    "dataSync()": (x) => tf.scalar(x.dataSync()[0]!),
    "arraySync()": (x) => tf.tensor(x.arraySync()),
    "print()": (x) => (x.print(), x),
    "a branch on a number": (x) => x.dataSync()[0]! > 0 ? x : tf.neg(x),
    "bufferSync()": (x) => x.bufferSync().toTensor(),
  };
  for (const [what, f] of Object.entries(reads)) {
    it(`trace() refuses ${what} of what is traced`, () => refused(of(f), "TypeError", reading));
  }

  it("trace() refuses a branch on what was computed, by its own shape", () => {
    refused(
      of((x) => tf.sum(x).dataSync()[0]! > 0 ? x : tf.neg(x)),
      "TypeError",
      reading.replace("[2,3]", "[]"),
    );
  });

  it("trace() refuses an async function, whose own failure goes nowhere", async () => {
    const escaped: unknown[] = [];
    const listen = (event: PromiseRejectionEvent): void => {
      event.preventDefault();
      escaped.push(event.reason);
    };
    globalThis.addEventListener("unhandledrejection", listen);
    try {
      const patient = async ({ x }: { x?: tf.Tensor }) => ({ y: tf.tensor(await x!.data()) });
      refused(
        patient as unknown as Pure,
        "TypeError",
        "Cannot compile: the function must answer tensors by name, got a promise",
      );
      await new Promise((resolve) => setTimeout(resolve));
      assert.deepEqual(escaped, []);
    } finally {
      globalThis.removeEventListener("unhandledrejection", listen);
    }
  });

  it("trace() refuses data() that is awaited when it is over, in the same words", async () => {
    let later: Promise<unknown> | undefined;
    trace(
      of((x) => {
        if (later === undefined) (later = x.data()).catch(() => {});
        return tf.neg(x);
      }),
      specs,
    );
    await assert.rejects(later!, { name: "TypeError", message: /must not read .* numbers/ });
  });

  const random: Record<string, readonly [Pure, string]> = {
    "tf.randomNormal()": [
      of((x) => tf.add(x, tf.randomNormal([2, 3]))),
      "a tensor of shape [2,3] for Add",
    ],
    "tf.randomUniform()": [
      of((x) => tf.mul(tf.randomUniform([2, 3]), x)),
      "a tensor of shape [2,3] for Mul",
    ],
    "tf.dropout()": [of((x) => tf.dropout(x, 0.5)), "a tensor of shape [2,3] for"],
    "Math.random()": [of((x) => tf.mul(x, Math.random())), "a tensor of shape [] for Mul"],
    "a counter as a number": [
      counting((x, n) => ({ y: tf.sub(x, n + 2) })),
      "a tensor of shape [] for Sub",
    ],
    "a counter as an axis": [
      counting((x, n) => ({ y: tf.sum(x, n) })),
      "a tensor of shape [1] for",
    ],
    "a counter as a size": [
      counting((x, n) => ({ y: tf.mul(x, tf.fill([2, 1], 5)), z: tf.fill([n + 1], 2) })),
      "a tensor of shape [1] for Identity",
    ],
    "a counter as a number of layers": [
      counting((x, n) => ({ y: n === 0 ? tf.sin(x) : tf.sin(tf.sin(x)) })),
      "an operator Identity",
    ],
    "a counter in a name": [counting((x, n) => ({ [`y${n}`]: tf.neg(x) })), "an operator Identity"],
  };
  for (const [what, [fn, where]] of Object.entries(random)) {
    it(`trace() refuses ${what} at the second look`, () => {
      const message = impure(where), loose = where.endsWith(" for");
      const anyUser = message.split(where).map((part) =>
        part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
      );
      refused(
        fn,
        "TypeError",
        loose
          ? new RegExp(`^${anyUser[0]}${where.replace(/[[\]]/g, "\\$&")} \\w+${anyUser[1]}$`)
          : message,
      );
    });
  }

  it("trace() refuses random numbers that are more than a table at the first look", () => {
    refused(
      of((x) => tf.add(x, tf.sum(tf.randomNormal([65, 64])))),
      "TypeError",
      captured("[65,64]"),
    );
  });

  it("trace() refuses a large tensor from outside, and takes one of a table's size", () => {
    const large = tf.range(0, 4097), fits = tf.range(0, 4096);
    refused(of((x) => tf.add(x, tf.sum(large))), "TypeError", captured("[4097]"));
    refused(() => ({ y: large }), "TypeError", captured("[4097]"));
    const { graph } = trace(of((x) => tf.add(x, tf.sum(tf.square(fits)))), specs);
    assert.deepEqual(
      graph.constants.filter(({ dims }) => dims[0] === 4096).map(({ data }) => data[7]),
      [7],
    );
    assert.equal(large.dataSync()[4096], 4096);
    tf.dispose([large, fits]);
  });

  it("trace() writes a number that is the same everywhere down once, however large its tensor", () => {
    const { graph } = trace(
      of((x) => tf.add(x, tf.sum(tf.mul(x, tf.ones([1000, 2, 3])), 0))),
      specs,
    );
    const size = graph.constants.reduce((n, { data }) => n + data.length, 0);
    assert.ok(size < 100, `${size} numbers`);
  });

  const words = tf.tensor(["a", "b"]), waves = tf.complex([1, 2], [3, 4]);
  after(() => tf.dispose([words, waves]));

  it("trace() refuses strings and complex numbers, made inside", () => {
    refused(
      ({ x }) => ({ y: x!, z: tf.tensor(["a"]) }),
      "TypeError",
      "Cannot compile: tensors must be float32, int32 or bool, got string",
    );
    refused(
      of((x) => tf.complex(x, x)),
      "TypeError",
      "Cannot compile: every operation must have a lowering, got Complex, which has none",
    );
  });

  it("trace() refuses strings and complex numbers from outside, whether used or answered", () => {
    refused(() => ({ y: words }), "TypeError", /^Cannot compile: .*string/);
    refused(() => ({ y: tf.clone(words) }), "TypeError", /^Cannot compile: .*string/);
    refused(() => ({ y: waves }), "TypeError", /^Cannot compile: .*complex64/);
  });

  it("trace() refuses strings and complex numbers as inputs and constants", () => {
    const before = standing();
    for (const [tensor, dtype] of [[words, "string"], [waves, "complex64"]] as const) {
      const got = new RegExp(`^Cannot compile: .*${dtype}`);
      const spec = { x: { shape: [2], dtype: dtype as DType } };
      assert.throws(() => trace(of(tf.clone), spec), { name: "TypeError", message: got });
      assert.throws(
        () => trace(({ c }) => ({ y: c! }), {}, { c: tensor }),
        { name: "TypeError", message: got },
      );
    }
    assert.deepEqual(standing(), before);
  });

  const unknown: Record<string, (x: tf.Tensor) => tf.Tensor> = {
    Complex: (x) => tf.spectral.rfft(x),
    LRN: (x) => tf.localResponseNormalization(tf.reshape(x, [1, 1, 2, 3]) as tf.Tensor4D),
    Unique: (x) => tf.unique(tf.reshape(x, [6])).values,
    AvgPool3D: (x) => tf.avgPool3d(tf.reshape(x, [1, 1, 2, 3, 1]) as tf.Tensor5D, 1, 1, "valid"),
    Cumprod: (x) => tf.cumprod(x, 0),
    CropAndResize: (x) =>
      tf.image.cropAndResize(
        tf.reshape(x, [1, 2, 3, 1]) as tf.Tensor4D,
        tf.tensor2d([[0, 0, 1, 1]]),
        tf.tensor1d([0], "int32"),
        [1, 1],
      ),
  };
  for (const [kernel, f] of Object.entries(unknown)) {
    it(`trace() names the operation that has no lowering: ${kernel}`, () => {
      refused(
        of(f),
        "TypeError",
        `Cannot compile: every operation must have a lowering, got ${kernel}, which has none`,
      );
    });
  }

  it("trace() names the operation and the attribute that its lowering does not know", () => {
    const filter = tf.ones([1, 1, 1, 1]) as tf.Tensor4D;
    refused(
      of((x) => tf.conv2d(tf.reshape(x, [1, 1, 2, 3]) as tf.Tensor4D, filter, 1, "same", "NCHW")),
      "RangeError",
      "Cannot compile Conv2D: dataFormat must be NHWC, got NCHW",
    );
    refused(
      of((x) => tf.image.resizeBilinear(tf.reshape(x, [1, 2, 3, 1]) as tf.Tensor4D, [4, 6], true)),
      "RangeError",
      "Cannot compile ResizeBilinear: alignCorners must be false, got true",
    );
    // tfjs takes the columns to be as many as the rows' filter and stride make: [1, 5, 7, 1] here, and 4 columns in truth.
    const square = tf.ones([3, 3, 1, 1]) as tf.Tensor4D;
    const image = (x: tf.Tensor) =>
      tf.reshape(tf.tile(tf.reshape(x, [6]), [6]), [1, 4, 9, 1]) as tf.Tensor4D;
    const wanted =
      'pad must be "same", "valid" or numbers for each side where rows and columns differ';
    for (
      const [kernel, f] of [
        ["Conv2D", (x: tf.Tensor) => tf.conv2d(image(x), square, [1, 2], 1)],
        ["AvgPool", (x: tf.Tensor) => tf.avgPool(image(x), [3, 3], [1, 2], 1)],
      ] as const
    ) {
      refused(of(f), "RangeError", `Cannot compile ${kernel}: ${wanted}, got 1`);
    }
    tf.dispose([filter, square]);
  });

  it("trace() refuses an answer other than tensors by name", () => {
    const answer = (got: string): string =>
      `Cannot compile: the function must answer tensors by name, got ${got}`;
    const wrong = (value: unknown): Pure => () => value as Record<string, tf.Tensor>;
    refused(wrong(undefined), "TypeError", answer("undefined"));
    refused(wrong(3), "TypeError", answer("number"));
    refused(wrong(null), "TypeError", answer("null"));
    refused(wrong([tf.scalar(1)]), "TypeError", answer("a list"));
    refused(wrong(new Map()), "TypeError", answer("object"));
    refused(wrong({ y: 3 }), "TypeError", answer("object"));
    refused(((all: Tensors) => all["x"]) as unknown as Pure, "TypeError", answer("object"));
  });

  it("trace() refuses an answer that the function has disposed of", () => {
    refused(
      of((x) => {
        const y = tf.neg(x);
        y.dispose();
        return y;
      }),
      "TypeError",
      /^Cannot compile: .*disposed/,
    );
  });

  it("trace() passes on what the function throws", () => {
    refused(
      () => {
        tf.scalar(1);
        throw new RangeError("no");
      },
      "RangeError",
      "no",
    );
  });
});

describe("trace() and tfjs", () => {
  before(() => useBackend("cpu"));

  it("trace() leaves tfjs's backend and tensors as they were", () => {
    const before = standing(), { graph } = trace(of((x) => tf.mul(tf.exp(tf.neg(x)), 2)), specs);
    assert.deepEqual(graph.nodes.map(({ op }) => op), ["Neg", "Exp", "Mul", "Identity"]);
    assert.deepEqual(standing(), before);
  });

  it("trace() leaves tfjs's backend and tensors as they were, with a gradient", () => {
    const before = standing();
    trace(of(tf.grad((x) => tf.sum(tf.mul(tf.sin(tf.exp(x)), x)))), specs);
    assert.deepEqual(standing(), before);
  });

  it("trace() gives back what tfjs saved for a gradient that fails, forwards and backwards", () => {
    const forwards = (x: tf.Tensor): tf.Tensor => {
      const y = tf.mul(tf.sin(tf.exp(x)), x);
      y.dataSync();
      return tf.sum(y);
    };
    const backwards = tf.customGrad((x, save) => {
      (save as tf.GradSaveFunc)([x as tf.Tensor]);
      return {
        value: tf.sin(x as tf.Tensor),
        gradFunc: () => {
          throw new RangeError("no way back");
        },
      };
    });
    refused(of(tf.grad(forwards)), "TypeError", reading);
    refused(of((x) => tf.grad(tf.grad(forwards))(x)), "TypeError", reading);
    refused(of(tf.grad((x) => tf.sum(backwards(tf.exp(x))))), "RangeError", "no way back");
    // The tape of the failed one must not reach into the next.
    assert.deepEqual(
      opsOf(trace(of(tf.grad((x) => tf.sum(tf.square(x)))), specs)),
      opsOf(trace(of(tf.grad((x) => tf.sum(tf.square(x)))), specs)),
    );
  });

  it("trace() within a tidy and within a gradient of the caller's disturbs neither", () => {
    const x = tf.tensor1d([1, 2]), before = standing();
    const [gradient, inside] = tf.tidy(() => {
      let ops: string[] = [];
      const gradient = tf.grad((x) => {
        const y = tf.square(x);
        ops = opsOf(trace(of(tf.neg), specs));
        return tf.sum(y);
      })(x);
      return [[...gradient.dataSync()], ops] as unknown as tf.TensorContainer;
    }) as unknown as [number[], string[]];
    assert.deepEqual([gradient, inside], [[2, 4], ["Neg", "Identity"]]);
    assert.deepEqual(standing(), before);
    x.dispose();
  });

  for (const backend of ["cpu", "wasm"] as const) {
    it(`trace() reads the caller's tensors on ${backend} and leaves them there`, async () => {
      await useBackend(backend);
      const table = tf.tensor1d([1, 2, 3]), weight = tf.tensor2d([[1, 2, 3], [4, 5, 6]]);
      const before = standing();
      const { graph } = trace(
        ({ x, weight }) => ({ y: tf.add(tf.mul(x!, tf.neg(table)), weight!), table }),
        specs,
        { weight },
      );
      assert.deepEqual(standing(), before);
      const numbers = graph.constants.map(({ data }) => [...data].map(Number).join());
      assert.ok(numbers.includes("1,2,3") && numbers.includes("1,2,3,4,5,6"), `${numbers}`);
      assert.deepEqual([...table.dataSync()], [1, 2, 3]);
      const sum = tf.add(table, weight);
      assert.deepEqual([...sum.dataSync()], [2, 4, 6, 5, 7, 9]);
      assert.equal(tf.getBackend(), backend);
      tf.dispose([table, weight, sum]);
      await useBackend("cpu");
    });
  }

  it("trace() lets the function read numbers that do not depend on its inputs", () => {
    const two = tf.scalar(2), before = standing();
    const { graph } = trace(
      ({ x, c }) => {
        const [factor] = tf.mul(two, 3).dataSync(), whole = tf.tensor1d([4, 5], "int32");
        assert.deepEqual([...tf.tile(tf.scalar(true, "bool"), []).dataSync()], [1]);
        assert.ok(whole.dataSync() instanceof Int32Array);
        return { y: tf.mul(x!, factor! + c!.dataSync()[1]! + whole.dataSync()[1]!) };
      },
      specs,
      { c: tf.tensor1d([10, 20]) },
    );
    assert.deepEqual(graph.constants.map(({ data }) => [...data]), [[31]]);
    assert.deepEqual(standing().slice(0, 1), before.slice(0, 1));
    two.dispose();
  });

  it("trace() within a traced function gives the graph that it gives outside, and the outer goes on", () => {
    const inner = (): Program =>
      trace(({ z }) => ({ w: tf.sin(tf.neg(z!)) }), { z: { shape: [4] } });
    const before = standing(), alone = inner();
    let within: Program | undefined;
    const outer = trace(
      of((x) => {
        const y = tf.exp(x);
        within = inner();
        return tf.mul(tf.cos(y), within.graph.nodes.length);
      }),
      specs,
    );
    assert.deepEqual(within, alone);
    assert.deepEqual(opsOf(outer), ["Exp", "Cos", "Mul", "Identity"]);
    assert.deepEqual(standing(), before);
    refused(
      of((x) => (assert.throws(() =>
        trace(
          of((z) => tf.scalar(z.dataSync()[0]!)),
          specs,
        )
      ),
        tf.scalar(x.dataSync()[0]!))
      ),
      "TypeError",
      reading,
    );
  });

  it("trace() within a traced function refuses what the outer one is tracing", () => {
    refused(
      of((x) =>
        tf.mul(
          x,
          trace(({ z }) => ({ w: tf.add(z!, x) }), { z: { shape: [3] } }).graph.nodes.length,
        )
      ),
      "TypeError",
      /^Cannot compile: /,
    );
  });
});

describe("trace() of a pure function", () => {
  before(() => useBackend("cpu"));

  it("trace() tells shape and type of what is answered, and declares inputs that are not read", () => {
    const { graph, outputs } = trace(
      ({ x, n }) => ({
        y: tf.sum(x!, 1),
        whole: tf.cast(x!, "int32"),
        big: tf.greater(x!, 0),
        n: n!,
      }),
      { ...specs, n: { shape: [], dtype: "int32" }, unread: { shape: [5], dtype: "bool" } },
    );
    assert.deepEqual(outputs, {
      y: { shape: [2], dtype: "float32" },
      whole: { shape: [2, 3], dtype: "int32" },
      big: { shape: [2, 3], dtype: "bool" },
      n: { shape: [], dtype: "int32" },
    });
    assert.deepEqual(graph.inputs, [
      { name: "x", type: "float32", dims: [2, 3] },
      { name: "n", type: "int32", dims: [] },
      { name: "unread", type: "bool", dims: [5] },
    ]);
    assert.deepEqual(graph.outputs.map(({ name }) => name), ["y", "whole", "big", "n"]);
  });

  it("trace() gives the same graph for the same function", () => {
    const fn = of((x) => tf.softmax(tf.matMul(x, x, false, true)));
    assert.deepEqual(trace(fn, specs), trace(fn, specs));
  });

  it("trace() writes what is computed twice down once, and nothing that is not answered", () => {
    const { graph } = trace(
      of((x) => {
        tf.cos(x);
        return tf.add(tf.sin(x), tf.sin(tf.clone(x)));
      }),
      specs,
    );
    assert.deepEqual(graph.nodes.map(({ op }) => op), ["Sin", "Add", "Identity"]);
  });

  it("trace() with `block` convolves in blocks of channels where they fit, whatever the filter is", () => {
    const weight = tf.tidy(() => tf.reshape(tf.range(0, 9 * 64), [3, 3, 8, 8]));
    const convolved = (channels: number, block?: number): string[] =>
      trace(
        ({ x, w }) => ({ y: tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, "same") }),
        { x: { shape: [1, 4, 4, channels] }, w: { shape: [3, 3, channels, channels] } },
        {},
        block === undefined ? {} : { block },
      ).graph.nodes.map(({ domain, op }) => domain ? `${domain}.${op}` : op);
    const blocked = ["ReorderInput", "Conv", "ReorderOutput"].map((op) =>
      `com.microsoft.nchwc.${op}`
    );
    const inBlocks = (ops: string[]): string[] => ops.filter((op) => op.startsWith("com."));
    assert.deepEqual(inBlocks(convolved(8, 8)), blocked);
    assert.deepEqual(inBlocks(convolved(16, 8)), blocked);
    assert.deepEqual(inBlocks(convolved(8)), []);
    assert.deepEqual(inBlocks(convolved(8, 16)), []);
    assert.deepEqual(inBlocks(convolved(12, 8)), []);
    const fixed = trace(
      ({ x, w }) => ({ y: tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, "same") }),
      { x: { shape: [1, 4, 4, 8] } },
      { w: weight },
      { block: 8 },
    ).graph.nodes.flatMap(({ domain, op }) => domain ? [`${domain}.${op}`] : []);
    assert.deepEqual(fixed, blocked);
    weight.dispose();
  });
});
