import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { mixture } from "../../src/denoise/oracle/gaussian.ts";
import { mixtureDenoiser } from "../../src/denoise/oracle/mixture.ts";
import { times } from "../../src/noise/grid.ts";
import { type Tableau, tableaus } from "../../src/solve/tableau.ts";
import { vp } from "../../src/noise/schedule/continuous.ts";
import type { Level } from "../../src/noise/schedule/schedule.ts";
import { run } from "../../src/sample/run.ts";
import type { Sampler } from "../../src/sample/path.ts";
import { deis, lms } from "../../src/sample/solver/deis.ts";
import { pseudoAdams } from "../../src/sample/solver/pndm.ts";
import {
  adams,
  exponential,
  type MultistepRule,
  type MultistepWeights,
  type Node,
} from "../../src/sample/solver/weights.ts";
import { adaptiveFlow, arrived } from "../../src/sample/flow/adaptive.ts";
import { flow } from "../../src/sample/flow/flow.ts";
import { dpmSinglestep, singlestepStages } from "../../src/sample/solver/singlestep.ts";
import { dpmSolver, multistepCoefficients } from "../../src/sample/solver/dpm.ts";
import { uniPc, uniPcCoefficients } from "../../src/sample/solver/unipc.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";

const law = { means: [[-1.2], [0.9]], variances: [[0.1225], [0.25]], weights: [0.3, 0.7] };
const schedule = vp(), span = { from: 0.9, final: 0.03 }, denoiser = mixtureDenoiser(law);
const x0Of = (x: number, level: Level): number => denoiser([x], level)[0]!;
const starts = Array.from({ length: 12 }, (_, i) => -2.2 + 0.4 * i);

/** A solver on plain numbers: the end of each start, in so many steps. */
type Host = (steps: number) => number[];

const nodesOf = (steps: number, grid: object): Node[] =>
  times(schedule, { ...span, steps, ...grid }).map((t) => ({ t, ...schedule.at(t) }));

/** A point of the path on plain numbers. */
interface Point {
  readonly node: Node;
  readonly x: number;
  readonly x0: number;
}

const value = ({ of }: MultistepWeights, { x, x0, node: { alpha, sigma } }: Point): number =>
  of === "x0" ? x0 : (x - alpha * x0) / sigma;

const mean = (weights: MultistepWeights, x: number, points: readonly Point[]): number =>
  weights.predictions.reduce((sum, w, j) => sum + w * value(weights, points[j]!), weights.xt * x);

const byLambda = { spacing: "logLinear" };

/** The multistep driver on plain numbers, with exact past points, so that the first steps are of full order. */
function multistep(
  rule: MultistepRule,
  order: number,
  corrector?: MultistepRule,
  grid: object = byLambda,
): Host {
  return (steps) => {
    const nodes = nodesOf(steps, grid);
    return starts.map((start, i) => {
      let x = start, past: Point[] = [];
      if (nodes[0]!.t !== span.from) throw new Error("the grid starts elsewhere");
      for (let k = 0; k + 1 < nodes.length; k++) {
        // The first points are those of the exact solution.
        if (k < order - 1) x = exact(i, nodes[k]!.t);
        const now = { node: nodes[k]!, x, x0: x0Of(x, nodes[k]!) };
        const here = corrector && k >= order ? { ...now, x: redone(corrector, now, past) } : now;
        const points = [here, ...past].slice(0, order);
        const weights = rule({
          from: here.node,
          to: nodes[k + 1]!,
          past: points.slice(1).map((p) => p.node),
        });
        x = mean(weights, here.x, points);
        past = [here, ...past].slice(0, order);
      }
      return x;
    });
  };
}

function redone(
  corrector: MultistepRule,
  now: Point,
  [before, ...older]: readonly Point[],
): number {
  const others = [now, ...older];
  const weights = corrector({
    from: before!.node,
    to: now.node,
    past: others.map((p) => p.node),
  });
  return mean(weights, before!.x, [before!, ...others]);
}

