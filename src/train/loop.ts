/**
 * Training as a lazy stream of states.
 *
 * `train` folds batches into states: weights, their moving average, the optimizer's moments, the loss. Whatever is
 * done with them (logging, checkpoints, evaluation, early stopping) is the consumer's, by watching or by breaking
 * off. A state is plain data: from one of them, the stream goes on bit for bit as if it had never stopped, because
 * each step's randomness is a function of the key and the step, and each batch one of its position.
 *
 * On an engine the steps are compiled, and the state stays with the engine from one yielded state to the next: with
 * `every`, that is every so many steps.
 *
 * Batch, loss, gradient and weights are asked whether they are finite at every step, before a state is yielded. Where numbers
 * are far, on a GPU or an engine, one sum of weights and squared gradients is looked at, which NaN and infinity survive on
 * every backend, and the numbers themselves only where it is not finite.
 *
 * Ownership: a yielded state lives until the next pull; the start belongs to the caller. Breaking off, an error and an
 * abort free everything else, and close the batches. The event loop turns between steps.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Params } from "../network/layer/parameter.ts";
import { atHand } from "../tensor/check/ready.ts";
import {
  checkKey,
  checkOptions,
  checkTensors,
  notFinite,
  refusal,
  shown,
} from "../tensor/check/check.ts";
import { decoded, type Rules, wholeNumber } from "../tensor/check/decode.ts";
import { type Engine, mapTensors, pacer, type Tensors } from "../tensor/engine.ts";
import { fold, type Key } from "../tensor/key.ts";
import { type Awaitable, awaited, owned, scope, type Scoped } from "../tensor/scope.ts";
import { ema, emaConstants } from "./ema.ts";
import {
  differentiated,
  flatInputs,
  flatState,
  flatStep,
  layoutOf,
  namedState,
  optimizerOf,
  type Prepare,
  type StepLoss,
  type StepState,
  type Told,
  toldBy,
  total,
  unflattened,
} from "./flat.ts";
import {
  type AdamOptions,
  adamOptions,
  byAdam,
  type Moments,
  type Optimizer,
  type OptimizerState,
} from "./optimizer.ts";
import type { Scalar, Tensor } from "../tensor/tensor.ts";

/**
 * Where a training run stands. All of it is plain data and tensors: written to disk and read again, it goes on bit for bit.
 * `O` is what the optimizer keeps.
 *
 * @category Training
 */
export interface TrainState<O extends OptimizerState = Moments> {
  /** Number of steps made. */
  readonly step: number;
  /** Weights. */
  readonly params: Params;
  /** Moving average of the weights: use it to sample. */
  readonly ema: Params;
  /** What the optimizer keeps: Adam's moments. */
  readonly moments: O;
  /** Tensors that the objective carries from step to step, such as the ends of persistent chains; absent without such. */
  readonly carried?: Tensors;
  /** What the objective remembers on the host, as plain data, such as the errors at each time; absent without such. */
  readonly memory?: unknown;
  /** Loss of the batch that led here; NaN at the start. */
  readonly loss: number;
  /** Loss of each step since the state before, of which `loss` is the last; none at the start. */
  readonly losses: readonly number[];
}

/**
 * A differentiable loss: weights, batch and key to a scalar.
 *
 * @category Training
 */
export type Loss<Batch> = (params: Params, batch: Batch, key: Key) => Scalar;

/**
 * A loss in two parts, the second of which an engine can compile.
 *
 * @category Training
 */
export interface Objective<Batch> {
  /**
   * Makes the loss's inputs on the host: draws under the key, gathers, computes whatever does not depend on the weights.
   * What it makes is disposed of after the step.
   */
  readonly inputs: (batch: Batch, key: Key) => Record<string, Tensor>;
  /** The loss: a pure function of tensors, differentiable in the weights, which reads no values. */
  readonly loss: (params: Params, inputs: Tensors) => Scalar;
}

