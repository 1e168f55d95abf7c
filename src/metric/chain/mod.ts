/**
 * Diagnostics of Markov chains: whether they agree, and how much their draws are worth.
 *
 * @module
 */

export { autocorrelation, autocovariance } from "./autocovariance.ts";
export type { Draws } from "./draws.ts";
export { mcseMean, mcseQuantile, mcseSd } from "./error.ts";
export { autocorrelationTime, essBulk, essMean, essQuantile, essSd, essTail } from "./ess.ts";
export { acceptanceRate, bfmi } from "./moves.ts";
export { rHat } from "./rhat.ts";
export { summaries, type Summary, summary } from "./summary.ts";
