/**
 * Grids: the times that a sampler visits, from noise to data.
 *
 * A grid of n steps is n + 1 strictly falling times; one that starts where it ends is that time alone, of no steps. It has
 * one of two forms: n + 1 nodes that end at the final
 * time, or n nodes that end at a `least` time above it, and then the final time, for spacings that cannot reach
 * sigma = 0. The spacings of discrete schedules are the sub-sequences of the literature, in which index i of
 * a Python library is our t = i + 1; numbers half way between two whole ones go to the even one, as in numpy, and
 * they are rounded where the libraries round them: as an index for linspace, as a time for trailing.
 *
 * ```text
 *   trailing     t = round(T − i·T/n)                          i = 0 … n − 1, then 0
 *   leading      t = 1 + (n − 1 − i)·⌊T/n⌋ + offset            i = 0 … n − 1, then 0
 *   linspace     t = 1 + round((T − 1)·(n − 1 − i)/(n − 1))    i = 0 … n − 1, then 0
 *   quadratic    t = 1 + ⌊reach·T·((n − 1 − i)/(n − 1))²⌋      i = 0 … n − 1, then 0; at most T
 *   karras       (sigma/alpha)^(1/rho) equally spaced
 *   logLinear    log-SNR equally spaced
 *   uniform      t equally spaced
 * ```
 *
 * Sources: J. Song, C. Meng, S. Ermon, "Denoising diffusion implicit models" (ICLR 2021), appendix D.2 and released
 * code (leading, quadratic); S. Lin et al., "Common diffusion noise schedules and sample steps are flawed"
 * (WACV 2024), table 2 (leading, linspace, trailing); T. Karras et al., "Elucidating the design space of
 * diffusion-based generative models" (NeurIPS 2022), eq. 5 (karras); C. Lu et al., "DPM-Solver" (NeurIPS 2022),
 * section 3.3 (logLinear); P. Esser et al., "Scaling rectified flow transformers" (ICML 2024), eq. 23 (shift).
 *
 * @module
 */

import { refusal } from "../tensor/check/check.ts";
import { decoded, type Rules, whole } from "../tensor/check/decode.ts";
import type { Schedule, Spacing } from "./schedule/schedule.ts";
import {
  along,
  type GridOptions,
  gridRules,
  type GridSettings,
  type Layout,
  layoutOf,
  unmade,
} from "./spacing.ts";

export type { GridOptions, Spacing };

/** What is refused here. */
const making = "make a grid";

/** How a layout is made, where it is that layout. */
const manners: readonly (keyof GridOptions)[] = ["rho", "offset", "dropped", "round"];

/** Throws at the first option that would do nothing. */
function checkParts(
  options: GridOptions,
  parts: readonly (keyof GridOptions)[],
  beside: string,
): void {
  const idle = (Object.keys(options) as (keyof GridOptions)[]).find((name) =>
    options[name] !== undefined && !parts.includes(name) && !manners.includes(name)
  );
  if (idle !== undefined) {
    throw refusal(making, `${idle} must be absent ${beside}`, options[idle]);
  }
}

// Settings and their checks.

/** The time at which sigma is 0, or the span's least where there is none. */
function dataTime({ span, timeOf }: Schedule): number {
  try {
    return timeOf(Infinity);
  } catch {
    return span[0];
  }
}

/** A time that rounding has moved off an end of the span, or off a whole time of a discrete schedule, put back there. */
function settled(schedule: Schedule, t: number): number {
  const { span: [start, end], steps } = schedule, slack = 1e-9 * (end - start);
  const place = [end, start, dataTime(schedule)].find((place) => Math.abs(t - place) <= slack);
  if (place !== undefined || steps === undefined) return place ?? t;
  return Math.abs(t - Math.round(t)) <= 1e-12 * steps ? Math.round(t) : t;
}

/** Whether two times are one but for rounding. */
const same = (a: number, b: number): boolean =>
  a === b || Math.abs(a - b) <= 1e-12 * Math.max(Math.abs(a), Math.abs(b));

