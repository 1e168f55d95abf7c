/**
 * The probability-flow ODE in steps of its own choice, whose error is controlled.
 *
 * Sources: E. Hairer, S. Nørsett, G. Wanner, "Solving ordinary differential equations I" (2nd ed. 1993), section II.4; Y. Song
 * et al., "Score-based generative modeling through SDEs" (ICLR 2021), section 4.3.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import {
  checkControl,
  controlled,
  errorNorm,
  firstLength,
  type Outset,
  type StepControl,
} from "../../solve/control.ts";
import type { VectorField } from "../../solve/rungekutta.ts";
import { type Tableau, tableaus } from "../../solve/tableau.ts";
import type { Schedule } from "../../noise/schedule/schedule.ts";
import { refusal } from "../../tensor/check/check.ts";
import { decoded, type Rules } from "../../tensor/check/decode.ts";
import { awaited, owned, scope, type Scoped } from "../../tensor/scope.ts";
import { type Env, type Sampler, sampler, type State } from "../path.ts";
import { named } from "../grid.ts";
import {
  type Chart,
  charts,
  field,
  isRegular,
  type Method,
  solved,
  timeAt,
  type Way,
} from "./chart.ts";

/**
 * A state of a sampler that chooses its steps.
 *
 * @category Samplers
 */
export interface AdaptiveState extends State {
  /** Length of the step to try next, in the chart's w; absent at the start. */
  readonly length?: number;
  /** Error of the step before, in units of what is allowed; absent at the start. */
  readonly previous?: number;
  /** Number of steps made in vain, so far. */
  readonly rejected?: number;
}

/**
 * Options of {@link adaptiveFlow}.
 *
 * @category Samplers
 */
export interface AdaptiveFlowOptions {
  /** A method with an error and an order. Default: `tableaus.dormandPrince`, RK45. */
  readonly tableau?: Tableau;
  /** The variables in which it works. Default: `"flow"`. */
  readonly chart?: Chart;
  /**
   * Tolerances and limits, in the unit of x; `firstStep` is in the chart's w. Default: absolute and relative 1e-5, a first step
   * found with one more evaluation, of 1/20 of the way at most.
   */
  readonly control?: StepControl;
  /**
   * Time to end at, with sigma > 0. Default: the span's least, or, where sigma is 0 there, 1 for a discrete schedule and a
   * thousandth of the span above it for a continuous one. One above the run's start leads up, from data to noise; the run is then over
   * when `t >= final`.
   */
  readonly final?: number;
}

const adaptiveRules: Rules<AdaptiveFlowOptions> = {
  tableau: true,
  chart: named(charts),
  control: true,
  final: true,
};

/**
 * The probability-flow ODE in steps of its own choice: the sampler goes on for ever, and the run stops when it has
 * {@link arrived}. The length of the next step rides in the state, so that a run can be forked, recorded and resumed.
 * At the final time a transition changes nothing. A step from alpha = 0 in a chart that is infinite there is made in chart `"flow"`.
 *
 * @category Samplers
 * @param schedule The schedule of the model.
 * @param options Method, chart, tolerances, final time.
 * @returns A sampler without end. Its transitions read numbers, and so answer later.
 * @throws {TypeError} If the method has no error or no order.
 * @throws {RangeError} If an option is outside its domain; while running, if steps become too many or too short, or start
 * at sigma = 0.
 *
 * @example
 * ```ts
 * import { adaptiveFlow, arrived, gaussian, key, prior, run, vp } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const schedule = vp(), model = gaussian(schedule, { mean: 2, variance: 0.01 });
 * const options = { model, key: key(0), until: arrived(1e-3) };
 * let last = 0;
 * for await (const { x } of run(prior([1, 1]), options)(adaptiveFlow(schedule, { final: 1e-3 }))) last = x.dataSync()[0]!;
 * assert.ok(Math.abs(last - 2) < 0.5);
 * ```
 */
export function adaptiveFlow(
  schedule: Schedule,
  options: AdaptiveFlowOptions = {},
): Sampler<AdaptiveState> {
  decoded("make an adaptive flow", options, adaptiveRules);
  const { tableau = tableaus.dormandPrince, chart = "flow", control = {} } = options;
  const final = options.final ?? leastNoisy(schedule), [least, most] = schedule.span;
  checkControl(tableau, control);
  checkFinal(schedule, chart, final);
  const flow: Controlled = { schedule, tableau, chart, control, final };
  // Times nearer to one another than this are one but for rounding.
  const slack = 1e-12 * (most - least);
  return sampler<AdaptiveState>(function* () {
    for (;;) {
      yield (env) => (state) =>
        Math.abs(state.t - final) <= slack
          ? { ...state, t: final }
          : scope(() => accepted(state, env, flow));
    }
  }, { schedule, times: [final, ...schedule.span] });
}

/** A flow, and how its steps are chosen. */
interface Controlled extends Method {
  readonly control: StepControl;
  readonly final: number;
}

