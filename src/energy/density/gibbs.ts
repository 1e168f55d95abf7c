/**
 * Gibbs distributions, p(x) ∝ e^(−E(x)/T): ratios without a partition function, and everything else by exact sums where there are
 * few states, or by quadrature on the line and in the plane.
 *
 * ```text
 *   p(x) = e^(−E(x)/T) / Z,   Z = ∫ e^(−E/T) dμ        ln p(x)/p(y) = (E(y) − E(x))/T        H[p] = ⟨E⟩/T + ln Z
 * ```
 *
 * Of all laws with the same mean energy it has the greatest entropy. A constant added to E changes nothing but Z. Texts that
 * write Z as the expectation of e^(−E) under p are wrong by the factor ∫ p² dμ: for E = x²/2 that is 0.70711 and Z is
 * 2.50663.
 *
 * Source: E. Jaynes, "Information theory and statistical mechanics" (1957), section 2.
 *
 * @module
 */

import { refusal } from "../../tensor/check/check.ts";
import { above, callable, decoded, is, needed, type Rules } from "../../tensor/check/decode.ts";
import type { Density } from "./density.ts";
import type { Counting, Measure } from "../measure.ts";
import { type Normalised, normalised } from "./link.ts";

/**
 * A law known up to its volume.
 *
 * @category Energies
 */
export interface Gibbs<X> {
  /** E(x), in the unit of the temperature; +∞ where x cannot be. */
  readonly energy: (x: X) => number;
  /** ∇E(x), of the form of x, where it is known. */
  readonly gradient?: (x: X) => X;
  /** T, above 0. Default: 1, so that energies are in nats. */
  readonly temperature?: number;
}

const rules: Rules<Gibbs<unknown>> = {
  energy: needed(callable),
  gradient: callable,
  temperature: is("finite and above 0", above(0)),
};

/** The law with its temperature, once it is known to be one. */
function checked<X>(action: string, law: Gibbs<X>): Gibbs<X> & { readonly temperature: number } {
  const { temperature = 1 } = decoded<Gibbs<X>, Gibbs<X>>(action, law, rules as Rules<Gibbs<X>>);
  return { ...law, temperature };
}

/**
 * ln p(x)/p(y) = (E(y) − E(x))/T: what a Metropolis step needs, without Z.
 *
 * @category Energies
 * @param law The law.
 * @param x A point.
 * @param y Another.
 * @returns Nats.
 * @throws {TypeError} If an option is unknown or the energy is no function.
 * @throws {RangeError} If the temperature is not above 0.
 *
 * @example
 * ```ts
 * import { logRatio } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.equal(logRatio({ energy: (x: number) => x ** 2 / 2, temperature: 2 }, 0, 4), 4);
 * ```
 */
export function logRatio<X>(law: Gibbs<X>, x: X, y: X): number {
  const { energy, temperature } = checked("compare two points", law);
  return (energy(y) - energy(x)) / temperature;
}

/**
 * ∇ ln p(x) = −∇E(x)/T, of which Z is no part.
 *
 * @category Energies
 * @param law The law, with its gradient.
 * @returns The score, of the form of x.
 * @throws {TypeError} If an option is unknown or the law has no gradient.
 * @throws {RangeError} If the temperature is not above 0.
 *
 * @example
 * ```ts
 * import { gibbsScore } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const score = gibbsScore({ energy: (x: number) => x ** 2 / 2, gradient: (x) => x, temperature: 2 });
 * assert.equal(score(3), -1.5);
 * ```
 */
export function gibbsScore<X>(law: Gibbs<X>): (x: X) => X {
  const { gradient, temperature } = checked("take a score", law);
  if (gradient === undefined) {
    throw new TypeError("Cannot take a score: gradient must be a function, got undefined");
  }
  const scaled = (value: unknown): unknown =>
    Array.isArray(value) ? value.map(scaled) : -(value as number) / temperature;
  return (x) => scaled(gradient(x)) as X;
}

/**
 * A Gibbs distribution with all that sums over its states give.
 *
 * @category Energies
 */
export interface ExactGibbs<X> extends Normalised<X> {
  /** ln Z, in nats. */
  readonly logZ: number;
  /** ⟨E⟩, in the unit of the energy. */
  readonly meanEnergy: number;
  /** F = −T·ln Z = ⟨E⟩ − T·H, in the unit of the energy. */
  readonly freeEnergy: number;
  /** ∇ ln p(x), where ∇E is known. */
  readonly gradient?: (x: X) => X;
  /** Probability of each value of a label, such as one spin of the state. */
  readonly marginal: <A>(label: (x: X) => A) => Map<A, number>;
}

