import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import "../../src/tensor/autodiff.ts";
import { key, split } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
import {
  cosineContinuous,
  edm,
  rectified,
  subVp,
  ve,
  vp,
} from "../../src/noise/schedule/continuous.ts";
import { discretized, unit } from "../../src/noise/schedule/derived.ts";
import { linear, zeroTerminalSnr } from "../../src/noise/schedule/discrete.ts";
import { logSnr, type Schedule } from "../../src/noise/schedule/schedule.ts";
import { convert, type Kind } from "../../src/denoise/prediction.ts";
import { posterior, stepDivergence, variances } from "../../src/denoise/posterior.ts";
import {
  type DenoisingBatch,
  denoisingLoss,
  perSample,
  regression,
  regressionErrors,
  target,
} from "../../src/denoise/loss/regression.ts";
import {
  errorsOf,
  variational,
  type Weighting,
  weightings,
} from "../../src/denoise/loss/weighting.ts";
import { live, near, nearly } from "../measure.ts";

await useBackend("cpu");

const kinds: readonly Kind[] = ["eps", "x0", "v", "flow", "score"];

/** Standard normal data of standard deviation tau under one key, noise under another. */
function draws(shape: readonly number[], tau: number, t: readonly number[]): DenoisingBatch {
  const [data, noise] = split(key(11), 2);
  const x0 = tf.tidy(() => tf.mul(normal(data!, shape), tau));
  return { x0, eps: normal(noise!, shape), t };
}

const same = (t: number, count: number): number[] => new Array<number>(count).fill(t);

/** How many standard errors the mean of the values is from a number. */
function z(values: ArrayLike<number>, mean: number): number {
  const list = Array.from(values), n = list.length;
  const average = list.reduce((a, b) => a + b, 0) / n;
  const variance = list.reduce((sum, v) => sum + (v - average) ** 2, 0) / (n - 1);
  return (average - mean) / Math.sqrt(variance / n);
}

/** A network of the kind that says, of each sample at the one time t, that eps is 0.3·x_t + 0.1. */
const opinion = (kind: Kind, schedule: Schedule) => (xt: tf.Tensor, t: readonly number[]) => {
  const eps = tf.add(tf.mul(xt, 0.3), 0.1);
  return convert({ kind: "eps", value: eps }, kind, xt, schedule.at(t[0]!));
};

describe("regression", () => {
  it("regression() is what the network is shown and asked for, and regressionErrors() compares as perSample() does", () => {
    for (const schedule of [linear(), rectified()]) {
      for (const kind of kinds) {
        const t = [0.1, 0.5, 0.9].map((at) => Math.ceil(at * schedule.span[1] * 10) / 10);
        const whole = schedule.steps === undefined ? t : t.map(Math.ceil);
        const batch = draws([3, 2, 2], 1, whole), alive = live();
        const options = { schedule, kind, weighting: weightings.simple };
        const parts = regression(batch, options);
        assert.equal(live(), alive + 3);
        let shown: Float32Array | undefined;
        const wanted = perSample(
          (xt) => {
            shown = xt.dataSync<"float32">().slice();
            return tf.tanh(xt);
          },
          batch,
          options,
        );
        assert.deepEqual(parts.xt.dataSync(), shown);
        const answer = tf.tanh(parts.xt), got = regressionErrors(answer, parts);
        assert.deepEqual(got.dataSync(), wanted.dataSync());
        const none = regressionErrors(parts.target, parts);
        assert.deepEqual([...none.dataSync()], [0, 0, 0]);
        tf.dispose([batch.x0, batch.eps, { ...parts }, wanted, answer, got, none]);
      }
    }
  });

  it("regressionErrors() refuses an answer that would be broadcast", () => {
    const target = tf.zeros([2, 3]), weights = tf.ones([2]), answer = tf.zeros([1, 3]);
    assert.throws(() => regressionErrors(answer, { target, weights }), {
      name: "RangeError",
      message: "Cannot compute the loss: the network's output must be of shape [2,3], got [1,3]",
    });
    tf.dispose([target, weights, answer]);
  });
});

