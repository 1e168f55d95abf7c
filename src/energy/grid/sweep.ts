/**
 * Sweeps: Markov kernels that look at every site of a lattice once, colour by colour, given all others.
 *
 * ```text
 *   heat bath (Gibbs)   P(x_i → a) = e^(−beta·u_i(a))/Σ_b e^(−beta·u_i(b))
 *   Metropolis          P(x_i → a) = min(1, e^(−beta·(u_i(a) − u_i(x_i))))/(q − 1) for a ≠ x_i, and the rest stays
 *   spins               P(s_i → +1) = 1/(1 + e^(−2·beta·m_i)), or by the test of turning s_i, of ΔE = 2·s_i·m_i
 * ```
 *
 * A printed rule that accepts with exp(f(x') − f(x')) accepts everything: it must be exp(f(x') − f(x)), f = −E, and what is not
 * accepted stays as it is. Each colour's part is in detailed balance with p ∝ e^(−beta·E); the sweep, one colour after the other,
 * is not, but leaves p as it is. At beta = 0 Metropolis turns every spin, for ever: take the heat bath there.
 *
 * Draws: a byte a site decides, unless it is equal to the first byte of the probability, where another 24 bits do. So
 * probabilities hold to 2⁻³², at a quarter of the bits. All numbers of a chain come from its own key, the step's.
 *
 * Sources: N. Metropolis et al., "Equation of state calculations by fast computing machines" (1953), equation 3; S. Geman,
 * D. Geman, "Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images" (1984), section XI.
 *
 * @module
 */

import type {
  Chain,
  ChainEnv,
  ChainSampler,
  ChainStart,
  ChainTransition,
} from "../../chain/chain.ts";
import { chain } from "../../chain/chain.ts";
import { sampleKeys } from "../../chain/draw.ts";
import { refusal, shown } from "../../tensor/check/check.ts";
import { decoded, is, needed, oneOf, type Rules, wholeNumber } from "../../tensor/check/decode.ts";
import { fillBits, fold, type Key, philox } from "../../tensor/key.ts";
import { type HostView, view } from "../../tensor/ndarray.ts";
import { conditional, energy, type Ising, localField } from "./ising.ts";
import type { Lattice } from "./lattice.ts";
import { type Pairwise, pairwiseEnergy, siteEnergy } from "./potts.ts";

/**
 * How a site is changed.
 *
 * @category Grids
 */
export type SiteRule = "gibbs" | "metropolis";

/**
 * A model of spins or of levels.
 *
 * @category Grids
 */
export type GridModel = Ising | Pairwise;

/**
 * What a step on a grid has done.
 *
 * @category Grids
 */
export interface GridInfo {
  /** The inverse temperature that it was made at. */
  readonly beta: number;
  /** Share of the sites that changed, over all chains. */
  readonly accepted: number;
  /** E(x) of each chain, of the whole lattice. */
  readonly energy: Float64Array;
  /** Mean of x over the sites of each chain: of spins, the magnetization. */
  readonly magnetization: Float64Array;
}

/**
 * Where chains on a grid stand.
 *
 * @category Grids
 */
export interface GridState extends Chain {
  /** Spins of ±1 or levels, shape [height, width] or [count, height, width]. */
  readonly x: HostView<Int8Array>;
  /** What the last step did; none at the start. */
  readonly info?: GridInfo;
}

/**
 * How long a chain goes on, and how cold.
 *
 * @category Grids
 */
export interface GridOptions {
  /** The inverse temperature, beta·E in nats: one number, or one for each step, as in annealing. */
  readonly beta: number | readonly number[];
  /** Number of steps. Default: as many as there are temperatures; of one temperature, for ever. */
  readonly steps?: number;
}

/**
 * The probability that a spin is +1 after its change.
 *
 * @category Grids
 * @param rule Heat bath or Metropolis.
 * @param s The spin before, ±1.
 * @param m Its local field, in units of J.
 * @param beta The inverse temperature.
 * @returns The probability. The sweep draws by nothing else.
 *
 * @example Metropolis turns what lies against its field
 * ```ts
 * import { upProbability } from "./sweep.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(upProbability("metropolis", -1, 2, 0.4), 1);
 * assert.equal(upProbability("metropolis", 1, 2, 0.4), 1 - Math.exp(-1.6));
 * ```
 */
