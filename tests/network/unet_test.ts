import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { initialize, parameterCount } from "../../src/network/layer/parameter.ts";
import { unet, type UNetConfig } from "../../src/network/unet.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import { key } from "../../src/tensor/key.ts";
import { normal } from "../../src/tensor/random.ts";
import { checkSlopes } from "../tensor/differences.ts";
import {
  assertClose,
  assertLeavesOne,
  randomWeights,
  valueAndGradients,
  whole,
} from "./weights.ts";
import { live } from "../measure.ts";

/** Everything that a U-Net can have, in small. */
const config: UNetConfig = {
  size: [8, 16],
  channels: 2,
  patch: 2,
  base: 4,
  multipliers: [1, 2],
  blocks: 1,
  attention: [1],
  groups: 2,
  embedding: 6,
  classes: 3,
};
const network = unet(config),
  shape = [3, 8, 16, 2],
  times = [5, 300, 900],
  condition = [2, null, 0];

const weights = (): Record<string, tf.Tensor> => randomWeights(network.parameters);

/** The output of the network with its random weights, or others, on the host. */
function output(
  { params = weights(), x = normal(key(1), shape), t = times, c = condition as (number | null)[] } =
    {},
): Float32Array {
  const y = network.apply(params, x, t, c), values = y.dataSync<"float32">().slice();
  tf.dispose([params, x, y]);
  return values;
}

const apart = (a: Float32Array, b: Float32Array): number =>
  Math.max(...a.map((v, i) => Math.abs(v - b[i]!)));

const size = [28, 28] as const;

