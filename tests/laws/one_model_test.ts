import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import {
  annealedLangevin,
  byEnergy,
  classifierFree,
  conditioned,
  corrected,
  ddim,
  ddpm,
  decorated,
  during,
  flow,
  gaussian,
  guided,
  inpainted,
  kept,
  key,
  last,
  type Level,
  likelihood,
  logLikelihood,
  mask,
  meanShifted,
  mixture,
  type Model,
  observed,
  prior,
  type Refinement,
  repainted,
  run,
  type Sampler,
  type State,
  tableaus,
  thresholded,
  vp,
  type Weighed,
} from "../../mod.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { everyRefinement, guides, type Known, type Part } from "./parts.ts";
import { live } from "../measure.ts";

const schedule = vp(), grid = { steps: 5, spacing: "logLinear" } as const, root = key(3);

/** The numbers of every state. */
async function numbers(sampler: Sampler, model: Model, count = 4): Promise<number[][]> {
  const all: number[][] = [];
  for await (const state of run(prior([count, 2]), { model, key: root })(sampler)) {
    const { x, logDensity } = state as Weighed;
    all.push([...x.dataSync(), ...logDensity?.dataSync() ?? []]);
  }
  return all;
}

describe("one run, one model", () => {
  const model = mixture(schedule, { means: [[-1, 0], [1, 0.5]], variances: [0.1, 0.2] });
  let known: Known;
  before(async () => {
    await useBackend("cpu");
    known = { count: 4, mask: tf.tensor([[1, 0]]), values: tf.tensor([[0.4, 0]]) };
  });

  const of = (changes: Part["changes"]) =>
    everyRefinement.filter(([, part]) => part.changes === changes);

  for (const [name, refine] of of("model")) {
    it(`${name} gives the same numbers before and after each refinement of the state, bit for bit`, async () => {
      let compared = 0;
      for (const [other, moved] of of("state")) {
        const first = live(), ours = refine.make(known), theirs = moved.make(known);
        const orders = [theirs(ours(ddim(schedule, grid))), ours(theirs(ddim(schedule, grid)))];
        const weighs = other === "likelihood";
        if (weighs && !refine.dense) {
          for (const sampler of orders) await assert.rejects(() => numbers(sampler, model));
        } else {
          const [inner, outer] = [
            await numbers(orders[0]!, model),
            await numbers(orders[1]!, model),
          ];
          assert.deepEqual(outer, inner, other);
          assert.ok(inner.length >= 6 && inner.flat().every(Number.isFinite), other);
        }
        assert.equal(live(), first, other);
        compared++;
      }
      assert.ok(compared >= 10);
    });
  }

  it("each pair of refinements of the model runs in both orders; two conditions are refused", async () => {
    for (const [name, ours] of of("model")) {
      for (const [other, theirs] of of("model")) {
        const sampler = theirs.make(known)(ours.make(known)(ddim(schedule, grid)));
        const at = (): Promise<number[][]> => numbers(sampler, model);
        if (ours.needs && theirs.needs) {
          await assert.rejects(at, /model must have `given`, got one that is under a condition/);
        } else {
          assert.ok((await at()).flat().every(Number.isFinite), `${name}, ${other}`);
        }
      }
    }
  });

  it("each guide passes a condition on to the model that it changes", () => {
    for (const [name, { needs, make }] of Object.entries(guides)) {
      const guide = make(known)(model);
      assert.equal(guide.given !== undefined, needs !== true, name);
      if (guide.given) assert.ok(guide.given([0, 1, 0, 1]).given, `${name}: of an oracle, again`);
      assert.equal(guide.clipped, undefined);
    }
  });

  it("a change of the model that a refinement leaves out is passed on: a clip under a guide, a guide under a clip", async () => {
    const large = byEnergy((x) => tf.mul(tf.sum(x, 1), -20));
    const ends = async (sampler: Sampler): Promise<number> =>
      Math.max(...(await numbers(sampler, model)).at(-1)!.map(Math.abs));
    // What is written first is nearest to the sampler and has the last word.
    assert.ok(await ends(pipe(ddim(schedule, grid), thresholded(), guided(large))) <= 1);
    assert.ok(await ends(pipe(ddim(schedule, grid), guided(large), thresholded())) > 1);
  });

  it("decorated() keeps the schedule of an object of a class, and a condition's models are decorated too", async () => {
    class Halves {
      readonly inner: Model = model;
      get schedule() {
        return this.inner.schedule;
      }
      predict(x: tf.Tensor, t: number) {
        return this.inner.predict(x, t);
      }
      given(condition: readonly (number | null)[]): Model {
        return this.inner.given!(condition);
      }
    }
    const guide = guided(byEnergy((x) => tf.sum(x, 1)));
    const sampler = guide(conditioned([0, 1, 0, 1])(ddim(schedule, grid)));
    assert.deepEqual(await numbers(sampler, new Halves()), await numbers(sampler, model));
    assert.equal(decorated(new Halves(), () => ({ clipped: true })).given!([0]).clipped, true);
  });
});