/**
 * A Gibbs distribution normalised by enumeration or quadrature.
 *
 * @category Energies
 * @param law The law.
 * @param measure Its states: {@link configurations}, `counting` of a list, or a quadrature. Under a counting measure it can be
 * drawn from as well.
 * @returns Density, ln Z, expectations and marginals. Each expectation goes through all states again.
 * @throws {TypeError} If an option is unknown or the energy is no function.
 * @throws {RangeError} If the temperature is not above 0, or Z is 0, infinite or NaN.
 *
 * @example A Gaussian's volume, by quadrature
 * ```ts
 * import { exactGibbs, quadrature } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const { logZ } = exactGibbs({ energy: (x: number) => x ** 2 / 2 }, quadrature(-Infinity, Infinity));
 * assert.equal(Math.exp(logZ).toFixed(7), "2.5066283");
 * ```
 */
export function exactGibbs<X>(law: Gibbs<X>, measure: Counting<X>): ExactGibbs<X> & Density<X>;
/** The same over any measure, without draws. */
export function exactGibbs<X>(law: Gibbs<X>, measure: Measure<X>): ExactGibbs<X>;
export function exactGibbs<X>(law: Gibbs<X>, measure: Measure<X>): ExactGibbs<X> {
  const { energy, gradient, temperature } = checked("normalise a Gibbs distribution", law);
  const exact = normalised((x: X) => -energy(x) / temperature, measure), logZ = exact.logVolume;
  return {
    ...exact,
    logZ,
    meanEnergy: exact.expectation(energy),
    freeEnergy: -temperature * logZ,
    ...(gradient && { gradient: gibbsScore(law) }),
    marginal: (label) => {
      const sums = new Map<ReturnType<typeof label>, number>();
      for (const [x, weight] of measure.nodes()) {
        const name = label(x);
        sums.set(name, (sums.get(name) ?? 0) + weight * Math.exp(exact.logDensity(x)));
      }
      return sums;
    },
  };
}

/**
 * How many states a sum over all configurations has, qⁿ, and its natural logarithm where that is more than a double holds.
 *
 * @category Energies
 * @param values q, the number of values of a site.
 * @param sites n, the number of sites.
 * @returns The number of states and its logarithm.
 *
 * @example
 * ```ts
 * import { enumerationCost } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.equal(enumerationCost(2, 9).states, 512);
 * ```
 */
export function enumerationCost(
  values: number,
  sites: number,
): { readonly states: number; readonly logStates: number } {
  return { states: values ** sites, logStates: sites * Math.log(values) };
}

/**
 * Options of {@link configurations}.
 *
 * @category Energies
 */
export interface ConfigurationOptions {
  /** The greatest number of states that may be summed over. Default: 2²⁰, about a second for a cheap energy. */
  readonly limit?: number;
}

const configurationRules: Rules<ConfigurationOptions> = { limit: is("above 0", (n) => n > 0) };

/**
 * All configurations of n sites that each take one of q values, as a counting measure; made one at a time, the last site fastest.
 *
 * @category Energies
 * @param values The values of a site, such as [−1, 1].
 * @param sites n, at least 1.
 * @param options How many states are too many.
 * @returns The measure, of qⁿ points of length n.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If there are no values, no sites, or more states than the limit, with their number.
 *
 * @example Two coupled spins
 * ```ts
 * import { configurations, exactGibbs } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const pair = exactGibbs({ energy: ([a, b]) => -a! * b! }, configurations([-1, 1], 2));
 * assert.ok(Math.abs(pair.logZ - Math.log(4 * Math.cosh(1))) < 1e-15);
 * ```
 */
export function configurations(
  values: readonly number[],
  sites: number,
  options: ConfigurationOptions = {},
): Counting<readonly number[]> {
  const action = "enumerate configurations";
  const { limit = 2 ** 20 } = decoded(action, options, configurationRules);
  if (values.length === 0) throw refusal(action, "values must be at least one", 0);
  if (!Number.isSafeInteger(sites) || sites < 1) {
    throw refusal(action, "sites must be a whole number of at least 1", sites);
  }
  const q = values.length, { states } = enumerationCost(q, sites);
  if (!(states <= limit)) {
    throw new RangeError(
      `Cannot ${action}: states must be at most limit = ${limit}, got ${q}^${sites} = ${states}`,
    );
  }
  const nodes = function* () {
    const digits = Array<number>(sites).fill(0);
    for (let index = 0; index < states; index++) {
      yield [digits.map((digit) => values[digit]!), 1] as const;
      for (let i = sites - 1; i >= 0 && ++digits[i]! === q; i--) digits[i] = 0;
    }
  };
  return { size: states, nodes, isCounting: true };
}
