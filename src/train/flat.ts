/**
 * A step of training as one pure function of tensors, for engines.
 *
 * The state is four vectors: the weights, their moving average, and the mean and the mean square of their gradients, each
 * with all weights end to end in the order of their names. A few long tensors pass in and out of an engine faster than
 * many short ones, and the optimizer's arithmetic is the same on one vector as on many tensors.
 *
 * What changes from step to step is an input: what the loss is computed from, and the numbers that follow from the
 * step's own. So a step is compiled once.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Params } from "../network/layer.ts";
import type { FoldStep, Tensors } from "../tensor/engine.ts";
import { owned, scope } from "../tensor/scope.ts";
import { emaConstants, emaUpdate } from "./ema.ts";
import { adamConstants, type AdamOptions, adamUpdate, type Moments } from "./optimizer.ts";

/** Weights with what a step of training keeps beside them, by name. */
export interface Weights {
  /** Weights. */
  readonly params: Params;
  /** Moving average of the weights. */
  readonly ema: Params;
  /** The optimizer's moments. */
  readonly moments: Moments;
}

/** Constants of a run. */
export interface StepOptions {
  /** The optimizer's. Default: {@link AdamOptions}' own. */
  readonly adam?: AdamOptions;
  /** Decay of the moving average of the weights. Default: 0.999. */
  readonly decay?: number;
}

/** Names and shapes of weights, in the order in which they lie in a vector. */
export type Layout = readonly (readonly [name: string, shape: readonly number[]])[];

/** The layout of weights: in the order of their names' code units, whatever the order of the record. */
export function layoutOf(params: Params): Layout {
  return Object.keys(params).sort().map((name) => [name, params[name]!.shape]);
}

/** Filters lie as OIHW, as those who convolve natively store them: a compiled step then need not transpose them. */
const oihw = [3, 2, 0, 1], hwio = [2, 3, 1, 0];

/** Weights end to end in one vector, filters as OIHW. It is the scope's, or the caller's where there is none. */
export function flattened(params: Params, layout: Layout): tf.Tensor {
  const lying = (weight: tf.Tensor): tf.Tensor =>
    weight.rank === 4 ? tf.transpose(weight, oihw) : weight;
  return scope(() => tf.concat(layout.map(([name]) => tf.reshape(lying(params[name]!), [-1]))));
}

/** The weights that lie in a vector. They are the scope's, or the caller's where there is none. */
export function unflattened(vector: tf.Tensor, layout: Layout): Record<string, tf.Tensor> {
  return scope(() => {
    const parts = tf.split(vector, layout.map(([, shape]) => tf.util.sizeFromShape([...shape])));
    const weight = (part: tf.Tensor, shape: readonly number[]): tf.Tensor =>
      shape.length === 4
        ? tf.transpose(tf.reshape(part, oihw.map((axis) => shape[axis]!)), hwio)
        : tf.reshape(part, [...shape]);
    return Object.fromEntries(layout.map(([name, shape], i) => [name, weight(parts[i]!, shape)]));
  });
}

/** The four vectors. They are the scope's, or the caller's where there is none. */
export function flatState(
  { params, ema, moments: { mean, square } }: Weights,
  layout: Layout,
): Record<string, tf.Tensor> {
  const flat = (weights: Params): tf.Tensor => flattened(weights, layout);
  return { params: flat(params), ema: flat(ema), mean: flat(mean), square: flat(square) };
}

/**
 * The weights of four vectors. They are the scope's, or the caller's where there is none.
 *
 * @param vectors The four, by {@link flatState}'s names.
 * @param named What finds the weights in one of them: {@link unflattened}, on whichever engine.
 * @returns The weights; where one vector's are not found, nothing is left of the others.
 */
export async function namedState(
  vectors: Tensors,
  named: (vector: tf.Tensor) => Promise<Params>,
): Promise<Weights> {
  return await scope(function* () {
    const params = yield* owned(named(vectors["params"]!)),
      ema = yield* owned(named(vectors["ema"]!));
    const mean = yield* owned(named(vectors["mean"]!));
    const square = yield* owned(named(vectors["square"]!));
    return { params, ema, moments: { mean, square } };
  });
}

/**
 * The inputs of a step: those of the loss, and the numbers of the step.
 *
 * @param inputs What the loss is computed from. Not disposed of.
 * @param step Number of the step, from 1, and constants of the run.
 * @returns New tensors. They are the scope's, or the caller's where there is none.
 * @throws {RangeError} If a constant is out of range.
 */
