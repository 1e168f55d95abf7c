/**
 * RePaint: what is known and what is made come to agree by going back up and down again.
 *
 * Source: A. Lugmayr et al., "RePaint" (CVPR 2022), algorithm 1.
 *
 * @module
 */

import { diffuse } from "../../noise/forward.ts";
import {
  noise,
  rearranged,
  type Refinement,
  type Sampler,
  type State,
  type Transition,
} from "../../sample/path.ts";
import { checkOptions, mismatch } from "../../tensor/check/check.ts";
import { decoded, type Rules, wholeNumber } from "../../tensor/check/decode.ts";
import { owned, scope } from "../../tensor/scope.ts";
import { checkUnweighed } from "../moved.ts";

/**
 * Options of {@link repainted}.
 *
 * @category Refinements
 */
export interface RepaintOptions {
  /** Number of times that each stretch is gone down, at least 1; the source's r. Default: 10. */
  readonly jumps?: number;
  /** Number of transitions of a stretch, at least 1; the source's j. Default: 10. */
  readonly length?: number;
  /** What its noise is drawn for. Default: `"repaint"`. */
  readonly purpose?: string;
}

const repaintRules: Rules<RepaintOptions> = {
  jumps: wholeNumber(1),
  length: wholeNumber(1),
  purpose: true,
};

/** A state on its way down a stretch: where the stretch began. */
interface Returning extends State {
  /** Time to go back up to; absent outside a stretch. */
  readonly returnTo?: number;
}

/**
 * RePaint's jumps back in time: each stretch of transitions is gone down, noised up again to where it began, and gone down
 * again (Lugmayr et al. 2022, algorithm 1 and section 4.2):
 *
 * ```text
 *   stretch, up, stretch, up, … stretch      x_t ~ q(x_t | x_s) on the way up
 * ```
 *
 * So that what is known and what is made come to agree, pipe it after {@link inpainted} or {@link observed}. Any sampler
 * whose transitions can be made again from their own start will do: it repeats the transitions themselves. The time to go back
 * to rides in the state as `returnTo`, so that a run can be recorded and resumed in the middle; evaluations of a multistep
 * solver from below that time are dropped on the way up. The source's last stretch is not repeated where T is not reached by
 * whole stretches; here each is, also a shorter last one.
 *
 * @category Refinements
 * @param options Number of passes, length of a stretch.
 * @returns The refinement, with about `jumps` times the transitions.
 * @throws {RangeError} If an option is not a whole number of at least 1; while run, if a stretch ended above its start.
 *
 * @example Twice down each stretch
 * ```ts
 * import { ddpm, linear, repainted } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * let transitions = 0;
 * for await (const _ of repainted({ jumps: 2, length: 5 })(ddpm(linear(), { steps: 10 }))) transitions++;
 * assert.equal(transitions, 22);
 * ```
 */
export function repainted(options: RepaintOptions = {}): Refinement {
  checkOptions("repaint", options, repaintRules);
  decoded("use what is known", options, repaintRules);
  const { jumps = 10, length = 10, purpose = "repaint" } = options;
  return <S extends State>(source: Sampler<S>): Sampler<S> =>
    rearranged<S>(async function* (transitions) {
      for await (const stretch of stretches(transitions, length)) {
        const marked = stretch.map(marking);
        for (let pass = 1; pass < jumps; pass++) {
          yield* marked;
          yield back(purpose);
        }
        yield* stretch;
      }
    })(source);
}

/** Consecutive transitions, `length` at a time. */
async function* stretches<S extends State>(
  source: AsyncIterable<Transition<S>>,
  length: number,
): AsyncGenerator<Transition<S>[], void, undefined> {
  let stretch: Transition<S>[] = [];
  for await (const transition of source) {
    stretch.push(transition);
    if (stretch.length < length) continue;
    yield stretch;
    stretch = [];
  }
  if (stretch.length > 0) yield stretch;
}

/** The same transition, whose new state says where its stretch began. */
const marking = <S extends State>(transition: Transition<S>): Transition<S> => (env) => (state) =>
  scope(function* () {
    const next = yield* owned(transition(env)(state), state);
    return { ...next, returnTo: (state as Returning).returnTo ?? state.t };
  });

/** The transition up to where the stretch began: x_t ~ q(x_t | x_s). */
const back = <S extends State>(purpose: string): Transition<S> => (env) => (state) =>
  scope(() => {
    checkUnweighed(env, state);
    const { returnTo: t, ...rest } = state as S & Returning, { at } = env.model.schedule;
    if (t === undefined) throw mismatch("go back up", "state.returnTo must be a time", "none");
    const x = diffuse(state.x, at(state.t), at(t), noise(env, state, purpose));
    const history = state.history?.filter((evaluation) => evaluation.t > t);
    const next = { ...rest, x, t, step: state.step + 1, ...(history && { history }) };
    return next as unknown as S;
  });