describe("unet()", () => {
  before(() => useBackend("wasm"));

  it("unet() has the output's shape, and starts at zero", () => {
    const params = initialize(network.parameters, key(0)), x = normal(key(1), shape);
    const y = network.apply(params, x, times, condition);
    assert.deepEqual(y.shape, shape);
    assert.ok(y.dataSync().every((v) => v === 0));
    tf.dispose([params, x, y]);
  });

  it("unet() has the number of weights that its plan has by hand", () => {
    const e = 6, conv = (i: number, o: number, size = 3) => size * size * i * o + o;
    const residual = (i: number, o: number) =>
      2 * i + conv(i, o) + (e * o + o) + 2 * o + conv(o, o) + (i === o ? 0 : conv(i, o, 1));
    const attention = (c: number) => 2 * c + conv(c, 3 * c, 1) + conv(c, c, 1);
    const embedding = (4 * e + e) + (e * e + e) + 4 * e;
    const down = conv(2 * 4, 4) + residual(4, 4) + conv(4, 4) + residual(4, 8) + attention(8);
    const middle = residual(8, 8) + attention(8) + residual(8, 8);
    const up = residual(8 + 8, 8) + attention(8) + residual(8 + 4, 8) + attention(8) + conv(8, 4) +
      residual(4 + 4, 4) + residual(4 + 4, 4);
    const wanted = embedding + down + middle + up + 2 * 4 + conv(4, 2 * 4);
    assert.equal(parameterCount(network.parameters), wanted);
  });

  it("unet() has by default three levels of two blocks, attention in the middle, and no class", () => {
    const { parameters, classes } = unet({ size }), names = Object.keys(parameters);
    assert.equal(classes, 0);
    assert.deepEqual(parameters["in.weight"]!.shape, [3, 3, 1, 32]);
    assert.deepEqual(parameters["time.1.weight"]!.shape, [128, 128]);
    assert.deepEqual(
      names.filter((name) => name.endsWith("conv1.weight")).map((name) => name.slice(0, -13))
        .sort(),
      [
        ...["down.0.0", "down.0.1", "down.1.0", "down.1.1", "down.2.0", "down.2.1"],
        ...["middle.0", "middle.1"],
        ...[
          "up.0.0",
          "up.0.1",
          "up.0.2",
          "up.1.0",
          "up.1.1",
          "up.1.2",
          "up.2.0",
          "up.2.1",
          "up.2.2",
        ],
      ],
    );
    assert.deepEqual(
      names.filter((name) => name.includes("qkv.weight")),
      ["middle.attention.qkv.weight"],
    );
    const plain = unet({ size, middleAttention: false }).parameters;
    assert.ok(Object.keys(plain).every((name) => !/attention|middle\.1/.test(name)));
  });

  it("unet() has a gradient in every weight, once the weights are random", () => {
    tf.tidy(() => {
      const params = weights(), names = Object.keys(params), x = normal(key(1), shape);
      const gradients = tf.grads((...w) => {
        const given = Object.fromEntries(names.map((name, i) => [name, w[i]!]));
        return tf.sum(tf.sin(network.apply(given, x, times, condition)));
      })(Object.values(params));
      gradients.forEach((gradient, i) => {
        const values = gradient.dataSync<"float32">();
        const most = Math.max(...values.map(Math.abs));
        assert.ok(most > 1e-4, `${names[i]}: no more than ${most}`);
        // The row of class 1 is not in the batch; a shift of all keys of an attention cancels in its softmax.
        const dead = values.filter((v) => Math.abs(v) < 1e-7 * most).length;
        const wanted = names[i] === "class.weight"
          ? network.parameters["class.weight"]!.shape[1]!
          : 0;
        if (!names[i]!.endsWith("qkv.bias")) assert.equal(dead, wanted, `${names[i]}: ${values}`);
      });
    });
  });

  it("unet() has the gradients of its input and weights", () => {
    const fixed = {
      ...network,
      apply: (p: Record<string, tf.Tensor>, x: tf.Tensor) =>
        network.apply(p, x, [5, 300], [2, null]),
    };
    checkSlopes({ ...whole(fixed as never, [[2, 8, 16, 2]]), orders: 1 });
  });

  it("unet() listens to each of its skips", () => {
    const before = output(), skips = { "up.1.0": 8, "up.1.1": 4, "up.0.0": 4, "up.0.1": 4 };
    for (const [name, channels] of Object.entries(skips)) {
      // The skip's channels come last: without their rows nothing that runs through them is left but a norm's share.
      const params = weights(), filter = params[`${name}.skip.weight`]!;
      const kept = filter.shape[2]! - channels;
      params[`${name}.skip.weight`] = tf.tidy(() => {
        const [own] = tf.split(filter, [kept, channels], 2);
        return tf.pad(own!, [[0, 0], [0, 0], [0, channels], [0, 0]]);
      });
      filter.dispose();
      const distance = apart(output({ params }), before);
      assert.ok(distance > 0.01, `${name}: ${distance}`);
    }
  });

  it("unet() joins the outputs of the way down to the way up, last to first", () => {
    // Only the skip of one block reaches the output: all that lies deeper makes no difference.
    const deeper = ["down.1.0.conv1.weight", "middle.0.conv1.weight", "up.1.1.conv1.weight"];
    const silenced = () => {
      const params = weights();
      for (const name of ["up.1.double.weight", "up.1.double.bias"]) {
        params[name]!.dispose();
        params[name] = tf.zeros([...network.parameters[name]!.shape]);
      }
      return params;
    };
    const before = output({ params: silenced() });
    for (const name of [...deeper, "down.0.0.conv1.weight", "in.weight"]) {
      const params = silenced();
      params[name]!.dispose();
      params[name] = tf.ones([...network.parameters[name]!.shape]);
      const distance = apart(output({ params }), before);
      assert.equal(distance > 1e-3, !deeper.includes(name), `${name}: ${distance}`);
    }
  });

  it("unet() answers to time and class, each sample to its own", () => {
    const before = output(), size = before.length / 3;
    const others = [
      output({ t: [6, 300, 900] }),
      output({ c: [1, null, 0] }),
      output({ c: [null, null, 0] }),
    ];
    for (const after of others) {
      assert.ok(apart(after.slice(0, size), before.slice(0, size)) > 1e-3);
      assert.deepEqual(after.slice(size), before.slice(size));
    }
    assert.notDeepEqual(others[1], others[2]);
  });

  it("unet() takes no condition for all null", () => {
    const params = weights(), x = normal(key(1), shape), none = network.apply(params, x, times);
    assert.deepEqual(none.dataSync(), output({ c: [null, null, null] }));
    tf.dispose([params, x, none]);
  });

  for (const backend of ["cpu", "wasm"] as const) {
    it(`unet() gives each sample of a batch what it gives it alone on ${backend}`, async () => {
      await useBackend(backend);
      const whole = output(), size = whole.length / 3, x = normal(key(1), shape);
      for (const i of [0, 1, 2]) {
        const alone = output({ x: tf.slice(x, [i], [1]), t: [times[i]!], c: [condition[i]!] });
        assertClose(alone, whole.slice(i * size, (i + 1) * size), 1e-6);
      }
      x.dispose();
      await useBackend("wasm");
    });
  }

  it("unet() has the same values and gradients on wasm and on cpu", async () => {
    const small = unet({ ...config, size: [4, 4], attention: [] });
    const fixed = {
      ...small,
      apply: (p: Record<string, tf.Tensor>, x: tf.Tensor) => small.apply(p, x, [5, 300], [2, null]),
    };
    const one = whole(fixed as never, [[2, 4, 4, 2]]), wasm = valueAndGradients(one);
    await useBackend("cpu");
    valueAndGradients(one).forEach((cpu, i) => assertClose(wasm[i]!, cpu, 2e-5));
    await useBackend("wasm");
  });

  it("unet() leaves no tensor behind but its output", () => {
    const params = weights(), x = normal(key(1), shape);
    assertLeavesOne(() => network.apply(params, x, times, condition));
    tf.dispose([params, x]);
  });

  it("unet() works on blocks of pixels: with patch 2 the first convolution sees a quarter of the pixels", () => {
    const { parameters } = unet({
      size: [8, 8],
      patch: 4,
      base: 4,
      groups: 2,
      multipliers: [1],
      channels: 3,
    });
    assert.deepEqual(parameters["in.weight"]!.shape, [3, 3, 48, 4]);
    assert.deepEqual(parameters["out.conv.weight"]!.shape, [3, 3, 4, 48]);
  });

  it("unet() refuses a plan that does not work out", () => {
    const cases: [Partial<UNetConfig>, string][] = [
      [{ size: [28, 30] }, "size must be multiples of 4 pixels, got 28×30"],
      [{ size: [28, 28], patch: 3 }, "size must be multiples of 12 pixels, got 28×28"],
      [{ size: [0, 4] }, "size must be multiples of 4 pixels, got 0×4"],
      [{ size: [28.5, 28] }, "size must be multiples of 4 pixels, got 28.5×28"],
      [{ patch: 0 }, "patch must be a whole number of at least 1, got 0"],
      [{ base: 7, groups: 1 }, "base must be even, got 7"],
      [{ base: 0 }, "base must be a whole number of at least 1, got 0"],
      [{ blocks: 0 }, "blocks must be a whole number of at least 1, got 0"],
      [{ channels: 1.5 }, "channels must be a whole number of at least 1, got 1.5"],
      [{ embedding: 0 }, "embedding must be a whole number of at least 1, got 0"],
      [{ multipliers: [] }, "levels must be a whole number of at least 1, got 0"],
      [
        { multipliers: [1, 0.01] },
        "multipliers[1]·base must be a whole number of at least 1, got 0.32",
      ],
      [{ attention: [3] }, "attention must be levels in [0, 3), got 3"],
      [{ attention: [0, -1] }, "attention must be levels in [0, 3), got -1"],
    ];
    for (const [part, message] of cases) {
      assert.throws(() => unet({ size, ...part }), {
        name: "RangeError",
        message: `Cannot build a U-Net: ${message}`,
      });
    }
    assert.throws(() => unet({ size, chanels: 3 } as UNetConfig), {
      name: "TypeError",
      message:
        "Cannot build a U-Net: options must be among size, channels, patch, base, multipliers, " +
        'blocks, attention, middleAttention, groups, embedding, classes, got "chanels"',
    });
    assert.throws(
      () => unet({ size: 28 } as unknown as UNetConfig),
      /^RangeError: Cannot build a U-Net: size must be a height and a width in pixels, got 28$/,
    );
    assert.throws(() => unet({ size, patch: 0, base: 7 }), {
      message: "Cannot build a U-Net: patch must be a whole number of at least 1, got 0; " +
        "base must be even, got 7",
    });
    assert.throws(() => unet({ size: [28, 30], attention: [3] }), {
      message: "Cannot build a U-Net: size must be multiples of 4 pixels, got 28×30; " +
        "attention must be levels in [0, 3), got 3",
    });
    assert.throws(() => unet({ size, groups: 5 }), /groups must divide 32 channels, got 5/);
    assert.throws(() => unet({ size, classes: -1 }), /classes must be a whole number/);
  });

  it("unet() of three widths and two blocks a level goes down and up again", () => {
    const deep = unet({ size: [4, 4], base: 4, groups: 2, multipliers: [1, 2, 3], embedding: 4 });
    const { parameters } = deep,
      params = randomWeights(parameters),
      x = normal(key(1), [1, 4, 4, 1]);
    const inputs = ["up.2.0", "up.2.2", "up.1.0", "up.1.2", "up.0.0", "up.0.2"].map((name) =>
      parameters[`${name}.conv1.weight`]!.shape[2]
    );
    assert.deepEqual(inputs, [12 + 12, 12 + 8, 8 + 8, 8 + 4, 4 + 4, 4 + 4]);
    const y = deep.apply(params, x, [10]);
    assert.deepEqual(y.shape, x.shape);
    assert.ok(y.dataSync().every(Number.isFinite));
    tf.dispose([params, x, y]);
  });

  it("unet() takes channels that are not whole multiples of base", () => {
    const { parameters } = unet({ size, base: 16, multipliers: [1, 1.5] });
    assert.deepEqual(parameters["down.1.0.conv2.weight"]!.shape, [3, 3, 24, 24]);
  });
  it("unet() refuses images of another shape", () => {
    const params = weights(), alive = live();
    for (const wrong of [[3, 16, 8, 2], [3, 8, 16, 1], [3, 8, 16]]) {
      const x = tf.zeros(wrong);
      assert.throws(() => network.apply(params, x, times), {
        name: "RangeError",
        message: `Cannot apply the network: x must be of shape [N, 8, 16, 2], got [${wrong}]`,
      });
      x.dispose();
    }
    assert.equal(live(), alive);
    tf.dispose(params);
  });
});
