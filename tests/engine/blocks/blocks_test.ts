import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { nchwc } from "../../../src/engine/blocks/layout.ts";
import { settled } from "../../../src/engine/blocks/pseudo.ts";
import type { Constant, Node, Port } from "../../../src/engine/graph/graph.ts";
import { compilerIn } from "../../../src/engine/compile/compile.ts";
import { type Blocks, blocksOf, noBlocks } from "../../../src/engine/compile/trial.ts";
import { specsOf, trace } from "../../../src/engine/compile/trace.ts";
import type { HostTensor } from "../../../src/engine/runtime/executor.ts";
import { start } from "../../../src/engine/runtime/session.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import type { Pure, Tensors } from "../../../src/tensor/engine.ts";
import { chance } from "../cases.ts";
import { cases } from "./cases.ts";
import { emulated } from "./emulate.ts";

await useBackend("cpu");

const executor = await start({ threads: 1 }), blocks = await blocksOf(executor);
const engine = compilerIn(executor, { shapes: 1, blocks: () => blocks });
after(() => engine.close());

/** The gradient of a weighed sum of squares of all outputs, as a function. */
const gradient = (fn: Pure, by: readonly string[]): Pure => (all) => {
  const total = (...xs: tf.Tensor[]): tf.Scalar => {
    const given = Object.fromEntries(by.map((name, i) => [name, xs[i]!]));
    const sums = Object.values(fn({ ...all, ...given })).map((y, i) =>
      tf.mul(tf.mean(tf.square(y)), i + 0.5)
    );
    return tf.addN(sums) as tf.Scalar;
  };
  const grads = tf.grads(total)(by.map((name) => all[name]!));
  return Object.fromEntries(grads.map((grad, i) => [by[i]!, grad]));
};

/** What an engine or another stand-in makes of a function of tensors. */
type Runs = (fn: Pure, inputs: Tensors) => Promise<Record<string, tf.Tensor>>;

/** A function compiled and by tfjs: equal to a part of the largest number. */
async function compare(run: Runs, fn: Pure, inputs: Tensors, what: string): Promise<void> {
  const wanted = tf.tidy(() => fn(inputs)), got = await run(fn, inputs);
  for (const [name, tensor] of Object.entries(wanted)) {
    assert.deepEqual(got[name]!.shape, tensor.shape, `${what}: shape of ${name}`);
    const a = await got[name]!.data(), b = await tensor.data();
    const size = Math.max(...Array.from(b, Math.abs), 5e-2);
    b.forEach((x, i) => {
      const close = Math.abs(a[i]! - x) <= 2e-5 * size;
      assert.ok(close, `${what}: ${name}[${i}] is ${a[i]}, must be ${x} of ${size}`);
    });
  }
  tf.dispose([wanted, got]);
}

/** In the blocks of this machine. */
const here: Runs = async (fn, inputs) => {
  const compiled = engine.compile(fn), got = await compiled.run(inputs);
  await compiled.dispose();
  return got;
};

/** In blocks of any size, without the runtime's own operators. */
const inBlocksOf = (block: number): Runs => async (fn, inputs) => {
  const apart: Pure = (all) =>
    Object.fromEntries(Object.entries(fn(all)).map(([name, y]) => [`${name}.out`, y]));
  const { graph } = trace(apart, specsOf(inputs), {}, { block });
  const hosts = Object.entries(inputs).map(([name, x]): [string, HostTensor] => [
    name,
    { type: "float32", dims: x.shape, data: x.dataSync<"float32">() },
  ]);
  const answer = await emulated(executor, graph, { block, inputs: Object.fromEntries(hosts) });
  return Object.fromEntries(
    Object.entries(answer).map((
      [name, { data, dims }],
    ) => [
      name.slice(0, -".out".length),
      tf.tensor(data as Float32Array, [...dims]),
    ]),
  );
};

const draws = 6;

