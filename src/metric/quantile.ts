/**
 * Quantiles of the normal and of the beta law, in float64.
 *
 * ```text
 *   Φ⁻¹(p)   rational functions on three ranges of p
 *   I_x(a, b) = p      by Newton's method within a bracket, I_x by its continued fraction
 * ```
 *
 * The density of the beta law is written about its mode, so that no large numbers cancel where a + b is large:
 *
 * ```text
 *   xᵃyᵇ/B(a, b) = √(ab/(2πn))·exp(−a·h(nx/a) − b·h(ny/b) − δ(a) − δ(b) + δ(n))      n = a + b, y = 1 − x, h(u) = u − 1 − ln u
 *   ln Γ(z) = (z − ½) ln z − z + ½ ln 2π + δ(z)
 * ```
 *
 * Sources: M. Wichura, "Algorithm AS 241: the percentage points of the normal distribution" (1988), PPND16; NIST Digital
 * Library of Mathematical Functions, 8.17.22 and 5.11.1; C. Loader, "Fast and accurate computation of binomial
 * probabilities" (2000), for the density.
 *
 * @module
 */

/** Coefficients of a polynomial, the highest power first. */
type Polynomial = readonly number[];

const at = (x: number, coefficients: Polynomial): number => {
  let sum = 0;
  for (let i = 0; i < coefficients.length; i++) sum = sum * x + coefficients[i]!;
  return sum;
};

/** A rational function: its numerator and its denominator. */
type Rational = readonly [Polynomial, Polynomial];

/** Near the middle, |p − ½| ≤ 0.425, in 0.425² − (p − ½)². */
const middle: Rational = [
  [
    2.5090809287301226727e3,
    3.3430575583588128105e4,
    6.7265770927008700853e4,
    4.5921953931549871457e4,
    1.3731693765509461125e4,
    1.9715909503065514427e3,
    1.3314166789178437745e2,
    3.3871328727963666080,
  ],
  [
    5.2264952788528545610e3,
    2.8729085735721942674e4,
    3.9307895800092710610e4,
    2.1213794301586595867e4,
    5.3941960214247511077e3,
    6.8718700749205790830e2,
    4.2313330701600911252e1,
    1,
  ],
];

/** Outside it, in √(−ln min(p, 1 − p)) − 1.6, where that is up to 5 − 1.6. */
const outer: Rational = [
  [
    7.74545014278341407640e-4,
    2.27238449892691845833e-2,
    2.41780725177450611770e-1,
    1.27045825245236838258,
    3.64784832476320460504,
    5.76949722146069140550,
    4.63033784615654529590,
    1.42343711074968357734,
  ],
  [
    1.05075007164441684324e-9,
    5.47593808499534494600e-4,
    1.51986665636164571966e-2,
    1.48103976427480074590e-1,
    6.89767334985100004550e-1,
    1.67638483018380384940,
    2.05319162663775882187,
    1,
  ],
];

/** Far outside, in the same root less 5. */
const far: Rational = [
  [
    2.01033439929228813265e-7,
    2.71155556874348757815e-5,
    1.24266094738807843860e-3,
    2.65321895265761230930e-2,
    2.96560571828504891230e-1,
    1.78482653991729133580,
    5.46378491116411436990,
    6.65790464350110377720,
  ],
  [
    2.04426310338993978564e-15,
    1.42151175831644588870e-7,
    1.84631831751005468180e-5,
    7.86869131145613259100e-4,
    1.48753612908506148525e-2,
    1.36929880922735805310e-1,
    5.99832206555887937690e-1,
    1,
  ],
];

const ratio = (x: number, [top, bottom]: Rational): number => at(x, top) / at(x, bottom);

/**
 * Φ⁻¹(p), the number below which a standard normal draw is with probability p, to a relative error of about 1e-15.
 *
 * @param p A probability.
 * @returns The number: −infinity at 0, infinity at 1, NaN outside [0, 1].
 */
export function normalQuantile(p: number): number {
  const q = p - 0.5;
  if (Math.abs(q) <= 0.425) return q * ratio(0.180625 - q * q, middle);
  const tail = Math.min(p, 1 - p);
  if (tail === 0) return Math.sign(q) * Infinity;
  const root = Math.sqrt(-Math.log(tail));
  return Math.sign(q) * (root <= 5 ? ratio(root - 1.6, outer) : ratio(root - 5, far));
}

/** δ(z) of Stirling's formula, z > 0: its series from 10 on, and up to there by recurrence. */
function stirling(z: number): number {
  let sum = 0;
  for (; z < 10; z++) sum += (z + 0.5) * Math.log1p(1 / z) - 1;
  const w = 1 / (z * z);
  return sum +
    (1 / 12 - w * (1 / 360 - w * (1 / 1260 - w * (1 / 1680 - w * (1 / 1188 - w * 691 / 360360))))) /
      z;
}

/** xᵃ(1 − x)ᵇ/B(a, b). */
function peak(x: number, a: number, b: number): number {
  const n = a + b, u = (n * x - a) / a, v = (n * (1 - x) - b) / b;
  const away = a * (u - Math.log1p(u)) + b * (v - Math.log1p(v));
  return Math.sqrt(a * b / (2 * Math.PI * n)) *
    Math.exp(stirling(n) - stirling(a) - stirling(b) - away);
}

/** I_x(a, b) where x is at most (a + 1)/(a + b + 2): there the continued fraction comes together fast. */
function belowMode(x: number, a: number, b: number): number {
  // Lentz's method, with d = 1/(1 + …) and c the ratios of denominators and numerators.
  let c = 1, d = 1 / (1 - (a + b) / (a + 1) * x), value = d;
  for (let m = 1; m < 10_000; m++) {
    const even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / (1 + even * d);
    c = 1 + even / c;
    value *= c * d;
    d = 1 / (1 + odd * d);
    c = 1 + odd / c;
    value *= c * d;
    if (Math.abs(c * d - 1) < Number.EPSILON) break;
  }
  return peak(x, a, b) / a * value;
}

/** I_x(a, b): the probability that a draw of Beta(a, b) is at most x in (0, 1). */
const betaProbability = (x: number, a: number, b: number): number =>
  x <= (a + 1) / (a + b + 2) ? belowMode(x, a, b) : 1 - belowMode(1 - x, b, a);

/**
 * The number below which a draw of Beta(a, b) is with probability p.
 *
 * @param p A probability in (0, 1).
 * @param a Above 0.
 * @param b Above 0.
 * @returns The number, in (0, 1); NaN where a or b is NaN.
 */
export function betaQuantile(p: number, a: number, b: number): number {
  let low = 0, high = 1, x = a / (a + b);
  for (let i = 0; i < 200 && high - low > Number.EPSILON * x; i++) {
    const off = betaProbability(x, a, b) - p;
    if (off > 0) high = x;
    else low = x;
    const next = x - off * x * (1 - x) / peak(x, a, b), before = x;
    x = next > low && next < high ? next : (low + high) / 2;
    if (Math.abs(x - before) <= Number.EPSILON * x) break;
  }
  return x;
}
