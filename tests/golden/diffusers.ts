/**
 * How a scheduler configuration of diffusers reads in this library: the table of `docs/diffusers.md`, as code.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import type { Kind, Model } from "../../src/denoise/prediction.ts";
import { type GridOptions, times } from "../../src/noise/grid.ts";
import { tableaus } from "../../src/solve/tableau.ts";
import { edm, rectified } from "../../src/noise/schedule/continuous.ts";
import { cosine, linear, scaledLinear } from "../../src/noise/schedule/discrete.ts";
import type { Schedule } from "../../src/noise/schedule/schedule.ts";
import { thresholded } from "../../src/refine/threshold.ts";
import { ddim } from "../../src/sample/ancestral.ts";
import type { Sampler } from "../../src/sample/path.ts";
import { deis, lms } from "../../src/sample/solver/deis.ts";
import { flow } from "../../src/sample/flow/flow.ts";
import { pndm } from "../../src/sample/solver/pndm.ts";
import { dpmSinglestep, kdpm2 } from "../../src/sample/solver/singlestep.ts";
import { dpmSolver } from "../../src/sample/solver/dpm.ts";
import { uniPc } from "../../src/sample/solver/unipc.ts";

/** A scheduler_config.json, with the class's own defaults left out. */
export interface Config {
  readonly [option: string]: unknown;
}

/** What a configuration becomes. */
export interface Reproduction {
  readonly schedule: Schedule;
  /** The nodes of the grid, from the first to the final. */
  readonly nodes: readonly number[];
  readonly sampler: Sampler;
  /** Meaning of the model's output. */
  readonly kind: Kind;
  /** The time that their model is given, from ours. */
  readonly time: (t: number) => number;
  /** Whether their x is ours over alpha. */
  readonly overAlpha: boolean;
  /** Index of their step that ends at node j. */
  readonly entry: (j: number) => number;
}

const kinds: Readonly<Record<string, Kind>> = {
  epsilon: "eps",
  sample: "x0",
  v_prediction: "v",
};

function scheduleOf(config: Config): Schedule {
  const { num_train_timesteps: steps = 1000, beta_start: betaStart, beta_end: betaEnd } = config;
  const options = {
    steps: steps as number,
    ...(betaStart !== undefined && { betaStart: betaStart as number }),
    ...(betaEnd !== undefined && { betaEnd: betaEnd as number }),
  };
  if (config["beta_schedule"] === "squaredcos_cap_v2") return cosine({ steps: options.steps });
  return config["beta_schedule"] === "scaled_linear" ? scaledLinear(options) : linear(options);
}

/** The grid of one of the two families, which differ in how many nodes they lay out and whether they round. */
function gridOf(config: Config, steps: number, dropped: 0 | 1, zero: boolean): GridOptions {
  const { timestep_spacing: spacing = "linspace", steps_offset: offset = 0 } = config;
  if (config["use_karras_sigmas"]) {
    return { steps: zero ? steps : steps - 1, spacing: "karras", least: 1, final: zero ? 0 : 1 };
  }
  const round = spacing !== "linspace" || dropped === 1;
  const final = zero ? {} : { final: 1 };
  return {
    steps,
    spacing: spacing as "linspace",
    offset: offset as number,
    dropped,
    round,
    ...final,
  };
}

const isZero = (config: Config): boolean => (config["final_sigmas_type"] ?? "zero") === "zero";

/** A class: its grid, its sampler, how its numbers are read. */
interface Family {
  readonly grid: (config: Config, steps: number, schedule: Schedule) => GridOptions;
  readonly make: (schedule: Schedule, config: Config, grid: GridOptions) => Sampler;
  readonly overAlpha?: true;
  readonly entry?: (count: number, config: Config) => (j: number) => number;
  readonly schedule?: (config: Config) => Schedule;
  readonly time?: (config: Config) => (t: number) => number;
  readonly kind?: Kind;
}

