/** placeholder header, to be replaced by the owner of src/noise */

/** The two numbers of a marginal: q(x_t | x_0) = N(alpha·x_0, sigma²·I). */
export interface Level {
  /** Signal scale, in [0, 1] for variance-preserving schedules, 1 for variance-exploding ones. */
  readonly alpha: number;
  /** Noise standard deviation, at least 0. */
  readonly sigma: number;
}

/** A noise schedule: pure functions of time, computed in float64 on the host. */
export interface Schedule {
  /** What it is, for messages and metadata, such as `"linear"`. */
  readonly name: string;
  /** Least and greatest time. Least is where the data are (sigma = 0, or the schedule's smallest sigma). */
  readonly span: readonly [number, number];
  /** Number of steps T of a discrete schedule, whose times are 0 (data) to T; absent for a continuous one. */
  readonly steps?: number;
  /** Marginal at time t. Discrete schedules also answer between whole times. */
  readonly at: (t: number) => Level;
  /** Inverse of t ↦ log-SNR = 2 ln(alpha/sigma). */
  readonly timeOf: (logSnr: number) => number;
  /** f(t) of dx = f(t)·x dt + g(t) dw. */
  readonly drift: (t: number) => number;
  /** g(t) of dx = f(t)·x dt + g(t) dw. */
  readonly diffusion: (t: number) => number;
}