/** The singlestep solver on plain numbers; steps counts evaluations. */
const singlestep = (order: number, corrector: "midpoint" | "heun"): Host => (steps) => {
  const nodes = nodesOf(steps, byLambda);
  return starts.map((start) => {
    let x = start;
    for (let k = 0; k + 1 < nodes.length; k += order) {
      const points: Point[] = [];
      let at = x;
      for (
        const { to, weights } of singlestepStages(nodes.slice(k, k + order + 1), { corrector })
      ) {
        const node = nodes[k + points.length]!;
        points.push({ node, x: at, x0: x0Of(at, node) });
        at = mean(weights, x, points);
        assert.equal(to, nodes[k + points.length]);
      }
      x = at;
    }
    return x;
  });
};

const ratio = ({ alpha, sigma }: Level): number => sigma / alpha;

/** Runge–Kutta on plain numbers in one chart: dy/dw for y = x/scale at sigma/alpha = rho(w). */
const rungeKutta = (tableau: Tableau, chart: "eps" | "flow" = "flow"): Host => (steps) => {
  const place = (rho: number) => chart === "eps" ? rho : rho / (1 + rho);
  const level = (w: number): Level => {
    const rho = chart === "eps" ? w : w / (1 - w), alpha = 1 / Math.sqrt(1 + rho ** 2);
    return { alpha, sigma: rho * alpha };
  };
  const scale = ({ alpha, sigma }: Level) => chart === "eps" ? alpha : alpha + sigma;
  const slope = (y: number, w: number): number => {
    const at = level(w), x = y * scale(at), x0 = x0Of(x, at);
    const eps = (x - at.alpha * x0) / at.sigma;
    return chart === "eps" ? eps : eps - x0;
  };
  const nodes = nodesOf(steps, byLambda);
  return starts.map((start) => {
    let y = start / scale(nodes[0]!);
    for (let k = 0; k + 1 < nodes.length; k++) {
      const w = place(ratio(nodes[k]!)), h = place(ratio(nodes[k + 1]!)) - w;
      const stages: number[] = [];
      tableau.a.forEach((row, i) => {
        const at = row.reduce((sum, a, j) => sum + h * a * stages[j]!, y);
        stages.push(slope(at, w + tableau.c[i]! * h));
      });
      y = tableau.b.reduce((sum, b, i) => sum + h * b * stages[i]!, y);
    }
    return y * scale(nodes.at(-1)!);
  });
};

/** The exact solution: RK4 in many steps, by dense tables of it. */
const fine = 1024;
const tables = starts.map((start) => {
  const nodes = nodesOf(fine, byLambda), table = new Map<number, number>([[span.from, start]]);
  let u = start / nodes[0]!.sigma;
  const slope = (v: number, lambda: number): number => {
    const sigma = 1 / Math.sqrt(1 + Math.exp(2 * lambda)), alpha = sigma * Math.exp(lambda);
    return alpha / sigma * x0Of(v * sigma, { alpha, sigma });
  };
  for (let k = 0; k < fine; k++) {
    const lambda = -Math.log(ratio(nodes[k]!)), h = -Math.log(ratio(nodes[k + 1]!)) - lambda;
    const a = slope(u, lambda), b = slope(u + h / 2 * a, lambda + h / 2);
    const c = slope(u + h / 2 * b, lambda + h / 2), d = slope(u + h * c, lambda + h);
    u += h / 6 * (a + 2 * b + 2 * c + d);
    table.set(nodes[k + 1]!.t, u * nodes[k + 1]!.sigma);
  }
  return table;
});

/** x at a time of the fine grid, which holds the coarse ones. */
function exact(i: number, t: number): number {
  const found = tables[i]!.get(t);
  if (found !== undefined) return found;
  const [near] = [...tables[i]!].toSorted(([a], [b]) => Math.abs(a - t) - Math.abs(b - t));
  assert.ok(Math.abs(near![0] - t) < 1e-9, `no exact value at ${t}`);
  return near![1];
}

