/**
 * However a value lies in memory, it holds the numbers that tfjs would: checked on random chains of moves.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import * as tf from "@tensorflow/tfjs-core";
import { useBackend } from "../../../src/tensor/backend/backend.ts";
import { type Recorder, recorder } from "../../../src/engine/graph/record.ts";
import {
  asStored,
  constantOf,
  dimsOf,
  elementwise,
  lifted,
  namedValue,
  natural,
  numbersOf,
  placed,
  product,
  reshaped,
  transposed,
  unary,
  uniform,
  uniformOf,
  type Value,
} from "../../../src/engine/graph/value.ts";
import { broadcast } from "../../../src/engine/lower/elementwise.ts";
import { type Chance, chance } from "../cases.ts";
import { interpret, type Numbers } from "./interpret.ts";

await useBackend("cpu");

const whole = (r: Chance, most: number): number => Math.floor(r() * (most + 1));

const shuffled = <A>(r: Chance, list: readonly A[]): A[] =>
  list.map((x) => [r(), x] as const).sort(([a], [b]) => a - b).map(([, x]) => x);

/** A value and the tensor that it stands for, with what is fed to the graph. */
interface Pair {
  readonly rec: Recorder;
  readonly value: Value;
  readonly tensor: tf.Tensor;
  readonly feeds: Readonly<Record<string, Numbers>>;
}

const someNumbers = (r: Chance, n: number): number[] =>
  Array.from({ length: n }, () => whole(r, 9) - 4);

/** A value that is an input, a constant, or the same number everywhere. */
function begun(
  rec: Recorder,
  { name, shape, kind, r }: { name: string; shape: number[]; kind: number; r: Chance },
): Pair {
  const numbers = kind === 2 ? Array(product(shape)).fill(3) : someNumbers(r, product(shape));
  const tensor = tf.tensor(numbers, shape, "float32"), port = { type: "float32", shape } as const;
  if (kind > 0) {
    const value = numbers.length > 0 && kind === 2 ? uniform(3, shape) : constantOf(numbers, port);
    return { rec, value, tensor, feeds: {} };
  }
  rec.input({ name, type: "float32", dims: shape });
  return {
    rec,
    value: namedValue(name, port),
    tensor,
    feeds: { [name]: { dims: shape, data: numbers } },
  };
}

/** A shape of the same size: its prime factors in groups, with some 1s. */
function regrouped(r: Chance, shape: readonly number[]): number[] {
  const n = product(shape), factors: number[] = [];
  for (let rest = n, p = 2; rest > 1;) rest % p === 0 ? (factors.push(p), rest /= p) : p++;
  // In the order in which they were, as a rule: then axes are split and joined in place.
  const lying = r() < 0.7 ? shape.flatMap(primes) : shuffled(r, factors), result: number[] = [];
  for (const factor of lying) {
    if (r() < 0.2) result.push(1);
    if (r() < 0.4 && result.length > 0) result.push(result.pop()! * factor);
    else result.push(factor);
  }
  if (r() < 0.3) result.push(1);
  return result;
}

function primes(n: number): number[] {
  for (let p = 2; p <= n; p++) if (n % p === 0) return [p, ...primes(n / p)];
  return [];
}

type Move = (r: Chance, pair: Pair, name: string) => Pair;

const moves: readonly Move[] = [
  function transposes(r, pair) {
    const perm = shuffled(r, [...pair.value.shape.keys()]);
    return {
      ...pair,
      value: transposed(pair.value, perm),
      tensor: tf.transpose(pair.tensor, perm),
    };
  },
  function reshapes(r, pair) {
    const shape = regrouped(r, pair.value.shape);
    return {
      ...pair,
      value: reshaped(pair.rec, pair.value, shape),
      tensor: tf.reshape(pair.tensor, shape),
    };
  },
  function broadcasts(r, pair) {
    const grown = pair.value.shape.map((n) => n === 1 ? 1 + whole(r, 2) : n);
    const shape = [...Array.from({ length: whole(r, 1) }, () => 1 + whole(r, 2)), ...grown];
    if (product(shape) > 200) return pair;
    return {
      ...pair,
      value: broadcast(pair.rec, pair.value, shape),
      tensor: tf.broadcastTo(pair.tensor, shape),
    };
  },
  function combines(r, pair, name) {
    const shape = pair.value.shape.map((n) => r() < 0.3 ? 1 : n).slice(whole(r, 2));
    const other = begun(pair.rec, { name, shape, kind: whole(r, 2), r });
    const turned = r() < 0.5 ? other : moves[0]!(
      r,
      begun(pair.rec, {
        name: `${name}.turned`,
        shape: [...shape].reverse(),
        kind: whole(r, 2),
        r,
      }),
      name,
    );
    const fits = tf.util.arraysEqual(turned.value.shape as number[], shape) ? turned : other;
    const swapped = r() < 0.5,
      [op, f] = r() < 0.5 ? ["Add", tf.add] as const : ["Mul", tf.mul] as const;
    const operands = swapped ? [fits.value, pair.value] : [pair.value, fits.value];
    return {
      rec: pair.rec,
      value: elementwise(pair.rec, op, operands, "float32"),
      tensor: f(pair.tensor, fits.tensor),
      feeds: { ...pair.feeds, ...other.feeds, ...turned.feeds },
    };
  },
  function negates(_, pair) {
    return { ...pair, value: unary(pair.rec, "Neg", pair.value), tensor: tf.neg(pair.tensor) };
  },
];

