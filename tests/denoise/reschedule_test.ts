import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { pipe } from "fp-ts/lib/function.js";
import * as tf from "@tensorflow/tfjs-core";
import { mixture } from "../../src/denoise/oracle/gaussian.ts";
import {
  convert,
  type Kind,
  kinds,
  type Model,
  type Prediction,
} from "../../src/denoise/prediction.ts";
import { rescheduled } from "../../src/denoise/reschedule.ts";
import {
  cosineContinuous,
  edm,
  rectified,
  subVp,
  ve,
  vp,
} from "../../src/noise/schedule/continuous.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { logSnr, type Schedule } from "../../src/noise/schedule/schedule.ts";
import { ddim } from "../../src/sample/ancestral.ts";
import { run } from "../../src/sample/run.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { last } from "../../src/watch/record.ts";
import { live } from "../measure.ts";

const law = {
  means: [[-1, 0.5], [1.2, -0.3]],
  variances: [[0.09, 0.04], [0.16, 0.25]],
  weights: [0.3, 0.7],
  labels: [0, 1],
};
const schedules: readonly Schedule[] = [
  vp(),
  subVp(),
  ve(),
  edm(),
  rectified(),
  cosineContinuous(),
  linear(),
];

/** The same model, saying it in another way. */
const speaking = (kind: Kind, model: Model): Model => ({
  schedule: model.schedule,
  predict: (x, t) => {
    const prediction = model.predict(x, t) as Prediction;
    try {
      return { kind, value: convert(prediction, kind, x, model.schedule.at(t)) };
    } finally {
      tf.dispose({ ...prediction });
    }
  },
});

const said = (model: Model, x: tf.Tensor, t: number, as: Kind = "eps"): number[] =>
  tf.tidy(() => [
    ...convert(model.predict(x, t) as Prediction, as, x, model.schedule.at(t)).dataSync(),
  ]);

const near = (got: readonly number[], wanted: readonly number[], tolerance: number): void => {
  assert.equal(got.length, wanted.length);
  got.forEach((value, i) =>
    assert.ok(Math.abs(value - wanted[i]!) <= tolerance, `${value} is not ${wanted[i]}`)
  );
};

/** A time of a schedule with a log-SNR that all of them have. */
const times = (schedule: Schedule): number[] => [4, 0, -4].map(schedule.timeOf);

describe("rescheduled()", () => {
  before(() => useBackend("cpu"));

  for (const from of schedules) {
    for (const to of schedules) {
      it(`from ${from.name} to ${to.name} is the oracle of the new schedule, whatever it says`, () => {
        const wanted = mixture(to, law), x = tf.tensor([[0.4, -1], [2, 0.2], [-0.7, 0.6]]);
        for (const kind of kinds) {
          const model = rescheduled(speaking(kind, mixture(from, law)), to);
          assert.equal(model.schedule, to);
          for (const t of times(to)) {
            const { sigma } = to.at(t), scaled = tf.mul(x, Math.max(1, sigma));
            near(said(model, scaled, t), said(wanted, scaled, t), 2e-5);
            scaled.dispose();
          }
        }
        x.dispose();
      });
    }
  }

  it("keeps an energy one, whose gradient is that of the new unit", () => {
    const from = vp(), to = ve(), oracle = mixture(from, law), x = tf.tensor([[3, -2]]);
    const energetic: Model = {
      schedule: from,
      predict: (x, t) =>
        tf.tidy(() => {
          const gradient = tf.neg(convert(oracle.predict(x, t), "score", x, from.at(t)));
          return { kind: "energy", value: tf.sum(x, 1), gradient } as never;
        }),
    };
    for (const t of times(to)) {
      const prediction = rescheduled(energetic, to).predict(x, t) as Prediction;
      assert.equal(prediction.kind, "energy");
      tf.dispose({ ...prediction });
      near(said(rescheduled(energetic, to), x, t), said(mixture(to, law), x, t), 2e-5);
    }
    x.dispose();
  });

  it("hands conditions on", () => {
    const to = ve(), x = tf.tensor([[1, 1], [1, 1]]), [t] = times(to);
    const model = rescheduled(mixture(vp(), law), to).given!([0, 1]);
    near(said(model, x, t!), said(mixture(to, law).given([0, 1]), x, t!), 2e-5);
    assert.equal(rescheduled(speaking("v", mixture(vp(), law)), to).given, undefined);
    x.dispose();
  });

  it("takes levels beyond the model's for its nearest", () => {
    const from = vp(), oracle = mixture(from, law), x = tf.tensor([[0.4, -1]]);
    const [, end] = from.span, line = rectified();
    // All noise: N(0, 1) in both units but for the model's sigma.
    const far = said(rescheduled(oracle, line), x, 1, "x0"), { sigma } = from.at(end);
    const scaled = tf.mul(x, sigma);
    near(far, said(oracle, scaled, end, "x0"), 1e-6);
    // Less noise than the model has ever seen: its least, in the unit of the data.
    const floor = ve({ sigmaMin: 0.1 }), clean = rescheduled(mixture(floor, law), edm());
    near(said(clean, x, 0.05, "x0"), said(mixture(floor, law), x, 0, "x0"), 1e-6);
    tf.dispose([x, scaled]);
  });

  it("walks the same DDIM path in another unit", async () => {
    const from = vp(), to = ve(), oracle = mixture(from, law), x = tf.tensor([[30, -20], [4, 60]]);
    const levels = [-7, -5, -3, -1, 1, 3, 5, 7];
    const grid = (schedule: Schedule) => levels.map(schedule.timeOf);
    const walked = async (model: Model, start: tf.Tensor) => {
      const { schedule } = model, times = grid(schedule), [t] = times as [number];
      const state = { x: start, t, step: 0 };
      return await last(pipe(ddim(schedule, { times }), run(state, { model, key: key(0) })));
    };
    const scale = (schedule: Schedule, at: number) => schedule.at(grid(schedule).at(at)!).sigma;
    const start = tf.mul(x, scale(from, 0) / scale(to, 0));
    const one = await walked(rescheduled(oracle, to), x), two = await walked(oracle, start);
    const factor = scale(to, -1) / scale(from, -1);
    near([...one.x.dataSync()], [...two.x.dataSync()].map((value) => value * factor), 1e-4);
    tf.dispose([x, start, one, two] as never);
  });

  it("waits for a model that answers later, and leaves no tensor behind, also when it fails", async () => {
    const to = ve(), oracle = mixture(vp(), law), x = tf.tensor([[1, 1]]), [t] = times(to);
    const later: Model = {
      schedule: oracle.schedule,
      predict: (x, t) => Promise.resolve(oracle.predict(x, t)),
    };
    const alive = live();
    const prediction = await rescheduled(speaking("v", oracle), to).predict(x, t!);
    const late = await rescheduled(later, to).predict(x, t!);
    assert.equal(live(), alive + 2);
    tf.dispose([{ ...prediction }, { ...late }]);
    const failing = (predict: Model["predict"]): Model => ({ schedule: oracle.schedule, predict });
    await assert.rejects(
      async () =>
        await rescheduled(failing(() => Promise.reject(new Error("no"))), to).predict(x, t!),
      /no/,
    );
    const thrower = failing(() => {
      throw new Error("no");
    });
    assert.throws(() => rescheduled(thrower, to).predict(x, t!), /no/);
    assert.equal(live(), alive);
    assert.ok(Math.abs(logSnr(to.at(t!)) - 4) < 1e-9);
    x.dispose();
  });
});
