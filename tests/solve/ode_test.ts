import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { denseOutput, rungeKutta, stages, type VectorField } from "../../src/solve/rungekutta.ts";
import { errorNorm, type StepControl, stepFactor } from "../../src/solve/control.ts";
import { type OdeState, solve, type SolveOptions } from "../../src/solve/ode.ts";
import { type Tableau, tableaus } from "../../src/solve/tableau.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { live } from "../measure.ts";

const methods = Object.entries(tableaus) as [keyof typeof tableaus, Tableau][];

/** A rooted tree, by the subtrees of its root. */
type Tree = readonly Tree[];

const size = (tree: Tree): number => 1 + tree.reduce((sum, sub) => sum + size(sub), 0);

/** gamma of Butcher's theory: the product of the sizes of all subtrees. */
const gamma = (tree: Tree): number => tree.reduce((p, sub) => p * gamma(sub), size(tree));

/** All rooted trees of n nodes: multisets of smaller ones. */
function trees(n: number): Tree[] {
  const pool = Array.from({ length: n - 1 }, (_, i) => trees(i + 1)).flat();
  const forests = (left: number, from: number): Tree[][] =>
    left === 0
      ? [[]]
      : pool.flatMap((tree, i) =>
        i < from || size(tree) > left
          ? []
          : forests(left - size(tree), i).map((rest) => [tree, ...rest])
      );
  return n === 1 ? [[]] : forests(n - 1, 0);
}

/** The elementary weights of a tree at each stage: the product over subtrees of Σ_j a_ij·(theirs at j). */
const weightsOf = ({ a, c }: Tableau, tree: Tree): number[] =>
  tree.map((sub) => weightsOf({ a, c, b: [] }, sub)).reduce(
    (product, inner) =>
      product.map((p, i) => p * a[i]!.reduce((sum, weight, j) => sum + weight * inner[j]!, 0)),
    c.map(() => 1),
  );

/** Σ_i w_i·Phi_i − theta^|tree|/gamma: 0 where the weights are of the order of the tree. */
const defect = (tableau: Tableau, weights: readonly number[], tree: Tree, theta = 1): number =>
  weightsOf(tableau, tree).reduce((sum, phi, i) => sum + weights[i]! * phi, 0) -
  theta ** size(tree) / gamma(tree);

const worst = (tableau: Tableau, weights: readonly number[], order: number, theta = 1): number =>
  Math.max(...trees(order).map((tree) => Math.abs(defect(tableau, weights, tree, theta))));

const orders = { euler: 1, midpoint: 2, heun: 2, rk4: 4, dormandPrince: 5 } as const;
const denseOrders = { euler: 1, midpoint: 2, heun: 2, rk4: 3, dormandPrince: 4 } as const;

const denseWeights = (tableau: Tableau, theta: number): number[] =>
  tableau.dense!.map((row) => row.reduce((sum, d, j) => sum + d * theta ** (j + 1), 0));

/** dx/dt = x·cos t, x(0) = 1: exp(sin t). */
const waving: VectorField = (x, t) => tf.mul(x, Math.cos(t));
const wave = (t: number): number => Math.exp(Math.sin(t));

interface Point extends Omit<OdeState, "x"> {
  readonly x: readonly number[];
}

async function points(f: VectorField, options: SolveOptions): Promise<Point[]> {
  const seen: Point[] = [];
  for await (const state of solve(f, options)) seen.push({ ...state, x: [...state.x.dataSync()] });
  return seen;
}

const endOf = async (f: VectorField, options: SolveOptions): Promise<number> =>
  (await points(f, options)).at(-1)!.x[0]!;

