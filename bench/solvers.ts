// How near do the solvers come with 10 and with 20 evaluations of the model? Root mean square distance of 64 samples
// from the exact solution of the probability-flow ODE at t = 0, on a mixture with its exact denoiser and linear() of
// 1,000 steps; beside them the deterministic schedulers of diffusers, by bench/solvers.py. Of each family the best of all
// its settings on all grids. Every call of the model counts, and no run has more of them than the budget.
//
// Run: deno run --allow-run bench/solvers.ts [--python PATH] [--budgets 10,20] [--law JSON]
//
// diffusers is another program's, never needed by the library: --python names an interpreter with diffusers, torch and
// scipy; without one ours are measured alone, and no permission is needed. --law is another mixture of numbers.
//
// Measured on 2026-11-28 with diffusers 0.42.1; the figures do not depend on the machine. With their settings they are in
// docs/solvers.md. The best: 8.53e-3 / 1.17e-2 = 0.73 at 10 evaluations, 1.43e-3 / 2.36e-3 = 0.60 at 20; on grids that both
// have 1.36 and 0.87; with diffusers asked at its own sigmas, which it does not do, 0.76 and 1.50.
//
//   10 evaluations                       ours  diffusers
//   ddim                                1.38e-1    1.50e-1
//   dpmSolver                           1.97e-2    2.03e-2
//   dpmSinglestep                       1.79e-2    3.25e-2
//   uniPc                               1.97e-2    1.17e-2
//   deis                                2.03e-2    3.39e-2
//   lms                                 4.61e-2    6.04e-2
//   pndm                                1.56e-2    6.23e-2
//   multistep of pseudoAdams            1.06e-2    2.92e-2
//   multistep with a corrector          2.11e-2    2.03e-2
//   flow, Heun                          2.42e-2    1.46e-1
//   flow, midpoint                      1.59e-2          -
//   flow, RK4                           8.53e-3          -
//   kdpm2                               1.54e-1    1.94e-1
//   20 evaluations                       ours  diffusers
//   ddim                                6.58e-2    8.15e-2
//   dpmSolver                           4.40e-3    4.78e-3
//   dpmSinglestep                       2.07e-3    1.21e-2
//   uniPc                               4.29e-3    2.36e-3
//   deis                                5.42e-3    7.13e-3
//   lms                                 4.85e-3    6.32e-3
//   pndm                                5.04e-3    7.10e-3
//   multistep of pseudoAdams            4.33e-3    5.23e-3
//   multistep with a corrector          1.43e-3    3.67e-3
//   flow, Heun                          7.86e-3    5.11e-2
//   flow, midpoint                      4.08e-3          -
//   flow, RK4                           3.78e-3          -
//   kdpm2                               3.19e-2    8.14e-2

import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import * as tf from "@tensorflow/tfjs-core";
import { adams, type Chart, pseudoAdams } from "@tweedie/tweedie/sample";
import {
  ddim,
  deis,
  dpmSinglestep,
  dpmSolver,
  exponential,
  flow,
  type GridOptions,
  kdpm2,
  key,
  linear,
  lms,
  mixture,
  type Model,
  multistep,
  type MultistepRule,
  pndm,
  run,
  type Sampler,
  tableaus,
  uniPc,
} from "@tweedie/tweedie";
import { mixtureDenoiser, mixtureScore } from "@tweedie/tweedie/denoise";
import { useBackend } from "@tweedie/tweedie/backend";

const { values } = parseArgs({
  options: {
    python: { type: "string" },
    budgets: { type: "string", default: "10,20" },
    law: {
      type: "string",
      default: '{"means":[-1.2,0.9],"variances":[0.1225,0.25],"weights":[0.3,0.7]}',
    },
  },
});
const budgets = values.budgets.split(",").map(Number);
const law: Readonly<Record<"means" | "variances" | "weights", number[]>> = JSON.parse(values.law);
const beta = { steps: 1000, betaStart: 1e-4, betaEnd: 0.02 }, schedule = linear(beta);
const starts = Array.from({ length: 64 }, (_, i) => -2.2 + 4.4 * i / 63);

