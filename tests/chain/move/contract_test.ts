import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { after, type Chain, type ChainEnv, key, run } from "../../../mod.ts";
import type { ChainSampler } from "../../../src/chain/chain.ts";
import { retained } from "../../../src/chain/run.ts";
import type { MoveState } from "../../../src/chain/move/accept.ts";
import { blockGibbs, type BlockUpdate } from "../../../src/chain/move/gibbs.ts";
import { hmc } from "../../../src/chain/move/hmc.ts";
import { mala, ula } from "../../../src/chain/move/mala.ts";
import { metropolisHastings, randomWalk } from "../../../src/chain/move/metropolis.ts";
import { cooled } from "../../../src/chain/move/target.ts";
import { parallelTempering, replicated } from "../../../src/chain/move/tempering.ts";
import { tensorsIn } from "../../../src/tensor/scope.ts";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { normal } from "../../../src/tensor/mod.ts";
import type { Tensor } from "../../../src/tensor/tensor.ts";
import { live } from "../../measure.ts";
import { fromTwoModes, halfSquares, twoModes } from "./chains.ts";

type Any = ChainSampler<Chain, ChainEnv>;

/** Σ x²/2 doubled in each block: any update that draws for each chain will do. */
const blocks: BlockUpdate<Tensor>[] = [
  (x, { keys }) => tf.add(tf.mul(x, 0.6), tf.mul(normal(keys(x.shape[0]!), [1]), 0.8)),
  (x, { keys }) => tf.add(tf.mul(x, -0.8), tf.mul(normal(keys(x.shape[0]!), [1]), 0.6)),
];

const law = twoModes();
const steps = 12;
const alone = (x: Tensor): Chain => ({ x, step: 0 });

/** Each chain over samples of shape [1], and its start. */
const chains: Readonly<Record<string, readonly [chain: Any, start: (x: Tensor) => Chain]>> = {
  "randomWalk()": [randomWalk(law, { scale: 1, steps }) as Any, alone],
  "metropolisHastings()": [
    metropolisHastings(law, (x, { keys }) => ({ x: tf.add(x, normal(keys(), [1])) }), {
      steps,
    }) as Any,
    alone,
  ],
  "ula()": [ula(law, { stepSize: 0.1, steps }) as Any, alone],
  "mala()": [mala(law, { stepSize: 0.3, steps }) as Any, alone],
  "hmc()": [hmc(law, { stepSize: 0.4, leaps: 2, jitter: 0.2, steps }) as Any, alone],
  "hmc() in its warm-up": [
    hmc(law, { stepSize: 0.4, leaps: 2, warmup: 30, steps: 33 }) as Any,
    alone,
  ],
  "blockGibbs()": [blockGibbs(blocks, { steps }) as Any, alone],
  "blockGibbs() by chance": [blockGibbs(blocks, { scan: "random", steps }) as Any, alone],
  "parallelTempering()": [
    parallelTempering<MoveState>({
      betas: [1, 0.5, 0.1],
      energy: halfSquares,
      moves: (beta) => mala(cooled(law, beta), { stepSize: 0.3 }),
      steps,
    }) as Any,
    (x) => replicated(alone(x), 3),
  ],
};

/** All numbers of the tensors in each state of a run. */
const walk = async (chain: Any, start: Chain, first = 0): Promise<number[][][]> => {
  const seen: number[][][] = [];
  const states = run(start as never, { key: key(7), first } as never)(
    chain as never,
  ) as AsyncIterable<Chain>;
  for await (const state of states) seen.push(tensorsIn(state).map((each) => [...each.dataSync()]));
  return seen;
};

describe("chains of moves", () => {
  before(() => useBackend("cpu"));

  for (const [name, [chain, start]] of Object.entries(chains)) {
    it(`${name} gives four batches of one what it gives one batch of four`, async () => {
      const x = fromTwoModes(8, 4), whole = (await walk(chain, start(x))).at(-1)!;
      for (let i = 0; i < 4; i++) {
        const single = (await walk(chain, start(tf.slice(x, [i, 0], [1, 1])), i)).at(-1)!;
        assert.deepEqual(single, whole.map((all) => all.slice(i, i + 1)));
      }
      assert.notDeepEqual(
        (await walk(chain, start(tf.slice(x, [0, 0], [1, 1])), 1)).at(-1),
        whole.map((all) => all.slice(0, 1)),
      );
    });

    it(`${name} goes on from any state bit for bit`, async () => {
      const x = fromTwoModes(8, 3), whole = await walk(chain, start(x));
      let middle: Chain | undefined;
      const stop = Math.floor(whole.length / 2);
      const states = run(start(x) as never, { key: key(7) } as never)(
        chain as never,
      ) as AsyncIterable<Chain>;
      for await (const state of states) {
        if (state.step === stop) middle = retained(state);
        if (state.step === stop) break;
      }
      const rest = await walk(after(stop)(chain), middle!);
      assert.deepEqual(rest.slice(1), whole.slice(stop + 1));
      assert.ok(rest.length > 5);
      tf.dispose(tensorsIn(middle));
    });

    it(`${name} holds no more at its end than at its beginning, and frees all but the start`, async () => {
      const x = fromTwoModes(8, 3), outset = live(), counts: number[] = [];
      const states = run(start(x) as never, { key: key(7) } as never)(
        chain as never,
      ) as AsyncIterable<Chain>;
      for await (const state of states) counts.push(live() - tensorsIn(state).length);
      assert.deepEqual([...new Set(counts.slice(0))], [outset]);
      assert.equal(live(), outset);
    });
  }
});
