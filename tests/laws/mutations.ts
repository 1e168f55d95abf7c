/**
 * One-subscript mutations of each sampler's step: what a slip of the pen would compute. A test asserts that the
 * statistics of the library's samples refute each of them.
 *
 * @module
 */

import {
  type Data,
  ddim,
  ddimHat,
  ddpmLarge,
  ddpmSmall,
  exact,
  family,
  type Law,
  multistep,
  type Predict,
  type Step,
} from "./recursion.ts";

/** A sampler's step with one slip. */
export interface Mutation {
  /** Which sampler, as named in the recursion test. */
  readonly of: string;
  /** What the slip is. */
  readonly slip: string;
  /** The step with the slip; the right one if the slip is in the prediction. */
  readonly law: Law;
  /** The prediction with the slip. */
  readonly predict?: Predict;
}

const { sqrt, log, exp } = Math;

/** A law with some of its numbers replaced. */
const but =
  (law: Law, change: (step: Step, at: number, as: number) => Partial<Step>): Law =>
  (at, as, before) => {
    const step = law(at, as, before);
    return { ...step, ...change(step, at, as) };
  };

/** Slips of the prediction, which every sampler shares: eps is right, x0 is made from it wrongly. */
const predictions: Readonly<Record<string, Predict>> = {
  "1 − alphaBar for its root in x0hat": (at, data) => fromEps(at, data, 1 - at),
  "sigma not divided by alpha in x0hat": (at, data) => {
    const { slope, offset } = exact(at, data);
    return { slope: slope * sqrt(at), offset: offset * sqrt(at) };
  },
};

/** (x_t − noise·eps) / sqrt(at) with the exact eps. */
function fromEps(at: number, data: Data, noise: number): { slope: number; offset: number } {
  const { slope, offset } = exact(at, data), share = noise / sqrt(1 - at);
  return { slope: (1 - share) / sqrt(at) + share * slope, offset: share * offset };
}

const beta = (at: number, as: number): number => 1 - at / as;

const ddpmSlips: Readonly<Record<string, Law>> = {
  "alpha_t for alpha_s in c0": but(
    ddpmSmall,
    (_, at, as) => ({ x0: sqrt(at) * beta(at, as) / (1 - at) }),
  ),
  "sigma_s for sigma_t in c0": but(
    ddpmSmall,
    (_, at, as) => ({ x0: sqrt(as) * beta(at, as) / (1 - as) }),
  ),
  "no root of alphaBar in c0": but(
    ddpmSmall,
    (_, at, as) => ({ x0: as * beta(at, as) / (1 - at) }),
  ),
  "no root of alpha in ct": but(ddpmSmall, (_, at, as) => ({ xt: at / as * (1 - as) / (1 - at) })),
  "sigma_s and sigma_t swapped in ct": but(
    ddpmSmall,
    (_, at, as) => ({ xt: sqrt(at / as) * (1 - at) / (1 - as) }),
  ),
  "alpha_s and alpha_t swapped in ct": but(
    ddpmSmall,
    (_, at, as) => ({ xt: sqrt(as / at) * (1 - as) / (1 - at) }),
  ),
  "beta for beta-tilde": but(ddpmSmall, (_, at, as) => ({ variance: as === 1 ? 0 : beta(at, as) })),
  "beta-tilde as the standard deviation": but(
    ddpmSmall,
    ({ variance }) => ({ variance: variance ** 2 }),
  ),
  "sigma_t² for beta": but(ddpmSmall, (_, _at, as) => ({ variance: 1 - as })),
  "no noise": but(ddpmSmall, () => ({ variance: 0 })),
  "no beta in c0": but(
    ddpmSmall,
    (_, at, as) => ({ x0: sqrt(as) / (1 - at) }),
  ),
};

const ddpmLargeSlips: Readonly<Record<string, Law>> = {
  "beta-tilde for beta": ddpmSmall,
  "beta as the standard deviation": but(ddpmLarge, ({ variance }) => ({ variance: variance ** 2 })),
  "noise in the last step": but(ddpmLarge, (_, at, as) => ({ variance: beta(at, as) })),
  "sigma_t² for the kernel's variance": but(
    ddpmLarge,
    (_, at, as) => ({ variance: as === 1 ? 0 : 1 - at }),
  ),
};