describe("denoisingLoss", () => {
  it("denoisingLoss() of zero noise is 1 and of the best eps is the closed form", () => {
    const schedule = linear(), tau = 1.5, shape = [4000, 2];
    for (const t of [20, 250, 900]) {
      const { alpha, sigma } = schedule.at(t), total = alpha ** 2 * tau ** 2 + sigma ** 2;
      const batch = draws(shape, tau, same(t, shape[0]!)),
        options = { schedule, kind: "eps" } as const;
      const zero = perSample((xt) => tf.zerosLike(xt), batch, options).dataSync();
      const best = perSample((xt) => tf.mul(xt, sigma / total), batch, options).dataSync();
      assert.ok(Math.abs(z(zero, 1)) < 4);
      assert.ok(Math.abs(z(best, alpha ** 2 * tau ** 2 / total)) < 4);
    }
  });

  it("denoisingLoss() of a score less the loss of score matching is the same for every model", () => {
    // Data N(0, 2), noise variance 0.5: halves of the two differ by 0.8 in expectation, whatever the slope.
    const schedule = { ...ve(), at: () => ({ alpha: 1, sigma: Math.sqrt(0.5) }) };
    const batch = draws([20000, 1], Math.SQRT2, same(1, 20000));
    const xt = tf.add(batch.x0, tf.mul(batch.eps, Math.sqrt(0.5)));
    for (const slope of [-1.3, -0.4, 0.6]) {
      const denoising = perSample((x) => tf.mul(x, slope), batch, { schedule, kind: "score" });
      const matching = tf.reshape(tf.square(tf.mul(xt, slope + 1 / 2.5)), [-1]);
      const gap = tf.mul(tf.sub(denoising, matching), 0.5).dataSync();
      assert.ok(Math.abs(z(gap, 0.8)) < 4);
    }
  });

  it("denoisingLoss() is least at the true score, by its own gradient", () => {
    const schedule = { ...ve(), at: () => ({ alpha: 1, sigma: Math.sqrt(0.5) }) };
    const batch = draws([4000, 1], Math.SQRT2, same(1, 4000));
    const loss = (slope: tf.Tensor): tf.Scalar =>
      denoisingLoss((xt) => tf.mul(xt, slope), batch, { schedule, kind: "score" });
    const gradient = (slope: number): number => tf.grad(loss)(tf.scalar(slope)).dataSync()[0]!;
    // The loss is a parabola of the slope, with curvature 2·E[x_t²] = 5, and the root of its gradient has the
    // variance E[x_t²·(eps/sigma + x_t·slope)²]/(E[x_t²]²·n) = 1.6/(2.5·4000).
    const at = gradient(-0.4), curvature = gradient(0.6) - at;
    assert.ok(Math.abs(curvature / 5 - 1) < 4 * Math.sqrt(2 / 4000));
    assert.ok(Math.abs(at / curvature) < 4 * Math.sqrt(1.6 / 2.5 / 4000));
    const step = 0.25, ahead = loss(tf.scalar(step)).dataSync()[0]!;
    const behind = loss(tf.scalar(-step)).dataSync()[0]!;
    nearly(gradient(0), (ahead - behind) / (2 * step), 1e-4);
  });

  it("denoisingLoss() is the same for all kinds that say the same, under one weighting", () => {
    const named: Record<string, Weighting> = {
      simple: weightings.simple,
      data: weightings.data,
      truncated: weightings.truncated,
      velocity: weightings.velocity,
      minSnr: weightings.minSnr(),
      custom: ({ eps }, { level, t }) => eps * level.alpha / (1 + t),
    };
    for (const schedule of [linear(), vp(), subVp(), ve(), rectified()]) {
      const t = schedule.span[1] * 0.4, batch = draws([8, 3], 1, same(t, 8));
      for (const [name, weighting] of Object.entries(named)) {
        const losses = kinds.map((kind) =>
          denoisingLoss(opinion(kind, schedule), batch, { schedule, kind, weighting })
            .dataSync()[0]!
        );
        losses.forEach((loss) => assert.ok(loss > 0 && Number.isFinite(loss), name));
        losses.forEach((loss) => nearly(loss, losses[0]!, 1e-3));
      }
    }
  });

  it("denoisingLoss() under simple is the mean squared eps error, whatever the kind", () => {
    const schedule = vp(), batch = draws([8, 3], 1, same(0.3, 8));
    const { alpha, sigma } = schedule.at(0.3);
    const xt = tf.add(tf.mul(batch.x0, alpha), tf.mul(batch.eps, sigma));
    const error = tf.sub(batch.eps, tf.add(tf.mul(xt, 0.3), 0.1));
    const wanted = tf.mean(tf.square(error)).dataSync()[0]!;
    for (const kind of kinds) {
      const options = { schedule, kind, weighting: weightings.simple };
      nearly(denoisingLoss(opinion(kind, schedule), batch, options).dataSync()[0]!, wanted, 1e-4);
    }
  });

  it("denoisingLoss() of a perfect network is 0 for every kind, and its default weighs nothing", () => {
    const schedule = linear(), batch = draws([3, 2], 1, [5, 400, 1000]);
    const levels = batch.t.map(schedule.at);
    for (const kind of kinds) {
      const truth = target(kind, { ...batch, levels });
      assert.equal(denoisingLoss(() => truth, batch, { schedule, kind }).dataSync()[0], 0);
      const off = denoisingLoss(() => tf.add(truth, 2), batch, { schedule, kind }).dataSync()[0]!;
      nearly(off, 4, 1e-3);
    }
  });

  it("denoisingLoss() gives the network x_t and the times, and averages perSample()", () => {
    const schedule = rectified(), t = [0, 0.25, 1], batch = draws([3, 2, 2, 1], 1, t);
    const seen: number[][] = [];
    const network = (xt: tf.Tensor, times: readonly number[]): tf.Tensor => {
      seen.push([...times], [...xt.dataSync()]);
      return tf.zerosLike(xt);
    };
    const options = { schedule, kind: "flow" } as const;
    const loss = denoisingLoss(network, batch, options).dataSync()[0]!;
    const each = [...perSample(network, batch, options).dataSync()];
    const x0 = batch.x0.dataSync(), eps = batch.eps.dataSync();
    assert.deepEqual(seen[0], t);
    seen[1]!.forEach((value, i) => {
      const share = t[Math.floor(i / 4)]!;
      near(value, (1 - share) * x0[i]! + share * eps[i]!, 1e-6);
    });
    const squares = Array.from(x0, (value, i) => (eps[i]! - value) ** 2);
    each.forEach((value, i) =>
      nearly(value, squares.slice(4 * i, 4 * i + 4).reduce((a, b) => a + b) / 4, 1e-5)
    );
    nearly(loss, each.reduce((a, b) => a + b) / 3, 1e-6);
  });

  it("denoisingLoss() is finite at both ends of a schedule with zero terminal SNR", () => {
    const schedule = zeroTerminalSnr(linear()), batch = draws([2, 3], 1, [0, 1000]);
    assert.equal(schedule.at(1000).alpha, 0);
    assert.equal(schedule.at(0).sigma, 0);
    for (const kind of ["eps", "x0", "v", "flow"] as const) {
      const loss = denoisingLoss((xt) => tf.zerosLike(xt), batch, { schedule, kind });
      assert.ok(loss.dataSync()[0]! > 0 && Number.isFinite(loss.dataSync()[0]!), kind);
    }
  });

  it("denoisingLoss() refuses shapes that would broadcast, infinite weights and scores of the data", () => {
    const schedule = linear(),
      batch = draws([2, 3], 1, [0, 10]),
      zero = (x: tf.Tensor) => tf.zerosLike(x);
    const run =
      (change: Partial<DenoisingBatch>, kind: Kind, weighting: Weighting = () => 1) => () =>
        denoisingLoss(zero, { ...batch, ...change }, { schedule, kind, weighting });
    const before = live(), short = tf.zeros([1, 3]);
    assert.throws(run({ eps: short }, "eps"), RangeError);
    assert.throws(run({ t: [1] }, "eps"), RangeError);
    assert.throws(run({}, "score"), /sigma must be above 0/);
    assert.throws(
      run({}, "x0", weightings.simple),
      /x0 error must be finite, got Infinity at t = 0$/,
    );
    const network = (x: tf.Tensor) => tf.mean(x, 1, true);
    assert.throws(
      () => denoisingLoss(network, batch, { schedule, kind: "eps" }),
      /must be of shape \[2,3\], got \[2,1\]$/,
    );
    short.dispose();
    assert.equal(live(), before);
  });

  it("denoisingLoss() and perSample() leave one tensor each, their gradient too", () => {
    const schedule = linear(),
      batch = draws([2, 3], 1, [3, 10]),
      options = { schedule, kind: "v" } as const;
    const slope = tf.scalar(0.5), before = live();
    const network = (xt: tf.Tensor) => tf.mul(xt, slope);
    for (let round = 1; round <= 3; round++) {
      denoisingLoss(network, batch, options);
      perSample(network, batch, options);
      tf.grad((w) => denoisingLoss((xt) => tf.mul(xt, w), batch, options))(slope);
      assert.equal(live(), before + 3 * round);
    }
  });
});

