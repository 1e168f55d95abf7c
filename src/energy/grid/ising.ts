/**
 * The Ising model: spins of two values on a lattice, which like to agree with their neighbours and with a field.
 *
 * ```text
 *   E(s) = −Σ_(ij) J_ij·s_i·s_j − Σ_i h_i·s_i      s_i = ±1        p(s) ∝ e^(−beta·E(s))
 *   m_i = Σ_j J_ij·s_j + h_i                       local field: what site i feels of all others
 *   E(s with s_i turned) − E(s) = 2·s_i·m_i        p(s_i = +1 | rest) = 1/(1 + e^(−2·beta·m_i))
 * ```
 *
 * A field of labels y_i in {0, 1} with log-potentials ψ_i(y_i) and ψ_ij(y_i, y_j) is the same model at beta = 1, by s = 2y − 1:
 *
 * ```text
 *   Σ_i ψ_i(y_i) + Σ_(ij) ψ_ij(y_i, y_j) = constant − E(s)
 *   J_ij = (ψ_00 − ψ_01 − ψ_10 + ψ_11)/4           h_i = (ψ_i(1) − ψ_i(0))/2 + Σ_j (ψ_1· − ψ_0·)/4 over both labels of j
 * ```
 *
 * Sources: E. Ising, "Beitrag zur Theorie des Ferromagnetismus" (1925); S. Geman, D. Geman, "Stochastic relaxation, Gibbs
 * distributions, and the Bayesian restoration of images" (1984), sections IV and V.
 *
 * @module
 */

import { refusal } from "../../tensor/check/check.ts";
import { decoded, is, needed, type Rule, type Rules } from "../../tensor/check/decode.ts";
import { right } from "fp-ts/lib/Either.js";
import { type Boundary, type Lattice, lattice } from "./lattice.ts";
import type { ArrayView } from "../../tensor/ndarray.ts";

/**
 * Couplings and fields of an Ising model.
 *
 * @category Grids
 */
export interface IsingOptions {
  /** J, one number for all edges or one for each in the order of `lattice.edges`; above 0 neighbours like to agree. Default: 1. */
  readonly coupling?: number | ArrayLike<number>;
  /** h, one number for all sites or one for each. Default: 0. */
  readonly field?: number | ArrayLike<number>;
}

/**
 * An Ising model, plain data.
 *
 * @category Grids
 */
export interface Ising {
  /** Which model it is. */
  readonly kind: "ising";
  /** Where the spins are. */
  readonly lattice: Lattice;
  /** J, one number for all edges or one for each. */
  readonly coupling: number | Float64Array;
  /** h, one number for all sites or one for each. */
  readonly field: number | Float64Array;
}

/**
 * A model whose energy is that of another sum but for its sign and a constant: Σψ = constant − E.
 *
 * @category Grids
 */
export interface Mapped {
  /** The Ising model; its law is p ∝ e^(−E), at beta = 1. */
  readonly model: Ising;
  /** What has to be added to −E, in nats. */
  readonly constant: number;
}

const making = "make an Ising model";

/** The rule of a list of so many finite numbers. */
export const list =
  (count: number, wanted: string = `a list of ${count}`): Rule => (name, value) => {
    const given = value as ArrayLike<number>;
    if (typeof given !== "object" || typeof given?.length !== "number") {
      return is(`${wanted} numbers`, () => false, true)(name, value);
    }
    if (given.length !== count) return is(wanted, () => false)(name, given.length);
    const bad = Array.from(given).findIndex((each) => !Number.isFinite(each));
    return bad < 0 ? right(value) : is("finite", () => false)(`${name}[${bad}]`, given[bad]);
  };

/** The rule of one finite number, or of a list of so many. */
export const numbers = (count: number): Rule => {
  const many = list(count, `a number, or a list of ${count}`);
  return (name, value) =>
    typeof value === "number" ? is("finite", Number.isFinite)(name, value) : many(name, value);
};

/** A list of its own, or the number. */
export const owned = (value: number | ArrayLike<number>): number | Float64Array =>
  typeof value === "number" ? value : Float64Array.from(value);

/** The number of a place, where there may be one for all. */
export const valueAt = (values: number | Float64Array, i: number): number =>
  typeof values === "number" ? values : values[i]!;

/**
 * An Ising model on a lattice.
 *
 * @category Grids
 * @param on The lattice.
 * @param options Couplings and fields. Those in lists are copied.
 * @returns The model.
 * @throws {TypeError} If an option is not known or of another type.
 * @throws {RangeError} If a list is of another length, or a number not finite.
 *
 * @example
 * ```ts
 * import { ising, isingEnergy, lattice } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const model = ising(lattice(2, 2), { coupling: 0.5, field: 0.25 });
 * assert.equal(isingEnergy(model, Int8Array.of(1, 1, 1, 1)), -3);
 * ```
 */