export function flatInputs(
  inputs: Tensors,
  { step, adam, decay }: StepOptions & { readonly step: number },
): Record<string, tf.Tensor> {
  const { move, scale, keep } = adamConstants(step, adam);
  const { kept, taken } = emaConstants({ step, ...(decay !== undefined && { decay }) });
  const numbers = { move, scale, kept, taken, ...(keep !== undefined && { keep }) };
  return Object.fromEntries([
    ...Object.entries(inputs).map(([name, tensor]) => [`${ofLoss}${name}`, tf.clone(tensor)]),
    ...Object.entries(numbers).map(([name, value]) => [name, tf.scalar(value, "float32")]),
  ]);
}

/** What the names of the loss's inputs begin with, beside the numbers of the step. */
const ofLoss = "loss.";

const lossInputs = (inputs: Tensors): Tensors =>
  Object.fromEntries(
    Object.entries(inputs).filter(([name]) => name.startsWith(ofLoss))
      .map(([name, tensor]) => [name.slice(ofLoss.length), tensor]),
  );

/**
 * The step: loss and gradient, Adam, moving average.
 *
 * @param loss The loss of named weights and its inputs: one number.
 * @param options Where the weights lie, and the optimizer's constants, of which those of a step are its inputs.
 * @returns A pure function of four vectors and {@link flatInputs}. Its outputs are the `loss` before the step, and a `sum` over
 *   the weights and moments after it, which is finite only if they are.
 * @throws {RangeError} If a constant is out of range; when called, as {@link differentiated} does.
 */
export function flatStep(
  loss: (params: Params, inputs: Tensors) => tf.Scalar,
  { layout, adam }: { readonly layout: Layout; readonly adam?: AdamOptions },
): FoldStep {
  const constants = adamConstants(1, adam);
  return ({ params, ema, mean, square }, inputs) => {
    const { value, gradients } = differentiated(
      (weights) => loss(weights, lossInputs(inputs)),
      unflattened(params!, layout),
    );
    const ofStep = (name: string): tf.Scalar => inputs[name] as tf.Scalar;
    const next = adamUpdate({
      params: { all: params! },
      gradients: { all: flattened(gradients, layout) },
      moments: { mean: { all: mean! }, square: { all: square! } },
    }, {
      ...constants,
      move: ofStep("move"),
      scale: ofStep("scale"),
      ...(constants.keep !== undefined && { keep: ofStep("keep") }),
    });
    const shares = { kept: ofStep("kept"), taken: ofStep("taken") };
    const average = emaUpdate({ average: { all: ema! }, params: next.params }, shares);
    return {
      state: {
        params: next.params["all"]!,
        ema: average["all"]!,
        mean: next.moments.mean["all"]!,
        square: next.moments.square["all"]!,
      },
      outputs: { loss: value, sum: total(next) },
    };
  };
}

/**
 * The sum of weights and mean squares, which is not finite if one of them is not, nor a gradient of theirs. It may also be so
 * of finite ones, where they are too large for a sum. It is the scope's, or the caller's where there is none.
 */
export function total(
  { params, moments: { square } }: { readonly params: Params; readonly moments: Moments },
): tf.Scalar {
  return scope(() => {
    const all = [params, square].flatMap((tensors) => Object.values(tensors));
    return tf.sum(tf.concat(all.map((tensor) => tf.reshape(tensor, [-1])))) as tf.Scalar;
  });
}

/**
 * The loss and its gradient by each weight; an error on the way leaves no tensors behind.
 *
 * @param loss The loss: one number.
 * @param params The weights. Not disposed of.
 * @returns New tensors. They are the scope's, or the caller's where there is none.
 * @throws {RangeError} If the loss is not one number, or does not depend on one of the weights, with its name.
 */
export function differentiated(
  loss: (params: Params) => tf.Scalar,
  params: Params,
): { readonly value: tf.Scalar; readonly gradients: Record<string, tf.Tensor> } {
  const names = Object.keys(params), weights = Object.values(params);
  return scope(() => {
    const { value, grads } = tf.engine().gradients(
      () => one(loss(params)),
      weights,
      undefined,
      true,
    );
    const unused = names.find((_, i) => grads[i] == null);
    if (unused !== undefined) {
      throw new RangeError(
        `Cannot train: the loss must depend on every weight, got none of ${unused}`,
      );
    }
    return { value, gradients: Object.fromEntries(names.map((name, i) => [name, grads[i]!])) };
  });
}

function one(loss: tf.Scalar): tf.Scalar {
  if (loss.size === 1) return loss;
  throw new RangeError(`Cannot train: the loss must be one number, got shape [${loss.shape}]`);
}