export function upProbability(rule: SiteRule, s: number, m: number, beta: number): number {
  if (rule === "gibbs") return conditional(m, beta);
  const accept = Math.min(1, Math.exp(-2 * beta * s * m));
  return s < 0 ? accept : 1 - accept;
}

/**
 * The probabilities of each level after a site's change.
 *
 * @category Grids
 * @param rule Heat bath or Metropolis.
 * @param energies u_i(a) of each level, as `siteEnergy` gives it.
 * @param from The level before.
 * @param beta The inverse temperature.
 * @returns One probability a level, with a sum of 1. The sweep draws by nothing else.
 *
 * @example
 * ```ts
 * import { levelProbabilities } from "./sweep.ts";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(levelProbabilities("metropolis", [0, Math.LN2, 9], 2, 1), [0.5, 0.5, 0]);
 * ```
 */
export function levelProbabilities(
  rule: SiteRule,
  energies: readonly number[],
  from: number,
  beta: number,
): number[] {
  if (rule === "gibbs") {
    const least = Math.min(...energies);
    const weights = energies.map((u) => Math.exp(-beta * (u - least)));
    const sum = weights.reduce((a, b) => a + b);
    return weights.map((weight) => weight / sum);
  }
  const tried = energies.map((u, a) =>
    a === from ? 0 : Math.min(1, Math.exp(-beta * (u - energies[from]!))) / (energies.length - 1)
  );
  const left = tried.reduce((rest, p) => rest - p, 1);
  return tried.map((p, a) => a === from ? Math.max(left, 0) : p);
}

/** One chain after a sweep. */
export interface Swept {
  /** Spins or levels, one a site. */
  readonly x: Int8Array;
  /** How many sites changed. */
  readonly moved: number;
  /** E(x). */
  readonly energy: number;
}

/** A sweep: at an inverse temperature, by a rule. */
export interface Sweep {
  /** Heat bath or Metropolis. */
  readonly rule: SiteRule;
  /** The inverse temperature. */
  readonly beta: number;
}

/**
 * One sweep of one chain.
 *
 * @param model The model.
 * @param x Spins or levels, one a site; left as they are.
 * @param by The rule and the inverse temperature.
 * @param key All that is drawn comes from it.
 * @returns The chain after it.
 */
export function swept(model: GridModel, x: Int8Array, by: Sweep, key: Key): Swept {
  if (model.kind === "pairwise") return sweptLevels(model, x, by, key);
  const { coupling, field, lattice: { colours } } = model;
  const isPlain = typeof coupling === "number" && typeof field === "number" && colours.length === 2;
  return isPlain ? sweptPlain(model, x, by, key) : sweptSpins(model, x, by, key);
}

/** A byte for each site, and 24 bits more for the few that need them. */
interface Draws {
  readonly words: Uint32Array;
  readonly finer: (i: number) => number;
}

function draws(key: Key, sites: number): Draws {
  const rest = fold(key, 0);
  return {
    words: fillBits(key, new Uint32Array((sites + 3) >> 2)),
    finer: (i) => philox([i, 0, 0, 0], rest)[0] >>> 8,
  };
}

/** Any couplings and fields, any number of colours. */
function sweptSpins(model: Ising, before: Int8Array, { rule, beta }: Sweep, key: Key): Swept {
  const x = before.slice(), { words, finer } = draws(key, x.length);
  let moved = 0;
  for (const sites of model.lattice.colours) {
    for (const i of sites) {
      const limit = Math.round(2 ** 32 * upProbability(rule, x[i]!, localField(model, x, i), beta));
      const top = Math.floor(limit / 2 ** 24), byte = words[i >> 2]! >>> ((i & 3) << 3) & 255;
      const isUp = byte === top ? finer(i) < limit - top * 2 ** 24 : byte < top;
      const next = isUp ? 1 : -1;
      if (next !== x[i]) moved++;
      x[i] = next;
    }
  }
  return { x, moved, energy: energy(model, x) };
}

