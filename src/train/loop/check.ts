/**
 * What is asked of a training run: a start and constants that fit, and batches and steps that are finite.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Params } from "../../network/layer/parameter.ts";
import { atHand } from "../../tensor/check/ready.ts";
import { checkTensors, notFinite, refusal, shown } from "../../tensor/check/check.ts";
import { scope } from "../../tensor/scope.ts";
import { emaConstants } from "../ema.ts";
import { optimizerOf, type StepState } from "../flat.ts";
import type { AdamOptions } from "../optimizer/adam.ts";
import type { Optimizer, OptimizerState } from "../optimizer/optimizer.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { checkWeights, type TrainState } from "./state.ts";
import type { TrainOptions } from "./options.ts";
import type { Made } from "./step.ts";

export function checkOptimizer(optimizer: Optimizer, adam: AdamOptions | undefined): void {
  if (adam !== undefined) {
    throw refusal("train", "adam must be absent beside an optimizer, which has its own", adam);
  }
  if (typeof optimizer?.init === "function" && typeof optimizer.update === "function") return;
  throw new TypeError(
    `Cannot train: optimizer must be an optimizer, such as byAdam(), got ${shown(optimizer)}`,
  );
}

/** Refuses a start of parts that do not fit or are not finite, and constants out of range. */
export async function checkStart<Batch>(
  { step, params, ema, moments, carried = {} }: TrainState<OptimizerState>,
  { decay, finite = true, ...options }: TrainOptions<Batch>,
): Promise<void> {
  const optimizer = optimizerOf(options);
  optimizer.numbers(1);
  emaConstants({ step: 1, ...(decay !== undefined && { decay }) });
  if (!Number.isSafeInteger(step) || step < 0) {
    throw refusal("train", "start.step must be a whole number of at least 0", step);
  }
  checkWeights("train", "start.params", params);
  const kept = scope(() => Object.keys(optimizer.init(params)));
  const others = {
    ema,
    ...Object.fromEntries(kept.map((name) => [`moments.${name}`, moments[name] ?? {}])),
  };
  for (const [part, tensors] of Object.entries(others)) {
    checkTensors("train", tensors, { name: `start.${part}`, like: params, whose: "start.params" });
  }
  checkTensors("train", carried, { name: "start.carried" });
  const fault = finite ? await faultIn({ params, ...others, carried }) : undefined;
  if (fault === undefined) return;
  throw new RangeError(
    `Cannot train: start.${fault.part} must be finite, got ${fault.got} in ${fault.name}`,
  );
}

/** Refuses a step whose loss, gradient or weights are not finite, naming the first of them that is not. */
export async function checkMade(
  { loss, sum }: Made,
  step: number,
  state: () => Promise<StepState>,
): Promise<void> {
  if (!Number.isFinite(loss)) throw lost("loss must be finite", `${loss}`, step);
  if (Number.isFinite(sum)) return;
  const { params, moments, carried = {} } = await state();
  const kept = Object.entries<Params>(moments).map(([name, group]) =>
    [madeOf[name] ?? name, group] as const
  );
  const fault = await faultIn({ ...Object.fromEntries(kept), weights: params, carried });
  if (fault === undefined) return;
  throw lost(`${fault.part} must be finite`, `${fault.got} in ${fault.name}`, step);
}

/** What is not finite where Adam's moments are not: the mean was before, and takes a share of the gradient. */
const madeOf: Readonly<Record<string, string>> = {
  mean: "gradient",
  square: "square of the gradient",
};

/** What went wrong in a step. */
export const lost = (wanted: string, got: string, step: number): RangeError =>
  new RangeError(`Cannot go on with training: ${wanted}, got ${got} at step ${step}`);

/** The first number that is not finite in groups of tensors, with the names of its group and tensor. */
async function faultIn(
  groups: Readonly<Record<string, Params>>,
): Promise<{ part: string; name: string; got: number } | undefined> {
  for (const [part, tensors] of Object.entries(groups)) {
    const names = Object.keys(tensors);
    const values = await Promise.all(names.map((name) => tensors[name]!.data()));
    for (const [i, name] of names.entries()) {
      const got = notFinite(values[i]!);
      if (got !== undefined) return { part, name, got };
    }
  }
  return undefined;
}

/** Refuses a batch with a number that is not finite, or a tensor that is disposed of, and says where. */
export async function checkBatch(batch: unknown, step: number): Promise<void> {
  for (const [at, numbers] of numbersIn(batch, "batch")) {
    const isTensor = numbers instanceof tf.Tensor;
    if (isTensor && numbers.isDisposed) {
      throw lost(`${at} must be a tensor that is not disposed of`, "one that is", step);
    }
    const got = notFinite(isTensor ? atHand(numbers) ?? await numbers.data() : numbers);
    if (got !== undefined) throw lost(`${at} must be finite`, `${got}`, step);
  }
}

/** The numbers, arrays of floats and float tensors that a value is made of, with where they stand in it. */
function* numbersIn(
  value: unknown,
  at: string,
  depth = 0,
): Generator<readonly [at: string, numbers: Tensor | ArrayLike<number>]> {
  if (typeof value === "number") yield [at, [value]];
  else if (value instanceof tf.Tensor) {
    if (value.dtype === "float32") yield [at, value];
  } else if (isFloats(value)) yield [at, value];
  else if (depth <= 4 && isPlain(value)) {
    for (const [name, part] of Object.entries(value)) {
      yield* numbersIn(part, Array.isArray(value) ? `${at}[${name}]` : `${at}.${name}`, depth + 1);
    }
  }
}

/** Whether a value is a list of numbers or a typed array of floats. */
const isFloats = (value: unknown): value is ArrayLike<number> =>
  Array.isArray(value)
    ? value.every((each) => typeof each === "number")
    : ArrayBuffer.isView(value) && /^Float/.test(value.constructor.name);

/** Whether a value is a list or a record, and no instance of a class. */
const isPlain = (value: unknown): value is object =>
  typeof value === "object" && value !== null &&
  [Object.prototype, Array.prototype, null].includes(Object.getPrototypeOf(value));