const ofDpm = {
  grid: (config: Config, steps: number) => gridOf(config, steps, 1, isZero(config)),
  // Their times are whole also where sigmas are Karras's.
  time: (config: Config) => (t: number) =>
    config["use_karras_sigmas"] && config["beta_schedule"] !== "squaredcos_cap_v2"
      ? Math.round(t - 1)
      : t - 1,
} as const;

const ofEuler = {
  grid: (config: Config, steps: number) => gridOf(config, steps, 0, true),
  overAlpha: true,
} as const;

const twice = { entry: (count: number) => (j: number) => Math.min(2 * j, 2 * count - 1) - 1 };

const ofEdm = {
  schedule: (config: Config) =>
    edm({ sigmaMin: config["sigma_min"] as number, sigmaMax: config["sigma_max"] as number }),
  grid: (_: Config, steps: number): GridOptions => ({ steps, spacing: "karras" }),
  time: () => (sigma: number) => Math.log(sigma) / 4,
} as const;

const ofFlow = {
  schedule: () => rectified(),
  // They shift the end of the training grid, 1/T, and then all of the grid again.
  grid: ({ shift = 1, num_train_timesteps: count = 1000 }: Config, steps: number): GridOptions => {
    const s = shift as number, bent = (u: number) => s * u / (1 + (s - 1) * u);
    return { steps, shift: s, least: bent(bent(1 / (count as number))) };
  },
  time: () => (t: number) => 1000 * t,
  kind: "flow",
} as const;

/** Options that two names share: theirs, then ours. */
const form = (config: Config) => ({
  of: String(config["algorithm_type"] ?? "++").endsWith("++") ? "x0" as const : "eps" as const,
  corrector: (config["solver_type"] ?? "midpoint") as "midpoint" | "heun",
});

const orderOf = (config: Config, usual = 2): 2 => (config["solver_order"] ?? usual) as 2;

/** Where Karras's sigmas end in sigma_min twice, their last step goes nowhere, and it is that one whose order is lowered. */
const lowered = (config: Config, usual: boolean, zero = isZero(config)): boolean =>
  (config["lower_order_final"] ?? usual) as boolean && (zero || !config["use_karras_sigmas"]);

const dpm = (schedule: Schedule, config: Config, grid: GridOptions): Sampler =>
  dpmSolver(schedule, {
    ...grid,
    ...form(config),
    order: orderOf(config),
    eta: String(config["algorithm_type"]).startsWith("sde") ? 1 : 0,
    curvature: "halved",
    lowerOrderFinal: lowered(config, true) ? "auto" : false,
  });