// ---- the exact solution --------------------------------------------------------------------------------------------

/** Ends of the ODE at sigma = 0, in float64: RK4 in the chart y = x/(alpha + sigma), w = sigma/(alpha + sigma). */
function ends(count = 1000): number[] {
  const score = mixtureScore(law), denoiser = mixtureDenoiser(law), first = schedule.at(beta.steps);
  const slope = (y: number, w: number): number => {
    const size = Math.hypot(w, 1 - w), level = { alpha: (1 - w) / size, sigma: w / size };
    const x = [y * (level.alpha + level.sigma)];
    return -level.sigma * score(x, level)[0]! - denoiser(x, level)[0]!;
  };
  const total = first.alpha + first.sigma, h = -first.sigma / total / count;
  return starts.map((x) => {
    let y = x / total;
    for (let k = count; k > 0; k--) {
      const w = -h * k, a = slope(y, w), b = slope(y + h / 2 * a, w + h / 2);
      const c = slope(y + h / 2 * b, w + h / 2), d = slope(y + h * c, w + h);
      y += h / 6 * (a + 2 * b + 2 * c + d);
    }
    return y;
  });
}

const exact = ends();

// ---- ours ------------------------------------------------------------------------------------------------------------

/** Values of options, as they would be written. */
type Setting = Readonly<Record<string, unknown>>;

/** Solvers of one kind: the product of their options, and what makes one. */
interface Family {
  readonly name: string;
  /** Classes of diffusers that do the same. */
  readonly twins: readonly string[];
  readonly settings: readonly Setting[];
  readonly make: (setting: never, grid: GridOptions) => Sampler;
  /** Evaluations of a whole step. Default: 1. */
  readonly stages?: number;
}

/** All combinations of values of options; undefined leaves an option out. */
function product(lists: Readonly<Record<string, readonly unknown[]>>): Setting[] {
  return Object.entries(lists).reduce<Setting[]>(
    (made, [name, list]) =>
      made.flatMap((setting) =>
        list.map((value) => value === undefined ? setting : { ...setting, [name]: value })
      ),
    [{}],
  );
}

const either = [true, false], orders = [undefined, 3], of = [undefined, "eps"];
const corrector = ["midpoint", "heun"], charts = ["v", "eps", undefined, "x0"];
const rules = { x0: exponential(), eps: exponential({ of: "eps" }), rho: adams };

/** A predictor through `order` predictions, and a corrector through `corrected` of them, the newest at its end. */
function corrected(
  { rule, order, corrected, low }: {
    rule: keyof typeof rules;
    order: number;
    corrected: number;
    low: boolean;
  },
  grid: GridOptions,
): Sampler {
  const corrector: MultistepRule = (nodes) =>
    rules[rule]({ ...nodes, past: nodes.past.slice(0, corrected - 1) });
  const lowerOrderFinal = low, pastZero = rule === "rho";
  return multistep(schedule, grid, {
    rule: rules[rule],
    order,
    corrector,
    lowerOrderFinal,
    pastZero,
  });
}

const flowBy = (
  { tableau, ...rest }: { tableau: keyof typeof tableaus; chart?: Chart },
  grid: GridOptions,
): Sampler => flow(schedule, { ...grid, ...rest, tableau: tableaus[tableau] });