/** One coupling and one field: probabilities are a table over the sum of the neighbours, k, and the spin: at 2·(k + 4) + [s > 0]. */
function sweptPlain(model: Ising, before: Int8Array, { rule, beta }: Sweep, key: Key): Swept {
  const { lattice } = model, coupling = model.coupling as number, field = model.field as number;
  const limits = Float64Array.from({ length: 18 }, (_, at) => {
    const m = coupling * ((at >> 1) - 4) + field;
    return Math.round(2 ** 32 * upProbability(rule, at & 1 ? 1 : -1, m, beta));
  });
  // A row of zeros behind the last stands for what lies outside a free boundary.
  const x = new Int8Array(lattice.sites + lattice.width), drawn = draws(key, lattice.sites);
  x.set(before);
  let moved = 0, pairs = 0, sum = 0;
  for (const colour of [0, 1]) {
    const part = recoloured(lattice, x, { colour, limits, ...drawn });
    moved += part.moved;
    // Each edge has one end of the last colour.
    pairs = part.pairs;
    sum += part.sum;
  }
  return { x: x.slice(0, lattice.sites), moved, energy: -coupling * pairs - field * sum };
}

/** One colour of a chequerboard, and how its probabilities stand: of 2³². */
interface Recolour extends Draws {
  readonly colour: number;
  readonly limits: Float64Array;
}

/** Draws one colour anew, in place; Σ s_i and Σ s_i·s_j over its sites. */
function recoloured(
  { height, width, boundary, sites }: Lattice,
  x: Int8Array,
  { colour, limits, words, finer }: Recolour,
): { moved: number; pairs: number; sum: number } {
  const wraps = boundary === "periodic", last = width - 1;
  const tops = Int32Array.from(limits, (limit) => Math.floor(limit / 2 ** 24));
  const isRow = height > 1, isColumn = width > 1;
  let moved = 0, pairs = 0, sum = 0;
  for (let row = 0; row < height; row++) {
    const start = row * width;
    const up = row > 0 ? start - width : wraps && isRow ? sites - width : sites;
    const down = row < height - 1 ? start + width : wraps && isRow ? 0 : sites;
    const left = wraps && isColumn ? start + last : sites,
      right = wraps && isColumn ? start : sites;
    for (let column = (row + colour) & 1; column < width; column += 2) {
      const i = start + column, s = x[i]!;
      const k = x[up + column]! + x[down + column]! + x[column > 0 ? i - 1 : left]! +
        x[column < last ? i + 1 : right]!;
      const at = 2 * k + 8 + (s + 1 >> 1), byte = words[i >> 2]! >>> ((i & 3) << 3) & 255;
      const top = tops[at]!;
      // Without a branch, as which way it goes is a matter of chance: 1 if the byte is below, −1 if not.
      let next = -1 - 2 * (byte - top >> 31);
      if (byte === top) next = finer(i) < limits[at]! - top * 2 ** 24 ? 1 : -1;
      x[i] = next;
      moved += (next ^ s) & 2;
      pairs += next * k;
      sum += next;
    }
  }
  return { moved: moved / 2, pairs, sum };
}

/** Levels: one word of 32 bits a site, along the sum of the probabilities. */
function sweptLevels(model: Pairwise, before: Int8Array, { rule, beta }: Sweep, key: Key): Swept {
  const x = before.slice(), words = fillBits(key, new Uint32Array(x.length));
  const levels = Array.from({ length: model.levels }, (_, a) => a);
  let moved = 0;
  for (const sites of model.lattice.colours) {
    for (const i of sites) {
      const energies = levels.map((a) => siteEnergy(model, x, i, a));
      const p = levelProbabilities(rule, energies, x[i]!, beta);
      let next = 0;
      for (let rest = words[i]! * 2 ** -32 - p[0]!; rest >= 0 && next < model.levels - 1;) {
        rest -= p[++next]!;
      }
      if (next !== x[i]) moved++;
      x[i] = next;
    }
  }
  return { x, moved, energy: pairwiseEnergy(model, x) };
}

