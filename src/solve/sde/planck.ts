/**
 * The law of a diffusion on a line or a ring, by the Fokker–Planck equation on cells: to check paths by, and to see a law change.
 *
 * ```text
 *   dx = f dt + √(2·D) dB         ∂p/∂t = −∂J/∂x      J = f·p − D·∂p/∂x
 *
 *   J between cells i and i+1, h apart = (D/h)·(B(−w)·p_i − B(w)·p_{i+1})      B(w) = w/(e^w − 1)      w = h·f/D
 * ```
 *
 * With w = (U_i − U_{i+1})/D of a potential, f = −U', no mass flows where p ∝ e^(−U/D): the law at rest is exact on every grid.
 * The masses of the cells are those of a jump process, so their sum stays what it is, none is ever below 0, and the relative
 * entropy to the law at rest never grows. Time goes in implicit steps of Euler, of first order, which keep all that at any length;
 * in space the order is two.
 *
 * Sources: D. Scharfetter, H. Gummel, "Large-signal analysis of a silicon Read diode oscillator" (1969), equation A11; J. Chang,
 * G. Cooper, "A practical difference scheme for Fokker–Planck equations" (1970).
 *
 * @module
 */

import { refusal, shown } from "../../tensor/check/check.ts";
import {
  callable,
  decoded,
  is,
  needed,
  oneOf,
  type Rules,
  wholeNumber,
} from "../../tensor/check/decode.ts";

/**
 * A diffusion on cells of one line.
 *
 * @category Differential equations
 */
export interface PlanckOptions {
  /** U(x), of the unit of D; or else a drift. */
  readonly potential?: (x: number) => number;
  /** f(x), in units of x per unit of time; or else a potential. */
  readonly drift?: (x: number) => number;
  /** D, above 0, in the square of x's unit per unit of time: half the square of the noise's g. */
  readonly diffusion: number;
  /** Where the line begins and ends. */
  readonly span: readonly [number, number];
  /** Number of cells, at least 2. */
  readonly cells: number;
  /** What is at the ends: a wall, or the other end. Default: `"wall"`. */
  readonly boundary?: "wall" | "ring";
}

const planckRules: Rules<PlanckOptions> = {
  potential: callable,
  drift: callable,
  diffusion: needed(is("a number above 0", (d) => Number.isFinite(d) && d > 0)),
  span: needed(is(
    "two finite numbers that rise",
    ([a, b]: PlanckOptions["span"]) => Number.isFinite(a) && Number.isFinite(b) && a < b,
  )),
  cells: needed(wholeNumber(2)),
  boundary: oneOf("wall", "ring"),
};

/**
 * A diffusion on cells.
 *
 * @category Differential equations
 */
export interface Planck {
  /** Middles of the cells, rising. */
  readonly x: Float64Array;
  /** Width of a cell. */
  readonly width: number;
  /** The law at rest as masses of cells, of sum 1; undefined of a drift, which may have one that is in motion. */
  readonly rest?: Float64Array;
  /**
   * The masses of cells after a time.
   *
   * @param masses At first: as many as there are cells, each at least 0. They stay as they are.
   * @param time How long, at least 0.
   * @param steps In how many steps.
   */
  readonly after: (masses: ArrayLike<number>, time: number, steps: number) => Float64Array;
}

/** w/(e^w − 1), 1 at 0. */
const bernoulli = (w: number): number => w === 0 ? 1 : w / Math.expm1(w);

/**
 * The Fokker–Planck equation of a diffusion on cells.
 *
 * @category Differential equations
 * @param options Potential or drift, diffusion, cells and ends.
 * @returns The cells, the law at rest and how masses move.
 * @throws {TypeError} If an option is not known, or there is not one of potential and drift.
 * @throws {RangeError} If an option is out of range, or a potential or drift not finite at a cell; when asked, if masses are not as
 *   many as cells, below 0 or not finite, or the time or the steps are out of range.
 *
 * @example Dye spreads on a ring, and none is lost
 * ```ts
 * import { fokkerPlanck } from "@tweedie/tweedie/solve";
 * import assert from "node:assert/strict";
 *
 * const ring = fokkerPlanck({ drift: () => 0, diffusion: 0.1, span: [0, 1], cells: 50, boundary: "ring" });
 * const drop = ring.x.map((x) => x < 0.02 ? 1 : 0), spread = ring.after(drop, 5, 200);
 * assert.ok(Math.abs(spread.reduce((a, b) => a + b) - 1) < 1e-12);
 * assert.ok(spread.every((mass) => Math.abs(mass - 1 / 50) < 1e-3));
 * ```
 */