describe("target", () => {
  it("target() is each kind's formula, sample by sample", () => {
    const levels = [{ alpha: 0.8, sigma: 0.6 }, { alpha: 0.5, sigma: 2 }];
    const x0 = tf.tensor([[2], [-1]]), eps = tf.tensor([[3], [4]]);
    const golden: Record<Kind, number[]> = {
      eps: [3, 4],
      x0: [2, -1],
      v: [0.8 * 3 - 0.6 * 2, 0.5 * 4 + 2],
      flow: [1, 5],
      score: [-5, -2],
    };
    for (const kind of kinds) {
      const actual = target(kind, { x0, eps, levels }).dataSync();
      golden[kind].forEach((value, i) => near(actual[i]!, value, 1e-6));
    }
  });
});

describe("weightings", () => {
  it("weightings have their published forms in signal-to-noise ratio", () => {
    for (
      const [alpha, sigma] of [[0.995, Math.sqrt(1 - 0.995 ** 2)], [0.8, 0.6], [
        0.1,
        Math.sqrt(0.99),
      ]]
    ) {
      const level = { alpha: alpha!, sigma: sigma! },
        snr = (alpha! / sigma!) ** 2,
        point = { level, t: 0 };
      const onX0 = errorsOf("x0", level), onEps = errorsOf("eps", level);
      const pairs: [Weighting, number][] = [
        [weightings.simple, snr],
        [weightings.data, 1],
        [weightings.truncated, Math.max(snr, 1)],
        [weightings.velocity, snr + 1],
        [weightings.minSnr(), Math.min(snr, 5)],
        [weightings.minSnr(2), Math.min(snr, 2)],
      ];
      for (const [weighting, wanted] of pairs) {
        nearly(weighting(onX0, point), wanted, 1e-10);
        nearly(weighting(onEps, point), wanted / snr, 1e-10);
      }
      kinds.forEach((kind) => assert.equal(weightings.own(errorsOf(kind, level), point), 1));
    }
  });

  it("weightings are finite at the ends wherever their limit is", () => {
    const data = { alpha: 1, sigma: 0 }, noise = { alpha: 0, sigma: 1 };
    const of = (weighting: Weighting, kind: Kind, level: typeof data): number =>
      weighting(errorsOf(kind, level), { level, t: 0 });
    assert.equal(of(weightings.truncated, "x0", noise), 1);
    assert.equal(of(weightings.truncated, "eps", data), 1);
    assert.equal(of(weightings.minSnr(), "x0", data), 5);
    assert.equal(of(weightings.minSnr(), "eps", noise), 1);
    assert.equal(of(weightings.simple, "eps", noise), 1);
    assert.equal(of(weightings.velocity, "v", noise), 1);
    assert.throws(() => weightings.minSnr(0), /gamma must be above 0, got 0$/);
  });
});