const ends = starts.map((_, i) => exact(i, span.final));

function errorOf(found: readonly number[]): number {
  const squares = found.map((x, i) => (x - ends[i]!) ** 2);
  return Math.sqrt(squares.reduce((a, b) => a + b) / squares.length);
}

/** Minus the slope of log error between the last two counts. */
function orderOf(host: Host, counts: readonly [number, number]): readonly [number, number] {
  const [coarse, finest] = counts.map((n) => errorOf(host(n))) as [number, number];
  return [Math.log(coarse / finest) / Math.log(counts[1] / counts[0]), finest];
}

const dpm = (form: object): MultistepRule => (nodes) => multistepCoefficients(nodes, form);
const uni = (solver: "bh1" | "bh2"): MultistepRule => (nodes) =>
  uniPcCoefficients(nodes, { solver });

/** Name, solver, counts, order, and how far off the measured one may be. */
const cases: readonly (readonly [string, Host, readonly [number, number], number, number])[] = [
  ["Euler", rungeKutta(tableaus.euler), [128, 256], 1, 0.1],
  ["Heun", rungeKutta(tableaus.heun), [128, 256], 2, 0.15],
  ["Heun in the eps chart", rungeKutta(tableaus.heun, "eps"), [128, 256], 2, 0.2],
  ["midpoint", rungeKutta(tableaus.midpoint), [128, 256], 2, 0.15],
  ["RK4", rungeKutta(tableaus.rk4), [64, 128], 4, 0.3],
  ["DPM-Solver++ 1S", multistep(dpm({}), 1), [128, 256], 1, 0.1],
  ["DPM-Solver++ 2M midpoint", multistep(dpm({}), 2), [128, 256], 2, 0.2],
  ["DPM-Solver++ 2M heun", multistep(dpm({ corrector: "heun" }), 2), [128, 256], 2, 0.2],
  ["DPM-Solver++ 3M", multistep(dpm({}), 3), [128, 256], 3, 0.2],
  ["DPM-Solver++ 3M halved", multistep(dpm({ curvature: "halved" }), 3), [256, 512], 2, 0.2],
  ["DPM-Solver 3M", multistep(dpm({ of: "eps" }), 3), [128, 256], 3, 0.3],
  ["DPM-Solver++ 2S", singlestep(2, "midpoint"), [128, 256], 2, 0.2],
  ["DPM-Solver++ 3S heun", singlestep(3, "heun"), [192, 384], 3, 0.3],
  ["DPM-Solver++ 3S midpoint", singlestep(3, "midpoint"), [192, 384], 3, 0.3],
  ["UniP-2", multistep(uni("bh2"), 2), [128, 256], 2, 0.2],
  ["UniPC-1", multistep(uni("bh2"), 1, uni("bh2")), [128, 256], 2, 0.2],
  ["UniPC-2 bh1", multistep(uni("bh1"), 2, uni("bh1")), [128, 256], 3, 0.35],
  ["UniPC-2 bh2", multistep(uni("bh2"), 2, uni("bh2")), [128, 256], 3, 0.35],
  ["UniPC-3", multistep(uni("bh2"), 3, uni("bh2")), [128, 256], 4, 0.5],
  ["DEIS log-rho 3", multistep(exponential({ of: "eps" }), 3), [128, 256], 3, 0.3],
  ["LMS 2", multistep(adams, 2), [128, 256], 2, 0.2],
  ["LMS 4", multistep(adams, 4), [256, 512], 4, 0.5],
  ["PNDM's weights on unequal steps", multistep(pseudoAdams, 4), [128, 256], 2, 0.2],
];

