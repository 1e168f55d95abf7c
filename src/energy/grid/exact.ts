/**
 * Small lattices exactly: sums over all states, transfer matrices of strips, and the torus in closed form.
 *
 * ```text
 *   Z = Σ_x e^(−beta·E(x))          q^n terms, so a handful of sites
 *   Z = Tr T^M                      T = D^(1/2)·V·D^(1/2) between two rows of L spins: 2^L numbers a row
 *       D = e^(beta·(J·Σ s_i·s_(i+1) + h·Σ s_i))        V = Π_i e^(beta·J·s_i·s'_i)
 *   M → ∞: ln Z/M → ln λ, T's greatest eigenvalue
 * ```
 *
 * For J > 0 and h = 0 on a torus of M × L sites, with K = beta·J (Kaufman's equation 38):
 *
 * ```text
 *   2·Z = (2·sinh 2K)^(M·L/2)·(Π 2·cosh(M·γ_(2r+1)/2) + Π 2·sinh(M·γ_(2r+1)/2) + Π 2·cosh(M·γ_2r/2) + Π 2·sinh(M·γ_2r/2))
 *   cosh γ_k = cosh 2K·coth 2K − cos(π·k/L)       γ_0 = 2K + ln tanh K, below 0 in the disordered phase       r = 0 ... L − 1
 * ```
 *
 * Energies are −∂ ln Z/∂ beta, taken along with the values. Sources: L. Onsager, "Crystal statistics I" (1944); B. Kaufman,
 * "Crystal statistics II" (1949), equations 36 to 38; A. Ferdinand, M. Fisher, "Bounded and inhomogeneous Ising models I"
 * (1969), equations 2.3 to 2.9.
 *
 * @module
 */

import { refusal } from "../../tensor/check/check.ts";
import {
  above,
  atLeast,
  decoded,
  is,
  needed,
  type Rules,
  wholeNumber,
} from "../../tensor/check/decode.ts";
import type { Ising } from "./ising.ts";
import { asPairwise, type Pairwise, pairwiseEnergy, siteEnergy } from "./potts.ts";

/**
 * What a sum over all states is told.
 *
 * @category Grids
 */
export interface EnumerateOptions {
  /** The inverse temperature; beta·E is in nats. Default: 1. */
  readonly beta?: number;
  /** The most states to go through; another second for each few millions. Default: 2²⁰. */
  readonly most?: number;
}

/**
 * A small model's law, exactly.
 *
 * @category Grids
 */
export interface Enumerated {
  /** How many states there are, q^n. */
  readonly states: number;
  /** ln Z, in nats. */
  readonly logZ: number;
  /** E[E(x)], of the whole lattice. */
  readonly energy: number;
  /** p(x_i = a) at i·q + a; of spins, a = 0 is −1 and a = 1 is +1. */
  readonly marginals: Float64Array;
  /** A state of least energy: levels, or spins of ±1 in an Ising model. */
  readonly mode: Int8Array;
  /** The least energy. */
  readonly least: number;
}

const summing = "sum over all states";

/**
 * ln Z, marginals, mean energy and mode of a small model, by going through all q^n states.
 *
 * @category Grids
 * @param model An Ising model or a field of levels.
 * @param options The inverse temperature, and how much work is taken on.
 * @returns The sums.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If there are more states than `most`; with their number.
 *
 * @example Two spins
 * ```ts
 * import { enumerated, ising, lattice } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const { logZ, states } = enumerated(ising(lattice(1, 2)));
 * assert.equal(states, 4);
 * assert.ok(Math.abs(logZ - Math.log(4 * Math.cosh(1))) < 1e-14);
 * ```
 */