export function fokkerPlanck(options: PlanckOptions): Planck {
  const action = "make a Fokker–Planck equation";
  const { potential, drift, diffusion, span, cells, boundary = "wall" } = decoded(
    action,
    options,
    planckRules,
  );
  if ((potential === undefined) === (drift === undefined)) {
    const got = potential ? "both" : "neither";
    throw new TypeError(`Cannot ${action}: there must be a potential or a drift, got ${got}`);
  }
  const [from, to] = span, width = (to - from) / cells, isRing = boundary === "ring";
  const x = Float64Array.from({ length: cells }, (_, i) => from + (i + 0.5) * width);
  const finite = (name: string, f: (x: number) => number, at: number): number => {
    const value = f(at);
    if (Number.isFinite(value)) return value;
    throw refusal(action, `${name} must be finite`, `${shown(value)} at ${at}`);
  };
  const u = potential && x.map((x) => finite("potential", potential, x));
  // What flows between a cell and the next; on a line nothing flows beyond the last.
  const pull = Float64Array.from(
    { length: isRing ? cells : cells - 1 },
    (_, i) =>
      u
        ? (u[i]! - u[(i + 1) % cells]!) / diffusion
        : finite("drift", drift!, from + (i + 1) * width) * width / diffusion,
  );
  const rate = diffusion / width ** 2;
  const up = pull.map((w) => rate * bernoulli(-w)), down = pull.map((w) => rate * bernoulli(w));
  return {
    x,
    width,
    ...(u && { rest: atRest(u, diffusion) }),
    after: (masses, time, steps) => {
      checkMasses(masses, cells);
      const asked = "follow a law";
      if (!(Number.isFinite(time) && time >= 0)) {
        throw refusal(asked, "time must be at least 0 and finite", time);
      }
      if (!Number.isSafeInteger(steps) || steps < 1) {
        throw refusal(asked, "steps must be a whole number of at least 1", steps);
      }
      let now: Float64Array = Float64Array.from(masses);
      const step = implicit(up, down, { dt: time / steps, cells, isRing });
      for (let i = 0; i < steps; i++) now = step(now);
      return now;
    },
  };
}

/** e^(−U/D)/Σ. */
function atRest(u: Float64Array, diffusion: number): Float64Array {
  const least = u.reduce((a, b) => Math.min(a, b)),
    weights = u.map((u) => Math.exp((least - u) / diffusion));
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / sum);
}

function checkMasses(masses: ArrayLike<number>, cells: number): void {
  const action = "follow a law";
  if (masses.length !== cells) {
    throw refusal(action, `masses must be one for each of ${cells} cells`, masses.length);
  }
  const wrong = Array.from(masses).find((mass) => !(Number.isFinite(mass) && mass >= 0));
  if (wrong !== undefined) throw refusal(action, "masses must be at least 0 and finite", wrong);
}

/**
 * One implicit step: solves (1 + dt·(out_i))·p_i − dt·up_{i−1}·p_{i−1} − dt·down_i·p_{i+1} = q_i.
 *
 * On a ring the corners are taken in as a change of rank 1 (J. Sherman, W. Morrison, 1950).
 */
function implicit(
  up: Float64Array,
  down: Float64Array,
  { dt, cells, isRing }: { readonly dt: number; readonly cells: number; readonly isRing: boolean },
): (masses: Float64Array) => Float64Array {
  const last = cells - 1, lower = new Float64Array(cells), upper = new Float64Array(cells);
  const middle = new Float64Array(cells).fill(1);
  up.forEach((rate, i) => {
    const next = (i + 1) % cells;
    middle[i]! += dt * rate;
    middle[next]! += dt * down[i]!;
    if (next > i) {
      lower[next] = -dt * rate;
      upper[i] = -dt * down[i]!;
    }
  });
  if (!isRing) return tridiagonal(lower, middle, upper);
  // Between the last cell and the first: p_0 gains up·p_last, p_last gains down·p_0.
  const [below, above] = [-dt * up[last]!, -dt * down[last]!], pivot = -middle[0]!;
  middle[last]! -= below * above / pivot;
  middle[0]! -= pivot;
  const solve = tridiagonal(lower, middle, upper);
  const corner = solve(
    Float64Array.from({ length: cells }, (_, i) => i === 0 ? pivot : i === last ? above : 0),
  );
  const along = (p: Float64Array): number => p[0]! + below * p[last]! / pivot;
  return (masses) => {
    const p = solve(masses), share = along(p) / (1 + along(corner));
    return p.map((mass, i) => mass - share * corner[i]!);
  };
}

/** Solves a tridiagonal system by elimination, which needs no pivots where the diagonal is dominant. */
function tridiagonal(
  lower: Float64Array,
  middle: Float64Array,
  upper: Float64Array,
): (right: Float64Array) => Float64Array {
  const count = middle.length, ratio = new Float64Array(count), pivot = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    pivot[i] = middle[i]! - (i > 0 ? lower[i]! * ratio[i - 1]! : 0);
    ratio[i] = upper[i]! / pivot[i]!;
  }
  return (right) => {
    const p = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      p[i] = (right[i]! - (i > 0 ? lower[i]! * p[i - 1]! : 0)) / pivot[i]!;
    }
    for (let i = count - 2; i >= 0; i--) p[i]! -= ratio[i]! * p[i + 1]!;
    return p;
  };
}