/** A chain of moves, by numbers that fast-check can shrink. */
const chains = fc.record({
  shape: fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 4 }),
  kind: fc.integer({ min: 0, max: 2 }),
  steps: fc.array(fc.tuple(fc.nat(moves.length - 1), fc.nat(1000)), { maxLength: 7 }),
  seed: fc.nat(1000),
});

type Chain = typeof chains extends fc.Arbitrary<infer T> ? T : never;

function followed({ shape, kind, steps, seed }: Chain, allowed = moves.length): Pair {
  const start = begun(recorder(), { name: "x", shape, kind, r: chance(seed) });
  return steps.reduce((pair, [move, seed], i) => {
    const r = chance(seed), next = moves[move % allowed]!;
    return next(r, pair, `x${i}`);
  }, start);
}

/** What the graph computes for a name. */
function computed({ rec, feeds }: Pair, from: string): Numbers {
  const graph = rec.graph([{ name: "y", type: "float32", dims: [], from }]);
  return interpret(graph, feeds)["y"]!;
}

const opsTo = ({ rec }: Pair, from: string): string[] =>
  rec.graph([{ name: "y", type: "float32", dims: [], from }]).nodes.map(({ op }) => op);

const check = (property: (chain: Chain) => void, numRuns = 300): void =>
  fc.assert(fc.property(chains, (chain) => tf.tidy(() => property(chain) as never)), {
    numRuns,
    seed: 3,
  });

/** Numbers that a −0 does not tell apart. */
const plain = (numbers: ArrayLike<number>): number[] => Array.from(numbers, (x) => x + 0);

/** The first places along each axis. */
const corner = (tensor: tf.Tensor, sizes: readonly number[]): tf.Tensor =>
  tensor.rank === 0 ? tensor : tf.slice(tensor, tensor.shape.map(() => 0), [...sizes]);