const families: readonly Family[] = [
  {
    name: "`ddim`",
    twins: ["DDIM", "EulerDiscrete", "EDMEuler"],
    settings: [{}],
    make: (_, grid) => ddim(schedule, grid),
  },
  {
    name: "`dpmSolver`",
    twins: ["DPMSolverMultistep", "EDMDPMSolverMultistep"],
    settings: [
      ...product({ of, corrector, lowerOrderFinal: either }),
      ...product({ order: [3], of, lowerOrderFinal: either, curvature: [undefined, "halved"] }),
    ],
    make: (setting: object, grid) => dpmSolver(schedule, { ...grid, ...setting }),
  },
  {
    name: "`dpmSinglestep`",
    twins: ["DPMSolverSinglestep"],
    settings: product({ order: orders, of, corrector, lowerOrderFinal: [undefined, true] }),
    make: (setting: object, grid) => dpmSinglestep(schedule, { ...grid, ...setting }),
  },
  {
    name: "`uniPc`",
    twins: ["UniPCMultistep"],
    settings: product({
      order: [1, undefined, 3],
      solver: ["bh1", undefined],
      corrected: [undefined, false],
      lowerOrderFinal: [undefined, false],
    }),
    make: (setting: object, grid) => uniPc(schedule, { ...grid, ...setting }),
  },
  {
    name: "`deis`",
    twins: ["DEISMultistep"],
    settings: product({
      order: orders,
      variable: ["t", "rho", undefined],
      lowerOrderFinal: either,
    }),
    make: (setting: object, grid) => deis(schedule, { ...grid, ...setting }),
  },
  {
    name: "`lms`",
    twins: ["LMSDiscrete"],
    settings: product({ order: [2, 3, undefined] }),
    make: (setting: object, grid) => lms(schedule, { ...grid, ...setting }),
  },
  {
    name: "`pndm`",
    twins: ["PNDM"],
    settings: product({ warmUp: [undefined, "heun"] }),
    make: (setting: object, grid) => pndm(schedule, { ...grid, ...setting }),
  },
  {
    name: "`multistep` of `pseudoAdams`",
    twins: ["IPNDM"],
    settings: [{}],
    make: (_, grid) => multistep(schedule, grid, { rule: pseudoAdams, order: 4, pastZero: true }),
  },
  {
    name: "`multistep` with a corrector",
    twins: ["SASolver"],
    settings: product({
      rule: ["x0", "eps", "rho"],
      order: [2, 3, 4],
      corrected: [2, 3, 4],
      low: either,
    }),
    make: corrected,
  },
  {
    name: "`flow`, Heun",
    twins: ["HeunDiscrete"],
    settings: product({ tableau: ["heun"], chart: charts }),
    make: flowBy,
    stages: 2,
  },
  {
    name: "`flow`, midpoint",
    twins: [],
    settings: product({ tableau: ["midpoint"], chart: charts }),
    make: flowBy,
    stages: 2,
  },
  {
    name: "`flow`, RK4",
    twins: [],
    settings: product({ tableau: ["rk4"], chart: charts }),
    make: flowBy,
    stages: 4,
  },
  {
    name: "`kdpm2`",
    twins: ["KDPM2Discrete"],
    settings: [{}],
    make: (_, grid) => kdpm2(schedule, grid),
    stages: 2,
  },
];

/** Grids that diffusers has too: its sigmas of Karras, exponential (and Lu's), its three spacings in two families. */
const shared: readonly GridOptions[] = [
  { spacing: "trailing" },
  ...[{}, { offset: 1 }, { dropped: 1 }, { offset: 1, dropped: 1 }]
    .map((options) => ({ spacing: "leading" as const, ...options })),
  { spacing: "linspace" },
  { spacing: "linspace", dropped: 1 },
  { spacing: "linspace", round: false },
  { spacing: "karras" },
  { spacing: "logLinear" },
];

const own: readonly GridOptions[] = [
  { spacing: "quadratic" },
  { spacing: "quadratic", reach: 1 },
  { spacing: "uniform" },
];

const grids: readonly GridOptions[] = [...shared, ...own].flatMap((
  grid,
) => [grid, { ...grid, final: 1 }]);

/** One measured setting. */
interface Found {
  readonly error: number;
  readonly evaluations: number;
  readonly words: string;
  readonly shared: boolean;
}

class Spent extends Error {}