/** One accepted step: of ever smaller lengths, the first whose error does. Its first slope serves all that are tried. */
function* accepted(state: AdaptiveState, env: Env, asked: Controlled): Scoped<AdaptiveState> {
  const isAway = !isRegularAt(asked, state.t), flow = isAway ? away(asked) : asked;
  const { schedule, chart, control, tableau, final } = flow, { most = 10_000 } = control;
  const { place, scale } = charts[chart], from = schedule.at(state.t), to = schedule.at(final);
  const f = field(env, { t: state.t, s: final, from, to }, flow);
  const y = tf.div(state.x, scale(from)), w = place(from), way = place(to) - w;
  const first = yield* owned(f(y, w)), { length: known, rejected = 0, ...before } = state;
  const length = known ??
    (yield* begun(f, { x: y, t: w, first, way }, { ...flow, unit: scale(from) }));
  const approach = { length, previous: before.previous, order: tableau.order! };
  const made = yield* controlled(approach, control, function* (wanted, vain) {
    env.signal?.throwIfAborted();
    const { h, ...leg } = reach(state.t, wanted, flow);
    if (leg.s === state.t || state.step + rejected + vain >= most) throw stuck(state, h, most);
    const { error: off, ...end } = yield* solved(env, leg, flow, { x: state.x, first });
    const error = yield* awaited(errorNorm(off!, [state.x, end.x], control));
    return { error, length: h, made: { ...end, t: leg.s } };
  });
  return {
    ...before,
    ...made.made,
    step: state.step + 1,
    rejected: rejected + made.rejected,
    previous: made.previous,
    // The length of a step in another chart tells nothing of the next.
    ...(!isAway && { length: made.length }),
  };
}

/** The length of the first step; what is allowed in x is allowed in y to its scale. */
function* begun(
  f: VectorField,
  outset: Outset,
  { control, tableau, unit }: Pick<Controlled, "control" | "tableau"> & { readonly unit: number },
): Scoped<number> {
  if (control.firstStep !== undefined) return control.firstStep;
  const { absolute = 1e-5 } = control, inChart = { ...control, absolute: absolute / unit };
  const method = { order: tableau.order!, control: inChart };
  const length = yield* awaited(firstLength(f, outset, method));
  // What one point says of the field does not reach across the modes of the data.
  return Math.min(length, Math.abs(outset.way) / 20);
}

/** The way of a step of a length, or what is left of it. */
function reach(t: number, length: number, flow: Controlled): Way & { readonly h: number } {
  const { schedule, chart, final } = flow, { place } = charts[chart];
  const from = schedule.at(t), start = place(from), way = place(schedule.at(final)) - start;
  const h = Math.min(length, Math.abs(way)), isLast = h >= Math.abs(way) * (1 - 1e-9);
  const s = isLast ? final : timeAt(schedule, chart, start + Math.sign(way) * h);
  return { t, s, from, to: schedule.at(s), h };
}

/** Whether the chart of a flow has no pole where a step starts; where sigma is 0 there is no noise to follow. */
function isRegularAt({ schedule, chart }: Controlled, t: number): boolean {
  const level = schedule.at(t);
  if (level.sigma > 0) return isRegular(chart, level, level);
  throw new RangeError(
    `Cannot go on with the flow: state.t must be a time with sigma above 0, got ${t}`,
  );
}

/** The same flow in the chart without poles, with a first step of its own. */
function away({ control: { firstStep: _, ...control }, ...flow }: Controlled): Controlled {
  return { ...flow, chart: "flow", control };
}

const stuck = ({ step, t }: State, h: number, most: number): RangeError =>
  new RangeError(
    `Cannot go on with the flow: steps must be fewer than ${most} and longer than the last digit of t, ` +
      `got h = ${h} after ${step} steps at t = ${t}`,
  );

/** Default of `final`. */
function leastNoisy({ span: [start, end], steps, at }: Schedule): number {
  if (at(start).sigma > 0) return start;
  return steps === undefined ? start + (end - start) / 1000 : 1;
}

/** Refuses an end without noise, or where the chart is infinite. */
function checkFinal(schedule: Schedule, chart: Chart, final: number): void {
  const action = "make an adaptive flow", level = schedule.at(final);
  if (!(level.sigma > 0)) throw refusal(action, "final must be a time with sigma above 0", final);
  if (Number.isFinite(charts[chart].place(level))) return;
  throw refusal(action, `final must be a time with alpha above 0 in chart "${chart}"`, final);
}

/**
 * Whether a run towards data has reached a time, to a billionth of it: what stops {@link adaptiveFlow}, as `until` of the run,
 * also where `final` is 0.1·3 and this is 0.3.
 *
 * @category Samplers
 * @param t The time.
 * @returns A test of states.
 * @throws {RangeError} If t is not a finite number.
 *
 * @example
 * ```ts
 * import { arrived } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual([2, 1, 0].map((t) => arrived(1)({ t })), [false, true, true]);
 * ```
 */
export function arrived(t: number): (state: { readonly t: number }) => boolean {
  if (!Number.isFinite(t)) throw refusal("make a test of arrival", "t must be a finite number", t);
  const least = t + 1e-9 * Math.abs(t);
  return (state) => state.t <= least;
}