/**
 * A loss whose inputs depend on the weights, or on what was before.
 *
 * ```text
 *   on the host    inputs = inputs(batch, key, memory)
 *   tensors        prepared = prepare(params, inputs, carried)             no gradient goes through it
 *   tensors        loss, told = loss(params, inputs and prepared.inputs)
 *   then           carried ← prepared.carried        memory ← remember(memory, told)
 * ```
 *
 * `prepare` makes inputs under the weights of the step, such as what the model draws for contrastive divergence, and `carried` are
 * the chains that it goes on with; both are compiled with the step. `remember` is for what draws on the host depend on, such
 * as times that are drawn where the loss is large.
 *
 * @category Training
 */
export interface StatefulObjective<Batch, M = unknown> {
  /** As of an {@link Objective}, also of what is remembered. */
  inputs(batch: Batch, key: Key, memory: M): Record<string, Tensor>;
  /** As of an {@link Objective}; it may tell the host numbers besides. */
  readonly loss: StepLoss;
  /** Inputs that depend on the weights, and what is carried on. Default: none. */
  readonly prepare?: Prepare;
  /** What is remembered after a step, from what was before it and what the loss has told. Plain data. Default: nothing. */
  remember?(memory: M, told: Readonly<Record<string, ArrayLike<number>>>): M;
}

/**
 * An objective as one function, to evaluate it.
 *
 * @category Training
 * @param objective The objective.
 * @param state What it carries and remembers. Default: nothing.
 * @returns The loss.
 *
 * @example A square
 * ```ts
 * import { key } from "@tweedie/tweedie";
 * import { lossOf } from "@tweedie/tweedie/train";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const loss = lossOf<number>({
 *   inputs: (target) => ({ target: tf.scalar(target) }),
 *   loss: ({ w }, { target }) => tf.squaredDifference(w!, target!) as tf.Scalar,
 * });
 * assert.equal(loss({ w: tf.scalar(1) }, 3, key(0)).dataSync()[0], 4);
 * ```
 */
export function lossOf<Batch>(
  { inputs, loss, prepare }: StatefulObjective<Batch>,
  { carried = {}, memory }: Pick<TrainState, "carried" | "memory"> = {},
): Loss<Batch> {
  return (params, batch, key) =>
    scope(() => {
      const given = inputs(batch, key, memory), ready = prepare?.(params, given, carried);
      const said = loss(params, { ...given, ...ready?.inputs });
      return said instanceof tf.Tensor ? said : said.value;
    });
}

/**
 * What a training run is made of.
 *
 * @category Training
 */
export interface TrainOptions<Batch> {
  /** The loss, in one part or two. Pure: its only randomness is the key, another one each step. */
  readonly loss: Loss<Batch> | Objective<Batch> | StatefulObjective<Batch>;
  /** Root of all randomness of the run. */
  readonly key: Key;
  /** How the weights are moved. Default: Adam. */
  readonly optimizer?: Optimizer;
  /** Adam's constants, where no optimizer is given. */
  readonly adam?: AdamOptions;
  /** Decay of the moving average of the weights, in [0, 1). Default: 0.999. */
  readonly decay?: number;
  /** What compiles and runs the steps; the loss must then be an {@link Objective}. Default: none, tfjs as it is. */
  readonly engine?: Engine;
  /** Yields the states whose step is a multiple of it, and that after the last batch. Default: 1. */
  readonly every?: number;
  /** Aborts the run. */
  readonly signal?: AbortSignal;
  /**
   * Stop with an error when the start, a batch (the numbers, arrays of floats and tensors in its records and lists), a loss, a
   * gradient or the weights are NaN or infinite. Default: true.
   */
  readonly finite?: boolean;
}

const trainOptions: Rules<TrainOptions<never>> = {
  loss: true,
  key: true,
  optimizer: true,
  adam: true,
  decay: true,
  engine: true,
  every: wholeNumber(1),
  signal: true,
  finite: true,
};

/**
 * Options of {@link newTraining}.
 *
 * @category Training
 */
export interface NewTrainingOptions {
  /** The optimizer of the run. Default: Adam. */
  readonly optimizer?: Optimizer;
  /** What the objective carries: the first of it. It stays the caller's. Default: nothing. */
  readonly carried?: Tensors;
  /** What the objective remembers: the first of it, plain data. Default: nothing. */
  readonly memory?: unknown;
}

