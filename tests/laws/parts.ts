/**
 * Every sampler, refinement and guide that the root exports, each in a form that laws can run. The compiler sees when one is
 * missing, so that a new one is under every law without anyone remembering.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { adams } from "../../src/sample/mod.ts";
import {
  adaptiveFlow,
  after,
  annealedLangevin,
  byClassifier,
  byEnergy,
  classifierFree,
  conditioned,
  corrected,
  ddim,
  ddimInverse,
  ddpm,
  decorated,
  deis,
  dpmSinglestep,
  dpmSolver,
  during,
  fixedLangevin,
  flow,
  type GridOptions,
  type Guide,
  guided,
  inpainted,
  kdpm2,
  langevin,
  likelihood,
  lms,
  mask,
  meanShifted,
  multistep,
  observed,
  onModel,
  pndm,
  rearranged,
  refined,
  type Refinement,
  repainted,
  reverseSde,
  type Sampler,
  type Schedule,
  type State,
  summed,
  tableaus,
  thresholded,
  uniPc,
} from "../../mod.ts";
import { classifierEnergy, type ThresholdOptions } from "../../src/refine/mod.ts";

type Root = typeof import("../../mod.ts");

/** What makes a sampler from a schedule. */
type SamplerName = {
  [K in keyof Root]: Root[K] extends (schedule: Schedule, ...rest: never) => infer R
    ? R extends AsyncIterable<(env: never) => (state: never) => unknown> ? K : never
    : never;
}[keyof Root];

/** What makes a refinement; `underlaid` is `onModel` of the whole environment. */
type RefinementName = Exclude<
  {
    [K in keyof Root]: Root[K] extends (...rest: never) => (source: infer S) => infer R
      ? S extends AsyncIterable<(env: never) => (state: never) => unknown>
        ? R extends AsyncIterable<(env: never) => (state: never) => unknown> ? K : never
      : never
      : never;
  }[keyof Root],
  "underlaid"
>;

/** What makes a guide; some functions give back whatever they are given, or are told to make. */
type GuideName = Exclude<
  { [K in keyof Root]: Root[K] extends (...rest: never) => Guide ? K : never }[keyof Root],
  "outlining" | "own" | "pickedCondition" | "pipe" | "retained" | "scope"
>;

/** Options that only a law gives, such as an unknown one. */
type Extra = Readonly<Record<string, unknown>>;