/**
 * Sweeps of the heat bath: each site is drawn from its law given its neighbours.
 *
 * @category Grids
 * @param model An Ising model or a field of levels.
 * @param options Inverse temperature and number of sweeps.
 * @returns The chain; several run at once if the start has several.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If an option is out of range; when it runs, if the start is not of the model's shape and values.
 *
 * @example Eight chains, from a hot start
 * ```ts
 * import { gibbs, gridStart } from "./sweep.ts";
 * import { ising } from "./ising.ts";
 * import { lattice } from "./lattice.ts";
 * import { key, last, run } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const model = ising(lattice(16, 16, { boundary: "periodic" }));
 * const start = gridStart(model, { count: 8 });
 * const { x, info } = await last(run(start, { key: key(0) })(gibbs(model, { beta: 0.3, steps: 20 })));
 * assert.deepEqual(x.shape, [8, 16, 16]);
 * assert.equal(info!.energy.length, 8);
 * ```
 */
export const gibbs = (model: GridModel, options: GridOptions): ChainSampler<GridState, ChainEnv> =>
  sweeps(model, "gibbs", options);

/**
 * Sweeps of Metropolis: each site tries another value, which is taken with probability min(1, e^(−beta·ΔE)).
 *
 * @category Grids
 * @param model An Ising model or a field of levels.
 * @param options Inverse temperature and number of sweeps.
 * @returns The chain; several run at once if the start has several.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If an option is out of range; when it runs, if the start is not of the model's shape and values.
 *
 * @example Cooling
 * ```ts
 * import { gridStart, metropolis } from "./sweep.ts";
 * import { ising } from "./ising.ts";
 * import { lattice } from "./lattice.ts";
 * import { key, last, run } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const model = ising(lattice(4, 4), { field: 0.1 });
 * const beta = Array.from({ length: 60 }, (_, i) => 0.05 * i);
 * const { info } = await last(run(gridStart(model), { key: key(0) })(metropolis(model, { beta })));
 * assert.ok(Math.abs(info!.energy[0]! + 25.6) < 1e-12);
 * ```
 */
export const metropolis = (
  model: GridModel,
  options: GridOptions,
): ChainSampler<GridState, ChainEnv> => sweeps(model, "metropolis", options);

/** One step of one chain. */
export type ChainStep = (x: Int8Array, beta: number, key: Key) => Swept;

const sweeps = (
  model: GridModel,
  rule: SiteRule,
  options: GridOptions,
): ChainSampler<GridState, ChainEnv> =>
  gridChain(
    model,
    { name: rule, move: (x, beta, key) => swept(model, x, { rule, beta }, key) },
    options,
  );

const isBeta = (beta: number): boolean => beta >= 0 && beta < Infinity;

const gridRules: Rules<GridOptions> = {
  beta: needed(is(
    "numbers of at least 0",
    (beta: number | readonly number[]) =>
      Array.isArray(beta) ? beta.length > 0 && beta.every(isBeta) : isBeta(beta as number),
  )),
  steps: wholeNumber(0),
};

/**
 * A chain on a grid from its step.
 *
 * @param model The model.
 * @param kernel What its draws are called, and the step of one chain.
 * @param options Inverse temperature and number of steps.
 * @returns The chain.
 */
export function gridChain(
  model: GridModel,
  kernel: { readonly name: string; readonly move: ChainStep },
  options: GridOptions,
): ChainSampler<GridState, ChainEnv> {
  const action = "make a chain on a grid", { beta, steps } = decoded(action, options, gridRules);
  const list = typeof beta === "number" ? undefined : [...beta];
  const count = steps ?? list?.length ?? Infinity;
  if (list && count > list.length) {
    throw refusal(action, `steps must be at most ${list.length}, as many as beta`, count);
  }
  return chain<GridState>(function* () {
    for (let i = 0; i < count; i++) yield stepOf(model, kernel, list ? list[i]! : beta as number);
  }, { checks: [(_, start) => checkStart(model, start)] });
}

