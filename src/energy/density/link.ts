/**
 * Densities from any function: a link g ≥ 0 and a normaliser.
 *
 * ```text
 *   p(x) = g(f(x)) / ∫ g(f) dμ        g(f) = f²,  e^f,  |f|,  ln(1 + e^f)
 * ```
 *
 * The volume is fixed: what one point gains in probability all others lose. A factor in front of g changes nothing.
 *
 * Source: the logarithms are taken as in N. Higham, "Accuracy and stability of numerical algorithms" (2nd ed. 2002),
 * section 1.14: ln(1 + e^f) = max(f, 0) + log1p(e^−|f|).
 *
 * @module
 */

import { checkNamed } from "../../tensor/check/check.ts";
import type { Key } from "../../tensor/key.ts";
import { chosen, type Density } from "./density.ts";
import { type Counting, integral, logIntegral, type Measure } from "../measure.ts";

/**
 * A link: from any number to one of at least 0.
 *
 * @category Densities
 */
export interface Link {
  /** g(f). */
  readonly g: (f: number) => number;
  /** ln g(f), which neither overflows nor loses the small values; −∞ where g is 0. */
  readonly logG: (f: number) => number;
}

/** ln(1 + e^f). */
const softplus = (f: number): number => Math.max(f, 0) + Math.log1p(Math.exp(-Math.abs(f)));

/**
 * The links by name.
 *
 * - `square`: f².
 * - `exponential`: e^f, so that f is the log-density up to a constant, an energy but for its sign.
 * - `absolute`: |f|.
 * - `softplus`: ln(1 + e^f).
 *
 * @category Densities
 * @example
 * ```ts
 * import { links } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.equal(links.square.g(-3), 9);
 * assert.equal(links.softplus.logG(-800), -800);
 * ```
 */
export const links: {
  readonly square: Link;
  readonly exponential: Link;
  readonly absolute: Link;
  readonly softplus: Link;
} = {
  square: { g: (f) => f ** 2, logG: (f) => 2 * Math.log(Math.abs(f)) },
  exponential: { g: Math.exp, logG: (f) => f },
  absolute: { g: Math.abs, logG: (f) => Math.log(Math.abs(f)) },
  // Far below 0, ln(1 + e^f) is e^f·(1 − e^f/2), whose logarithm does not underflow.
  softplus: {
    g: softplus,
    logG: (f) => f < -30 ? f + Math.log1p(-Math.exp(f) / 2) : Math.log(softplus(f)),
  },
};

/**
 * A density with its volume, and integrals under it by the measure that it was normalised with.
 *
 * @category Densities
 */
export interface Normalised<X> extends Pick<Density<X>, "logDensity"> {
  /** ln ∫ g dμ, in nats. */
  readonly logVolume: number;
  /** E[h(x)]. */
  readonly expectation: (h: (x: X) => number) => number;
  /** −∫ p ln p dμ, in nats. */
  readonly entropy: number;
}

/**
 * A density normalised by its sum or quadrature.
 *
 * @category Densities
 * @param logG ln g(x); −∞ where the density is 0.
 * @param measure What it is a density of. Under a counting measure points can be drawn too.
 * @returns The density.
 * @throws {RangeError} If the volume is 0, infinite or NaN.
 *
 * @example Two states, one twice as likely
 * ```ts
 * import { counting, normalised } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const { logVolume, expectation } = normalised((x: number) => Math.log(x), counting([1, 2]));
 * assert.ok(Math.abs(logVolume - Math.log(3)) < 1e-15);
 * assert.ok(Math.abs(expectation((x) => x) - 5 / 3) < 1e-15);
 * ```
 */
export function normalised<X>(
  logG: (x: X) => number,
  measure: Counting<X>,
): Normalised<X> & Density<X>;
/** The same over any measure, without draws. */
export function normalised<X>(logG: (x: X) => number, measure: Measure<X>): Normalised<X>;
export function normalised<X>(logG: (x: X) => number, measure: Measure<X>): Normalised<X> {
  const logVolume = logIntegral(measure, logG);
  if (!Number.isFinite(logVolume)) {
    throw new RangeError(
      `Cannot normalise a density: its volume must be finite and above 0, got exp(${logVolume})`,
    );
  }
  const logDensity = (x: X): number => logG(x) - logVolume;
  // Where the density is 0, what is integrated under it may be infinite.
  const expectation = (h: (x: X) => number): number =>
    integral(measure, (x) => {
      const p = Math.exp(logDensity(x));
      return p === 0 ? 0 : p * h(x);
    });
  const draw = (key: Key, count: number): X[] => {
    const points = Array.from(measure.nodes(), ([x]) => x);
    return chosen(points.map((x) => Math.exp(logDensity(x))), key, count).map((i) => points[i]!);
  };
  return {
    logVolume,
    logDensity,
    expectation,
    entropy: -expectation(logDensity),
    ...(measure.isCounting && { draw }),
  };
}

/**
 * The density g(f(x)) / ∫ g(f) dμ.
 *
 * @category Densities
 * @param f Any function of x.
 * @param link Name of the link, one of {@link links}.
 * @param measure What it is normalised over.
 * @returns The density.
 * @throws {RangeError} If there is no such link, or the volume is 0, infinite or NaN.
 *
 * @example
 * ```ts
 * import { counting, linked } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const p = linked((x: number) => x, "square", counting([-1, 2]));
 * assert.ok(Math.abs(p.logDensity(2) - Math.log(4 / 5)) < 1e-15);
 * ```
 */
export function linked<X>(
  f: (x: X) => number,
  link: keyof typeof links,
  measure: Counting<X>,
): Normalised<X> & Density<X>;
/** The same over any measure, without draws. */
export function linked<X>(
  f: (x: X) => number,
  link: keyof typeof links,
  measure: Measure<X>,
): Normalised<X>;
export function linked<X>(
  f: (x: X) => number,
  link: keyof typeof links,
  measure: Measure<X>,
): Normalised<X> {
  checkNamed("make a density", "link", link, links);
  const { logG } = links[link];
  return normalised((x) => logG(f(x)), measure);
}
