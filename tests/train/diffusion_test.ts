import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { variational, type Weighting, weightings } from "../../src/denoise/loss/weighting.ts";
import type { Condition, Kind } from "../../src/denoise/prediction.ts";
import {
  noisyClassifier,
  type TimedClassifier,
  timedClassifier,
} from "../../src/network/classifier.ts";
import { initialize, type Params } from "../../src/network/layer/parameter.ts";
import { type Network, networkOf } from "../../src/network/layer/network.ts";
import { networkTime } from "../../src/network/layer/embedding.ts";
import { unet } from "../../src/network/unet.ts";
import {
  cosineContinuous,
  edm,
  rectified,
  sigmoidContinuous,
  subVp,
  ve,
  vp,
} from "../../src/noise/schedule/continuous.ts";
import { unit } from "../../src/noise/schedule/derived.ts";
import { linear, zeroTerminalSnr } from "../../src/noise/schedule/discrete.ts";
import type { Schedule } from "../../src/noise/schedule/schedule.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { fold, type Key, key } from "../../src/tensor/key.ts";
import { normals, uniforms } from "../../src/tensor/random.ts";
import type { ImageBatch } from "../../src/data/batches.ts";
import {
  diffusionLoss,
  type DiffusionLossOptions,
  noisyClassifierLoss,
} from "../../src/train/diffusion.ts";
import { disposeTraining, newTraining } from "../../src/train/loop/state.ts";
import { lossOf } from "../../src/train/loop/objective.ts";
import { train } from "../../src/train/loop/train.ts";
import { sampleTimes, timeSampler } from "../../src/train/timestep/sampler.ts";
import { timeLaws } from "../../src/train/timestep/law.ts";
import { uniformTimes } from "../../src/train/timestep/uniform.ts";
import { assertLeavesOne, randomWeights } from "../network/weights.ts";
import { average, live } from "../measure.ts";

/** n images of 2×2 pixels, all numbers the same. */
const batchOf = (n: number, value: number, labels?: readonly number[]): ImageBatch => ({
  images: new Float32Array(4 * n).fill(value),
  shape: [n, 2, 2, 1],
  ...(labels && { labels: Int32Array.from(labels) }),
  position: 0,
});

/** A network that says 0, or ever the same, and remembers what it was asked. */
function spy(classes = 3, answer = 0) {
  const asked: { x: number[]; times: readonly number[]; condition: Condition }[] = [];
  let seen: number[] = [];
  const inner = networkOf({}, {
    classes,
    features: 2,
    forward: (_, x) => {
      seen = [...x.dataSync()];
      return tf.fill(x.shape, answer);
    },
  });
  let given: { times: readonly number[]; condition: Condition };
  const network: Network = {
    ...inner,
    inputs: (times, condition = times.map(() => null)) => {
      given = { times, condition };
      return inner.inputs(times, condition);
    },
    forward: (params, x, inputs) => {
      const y = inner.forward(params, x, inputs);
      asked.push({ x: seen, ...given });
      return y;
    },
  };
  return { network, asked };
}

const valueOf =
  (network: Network, options: DiffusionLossOptions) => (batch: ImageBatch, key: Key) => {
    const loss = lossOf(diffusionLoss(network, options))({}, batch, key), [value] = loss.dataSync();
    loss.dispose();
    return value!;
  };

/** The mean of a function of alpha and sigma over the times that training draws. */
function overTime(schedule: Schedule, f: (alpha: number, sigma: number) => number): number {
  const n = schedule.steps ?? 4096;
  const times = schedule.steps
    ? Array.from({ length: n }, (_, i) => i + 1)
    : Array.from({ length: n }, (_, i) => 1e-3 + (1 - 1e-3) * (i + 0.5) / n);
  return average(times.map((t) => f(schedule.at(t).alpha, schedule.at(t).sigma)));
}