/** Samplers from noise to data, but for `ddimInverse`, by name and form. */
export const samplers: {
  readonly [K in SamplerName]: Readonly<
    Record<string, (schedule: Schedule, grid?: GridOptions, extra?: Extra) => Sampler>
  >;
} = {
  ddpm: {
    "": (schedule, grid, extra) => ddpm(schedule, { ...grid, ...extra }),
    "large": (schedule, grid, extra) => ddpm(schedule, { ...grid, variance: "large", ...extra }),
  },
  ddim: {
    "": (schedule, grid, extra) => ddim(schedule, { ...grid, ...extra }),
    "eta 0.7": (schedule, grid, extra) => ddim(schedule, { ...grid, eta: 0.7, ...extra }),
  },
  ddimInverse: { "": (schedule, grid, extra) => ddimInverse(schedule, { ...grid, ...extra }) },
  reverseSde: {
    "Euler–Maruyama": (schedule, grid, extra) =>
      reverseSde(schedule, { ...grid, predictor: "euler-maruyama", ...extra }),
    "reverse diffusion": (schedule, grid, extra) =>
      reverseSde(schedule, { ...grid, predictor: "reverse-diffusion", ...extra }),
    "ancestral": (schedule, grid, extra) =>
      reverseSde(schedule, { ...grid, predictor: "ancestral", ...extra }),
  },
  flow: {
    "Heun": (schedule, grid, extra) => flow(schedule, { ...grid, ...extra }),
    "RK4 in v": (schedule, grid, extra) =>
      flow(schedule, { ...grid, tableau: tableaus.rk4, chart: "v", ...extra }),
    "Heun in eps": (schedule, grid, extra) => flow(schedule, { ...grid, chart: "eps", ...extra }),
    "Heun in x0": (schedule, grid, extra) => flow(schedule, { ...grid, chart: "x0", ...extra }),
    "churn": (schedule, grid, extra) =>
      flow(schedule, { ...grid, chart: "eps", churn: { amount: 3, to: 20 }, ...extra }),
  },
  adaptiveFlow: {
    // It chooses its steps itself.
    "": (schedule, _, extra) => adaptiveFlow(schedule, { ...extra }) as unknown as Sampler,
  },
  dpmSolver: Object.fromEntries(
    ([1, 2, 3] as const).flatMap((order) =>
      (["x0", "eps"] as const).flatMap((of) =>
        [0, 1].map((eta) => [
          `${order}, ${of}, eta ${eta}`,
          (schedule: Schedule, grid?: GridOptions, extra?: Extra) =>
            dpmSolver(schedule, {
              ...grid,
              order,
              of,
              eta,
              ...(order > 1 && { lowerOrderFinal: false }),
              ...extra,
            }),
        ])
      )
    ),
  ),
  uniPc: Object.fromEntries(
    ([1, 2, 3] as const).map((order) => [
      `${order}`,
      (schedule: Schedule, grid?: GridOptions, extra?: Extra) =>
        uniPc(schedule, { ...grid, order, ...extra }),
    ]),
  ),
  dpmSinglestep: Object.fromEntries(
    ([1, 2, 3] as const).flatMap((order) =>
      (["x0", "eps"] as const).map((of) => [
        `${order}, ${of}`,
        (schedule: Schedule, grid?: GridOptions, extra?: Extra) =>
          dpmSinglestep(schedule, { ...grid, order, of, ...extra }),
      ])
    ),
  ),
  deis: Object.fromEntries(
    (["logRho", "rho", "t"] as const).map((variable) => [
      variable,
      (schedule: Schedule, grid?: GridOptions, extra?: Extra) =>
        deis(schedule, { ...grid, order: 3, variable, lowerOrderFinal: false, ...extra }),
    ]),
  ),
  lms: { "": (schedule, grid, extra) => lms(schedule, { ...grid, ...extra }) },
  pndm: {
    "Runge–Kutta": (schedule, grid, extra) => pndm(schedule, { ...grid, ...extra }),
    "Heun": (schedule, grid, extra) => pndm(schedule, { ...grid, warmUp: "heun", ...extra }),
  },
  kdpm2: {
    "": (schedule, grid, extra) => kdpm2(schedule, { ...grid, ...extra }),
    "eta 1": (schedule, grid, extra) => kdpm2(schedule, { ...grid, eta: 1, ...extra }),
  },
  multistep: {
    "": (schedule, grid, extra) =>
      multistep(schedule, { ...grid, ...extra }, { rule: adams, order: 2, pastZero: true }),
  },
};

/** All samplers in one table, by name and form. */
export const everySampler: readonly (readonly [
  name: string,
  make: (schedule: Schedule, grid?: GridOptions, extra?: Extra) => Sampler,
])[] = Object.entries(samplers).flatMap(([name, forms]) =>
  Object.entries(forms).map(([form, make]) => [form ? `${name}, ${form}` : name, make] as const)
);

/** A batch of samples of two numbers, and what is known of them. */
export interface Known {
  readonly count: number;
  readonly mask: tf.Tensor;
  readonly values: tf.Tensor;
}

const classifier = (x: tf.Tensor): tf.Tensor => tf.concat([tf.neg(x), tf.mul(x, 0.5)], 1);
const energy = (x: tf.Tensor): tf.Tensor => tf.mul(tf.sum(tf.square(tf.sub(x, 0.3)), 1), 0.2);
const labels = (count: number): number[] => Array.from({ length: count }, (_, i) => i % 2);

/** Guides of models with two classes, by name; `needs` says that it takes the model's condition. */
export const guides: {
  readonly [K in GuideName]: {
    readonly needs?: true;
    readonly make: (known: Known, extra?: Extra) => Guide;
  };
} = {
  classifierFree: {
    needs: true,
    make: ({ count }, extra) => classifierFree(labels(count), { scale: 2, ...extra }),
  },
  byClassifier: {
    make: ({ count }, extra) => byClassifier(classifier, labels(count), { scale: 0.5, ...extra }),
  },
  byEnergy: { make: (_, extra) => byEnergy(energy, { of: "x0", ...extra }) },
  during: { make: (_, extra) => during(byEnergy(energy), { sigma: [0.1, 3], ...extra }) },
  summed: {
    make: ({ count }) => summed(byEnergy(energy), byClassifier(classifier, labels(count))),
  },
};

