/**
 * Chains on a grid: many at once, each under its own key, as streams of transitions.
 *
 * A step is a function of one chain's spins or levels, the inverse temperature and a key. All numbers of a chain come from
 * its own key, the step's, so that it depends neither on the others of its batch nor on where it was taken up again.
 *
 * @module
 */

import type {
  Chain,
  ChainEnv,
  ChainSampler,
  ChainStart,
  ChainTransition,
} from "../../../chain/chain.ts";
import { chain } from "../../../chain/chain.ts";
import { sampleKeys } from "../../../chain/draw.ts";
import { refusal, shown } from "../../../tensor/check/check.ts";
import {
  decoded,
  is,
  needed,
  oneOf,
  type Rules,
  wholeNumber,
} from "../../../tensor/check/decode.ts";
import { fillBits, type Key } from "../../../tensor/key.ts";
import { type HostView, view } from "../../../tensor/ndarray.ts";
import type { Ising } from "../ising.ts";
import type { Pairwise } from "../potts.ts";

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
export interface GridChainOptions {
  /** The inverse temperature, beta·E in nats: one number, or one for each step, as in annealing. */
  readonly beta: number | readonly number[];
  /** Number of steps. Default: as many as there are temperatures; of one temperature, for ever. */
  readonly steps?: number;
}

/** One chain after a sweep. */
export interface Moved {
  /** Spins or levels, one a site. */
  readonly x: Int8Array;
  /** How many sites changed. */
  readonly moved: number;
  /** E(x). */
  readonly energy: number;
}

/** One step of one chain: from spins or levels, which are left as they are, under a key from which all comes that is drawn. */
export type ChainStep = (x: Int8Array, key: Key) => Moved;

/** What its draws are called, and its step at an inverse temperature. */
export interface GridKernel {
  readonly name: string;
  readonly at: (beta: number) => ChainStep;
}

const isBeta = (beta: number): boolean => beta >= 0 && beta < Infinity;

const gridRules: Rules<GridChainOptions> = {
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
 * @param kernel Its steps.
 * @param options Inverse temperature and number of steps.
 * @returns The chain.
 */
export function gridChain(
  model: GridModel,
  kernel: GridKernel,
  options: GridChainOptions,
): ChainSampler<GridState, ChainEnv> {
  const action = "make a chain on a grid", { beta, steps } = decoded(action, options, gridRules);
  const list = typeof beta === "number" ? undefined : [...beta];
  const count = steps ?? list?.length ?? Infinity;
  if (list && count > list.length) {
    throw refusal(action, `steps must be at most ${list.length}, as many as beta`, count);
  }
  return chain<GridState>(function* () {
    const same = typeof beta === "number" ? transition(model, kernel, beta) : undefined;
    for (let i = 0; i < count; i++) yield same ?? transition(model, kernel, list![i]!);
  }, { checks: [(_, start) => checkStart(model, start)] });
}

/** Each chain by itself, under its own key. */
function transition(
  { lattice: { sites } }: GridModel,
  { name, at }: GridKernel,
  beta: number,
): ChainTransition<GridState, ChainEnv> {
  const moved = at(beta);
  return (env) => ({ x: { data, shape }, step }) => {
    const keys = sampleKeys(env, data.length / sites, name, step);
    const x = new Int8Array(data.length), energy = new Float64Array(keys.length);
    let changes = 0;
    keys.forEach((key, c) => {
      const next = moved(data.subarray(c * sites, (c + 1) * sites), key);
      x.set(next.x, c * sites);
      energy[c] = next.energy;
      changes += next.moved;
    });
    const magnetization = energy.map((_, c) => mean(x.subarray(c * sites, (c + 1) * sites)));
    const info: GridInfo = { beta, accepted: changes / data.length, energy, magnetization };
    return { x: view(x, shape), step: step + 1, info };
  };
}

function mean(x: Int8Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]!;
  return sum / x.length;
}

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
 * import { gridStart, ising, lattice, metropolis } from "@tweedie/tweedie/energy";
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