const newTrainingOptions: Rules<NewTrainingOptions> = {
  optimizer: true,
  carried: true,
  memory: true,
};

/**
 * The state before the first step.
 *
 * @category Training
 * @param params First weights. They stay the caller's.
 * @param options The optimizer; what the objective carries and remembers.
 * @returns A state with tensors of its own, which the caller disposes of.
 * @throws {RangeError} If there are no weights, or one is disposed of.
 */
export function newTraining(params: Params, options: NewTrainingOptions = {}): TrainState {
  const { optimizer = byAdam(), carried, memory } = decoded(
    "begin training",
    options,
    newTrainingOptions,
  );
  checkWeights("begin training", "params", params);
  const copy = (tensors: Tensors) => mapTensors(tensors, (each) => tf.clone(each));
  return {
    step: 0,
    params: copy(params),
    ema: copy(params),
    moments: optimizer.init(params) as Moments,
    ...(carried && { carried: copy(carried) }),
    ...(memory !== undefined && { memory }),
    loss: NaN,
    losses: [],
  };
}

/**
 * Trains: yields the state after each batch, or after every so many, for as long as there are batches.
 *
 * @category Training
 * @param start The state to go on from; it stays the caller's, and must outlive the iteration.
 * @param options Loss, key and constants; engine.
 * @returns A function of the batches that follow the start's, whose result computes nothing until it is iterated.
 * @throws {TypeError} If there is an option that is not known, no loss or no key; if there is an engine and the loss is in one
 *   part.
 * @throws {RangeError} If `every` is not a whole number of at least 1.
 * @throws {RangeError} While iterated, before the first batch is taken: when the start is disposed of, not finite, or of parts
 *   that do not fit, and when a constant is out of range. Then: when a batch, a loss, a gradient or the weights are not finite,
 *   with the step; when the loss is not one number or does not depend on one of the weights, with its name.
 * @throws The signal's reason, when aborted.
 *
 * @example Fit one number to the mean of its data
 * ```ts
 * import { key, newTraining, train } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import * as tf from "@tensorflow/tfjs-core";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const loss = (p: Readonly<Record<string, tf.Tensor>>, target: number) => tf.sum(tf.square(tf.sub(p["w"]!, target))) as tf.Scalar;
 * const start = newTraining({ w: tf.scalar(0) });
 * let last = NaN;
 * for await (const state of train(start, { loss, key: key(0), adam: { rate: 0.1 } })(Array(200).fill(3))) last = state.loss;
 * assert.ok(last < 1e-3);
 * ```
 */
export function train<Batch>(
  start: TrainState,
  options: TrainOptions<Batch>,
): (batches: Iterable<Batch> | AsyncIterable<Batch>) => AsyncIterable<TrainState> {
  const { every = 1, adam = {}, optimizer } = decoded("train", options, trainOptions);
  checkOptions("train", adam, adamOptions);
  if (optimizer !== undefined) checkOptimizer(optimizer, options.adam);
  checkKey("train", options.key);
  const begin = beginning(start, options);
  return (batches) => ({
    [Symbol.asyncIterator]: () => training(start, { ...options, every, begin }, batches),
  });
}

function checkOptimizer(optimizer: Optimizer, adam: AdamOptions | undefined): void {
  if (adam !== undefined) {
    throw refusal("train", "adam must be absent beside an optimizer, which has its own", adam);
  }
  if (typeof optimizer?.init === "function" && typeof optimizer.update === "function") return;
  throw new TypeError(
    `Cannot train: optimizer must be an optimizer, such as byAdam(), got ${shown(optimizer)}`,
  );
}

/** What is known of a step that was made. */
interface Made {
  /** The loss before it. */
  readonly loss: number;
  /** Finite only if weights and moments are, after it. */
  readonly sum: number;
}