export function enumerated(model: Ising | Pairwise, options: EnumerateOptions = {}): Enumerated {
  const { beta = 1, most = 2 ** 20 } = decoded<EnumerateOptions, EnumerateOptions>(
    summing,
    options,
    {
      beta: is("a number of at least 0", atLeast(0)),
      most: wholeNumber(1),
    },
  );
  const field = model.kind === "ising" ? asPairwise(model) : model;
  const { levels, lattice: { sites } } = field, states = levels ** sites;
  if (states > most) {
    const wanted = `the model must have at most ${most} states`;
    throw refusal(summing, wanted, `${levels}^${sites} = ${states}`);
  }
  let least = Infinity, mode = new Int8Array(sites);
  everyState(field, (x, u) => {
    if (u < least) [least, mode] = [u, x.slice()];
  });
  const marginals = new Float64Array(sites * levels);
  let z = 0, energy = 0;
  everyState(field, (x, u) => {
    const p = Math.exp(-beta * (u - least));
    z += p;
    energy += p * u;
    for (let i = 0; i < sites; i++) marginals[i * levels + x[i]!]! += p;
  });
  return {
    states,
    logZ: Math.log(z) - beta * least,
    energy: energy / z,
    marginals: marginals.map((sum) => sum / z),
    mode: model.kind === "ising" ? mode.map((y) => 2 * y - 1) : mode,
    least,
  };
}

/** Counts through all states, the first site fastest; what a step changes is found at the sites that it changes. */
function everyState(field: Pairwise, see: (x: Int8Array, u: number) => void): void {
  const { levels, lattice: { sites } } = field, x = new Int8Array(sites);
  const set = (i: number, a: number): number => {
    const change = siteEnergy(field, x, i, a) - siteEnergy(field, x, i, x[i]!);
    x[i] = a;
    return change;
  };
  let u = pairwiseEnergy(field, x);
  for (;;) {
    see(x, u);
    let i = 0;
    while (i < sites && x[i] === levels - 1) u += set(i++, 0);
    if (i === sites) return;
    u += set(i, x[i]! + 1);
    // Now and then afresh, so that rounding does not add up.
    if (i > 7) u = pairwiseEnergy(field, x);
  }
}

/**
 * A torus of uniform couplings.
 *
 * @category Grids
 */
export interface TorusOptions {
  /** L, the number of columns: at least 2. */
  readonly width: number;
  /** M, the number of rows: at least 2, or infinity where that is taken. */
  readonly height: number;
  /** The inverse temperature; beta·E is in nats. */
  readonly beta: number;
  /** J. Default: 1. */
  readonly coupling?: number;
}

/**
 * The same in a field.
 *
 * @category Grids
 */
export interface StripOptions extends TorusOptions {
  /** h. Default: 0. */
  readonly field?: number;
}

/**
 * A torus's law in two numbers.
 *
 * @category Grids
 */
export interface PerSite {
  /** ln Z over the number of sites, in nats. */
  readonly logZ: number;
  /** E[E(s)] over the number of sites, in units of J; there are two edges a site. */
  readonly energy: number;
}

/** A vector, and its derivative with respect to beta. */
interface Dual {
  readonly value: Float64Array;
  readonly slope: Float64Array;
}

const rows = is(
  "a whole number of at least 2, or infinity",
  (side: number) => side === Infinity || (Number.isSafeInteger(side) && side >= 2),
);

const torusRules = {
  width: needed(wholeNumber(2)),
  height: needed(rows),
  beta: needed(is("a number of at least 0", atLeast(0))),
  coupling: is("finite", Number.isFinite),
};

const stripRules: Rules<StripOptions> = { ...torusRules, field: torusRules.coupling };

/**
 * ln Z and energy a site of a narrow torus, by its transfer matrix, of 2^L rows.
 *
 * @category Grids
 * @param options Sides, inverse temperature, coupling and field. `height` may be infinite.
 * @returns Both, a site.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If an option is out of range; `width` must be at most 12, of a finite torus 8.
 *
 * @example A strip of four columns without end
 * ```ts
 * import { strip } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const { energy } = strip({ width: 4, height: Infinity, beta: 10 });
 * assert.ok(Math.abs(energy + 2) < 1e-12);
 * ```
 */
