/**
 * Derivatives of any order beside finite differences.
 *
 * @module
 */

import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { fold, type Key, key } from "../../src/tensor/key.ts";
import { normal, uniform } from "../../src/tensor/random.ts";

/** A function of tensors, and where to differentiate it; it must be smooth there. */
export interface Case {
  /** The function. */
  readonly f: (...x: tf.Tensor[]) => tf.Tensor;
  /** Shapes of its inputs. */
  readonly shapes: readonly (readonly number[])[];
  /** Range from which the inputs are drawn. Default: -1 to 1. */
  readonly range?: readonly [number, number];
  /** Orders of differentiation to check. Default: 3. */
  readonly orders?: number;
}

/** A function of several tensors that returns as many. */
type Field = (x: tf.Tensor[]) => tf.Tensor[];

const inner = (a: readonly tf.Tensor[], b: readonly tf.Tensor[]): tf.Tensor =>
  a.map((t, i) => tf.sum(tf.mul(t, b[i]!))).reduce((x, y) => tf.add(x, y));

/** The same on the host, in float64. */
const hostInner = (a: readonly tf.Tensor[], b: readonly tf.Tensor[]): number =>
  a.reduce((total, t, i) => {
    const u = t.dataSync<"float32">(), v = b[i]!.dataSync();
    return total + u.reduce((sum, value, j) => sum + value * v[j]!, 0);
  }, 0);

const normals = (under: Key, shapes: readonly (readonly number[])[]): tf.Tensor[] =>
  shapes.map((shape, i) => normal(fold(under, i), shape));

/** A case's inputs, and the direction along which it is differentiated. */
function points({ shapes, range = [-1, 1] }: Case): { x: tf.Tensor[]; direction: tf.Tensor[] } {
  const under = key(17), along = fold(under, "direction"), [low, high] = range;
  const inside = { low: low + 2 * h, high: high - 2 * h };
  return {
    x: shapes.map((shape, i) => uniform(fold(under, i), shape, inside)),
    direction: shapes.map((shape, i) => uniform(fold(along, i), shape, { low: -1 })),
  };
}

const h = 0.02;

/** Each field ⟨·, c⟩ with random c, and the field that is its gradient. */
const derivative = (field: Field, c: readonly tf.Tensor[]): Field => (inputs) =>
  tf.grads((...y) => inner(field(y), c))(inputs);

const cotangents = (order: number, like: readonly tf.Tensor[]): tf.Tensor[] =>
  normals(fold(fold(key(17), "cotangent"), order), like.map(({ shape }) => shape));

/**
 * The fields D₀ = sin f, D_{k+1} = ∇⟨D_k, c_k⟩ with random c_k at the case's inputs, to an order. The sine keeps every
 * order dependent on x, so that the gradients of gradients take part even where f is linear.
 */
export function fields(one: Case, orders: number): tf.Tensor[][] {
  const { x } = points(one);
  let field: Field = (inputs) => [tf.sin(one.f(...inputs))];
  const found = [field(x)];
  for (let order = 0; order < orders; order++) {
    field = derivative(field, cotangents(order, found[order]!));
    found.push(field(x));
  }
  return found;
}

/** For each order the slope of ⟨D_{k−1}, c_{k−1}⟩ along a random direction, by D_k and by a five-point difference. */
export function slopes(one: Case): [number, number][] {
  const { x, direction } = points(one);
  const at = (s: number) => x.map((t, i) => tf.add(t, tf.mul(direction[i]!, s)));
  let field: Field = (inputs) => [tf.sin(one.f(...inputs))];
  return Array.from({ length: one.orders ?? 3 }, (_, order) => {
    const last = field, c = cotangents(order, last(x));
    field = derivative(last, c);
    const value = (s: number) => hostInner(last(at(s)), c);
    const difference = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h);
    return [hostInner(field(x), direction), difference] as [number, number];
  });
}

/** Asserts that the slopes of all orders agree to two thousandths, and that they are not all 0. */
export function checkSlopes(one: Case): void {
  tf.tidy(() => {
    const found = slopes(one);
    assert.ok(found.some(([slope]) => Math.abs(slope) > 1e-2), "nothing depends on the inputs");
    found.forEach(([got, wanted], order) =>
      assert.ok(
        Math.abs(got - wanted) < 2e-3 * Math.max(1, Math.abs(wanted)),
        `order ${order + 1}: ${got} by the gradient, ${wanted} by differences`,
      )
    );
  });
}
