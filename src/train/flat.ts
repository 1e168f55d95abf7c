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
import type { Params } from "../network/layer/parameter.ts";
import "../tensor/autodiff.ts"; // Losses are differentiated here.
import { type FoldStep, mapTensors, type Tensors } from "../tensor/engine.ts";
import { own, owned, scope } from "../tensor/scope.ts";
import { emaConstants, emaUpdate } from "./ema.ts";
import { type AdamOptions, byAdam, type Moments } from "./optimizer/adam.ts";
import type { Optimizer, OptimizerState } from "./optimizer/optimizer.ts";
import type { Scalar, Tensor } from "../tensor/tensor.ts";

/**
 * Weights with what a step of training keeps beside them, by name.
 *
 * @category Training
 */
export interface StepState<O extends OptimizerState = Moments> {
  /** Weights. */
  readonly params: Params;
  /** Moving average of the weights. */
  readonly ema: Params;
  /** What the optimizer keeps. */
  readonly moments: O;
  /** What the objective carries from step to step, such as the ends of persistent chains. Default: nothing. */
  readonly carried?: Tensors;
}

/**
 * A loss, and what an objective is told beside it.
 *
 * @category Training
 */
export interface Told {
  /** The loss: one number. */
  readonly value: Scalar;
  /** Tensors whose numbers the host is to see, such as the error of each sample. No gradient goes through them. */
  readonly told: Tensors;
}

/**
 * What a step makes of weights and inputs: a pure function of tensors, differentiable in the weights.
 *
 * @category Training
 */
export type StepLoss = (params: Params, inputs: Tensors) => Scalar | Told;

/**
 * What is made ready before the loss of a step, through which no gradient goes.
 *
 * @category Training
 */
export interface Prepared {
  /** More inputs of the loss. */
  readonly inputs: Tensors;
  /** What is carried to the next step, of the names and shapes of before. Default: what was. */
  readonly carried?: Tensors;
}

/**
 * Inputs that depend on the weights, and on what is carried: a pure function of tensors.
 *
 * @category Training
 */
export type Prepare = (params: Params, inputs: Tensors, carried: Tensors) => Prepared;

/** Constants of a run. */
export interface StepOptions {
  /** How the weights are moved. Default: Adam. */
  readonly optimizer?: Optimizer;
  /** Adam's constants, where that is the optimizer. Default: {@link AdamOptions}' own. */
  readonly adam?: AdamOptions;
  /** Decay of the moving average of the weights. Default: 0.999. */
  readonly decay?: number;
}

/** The optimizer of a run. */
export const optimizerOf = ({ optimizer, adam }: StepOptions): Optimizer =>
  optimizer ?? byAdam(adam);

/** Names and shapes of weights, in the order in which they lie in a vector. */
export type Layout = readonly (readonly [name: string, shape: readonly number[]])[];

/** The layout of weights: in the order of their names' code units, whatever the order of the record. */
export function layoutOf(params: Params): Layout {
  return Object.keys(params).sort().map((name) => [name, params[name]!.shape]);
}

/** Filters lie as OIHW, as those who convolve natively store them: a compiled step then need not transpose them. */
const oihw = [3, 2, 0, 1], hwio = [2, 3, 1, 0];

/** Weights end to end in one vector, filters as OIHW. It is the scope's, or the caller's where there is none. */
export function flattened(params: Params, layout: Layout): Tensor {
  const lying = (weight: Tensor): Tensor => weight.rank === 4 ? tf.transpose(weight, oihw) : weight;
  return scope(() => tf.concat(layout.map(([name]) => tf.reshape(lying(params[name]!), [-1]))));
}

/** The weights that lie in a vector. They are the scope's, or the caller's where there is none. */
export function unflattened(vector: Tensor, layout: Layout): Record<string, Tensor> {
  return scope(() => {
    const parts = tf.split(vector, layout.map(([, shape]) => tf.util.sizeFromShape([...shape])));
    const weight = (part: Tensor, shape: readonly number[]): Tensor =>
      shape.length === 4
        ? tf.transpose(tf.reshape(part, oihw.map((axis) => shape[axis]!)), hwio)
        : tf.reshape(part, [...shape]);
    return Object.fromEntries(layout.map(([name, shape], i) => [name, weight(parts[i]!, shape)]));
  });
}

/** The vectors of a state, and what it carries. They are the scope's, or the caller's where there is none. */
export function flatState(
  { params, ema, moments, carried = {} }: StepState<OptimizerState>,
  layout: Layout,
): Record<string, Tensor> {
  return {
    ...mapGroups({ params, ema, ...moments }, (group) => flattened(group, layout)),
    ...prefixed(isCarried, mapTensors(carried, (tensor) => tf.clone(tensor))),
  };
}

/**
 * The state of vectors. It is the scope's, or the caller's where there is none.
 *
 * @param vectors They, by {@link flatState}'s names.
 * @param named What finds the weights in one of them: {@link unflattened}, on whichever engine.
 * @returns The weights; where one vector's are not found, nothing is left of the others.
 */
export async function namedState(
  vectors: Tensors,
  named: (vector: Tensor) => Promise<Params>,
): Promise<StepState> {
  return await scope(function* () {
    const groups: Record<string, Params> = {}, carried = only(isCarried, vectors);
    for (const [name, vector] of Object.entries(vectors)) {
      if (!name.startsWith(isCarried)) groups[name] = yield* owned(named(vector));
    }
    const { params, ema, ...moments } = groups;
    const kept = mapTensors(carried, (tensor) => tf.clone(tensor));
    const any = Object.keys(kept).length > 0;
    return { params: params!, ema: ema!, moments, ...(any && { carried: kept }) };
  }) as StepState;
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
  { step, decay, ...options }: StepOptions & { readonly step: number },
): Record<string, Tensor> {
  const { kept, taken } = emaConstants({ step, ...(decay !== undefined && { decay }) });
  const numbers = { ...optimizerOf(options).numbers(step), kept, taken };
  return {
    ...prefixed(ofLoss, mapTensors(inputs, (tensor) => tf.clone(tensor))),
    ...Object.fromEntries(
      Object.entries(numbers).map(([name, value]) => [name, tf.scalar(value, "float32")]),
    ),
  };
}