describe("orders of convergence of the solvers, in float64 on a mixture", () => {
  for (const [name, host, counts, wanted, width] of cases) {
    it(`${name} converges with order ${wanted}`, () => {
      const [order, error] = orderOf(host, counts);
      assert.ok(Math.abs(order - wanted) <= width, `order ${order}, error ${error}`);
      assert.ok(error > 1e-11, `error ${error} is rounding`);
    });
  }
});

async function sampled(sampler: Sampler): Promise<number[]> {
  const x = tf.tensor(starts, [starts.length, 1]);
  const env = { model: mixture(schedule, law), key: key(0), until: arrived(span.final) };
  let found: number[] = [];
  for await (const state of run({ x, t: span.from, step: 0 }, env)(sampler)) {
    found = [...state.x.dataSync()];
  }
  x.dispose();
  return found;
}

describe("samplers are those recursions", () => {
  before(() => useBackend("cpu"));
  const grid = { ...span, steps: 12, spacing: "logLinear" } as const;
  const plain = { ...grid, lowerOrderFinal: false } as const;

  const pairs: readonly (readonly [string, () => Sampler, Host])[] = [
    [
      "flow() with rk4",
      () => flow(schedule, { ...grid, tableau: tableaus.rk4 }),
      rungeKutta(tableaus.rk4),
    ],
    [
      "flow() with heun in eps",
      () => flow(schedule, { ...grid, chart: "eps" }),
      rungeKutta(tableaus.heun, "eps"),
    ],
    [
      "dpmSolver() of order 1",
      () => dpmSolver(schedule, { ...plain, order: 1 }),
      multistep(dpm({}), 1),
    ],
    ["dpmSinglestep() of order 2", () => dpmSinglestep(schedule, plain), singlestep(2, "midpoint")],
    [
      "dpmSinglestep() of order 3",
      () => dpmSinglestep(schedule, { ...plain, order: 3 }),
      singlestep(3, "heun"),
    ],
    [
      "uniPc() of order 1",
      () => uniPc(schedule, { ...plain, order: 1 }),
      multistep(uni("bh2"), 1, uni("bh2")),
    ],
  ];
  for (const [name, make, host] of pairs) {
    it(name, async () => {
      const found = await sampled(make());
      host(12).forEach((x, i) => assert.ok(Math.abs(found[i]! - x) < 2e-5, `${found[i]} and ${x}`));
    });
  }

  it("multistep samplers of higher order come as near as their order lets them", async () => {
    const many = { ...span, steps: 64, spacing: "logLinear", lowerOrderFinal: false } as const;
    const third = errorOf(await sampled(dpmSolver(schedule, { ...many, order: 3 })));
    const halved = errorOf(
      await sampled(dpmSolver(schedule, { ...many, order: 3, curvature: "halved" })),
    );
    const second = errorOf(await sampled(dpmSolver(schedule, many)));
    assert.ok(third < halved && halved < second, `${third}, ${halved}, ${second}`);
    for (
      const other of [
        uniPc(schedule, { ...many, order: 3 }),
        lms(schedule, { ...span, steps: 64, spacing: "logLinear" }),
        deis(schedule, { ...many, order: 3 }),
      ]
    ) {
      const error = errorOf(await sampled(other));
      assert.ok(error < second, `${error} is not below ${second}`);
    }
    for (const variable of ["t", "rho", "logRho"] as const) {
      const error = errorOf(await sampled(deis(schedule, { ...many, variable })));
      assert.ok(error < 1e-2, `${variable}: ${error}`);
    }
  });

  it("adaptiveFlow() keeps its tolerance, and a tighter one better", async () => {
    const errors = [];
    for (const tolerance of [1e-2, 1e-4]) {
      const control = { absolute: tolerance, relative: tolerance };
      errors.push(errorOf(await sampled(adaptiveFlow(schedule, { control, final: span.final }))));
    }
    assert.ok(errors[0]! < 2e-2 && errors[1]! < 2e-4 && errors[1]! < errors[0]! / 5, `${errors}`);
  });
});