describe("diffusionLoss()", () => {
  before(() => useBackend("cpu"));

  const m = 0.6; // every pixel of the data
  const cases: Record<
    string,
    { options: Omit<DiffusionLossOptions, "schedule">; f: (alpha: number, sigma: number) => number }
  > = {
    "eps costs the noise": { options: { kind: "eps" }, f: () => 1 },
    "x0 costs the data": { options: { kind: "x0" }, f: () => m * m },
    "v costs both": { options: { kind: "v" }, f: (a, s) => a * a + s * s * m * m },
    "flow costs both in full": { options: { kind: "flow" }, f: () => 1 + m * m },
    "v weighed as eps": {
      options: { kind: "v", weighting: weightings.simple },
      f: (a, s) => a * a * (a * a + s * s * m * m),
    },
  };
  for (const [name, schedule] of Object.entries({ linear: linear({ steps: 100 }), vp: vp() })) {
    for (const [what, { options, f }] of Object.entries(cases)) {
      it(`diffusionLoss() of a network that says 0 is its closed form on ${name}: ${what}`, () => {
        const loss = valueOf(spy().network, { schedule, ...options }), runs = 150;
        const losses = Array.from({ length: runs }, (_, i) => loss(batchOf(4, m), fold(key(4), i)));
        const wanted = overTime(schedule, f),
          error = Math.sqrt(average(losses.map((l) => (l - average(losses)) ** 2)) / runs);
        const z = (average(losses) - wanted) / Math.max(error, 1e-7);
        assert.ok(Math.abs(z) < 4, `${average(losses)} against ${wanted}: z = ${z}`);
      });
    }
  }

  for (const schedule of [ve(), subVp()]) {
    it(`diffusionLoss() on ${schedule.name} is that of its unit: inputs, targets and weights`, () => {
      for (const kind of ["eps", "x0", "v", "flow", "score"] as const) {
        const one = spy(3, 0.5), two = spy(3, 0.5), weighting = weightings.minSnr();
        const got = valueOf(one.network, { schedule, kind, weighting })(batchOf(5, m), key(1));
        const units = { schedule: unit(schedule), kind, weighting };
        assert.equal(got, valueOf(two.network, units)(batchOf(5, m), key(1)));
        assert.deepEqual(one.asked, two.asked);
        assert.ok(one.asked[0]!.x.every((x) => Math.abs(x) < 6));
      }
    });
  }

  const noisy: Record<string, readonly [Schedule, (t: number) => number]> = {
    ve: [ve(), () => Math.log(5000)],
    edm: [edm(), (t) => 1 / t],
    vp: [vp(), (t) => (0.1 + 19.9 * t) / 2 / -Math.expm1(-(0.1 * t + 9.95 * t * t))],
    subVp: [subVp(), (t) => (0.1 + 19.9 * t) / 2 / Math.tanh((0.1 * t + 9.95 * t * t) / 2)],
    rectified: [rectified(), (t) => 1 / (t * (1 - t))],
  };
  /** The weights that an objective gives eight samples, and their times. */
  const weightsOf = (options: DiffusionLossOptions): { weights: number[]; t: number[] } => {
    const { inputs } = diffusionLoss(spy().network, options), given = inputs(batchOf(8, m), key(1));
    const weights = [...given["weights"]!.dataSync()];
    tf.dispose(given);
    return { weights, t: uniformTimes(options.schedule, 8, fold(key(1), "times")) };
  };
  for (const [name, [schedule, slope]] of Object.entries(noisy)) {
    it(`diffusionLoss() under variational() on ${name} weighs by −½·d log-SNR/dt, and so under g²/2 of the score's own error`, () => {
      const by: readonly Weighting[] = [
        variational(schedule),
        ({ score }, { t }) => score * schedule.diffusion(t) ** 2 / 2,
        ({ v }, { level, t }) => {
          const { alpha, sigma } = level; // of the schedule's own unit, as the error of v is
          return v * (alpha / (alpha ** 2 + sigma ** 2)) ** 2 * slope(t);
        },
      ];
      for (const weighting of by) {
        const { weights, t } = weightsOf({ schedule, kind: "v", weighting });
        weights.forEach((weight, i) => {
          const { alpha, sigma } = schedule.at(t[i]!),
            share = alpha ** 2 / (alpha ** 2 + sigma ** 2);
          // The eps error of an error of 1 of v in units.
          assert.ok(Math.abs(weight / (share * slope(t[i]!)) - 1) < 1e-5, `${t[i]}: ${weight}`);
        });
      }
    });

    it(`diffusionLoss() on ${name} weighs by the closed forms of the literature`, () => {
      const named: readonly (readonly [Weighting, (snr: number) => number])[] = [
        [weightings.simple, () => 1],
        [weightings.data, (snr) => 1 / snr],
        [weightings.truncated, (snr) => Math.max(1, 1 / snr)],
        [weightings.velocity, (snr) => 1 + 1 / snr],
        [weightings.minSnr(3), (snr) => Math.min(1, 3 / snr)],
        [({ score }, { level }) => score * level.sigma ** 2, () => 1],
      ];
      for (const [weighting, wanted] of named) {
        const { weights, t } = weightsOf({ schedule, kind: "x0", weighting });
        weights.forEach((weight, i) => {
          const { alpha, sigma } = schedule.at(t[i]!), snr = (alpha / sigma) ** 2;
          assert.ok(Math.abs(weight / (snr * wanted(snr)) - 1) < 1e-5, `${t[i]}: ${weight}`);
        });
      }
    });
  }

  it("diffusionLoss() asks the network at the batch's times in its own unit", () => {
    const schedule = linear({ steps: 10 }), { network, asked } = spy();
    valueOf(network, { schedule, kind: "eps" })(batchOf(5, 0), key(1));
    const wanted = uniformTimes(schedule, 5, fold(key(1), "times"));
    assert.deepEqual(asked[0]!.times, wanted.map((t) => networkTime(schedule, t)));
    assert.ok(asked[0]!.times.every((t) => t >= 100 && t <= 1000));
  });

  it("diffusionLoss() shows the network alpha·x0 + sigma·eps and compares it with the eps", () => {
    const schedule = linear({ steps: 10 }), { network, asked } = spy(3, 0.5);
    const got = valueOf(network, { schedule, kind: "eps" })(batchOf(3, m), key(1));
    const levels = uniformTimes(schedule, 3, fold(key(1), "times")).map((t) => schedule.at(t));
    const eps = asked[0]!.x.map((x, i) => (x - levels[i >> 2]!.alpha * m) / levels[i >> 2]!.sigma);
    assert.ok(Math.abs(got - average(eps.map((e) => (e - 0.5) ** 2))) < 1e-5);
    const drawn = [0, 1, 2].flatMap((i) => [...normals(fold(fold(key(1), "noise"), i), 4)]);
    eps.forEach((e, i) => assert.ok(Math.abs(e - drawn[i]!) < 1e-5));
  });

  it("diffusionLoss() draws a sample's noise whatever its batch", () => {
    const schedule = vp(),
      { network, asked } = spy(),
      loss = valueOf(network, { schedule, kind: "eps" });
    loss(batchOf(1, 0), key(1));
    loss(batchOf(6, 0), key(1));
    const sigma = (n: number) =>
      schedule.at(uniformTimes(schedule, n, fold(key(1), "times"))[0]!).sigma;
    const [one, six] = [asked[0]!.x.slice(0, 4), asked[1]!.x.slice(0, 4)];
    one.forEach((x, i) => assert.ok(Math.abs(x / sigma(1) - six[i]! / sigma(6)) < 1e-5));
  });

  it("diffusionLoss() is a function of the key, and another under another", () => {
    const loss = valueOf(spy().network, { schedule: linear(), kind: "eps", nullShare: 0.5 });
    const batch = batchOf(4, m, [0, 1, 2, 0]);
    assert.equal(loss(batch, key(1)), loss(batch, key(1)));
    assert.notEqual(loss(batch, key(1)), loss(batch, key(2)));
  });

  it("diffusionLoss() drops the share of classes asked for, and keeps the others in their places", () => {
    const labels = Array.from({ length: 64 }, (_, i) => i % 3), { network, asked } = spy();
    const share = 0.2,
      loss = valueOf(network, { schedule: linear(), kind: "eps", nullShare: share });
    for (let i = 0; i < 40; i++) loss(batchOf(64, 0, labels), fold(key(6), i));
    let nulls = 0;
    for (const { condition } of asked) {
      condition.forEach((label, i) => label === null ? nulls++ : assert.equal(label, labels[i]));
    }
    const n = 64 * 40, z = (nulls / n - share) / Math.sqrt(share * (1 - share) / n);
    assert.ok(Math.abs(z) < 4, `z = ${z}`);
    assert.notDeepEqual(asked[0]!.condition, asked[1]!.condition);
  });

  it("diffusionLoss() drops classes whatever the time", () => {
    const { network, asked } = spy(), n = 500;
    const loss = valueOf(network, { schedule: linear(), kind: "eps", nullShare: 0.5 });
    for (let i = 0; i < n; i++) loss(batchOf(1, 0, [1]), fold(key(7), i));
    const pairs = asked.map((
      { times, condition },
    ) => [times[0]! / 1000 - 0.5, condition[0] === null ? 1 : -1]);
    // Each product has mean 0 and variance 1/12 where time and class are independent.
    const z = pairs.reduce((sum, [t, sign]) => sum + t! * sign!, 0) / Math.sqrt(n / 12);
    assert.ok(Math.abs(z) < 4, `z = ${z}`);
  });

  it("diffusionLoss() drops no class by default, and every one where the share is 1", () => {
    const labels = [2, 0, 1], { network, asked } = spy();
    valueOf(network, { schedule: linear(), kind: "eps" })(batchOf(3, 0, labels), key(0));
    valueOf(network, { schedule: linear(), kind: "eps", nullShare: 1 })(
      batchOf(3, 0, labels),
      key(0),
    );
    assert.deepEqual(asked.map(({ condition }) => condition), [labels, [null, null, null]]);
  });

  it("diffusionLoss() gives no class without labels, nor to a network without classes", () => {
    const some = spy(), none = spy(0), options = { schedule: linear(), kind: "eps" } as const;
    valueOf(some.network, options)(batchOf(2, 0), key(0));
    valueOf(none.network, options)(batchOf(2, 0, [1, 2]), key(0));
    assert.deepEqual(some.asked[0]!.condition, [null, null]);
    assert.deepEqual(none.asked[0]!.condition, [null, null]);
  });

  it("diffusionLoss() has a gradient in every weight of a U-Net and leaves no tensor but its result", () => {
    const network = unet({
      size: [4, 4],
      base: 8,
      groups: 4,
      multipliers: [1],
      blocks: 1,
      classes: 2,
    });
    const params = randomWeights(network.parameters), names = Object.keys(params);
    const objective = diffusionLoss(network, { schedule: linear(), kind: "v", nullShare: 0.5 });
    const loss = lossOf(objective);
    const batch: ImageBatch = {
      images: new Float32Array(64).fill(0.3),
      shape: [4, 4, 4, 1],
      labels: Int32Array.of(0, 1, 0, 1),
      position: 0,
    };
    const before = live(), value = loss(params, batch, key(0));
    assert.equal(live(), before + 1);
    const gradients = tf.grads((...w) =>
      loss(Object.fromEntries(names.map((name, i) => [name, w[i]!])), batch, key(0))
    )(Object.values(params));
    gradients.forEach((gradient, i) =>
      assert.ok(gradient.dataSync().some((g) => Math.abs(g) > 1e-6), names[i]!)
    );
    tf.dispose([value, gradients, params]);
  });

  it("diffusionLoss() with the uniform law as times is the loss without, bit for bit where it is not weighed", () => {
    for (const schedule of [linear(), vp()]) {
      const options = { schedule, kind: "v" } as const,
        batch = batchOf(5, m),
        times = timeSampler(schedule);
      const plain = valueOf(spy().network, options)(batch, key(3));
      assert.equal(
        valueOf(spy().network, { ...options, times, reweighted: false })(batch, key(3)),
        plain,
      );
      const weighed = valueOf(spy().network, { ...options, times })(batch, key(3));
      assert.ok(Math.abs(weighed / plain - 1) < 1e-6);
    }
  });

  it("diffusionLoss() under a law of times keeps its expectation, and is another objective unweighed", () => {
    // A score network that says 0 loses xi²/sigma²: Z/(T − eta) = 2.3805750, and 84.99 without weights.
    const schedule = vp({ betaMin: 1, betaMax: 1, end: 5 }), least = 1e-3;
    const times = timeSampler(schedule, { law: timeLaws.constantRate(), least });
    const options = { schedule, kind: "score", times } as const, runs = 200;
    const values = (reweighted: boolean) => {
      const loss = valueOf(spy().network, { ...options, reweighted });
      return Array.from({ length: runs }, (_, i) => loss(batchOf(16, 0), fold(key(17), i)));
    };
    const zs = [[true, 2.380575], [false, 84.988]] as const;
    for (const [reweighted, wanted] of zs) {
      const losses = values(reweighted), centre = average(losses);
      const error = Math.sqrt(average(losses.map((l) => (l - centre) ** 2)) / runs);
      assert.ok(Math.abs((centre - wanted) / error) < 4, `${centre} against ${wanted}`);
      assert.ok(error < 0.05 * wanted);
    }
  });

  it("diffusionLoss() asks the network at the times of the law, and weighs each sample by its own", () => {
    const schedule = vp(), { network, asked } = spy(), kind = "eps";
    const times = timeSampler(schedule, { law: timeLaws.likelihood(schedule) });
    const got = valueOf(network, { schedule, kind, times })(batchOf(5, 0), key(1));
    const t = sampleTimes(times, 5, fold(key(1), "times"));
    assert.deepEqual(asked[0]!.times, t.map((time) => networkTime(schedule, time)));
    const squares = t.map((time, i) =>
      average(asked[0]!.x.slice(4 * i, 4 * i + 4).map((x) => (x / schedule.at(time).sigma) ** 2))
    );
    const wanted = average(squares.map((square, i) => square * times.weight(t[i]!)));
    assert.ok(Math.abs(got / wanted - 1) < 1e-5);
  });

  it("diffusionLoss() refuses a share that is not one", () => {
    for (const nullShare of [-0.1, 1.1, NaN]) {
      assert.throws(
        () => diffusionLoss(spy().network, { schedule: linear(), kind: "eps", nullShare }),
        {
          name: "RangeError",
          message: `Cannot make a loss: nullShare must be in [0, 1], got ${nullShare}`,
        },
      );
    }
  });
});