describe("one run, one model: closed forms", () => {
  before(() => useBackend("cpu"));

  it("a corrector after conditioned() stirs with the conditional score: P(x < 0) of N(1, .16) is .0062", async () => {
    const model = mixture(schedule, { means: [-1, 1], variances: [0.16, 0.16] }), count = 20_000;
    const grid = { steps: 30, spacing: "logLinear", final: 1e-3 } as const;
    const below = async (refine: Refinement): Promise<number> => {
      const states = run(prior([count, 1]), { model, key: root })(refine(ddim(schedule, grid)));
      const { x } = await last(states);
      return x.dataSync().filter((value) => value < 0).length / count;
    };
    const stirred = corrected(annealedLangevin({ ratio: 0.3 }), { final: true });
    const labels = Array(count).fill(1), conditional = conditioned(labels);
    const after = await below((sampler) => stirred(conditional(sampler)));
    assert.equal(await below((sampler) => conditional(stirred(sampler))), after);
    // Φ(−2.5); the step's own bias is within the bound.
    assert.ok(Math.abs(after - 0.00621) < 0.003, `${after}`);
    // Stirred with the score of all data, samples cross over.
    const bare = corrected(annealedLangevin({ ratio: 0.3 }), { final: true, model });
    const mixed = await below((sampler) => bare(conditional(sampler)));
    assert.ok(mixed > 0.1, `${mixed}`);
  });

  it("a density after conditioned() is that of the class: ln N(1.862; 2, .01), by likelihood() and by logLikelihood()", async () => {
    const model = mixture(schedule, { means: [-2, 2], variances: [0.25, 0.01] });
    const exact = (x: number): number => -((x - 2) ** 2) / 0.02 - Math.log(2 * Math.PI * 0.01) / 2;
    const grid = { steps: 400, spacing: "logLinear", final: 1e-5, tableau: tableaus.rk4 } as const;
    const conditional = conditioned([1]), down = flow(schedule, grid);
    for (
      const sampler of [likelihood()(conditional(down)), conditional(likelihood()(down) as never)]
    ) {
      const ends: Weighed[] = [];
      const states = run<Weighed>(prior([1, 1]), { model, key: root })(sampler as Sampler<Weighed>);
      for await (const state of kept()(states)) ends.push(state);
      const { alpha, sigma } = schedule.at(1), [first, end] = [ends[0]!, ends.at(-1)!];
      // The run starts from the prior's density, which is not quite that of the class at t = 1.
      const x = first.x.dataSync()[0]!, v = alpha ** 2 * 0.01 + sigma ** 2;
      const gap = (x - 2 * alpha) ** 2 / (2 * v) - x ** 2 / (2 * sigma ** 2) +
        Math.log(v / sigma ** 2) / 2;
      const found = end.logDensity!.dataSync()[0]!, wanted = exact(end.x.dataSync()[0]!) + gap;
      assert.ok(Math.abs(found - wanted) < 0.01, `${found} for ${wanted}`);
    }
    const up = flow(schedule, { ...grid, upward: true }), x0 = tf.tensor([[1.862]]);
    const top = (x: tf.Tensor, { alpha, sigma }: Level): tf.Tensor =>
      tf.tidy(() => {
        const v = alpha ** 2 * 0.01 + sigma ** 2, gap = tf.squeeze(tf.sub(x, 2 * alpha), [1]);
        return tf.sub(tf.mul(tf.square(gap), -0.5 / v), Math.log(2 * Math.PI * v) / 2);
      });
    const options = { sampler: conditional(up), model, key: root, prior: top };
    const [value] = await logLikelihood(x0, options);
    assert.ok(Math.abs(value! - exact(1.862)) < 0.01, `${value} for ${exact(1.862)}`);
    x0.dispose();
  });

  it("a density under PiGDM is that of the posterior, of operators with a gram and by conjugate gradients", async () => {
    const model = gaussian(schedule, { mean: 0.8, variance: 0.25 });
    // Half way between N(.8, .25) and y = 1.5 with a deviation of .5: N(1.15, .125).
    const exact = (x: number): number =>
      -((x - 1.15) ** 2) / 0.25 - Math.log(2 * Math.PI * 0.125) / 2;
    const operators = [mask(tf.tensor([[1]])), { apply: tf.clone, adjoint: tf.clone }];
    const y = tf.tensor([[1.5]]), points = [0.8, 1.15, 1.5], x0 = tf.tensor(points, [3, 1]);
    for (const operator of operators) {
      const grid = { steps: 300, spacing: "logLinear", final: 1e-3, upward: true } as const;
      const sampler = observed(operator, y, { std: 0.5, variance: 0.25 })(
        flow(schedule, { ...grid, tableau: tableaus.rk4 }),
      );
      const found = await logLikelihood(x0, { sampler, model, key: root });
      points.forEach((x, i) => {
        assert.ok(Math.abs(found[i]! - exact(x)) < 0.01, `${found[i]} for ${exact(x)}`);
      });
    }
    tf.dispose([y, x0]);
  });

  it("during() around an energy, under classifier-free guidance, takes a condition", async () => {
    const model = mixture(schedule, { means: [[-1, 0], [1, 0]], variances: [0.1, 0.1] });
    const energy = during(byEnergy((x) => tf.sum(x, 1)), { sigma: [0.1, 10] });
    const sampler = guided(classifierFree([0, 1, 0, 1], { scale: 2 }))(
      guided(energy)(ddim(schedule, grid)),
    );
    assert.ok((await numbers(sampler, model)).flat().every(Number.isFinite));
  });
});