/** sqrt(as)·x0 + sqrt(1 − as − v)·eps + sqrt(v)·z with some of it replaced. */
const ddimSlips = (eta: number): Readonly<Record<string, Law>> => {
  const width = (at: number, as: number) => eta ** 2 * (1 - as) / (1 - at) * beta(at, as);
  const law = ddim(eta);
  const slips: Record<string, Law> = {
    "sigma_t for sigma_s before eps": (at, as) =>
      family(at, as, sqrt(1 - at - width(at, as)), width(at, as)),
    "no root of sigma² before eps": (at, as) =>
      family(at, as, 1 - as - width(at, as), width(at, as)),
    "alpha_t for alpha_s before x0": but(
      law,
      (step, at, as) => ({ x0: step.x0 - sqrt(as) + sqrt(at) }),
    ),
    "no root of alphaBar before x0": but(law, (step, _, as) => ({ x0: step.x0 - sqrt(as) + as })),
    "eps from alpha_s": but(
      law,
      (step, _, as) => ({ x0: sqrt(as) - step.xt * sqrt(as) }),
    ),
    "eps over sigma_s": but(law, (step, at, as) => {
      const direction = step.xt * sqrt(1 - at);
      return { x0: sqrt(as) - direction * sqrt(at / (1 - as)), xt: direction / sqrt(1 - as) };
    }),
  };
  if (eta === 0) return { ...slips, "eta 1 for eta 0": ddim(1) };
  return {
    ...slips,
    "no room for the noise before eps": (at, as) => family(at, as, sqrt(1 - as), width(at, as)),
    "no noise": but(law, () => ({ variance: 0 })),
    "v as the standard deviation": but(law, ({ variance }) => ({ variance: variance ** 2 })),
    "sigma_s and sigma_t swapped in eta's sigma": but(law, ({ variance }, at, as) => ({
      variance: as === 1 ? 0 : variance * ((1 - at) / (1 - as)) ** 2,
    })),
    ...(eta < 1 && {
      "eta for eta²": but(law, ({ variance }) => ({ variance: variance / eta })),
      "eta left out": ddim(1),
      "eta 0 for eta": ddim(0),
    }),
  };
};

const hatSlips: Readonly<Record<string, Law>> = {
  "eta 1's noise for sigma-hat": ddim(1),
  "sigma-hat under the root": (at, as) =>
    family(at, as, sqrt(Math.max(1 - as - beta(at, as), 0)), as === 1 ? 0 : beta(at, as)),
  "the mean of eta 0": but(ddim(0), (_, at, as) => ({ variance: as === 1 ? 0 : beta(at, as) })),
  "noise in the last step": but(ddimHat, (_, at, as) => ({ variance: beta(at, as) })),
};

const lambda = (a: number): number => log(sqrt(a / (1 - a)));

/** The slope term of a second-order step, changed; `d` is the weight of x0hat_t − x0hat_past. */
const sloped = (change: (parts: Parts) => number): Law => (at, as, before) => {
  const first = multistep("midpoint")(at, as);
  if (as === 1 || before === undefined) return first;
  const h = lambda(as) - lambda(at), gap = lambda(at) - lambda(before);
  const slope = change({ at, as, h, gap, grow: sqrt(as) * (1 - exp(-h)) });
  return { ...first, x0: first.x0 + slope, past: -slope };
};

interface Parts {
  readonly at: number;
  readonly as: number;
  readonly h: number;
  readonly gap: number;
  readonly grow: number;
}

/** Both prediction terms times a factor. */
const scaled =
  (factor: (parts: Pick<Parts, "at" | "as" | "h">) => number): Law => (at, as, before) => {
    const step = multistep("midpoint")(at, as, before);
    const by = as === 1 ? 1 : factor({ at, as, h: lambda(as) - lambda(at) });
    return { ...step, x0: step.x0 * by, past: (step.past ?? 0) * by };
  };

const multistepSlips: Readonly<Record<string, Law>> = {
  "first order throughout": sloped(() => 0),
  "no half before the slope": sloped(({ grow, gap, h }) => grow * h / gap),
  "the slope's sign": sloped(({ grow, gap, h }) => -grow / 2 * h / gap),
  "r upside down": sloped(({ grow, gap, h }) => grow / 2 * gap / h),
  "history in the wrong order": (at, as, before) => {
    const step = multistep("midpoint")(at, as, before);
    return step.past === undefined ? step : { ...step, x0: step.past, past: step.x0 };
  },
  "alpha_t for alpha_s": scaled(({ at, as }) => sqrt(at / as)),
  "e^h for e^−h": scaled(({ h }) => (exp(h) - 1) / (1 - exp(-h))),
  "sigma_s and sigma_t swapped": but(multistep("midpoint"), ({ xt }) => ({ xt: xt && 1 / xt })),
  "alphaBar for alpha in lambda": sloped(({ grow, gap, h, as }) =>
    grow / 2 * h / gap + sqrt(as) * (exp(-h) - exp(-2 * h))
  ),
};

const listed = (of: string, slips: Readonly<Record<string, Law>>): Mutation[] =>
  Object.entries(slips).map(([slip, law]) => ({ of, slip, law }));

const mispredicted = (of: string, law: Law): Mutation[] =>
  Object.entries(predictions).map(([slip, predict]) => ({ of, slip, law, predict }));

/** Every mutation, by sampler. */
export const mutations: readonly Mutation[] = [
  ...listed("ddpm small", ddpmSlips),
  ...mispredicted("ddpm small", ddpmSmall),
  ...listed("ddpm large", ddpmLargeSlips),
  ...listed("ddim eta 0", ddimSlips(0)),
  ...mispredicted("ddim eta 0", ddim(0)),
  ...listed("ddim eta 0.5", ddimSlips(0.5)),
  ...listed("ddim eta 1", ddimSlips(1)),
  ...listed("ddim hat", hatSlips),
  ...listed("dpm 2M", multistepSlips),
  ...mispredicted("dpm 2M", multistep("midpoint")),
];