describe("tableaus", () => {
  it("trees() of 1 to 5 nodes are 1, 1, 2, 4, 9, as Cayley counted", () => {
    assert.deepEqual([1, 2, 3, 4, 5].map((n) => trees(n).length), [1, 1, 2, 4, 9]);
  });

  for (const [name, tableau] of methods) {
    it(`tableaus.${name} meets every condition of its order in float64, and misses one of the next`, () => {
      assert.equal(tableau.order, orders[name]);
      for (let n = 1; n <= orders[name]; n++) {
        assert.ok(worst(tableau, tableau.b, n) < 1e-14, `${n}`);
      }
      assert.ok(worst(tableau, tableau.b, orders[name] + 1) > 1e-4);
      tableau.a.forEach((row, i) => {
        assert.equal(row.length, i);
        assert.ok(Math.abs(row.reduce((sum, each) => sum + each, 0) - tableau.c[i]!) < 1e-14);
      });
    });

    it(`tableaus.${name} is dense to order ${denseOrders[name]}, and ends at the step`, () => {
      for (const theta of [0.1, 0.25, 0.5, 0.8, 1]) {
        const weights = denseWeights(tableau, theta);
        for (let n = 1; n <= denseOrders[name]; n++) {
          assert.ok(worst(tableau, weights, n, theta) < 1e-13, `${n}, ${theta}`);
        }
      }
      denseWeights(tableau, 1).forEach((w, i) => assert.ok(Math.abs(w - tableau.b[i]!) < 1e-14));
    });

    if (tableau.error) {
      it(`tableaus.${name} embeds a method of one order less`, () => {
        const embedded = tableau.b.map((weight, i) => weight - tableau.error![i]!);
        for (let n = 1; n < orders[name]; n++) assert.ok(worst(tableau, embedded, n) < 1e-14);
        assert.ok(worst(tableau, embedded, orders[name]) > 1e-4);
      });
    }
  }
});

describe("stages() and rungeKutta()", () => {
  before(() => useBackend("cpu"));

  it("stages() answers at once where f does, later where f does, with the same numbers", async () => {
    const move = { x: tf.tensor([1, 2]), t: 0.3, h: 0.2 };
    for (const [, tableau] of methods) {
      const now = stages(tableau, waving, move);
      assert.ok(Array.isArray(now));
      const later = stages(tableau, (x, t) => Promise.resolve(waving(x, t)), move);
      assert.ok(later instanceof Promise);
      const values = (k: tf.Tensor[]) => k.map((each) => [...each.dataSync()]);
      assert.deepEqual(values(now as tf.Tensor[]), values(await later));
    }
  });

  it("stages() hands over s tensors and keeps none, takes the first where it is known", () => {
    const x = tf.tensor([1, 2]), first = tf.tensor([0.5, 0.5]), held = live();
    for (const [, tableau] of methods) {
      const made = stages(tableau, waving, { x, t: 0, h: 0.1 }) as tf.Tensor[];
      assert.equal(live(), held + tableau.b.length);
      tf.dispose(made);
      let asked = 0;
      const known = stages(tableau, (x, t) => (asked++, waving(x, t)), { x, t: 0, h: 0.1, first });
      assert.equal(asked, tableau.b.length - 1);
      assert.deepEqual([...(known as tf.Tensor[])[0]!.dataSync()], [0.5, 0.5]);
      tf.dispose(known as tf.Tensor[]);
    }
    assert.equal(live(), held);
  });

  it("stages() leaves x alone where f answers with its argument", () => {
    const x = tf.scalar(1);
    const { x: next } = rungeKutta(tableaus.heun)((x) => x, { x, t: 0, h: 1 }) as { x: tf.Tensor };
    assert.equal(next.dataSync()[0], 2.5);
    assert.equal(x.dataSync()[0], 1);
  });

  it("stages() frees what it made when f fails, at once or later", async () => {
    const x = tf.scalar(1), held = live();
    let count = 0;
    const failing = (x: tf.Tensor): tf.Tensor => {
      if (++count % 3 === 0) throw new Error("no");
      return tf.neg(x);
    };
    assert.throws(() => stages(tableaus.rk4, failing, { x, t: 0, h: 1 }), /no/);
    const later = (x: tf.Tensor) => new Promise<tf.Tensor>((resolve) => resolve(failing(x)));
    await assert.rejects(async () => await stages(tableaus.rk4, later, { x, t: 0, h: 1 }), /no/);
    assert.equal(live(), held);
  });

  it("rungeKutta() of dx/dt = x is the exponential series up to its order", () => {
    const h = 0.5, factorial = [1, 1, 2, 6, 24, 120];
    for (const [name, tableau] of methods) {
      const made = rungeKutta(tableau)((x) => tf.clone(x), { x: tf.scalar(1), t: 0, h });
      const { x } = made as { x: tf.Tensor };
      let series = 0;
      for (let n = 0; n <= orders[name]; n++) series += h ** n / factorial[n]!;
      // Dormand-Prince adds h⁶/600.
      if (name === "dormandPrince") series += h ** 6 / 600;
      assert.ok(Math.abs(x.dataSync()[0]! - series) < 3e-7, name);
    }
  });

  it("denseOutput() follows the solution within a long step", () => {
    const x = tf.scalar(wave(0.2)), h = 0.5, { dormandPrince } = tableaus;
    const made = stages(dormandPrince, waving, { x, t: 0.2, h }) as tf.Tensor[];
    for (const theta of [0, 0.3, 0.7, 1]) {
      const [got] = denseOutput(dormandPrince, { x, h, stages: made, theta }).dataSync();
      assert.ok(Math.abs(got! - wave(0.2 + theta * h)) < 1e-5, `${theta}: ${got}`);
    }
  });

  it("denseOutput() refuses a share that is none, and a tableau without coefficients", () => {
    const point = { x: tf.scalar(1), h: 1, stages: [tf.scalar(1)] };
    assert.throws(() => denseOutput(tableaus.euler, { ...point, theta: 1.1 }), {
      name: "RangeError",
      message: "Cannot interpolate a step: theta must be in [0, 1], got 1.1",
    });
    assert.throws(
      () => denseOutput({ a: [[]], b: [1], c: [0] }, { ...point, theta: 1 }),
      TypeError,
    );
  });
});

