/**
 * Noise schedules: functions of time, grids of times, the forward process.
 *
 * @module
 */

export { between, diffuse, forwardSde, jump, jumpMany, type Kernel } from "./forward.ts";
export { times } from "./grid.ts";
export { type ScheduleConfig, type ScheduleName, scheduleNames, scheduleOf } from "./named.ts";
export {
  cosineContinuous,
  type CosineContinuousOptions,
  edm,
  type EdmOptions,
  rectified,
  sigmoidContinuous,
  type SigmoidContinuousOptions,
  subVp,
  ve,
  type VeOptions,
  vp,
  type VpOptions,
} from "./schedule/continuous.ts";
export { discretized, fromLevel, type FromLevelOptions, unit } from "./schedule/derived.ts";
export {
  alphaBars,
  type BetaOptions,
  betas,
  cosine,
  type CosineOptions,
  fromAlphaBars,
  fromBetas,
  linear,
  scaledLinear,
  sigmoidBetas,
  zeroTerminalSnr,
} from "./schedule/discrete.ts";
export {
  type GridDefaults,
  type Level,
  logSnr,
  type Schedule,
  type Spacing,
  timeNear,
} from "./schedule/schedule.ts";
export type { GridOptions } from "./spacing.ts";
