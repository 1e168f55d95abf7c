/**
 * Samplers: streams of transitions from noise to data, and the kit to write one.
 *
 * @module
 */

export { ddim, ddimInverse, type DdimOptions, ddpm, type DdpmOptions } from "./ancestral.ts";
export {
  adaptiveFlow,
  type AdaptiveFlowOptions,
  type AdaptiveState,
  arrived,
} from "./flow/adaptive.ts";
export type { Chart } from "./flow/chart.ts";
export { type Churn, flow, type FlowOptions } from "./flow/flow.ts";
export type { LastNoise } from "./grid.ts";
export { along, asked, type Leg, legs, type Moved, step } from "./step.ts";
export {
  type Carried,
  type Check,
  type Env,
  type Evaluation,
  onModel,
  rearranged,
  refined,
  type Refinement,
  type RunOptions,
  type Sampler,
  sampler,
  type Start,
  type State,
  type Transition,
} from "./path.ts";
export { prior, type Run, run } from "./run.ts";
export {
  type Predictor,
  reverseCoefficients,
  reverseSde,
  type ReverseSdeOptions,
  type ReverseStep,
} from "./reverse.ts";
export { deis, type DeisOptions, lms, type LmsOptions } from "./solver/deis.ts";
export {
  type Corrector,
  dpmSolver,
  type DpmSolverForm,
  type DpmSolverOptions,
  multistepCoefficients,
} from "./solver/dpm.ts";
export {
  type LowerOrderFinal,
  type Multistep,
  multistep,
  multistepTransition,
} from "./solver/multistep.ts";
export { asVelocity, pndm, type PndmOptions, pseudoAdams } from "./solver/pndm.ts";
export {
  dpmSinglestep,
  type DpmSinglestepOptions,
  kdpm2,
  type Kdpm2Options,
  singlestepStages,
  type Stage,
} from "./solver/singlestep.ts";
export { uniPc, uniPcCoefficients, type UniPcOptions } from "./solver/unipc.ts";
export {
  adams,
  combined,
  exponential,
  type ExponentialOptions,
  type MultistepNodes,
  type MultistepRule,
  type MultistepWeights,
  type Node,
  type Point,
} from "./solver/weights.ts";
