/**
 * The fixtures of the golden numbers of diagnostics: chains made of uniforms by sums and quotients alone, which are the same to
 * the last bit in every engine and in NumPy.
 *
 * @module
 */

import { fold, key } from "../../src/tensor/key.ts";
import { uniforms } from "../../src/tensor/random.ts";

/** How the draws of chain c come about: e is near a standard normal, u and v are uniform. */
interface Noise {
  readonly e: number;
  readonly u: number;
  readonly v: number;
  readonly c: number;
}

type Next = (before: number, noise: Noise) => number;

const regressive = (phi: number): Next => (x, { e }) => phi * x + e;

/** The laws of motion by name; each chain starts at its noise. */
const kinds: Readonly<Record<string, Next>> = {
  independent: regressive(0),
  half: regressive(0.5),
  slow: regressive(0.95),
  alternating: regressive(-0.5),
  walk: regressive(1),
  heavy: (_, { u, v }) => (u - 0.5) / (v + 2 ** -25),
  dice: (x, { u, v }) => v < 0.5 ? x : Math.floor(6 * u) + 1,
  coin: (x, { u, v }) => v < 0.6 && (x === 1 || x === -1) ? x : u < 0.3 ? -1 : 1,
  elsewhere: (_, { e, c }) => e + 0.5 * c,
  wider: (_, { e, c }) => e * (1 + c),
};

/** Σ of twelve uniforms − 6: mean 0, variance 1. */
function noises(seed: number, c: number, count: number): Noise[] {
  const all = uniforms(fold(key(seed), c), 14 * count);
  return Array.from({ length: count }, (_, s) => {
    const [u, v, ...rest] = all.subarray(14 * s, 14 * s + 14);
    return { e: rest.reduce((a, b) => a + b, 0) - 6, u: u!, v: v!, c };
  });
}

/**
 * The draws of a case.
 *
 * @param name Its kind, number of chains and number of draws, such as `"half 4 1000"`.
 * @returns The chains.
 */
export function chainsNamed(name: string): Float64Array[] {
  const [kind, count, length] = name.split(" ");
  const next = kinds[kind!]!, seed = Object.keys(kinds).indexOf(kind!);
  return Array.from({ length: Number(count) }, (_, c) => {
    let x = 0;
    return Float64Array.from(noises(seed, c, Number(length)), (noise) => x = next(x, noise));
  });
}

/** The cases: each kind at two sizes, and one kind at many. */
export const chainCases: readonly string[] = [
  ...Object.keys(kinds).flatMap((kind) => [`${kind} 4 1000`, `${kind} 2 101`]),
  ...[
    "1 1000",
    "4 100",
    "2 100",
    "1 31",
    "4 12",
    "3 13",
    "2 14",
    "4 11",
    "2 5",
    "4 4",
    "1 4",
    "2 3",
  ]
    .map((size) => `half ${size}`),
];