export function ising(on: Lattice, options: IsingOptions = {}): Ising {
  const rules: Rules<IsingOptions> = {
    coupling: numbers(on.edges.length / 2),
    field: numbers(on.sites),
  };
  const { coupling = 1, field = 0 } = decoded(making, options, rules);
  return { kind: "ising", lattice: on, coupling: owned(coupling), field: owned(field) };
}

/** Throws unless there is one value of ±1 for each site. */
export function checkSpins(action: string, { sites }: Lattice, s: ArrayLike<number>): void {
  if (s.length !== sites) throw refusal(action, `s must be of ${sites} spins`, s.length);
  for (let i = 0; i < sites; i++) {
    if (s[i] !== 1 && s[i] !== -1) throw refusal(action, `s[${i}] must be -1 or 1`, s[i]);
  }
}

/**
 * E(s) = −Σ J_ij·s_i·s_j − Σ h_i·s_i.
 *
 * @category Grids
 * @param model The model.
 * @param s Spins of ±1, one a site.
 * @returns The energy of the whole lattice, in units of J.
 *
 * @example
 * ```ts
 * import { ising, isingEnergy, lattice } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.equal(isingEnergy(ising(lattice(1, 3)), Int8Array.of(1, 1, -1)), 0);
 * ```
 */
export function isingEnergy({ lattice: { edges }, coupling, field }: Ising, s: Int8Array): number {
  let pairs = 0, single = 0;
  if (typeof coupling === "number") {
    for (let at = 0; at < edges.length; at += 2) pairs += s[edges[at]!]! * s[edges[at + 1]!]!;
    pairs *= coupling;
  } else {
    for (let at = 0; at < edges.length; at += 2) {
      pairs += coupling[at >> 1]! * s[edges[at]!]! * s[edges[at + 1]!]!;
    }
  }
  for (let i = 0; i < s.length; i++) single += valueAt(field, i) * s[i]!;
  return 0 - pairs - single;
}

/**
 * m_i = Σ_j J_ij·s_j + h_i.
 *
 * @category Grids
 * @param model The model.
 * @param s Spins of ±1, one a site.
 * @param i The site.
 * @returns The local field, in units of J.
 *
 * @example
 * ```ts
 * import { ising, lattice, localField } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.equal(localField(ising(lattice(1, 3), { field: 0.5 }), Int8Array.of(1, 1, 1), 1), 2.5);
 * ```
 */
export function localField({ lattice, coupling, field }: Ising, s: Int8Array, i: number): number {
  const { starts, neighbours, via } = lattice, end = starts[i + 1]!;
  let sum = valueAt(field, i);
  for (let at = starts[i]!; at < end; at++) {
    sum += valueAt(coupling, via[at]!) * s[neighbours[at]!]!;
  }
  return sum;
}

/**
 * The energy's change if one spin is turned, 2·s_i·m_i.
 *
 * @category Grids
 * @param model The model.
 * @param s Spins of ±1, one a site.
 * @param i The site to turn.
 * @returns The difference, in units of J.
 *
 * @example
 * ```ts
 * import { flipEnergy, ising, lattice } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.equal(flipEnergy(ising(lattice(1, 3)), Int8Array.of(1, 1, 1), 1), 4);
 * ```
 */
export const flipEnergy = (model: Ising, s: Int8Array, i: number): number =>
  2 * s[i]! * localField(model, s, i);

/**
 * p(s_i = +1 | rest) at a local field, 1/(1 + e^(−2·beta·m)).
 *
 * @category Grids
 * @param m The local field m_i, in units of J.
 * @param beta The inverse temperature; beta·E is in nats.
 * @returns The probability.
 *
 * @example A site with neighbours that cancel is a fair coin
 * ```ts
 * import { conditional } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * assert.equal(conditional(0, 0.4), 0.5);
 * ```
 */
export const conditional = (m: number, beta: number): number => 1 / (1 + Math.exp(-2 * beta * m));

/**
 * Log-potentials of labels in {0, 1}, in nats.
 *
 * @category Grids
 */
export interface Potentials {
  /** ψ_i(0), ψ_i(1) of each site, one after the other: 2·sites numbers. */
  readonly single: ArrayLike<number>;
  /** ψ(0, 0), ψ(0, 1), ψ(1, 0), ψ(1, 1), for all edges, or for each in turn: 4 or 4·edges numbers. */
  readonly pair: ArrayLike<number>;
}

/**
 * The Ising model of a field of labels, by s = 2y − 1.
 *
 * @category Grids
 * @param on The lattice.
 * @param potentials Tables of ψ.
 * @returns The model at beta = 1, and the constant: Σψ = constant − E.
 * @throws {RangeError} If a table is of another length, or a number not finite.
 *
 * @example Two labels that agree with weight e
 * ```ts
 * import { fromPotentials, isingEnergy, lattice } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const { model, constant } = fromPotentials(lattice(1, 2), { single: [0, 0, 0, 0], pair: [1, 0, 0, 1] });
 * assert.equal(constant - isingEnergy(model, Int8Array.of(1, 1)), 1);
 * assert.equal(constant - isingEnergy(model, Int8Array.of(-1, 1)), 0);
 * ```
 */