describe("what diffusionLoss() refuses", () => {
  before(() => useBackend("cpu"));

  for (
    const schedule of [
      rectified(),
      zeroTerminalSnr(linear()),
      cosineContinuous({ end: 1 }),
      sigmoidContinuous({ end: 1 }),
    ]
  ) {
    it(`diffusionLoss() of a kind that cannot be read at the end of ${schedule.name} is refused, naming those that can`, () => {
      for (const kind of ["eps", "score"] as const) {
        assert.throws(() => diffusionLoss(spy().network, { schedule, kind }), {
          name: "RangeError",
          message:
            `Cannot make a loss: kind must be x0, v or flow under "${schedule.name}", whose alpha is 0 at ` +
            `t = ${schedule.span[1]}, got "${kind}"`,
        });
      }
      for (const kind of ["x0", "v", "flow"] as const) {
        const value = valueOf(spy().network, { schedule, kind })(batchOf(3, 0.5), key(0));
        assert.ok(value > 0 && Number.isFinite(value));
      }
    });
  }

  const options = { schedule: linear(), kind: "eps" } as const;

  it("diffusionLoss() and noisyClassifierLoss() refuse options that they do not know, and those that do nothing", () => {
    const { network } = spy(), classifier = timedClassifier({ size: [4, 4], classes: 2, base: 8 });
    const cases: [() => unknown, string, string][] = [
      [
        () => diffusionLoss(network, { ...options, wieghting: () => 1 } as DiffusionLossOptions),
        "TypeError",
        "options must be among schedule, kind, weighting, nullShare, times, reweighted, " +
        'got "wieghting"',
      ],
      [
        () => diffusionLoss(network, { ...options, kind: "epsilon" as Kind }),
        "RangeError",
        'kind must be one of eps, x0, v, flow, score, got "epsilon"',
      ],
      [
        () => diffusionLoss(network, { ...options, reweighted: true }),
        "RangeError",
        "reweighted must be absent without times, got true",
      ],
      [
        () => diffusionLoss(spy(0).network, { ...options, nullShare: 0.1 }),
        "RangeError",
        "nullShare must be 0 for a network without classes, got 0.1",
      ],
      [
        () => noisyClassifierLoss(classifier, { schedule: linear(), kind: "eps" } as never),
        "TypeError",
        'options must be among schedule, got "kind"',
      ],
    ];
    for (const [call, name, message] of cases) {
      assert.throws(call, { name, message: `Cannot make a loss: ${message}` });
    }
  });

  it("diffusionLoss() and noisyClassifierLoss() refuse a batch that is not finite, empty or of other sizes, and what is no key", () => {
    const network = unet({
      size: [2, 2],
      base: 8,
      groups: 4,
      multipliers: [1],
      blocks: 1,
      classes: 3,
    });
    const classifier = timedClassifier({ size: [4, 4], classes: 3, base: 8 });
    const small = diffusionLoss(network, options),
      large = noisyClassifierLoss(classifier, { schedule: linear() });
    const square = (n: number, side: number, value = 0): ImageBatch => ({
      images: new Float32Array(n * side * side).fill(value),
      shape: [n, side, side, 1],
      labels: Int32Array.from({ length: n }, (_, i) => i % 3),
      position: 0,
    });
    for (const [{ inputs }, side] of [[small, 2], [large, 4]] as const) {
      const good = square(2, side), alive = live(), count = 2 * side * side;
      const cases: [Partial<ImageBatch>, string][] = [
        [square(2, side, NaN), "batch.images must be finite, got NaN"],
        [square(2, side, -Infinity), "batch.images must be finite, got -Infinity"],
        [square(0, side), `batch.shape must be of at least one image, got [0,${side},${side},1]`],
        [
          { images: new Float32Array(3) },
          `batch.images must be ${count} numbers, as the shape [2,${side},${side},1] has, got 3`,
        ],
        [
          { labels: Int32Array.of(0) },
          "batch.labels must be one for each of 2 images, got 1",
        ],
      ];
      for (const [change, message] of cases) {
        assert.throws(() => inputs({ ...good, ...change }, key(0)), {
          name: "RangeError",
          message: `Cannot compute the loss: ${message}`,
        });
        assert.equal(live(), alive);
      }
      assert.throws(() => inputs(good, 5 as unknown as Key), {
        name: "TypeError",
        message: "Cannot compute the loss: key must be a key, as key(0) makes them, got 5",
      });
      assert.throws(
        () => inputs({ ...good, labels: Int32Array.of(0, 3) }, key(0)),
        /^RangeError: Cannot .*(class|label) must be .*whole number in \[0, 3\), got 3$/,
      );
      assert.equal(live(), alive);
    }
    const weights = randomWeights(network.parameters), before = live();
    assert.throws(
      () => lossOf(small)(weights, square(2, 4), key(0)),
      /^RangeError: Cannot apply the network: x must be of shape \[N, 2, 2, 1\], got \[2,4,4,1\]$/,
    );
    assert.equal(live(), before);
    tf.dispose(weights);
  });
});