/** What names begin with: of the loss's inputs, beside the numbers of the step; of what is carried; of what is told. */
const ofLoss = "loss.", isCarried = "carried.", isTold = "told.";

const prefixed = (prefix: string, tensors: Tensors): Record<string, Tensor> =>
  Object.fromEntries(Object.entries(tensors).map(([name, each]) => [`${prefix}${name}`, each]));

/** The tensors whose names begin with a prefix, without it. */
export const only = (prefix: string, tensors: Tensors): Record<string, Tensor> =>
  Object.fromEntries(
    Object.entries(tensors).filter(([name]) => name.startsWith(prefix))
      .map(([name, tensor]) => [name.slice(prefix.length), tensor]),
  );

/** What an engine's step has told the host. */
export const toldBy = (outputs: Tensors): Record<string, Tensor> => only(isTold, outputs);

/**
 * The step: what is made ready, loss and gradient, the optimizer, the moving average.
 *
 * @param loss The loss of named weights and its inputs: one number, and what is told beside it.
 * @param options Where the weights lie; what is made ready before; the optimizer, whose numbers are inputs of a step.
 * @returns A pure function of vectors and {@link flatInputs}. Its outputs are the `loss` before the step, what was told, and a
 *   `sum` over the weights and moments after it, which is finite only if they are.
 * @throws {RangeError} If a constant is out of range; when called, as {@link differentiated} does.
 */
export function flatStep(
  loss: StepLoss,
  { layout, prepare, ...options }: StepOptions & {
    readonly layout: Layout;
    readonly prepare?: Prepare | undefined;
  },
): FoldStep {
  const { numbers, update } = optimizerOf(options), names = Object.keys(numbers(1));
  return ({ params, ema, ...rest }, inputs) => {
    const before = only(isCarried, rest), given = only(ofLoss, inputs);
    const weights = unflattened(params!, layout), ready = prepare?.(weights, given, before);
    const { value, gradients, told } = differentiated(
      (weights) => loss(weights, { ...given, ...ready?.inputs }),
      weights,
    );
    const moments = mapGroups(without(isCarried, rest), (vector) => ({ all: vector }));
    const next = update(
      { params: { all: params! }, gradients: { all: flattened(gradients, layout) }, moments },
      Object.fromEntries(names.map((name) => [name, inputs[name] as Scalar])),
    );
    const shares = { kept: inputs["kept"] as Scalar, taken: inputs["taken"] as Scalar };
    const average = emaUpdate({ average: { all: ema! }, params: next.params }, shares);
    const carried = { ...before, ...ready?.carried };
    const sum = total({ ...next, carried });
    return {
      state: {
        params: next.params["all"]!,
        ema: average["all"]!,
        ...mapGroups(next.moments, ({ all }) => all!),
        ...prefixed(isCarried, carried),
      },
      outputs: { loss: value, sum, ...prefixed(isTold, told) },
    };
  };
}

/** The same of each group. */
export const mapGroups = <A, B>(groups: Readonly<Record<string, A>>, f: (group: A) => B) =>
  Object.fromEntries(Object.entries(groups).map(([name, group]) => [name, f(group)])) as Record<
    string,
    B
  >;

const without = (prefix: string, tensors: Tensors): Tensors =>
  Object.fromEntries(Object.entries(tensors).filter(([name]) => !name.startsWith(prefix)));

/**
 * The sum of weights, of the last group that the optimizer keeps and of what is carried, which is not finite if a number of
 * theirs is not: a gradient that is not finite leaves its mark in every group. It may also be so of finite ones, where they
 * are too large for a sum. It is the scope's, or the caller's where there is none.
 */
export function total({ params, moments, carried = {} }: Omit<StepState<OptimizerState>, "ema">) {
  return scope(() => {
    const groups = [params, ...Object.values(moments).slice(-1), carried];
    const all = groups.flatMap((tensors) => Object.values(tensors));
    const flat = all.map((tensor) => tf.reshape(tf.cast(tensor, "float32"), [-1]));
    return tf.sum(tf.concat(flat)) as Scalar;
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
export function differentiated(loss: (params: Params) => Scalar | Told, params: Params): {
  readonly value: Scalar;
  readonly gradients: Record<string, Tensor>;
  readonly told: Record<string, Tensor>;
} {
  const names = Object.keys(params), weights = Object.values(params);
  return scope(() => {
    let told: Record<string, Tensor> = {};
    const { value, grads } = tf.engine().gradients(
      () => {
        const said = loss(params);
        if (said instanceof tf.Tensor) return one(said);
        // What a gradient is taken of is freed when it is taken: what is told outlives that.
        told = mapTensors(said.told, (tensor) => own(tf.keep(tf.clone(tensor))));
        return one(said.value);
      },
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
    const gradients = Object.fromEntries(names.map((name, i) => [name, grads[i]!]));
    return { value, gradients, told };
  });
}

function one(loss: Scalar): Scalar {
  if (loss.size === 1) return loss;
  throw new RangeError(`Cannot train: the loss must be one number, got shape [${loss.shape}]`);
}