/** The model, which answers no more often than it may. */
function counted(budget: number): { readonly model: Model; readonly calls: () => number } {
  const oracle = mixture(schedule, law);
  let calls = 0;
  const predict: Model["predict"] = (x, t) => {
    if (++calls > budget) throw new Spent();
    return oracle.predict(x, t);
  };
  return { model: { schedule, predict }, calls: () => calls };
}

function errorOf(found: ArrayLike<number>): number {
  const squares = exact.map((x, i) => (found[i]! - x) ** 2);
  return Math.sqrt(squares.reduce((a, b) => a + b) / squares.length);
}

/** A sampler's error and evaluations, or nothing where it would need more of them. */
async function measured(
  sampler: Sampler,
  budget: number,
): Promise<Pick<Found, "error" | "evaluations"> | undefined> {
  const { model, calls } = counted(budget), x = tf.tensor(starts, [starts.length, 1]);
  let error = NaN;
  try {
    for await (const state of run({ x, t: beta.steps, step: 0 }, { model, key: key(0) })(sampler)) {
      error = errorOf(state.x.dataSync());
    }
    return { error, evaluations: calls() };
  } catch (thrown) {
    if (thrown instanceof Spent) return undefined;
    throw thrown;
  } finally {
    x.dispose();
  }
}

const written = (setting: Setting): string =>
  Object.entries(setting).map(([name, value]) =>
    `${name}: ${typeof value === "string" && name !== "tableau" ? JSON.stringify(value) : value}`
  ).join(", ");

/** One setting on one grid with the most steps that fit; nothing where the grid does not exist. */
async function fitted(
  { make, stages = 1 }: Family,
  [setting, grid]: readonly [Setting, GridOptions],
  budget: number,
): Promise<Found | undefined> {
  for (let steps = Math.floor(budget / stages) + 1; steps > 0; steps--) {
    const sampler = made(() => make(setting as never, { ...grid, steps }));
    const found = sampler && await measured(sampler, budget);
    if (!found) continue;
    if (!Number.isFinite(found.error)) return undefined;
    const words = `${written({ ...setting, ...grid, steps })}`;
    return { ...found, words, shared: shared.some(({ spacing }) => spacing === grid.spacing) };
  }
  return undefined;
}

