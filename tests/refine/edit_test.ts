import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { pipe } from "fp-ts/lib/function.js";
import { gaussian } from "../../src/denoise/oracle/gaussian.ts";
import { linear } from "../../src/noise/schedule/discrete.ts";
import { edited } from "../../src/refine/edit.ts";
import { slerp } from "../../src/tensor/rows/slerp.ts";
import { ddim, ddimInverse } from "../../src/sample/ancestral.ts";
import { run } from "../../src/sample/run.ts";
import type { State } from "../../src/sample/path.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
import { onGpu } from "../tensor/kernel/gpu.ts";
import { live, rowsOf } from "../measure.ts";

const schedule = linear(), model = gaussian(schedule), env = { model, key: key(0) };

/** Shoemake's formula on unit vectors, times the length on the line between the two; in float64. */
function between(a: readonly number[], b: readonly number[], u: number): number[] {
  const [la, lb] = [Math.hypot(...a), Math.hypot(...b)];
  const omega = Math.acos(a.reduce((sum, value, i) => sum + value / la * (b[i]! / lb), 0));
  const size = ((1 - u) * la + u * lb) / Math.sin(omega);
  return a.map((value, i) =>
    size * (Math.sin((1 - u) * omega) * value / la + Math.sin(u * omega) * b[i]! / lb)
  );
}

describe("edited()", () => {
  before(() => useBackend("cpu"));

  it("is q(x_t | x_0): mean alpha·x_0, deviation sigma, at any t; at 0 the guide itself", () => {
    const guide = tf.fill([10, 2000], 1.5);
    for (const t of [100, 400, 900]) {
      const { x, t: at } = edited(guide, { t })(env), { alpha, sigma } = schedule.at(t);
      const values = [...x.dataSync()], n = values.length;
      const mean = values.reduce((a, b) => a + b) / n;
      const spread = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / n;
      assert.equal(at, t);
      assert.ok(Math.abs(mean - 1.5 * alpha) < 4 * sigma / Math.sqrt(n));
      assert.ok(Math.abs(spread / sigma ** 2 - 1) < 4 * Math.sqrt(2 / n));
      x.dispose();
    }
    const none = edited(guide, { t: 0 })(env);
    assert.deepEqual([...none.x.dataSync()], [...guide.dataSync()]);
    tf.dispose([none.x, guide]);
  });

  it("starts a sampler in the middle, and the guide is worth less the later it starts", async () => {
    const guide = tf.fill([500, 1], 3), count = live(), means: number[] = [];
    for (const from of [200, 600]) {
      let mean = 0;
      const sampler = ddim(schedule, { from, steps: 10 });
      for await (const { x, t } of pipe(sampler, run(edited(guide, { t: from }), env))) {
        if (t === 0) mean = [...x.dataSync()].reduce((a, b) => a + b) / 500;
      }
      // On N(0, 1) the ODE keeps x_t, so what is left of the guide is alpha.
      assert.ok(Math.abs(mean - 3 * schedule.at(from).alpha) < 4 / Math.sqrt(500) + 0.01);
      means.push(mean);
    }
    assert.ok(means[0]! > means[1]!);
    assert.equal(live(), count);
    guide.dispose();
  });
});