const families: Readonly<Record<string, Family>> = {
  DPMSolverMultistepScheduler: { ...ofDpm, make: dpm },
  DPMSolverSinglestepScheduler: {
    ...ofDpm,
    make: (schedule, config, grid) =>
      dpmSinglestep(schedule, {
        ...grid,
        ...form(config),
        order: orderOf(config),
        corrector: form(config).corrector,
        lowerOrderFinal: lowered(config, false) || "auto",
      }),
  },
  UniPCMultistepScheduler: {
    ...ofDpm,
    make: (schedule, config, grid) =>
      uniPc(schedule, {
        ...grid,
        order: orderOf(config),
        solver: (config["solver_type"] ?? "bh2") as "bh2",
        lowerOrderFinal: lowered(config, true),
      }),
  },
  DEISMultistepScheduler: {
    ...ofDpm,
    grid: (config, steps) => gridOf(config, steps, 1, false),
    make: (schedule, config, grid) =>
      deis(schedule, {
        ...grid,
        order: orderOf(config),
        lowerOrderFinal: lowered(config, true, false) ? "auto" : false,
      }),
  },
  EulerDiscreteScheduler: { ...ofEuler, make: (schedule, _, grid) => ddim(schedule, grid) },
  EulerAncestralDiscreteScheduler: {
    ...ofEuler,
    make: (schedule, _, grid) => ddim(schedule, { ...grid, eta: 1 }),
  },
  HeunDiscreteScheduler: {
    ...ofEuler,
    ...twice,
    make: (schedule, _, grid) => flow(schedule, { ...grid, chart: "eps" }),
  },
  LMSDiscreteScheduler: { ...ofEuler, make: (schedule, _, grid) => lms(schedule, grid) },
  KDPM2DiscreteScheduler: {
    ...ofEuler,
    ...twice,
    make: (schedule, _, grid) => kdpm2(schedule, grid),
  },
  KDPM2AncestralDiscreteScheduler: {
    ...ofEuler,
    ...twice,
    make: (schedule, _, grid) => kdpm2(schedule, { ...grid, eta: 1 }),
  },
  PNDMScheduler: {
    // Without set_alpha_to_one their last step goes from index 0 to itself, which is no step.
    grid: (config, steps, schedule) => {
      const grid = { steps, spacing: "leading", offset: (config["steps_offset"] ?? 0) as number };
      const all = times(schedule, grid as GridOptions);
      return { times: config["set_alpha_to_one"] ? all : [...all.slice(0, -1), ...last(all)] };
    },
    make: (schedule, config, grid) =>
      pndm(schedule, {
        ...grid,
        warmUp: config["skip_prk_steps"] ? "heun" : "rungeKutta",
        of: config["prediction_type"] === "v_prediction" ? "v" : "eps",
      }),
    entry: (_, config) => (j) => config["skip_prk_steps"] ? j : j <= 3 ? 4 * j - 1 : j + 8,
  },
  EDMEulerScheduler: { ...ofEdm, make: (schedule, _, grid) => ddim(schedule, grid) },
  EDMDPMSolverMultistepScheduler: { ...ofEdm, make: dpm },
  FlowMatchEulerDiscreteScheduler: {
    ...ofFlow,
    make: (schedule, _, grid) => flow(schedule, { ...grid, tableau: tableaus.euler }),
  },
  FlowMatchHeunDiscreteScheduler: {
    ...ofFlow,
    ...twice,
    make: (schedule, _, grid) => flow(schedule, grid),
  },
};

/** Where their grid ends when it does not end in the data: at index 0, our t = 1, unless it is there already. */
const last = (all: readonly number[]): number[] => all.at(-2) === 1 ? [] : [1];

/** The classes that can be reproduced. */
export const classes: readonly string[] = Object.keys(families);

/**
 * A configuration in this library's terms.
 *
 * @param name Name of the class.
 * @param config Its options, where they are not its defaults.
 * @param steps Number of inference steps.
 * @returns What to run, and how to read it.
 */
export function reproduced(name: string, config: Config, steps: number): Reproduction {
  const family = families[name]!, schedule = (family.schedule ?? scheduleOf)(config);
  const grid = family.grid(config, steps, schedule), nodes = times(schedule, grid);
  const own = family.make(schedule, config, grid);
  return {
    schedule,
    nodes,
    sampler: config["thresholding"]
      ? thresholded({
        kind: "dynamic",
        ratio: (config["dynamic_thresholding_ratio"] ?? 0.995) as number,
        max: (config["sample_max_value"] ?? 1) as number,
      })(own)
      : own,
    kind: family.kind ?? kinds[(config["prediction_type"] ?? "epsilon") as string]!,
    time: family.time?.(config) ?? ((t) => t - 1),
    overAlpha: family.overAlpha ?? false,
    entry: family.entry?.(nodes.length - 1, config) ?? ((j) => j - 1),
  };
}

/** EDM's preconditioning of a network F(x/√(sigma² + d²), ln(sigma)/4), d the deviation of the data (Karras et al., table 1). */
export function preconditioned(inner: Model, d = 0.5): Model {
  const { schedule } = inner;
  return {
    schedule,
    predict: async (x, sigma) => {
      const total = sigma ** 2 + d ** 2, scaled = tf.div(x, Math.sqrt(total));
      const prediction = await inner.predict(scaled, sigma);
      const sign = prediction.kind === "v" ? -1 : 1;
      const value = tf.tidy(() =>
        tf.add(
          tf.mul(x, d ** 2 / total),
          tf.mul(prediction.value, sign * sigma * d / Math.sqrt(total)),
        )
      );
      tf.dispose([scaled, prediction.value]);
      return { kind: "x0", value };
    },
  };
}