describe("variational", () => {
  it("variational() has the golden weights of DDPM with the large variance", () => {
    const schedule = linear(), golden = { 2: 0.2726921, 500: 0.0055034, 1000: 0.0102045 };
    for (const [time, wanted] of Object.entries(golden)) {
      const t = Number(time), level = schedule.at(t);
      near(variational(schedule)(errorsOf("eps", level), { level, t }), wanted, 6e-8);
    }
  });

  it("variational() is the step divergence less what no network can change", () => {
    const schedule = linear({ steps: 10, betaStart: 0.05, betaEnd: 0.5 }), error = 0.03;
    for (let t = 2; t <= 10; t++) {
      const level = schedule.at(t), s = schedule.at(t - 1), law = posterior(level, s);
      const variance = variances.large(level, s);
      const gap = stepDivergence(law, { error, variance }) - stepDivergence(law, { variance });
      nearly(error * variational(schedule)(errorsOf("x0", level), { level, t }), gap, 1e-9);
    }
    const first = schedule.at(1),
      weight = variational(schedule)(errorsOf("x0", first), { level: first, t: 1 });
    nearly(weight, 1 / (2 * 0.05), 1e-9);
  });

  it("variational() in continuous time is half the fall of the signal-to-noise ratio", () => {
    for (const schedule of [vp(), ve(), subVp(), rectified()]) {
      const t = 0.4, step = 1e-5, level = schedule.at(t);
      const snr = (time: number): number => {
        const { alpha, sigma } = schedule.at(time);
        return (alpha / sigma) ** 2;
      };
      const wanted = (snr(t - step) - snr(t + step)) / (4 * step);
      nearly(variational(schedule)(errorsOf("x0", level), { level, t }), wanted, 1e-6);
    }
  });

  /** −½·d log-SNR/dt, by hand. */
  const slopes: Record<string, readonly [Schedule, (t: number) => number]> = {
    ve: [ve(), () => Math.log(5000)],
    edm: [edm(), (t) => 1 / t],
    vp: [vp(), (t) => (0.1 + 19.9 * t) / 2 / -Math.expm1(-(0.1 * t + 9.95 * t * t))],
    subVp: [subVp(), (t) => (0.1 + 19.9 * t) / 2 / Math.tanh((0.1 * t + 9.95 * t * t) / 2)],
    rectified: [rectified(), (t) => 1 / (t * (1 - t))],
    cosine: [
      cosineContinuous({ offset: 0 }),
      (t) => Math.PI / 2 / (Math.sin(Math.PI * t / 2) * Math.cos(Math.PI * t / 2)),
    ],
  };
  for (const [name, [schedule, slope]] of Object.entries(slopes)) {
    it(`variational() on ${name} weighs the eps error by g²/(2·sigma²) = −½·d log-SNR/dt, in its own unit and in that of networks`, () => {
      const units = unit(schedule);
      for (const share of [0.05, 0.3, 0.77, 0.99]) {
        const t = schedule.span[0] + share * (schedule.span[1] - schedule.span[0]);
        for (const { at } of [schedule, units]) {
          for (const whose of [schedule, units]) {
            const level = at(t), point = { level, t };
            nearly(variational(whose)(errorsOf("eps", level), point), slope(t), 1e-9);
            // Of a prediction of another kind, by what its error says of eps.
            for (const kind of kinds) {
              const errors = errorsOf(kind, level);
              nearly(variational(whose)(errors, point), errors.eps * slope(t), 1e-9);
            }
          }
        }
      }
    });
  }

  it("variational() of many steps is that of continuous time, and of a least level the decoder's 1/(2·sigma²)", () => {
    for (const schedule of [ve(), edm({ sigmaMin: 0.1, sigmaMax: 10 }), vp(), subVp()]) {
      const steps = 20_000, many = discretized(schedule, steps), units = unit(many);
      for (const t of [steps / 4, steps / 2, steps - 1]) {
        const own = schedule.span[0] + (schedule.span[1] - schedule.span[0]) * t / steps;
        const length = (schedule.span[1] - schedule.span[0]) / steps;
        const wanted = length * (schedule.diffusion(own) / schedule.at(own).sigma) ** 2 / 2;
        for (const { at } of [many, units]) {
          const got = variational(many)(errorsOf("eps", at(t)), { level: at(t), t });
          nearly(got, wanted, 2e-3);
        }
      }
    }
    const schedule = discretized(ve(), 10), level = schedule.at(0);
    nearly(
      variational(schedule)(errorsOf("x0", level), { level, t: 0 }),
      1 / (2 * 0.01 ** 2),
      1e-9,
    );
  });
});

