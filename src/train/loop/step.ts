/**
 * The steps of a training run, on tfjs as it is or on an engine.
 *
 * Without an engine each step is one scope: loss and gradient at the weights, the optimizer's update, the moving average. On an
 * engine the step is compiled, and the state stays there until it is asked for.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Params } from "../../network/layer/parameter.ts";
import { atHand } from "../../tensor/check/ready.ts";
import { notFinite } from "../../tensor/check/check.ts";
import { type Engine, mapTensors, type Tensors } from "../../tensor/engine.ts";
import { fold, type Key } from "../../tensor/key.ts";
import { type Awaitable, awaited, owned, scope, type Scoped } from "../../tensor/scope.ts";
import { ema } from "../ema.ts";
import {
  differentiated,
  flatInputs,
  flatState,
  flatStep,
  layoutOf,
  mapGroups,
  namedState,
  optimizerOf,
  type StepState,
  type Told,
  toldBy,
  total,
  unflattened,
} from "../flat.ts";
import type { Moments } from "../optimizer/adam.ts";
import type { Scalar, Tensor } from "../../tensor/tensor.ts";
import { lost } from "./check.ts";
import { disposeTraining, type TrainState } from "./state.ts";
import type { Loss, StatefulObjective } from "./objective.ts";
import type { TrainOptions } from "./options.ts";

/** What is known of a step that was made. */
export interface Made {
  /** The loss before it. */
  readonly loss: number;
  /** Finite only if weights and moments are, after it. */
  readonly sum: number;
}

/** What makes steps, and keeps the state from one to the next. */
export interface Steps<Batch> {
  /** Makes a step, of this number. Frees the state that was asked for before. */
  readonly step: (batch: Batch, step: number) => Promise<Made>;
  /** The state. Frees that which was asked for before, on an engine. */
  readonly state: () => Promise<StepState & Pick<TrainState, "memory">>;
  /** Frees everything. */
  readonly close: () => Promise<void>;
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

/** The tensors of a record, those of a state among them by other handles. */
function handlesBeside(
  { params, ema, moments, carried = {} }: StepState,
): (tensors: Tensors) => Record<string, Tensor> {
  const groups = [params, ema, carried, ...Object.values(moments)];
  const ids = new Set(groups.flatMap((each) => Object.values(each)).map(({ id }) => id));
  return (tensors) => mapTensors(tensors, (each) => ids.has(each.id) ? tf.clone(each) : each);
}

/** Refuses a state of other names or shapes than the one before, as engines do. */
function checkSame(before: StepState, after: StepState, step: number): void {
  const parts = ({ params, moments, carried = {} }: StepState): Record<string, Tensors> => ({
    weights: params,
    ...mapGroups(moments, (group) => group),
    "what is carried": carried,
  });
  const was = parts(before), now = parts(after);
  for (const name of new Set([...Object.keys(was), ...Object.keys(now)])) {
    const [a = {}, b = {}] = [was[name], now[name]], names = Object.keys(a);
    const isSame = names.length === Object.keys(b).length &&
      names.every((each) => b[each] && tf.util.arraysEqual(a[each]!.shape, b[each].shape));
    if (isSame) continue;
    const told = (group: Tensors): string =>
      Object.entries(group).map(([each, { shape }]) => `${each} [${shape}]`).join(", ") || "none";
    throw lost(`${name} must stay ${told(a)}`, told(b), step);
  }
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

export function plainSteps<Batch>(start: TrainState, options: TrainOptions<Batch>): Steps<Batch> {
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
        const moved = update({ ...held, gradients }, numbers(step));
        // Whatever is passed on as it was gets a handle of its own, as the state before is freed.
        const passed = handlesBeside(held), params = passed(moved.params);
        const next: typeof held = {
          params,
          moments: mapGroups(moved.moments, passed) as Moments,
          ema: ema(held.ema, params, { step, decay }),
          ...((held.carried || Object.keys(carried).length > 0) && { carried: passed(carried) }),
        };
        checkSame(held, next, step);
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

export async function engineSteps<Batch>(
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
