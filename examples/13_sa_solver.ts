// A stochastic multistep solver of your own, on the library's kit alone: along, step, asked, weights.
// Run: deno run examples/13_sa_solver.ts
import * as tw from "@tweedie/tweedie";
import { useBackend } from "@tweedie/tweedie/backend";
import * as tf from "@tensorflow/tfjs-core";

/**
 * SA-Solver, mode PEC (S. Xue et al., NeurIPS 2023, algorithm 1): each step corrects the one before, with the noise that that
 * drew, and predicts the next. b_j integrates the polynomial through the last x0hat; the corrector's goes through that at s too.
 *
 * ```text
 *   x_s = (sigma_s/sigma_t)·e^(−tau²h)·x_t + Σ_j b_j·x0hat_j + sigma_s·√(1 − e^(−2·tau²·h))·z
 * ```
 */
export function saSolver(schedule: tw.Schedule, grid: tw.GridOptions, { order = 2, tau = 1 } = {}) {
  const node = (t: number) => ({ t, ...schedule.at(t) }), rule = tw.exponential({ eta: tau });
  const transition = (leg: tw.Leg) =>
    tw.step(leg, function* (state, env) {
      const x0 = yield* tw.asked(env, "x0", state.x, leg.t), from = node(leg.t), to = node(leg.s);
      const said = [{ t: leg.t, x0 }, ...state.history ?? []], all = said.map(({ t }) => node(t));
      const sum = (x: tf.Tensor, b: readonly number[]) =>
        tf.addN([x, ...b.map((b, j) => tf.mul(said[j]!.x0, b))]);
      const x = all.length > 1 ? sum(state.x, corrections(rule, all)) : state.x;
      const past = all.slice(1, to.sigma > 0 ? order : 1);
      const { xt, predictions, noise } = rule({ from, to, past });
      const mean = sum(tf.mul(x, xt), predictions);
      const next = noise > 0 ? tf.add(mean, tf.mul(tw.noise(env, state, "sa"), noise)) : mean;
      return { x: next, x0, history: said.slice(0, order) };
    });
  return tw.along(tw.legs(schedule, tw.times(schedule, grid)), transition);
}

/** What the corrector's coefficients are more than the predictor's, for x0hat at t and before. */
function corrections(rule: tw.MultistepRule, [to, from, ...past]: readonly tw.Node[]) {
  const [first, last, ...others] = rule({ from: from!, to: to!, past: [to!, ...past] }).predictions;
  const predicted = rule({ from: from!, to: to!, past }).predictions;
  return [last!, ...[first!, ...others].map((b, j) => b - predicted[j]!)];
}

if (import.meta.main) {
  await useBackend("cpu");
  const schedule = tw.vp(), grid = { steps: 20, spacing: "logLinear", least: 1e-3 } as const;
  const model = tw.mixture(schedule, { means: [-1, 1], variances: [0.01, 0.01] });
  for (const tau of [0, 0.5, 1]) {
    const states = tw.run(tw.prior([2000, 1]), { model, key: tw.key(0) });
    const { x } = await tw.last(states(saSolver(schedule, grid, { tau })));
    const off = tf.sqrt(tf.mean(tf.square(tf.sub(tf.abs(x), 1)))).dataSync()[0]!;
    console.log(`tau ${tau}: deviation ${off.toFixed(3)} within a mode (exact: 0.100)`);
  }
}