describe("weightings in any unit", () => {
  it("weightings mean the same in a schedule's own unit and in that of networks: closed forms on every schedule", () => {
    const named: Record<string, readonly [Weighting, (snr: number, t: number) => number]> = {
      simple: [weightings.simple, () => 1],
      data: [weightings.data, (snr) => 1 / snr],
      truncated: [weightings.truncated, (snr) => Math.max(1, 1 / snr)],
      velocity: [weightings.velocity, (snr) => 1 + 1 / snr],
      minSnr: [weightings.minSnr(3), (snr) => Math.min(1, 3 / snr)],
      // Karras et al. 2022, table 1, with data of deviation ½; Kingma and Gao 2023, table 1, with b = 2.
      edm: [
        ({ x0 }, { level }) =>
          x0 * (0.25 + (level.sigma / level.alpha) ** 2) / (level.sigma / level.alpha / 2) ** 2,
        (snr) => (0.25 + 1 / snr) * 4,
      ],
      sigmoid: [
        ({ eps }, { level }) => eps / (1 + Math.exp(logSnr(level) - 2)),
        (snr) => 1 / (1 + snr * Math.exp(-2)),
      ],
    };
    for (
      const schedule of [linear(), vp(), subVp(), ve(), edm(), rectified(), cosineContinuous()]
    ) {
      for (const share of [0.1, 0.4, 0.9]) {
        const t = Math.ceil(1000 * share * schedule.span[1]) / 1000;
        for (const level of [schedule.at(t), unit(schedule).at(t)]) {
          const snr = (level.alpha / level.sigma) ** 2;
          for (const [weighting, wanted] of Object.values(named)) {
            for (const kind of kinds) {
              const errors = errorsOf(kind, level);
              nearly(weighting(errors, { level, t }), errors.eps * wanted(snr, t), 1e-9);
            }
          }
        }
      }
    }
  });
});