describe("slerp()", () => {
  before(() => useBackend("cpu"));

  it("has its ends, keeps the norm, and turns at an even pace, sample by sample", () => {
    tf.tidy(() => {
      const a = tf.tensor([[2, 0], [0, 3]]), b = tf.tensor([[0, 2], [0, -1.5]]);
      const near = (x: tf.Tensor, wanted: number[]): void =>
        x.dataSync().forEach((v, i) => assert.ok(Math.abs(v - wanted[i]!) < 1e-5, `${x}`));
      near(slerp(a, b, 0), [2, 0, 0, 3]);
      const third = slerp(a, b, 1 / 3).dataSync();
      assert.ok(Math.abs(third[0]! - Math.sqrt(3)) < 1e-5 && Math.abs(third[1]! - 1) < 1e-5);
      near(slerp(a, a, 0.3), [2, 0, 0, 3]);
    });
  });

  it("keeps the variance of independent normals, which the mean halves", () => {
    tf.tidy(() => {
      const a = normal(key(1), [10, 2000]), b = normal(key(2), [10, 2000]);
      const spread = (x: tf.Tensor): number => tf.mean(tf.square(x)).dataSync()[0]!;
      assert.ok(Math.abs(spread(slerp(a, b, 0.5)) - 1) < 4 * Math.sqrt(2 / 20_000));
      assert.ok(Math.abs(spread(tf.div(tf.add(a, b), 2)) - 0.5) < 0.05);
    });
  });

  it("between encodings decodes to the data at its ends", async () => {
    const data = tf.tensor([[1.2, -0.4], [0.3, 0.9]]), steps = { steps: 50 };
    const end = async (start: State, sampler: ReturnType<typeof ddim>): Promise<tf.Tensor> => {
      let x = tf.tensor(0);
      for await (const state of run(start, env)(sampler)) {
        x.dispose();
        x = tf.clone(state.x);
      }
      return x;
    };
    const codes = await end({ x: data, t: 0, step: 0 }, ddimInverse(schedule, steps));
    const [a, b] = tf.split(codes, 2) as [tf.Tensor, tf.Tensor];
    const code = slerp(a, b, 0),
      back = await end({ x: code, t: 1000, step: 0 }, ddim(schedule, steps));
    [1.2, -0.4].forEach((value, i) => assert.ok(Math.abs(back.dataSync()[i]! - value) < 0.05));
    tf.dispose([data, codes, a, b, code, back]);
  });

  it("has directions and lengths apart: Shoemake's formula in float64 on unit vectors, at any size of the ends", () => {
    const a = [0.3, -1.2, 2, 0.4, 0], b = [1.1, 0.9, -0.2, -0.5, 0.7];
    for (const [sizeA, sizeB] of [[1, 3], [1e10, 1e10], [1e-10, 1e-10], [1e30, 1e-30]] as const) {
      for (const u of [-0.4, 0, 0.25, 0.5, 1, 1.3]) {
        const found = rowsOf(
          slerp(tf.tensor([a.map((v) => v * sizeA)]), tf.tensor([b.map((v) => v * sizeB)]), u),
        );
        const wanted = between(a.map((v) => v * sizeA), b.map((v) => v * sizeB), u);
        const most = Math.max(...wanted.map(Math.abs));
        found[0]!.forEach((v, i) =>
          assert.ok(Math.abs(v - wanted[i]!) < 2e-6 * most, `${u}: ${found} for ${wanted}`)
        );
      }
    }
    for (const size of [1e10, 1e-10, 1e30, 1e-30]) {
      const [[x, y]] = rowsOf(slerp(tf.tensor([[0, size]]), tf.tensor([[0, size]]), 0.5)) as [
        number[],
      ];
      assert.ok(x === 0 && Math.abs(y! / size - 1) < 1e-6, `${x}, ${y}`);
    }
  });

  it("is right where the ends are all but parallel, and all but opposite", () => {
    for (const turn of [1e-3, 1e-5, 1e-7]) {
      const [[x, y]] = rowsOf(
        slerp(tf.tensor([[1, 0]]), tf.tensor([[Math.cos(turn), Math.sin(turn)]]), 0.5),
      ) as [number[]];
      assert.ok(Math.abs(x! - 1) < 1e-6 && Math.abs(y! - turn / 2) < 1e-7, `${x}, ${y}`);
    }
    for (const turn of [0.1, 1e-2, 1e-3]) {
      const [[x, y]] = rowsOf(
        slerp(tf.tensor([[1, 0]]), tf.tensor([[-Math.cos(turn), Math.sin(turn)]]), 0.5),
      ) as [number[]];
      assert.ok(
        Math.abs(x! - Math.sin(turn / 2)) < 1e-7 / turn && Math.abs(y! - Math.cos(turn / 2)) < 1e-6,
        `${x}, ${y}`,
      );
    }
  });

  it("turns from opposite ends through the axis on which a is least, at an even pace", () => {
    const ends = (a: number[], by: number) =>
      [tf.tensor([a]), tf.tensor([a.map((v) => -by * v)])] as const;
    const half = rowsOf(slerp(...ends([1, 0], 1), 0.5))[0]!;
    half.forEach((v, i) => assert.ok(Math.abs(v - [0, 1][i]!) < 1e-6, `${half}`));
    const third = rowsOf(slerp(...ends([3, -0.5, 4, 0.5], 2), 1 / 3))[0]!;
    // b is -2a: a third of the way is 60 degrees from a, through what the second axis has perpendicular to a.
    const a = [3, -0.5, 4, 0.5],
      size = Math.hypot(...a),
      aside = a.map((v, i) => (i === 1 ? 1 : 0) + 0.5 * v / size ** 2);
    const wanted = a.map((v, i) =>
      size * 4 / 3 * (v / size / 2 + Math.sqrt(0.75) * aside[i]! / Math.hypot(...aside))
    );
    third.forEach((v, i) => assert.ok(Math.abs(v - wanted[i]!) < 1e-5, `${third} for ${wanted}`));
    const long = normal(key(3), [1, 3000]),
      opposite = tf.mul(long, -1.7),
      middle = slerp(long, opposite, 0.5);
    const dot = (x: tf.Tensor, y: tf.Tensor) => tf.sum(tf.mul(x, y)).dataSync()[0]!;
    assert.ok(Math.abs(dot(middle, middle) / dot(long, long) / 1.35 ** 2 - 1) < 1e-5);
    assert.ok(Math.abs(dot(middle, long) / dot(long, long)) < 1e-5);
    // One number has no circle.
    assert.deepEqual(
      [0.2, 0.5, 0.8].map((u) =>
        Math.sign(slerp(tf.tensor([[2]]), tf.tensor([[-2]]), u).dataSync()[0]!)
      ),
      [1, 0, -1],
    );
  });

  it("goes from nothing in the other's direction", () => {
    const found = rowsOf(
      slerp(tf.tensor([[0, 0], [3, 4], [0, 0]]), tf.tensor([[3, 4], [0, 0], [0, 0]]), 0.25),
    );
    const wanted = [[0.75, 1], [2.25, 3], [0, 0]];
    wanted.forEach((row, n) =>
      row.forEach((v, i) => assert.ok(Math.abs(found[n]![i]! - v) < 1e-6, `${found}`))
    );
    const none = tf.zeros([0, 3]);
    assert.deepEqual(slerp(none, none, 0.5).shape, [0, 3]);
    assert.deepEqual([...slerp(tf.tensor([2, 0]), tf.tensor([4, -2]), 0.5).dataSync()], [3, -1]);
  });

  for (const backend of ["cpu", "wasm"] as const) {
    it(`refuses ends that are not finite on ${backend}`, async () => {
      await useBackend(backend);
      const a = tf.tensor([[1, 0]]);
      for (const value of [NaN, Infinity, -Infinity]) {
        const b = tf.tensor([[1, value]]), count = live();
        for (const [name, ends] of [["a", [b, a]], ["b", [a, b]]] as const) {
          assert.throws(() => slerp(...ends, 0.5), {
            name: "RangeError",
            message: `Cannot interpolate: ${name} must be finite, got ${value}`,
          });
        }
        assert.equal(live(), count);
        b.dispose();
      }
      a.dispose();
      await useBackend("cpu");
    });
  }

  onGpu("keeps what is not finite to its sample on the GPU", async () => {
    await useBackend("webgpu");
    const a = tf.tensor([[NaN, 1], [1, 1], [Infinity, 1], [1, 0]]);
    const b = tf.tensor([[1, 1], [NaN, 0], [1, 1], [1, 0]]), x = slerp(a, b, 0.25);
    const found = [...await x.data()];
    tf.dispose([a, b, x]);
    await useBackend("cpu");
    assert.ok(found.slice(0, 6).every(Number.isNaN), `${found}`);
    assert.ok(Math.abs(found[6]! - 1) < 1e-6 && Math.abs(found[7]!) < 1e-6, `${found}`);
  });

  it("keeps none of its tensors, and neither end", () => {
    const a = tf.tensor([[1, 0]]), b = tf.tensor([[0, 1]]), count = live();
    slerp(a, b, 0.5).dispose();
    assert.throws(() => slerp(a, b, Infinity));
    assert.equal(live(), count);
    tf.dispose([a, b]);
  });

  for (const backend of ["wasm", "webgpu"] as const) {
    const body = async () => {
      const ends = (): readonly [tf.Tensor, tf.Tensor] => [
        tf.tensor([[2, 0, 1], [0, 3, 0], [1, 2, 2], [1, 0, 0], [0, 0, 0], [
          1e30,
          0,
          0,
        ]]),
        tf.tensor([
          [0, 1, 1],
          [0, -3, 0],
          [1, 2, 2],
          [-Math.cos(1e-3), Math.sin(1e-3), 0],
          [0, 2, 0],
          [0, 1e-30, 0],
        ]),
      ];
      await useBackend("cpu");
      const [a, b] = ends(), wanted = slerp(a, b, 0.3).dataSync();
      tf.dispose([a, b]);
      await useBackend(backend);
      const [c, d] = ends(), middle = slerp(c, d, 0.3), found = await middle.data();
      tf.dispose([c, d, middle]);
      await useBackend("cpu");
      wanted.forEach((v, i) => {
        const near = Math.abs(found[i]! - v) <= 2e-4 * Math.max(1, Math.abs(v));
        assert.ok(near, `${i}: ${found[i]} for ${v}`);
      });
    };
    if (backend === "webgpu") onGpu("is the same on the GPU", body);
    else it(`is the same on ${backend}`, body);
  }

  it("refuses ends of different shapes, and a share that is no number", () => {
    const a = tf.zeros([1, 2]), b = tf.zeros([2, 1]);
    assert.throws(() => slerp(a, b, 0.5), {
      name: "RangeError",
      message: /^Cannot interpolate: b must be/,
    });
    assert.throws(() => slerp(a, a, NaN), {
      name: "RangeError",
      message: /^Cannot interpolate: u must be/,
    });
    tf.dispose([a, b]);
  });
});
