/**
 * How the times of a batch share a law.
 *
 * @module
 */

/**
 * How the n times of a batch are spread over the law; see {@link timeSpreads}.
 *
 * @category Training
 */
export type TimeSpread = "systematic" | "stratified" | "antithetic" | "independent";

/** From n uniforms to the n shares of the law that a batch takes, each in [0, 1). */
export const spreads: Readonly<Record<TimeSpread, (u: Float32Array) => number[]>> = {
  systematic: (u) => Array.from(u, (_, i) => (u[0]! + i) / u.length),
  stratified: (u) => Array.from(u, (each, i) => (each + i) / u.length),
  antithetic: (u) => Array.from(u, (_, i) => i % 2 === 0 ? u[i]! : opposite(u[i - 1]!)),
  independent: (u) => Array.from(u),
};

/** 1 − u, but for a u of 0, which stays below 1. */
const opposite = (u: number): number => u === 0 ? 1 - 2 ** -24 : 1 - u;

/**
 * The spreads, by name. `systematic` and `stratified` put sample i into the i-th of n equal parts of the law.
 *
 * @category Training
 */
export const timeSpreads: readonly TimeSpread[] = Object.keys(spreads) as TimeSpread[];
