import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { Matrix } from "ml-matrix";
import { key, run } from "../../../mod.ts";
import { blockGibbs, type BlockUpdate } from "../../../src/chain/move/gibbs.ts";
import { stationary } from "../../../src/energy/density/process.ts";
import { fold, normal, uniforms } from "../../../src/tensor/mod.ts";
import type { Tensor } from "../../../src/tensor/tensor.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { ended, zOf, zOfTransitions } from "./chains.ts";

/** Four spins in a ring, with fields: neighbours are of different colours. */
const coupling = 0.7, fields = [0.2, -0.3, 0.1, 0.5];
const spinsOf = (k: number): number[] => fields.map((_, i) => (k >> i) & 1 ? 1 : -1);
const indexOf = (s: readonly number[]): number =>
  s.reduce((sum, v, i) => sum + (v > 0 ? 2 ** i : 0), 0);
const energy = (s: readonly number[]): number =>
  -s.reduce((sum, v, i) => sum + coupling * v * s[(i + 1) % 4]! + fields[i]! * v, 0);
const up = (s: readonly number[], i: number): number => {
  const local = coupling * (s[(i + 1) % 4]! + s[(i + 3) % 4]!) + fields[i]!;
  return 1 / (1 + Math.exp(-2 * local));
};

const colours = [[0, 2], [1, 3]];
const blocks = colours.map((sites): BlockUpdate<readonly number[]> => (s, { key }) => {
  const draws = uniforms(key, 2);
  return s.map((v, i) => sites.includes(i) ? (draws[sites.indexOf(i)]! < up(s, i) ? 1 : -1) : v);
});

/** The transitions of a colour, from the conditionals. */
const matrices = colours.map((sites) =>
  new Matrix(Array.from({ length: 16 }, (_, a) =>
    Array.from({ length: 16 }, (_, b) => {
      const from = spinsOf(a), to = spinsOf(b);
      return from.reduce((p, v, i) => {
        if (!sites.includes(i)) return v === to[i] ? p : 0;
        return p * (to[i]! > 0 ? up(from, i) : 1 - up(from, i));
      }, 1);
    })))
);
const [even, odd] = matrices as [Matrix, Matrix];
const law = Array.from({ length: 16 }, (_, k) => Math.exp(-energy(spinsOf(k))));
const total = law.reduce((a, b) => a + b);

const walk = async (scan: "systematic" | "random"): Promise<number[]> => {
  const start = { x: [1, 1, 1, 1] as readonly number[], step: 0 };
  const states = run(start, { key: key(3) })(blockGibbs(blocks, { scan, steps: 20_000 }));
  return await Array.fromAsync(states as AsyncIterable<typeof start>, ({ x }) => indexOf(x));
};

describe("blockGibbs()", () => {
  before(() => useBackend("cpu"));

  it("each block is in detailed balance with the law, their product leaves it alone", () => {
    for (const p of [even, odd, Matrix.mul(Matrix.add(even, odd), 0.5)]) {
      for (let a = 0; a < 16; a++) {
        for (let b = 0; b < 16; b++) {
          assert.ok(Math.abs(law[a]! * p.get(a, b) - law[b]! * p.get(b, a)) / total < 1e-15);
        }
      }
    }
    const both = even.mmul(odd);
    stationary(both.to2DArray()).forEach((v, k) =>
      assert.ok(Math.abs(v - law[k]! / total) < 1e-14)
    );
    assert.ok(Math.abs(law[0]! * both.get(0, 5) - law[5]! * both.get(5, 0)) / total > 1e-4);
  });

  it("blockGibbs() has the transitions of its blocks in order, or of their mean", async () => {
    const inOrder = await walk("systematic"), byChance = await walk("random");
    const product = even.mmul(odd).to2DArray(),
      mean = Matrix.mul(Matrix.add(even, odd), 0.5).to2DArray();
    assert.ok(zOfTransitions(inOrder, product) < 4);
    assert.ok(zOfTransitions(inOrder, odd.mmul(even).to2DArray()) > 10);
    assert.ok(zOfTransitions(byChance, mean) < 4);
    assert.ok(zOfTransitions(byChance, even.to2DArray()) > 10);
  });

  it("blockGibbs() over tensors draws two correlated coordinates, each chain by itself", async () => {
    const given = (side: number): BlockUpdate<Tensor> => (x, { keys }) => {
      const [a, b] = tf.split(x, 2, 1) as [Tensor, Tensor], z = normal(keys(x.shape[0]!), [1]);
      const next = tf.add(tf.mul(side === 0 ? b : a, 0.8), tf.mul(z, 0.6));
      return tf.concat(side === 0 ? [next, b] : [a, next], 1);
    };
    const chain = blockGibbs<Tensor>([given(0), given(1)], { steps: 15 });
    const { x } = await ended({ x: tf.zeros([8000, 2]) as Tensor, step: 0 }, chain);
    const rows = x.arraySync() as number[][];
    assert.ok(Math.abs(zOf(rows.map(([a, b]) => a! * b!), 0.8)) < 4);
    assert.ok(Math.abs(zOf(rows.map(([a]) => a! ** 2), 1)) < 4);
    assert.ok(Math.abs(zOf(rows.map(([a], i) => a! * rows[(i + 1) % rows.length]![0]!), 0)) < 4);
  });

  it("blockGibbs() takes updates that answer later, and refuses what are none", async () => {
    const slow: BlockUpdate<number> = (x, { key }) => Promise.resolve(x + fold(key, 0).lo % 2);
    const { x } = await ended({ x: 0, step: 0 }, blockGibbs<number>([slow], { steps: 40 }));
    assert.ok(x > 5 && x < 35, `${x}`);
    assert.throws(
      () => blockGibbs([]),
      /^TypeError: Cannot make a Gibbs chain: blocks must be a list of functions, at least one, got \[\]$/,
    );
    assert.throws(() => blockGibbs([3] as never), /blocks must be a list of functions/);
    assert.throws(
      () => blockGibbs([slow], { scan: "no" } as never),
      /scan must be "systematic" or "random", got "no"/,
    );
  });
});