describe("value.ts", () => {
  it("natural() of any chain of transposes, reshapes, broadcasts and sums has tfjs's numbers", () => {
    check((chain) => {
      const pair = followed(chain), { value, tensor } = pair;
      assert.deepEqual(value.shape, tensor.shape);
      const { dims, data } = computed(pair, natural(pair.rec, value));
      assert.deepEqual(dims, tensor.shape);
      assert.deepEqual(plain(data), plain(tensor.dataSync()));
    }, 600);
  });

  it("placed() has tfjs's numbers in any order of axes, in full and as far as they are stored", () => {
    check((chain) => {
      const pair = followed(chain), { value, tensor, rec } = pair;
      const order = shuffled(chance(chain.seed + 1), [...value.shape.keys()]);
      const turned = tf.transpose(tensor, order);
      const full = computed(pair, placed(rec, value, order));
      assert.deepEqual([full.dims, plain(full.data)], [turned.shape, plain(turned.dataSync())]);
      const part = computed(pair, placed(rec, value, order, false));
      assert.deepEqual(part.dims, order.map((axis) => value.stored[axis]));
      const cut = corner(turned, part.dims);
      assert.deepEqual(plain(part.data), plain(cut.dataSync()));
    });
  });

  it("every value knows how it is stored: as asStored() and dimsOf() tell", () => {
    check((chain) => {
      const pair = followed(chain), { value, tensor, rec } = pair;
      value.stored.forEach((n, axis) => assert.ok(n === value.shape[axis] || n === 1));
      assert.deepEqual([...value.order].sort((a, b) => a - b), [...value.shape.keys()]);
      const { dims, data } = computed(pair, asStored(rec, value));
      assert.deepEqual(dims, dimsOf(value));
      const turned = tf.transpose(tensor, [...value.order]);
      const cut = corner(turned, dimsOf(value));
      assert.deepEqual(plain(data), plain(cut.dataSync()));
    });
  });

  it("numbersOf() a constant after any chain of moves are tfjs's, and no node was written", () => {
    check((chain) => {
      const pair = followed({ ...chain, kind: 1 + chain.kind % 2 }, 3), { value, tensor } = pair;
      assert.deepEqual(numbersOf(value), [...tensor.dataSync()]);
      assert.deepEqual(opsTo(pair, natural(pair.rec, value)), ["Identity"]);
    });
  });

  it("transposed() writes no node, however often, and its way back none either", () => {
    check((chain) => {
      const pair = followed({ ...chain, kind: 0 }, 1), { value, rec } = pair;
      assert.deepEqual(opsTo(pair, asStored(rec, value)), ["Identity"]);
      const back = value.order;
      assert.deepEqual(opsTo(pair, natural(rec, transposed(value, back))), ["Identity"]);
    });
  });

  it("natural() transposes once at most after any chain of transposes", () => {
    check((chain) => {
      const pair = followed({ ...chain, kind: 0 }, 1),
        ops = opsTo(pair, natural(pair.rec, pair.value));
      assert.ok(ops.filter((op) => op === "Transpose").length <= 1 && ops.length <= 2, `${ops}`);
    });
  });

  it("reshaped() splits and joins axes that lie side by side without a transpose", () => {
    const rec = recorder(), x = namedValue("x", { type: "float32", shape: [2, 3, 4, 6] });
    const channelsFirst = transposed(x, [0, 2, 3, 1]);
    const split = reshaped(rec, channelsFirst, [2, 4, 6, 3, 1]);
    const joined = reshaped(rec, channelsFirst, [2, 24, 3]);
    const halves = reshaped(rec, channelsFirst, [2, 2, 2, 2, 3, 3]);
    for (const value of [split, joined, halves]) {
      const pair = { rec, value, tensor: tf.scalar(0), feeds: {} };
      assert.ok(!opsTo(pair, asStored(rec, value)).includes("Transpose"));
    }
    const mixed = reshaped(rec, channelsFirst, [2, 4, 18]);
    const pair = { rec, value: mixed, tensor: tf.scalar(0), feeds: {} };
    assert.equal(opsTo(pair, asStored(rec, mixed)).filter((op) => op === "Transpose").length, 1);
  });

  it("reshaped() of a value without elements has any shape of none", () => {
    for (
      const [from, to] of [[[0], [2, 0]], [[0, 3], [3, 0]], [[2, 0], [0]], [[0, 2], [5, 2, 0]]]
    ) {
      const rec = recorder(), x = namedValue("x", { type: "float32", shape: from! });
      rec.input({ name: "x", type: "float32", dims: from! });
      const value = reshaped(rec, transposed(x, [...from!.keys()].reverse()), to!);
      const feeds = { x: { dims: from!, data: [] } };
      const pair = { rec, value, tensor: tf.scalar(0), feeds };
      assert.deepEqual(computed(pair, natural(rec, value)), { dims: to, data: [] });
    }
  });

  it("reshaped() there and back lies as before", () => {
    const rec = recorder(), x = namedValue("x", { type: "float32", shape: [2, 3, 4, 6] });
    const turned = transposed(x, [0, 2, 3, 1]);
    const back = reshaped(rec, reshaped(rec, turned, [2, 24, 3]), [2, 4, 6, 3]);
    assert.deepEqual([back.shape, dimsOf(back)], [turned.shape, dimsOf(turned)]);
  });

  it("broadcast() keeps a value that repeats as small as it was, and its sums too", () => {
    const rec = recorder(), x = namedValue("x", { type: "float32", shape: [1, 4] });
    const large = broadcast(rec, x, [1000, 4]);
    assert.deepEqual(large.stored, [1, 4]);
    const sum = elementwise(rec, "Add", [large, large], "float32");
    assert.deepEqual([sum.shape, sum.stored], [[1000, 4], [1, 4]]);
    const full = elementwise(
      rec,
      "Add",
      [sum, namedValue("y", { type: "float32", shape: [1000, 1] })],
      "float32",
    );
    assert.deepEqual([full.shape, full.stored], [[1000, 4], [1000, 4]]);
    const turned = transposed(large, [1, 0]);
    assert.deepEqual([turned.shape, turned.stored], [[4, 1000], [4, 1]]);
  });

  it("elementwise() lies as its larger operand does, so that nothing is moved", () => {
    const rec = recorder(), image = { type: "float32", shape: [2, 4, 4, 3] } as const;
    const x = namedValue("x", image, { order: [0, 3, 1, 2] }),
      bias = namedValue("b", { type: "float32", shape: [3] });
    const sum = elementwise(rec, "Add", [bias, x], "float32");
    assert.deepEqual(sum.order, [0, 3, 1, 2]);
    const pair = { rec, value: sum, tensor: tf.scalar(0), feeds: {} };
    const ops = opsTo(pair, asStored(rec, sum));
    assert.ok(!ops.includes("Transpose"), `${ops}`);
  });

  it("uniform() is one number of any shape, and tells it", () => {
    const value = uniform(2.5, [3, 4]), { values, stored } = value;
    assert.deepEqual([uniformOf(value), values!.length, stored], [2.5, 1, [1, 1]]);
    assert.equal(uniformOf(constantOf([1, 1, 1], { type: "float32", shape: [3] })), 1);
    assert.equal(uniformOf(constantOf([1, 1, 2], { type: "float32", shape: [3] })), undefined);
    assert.equal(uniformOf(constantOf([NaN, NaN], { type: "float32", shape: [2] })), NaN);
    assert.equal(uniformOf(constantOf([0, -0], { type: "float32", shape: [2] })), undefined);
    assert.equal(uniformOf(namedValue("x", { type: "float32", shape: [] })), undefined);
  });

  it("lifted() puts axes of size 1 before the others", () => {
    const value = lifted(namedValue("x", { type: "float32", shape: [2, 3] }, { order: [1, 0] }), 4);
    assert.deepEqual(value, {
      name: "x",
      type: "float32",
      shape: [1, 1, 2, 3],
      stored: [1, 1, 2, 3],
      order: [0, 1, 3, 2],
    });
  });
});