/** A sampler, or nothing where two of its times would be the same. */
function made(make: () => Sampler): Sampler | undefined {
  try {
    return make();
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

async function all(family: Family, budget: number): Promise<Found[]> {
  const found: Found[] = [];
  for (const setting of family.settings) {
    for (const grid of grids) {
      const one = await fitted(family, [setting, grid], budget);
      if (one) found.push(one);
    }
  }
  return found;
}

// ---- theirs ----------------------------------------------------------------------------------------------------------

/** A row of bench/solvers.py. */
interface Their {
  readonly class: string;
  readonly setting: string;
  readonly asked: "given" | "level";
  readonly budget: number;
  readonly evaluations: number;
  readonly error: number;
}

interface Answer {
  readonly diffusers: string;
  readonly skipped: number;
  readonly results: readonly Their[];
}

async function asked(python: string): Promise<Answer> {
  const child = new Deno.Command(python, {
    args: [fileURLToPath(new URL("solvers.py", import.meta.url))],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(
    new TextEncoder().encode(JSON.stringify({ ...beta, law, starts, exact, budgets })),
  );
  await writer.close();
  const { success, stdout } = await child.output();
  if (!success) throw new Error(`Cannot measure diffusers: ${python} has failed`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

// ---- the tables --------------------------------------------------------------------------------------------------------

const least = <T extends { readonly error: number }>(list: readonly T[]): T | undefined =>
  list.reduce<T | undefined>(
    (best, one) => best && best.error <= one.error ? best : one,
    undefined,
  );

const figure = (error: number | undefined): string => error?.toExponential(2) ?? "";

const theirWords = (their: Their): string =>
  `${their.class}${their.setting && `: ${their.setting}`}`;

const line = (cells: readonly string[]): void => console.log(`| ${cells.join(" | ")} |`);

interface Row {
  readonly name: string;
  readonly ours: readonly Found[];
  readonly theirs: readonly Their[];
}

/** One table, and the ratios of the best to the best. */
function report(budget: number, rows: readonly Row[], answer: Answer | undefined): void {
  console.log(`\n${budget} evaluations\n`);
  const both = answer !== undefined;
  line(["solver", "error", "options", ...(both ? ["diffusers", "options"] : [])]);
  line(["---", "---", "---", ...(both ? ["---", "---"] : [])]);
  for (const { name, ours, theirs } of rows) {
    const best = least(ours), their = least(theirs.filter(({ asked }) => asked === "given"));
    const right = both ? [figure(their?.error), their ? theirWords(their) : ""] : [];
    line([name, figure(best?.error), best ? `\`${best.words}\`` : "", ...right]);
  }
  if (!answer) return;
  const theirs = answer.results.filter((their) => their.budget === budget);
  const asGiven = theirs.filter((their) => their.asked === "given");
  const ours = rows.flatMap(({ name, ours }) => ours.map((one) => ({ ...one, name })));
  console.log(
    `\n${ours.length} settings of ours, ${asGiven.length} of diffusers ${answer.diffusers}`,
  );
  const compare = (what: string, mine: typeof ours, other: readonly Their[]): void => {
    const a = least(mine)!, b = least(other)!;
    console.log(
      `${what}: ${figure(a.error)} / ${figure(b.error)} = ${(a.error / b.error).toFixed(2)} ` +
        `(${a.name} ${a.words} / ${theirWords(b)})`,
    );
  };
  compare("the best", ours, asGiven);
  compare("ours on grids that both have", ours.filter((one) => one.shared), asGiven);
  compare("theirs asked at their own sigma", ours, theirs);
}

/** Settings that were not sought for, on each budget. */
async function fixed(): Promise<void> {
  const plain: readonly (readonly [string, string, Setting, GridOptions])[] = [
    ["ddim", "`ddim`", {}, {}],
    ["dpmSolver", "`dpmSolver`", {}, {}],
    ["dpmSolver", "`dpmSolver`", {}, { spacing: "logLinear" }],
    ["dpmSolver", "`dpmSolver`", { order: 3 }, { spacing: "logLinear", final: 1 }],
    ["uniPc", "`uniPc`", {}, { spacing: "logLinear", final: 1 }],
    ["uniPc", "`uniPc`", { order: 3 }, { spacing: "logLinear", final: 1 }],
    ["deis", "`deis`", { order: 3 }, { spacing: "logLinear", final: 1 }],
    ["deis", "`deis`", { order: 3 }, { spacing: "quadratic", reach: 1 }],
    ["pndm", "`pndm`", { warmUp: "heun" }, { spacing: "quadratic", reach: 1 }],
    ["flow", "`flow`, Heun", { tableau: "heun", chart: "v" }, { spacing: "quadratic", reach: 1 }],
  ];
  console.log("\nsettings that were not sought for\n");
  line(["solver, options", ...budgets.map((budget) => `${budget} evaluations`)]);
  line(["---", ...budgets.map(() => "---")]);
  for (const [call, name, setting, grid] of plain) {
    const family = families.find((one) => one.name === name)!, cells: string[] = [];
    for (const budget of budgets) {
      cells.push(figure((await fitted(family, [setting, grid], budget))?.error));
    }
    const options = written({ ...setting, ...grid });
    line([`\`${call}(schedule${options && `, { ${options} }`})\``, ...cells]);
  }
}

await useBackend("cpu");
const answer = values.python === undefined ? undefined : await asked(values.python);
for (const budget of budgets) {
  const rows: Row[] = [];
  for (const family of families) {
    const theirs = answer?.results.filter((their) =>
      their.budget === budget && family.twins.includes(their.class)
    );
    rows.push({ name: family.name, ours: await all(family, budget), theirs: theirs ?? [] });
  }
  report(budget, rows, answer);
}
await fixed();
