/**
 * The layouts of grids by name: sub-sequences of a discrete schedule's times, and equal spacing along a coordinate of time.
 * Their formulas and sources stand at the head of `grid.ts`.
 *
 * @module
 */

import { above, is, type Rules, whole, wholeNumber } from "../tensor/check/decode.ts";
import { logSnr, type Schedule, type Spacing } from "./schedule/schedule.ts";

/**
 * Options of `times`. Where to begin and to end, and what bends a layout, is refused where it has no part; `rho`, `offset`,
 * `dropped` and `round`, which tell how one layout is made, may stand beside another, so that one table of options serves them all.
 *
 * @category Schedules
 */
export interface GridOptions {
  /**
   * Number of steps n, at least 1; 0 too where `from` is `final`, where there are none whatever it says. Default: the
   * schedule's T if it is discrete, otherwise 50.
   */
  readonly steps?: number;
  /**
   * The layout. Default: the schedule's own, or `"trailing"` for discrete schedules and `"uniform"` for continuous ones.
   */
  readonly spacing?: Spacing;
  /**
   * The grid itself, in place of what would lay it out: strictly falling times, or one at which it ends. The number of steps is
   * then that of the list. Default: none.
   */
  readonly times?: readonly number[];
  /**
   * Greatest time, whole for a sub-sequence, which is then one of 1 … from. At `final` the grid is that time alone, so that a
   * sweep of where to start may come down to the data. Default: the span's greatest.
   */
  readonly from?: number;
  /** Last time. Default: where sigma is 0, if the schedule has such a time; otherwise the span's least. */
  readonly final?: number;
  /**
   * Last node before `final`, for all but the sub-sequences; equal to `final`, the nodes end there. Default: `final`
   * for uniform and quadratic. For karras and logLinear also, unless sigma is 0 at `final`: then 1 for discrete
   * schedules, the span's least if that is above `final`, or else `final` plus a thousandth of the span; where `from` is not
   * above that, `final` plus a thousandth of the way.
   */
  readonly least?: number;
  /** Exponent of karras, above 0. Default: 7. */
  readonly rho?: number;
  /** What leading adds to each of its times, a whole number. Default: 0; latent diffusion has 1. */
  readonly offset?: number;
  /**
   * Nodes that leading, linspace and quadratic sub-sequences lay out beyond n and drop at the data's end, a whole
   * number. Default: 0, as for DDPM and DDIM; 1 for the DPM-Solver family of diffusers.
   */
  readonly dropped?: number;
  /**
   * Whether times are whole; discrete schedules only. Default: true for sub-sequences, false for uniform, karras and
   * logLinear. The Euler family of diffusers has linspace without rounding.
   */
  readonly round?: boolean;
  /** Share of T that the quadratic sub-sequence spans, in (0, 1]. Default: 0.8, as in DDIM's code. */
  readonly reach?: number;
  /** Shift s of uniform: u becomes s·u/(1 + (s − 1)·u), u the share of the span. Above 0. Default: 1. */
  readonly shift?: number;
}

/** The rules of all that does not depend on the schedule. */
export const gridRules: Rules<GridOptions> = {
  // 0 where from is final.
  steps: is("a whole number of at least 1", whole(0)),
  spacing: true,
  times: true,
  from: true,
  final: true,
  least: true,
  rho: is("finite and above 0", above(0)),
  offset: wholeNumber(0),
  dropped: wholeNumber(0),
  round: true,
  reach: is("in (0, 1]", (value) => value > 0 && value <= 1),
  shift: is("finite and above 0", above(0)),
};

/** The options of a grid with every default filled in, and its schedule. */
export type GridSettings = Required<Omit<GridOptions, "times">> & { readonly schedule: Schedule };

/** The nodes that settings ask for, falling. */
export type Layout = (settings: GridSettings) => number[];

/** The error for an option of a grid outside its domain. */
export const unmade = (parameter: string, wanted: string, got: unknown): RangeError =>
  new RangeError(`Cannot make a grid: ${parameter} must be ${wanted}, got ${got}`);

/** Rounds to the nearest whole number, halves to the even one. */
function halfEven(x: number): number {
  const floor = Math.floor(x), rest = x - floor;
  return rest < 0.5 || (rest === 0.5 && floor % 2 === 0) ? floor : floor + 1;
}

/** `count` equally spaced numbers from `first` to `last`, both exact, computed as numpy does. */
function linspace(first: number, last: number, count: number): number[] {
  const step = count > 1 ? (last - first) / (count - 1) : 0;
  return Array.from(
    { length: count },
    (_, i) => i > 0 && i === count - 1 ? last : i * step + first,
  );
}

