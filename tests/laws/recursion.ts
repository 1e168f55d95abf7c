/**
 * The exact law of a sampler on Gaussian data, written from the papers and not from the library.
 *
 * On data N(m, tau²) the exact prediction is affine in x_t, so each step is, and x_i = slope·x_T + offset + noise: three
 * numbers that follow a recursion in float64. Letters are those of Song et al. (2021) and Lu et al. (2022): `at`
 * and `as` are the alpha of DDIM, alphaBar of DDPM, at the two times; sigma² = 1 − alphaBar.
 *
 * @module
 */

/** One step x_s = x0·x0hat + xt·x_t + past·x0hat_past + noise, given alphaBar at t, at s and at the time before t. */
export type Law = (at: number, as: number, before?: number) => Step;

/** The numbers of one step. */
export interface Step {
  readonly x0: number;
  readonly xt: number;
  readonly past?: number;
  readonly variance: number;
}

/** The data, N(mean, tau²). */
export interface Data {
  readonly mean: number;
  readonly tau: number;
}

/** Mean and variance of x at one time, and its covariance with x_T, which tells how much of the path is noise. */
export interface Moments {
  readonly mean: number;
  readonly variance: number;
  readonly withStart: number;
}

/** How x0hat depends on x_t: x0hat = slope·x_t + offset. */
export type Predict = (
  at: number,
  data: Data,
) => { readonly slope: number; readonly offset: number };

const { sqrt, log, exp } = Math;

/** E[x0 | x_t] of Gaussian data. */
export const exact: Predict = (at, { mean, tau }) => {
  const slope = sqrt(at) * tau ** 2 / (at * tau ** 2 + 1 - at);
  return { slope, offset: mean * (1 - slope * sqrt(at)) };
};

/** DDPM's beta_t, for any two times. */
const beta = (at: number, as: number): number => 1 - at / as;

/** DDPM, equations 6 and 7. */
export const ddpmSmall: Law = (at, as) => ({
  x0: sqrt(as) * beta(at, as) / (1 - at),
  xt: sqrt(at / as) * (1 - as) / (1 - at),
  variance: (1 - as) / (1 - at) * beta(at, as),
});

/** DDPM with variance beta; none on the last step. */
export const ddpmLarge: Law = (at, as) => ({
  ...ddpmSmall(at, as),
  variance: as === 1 ? 0 : beta(at, as),
});

/** DDIM, equations 12 and 16. */
export const ddim = (eta: number): Law => (at, as) => {
  const sigma = eta * sqrt((1 - as) / (1 - at)) * sqrt(1 - at / as);
  return family(at, as, sqrt(1 - as - sigma ** 2), sigma ** 2);
};

/** DDIM's sigma-hat: the mean of eta 1, variance 1 − at/as; none on the last step. */
export const ddimHat: Law = (at, as) => ({
  ...ddim(1)(at, as),
  variance: as === 1 ? 0 : 1 - at / as,
});

/** sqrt(as)·x0 + direction·eps + noise, with eps = (x_t − sqrt(at)·x0) / sqrt(1 − at). */
export const family = (at: number, as: number, direction: number, variance: number): Step => ({
  x0: sqrt(as) - direction * sqrt(at / (1 - at)),
  xt: direction / sqrt(1 - at),
  variance,
});

const lambda = (a: number): number => log(sqrt(a / (1 - a)));

/** DPM-Solver++ 2M, algorithm 2 of Lu et al. (2022), with its first and its last step of first order. */
export const multistep = (kind: "midpoint" | "heun"): Law => (at, as, before) => {
  if (as === 1) return { x0: 1, xt: 0, variance: 0 };
  const h = lambda(as) - lambda(at), grow = sqrt(as) * (1 - exp(-h));
  const xt = sqrt((1 - as) / (1 - at));
  if (before === undefined) return { x0: grow, xt, variance: 0 };
  const r = (lambda(at) - lambda(before)) / h;
  const half = kind === "midpoint" ? grow / 2 : sqrt(as) * (1 - (1 - exp(-h)) / h);
  return { x0: grow + half / r, past: -half / r, xt, variance: 0 };
};

/** Mean and variance of x at each time of a grid, from x_T ~ N(0, 1 − alphaBar_T). */
export function moments(
  law: Law,
  alphaBars: readonly number[],
  data: Data,
  predict: Predict = exact,
): Moments[] {
  let slope = 1, offset = 0, variance = 0;
  let past: { slope: number; offset: number } | undefined;
  const start = 1 - alphaBars[0]!;
  return alphaBars.map((as, i) => {
    if (i === 0) return { mean: 0, variance: start, withStart: start };
    const at = alphaBars[i - 1]!, guess = predict(at, data);
    const step = law(at, as, i > 1 ? alphaBars[i - 2]! : undefined);
    // x0hat as a function of x_T, which only the deterministic multistep laws need.
    const x0 = { slope: guess.slope * slope, offset: guess.slope * offset + guess.offset };
    const factor = step.x0 * guess.slope + step.xt, before = past ?? { slope: 0, offset: 0 };
    slope = step.x0 * x0.slope + step.xt * slope + (step.past ?? 0) * before.slope;
    offset = step.x0 * x0.offset + step.xt * offset + (step.past ?? 0) * before.offset;
    variance = factor ** 2 * variance + step.variance;
    past = x0;
    return { mean: offset, variance: slope ** 2 * start + variance, withStart: slope * start };
  });
}