describe("stepFactor()", () => {
  it("stepFactor() without memory is safety·error^(−1/p) within its bounds", () => {
    for (const error of [0.01, 0.5, 1, 2, 20]) {
      const got = stepFactor({ error, order: 5 }, { beta: 0, safety: 0.8 });
      assert.ok(Math.abs(got - Math.min(0.8 * error ** -0.2, 10)) < 1e-12);
    }
    assert.equal(stepFactor({ error: 1e-30, order: 5 }), 10);
    assert.equal(stepFactor({ error: 1e30, order: 5 }), 0.2);
    assert.equal(stepFactor({ error: NaN, order: 5 }), 0.2);
    assert.equal(stepFactor({ error: Infinity, order: 5 }), 0.2);
  });

  it("stepFactor() is DOPRI5's with its constants: 0.9·err^(−0.17)·old^0.04", () => {
    const got = stepFactor({ error: 0.3, previous: 0.6, order: 5 });
    assert.ok(Math.abs(got - 0.9 * 0.3 ** -0.17 * 0.6 ** 0.04) < 1e-12);
    assert.ok(
      Math.abs(stepFactor({ error: 3, previous: 1e-4, order: 5 }) - 0.9 * 3 ** -0.17) < 1e-12,
    );
  });

  it("stepFactor() does not grow a step that was too long, whatever beta", () => {
    assert.equal(stepFactor({ error: 4, order: 5 }, { beta: 0.5 }), 1);
  });
});