/** What makes steps, and keeps the state from one to the next. */
interface Steps<Batch> {
  /** Makes a step, of this number. Frees the state that was asked for before. */
  readonly step: (batch: Batch, step: number) => Promise<Made>;
  /** The state. Frees that which was asked for before, on an engine. */
  readonly state: () => Promise<StepState & Pick<TrainState, "memory">>;
  /** Frees everything. */
  readonly close: () => Promise<void>;
}

async function* training<Batch>(
  start: TrainState,
  { every, begin, ...options }: TrainOptions<Batch> & {
    readonly every: number;
    readonly begin: () => Promise<Steps<Batch>>;
  },
  batches: Iterable<Batch> | AsyncIterable<Batch>,
): AsyncGenerator<TrainState, void, undefined> {
  const { signal, finite = true } = options, pace = pacer();
  signal?.throwIfAborted();
  await checkStart(start, options);
  const steps = await begin();
  let { step } = start, losses: number[] = [];
  const reached = async (): Promise<TrainState> => {
    const since = losses;
    losses = [];
    return { step, ...await steps.state(), loss: since.at(-1)!, losses: since };
  };
  try {
    for await (const batch of batches) {
      signal?.throwIfAborted();
      step++;
      if (finite) await checkBatch(batch, step);
      const made = await steps.step(batch, step);
      if (finite) await checkMade(made, step, steps.state);
      losses.push(made.loss);
      if (step % every === 0) yield await reached();
      await pace();
      signal?.throwIfAborted();
    }
    if (losses.length > 0) yield await reached();
  } finally {
    await steps.close();
  }
}

/**
 * Disposes of the tensors of a state.
 *
 * @category Training
 */
export function disposeTraining(
  { params, ema, moments, carried = {} }: StepState<OptimizerState>,
): void {
  tf.dispose([params, ema, ...Object.values(moments), carried].map((each) => Object.values(each)));
}

/** How a run begins: on its engine or without one. */
function beginning<Batch>(
  start: TrainState,
  options: TrainOptions<Batch>,
): () => Promise<Steps<Batch>> {
  const { engine, loss } = options;
  const parts = typeof loss === "object" && loss !== null ? [loss.inputs, loss.loss] : [loss];
  if (!parts.every((part) => typeof part === "function")) {
    throw new TypeError(
      `Cannot train: loss must be a function or an objective, got ${shown(loss)}`,
    );
  }
  if (engine === undefined) return () => Promise.resolve(plainSteps(start, options));
  if (typeof loss !== "function") return () => engineSteps(start, loss, { ...options, engine });
  throw new TypeError(
    `Cannot train on ${engine.name}: loss must be an objective, in two parts, got a function`,
  );
}

/** A step's loss as a function of the weights, and what is carried on from it. */
function lossAt<Batch>(
  loss: Loss<Batch> | StatefulObjective<Batch>,
  { params, carried = {}, memory }: StepState & Pick<TrainState, "memory">,
  batch: Batch,
  key: Key,
): { readonly of: (params: Params) => Scalar | Told; readonly carried: Tensors } {
  if (typeof loss === "function") return { of: (params) => loss(params, batch, key), carried };
  const given = loss.inputs(batch, key, memory), ready = loss.prepare?.(params, given, carried);
  return {
    of: (params) => loss.loss(params, { ...given, ...ready?.inputs }),
    carried: { ...carried, ...ready?.carried },
  };
}

/** What is remembered after a step. */
function* remembered<Batch>(
  loss: Loss<Batch> | StatefulObjective<Batch>,
  memory: unknown,
  told: Tensors,
): Scoped<unknown> {
  if (typeof loss === "function" || loss.remember === undefined) return memory;
  const numbers: Record<string, ArrayLike<number>> = {};
  for (const [name, tensor] of Object.entries(told)) numbers[name] = yield* awaited(tensor.data());
  return loss.remember(memory, numbers);
}