/** The transition: each chain by itself, under its own key. */
const stepOf = (
  { lattice }: GridModel,
  { name, move }: { readonly name: string; readonly move: ChainStep },
  beta: number,
): ChainTransition<GridState, ChainEnv> =>
(env) =>
({ x: { data, shape }, step }) => {
  const { sites } = lattice, keys = sampleKeys(env, data.length / sites, name, step);
  const x = new Int8Array(data.length), energy = new Float64Array(keys.length);
  const magnetization = new Float64Array(keys.length);
  let moved = 0;
  keys.forEach((key, c) => {
    const next = move(data.subarray(c * sites, (c + 1) * sites), beta, key);
    x.set(next.x, c * sites);
    energy[c] = next.energy;
    moved += next.moved;
    let sum = 0;
    for (let i = 0; i < sites; i++) sum += next.x[i]!;
    magnetization[c] = sum / sites;
  });
  const info: GridInfo = { beta, accepted: moved / data.length, energy, magnetization };
  return { x: view(x, shape), step: step + 1, info };
};

/** Throws unless a start fits the model. */
function checkStart(model: GridModel, { x }: GridState): void {
  const action = "run a chain on a grid", { height, width } = model.lattice;
  const shape = `[${height}, ${width}] or [count, ${height}, ${width}]`;
  if (!(x?.data instanceof Int8Array)) {
    throw new TypeError(`Cannot ${action}: x must be a view of an Int8Array, got ${shown(x)}`);
  }
  const [w, h] = [...x.shape].reverse(), size = x.shape.reduce((a, b) => a * b, 1);
  if (w !== width || h !== height || x.shape.length > 3) {
    throw refusal(action, `x must be of shape ${shape}`, x.shape);
  }
  const isWhole = x.shape.every((_, axis) =>
    x.stride[axis] === x.shape.slice(axis + 1).reduce((a, b) => a * b, 1)
  );
  if (!isWhole || x.offset !== 0 || size !== x.data.length) {
    throw refusal(
      action,
      "x must be a whole array, row by row, with strides as in view()",
      x.stride,
    );
  }
  const fits = model.kind === "ising"
    ? (value: number) => value === 1 || value === -1
    : (value: number) => value >= 0 && value < model.levels;
  const bad = x.data.find((value) => !fits(value));
  if (bad === undefined) return;
  const wanted = model.kind === "ising" ? "spins of -1 or 1" : `levels below ${model.levels}`;
  throw refusal(action, `x must be of ${wanted}`, bad);
}

/**
 * Where chains start.
 *
 * @category Grids
 */
export interface GridStartOptions {
  /** How many chains: shape [count, height, width]. Default: one, of shape [height, width]. */
  readonly count?: number;
  /** Hot: every site drawn by itself, all values alike; cold: all of the greatest value. Default: `"hot"`. */
  readonly from?: "hot" | "cold";
}

/**
 * A start of chains on a grid.
 *
 * @category Grids
 * @param model The model.
 * @param options How many chains, and from where.
 * @returns The start, drawn under the run's key.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If an option is out of range.
 *
 * @example
 * ```ts
 * import { gridStart, metropolis } from "./sweep.ts";
 * import { ising } from "./ising.ts";
 * import { lattice } from "./lattice.ts";
 * import { key, last, run } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const model = ising(lattice(4, 4)), start = gridStart(model, { count: 2, from: "cold" });
 * const { x } = await last(run(start, { key: key(0) })(metropolis(model, { beta: 20, steps: 1 })));
 * assert.ok(x.data.every((s) => s === 1));
 * ```
 */
export function gridStart(
  model: GridModel,
  options: GridStartOptions = {},
): ChainStart<GridState, ChainEnv> {
  const { count, from = "hot" } = decoded<GridStartOptions, GridStartOptions>(
    "start chains on a grid",
    options,
    {
      count: wholeNumber(1),
      from: oneOf("hot", "cold"),
    },
  );
  const { lattice: { height, width, sites } } = model;
  const levels = model.kind === "ising" ? 2 : model.levels;
  const valueOf = (a: number): number => model.kind === "ising" ? 2 * a - 1 : a;
  return (env) => {
    const x = new Int8Array((count ?? 1) * sites).fill(valueOf(levels - 1));
    if (from === "hot") {
      sampleKeys(env, count ?? 1, "start", 0).forEach((key, c) => {
        const words = fillBits(key, new Uint32Array(sites));
        for (let i = 0; i < sites; i++) {
          x[c * sites + i] = valueOf(Math.floor(words[i]! * 2 ** -32 * levels));
        }
      });
    }
    return { x: view(x, count === undefined ? [height, width] : [count, height, width]), step: 0 };
  };
}