// Sub-sequences of 1 … T.

/** Times of rising indices: the first few dropped, the rest numbered from 1 and reversed. */
const numbered = (indices: readonly number[], dropped: number): number[] =>
  indices.slice(dropped).map((index) => index + 1).reverse();

const leading: Layout = ({ steps, from, offset, dropped }) => {
  const count = steps + dropped, stride = Math.floor(from / count);
  return numbered(Array.from({ length: count }, (_, i) => i * stride + offset), dropped);
};

const trailing: Layout = ({ steps, from, round }) =>
  Array.from({ length: steps }, (_, i) => from - i * (from / steps))
    .map((t) => round ? halfEven(t) : t);

const even: Layout = ({ steps, from, dropped, round }) => {
  const indices = linspace(0, from - 1, steps + dropped);
  return numbered(round ? indices.map(halfEven) : indices, dropped);
};

const squared: Layout = ({ steps, from, dropped, round, reach }) => {
  const indices = linspace(0, Math.sqrt(from * reach), steps + dropped).map((root) => root * root);
  const low = (index: number): number => Math.min(round ? Math.floor(index) : index, from - 1);
  return numbered(indices.map(low), dropped);
};

const subsequences: { readonly [S in Spacing]?: Layout } = {
  leading,
  trailing,
  linspace: even,
  quadratic: squared,
};

// Equal spacing along another coordinate.

/** A coordinate of time, and the way back. */
type Axis = readonly [to: (t: number) => number, back: (value: number) => number];

const uniform = ({ schedule: { span: [start, end] }, shift }: GridSettings): Axis => {
  // Without a shift the nodes are not scaled, so that whole times stay exactly whole.
  if (shift === 1) return [(t) => t, (t) => t];
  const bent = (share: number, by: number): number => by * share / (1 + (by - 1) * share);
  return [
    (t) => bent((t - start) / (end - start), 1 / shift),
    (share) => start + (end - start) * bent(share, shift),
  ];
};

const karras = ({ schedule: { at, timeOf }, rho }: GridSettings): Axis => [
  (t) => Math.exp(-logSnr(at(t)) / (2 * rho)),
  (root) => timeOf(-2 * rho * Math.log(root)),
];

const axes: { readonly [S in Spacing]?: (settings: GridSettings) => Axis } = {
  uniform,
  quadratic: () => [Math.sqrt, (root) => root * root],
  karras,
  logLinear: ({ schedule: { at, timeOf } }) => [(t) => logSnr(at(t)), timeOf],
};

/** Nodes from `from` to `least`, both exact, equally spaced along the axis of the spacing. */
export const along: Layout = (settings) => {
  const { from, least, final, steps, round } = settings,
    [to, back] = axes[settings.spacing]!(settings);
  const first = to(from), last = to(least), count = least === final ? steps + 1 : steps;
  if (!Number.isFinite(first)) throw unmade("from", "a time at which log-SNR is finite", from);
  if (!Number.isFinite(last)) throw unmade("least", "a time at which log-SNR is finite", least);
  const nodes = linspace(first, last, count).map((value, i) => {
    if (i === 0) return from;
    return i === count - 1 ? least : back(value);
  });
  return round ? nodes.map((t) => halfEven(t - 1) + 1) : nodes;
};

// Which options have a part in which layout, besides steps, from and final.

const partsOfSubsequences: { readonly [S in Spacing]?: readonly (keyof GridOptions)[] } = {
  leading: ["offset", "dropped"],
  trailing: ["round"],
  linspace: ["dropped", "round"],
  quadratic: ["dropped", "round", "reach"],
};

const partsOfAxes: { readonly [S in Spacing]?: readonly (keyof GridOptions)[] } = {
  uniform: ["least", "round", "shift"],
  quadratic: ["least", "round"],
  karras: ["least", "round", "rho"],
  logLinear: ["least", "round"],
};

/** What lays out the nodes of a spacing, and the options that have a part in it. */
export function layoutOf(
  { steps }: Schedule,
  spacing: Spacing,
): { readonly layout: Layout; readonly parts: readonly (keyof GridOptions)[] } {
  const discrete = steps !== undefined;
  if (discrete && Object.hasOwn(subsequences, spacing)) {
    return { layout: subsequences[spacing]!, parts: partsOfSubsequences[spacing]! };
  }
  if (Object.hasOwn(axes, spacing)) return { layout: along, parts: partsOfAxes[spacing]! };
  const known = Object.keys({ ...axes, ...(discrete ? subsequences : {}) }).join(", ");
  throw unmade(
    "spacing",
    `one of ${known} for ${discrete ? "discrete" : "continuous"} time`,
    spacing,
  );
}