/** Default of `least`. */
function leastOf(
  { steps, span: [start, end], at }: Schedule,
  spacing: Spacing,
  { from, final }: { readonly from: number; readonly final: number },
): number {
  if ((spacing !== "karras" && spacing !== "logLinear") || at(final).sigma > 0) return final;
  const later = start > final ? start : final + (end - start) / 1000;
  const usual = steps === undefined ? later : 1;
  return usual < from ? usual : final + (from - final) / 1000;
}

/** The options that are there, the schedule's own layout among them where no other is asked for. */
function asked({ grid }: Schedule, options: GridOptions): GridOptions {
  const given = Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  );
  return { ...(options.spacing === undefined && decoded(making, grid ?? {}, gridRules)), ...given };
}

/** The options with every default filled in, and their layout. */
function settingsOf(
  schedule: Schedule,
  options: GridOptions,
): GridSettings & { readonly layout: Layout } {
  const given = asked(schedule, options), isDiscrete = schedule.steps !== undefined;
  const spacing = given.spacing ?? (isDiscrete ? "trailing" : "uniform");
  const { layout, parts } = layoutOf(schedule, spacing);
  checkParts(
    given,
    ["steps", "spacing", "from", "final", ...parts],
    `with spacing "${spacing}" in ${isDiscrete ? "discrete" : "continuous"} time`,
  );
  const final = settled(schedule, given.final ?? dataTime(schedule));
  checkFinal(schedule, final);
  const from = settled(schedule, given.from ?? schedule.span[1]);
  const least = given.least === undefined
    ? leastOf(schedule, spacing, { from, final })
    : settled(schedule, given.least);
  return {
    steps: schedule.steps ?? 50,
    rho: 7,
    offset: 0,
    dropped: 0,
    round: layout !== along,
    reach: 0.8,
    shift: 1,
    ...given,
    from: same(from, final) ? final : from,
    least,
    spacing,
    final,
    schedule,
    layout,
  };
}

function checkFinal(schedule: Schedule, final: number): void {
  const start = Math.min(dataTime(schedule), schedule.span[0]), end = schedule.span[1];
  if (!(final >= start && final < end)) throw unmade("final", `in [${start}, ${end})`, final);
}

function checkSettings(settings: GridSettings & { readonly layout: Layout }): void {
  const { schedule, steps, from, final, least, round, layout } = settings;
  const end = schedule.span[1], isMoving = from !== final;
  if (isMoving && steps < 1) throw unmade("steps", "a whole number of at least 1", steps);
  if (!(from >= final && from <= end)) throw unmade("from", `in [${final}, ${end}]`, from);
  if (isMoving && !(least >= final && least < from)) {
    throw unmade("least", `in [${final}, ${from})`, least);
  }
  if (round && schedule.steps === undefined) {
    throw unmade("round", "false for continuous time", round);
  }
  if (isMoving && layout !== along) checkSubsequence(settings);
}

function checkSubsequence({ steps, from, dropped, spacing }: GridSettings): void {
  if (!whole(1)(from)) throw unmade("from", `a whole number of at least 1 for ${spacing}`, from);
  if ((spacing === "linspace" || spacing === "quadratic") && steps + dropped < 2) {
    throw unmade("steps", `at least 2 for ${spacing} with both ends kept`, steps);
  }
}

/** The list itself, if it can be a grid. */
function checked(list: readonly number[], schedule: Schedule): number[] {
  const start = Math.min(dataTime(schedule), schedule.span[0]), end = schedule.span[1];
  // One time is where a grid ends, and no grid ends in noise.
  if (list.length < (list[0]! < end ? 1 : 2)) throw unmade("times", "at least two", list.length);
  list.forEach((t, i) => {
    if (!(t >= start && t <= end)) throw unmade(`times[${i}]`, `in [${start}, ${end}]`, t);
    const before = list[i - 1] ?? Infinity;
    if (!(t < before) || (i > 0 && same(t, before))) {
      throw unmade(`times[${i}]`, `below the time before it, ${before}`, t);
    }
  });
  return [...list];
}

