/**
 * A network with weights as a `Model`: what samplers, guidance and likelihood ask for.
 *
 * @module
 */

import { type Condition, type Kind, kinds, type Model } from "../denoise/prediction.ts";
import { rescheduled } from "../denoise/reschedule.ts";
import { type ScheduleConfig, scheduleOf } from "../noise/named.ts";
import { unit } from "../noise/schedule/derived.ts";
import type { Schedule } from "../noise/schedule/schedule.ts";
import { checkAmong, refusal } from "../tensor/check/check.ts";
import { decoded, type Rules } from "../tensor/check/decode.ts";
import {
  anEngine,
  type Compiled,
  type Engine,
  mapTensors,
  outlined,
  type Tensors,
} from "../tensor/engine.ts";
import { type Awaitable, owned, scope } from "../tensor/scope.ts";
import type { Network } from "./layer/network.ts";
import { networkTime } from "./layer/embedding.ts";
import type { Params } from "./layer/parameter.ts";
import { architectureOf, type ArchitectureOptions } from "./architecture.ts";
import type { UNetConfig } from "./unet.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * Everything but the weights of a denoiser: stored beside them, as JSON.
 *
 * @category Networks
 * @typeParam NetworkConfig The configuration of its network. Default: that of a U-Net, as of images.
 */
export interface ImageModelConfig<NetworkConfig extends object = UNetConfig> {
  /** The schedule it was trained under. */
  readonly schedule: ScheduleConfig;
  /** What the network's output means. */
  readonly kind: Kind;
  /** The name of the network in the table of architectures. Default: `"unet"`. */
  readonly architecture?: string;
  /** The network. */
  readonly network: NetworkConfig;
  /** Names of the classes. */
  readonly classes?: readonly string[];
}

const imageFields: Rules<ImageModelConfig<object>> = {
  schedule: true,
  kind: true,
  network: true,
  classes: true,
  architecture: true,
};

/**
 * A model that knows a schedule's {@link unit}, as a model of the schedule.
 *
 * @category Networks
 * @param schedule The schedule.
 * @param make Makes the model of the schedule in units.
 * @returns That model itself where the schedule's own unit is that, and otherwise {@link rescheduled}.
 */
export function inUnits(schedule: Schedule, make: (units: Schedule) => Model): Model {
  const units = unit(schedule), model = make(units);
  return units === schedule ? model : rescheduled(model, schedule);
}

/** Kinds that say nothing of x_0 where alpha is 0. */
const blind: readonly Kind[] = ["eps", "score"];

/**
 * Refuses what is no kind of prediction, or is one from which the data cannot be read at the end of a schedule: at alpha = 0
 * x_t is the noise, and eps or the score say it again.
 *
 * @category Networks
 * @param action What is to be done, such as `"make a model"`.
 * @param under The kind, and the schedule that it is predicted under.
 * @throws {RangeError} If it is no kind, or eps or a score where alpha is 0 at the schedule's greatest time.
 *
 * @example Straight paths ask for v, flow or x_0
 * ```ts
 * import { checkKind } from "@tweedie/tweedie/network";
 * import { rectified } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * checkKind("make a model", { kind: "flow", schedule: rectified() });
 * assert.throws(() => checkKind("make a model", { kind: "eps", schedule: rectified() }), /kind must be x0, v or flow/);
 * ```
 */
export function checkKind(
  action: string,
  { kind, schedule }: { readonly kind: Kind; readonly schedule: Schedule },
): void {
  checkAmong(action, "kind", kind, kinds);
  const { name, span: [, last], at } = schedule;
  if (!blind.includes(kind) || at(last).alpha > 0) return;
  throw refusal(
    action,
    `kind must be x0, v or flow under "${name}", whose alpha is 0 at t = ${last}`,
    kind,
  );
}

/**
 * What runs a network.
 *
 * @category Networks
 */
export interface EngineOptions {
  /**
   * What compiles and runs it, once for each shape of x. What it holds for the model is freed when it is closed, which
   * ends the model. Default: none, tfjs as it is.
   */
  readonly engine?: Engine;
}

const engineOptions: Rules<EngineOptions> = { engine: anEngine };
const modelOptions: Rules<EngineOptions & ArchitectureOptions> = {
  ...engineOptions,
  architectures: true,
};

/**
 * What a network's output means, under which schedule, and what runs it.
 *
 * @category Networks
 */