export function fromPotentials(on: Lattice, { single, pair }: Potentials): Mapped {
  const count = on.edges.length / 2;
  checkTable("single", single, [2 * on.sites]);
  checkTable("pair", pair, [4, 4 * count]);
  const coupling = new Float64Array(count), field = new Float64Array(on.sites);
  let constant = 0;
  for (let i = 0; i < on.sites; i++) {
    const off = single[2 * i]!, lit = single[2 * i + 1]!;
    field[i] = (lit - off) / 2;
    constant += (lit + off) / 2;
  }
  for (let e = 0; e < count; e++) {
    const at = pair.length === 4 ? 0 : 4 * e, i = on.edges[2 * e]!, j = on.edges[2 * e + 1]!;
    const [p00, p01, p10, p11] = [pair[at]!, pair[at + 1]!, pair[at + 2]!, pair[at + 3]!];
    coupling[e] = (p00 - p01 - p10 + p11) / 4;
    field[i]! += (p10 + p11 - p00 - p01) / 4;
    field[j]! += (p01 + p11 - p00 - p10) / 4;
    constant += (p00 + p01 + p10 + p11) / 4;
  }
  return { model: { kind: "ising", lattice: on, coupling, field }, constant };
}

function checkTable(name: string, table: ArrayLike<number>, lengths: readonly number[]): void {
  if (!lengths.includes(table.length)) {
    throw refusal(making, `${name} must be of ${lengths.join(" or ")} numbers`, table.length);
  }
  const bad = Array.from(table).find((each) => !Number.isFinite(each));
  if (bad !== undefined) throw refusal(making, `${name} must be finite`, bad);
}

/**
 * How much a restoration trusts its picture, and how smooth it takes the truth to be.
 *
 * @category Grids
 */
export interface RestorationOptions {
  /** ψ_i(x_i, y_i) = data·[x_i = y_i], in nats; ln((1 − p)/p) where a share p of the pixels is turned. */
  readonly data: number;
  /** ψ_ij(y_i, y_j) = smooth·[y_i = y_j], in nats. */
  readonly smooth: number;
  /** Whether opposite sides meet. Default: `"free"`. */
  readonly boundary?: Boundary;
}

/**
 * The law of a clean picture y given a spoilt one x, p(y | x) ∝ exp(Σ data·[x_i = y_i] + Σ smooth·[y_i = y_j]), as an Ising
 * model of s = 2y − 1: J = smooth/2, h_i = data·(x_i − 1/2).
 *
 * @category Grids
 * @param x The spoilt picture, labels in {0, 1}, shape [height, width].
 * @param options Both weights.
 * @returns The model at beta = 1, and the constant: Σψ = constant − E. ln Σ_y e^Σψ is the constant + ln Z.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If x is not a picture of labels, or a weight not finite.
 *
 * @example
 * ```ts
 * import { restoration } from "@tweedie/tweedie/energy";
 * import { view } from "@tweedie/tweedie/tensor";
 * import assert from "node:assert/strict";
 *
 * const x = view(Int8Array.of(0, 1, 1, 1), [2, 2]);
 * const { model } = restoration(x, { data: 1, smooth: 0.7 });
 * assert.equal(model.coupling, 0.35);
 * assert.deepEqual(model.field, Float64Array.of(-0.5, 0.5, 0.5, 0.5));
 * ```
 */
export function restoration(x: ArrayView, options: RestorationOptions): Mapped {
  const action = "restore a picture", finite = is("finite", Number.isFinite);
  const { data, smooth, boundary = "free" } = decoded<RestorationOptions, RestorationOptions>(
    action,
    options,
    {
      data: needed(finite),
      smooth: needed(finite),
      boundary: true,
    },
  );
  if (x.shape.length !== 2) {
    throw refusal(action, "x must be of shape [height, width]", x.shape);
  }
  const on = lattice(x.shape[0]!, x.shape[1]!, { boundary });
  const field = Float64Array.from({ length: on.sites }, (_, i) => {
    const row = Math.floor(i / on.width), column = i % on.width;
    const label = x.data[x.offset + row * x.stride[0]! + column * x.stride[1]!];
    if (label !== 0 && label !== 1) throw refusal(action, "x must be of labels 0 and 1", label);
    return data * (label - 0.5);
  });
  const constant = (data * on.sites + smooth * on.edges.length / 2) / 2;
  return { model: { kind: "ising", lattice: on, coupling: smooth / 2, field }, constant };
}