export function strip(options: StripOptions): PerSite {
  const action = "sum over a strip", { width, height } = decoded(action, options, stripRules);
  const widest = height === Infinity ? 12 : 8;
  if (width > widest) throw refusal(action, `width must be at most ${widest}`, width);
  const { logZ, slope } = height === Infinity ? greatest(options) : traced(options);
  return { logZ: logZ / width, energy: -slope / width };
}

/** T times a vector, with the derivative carried along: d(T·v) = T'·v + T·v'. */
function transfer({ width, beta, coupling = 1, field = 0 }: StripOptions): (v: Dual) => Dual {
  const size = 2 ** width, spin = (row: number, i: number): number => (row >> i & 1) * 2 - 1;
  const half = Float64Array.from({ length: size }, (_, row) => {
    let sum = 0;
    for (let i = 0; i < width; i++) {
      sum += coupling * spin(row, i) * spin(row, (i + 1) % width) + field * spin(row, i);
    }
    return sum / 2;
  });
  const weight = half.map((a) => Math.exp(beta * a));
  const same = Math.exp(beta * coupling), other = 1 / same;
  const weighed = ({ value, slope }: Dual): Dual => ({
    value: value.map((v, row) => v * weight[row]!),
    slope: slope.map((d, row) => (d + half[row]! * value[row]!) * weight[row]!),
  });
  return (v) => {
    const { value, slope } = weighed(v);
    for (let bit = 1; bit < size; bit *= 2) {
      for (let a = 0; a < size; a++) {
        if (a & bit) continue;
        const b = a | bit, [x, y, dx, dy] = [value[a]!, value[b]!, slope[a]!, slope[b]!];
        value[a] = same * x + other * y;
        value[b] = same * y + other * x;
        slope[a] = same * (dx + coupling * x) + other * (dy - coupling * y);
        slope[b] = same * (dy + coupling * y) + other * (dx - coupling * x);
      }
    }
    return weighed({ value, slope });
  };
}

/** ln λ and its derivative, v·T'·v/λ at the normed eigenvector v, as T is symmetric. */
function greatest(options: StripOptions): { logZ: number; slope: number } {
  const times = transfer(options), size = 2 ** options.width;
  const zeros = new Float64Array(size);
  let v = new Float64Array(size).fill(size ** -0.5);
  for (let last = 0, round = 0; round < 100_000; round++) {
    const { value, slope } = times({ value: v, slope: zeros });
    const norm = Math.sqrt(dot(value, value));
    const next = value.map((each) => each / norm);
    const moved = next.reduce((most, each, i) => Math.max(most, Math.abs(each - v[i]!)), 0);
    if (moved < 1e-15 || (moved < 1e-12 && moved >= last)) {
      return { logZ: Math.log(norm), slope: dot(v, slope) / dot(v, value) };
    }
    [v, last] = [next, moved];
  }
  throw refusal("sum over a strip", "the power iteration must converge", "100000 rounds");
}

const dot = (a: Float64Array, b: Float64Array): number =>
  a.reduce((sum, each, i) => sum + each * b[i]!, 0);

/** ln Tr T^M and its derivative, both over M: each column of T^M by itself. */
function traced(options: StripOptions): { logZ: number; slope: number } {
  const times = transfer(options), size = 2 ** options.width, { height } = options;
  const terms = Array.from({ length: size }, (_, row) => {
    let v: Dual = { value: new Float64Array(size), slope: new Float64Array(size) }, log = 0;
    v.value[row] = 1;
    for (let step = 0; step < height; step++) {
      const { value, slope } = times(v), top = value.reduce((a, b) => Math.max(a, b));
      v = { value: value.map((each) => each / top), slope: slope.map((each) => each / top) };
      log += Math.log(top);
    }
    return { log, value: v.value[row]!, slope: v.slope[row]! };
  });
  const top = terms.reduce((most, { log }) => Math.max(most, log), -Infinity);
  const [z, dz] = [0, 1].map((order) =>
    terms.reduce(
      (sum, { log, value, slope }) => sum + Math.exp(log - top) * (order ? slope : value),
      0,
    )
  );
  return { logZ: (top + Math.log(z!)) / height, slope: dz! / z! / height };
}