export interface NetworkOptions extends EngineOptions {
  /** The schedule. */
  readonly schedule: Schedule;
  /** What the network's output means. */
  readonly kind: Kind;
}

const networkOptions: Rules<NetworkOptions> = { ...engineOptions, schedule: true, kind: true };

/**
 * A network and its weights as a model, without a condition; `given` puts one on, where the network has classes. On an
 * engine it is compiled when it is first asked, once for all conditions.
 *
 * The network sees x_t/√(alpha² + sigma²), and its output is of that {@link unit}, as `diffusionLoss` trains it; of
 * variance-preserving schedules that is x_t itself.
 *
 * @category Networks
 * @param network The network.
 * @param params Its weights, which stay the caller's and must outlive the model.
 * @param options Schedule, and the meaning of the output; engine.
 * @returns The model.
 * @throws {TypeError} If there is an option that is not known.
 * @throws {RangeError} As {@link checkKind}; when asked, as {@link networkOf} when applied.
 *
 * @example A class for one sample and none for the other
 * ```ts
 * import { initialize, key, linear, networkModel, normal, unet } from "@tweedie/tweedie";
 * import { useBackend } from "@tweedie/tweedie/backend";
 * import assert from "node:assert/strict";
 *
 * await useBackend("cpu");
 * const network = unet({ size: [8, 8], base: 8, multipliers: [1], blocks: 1, classes: 3 });
 * const params = initialize(network.parameters, key(0));
 * const model = networkModel(network, params, { schedule: linear(), kind: "eps" });
 * const prediction = await model.given!([1, null]).predict(normal(key(1), [2, 8, 8, 1]), 500);
 * assert.equal(prediction.kind, "eps");
 * ```
 */
export function networkModel(
  network: Network,
  params: Params,
  options: NetworkOptions,
): Model {
  decoded("make a model", options, networkOptions);
  checkKind("make a model", options);
  const { schedule, kind, engine } = options, evaluate = evaluation(network, params, engine);
  return inUnits(schedule, (units) => {
    const under = (condition?: Condition): Model => ({
      schedule: units,
      predict: (x, t) =>
        scope(function* () {
          const times = Array<number>(x.shape[0]!).fill(networkTime(units, t));
          const { y } = yield* owned(evaluate({ x, ...network.inputs(times, condition) }));
          return { kind, value: y! };
        }),
      ...(network.classes > 0 && { given: under }),
    });
    return under();
  });
}

/**
 * A network's forward pass with its weights: on an engine, made ready when it is first asked; otherwise at once, and one
 * piece for engines that trace what surrounds it.
 */
function evaluation(
  network: Network,
  params: Params,
  engine: Engine | undefined,
): (inputs: Tensors) => Awaitable<Record<string, Tensor>> {
  const ofWeight = (name: string): string => `weights.${name}`;
  const weights = Object.fromEntries(
    Object.entries(params).map(([name, weight]) => [ofWeight(name), weight]),
  );
  const forward = ({ x, time, label, ...rest }: Tensors): Record<string, Tensor> => {
    const given = mapTensors(params, (_, name) => rest[ofWeight(name)]!);
    return { y: network.forward(given, x!, { time: time!, ...(label && { label }) }) };
  };
  if (engine === undefined) return outlined(forward, weights);
  let ready: Compiled | undefined;
  return async (inputs) => await (ready ??= engine.compile(forward, weights)).run(inputs);
}

/**
 * The model of a stored configuration and its weights.
 *
 * @category Networks
 * @param config The configuration.
 * @param params Its weights, which stay the caller's and must outlive the model.
 * @param options What runs it; the table of architectures.
 * @returns The model.
 * @throws {TypeError} If there is an option or an entry of the configuration that is not known.
 * @throws {RangeError} As the network's builder, {@link scheduleOf} and {@link networkModel}; if there is no network of that name.
 */
export function imageModel<NetworkConfig extends object = UNetConfig>(
  config: ImageModelConfig<NetworkConfig>,
  params: Params,
  options: EngineOptions & ArchitectureOptions = {},
): Model {
  decoded("make a model", config, imageFields);
  decoded("make a model", options, modelOptions);
  const { build } = architectureOf("denoiser", config.architecture, options), { engine } = options;
  return networkModel(build(config.network), params, {
    ...(engine && { engine }),
    schedule: scheduleOf(config.schedule),
    kind: config.kind,
  });
}
