import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { compiler, compilerIn } from "../../../src/engine/compile/compile.ts";
import { trace } from "../../../src/engine/compile/trace.ts";
import { blocksOf } from "../../../src/engine/compile/trial.ts";
import { type BlockForm, blockForms } from "../../../src/engine/graph/record.ts";
import { decode } from "../../../src/engine/onnx/proto.ts";
import { onnx } from "../../../src/engine/open.ts";
import type { Executor } from "../../../src/engine/runtime/executor.ts";
import { start } from "../../../src/engine/runtime/session.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import type { Pure } from "../../../src/tensor/engine.ts";
import { live } from "../../measure.ts";

const executor = await start({ threads: 1 });
const early = await blocksOf(executor), chosen: string | undefined = tf.engine().backendName;
await useBackend("cpu");
const found = await blocksOf(executor);
after(() => executor.close());

/** The runtime's own operators in an encoded graph. */
const ownOf = (bytes: Uint8Array): string[] =>
  decode(bytes).operators.filter((operator) => operator.startsWith("com.microsoft.nchwc."));

/** An executor whose own operators are refused, or right no more, as a newer runtime's or another processor's. */
function spoilt({ refuses = () => false, changes = () => false }: {
  readonly refuses?: (operators: readonly string[]) => boolean;
  readonly changes?: (output: string) => boolean;
}): { readonly executor: Executor; readonly open: Set<number> } {
  const inBlocks = new Set<number>(), open = new Set<number>();
  const load: Executor["load"] = async (bytes) => {
    const operators = ownOf(bytes);
    if (refuses(operators)) throw new Error("no such operator");
    const loaded = await executor.load(bytes);
    open.add(loaded.id);
    if (operators.length > 0) inBlocks.add(loaded.id);
    return loaded;
  };
  const run: Executor["run"] = async (id, feeds, fetches) => {
    const answer = await executor.run(id, feeds, fetches);
    for (const [name, { data }] of Object.entries(answer)) {
      // One number of all, by a part of it.
      if (inBlocks.has(id) && changes(name)) (data as Float32Array)[data.length - 1]! *= 1.01;
    }
    return answer;
  };
  const free: Executor["free"] = async (ids, slots) => {
    await executor.free(ids, slots);
    ids.forEach((id) => open.delete(id));
  };
  return { executor: { ...executor, load, run, free }, open };
}

/** The operators by which forms are told apart; the others are convolutions too. */
const operators: Partial<Record<BlockForm, string>> = {
  "mean of channels": "GlobalAveragePool",
  "upsampling": "Upsample",
  "average pool": "AveragePool",
  "largest pool": "MaxPool",
};

/** A function that does all that there are forms for. */
const everything: Pure = ({ x, w }) => {
  const f = (x: tf.Tensor, w: tf.Tensor): tf.Tensor => {
    const y = tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, "same");
    const mean = tf.mean(y, [1, 2], true), centred = tf.sub(y, mean);
    const size = tf.sum(tf.square(centred), [1, 2], true), z = tf.mul(centred, tf.rsqrt(size));
    const large = tf.image.resizeNearestNeighbor(z as tf.Tensor4D, [8, 8]);
    return tf.maxPool(tf.avgPool(large, 2, 2, "same"), 2, 2, "same");
  };
  const loss = (w: tf.Tensor): tf.Scalar => tf.mean(tf.square(tf.add(f(x!, w), 0.3)));
  return { y: f(x!, w!), gradient: tf.grad(loss)(w!) };
};

const given = (): Record<string, tf.Tensor> => ({
  x: tf.tidy(() => tf.sin(tf.reshape(tf.range(0, 2 * 16 * 16), [2, 4, 4, 16]))),
  w: tf.tidy(() => tf.cos(tf.mul(tf.reshape(tf.range(0, 9 * 16 * 16), [3, 3, 16, 16]), 0.7))),
});

/** What an engine makes of it is what tfjs does. */
async function right(engine: ReturnType<typeof compiler>): Promise<void> {
  const inputs = given(), wanted = tf.tidy(() => everything(inputs));
  const compiled = engine.compile(everything), got = await compiled.run(inputs);
  await compiled.dispose();
  for (const [name, tensor] of Object.entries(wanted)) {
    const a = got[name]!.dataSync(), b = tensor.dataSync();
    const size = Math.max(...b.map(Math.abs));
    b.forEach((x, i) => assert.ok(Math.abs(a[i]! - x) <= 2e-5 * size, `${name}: ${a[i]}, ${x}`));
  }
  tf.dispose([inputs, wanted, got]);
}

describe("the trial of blocks", () => {
  it("finds blocks, with all their forms, on a processor that has them", () => {
    if (Deno.build.arch !== "x86_64") return;
    assert.ok([8, 16].includes(found.block), `${found.block}`);
    assert.deepEqual(found.without, []);
  });

  it("is the same before a backend of tfjs has been chosen, and chooses none", async () => {
    assert.deepEqual(early, found);
    assert.equal(chosen ?? undefined, undefined);
    await right(compilerIn(executor, { blocks: () => early }));
  });

  it("finds none where the runtime refuses convolutions in blocks, or makes other numbers of them", async () => {
    const refused = spoilt({ refuses: (own) => own.some((name) => name.endsWith(".Conv")) });
    assert.deepEqual(await blocksOf(refused.executor), { block: 0, without: [] });
    const changed = spoilt({ changes: (output) => output.startsWith("convolution:") });
    assert.deepEqual(await blocksOf(changed.executor), { block: 0, without: [] });
    for (const { executor, open } of [refused, changed]) {
      assert.equal(open.size, 0);
      await right(compiler(executor));
    }
  });

  for (const form of blockForms.filter((form) => form !== "convolution")) {
    it(`leaves out the ${form} where it is not right, and it alone`, async () => {
      if (found.block === 0) return;
      const operator = operators[form], alive = live();
      const changed = spoilt({ changes: (output) => output.startsWith(`${form}:`) });
      assert.deepEqual(await blocksOf(changed.executor), { block: found.block, without: [form] });
      assert.equal(live(), alive);
      if (operator !== undefined) {
        const refused = spoilt({
          refuses: (own) => own.some((name) => name.endsWith(`.${operator}`)),
        });
        assert.deepEqual(await blocksOf(refused.executor), { block: found.block, without: [form] });
        assert.equal(refused.open.size, 0);
        await right(compiler(refused.executor));
      }
      await right(compilerIn(executor, { blocks: () => ({ ...found, without: [form] }) }));
    });
  }

  it("is told in the engine's name, and not made where blocks are not wanted", async () => {
    const engine = await onnx({ threads: 1 }), plain = await onnx({ threads: 1, blocked: false });
    if (found.block > 0) assert.match(engine.name, new RegExp(`, blocks of ${found.block}$`));
    assert.doesNotMatch(plain.name, /blocks/);
    await right(engine);
    await right(plain);
    await Promise.all([engine.close(), plain.close()]);
  });

  it("is one of all forms: each that may be left out is written down otherwise", () => {
    const shapes = { x: { shape: [2, 4, 4, 16] }, w: { shape: [3, 3, 16, 16] } };
    const nodes = (without: BlockForm[]) => {
      const { graph } = trace(everything, shapes, {}, { block: 8, without });
      return graph.nodes.flatMap(({ domain, op, attributes }) =>
        domain === "" ? [] : [[op, attributes]]
      );
    };
    const all = nodes([]);
    for (const form of blockForms) assert.notDeepEqual(nodes([form]), all, form);
    assert.deepEqual(nodes(["convolution", "filter gradient"]), []);
  });
});