describe("images in blocks", () => {
  for (const [name, make] of Object.entries(cases)) {
    it(`${name}: values and gradients to second order are those of the cpu backend`, async () => {
      for (let seed = 0; seed < draws; seed++) {
        const { inputs, fn, by = [] } = make(chance(1000 * seed + name.length));
        const what = `seed ${seed}, ${Object.entries(inputs).map(([n, x]) => `${n} [${x.shape}]`)}`;
        const first = gradient(fn, by);
        await compare(here, fn, inputs, what);
        await compare(here, first, inputs, `gradient, ${what}`);
        if (seed % 3 === 1) {
          await compare(here, gradient(first, by), inputs, `second gradient, ${what}`);
        }
        tf.dispose(inputs);
      }
    });

    it(`${name}: in blocks of 4 and of 16, whatever the machine`, async () => {
      for (const [seed, block] of [[1, 4], [2, 16], [3, 16]] as const) {
        const { inputs, fn, by = [] } = make(chance(1000 * seed + name.length));
        const what = `blocks of ${block}, seed ${seed}`;
        await compare(inBlocksOf(block), fn, inputs, what);
        await compare(inBlocksOf(block), gradient(fn, by), inputs, `gradient, ${what}`);
        tf.dispose(inputs);
      }
    });
  }

  it("of no samples are of the shapes that the cpu backend gives", async () => {
    const x = tf.zeros([0, 4, 6, 16]), w = tf.ones([3, 3, 16, 16]);
    const conv = (x: tf.Tensor, w: tf.Tensor): tf.Tensor4D =>
      tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, "same");
    const functions: Readonly<Record<string, Pure>> = {
      convolution: ({ x, w }) => ({ y: conv(tf.relu(conv(x!, w!)), w!) }),
      sum: ({ x, w }) => ({ y: tf.sum(conv(x!, w!), [1, 2]) }),
      "mean and difference": ({ x, w }) => {
        const y = conv(x!, w!);
        return { y: conv(tf.sub(y, tf.mean(y, [1, 2], true)), w!) };
      },
      pool: ({ x, w }) => ({ y: tf.avgPool(conv(x!, w!), 2, 2, "valid") }),
    };
    for (const [name, fn] of Object.entries(functions)) await compare(here, fn, { x, w }, name);
    tf.dispose([x, w]);
  });

  it("are answered without a copy where nothing else is done with them", () => {
    const x = tf.zeros([2, 4, 6, 16]), w = tf.ones([3, 3, 16, 16]);
    const fn: Pure = ({ x, w }) => ({
      y: tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, "same"),
    });
    const { graph } = trace(fn, specsOf({ x, w }), {}, { block: 8 });
    assert.ok(graph.nodes.every(({ op }) => op !== "Identity"));
    tf.dispose([x, w]);
  });

  it("are answered without a copy, and nothing is reshaped twice", () => {
    const x = tf.zeros([2, 4, 6, 16]), w = tf.ones([3, 3, 16, 16]);
    const fn: Pure = ({ x, w }) => {
      const y = tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, "same");
      const z = tf.mul(tf.sub(y, tf.mean(y, [1, 2], true)), tf.max(y, [1, 2], true));
      return { given: x!, z, once: tf.neg(z), again: tf.neg(z) };
    };
    const { graph } = trace(fn, specsOf({ x, w }), {}, { block: 8 });
    const makers = new Map(graph.nodes.flatMap((node) => node.outputs.map((name) => [name, node])));
    const copies = graph.nodes.filter(({ op }) => op === "Identity");
    assert.deepEqual(copies.map(({ inputs, outputs }) => [inputs[0], outputs[0]]), [
      ["x", "given"],
      ["once", "again"],
    ]);
    const twice = graph.nodes.filter(({ op, inputs: [from = ""] }) =>
      op === "Reshape" && makers.get(from)?.op === "Reshape"
    );
    assert.deepEqual(twice, []);
    const read = new Set(graph.nodes.flatMap(({ inputs }) => inputs));
    const idle = graph.nodes.filter(({ outputs }) =>
      outputs.every((name) => !read.has(name) && !(name in fn({ x, w })))
    );
    assert.deepEqual(idle, []);
    tf.dispose([x, w]);
  });

  it("have the parts of a concatenation reshaped last made first, for a runtime that begins with the last written", () => {
    const x = tf.zeros([2, 4, 6, 16]), w = tf.ones([3, 3, 16, 16]);
    const fn: Pure = ({ x, w }) => {
      const a = tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, "same"), b = tf.square(a);
      const flat = (y: tf.Tensor): tf.Tensor1D => tf.reshape(y, [-1]);
      const parts = [flat(tf.max(a, 3)), flat(tf.max(tf.neg(b), 3)), flat(tf.max(b, 3))];
      return { parts: tf.concat1d(parts), some: tf.add(parts[1]!, 1) };
    };
    const { graph } = trace(fn, specsOf({ x, w }), {}, { block: 8 });
    const at = graph.nodes.findIndex(({ op }) => op === "Concat"), joined = graph.nodes[at]!;
    const makers = new Map(graph.nodes.flatMap((node) => node.outputs.map((name) => [name, node])));
    const place = (name: string): number => graph.nodes.indexOf(makers.get(name)!);
    const [first, shared, last] = joined.inputs as [string, string, string];
    assert.deepEqual([place(last), place(first)], [at - 2, at - 1]);
    assert.ok(place(shared) < at - 2);
    const sources = [first, shared, last].map((name) => place(makers.get(name)!.inputs[0]!));
    assert.deepEqual(sources, sources.toSorted((a, b) => a - b));
    tf.dispose([x, w]);
  });

  it("are carried out as written where filters are inputs, and rewritten where they never change", async () => {
    const told: (boolean | undefined)[] = [];
    const load: typeof executor.load = (bytes, options) => {
      told.push(options?.asWritten);
      return executor.load(bytes, options);
    };
    const x = tf.zeros([2, 4, 6, 32]), w = tf.ones([3, 3, 32, 32]);
    const fn: Pure = ({ x, w }) => ({
      y: tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, "same"),
    });
    const listening = (found: Blocks) =>
      compilerIn({ ...executor, load }, { shapes: 1, blocks: () => found });
    await listening(blocks).compile(fn).run({ x, w });
    await listening(blocks).compile(fn, { w }).run({ x });
    await listening(noBlocks).compile(fn).run({ x, w });
    assert.deepEqual(told, [blocks.block > 0, false, false]);
    const [few, less] = [tf.slice(x, 0, [2, 4, 6, 16]), tf.slice(w, 0, [3, 3, 16, 16])];
    await listening(blocks).compile(fn, { w: less }).run({ x: few });
    assert.equal(told.at(-1), false);
    tf.dispose([x, w, few, less]);
  });

  it("are tried as they are carried out afterwards", async () => {
    const told: (boolean | undefined)[] = [];
    const load: typeof executor.load = (bytes, options) => {
      told.push(options?.asWritten);
      return executor.load(bytes, options);
    };
    const found = await blocksOf({ ...executor, load });
    // The last but one in blocks, to be compared with one without.
    assert.deepEqual(told.slice(-2), [found.block > 0, false]);
  });

  it("leave alone a size that is taken over from what was there", () => {
    const sizes = (name: string, ...data: bigint[]): Constant => (
      { name, type: "int64", dims: [data.length], data: BigInt64Array.from(data) }
    );
    const node = (op: string, inputs: string[], output: string, domain = ""): Node => (
      { op, inputs, outputs: [output], attributes: {}, domain }
    );
    const port = (name: string): Port => ({ name, type: "float32", dims: [6, 1] });
    const { nodes } = settled({
      inputs: [{ ...port("x"), dims: [2, 3] }],
      constants: [sizes("flat", 6n), sizes("column", 0n, 1n)],
      nodes: [
        node("Reshape", ["x", "flat"], "row"),
        node("Reshape", ["row", "column"], "y"),
        node("ReorderOutput", ["y"], "z", nchwc),
      ],
      outputs: [port("y"), port("z")],
    });
    assert.deepEqual(nodes.map(({ inputs: [from] }) => from), ["x", "row", "y"]);
  });

  it("may stand beside what is empty", async () => {
    const x = tf.ones([2, 4, 6, 16]), w = tf.ones([3, 3, 16, 16]), none = tf.zeros([4, 0, 3]);
    const fn: Pure = ({ x, w, none }) => {
      const y = tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, "same");
      const turned = tf.transpose(tf.reshape(tf.neg(none!), [0, 2, 6]), [1, 0, 2]);
      const more = tf.add(tf.reshape(turned, [12, 0]), tf.zeros([0]));
      return { y: tf.sub(y, tf.mean(y, [1, 2], true)), more, sum: tf.sum(more) };
    };
    await compare(here, fn, { x, w, none }, "beside what is empty");
    tf.dispose([x, w, none]);
  });
});