/**
 * ln Z and energy a site of a torus of any size without a field, in closed form.
 *
 * @category Grids
 * @param options Sides, inverse temperature, and a coupling above 0.
 * @returns Both, a site.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If an option is out of range.
 *
 * @example The critical torus of 64 × 64
 * ```ts
 * import { torus } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const { energy } = torus({ width: 64, height: 64, beta: Math.log(1 + Math.SQRT2) / 2 });
 * assert.ok(Math.abs(energy + 1.423938389833) < 1e-12);
 * ```
 */
export function torus(options: TorusOptions): PerSite {
  const { width, height, beta, coupling = 1 } = decoded<TorusOptions, TorusOptions>(
    "solve a torus",
    options,
    {
      width: torusRules.width,
      height: needed(wholeNumber(2)),
      beta: needed(is("above 0", above(0))),
      coupling: is("above 0", above(0)),
    },
  );
  const k = beta * coupling, sinh = Math.sinh(2 * k);
  const gammas = Array.from({ length: 2 * width }, (_, l) => gamma(k, l, width));
  const odd = gammas.filter((_, l) => l % 2 === 1), even = gammas.filter((_, l) => l % 2 === 0);
  const [first, ...rest] = even as [Gamma, ...Gamma[]];
  const rising = product(height, rest, -1), argument = height * first.value / 2;
  // 2·sinh and 2·cosh of γ_0's argument over e^|argument|: the first is 0 at the critical point, and so in no logarithm.
  const small = Math.exp(-2 * Math.abs(argument)), factor = Math.sign(argument) * (1 - small);
  const lead = rising.log + Math.abs(argument);
  const terms = [
    product(height, odd, 1),
    product(height, odd, -1),
    product(height, even, 1),
  ];
  const top = Math.max(lead, ...terms.map(({ log }) => log));
  let z = factor * Math.exp(lead - top);
  let slope = Math.exp(lead - top) *
    (factor * rising.slope + height * first.slope * (1 + small) / 2);
  for (const { log, slope: d } of terms) {
    z += Math.exp(log - top);
    slope += Math.exp(log - top) * d;
  }
  const sites = width * height;
  return {
    logZ: Math.log(2 * sinh) / 2 + (top + Math.log(z / 2)) / sites,
    energy: -coupling * (1 / Math.tanh(2 * k) + slope / z / sites),
  };
}

/** γ and its derivative with respect to K. */
interface Gamma {
  readonly value: number;
  readonly slope: number;
}

/** cosh γ − 1 = (1 − sinh 2K)²/sinh 2K + 2·sin²(π·l/2L), a form that loses no digits where γ is small. */
function gamma(k: number, l: number, width: number): Gamma {
  const s = Math.sinh(2 * k);
  if (l === 0) return { value: 2 * k + Math.log(Math.tanh(k)), slope: 2 + 2 / s };
  const excess = (1 - s) ** 2 / s + 2 * Math.sin(Math.PI * l / (2 * width)) ** 2;
  const value = 2 * Math.asinh(Math.sqrt(excess / 2));
  return { value, slope: 2 * Math.cosh(2 * k) * (1 - s ** -2) / Math.sinh(value) };
}

/** ln Π 2·cosh(M·γ/2), or of sinh for a sign of −1, and its derivative. */
function product(
  height: number,
  gammas: readonly Gamma[],
  sign: 1 | -1,
): { log: number; slope: number } {
  let log = 0, slope = 0;
  for (const { value, slope: d } of gammas) {
    const a = height * Math.abs(value) / 2, small = sign * Math.exp(-2 * a);
    log += a + Math.log1p(small);
    slope += height * d / 2 * Math.sign(value) * (1 - small) / (1 + small);
  }
  return { log, slope };
}