describe("what has no density is refused", () => {
  const model = mixture(schedule, { means: [[-1, 0], [1, 0.5]], variances: [0.1, 0.2] });
  let known: Known;
  before(async () => {
    await useBackend("cpu");
    known = { count: 4, mask: tf.tensor([[1, 0]]), values: tf.tensor([[0.4, 0]]) };
  });
  const weighed = (options = {}) => (source: Sampler) =>
    likelihood(options)(source) as unknown as Sampler;

  for (const rule of ["trapezoid", "jacobian"] as const) {
    it(`a step that draws noise, under rule "${rule}"`, async () => {
      for (const eta of [0.5, 1]) {
        const before = live();
        await assert.rejects(
          () => numbers(weighed({ rule })(ddim(schedule, { ...grid, eta })), model),
          /^TypeError: Cannot carry a density: the sampler must be deterministic, got a step that draws noise/,
        );
        assert.equal(live(), before);
      }
      await assert.rejects(() => numbers(weighed({ rule })(ddpm(schedule, grid)), model));
      assert.equal((await numbers(weighed({ rule })(ddim(schedule, grid)), model)).length, 6);
    });

    it(`clipped predictions, under rule "${rule}", wherever the threshold stands`, async () => {
      for (const kind of ["clip", "dynamic"] as const) {
        for (
          const sampler of [
            weighed({ rule })(thresholded({ kind })(ddim(schedule, grid))),
            thresholded({ kind })(weighed({ rule })(ddim(schedule, grid))),
          ]
        ) {
          await assert.rejects(() => numbers(sampler, model), /predictions must not be clipped/);
        }
      }
    });
  }

  it("what moves x besides the flow, before likelihood() and after it", async () => {
    const moves: Readonly<Record<string, Refinement>> = {
      corrector: corrected(annealedLangevin()),
      before: corrected(annealedLangevin(), { order: "before" }),
      inpainting: inpainted(known.mask, known.values),
      replacement: observed(mask(known.mask), known.values, { method: "replacement" }),
      dps: observed(mask(known.mask), known.values, { method: "dps" }),
      shift: meanShifted((x) => tf.sum(x, 1)),
      jumps: repainted({ jumps: 2, length: 2 }),
    };
    for (const [name, moved] of Object.entries(moves)) {
      for (
        const sampler of [
          weighed()(moved(ddim(schedule, grid))),
          moved(weighed()(ddim(schedule, grid))),
        ]
      ) {
        const before = live();
        await assert.rejects(() => numbers(sampler, model), {
          name: "TypeError",
          message: /^Cannot (carry a density|move x): /,
        }, name);
        assert.equal(live(), before, name);
      }
    }
  });

  it("a state that brings a density, in a run that does not carry it on", async () => {
    const states = run<Weighed>(prior([2, 2]), { model, key: root })(
      likelihood()(ddim(schedule, grid)),
    );
    for await (const state of states) {
      if (state.step !== 2) continue;
      await assert.rejects(
        async () => {
          for await (
            const _ of run<State>(state, { model, key: root })(ddim(schedule, {
              times: [state.t, 0],
            }))
          );
        },
        /state.logDensity must be absent without likelihood\(\)/,
      );
    }
  });

  it("a way that does not lead from data to noise, and a prior of another shape", async () => {
    const x0 = tf.tensor([[0.2, 0.1]]),
      of = (sampler: Sampler, more = {}) =>
        logLikelihood(x0, { sampler, model, key: root, ...more });
    const before = live(), up = { ...grid, final: 1e-3, upward: true } as const;
    await assert.rejects(
      () => of(flow(schedule, grid), { t: 1 }),
      /sampler must lead from data to noise/,
    );
    await assert.rejects(
      () => of(flow(schedule, { ...up, from: 0.5 })),
      /sampler must end at t = 1, where the prior is, or prior be given, got 0.5/,
    );
    await assert.rejects(
      () => of(flow(schedule, up), { until: ({ step }: State) => step > 1 }),
      /sampler must end at t = 1/,
    );
    await assert.rejects(
      () => of(flow(schedule, up), { prior: () => tf.scalar(0) }),
      /prior must give one number for each of 1 samples, got "?\[\]/,
    );
    assert.equal(live(), before);
    x0.dispose();
  });

  for (const rule of ["trapezoid", "jacobian"] as const) {
    it(`a model that a gradient does not go through, under rule "${rule}"`, async () => {
      const deaf: Model = {
        schedule,
        predict: (x, t) => ({
          kind: "x0",
          value: tf.tensor([...x.dataSync()].map((v) => v * schedule.at(t).alpha), x.shape),
        }),
      };
      const before = live();
      await assert.rejects(
        () => numbers(weighed({ rule })(ddim(schedule, grid)), deaf),
        /the model must make its prediction of x in operations that have a gradient/,
      );
      assert.equal(live(), before);
    });
  }

  it("but the volume of a deterministic map has one, whatever moves x", async () => {
    const shift = meanShifted((x) => tf.sum(x, 1), { scale: 0.1 });
    const sampler = weighed({ rule: "jacobian" })(shift(ddim(schedule, grid)));
    assert.ok((await numbers(sampler, model)).slice(1).flat().every(Number.isFinite));
  });
});