describe("what the loss refuses", () => {
  const schedule = linear(), zero = (x: tf.Tensor) => tf.zerosLike(x);
  const options = { schedule, kind: "eps" } as const;

  it("denoisingLoss(), perSample() and regression() refuse a batch that is not finite, empty, disposed of or of other shapes, by name", () => {
    const good = draws([2, 3], 1, [5, 10]), alive = live();
    const bad = (value: number) => tf.tensor2d([[0, value, 1], [2, 3, 4]]);
    const gone = tf.zeros([2, 3]), empty = tf.zeros([0, 3]), flat = tf.scalar(1);
    gone.dispose();
    const wrong = [NaN, Infinity, -Infinity].map((value) => [value, bad(value)] as const);
    const cases: [Partial<DenoisingBatch>, string][] = [
      ...wrong.flatMap(([value, tensor]): [Partial<DenoisingBatch>, string][] => [
        [{ x0: tensor }, `batch.x0 must be finite, got ${value}`],
        [{ eps: tensor }, `batch.eps must be finite, got ${value}`],
      ]),
      [{ t: [5, NaN] }, "batch.t must be finite, got NaN"],
      [{ t: [5] }, "batch.t must be one time for each of 2 samples, got 1"],
      [{ x0: gone }, "batch.x0 must be a tensor that is not disposed of, got one that is"],
      [{ eps: gone }, "batch.eps must be a tensor that is not disposed of, got one that is"],
      [{ x0: empty, eps: empty, t: [] }, "batch.x0 must hold at least one sample, got shape [0,3]"],
      [{ x0: flat, eps: flat, t: [5] }, "batch.x0 must hold at least one sample, got shape []"],
      [{ eps: empty }, "batch.eps must be of shape [2,3], got [0,3]"],
    ];
    const before = live();
    for (const [change, message] of cases) {
      const batch = { ...good, ...change };
      for (
        const call of [
          () => denoisingLoss(zero, batch, options),
          () => perSample(zero, batch, options),
          () => regression(batch, options),
        ]
      ) {
        assert.throws(call, { name: "RangeError", message: `Cannot compute the loss: ${message}` });
      }
      assert.equal(live(), before);
    }
    tf.dispose([empty, flat, ...wrong.map(([, tensor]) => tensor)]);
    assert.equal(live(), alive);
  });

  it("denoisingLoss() refuses an option or a kind that it does not know", () => {
    const batch = draws([2, 3], 1, [5, 10]);
    assert.throws(
      () => denoisingLoss(zero, batch, { ...options, weight: () => 1 } as typeof options),
      {
        name: "TypeError",
        message:
          'Cannot compute the loss: options must be among schedule, kind, weighting, got "weight"',
      },
    );
    assert.throws(() => denoisingLoss(zero, batch, { schedule, kind: "epsilon" as Kind }), {
      name: "RangeError",
      message:
        'Cannot compute the loss: kind must be one of eps, x0, v, flow, score, got "epsilon"',
    });
  });
});