describe("solve()", () => {
  before(() => useBackend("cpu"));

  const x = () => tf.tensor1d([1]);

  for (
    const [name, counts] of [
      ["euler", [64, 128]],
      ["midpoint", [32, 64]],
      ["heun", [32, 64]],
      ["rk4", [6, 12]],
      ["dormandPrince", [2, 4]],
    ] as const
  ) {
    for (const span of [[0, 2], [2, 0]] as const) {
      it(`solve() by ${name} from ${span[0]} to ${span[1]} is of order ${orders[name]}`, async () => {
        const start = tf.tensor1d([wave(span[0])]), errors: number[] = [];
        for (const steps of counts) {
          const tableau = tableaus[name];
          const end = await endOf(waving, { x: start, span, steps, tableau });
          errors.push(Math.abs(end - wave(span[1])));
        }
        const order = Math.log2(errors[0]! / errors[1]!);
        assert.ok(order > orders[name] - 0.4 && order < orders[name] + 1.1, `${order}: ${errors}`);
      });
    }
  }

  it("solve() with control keeps to the tolerance, and takes fewer steps for a wider one", async () => {
    let least = Infinity;
    for (const tolerance of [1e-5, 1e-4, 1e-3, 1e-2]) {
      const control = { absolute: tolerance, relative: tolerance };
      for (const span of [[0, 6], [6, 0]] as const) {
        const start = tf.tensor1d([wave(span[0])]);
        const seen = await points(waving, { x: start, span, control });
        const error = Math.max(...seen.map(({ x, t }) => Math.abs(x[0]! - wave(t))));
        assert.ok(error < 5 * tolerance * wave(1.57), `${tolerance}: ${error}`);
        assert.ok(error > tolerance / 1000, `${tolerance}: ${error}, too much work`);
        assert.ok(seen.length <= least);
        if (span[0] === 6) least = seen.length;
      }
    }
  });

  it("solve() yields the start, every step in order, and the very end", async () => {
    for (const span of [[0, 1], [1, -2]] as const) {
      for (const options of [{ steps: 7 }, {}]) {
        const seen = await points(waving, { x: x(), span, ...options }), sign = span[1] - span[0];
        assert.deepEqual(seen.map(({ step }) => step), seen.map((_, i) => i));
        assert.deepEqual([seen[0]!.t, seen[0]!.x, seen.at(-1)!.t], [span[0], [1], span[1]]);
        seen.slice(1).forEach(({ t }, i) => assert.ok((t - seen[i]!.t) * sign > 0));
      }
    }
    assert.equal((await points(waving, { x: x(), span: [1, 1] })).length, 1);
  });

  it("solve() there and back again is where it began", async () => {
    const there = await endOf(waving, { x: x(), span: [0, 2] });
    const back = await endOf(waving, { x: tf.tensor1d([there]), span: [2, 0] });
    assert.ok(Math.abs(back - 1) < 3e-5, `${back}`);
  });

  it("solve() makes a step again whose error is too large, and counts it and its evaluations", async () => {
    // A kick at t = 1: a step that runs into it is rejected.
    const kick: VectorField = (x, t) => tf.fill(x.shape, 50 * Math.exp(-(((t - 1) / 0.1) ** 2)));
    let asked = 0;
    const counted: VectorField = (x, t) => (asked++, kick(x, t));
    const seen = await points(counted, {
      x: tf.tensor1d([0]),
      span: [0, 2],
      control: { firstStep: 0.3 },
    });
    const last = seen.at(-1)!, exact = 50 * 0.1 * Math.sqrt(Math.PI);
    assert.ok(Math.abs(last.x[0]! - exact) < 1e-3 * exact, `${last.x} against ${exact}`);
    assert.ok(last.rejected > 0);
    assert.equal(last.evaluations, asked);
    // One for the first slope; six for each step, made or rejected, as the seventh is the next one's first.
    assert.equal(asked, 1 + 6 * (last.step + last.rejected));
  });

  it("solve() does not grow the step after one that it had to make again", async () => {
    // The first trial of 1 ends in the kick, and is made again at the least factor; from there on nothing is in the way.
    const kick: VectorField = (x, t) => tf.fill(x.shape, t > 0.9 && t < 1.1 ? 100 : 0);
    const seen = await points(kick, {
      x: tf.tensor1d([0]),
      span: [0, 5],
      tableau: tableaus.heun,
      control: { firstStep: 1 },
    });
    const times = seen.map(({ t }) => t.toFixed(6)).slice(0, 4);
    assert.deepEqual(times, ["0.000000", "0.200000", "0.400000", "2.400000"]);
  });

  it("solve() at given times interpolates, and makes the same steps", async () => {
    const times = [0, 0.1, 0.1, 1.234, 3, 5.9, 6];
    const plain = await points(waving, { x: x(), span: [0, 6] });
    const seen = await points(waving, { x: x(), span: [0, 6], times });
    assert.deepEqual(seen.map(({ t }) => t), [0, 0.1, 0.1, 1.234, 3, 5.9, 6]);
    seen.forEach(({ x, t }) => assert.ok(Math.abs(x[0]! - wave(t)) < 1e-4, `${t}: ${x}`));
    assert.equal(seen.at(-1)!.step, plain.at(-1)!.step);
    assert.ok(Math.abs(seen.at(-1)!.x[0]! - plain.at(-1)!.x[0]!) < 1e-6);
    const falling = await points(waving, {
      x: tf.tensor1d([wave(6)]),
      span: [6, 0],
      times: [5, 0.5],
    });
    falling.forEach(({ x, t }) => assert.ok(Math.abs(x[0]! - wave(t)) < 1e-4));
    const few = await points(waving, {
      x: x(),
      span: [0, 1],
      steps: 20,
      tableau: tableaus.rk4,
      times: [0.33],
    });
    assert.ok(few.length === 1 && Math.abs(few[0]!.x[0]! - wave(0.33)) < 1e-6);
  });

  it("solve() at loose tolerances is no further off than scipy's RK45, with as many evaluations", async () => {
    const field = (f: (x: number[], t: number) => number[]): VectorField => (x, t) =>
      tf.tensor(f([...x.dataSync()], t), x.shape);
    const spread = (from: number, to: number, each: number) =>
      0.3 + (each - 0.3) * Math.sqrt((0.25 + to ** 2) / (0.25 + from ** 2));
    const noise = [-150, -60, 20, 130];
    /** The end, and what scipy 1.17.1 gives at 1e-1, 1e-2 and 1e-3: the error in tolerances, and the evaluations. */
    const problems: readonly [
      VectorField,
      span: [number, number],
      start: number[],
      end: number[],
      scipy: readonly (readonly [error: number, evaluations: number])[],
    ][] = [
      [(x) => tf.neg(x), [0, 5], [1], [Math.exp(-5)], [[0.22, 32], [0.1, 26], [0.13, 38]]],
      [field((x) => [x[1]!, -x[0]!]), [0, 20], [1, 0], [Math.cos(20), -Math.sin(20)], [
        [13.33, 56],
        [8.47, 80],
        [7.97, 116],
      ]],
      [waving, [0, 20], [1], [wave(20)], [[118.64, 62], [26.79, 86], [5.89, 128]]],
      [(x) => tf.mul(x, tf.sub(1, x)), [0, 15], [0.01], [1 / (1 + 99 * Math.exp(-15))], [
        [0.03, 68],
        [0.18, 56],
        [0.1, 74],
      ]],
      [
        field((x) => [x[1]!, (1 - x[0]! ** 2) * x[1]! - x[0]!]),
        [0, 20],
        [2, 0],
        [2.00814976, -0.04250888],
        [[3.76, 320], [33.69, 320], [57.36, 386]],
      ],
      // The probability flow of EDM over N(0.3, 0.25).
      [
        (x, t) => tf.mul(tf.sub(x, 0.3), t / (0.25 + t ** 2)),
        [80, 0.002],
        noise,
        noise.map((each) => spread(80, 0.002, each)),
        [[9.53, 26], [0.17, 38], [1.97, 86]],
      ],
    ];
    const errors: number[] = [], evaluations: number[] = [];
    for (const [f, span, start, end, scipy] of problems) {
      for (const [i, tolerance] of [1e-1, 1e-2, 1e-3].entries()) {
        const x = tf.tensor2d([start]), control = { absolute: tolerance, relative: tolerance };
        const last = (await points(f, { x, span, control })).at(-1)!;
        const off = end.map((v, j) => Math.abs(last.x[j]! - v) / (tolerance * (1 + Math.abs(v))));
        // An error of a twentieth of what is allowed is none.
        errors.push(Math.max(...off, 0.05) / Math.max(scipy[i]![0], 0.05));
        evaluations.push(last.evaluations / scipy[i]![1]);
        assert.ok(Math.max(...off) < 60, `${off} tolerances off: ${f}, ${tolerance}`);
        x.dispose();
      }
    }
    const mean = (ratios: number[]) =>
      Math.exp(ratios.reduce((sum, each) => sum + Math.log(each), 0) / ratios.length);
    assert.ok(mean(errors) < 0.5, `${mean(errors)} of scipy's errors: ${errors}`);
    assert.ok(mean(evaluations) < 1.1, `${mean(evaluations)} of scipy's evaluations`);
  });

  it("solve() over samples holds the worst sample to the tolerance, over the batch only the mean", async () => {
    // One sample of a hundred turns fast.
    const speeds = tf.tensor2d(Array.from({ length: 100 }, (_, i) => [i === 0 ? 20 : 0]));
    const f: VectorField = (x, t) => tf.mul(speeds, tf.fill(x.shape, Math.cos(20 * t)));
    const start = tf.zeros([100, 1]);
    const steps = async (over: "sample" | "batch") =>
      (await points(f, { x: start, span: [0, 3], control: { over } })).length;
    const alone = (await points(
      (x, t) => tf.fill(x.shape, 20 * Math.cos(20 * t)),
      { x: tf.zeros([1, 1]), span: [0, 3] },
    )).length;
    assert.equal(await steps("sample"), alone);
    assert.ok(await steps("batch") < 0.8 * alone);
  });

  it("solve() is called off by its signal also where f never answers", async () => {
    const start = x(), held = live();
    for (const options of [{}, { steps: 5 }]) {
      const stop = new AbortController();
      let count = 0;
      const hanging: VectorField = (x, t) => {
        if (++count < 12) return waving(x, t);
        setTimeout(() => stop.abort(new Error("stop")));
        return new Promise(() => {});
      };
      const stream = solve(hanging, { x: start, span: [0, 3], signal: stop.signal, ...options });
      await assert.rejects(async () => {
        for await (const _ of stream);
      }, /stop/);
      assert.equal(live(), held);
    }
  });

  it("solve() frees everything when it ends, is broken off, is aborted or fails", async () => {
    const start = x(), held = live();
    for (const options of [{}, { steps: 5 }, { times: [0.1, 0.2, 0.9] }]) {
      const stream = solve(waving, { x: start, span: [0, 3], ...options });
      for await (const _ of stream);
      assert.equal(live(), held, "ended");
      for await (const { t } of stream) if (t > 0.15) break;
      assert.equal(live(), held, "broken off");
      const stop = new AbortController();
      await assert.rejects(async () => {
        const aborted = solve(waving, { x: start, span: [0, 3], signal: stop.signal, ...options });
        for await (const { t } of aborted) if (t > 0.05) stop.abort(new Error("stop"));
      }, /stop/);
      assert.equal(live(), held, "aborted");
    }
    let count = 0;
    const failing: VectorField = (x, t) => {
      if (++count === 12) throw new Error("no");
      return waving(x, t);
    };
    await assert.rejects(() => points(failing, { x: start, span: [0, 3] }), /no/);
    assert.equal(live(), held, "failed");
    assert.equal(start.dataSync()[0], 1);
  });

  it("solve() holds one state while it is looked at, besides the solver's slope", async () => {
    const start = x(), held = live();
    for await (
      const { step } of solve(waving, { x: start, span: [0, 1], steps: 3, tableau: tableaus.rk4 })
    ) {
      // x, and after a step the one before with its four stages until the next pull.
      assert.equal(live(), held + (step === 0 ? 1 : 6));
    }
  });

  it("solve() stops where the solution does, and after as many steps as it may", async () => {
    const blowUp: VectorField = (x) => tf.square(x); // 1/(1 − t)
    await assert.rejects(() => points(blowUp, { x: x(), span: [0, 2] }), RangeError);
    await assert.rejects(() => points(waving, { x: x(), span: [0, 6], control: { most: 3 } }), {
      name: "RangeError",
      message: /^Cannot go on with the solution: most is 3, got h = .* after .* steps at t = /,
    });
    const nothing: VectorField = (x) => tf.fill(x.shape, NaN);
    await assert.rejects(() => points(nothing, { x: x(), span: [1, 2] }), RangeError);
  });

  it("solve() refuses what makes no sense before it begins", () => {
    const refused = (options: Partial<SolveOptions>, message: RegExp, name = "RangeError") =>
      assert.throws(() => solve(waving, { x: x(), span: [0, 1], ...options }), { name, message });
    refused({ span: [0, Infinity] }, /span must be finite, got \[0, Infinity\]$/);
    refused({ steps: 0 }, /steps must be a whole number of at least 1, got 0$/);
    refused({ tableau: tableaus.rk4 }, /tableau must have an error and an order/, "TypeError");
    refused(
      { times: [0.5, 0.4] },
      /times must run from 0 to 1 without turning back, got \[0.5, 0.4\]$/,
    );
    refused({ times: [2] }, /times must run/);
    refused({ control: { safety: 1 } }, /safety must be in \(0, 1\), got 1$/);
    refused({ control: { absolute: 0 } }, /absolute must be above 0, got 0$/);
    refused({ control: { relative: -1 } }, /relative must be at least 0/);
    refused({ control: { least: 1 } }, /least must be/);
    refused(
      { control: { least: 1, over: "all" as "batch" } },
      /^Cannot solve an ODE: least must be in \(0, 1\), got 1; over must be "sample" or "batch", got all$/,
    );
    refused({ control: { greatest: 1 } }, /greatest must be/);
    refused({ control: { beta: -1 } }, /beta must be/);
    refused({ control: { firstStep: 0 } }, /firstStep must be/);
    refused({ x: tf.zeros([0, 2]) }, /x must have elements, got shape \[0,2\]$/);
    refused(
      { steps: 5, control: { relative: 1e-3 } },
      /control must be absent beside steps, got 5 steps$/,
      "TypeError",
    );
    refused(
      { step: 5 } as Partial<SolveOptions>,
      /^Cannot solve an ODE: options must be among x, span, .*, got "step"$/,
      "TypeError",
    );
    refused(
      { control: { tolerance: 1e-3 } as StepControl },
      /^Cannot control the steps of an ODE: options must be among absolute, .*, got "tolerance"$/,
      "TypeError",
    );
  });

  it("solve() takes times that rounding has put beyond the ends, and each as often as it is asked for", async () => {
    // 0.1·3 is 0.30000000000000004.
    const times = [0, 0, 0.1, 0.1 * 3, 0.3];
    for (const steps of [undefined, 2]) {
      const seen = await points(waving, {
        x: x(),
        span: [0, 0.3],
        times,
        ...(steps && { steps }),
      });
      assert.deepEqual(seen.map(({ t }) => t), [0, 0, 0.1, 0.3, 0.3]);
      seen.forEach(({ x, t }) => assert.ok(Math.abs(x[0]! - wave(t)) < 1e-4));
    }
    const back = await points(waving, { x: x(), span: [0.1 * 3, 0], times: [0.3, -1e-17] });
    assert.deepEqual(back.map(({ t }) => t), [0.3, 0]);
    assert.throws(() => solve(waving, { x: x(), span: [0, 0.3], times: [0.3001] }), RangeError);
  });

  it("solve() refuses a slope of another shape, which would be broadcast, and keeps nothing of it", async () => {
    const start = tf.ones([3, 1]), held = live();
    const flat: VectorField = (x) => tf.reshape(x, [3]);
    for (const steps of [undefined, 4]) {
      await assert.rejects(
        () => points(flat, { x: start, span: [0, 1], ...(steps && { steps }) }),
        {
          name: "RangeError",
          message: "Cannot solve an ODE: f must answer in the shape of x, [3,1], got [3]",
        },
      );
    }
    // A field that answers with its argument keeps it.
    const ends = await points((x) => x, { x: start, span: [0, 1] });
    assert.ok(Math.abs(ends.at(-1)!.x[0]! - Math.E) < 1e-4);
    assert.equal(live(), held);
    assert.equal(start.isDisposed, false);
    start.dispose();
  });

  it("errorNorm() is that of the worst sample, and NaN where any number is, on every backend", async () => {
    for (const backend of ["wasm", "cpu"] as const) {
      await useBackend(backend);
      const error = tf.tensor2d([[3, 3], [0.1, 0.1]]), ends = tf.tensor2d([[10, 0], [0, 5]]);
      const norm = (error: tf.Tensor) =>
        errorNorm(error, [ends, tf.ones([2, 2])], { absolute: 1, relative: 1 });
      // Of 10 and 1 the smaller allows 2, of 0 and 1 the smaller 1.
      assert.ok(Math.abs(await norm(error) - Math.sqrt((1.5 ** 2 + 3 ** 2) / 2)) < 1e-6);
      assert.ok(Number.isNaN(await norm(tf.tensor2d([[0.1, NaN], [1, 1]]))));
      assert.ok(Number.isNaN(await norm(tf.tensor2d([[0.1, 1], [1, NaN]]))));
    }
  });
});