/** Images of two classes at random, N(±m·pattern, v·I). */
function two(
  n: number,
  { m, v, pattern, seed }: {
    readonly m: number;
    readonly v: number;
    readonly pattern: readonly number[];
    readonly seed: number;
  },
): ImageBatch {
  const side = Math.sqrt(pattern.length);
  const labels = Int32Array.from(uniforms(fold(key(seed), "labels"), n), (u) => u < 0.5 ? 0 : 1);
  const noise = normals(key(seed), n * pattern.length);
  const images = noise.map((z, i) => {
    const sign = labels[Math.floor(i / pattern.length)] === 1 ? 1 : -1;
    return sign * m * pattern[i % pattern.length]! + Math.sqrt(v) * z;
  });
  return { images, shape: [n, side, side, 1], labels, position: 0 };
}

/** The factor of Σ pattern·x_t in ln p_t(1 | x_t)/p_t(0 | x_t): N(±a·m, a²·v + s²) divided by each other. */
const oddsSlope = ({ at }: Schedule, t: number, { m, v }: { m: number; v: number }): number => {
  const { alpha, sigma } = at(t);
  return 2 * alpha * m / (alpha ** 2 * v + sigma ** 2);
};

describe("noisyClassifierLoss()", () => {
  before(() => useBackend("cpu"));

  it("noisyClassifierLoss() is the cross entropy at alpha·x0 + sigma·eps in units and at its time, by hand", () => {
    // Logits: a row of weights times sin and cos of the time, and Σx.
    const weights = [[0.7, -1.1, 0.4], [0.2, 0.9, -0.6], [0.5, -0.3, 0.1]];
    const forward: TimedClassifier["forward"] = (_, x, { time }) =>
      tf.matMul(
        tf.concat([time, tf.sum(tf.reshape(x, [-1, 4]), 1, true)], 1),
        tf.tensor2d(weights),
      );
    const inner = networkOf({}, { classes: 0, features: 2, forward });
    const network: TimedClassifier = { ...inner, classes: 3 };
    const labels = [0, 2, 1, 1, 0], x0 = 0.6;
    for (const schedule of [linear({ steps: 10 }), cosineContinuous(), subVp(), ve()]) {
      const objective = noisyClassifierLoss(network, { schedule });
      const value = lossOf(objective)({}, batchOf(5, x0, labels), key(1));
      const times = uniformTimes(schedule, 5, fold(key(1), "times"));
      const losses = times.map((t, i) => {
        const { alpha, sigma } = schedule.at(t), share = t / schedule.span[1];
        const sum = normals(fold(fold(key(1), "noise"), i), 4)
          .reduce((sum, eps) => sum + (alpha * x0 + sigma * eps) / Math.hypot(alpha, sigma), 0);
        const told = [Math.sin(1000 * share), Math.cos(1000 * share), sum];
        const logits = [0, 1, 2].map((k) =>
          told.reduce((total, number, j) => total + number * weights[j]![k]!, 0)
        );
        return Math.log(logits.reduce((total, z) => total + Math.exp(z), 0)) - logits[labels[i]!]!;
      });
      const [got] = value.dataSync();
      assert.ok(Math.abs(got! - average(losses)) < 1e-5, `${got} against ${average(losses)}`);
      value.dispose();
    }
  });

  it("noisyClassifierLoss() draws the times and the noise of diffusionLoss()", () => {
    for (const schedule of [linear(), ve()]) {
      const { network, asked } = spy();
      valueOf(network, { schedule, kind: "eps" })(batchOf(5, 0.6, [0, 1, 2, 1, 0]), key(3));
      const told: (readonly number[])[] = [];
      const classifier = {
        classes: 3,
        inputs: (times: readonly number[]) => (told.push(times), network.inputs(times)),
      } as unknown as TimedClassifier;
      const { inputs } = noisyClassifierLoss(classifier, { schedule });
      const { xt } = tf.tidy(() => inputs(batchOf(5, 0.6, [0, 1, 2, 1, 0]), key(3)));
      assert.deepEqual([...xt!.dataSync()], asked[0]!.x);
      assert.deepEqual(told, [asked[0]!.times]);
    }
  });

  const law = { m: 0.4, v: 0.25 }, pattern = [1, 1, 1, 1];

  /** A network whose log-odds are c, and w times the exact ones: linear in x_t, which it sees in units. */
  const nearly = (schedule: Schedule): TimedClassifier => {
    const [, end] = schedule.span, units = unit(schedule);
    const inputs = (times: readonly number[]) => ({
      time: tf.tensor2d(times.map((t) => [oddsSlope(units, t / 1000 * end, law)])),
    });
    const forward: TimedClassifier["forward"] = ({ w, c }, x, { time }) => {
      const odds = tf.mul(tf.mul(tf.sum(tf.reshape(x, [-1, 4]), 1, true), time), w!);
      return tf.concat([tf.zerosLike(odds), tf.add(odds, c!)], 1);
    };
    return {
      parameters: { w: { shape: [1] }, c: { shape: [1], mean: 0.5 } },
      classes: 2,
      inputs,
      forward,
      apply: (params, x, times) => forward(params, x, inputs(times)),
    };
  };

  for (const [name, schedule] of Object.entries({ linear: linear({ steps: 100 }), ve: ve() })) {
    const network = nearly(schedule), objective = noisyClassifierLoss(network, { schedule });

    it(`noisyClassifierLoss() is stationary at the exact log-odds of the noisy marginals, and only there, on ${name}`, () => {
      const loss = lossOf(objective), runs = 80;
      const z = (w: number): number => {
        const slopes = Array.from({ length: runs }, (_, i) =>
          tf.tidy(() => {
            const batch = two(64, { ...law, pattern, seed: 100 + i });
            const at = (w: tf.Tensor) => loss({ w, c: tf.zeros([1]) }, batch, fold(key(8), i));
            return tf.grad(at)(tf.tensor1d([w])).dataSync()[0]!;
          }));
        const centre = average(slopes);
        return centre / Math.sqrt(average(slopes.map((s) => (s - centre) ** 2)) / runs);
      };
      const [less, exact, more] = [z(0.6), z(1), z(1.8)];
      assert.ok(Math.abs(exact) < 4, `z = ${exact} at the exact log-odds`);
      assert.ok(less < -8 && more > 8, `z = ${less} at less, ${more} at more`);
    });

    it(`noisyClassifierLoss() teaches a network the log-odds of p_t(y | x_t), to a tenth of them, on ${name}`, async () => {
      const params = initialize(network.parameters, key(2)),
        start = newTraining(params),
        steps = 160;
      const states = train(start, {
        loss: objective,
        key: key(9),
        adam: { rate: 0.05, warmup: 1, anneal: steps },
        decay: 0.9,
      })(Array.from({ length: steps }, (_, i) => two(64, { ...law, pattern, seed: 1000 + i })));
      /** Root mean square of the log-odds at a time less the exact ones, in units of those. */
      const error = (params: Params, share: number): number =>
        tf.tidy(() => {
          const n = 200, t = share * schedule.span[1], { alpha, sigma } = schedule.at(t);
          const { images } = two(n, { ...law, pattern, seed: 7 }), eps = normals(key(70), 4 * n);
          const x = tf.tensor4d(images.map((x, i) => alpha * x + sigma * eps[i]!), [n, 2, 2, 1]);
          const logits = noisyClassifier(network, params, { schedule })(x, t).dataSync();
          const slope = oddsSlope(schedule, t, law), sums = tf.sum(x, [1, 2, 3]).dataSync();
          const exact = Array.from(sums, (sum) => slope * sum);
          const off = exact.map((odds, i) => logits[2 * i + 1]! - logits[2 * i]! - odds);
          const size = (list: readonly number[]) => Math.sqrt(average(list.map((v) => v * v)));
          return size(off) / size(exact);
        });
      let errors: number[] = [];
      for await (const { step, ema } of states) {
        if (step === steps) errors = [0.1, 0.3, 0.5].map((share) => error(ema, share));
      }
      assert.ok([0.1, 0.3, 0.5].every((share) => error(params, share) > 1));
      assert.ok(errors.length === 3 && errors.every((e) => e < 0.1), `${errors}`);
      tf.dispose(params);
      disposeTraining(start);
    });
  }

  it("noisyClassifierLoss() has a gradient in every weight and leaves no tensor but its result", () => {
    const network = timedClassifier({ size: [4, 4], classes: 2, base: 8, features: 5 });
    const params = randomWeights(network.parameters), names = Object.keys(params);
    const loss = lossOf(noisyClassifierLoss(network, { schedule: linear() }));
    const batch = two(4, { m: 1, v: 1, pattern: Array(16).fill(1), seed: 1 });
    assertLeavesOne(() => loss(params, batch, key(0)));
    const gradients = tf.grads((...w) =>
      loss(Object.fromEntries(names.map((name, i) => [name, w[i]!])), batch, key(0))
    )(Object.values(params));
    gradients.forEach((gradient, i) => {
      const most = Math.max(...gradient.dataSync().map(Math.abs));
      // Norms of single channels take out what the first bias adds.
      assert.equal(most > 1e-6, names[i] !== "conv.0.bias", `${names[i]}: ${most}`);
    });
    tf.dispose([gradients, params]);
  });

  it("noisyClassifierLoss() refuses a batch without labels, and labels that are no classes", () => {
    const network = timedClassifier({ size: [4, 4], classes: 2, base: 8 });
    const { inputs } = noisyClassifierLoss(network, { schedule: linear() });
    const { labels: _, ...bare } = two(2, { m: 1, v: 1, pattern: Array(16).fill(1), seed: 1 });
    const alive = live();
    assert.throws(() => inputs(bare, key(0)), {
      name: "TypeError",
      message: "Cannot train a classifier: the batch must have labels, got none",
    });
    assert.throws(() => inputs({ ...bare, labels: Int32Array.of(0, 2) }, key(0)), {
      name: "RangeError",
      message: "Cannot make one-hot rows: label must be a whole number in [0, 2), got 2",
    });
    assert.equal(live(), alive);
  });
});