/**
 * The grid of a sampler: n + 1 strictly falling times, from noise to data.
 *
 * | to have the grid of | options |
 * |---|---|
 * | DDPM, DDIM as released | `{ steps, spacing: "leading" }`; DDIM's other one is `"quadratic"` |
 * | DDIM's tau with both ends | `{ steps, spacing: "linspace" }` |
 * | DPM-Solver, UniPC, DEIS in diffusers | `{ steps, spacing: "linspace", dropped: 1 }`, and `final: 1` for its sigma_min |
 * | Euler, Heun, LMS in diffusers | `{ steps, spacing: "linspace", round: false }` |
 * | score SDE | `{ steps, final: 1e-3 }` on `vp()`, `{ steps, final: 1e-5 }` on `ve()` |
 * | EDM | `{ steps }` on `edm()`, which is `spacing: "karras"` there |
 * | NCSN's geometric levels | `{ steps }` on `ve()` |
 *
 * A time within 1e-9 of the span's length of one of its ends is that end; within 1e-12 of it of a whole time of a discrete
 * schedule, that time.
 *
 * @category Schedules
 * @param schedule The schedule that gives t its meaning.
 * @param options Number of steps, spacing and its parameters; or the times themselves.
 * @returns n + 1 times; the first is where the chain starts, the last is `final`. Where that is where it starts, one time.
 * @throws {RangeError} If an option is out of its range or has no part in the layout, a spacing does not fit the schedule, or
 * two times would be the same, as with more steps than a discrete schedule has.
 * @throws {TypeError} If an option is not known.
 *
 * @example Ten of a thousand, three ways
 * ```ts
 * import { linear, times } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const grid = (spacing: "trailing" | "leading" | "linspace") =>
 *   times(linear(), { steps: 10, spacing }).slice(0, 3);
 * assert.deepEqual(grid("trailing"), [1000, 900, 800]);
 * assert.deepEqual(grid("leading"), [901, 801, 701]);
 * assert.deepEqual(grid("linspace"), [1000, 889, 778]);
 * ```
 *
 * @example EDM's noise levels
 * ```ts
 * import { edm, times } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const sigmas = times(edm(), { steps: 18 });
 * assert.deepEqual(sigmas.slice(0, 2).map((sigma) => sigma.toFixed(3)), ["80.000", "57.586"]);
 * assert.deepEqual(sigmas.slice(-2), [0.002, 0]);
 * ```
 */
export function times(schedule: Schedule, options: GridOptions = {}): number[] {
  decoded(making, options, gridRules);
  if (options.times !== undefined) {
    checkParts(options, ["times", "steps"], "beside times");
    return checked(options.times.map((t) => settled(schedule, t)), schedule);
  }
  const settings = settingsOf(schedule, options), { from, final, least, layout } = settings;
  checkSettings(settings);
  if (from === final) return [final];
  const nodes = layout(settings), closed = layout === along && least === final;
  return checked(closed ? nodes : [...nodes, final], schedule);
}

/**
 * {@link times} from the options of a sampler, which has some of its own beside those of the grid.
 *
 * @param action What the options are for, such as `"make a DDIM sampler"`.
 * @param given The schedule, and all options.
 * @param own The rules of those that are not the grid's.
 * @returns The grid.
 * @throws {TypeError} If an option is neither the grid's nor one of the sampler's own.
 * @throws {RangeError} If one of its own is out of range.
 * @throws What {@link times} throws.
 */
export function timesAmong<O extends GridOptions>(
  action: string,
  { schedule, options }: { readonly schedule: Schedule; readonly options: O },
  own: Rules<Omit<O, keyof GridOptions>>,
): number[] {
  const isGrid = ([name]: [string, unknown]): boolean => Object.hasOwn(gridRules, name);
  decoded<object, O>(action, options, { ...namesOfGrid, ...own });
  return times(schedule, Object.fromEntries(Object.entries(options).filter(isGrid)));
}

/** The options of a grid beside others, of which the grid itself looks at the values. */
const namesOfGrid = Object.fromEntries(Object.keys(gridRules).map((name) => [name, true] as const));