/** A refinement as a law sees it. */
export interface Part {
  /** Whether it changes the model of the run, or moves its states. */
  readonly changes: "model" | "state";
  /** Whether it takes the model's condition. */
  readonly needs?: true;
  /** Whether a density can be carried along beside it. */
  readonly dense?: true;
  readonly make: (known: Known, extra?: Extra) => Refinement;
}

const everyGuide = Object.fromEntries(
  Object.entries(guides).map(([name, { needs, make }]): [string, Part] => [name, {
    changes: "model",
    ...(needs && { needs }),
    dense: true,
    make: make.length === 1
      ? (known) => guided(make(known))
      : (known, extra) => guided(make(known, extra)),
  }]),
);

/** Refinements by name and form. */
export const refinements: { readonly [K in RefinementName]: Readonly<Record<string, Part>> } = {
  guided: everyGuide,
  onModel: {
    "": {
      changes: "model",
      dense: true,
      make: () => onModel((model) => decorated(model, () => ({}))),
    },
  },
  conditioned: {
    "": {
      changes: "model",
      needs: true,
      dense: true,
      make: ({ count }) => conditioned(labels(count)),
    },
  },
  thresholded: {
    "clip": {
      changes: "model",
      make: (_, extra) => thresholded({ kind: "clip", range: 0.7, ...extra } as ThresholdOptions),
    },
    "dynamic": {
      changes: "model",
      make: (_, extra) =>
        thresholded({ kind: "dynamic", ratio: 0.8, max: 2, ...extra } as ThresholdOptions),
    },
  },
  meanShifted: {
    "": {
      changes: "state",
      make: ({ count }, extra) =>
        meanShifted(classifierEnergy(classifier, labels(count)), { scale: 0.5, ...extra }),
    },
  },
  corrected: {
    "annealed": {
      changes: "state",
      make: (_, extra) => corrected(annealedLangevin(), { ...extra }),
    },
    "by ratio, before": {
      changes: "state",
      make: (_, extra) =>
        corrected(langevin({ most: 0.1 }), { order: "before", purpose: "other", ...extra }),
    },
    "of one size": {
      changes: "state",
      make: (_, extra) => corrected(fixedLangevin({ size: 1e-3 }), { purpose: "third", ...extra }),
    },
  },
  inpainted: {
    "": {
      changes: "state",
      make: ({ mask, values }, extra) => inpainted(mask, values, { ...extra }),
    },
  },
  observed: {
    "pigdm": {
      changes: "model",
      dense: true,
      make: ({ mask: kept, values }, extra) =>
        observed(mask(kept), values, { method: "pigdm", std: 0.3, ...extra }),
    },
    "dps": {
      changes: "state",
      make: ({ mask: kept, values }, extra) =>
        observed(mask(kept), values, { method: "dps", scale: 0.1, ...extra }),
    },
    "replacement": {
      changes: "state",
      make: ({ mask: kept, values }, extra) =>
        observed(mask(kept), values, { method: "replacement", purpose: "seen", ...extra }),
    },
  },
  repainted: {
    "": {
      changes: "state",
      make: (_, extra) => repainted({ jumps: 2, length: 2, ...extra }),
    },
  },
  likelihood: {
    "": {
      changes: "state",
      dense: true,
      make: (_, extra) =>
        ((source: Sampler) => likelihood({ ...extra })(source)) as unknown as Refinement,
    },
  },
  after: { "none": { changes: "state", dense: true, make: () => after(0) } },
  refined: {
    "": {
      changes: "state",
      dense: true,
      make: () => <S extends State>(source: Sampler<S>): Sampler<S> =>
        refined<S>((transition) => (env) => (state) => transition(env)(state))(source),
    },
  },
  rearranged: {
    "": {
      changes: "state",
      dense: true,
      make: () => <S extends State>(source: Sampler<S>): Sampler<S> =>
        rearranged<S>((transitions) => transitions)(source),
    },
  },
};

/** All refinements in one table, by name and form. */
export const everyRefinement: readonly (readonly [name: string, part: Part])[] = Object.entries(
  refinements,
).flatMap(([name, forms]) =>
  Object.entries(forms).map(([form, part]) => [form ? `${name}, ${form}` : name, part] as const)
);