function plainSteps<Batch>(start: TrainState, options: TrainOptions<Batch>): Steps<Batch> {
  const { key, loss, decay = 0.999, finite = true, signal } = options;
  const { numbers, update } = optimizerOf(options);
  let held: StepState & Pick<TrainState, "memory"> = start;
  const free = (): void => {
    if (held !== start) disposeTraining(held);
  };
  return {
    step: async (batch, step) => {
      const { next, ...made } = await scope(function* () {
        const { of, carried } = lossAt(loss, held, batch, fold(key, step));
        const { value, gradients, told } = differentiated(of, held.params);
        const { params, moments } = update({ ...held, gradients }, numbers(step));
        const kept = mapTensors(carried, (each) => tf.clone(each));
        const next: typeof held = {
          params,
          moments: moments as Moments,
          ema: ema(held.ema, params, { step, decay }),
          ...(held.carried && { carried: kept }),
        };
        const [[said], sum] = yield* awaited(
          Promise.all([value.data(), finite ? summed(next) : 0]),
        );
        const memory = yield* remembered(loss, held.memory, told);
        return {
          next: { ...next, ...(memory !== undefined && { memory }) },
          loss: said!,
          sum,
        };
      }, { signal });
      free();
      held = next;
      return made;
    },
    state: () => {
      const { params, ema, moments, carried, memory } = held;
      return Promise.resolve({
        params,
        ema,
        moments,
        ...(carried && { carried }),
        ...(memory !== undefined && { memory }),
      });
    },
    close: () => Promise.resolve(free()),
  };
}

/**
 * A number that is finite only if weights and mean squares are: one of them where they are at hand, or {@link total}, which is
 * the scope's.
 */
function summed({ params, moments, carried = {} }: StepState): Awaitable<number> {
  const groups = [params, ...Object.values(moments).slice(-1), carried];
  for (const tensor of groups.flatMap((tensors) => Object.values(tensors))) {
    const values = atHand(tensor);
    if (values === undefined) {
      return total({ params, moments, carried }).data().then(([sum]) => sum!);
    }
    const wrong = notFinite(values);
    if (wrong !== undefined) return wrong;
  }
  return 0;
}

async function engineSteps<Batch>(
  start: TrainState,
  objective: StatefulObjective<Batch>,
  { engine, key, signal, ...options }: TrainOptions<Batch> & { readonly engine: Engine },
): Promise<Steps<Batch>> {
  const { loss, prepare } = objective, layout = layoutOf(start.params);
  const step = flatStep(loss, { ...options, layout, prepare });
  let { memory } = start;
  const running = await scope(() => awaited(engine.fold(step, flatState(start, layout))));
  // On the engine too: tfjs's backends take ten times as long to turn the filters round.
  const reading = engine.compile(({ vector }) => unflattened(vector!, layout));
  let held: StepState | undefined;
  const free = (): void => {
    if (held !== undefined) disposeTraining(held);
    held = undefined;
  };
  return {
    step: async (batch, step) => {
      free();
      return await scope(function* () {
        const given = flatInputs(objective.inputs(batch, fold(key, step), memory), {
          ...options,
          step,
        });
        const outputs = yield* owned(running.step(given)), { loss, sum } = outputs;
        const [[a], [b]] = yield* awaited(Promise.all([loss!.data(), sum!.data()]));
        memory = yield* remembered(objective, memory, toldBy(outputs));
        return { loss: a!, sum: b! };
      }, { signal });
    },
    state: async () => {
      free();
      held = await scope(function* () {
        const flat = yield* owned(running.state());
        return yield* awaited(namedState(flat, (vector) => reading.run({ vector })));
      });
      return { ...held, ...(memory !== undefined && { memory }) };
    },
    close: async () => {
      free();
      await Promise.all([running, reading].map((each) => each.dispose()));
    },
  };
}

/** Refuses weights that are none, or disposed of. */
function checkWeights(action: string, name: string, params: Params): void {
  if (Object.keys(params).length === 0) {
    throw new RangeError(`Cannot ${action}: ${name} must be of at least one weight, got none`);
  }
  checkTensors(action, params, { name });
}

/** Refuses a start of parts that do not fit or are not finite, and constants out of range. */
async function checkStart<Batch>(
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
async function checkMade(
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

const lost = (wanted: string, got: string, step: number): RangeError =>
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
async function checkBatch(batch: unknown, step: number): Promise<void> {
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
