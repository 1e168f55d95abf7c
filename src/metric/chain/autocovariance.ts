/**
 * How draws of a chain depend on those before them.
 *
 * ```text
 *   cₖ = 1/S Σ_t (x_t − x̄)(x_{t+k} − x̄)      rₖ = cₖ/c₀
 * ```
 *
 * The sum has S − k terms and is divided by S, which makes a little less of long lags and keeps the sequence that of some
 * process. The first lags are summed as they stand; where more are asked for, all of them come from Fourier transforms: of two
 * chains at once, as the real and the imaginary part, since |X + iY|² has the sum of both autocovariances in the real part of
 * its transform.
 *
 * Sources: C. Geyer, "Practical Markov chain Monte Carlo" (1992), section 3.1, for the divisor; J. Cooley, J. Tukey, "An
 * algorithm for the machine calculation of complex Fourier series" (1965).
 *
 * @module
 */

import { notFinite, refusal } from "../../tensor/check/check.ts";
import { type Chains, chainsOf, isConstant, mean } from "./draws.ts";

/** So many lags are summed as they stand, which is faster than to transform. */
const few = 64;

/**
 * Autocovariances of a chain.
 *
 * @category Diagnostics
 * @param chain x, S numbers of one quantity in the order in which they were drawn.
 * @param lags The longest lag, a whole number of 0 to S − 1. Default: S − 1.
 * @returns cₖ, k = 0 … lags, in the square of x's unit. NaN where a draw is not finite.
 * @throws {TypeError} If the chain is no list of numbers.
 * @throws {RangeError} If it is empty, or `lags` is outside its domain.
 *
 * @example
 * ```ts
 * import { autocovariance } from "@tweedie/tweedie/metric";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual([...autocovariance([1, -1, 1, -1])], [1, -0.75, 0.5, -0.25]);
 * ```
 */
export function autocovariance(
  chain: ArrayLike<number>,
  lags: number = chain.length - 1,
): Float64Array {
  const action = "find autocovariances", chains = chainsOf(action, [chain]), { length } = chain;
  if (length === 0) throw refusal(action, "chain must be of at least one draw", 0);
  if (!Number.isSafeInteger(lags) || lags < 0 || lags >= length) {
    throw refusal(action, `lags must be a whole number of 0 to ${length - 1}`, lags);
  }
  const count = lags + 1;
  if (notFinite(chains[0]!) !== undefined) return new Float64Array(count).fill(NaN);
  const at = autocovariances(chains);
  return Float64Array.from({ length: count }, (_, lag) => at(lag));
}

/**
 * Autocorrelations of a chain.
 *
 * @category Diagnostics
 * @param chain x, S numbers of one quantity in the order in which they were drawn.
 * @param lags The longest lag, a whole number of 0 to S − 1. Default: S − 1.
 * @returns rₖ in [−1, 1], k = 0 … lags. NaN where a draw is not finite or all are one number.
 * @throws {TypeError} If the chain is no list of numbers.
 * @throws {RangeError} If it is empty, or `lags` is outside its domain.
 *
 * @example
 * ```ts
 * import { autocorrelation } from "@tweedie/tweedie/metric";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual([...autocorrelation([2, 4, 2, 4], 1)], [1, -0.75]);
 * ```
 */
export function autocorrelation(chain: ArrayLike<number>, lags?: number): Float64Array {
  const c = autocovariance(chain, lags);
  return isConstant([Float64Array.from(chain)]) ? c.fill(NaN) : c.map((value) => value / c[0]!);
}

/** The mean over the chains of their autocovariance at a lag, found as it is asked for. */
export function autocovariances(chains: Chains): (lag: number) => number {
  const length = chains[0]!.length, draws = chains.length * length;
  const centred = chains.map((chain) => {
    const centre = mean(chain);
    return chain.map((value) => value - centre);
  });
  let all: Float64Array | undefined;
  return (lag) => {
    if (lag < few) return products(centred, lag) / draws;
    all ??= transformedProducts(centred);
    return all[lag]! / draws;
  };
}

/** Σ y_t·y_{t+k} over t and the chains. */
function products(chains: Chains, lag: number): number {
  let sum = 0;
  for (const chain of chains) {
    for (let t = lag; t < chain.length; t++) sum += chain[t - lag]! * chain[t]!;
  }
  return sum;
}

/** The same at all lags, from the spectrum. Zeros behind a chain keep its end from meeting its start. */
export function transformedProducts(chains: Chains): Float64Array {
  const length = chains[0]!.length, size = 2 ** Math.ceil(Math.log2(2 * length));
  const power = new Float64Array(size), turn = rootsOfOne(size);
  for (let c = 0; c < chains.length; c += 2) {
    const re = new Float64Array(size), im = new Float64Array(size);
    re.set(chains[c]!);
    im.set(chains[c + 1] ?? []);
    transform(re, im, turn);
    for (let i = 0; i < size; i++) power[i]! += re[i]! ** 2 + im[i]! ** 2;
  }
  transform(power, new Float64Array(size), turn);
  return power.subarray(0, length).map((value) => value / size);
}

/** cos and sin of −2πk/n, k < n/2. */
interface Roots {
  readonly cos: Float64Array;
  readonly sin: Float64Array;
}

function rootsOfOne(n: number): Roots {
  const of = (wave: (angle: number) => number): Float64Array =>
    Float64Array.from({ length: n / 2 }, (_, k) => wave(-2 * Math.PI * k / n));
  return { cos: of(Math.cos), sin: of(Math.sin) };
}

/** The discrete Fourier transform in place, of a power of two of complex numbers. */
function transform(re: Float64Array, im: Float64Array, { cos, sin }: Roots): void {
  const n = re.length;
  // The numbers go where their index leads when its bits are read backwards.
  for (let i = 0, j = 0; i < n; i++) {
    if (i < j) {
      [re[i], re[j]] = [re[j]!, re[i]!];
      [im[i], im[j]] = [im[j]!, im[i]!];
    }
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j |= bit;
  }
  for (let half = 1; half < n; half *= 2) {
    const stride = n / (2 * half);
    for (let start = 0; start < n; start += 2 * half) {
      for (let k = 0; k < half; k++) {
        const a = start + k, b = a + half, c = cos[k * stride]!, s = sin[k * stride]!;
        const x = re[b]! * c - im[b]! * s, y = re[b]! * s + im[b]! * c;
        re[b] = re[a]! - x;
        im[b] = im[a]! - y;
        re[a]! += x;
        im[a]! += y;
      }
    }
  }
}
