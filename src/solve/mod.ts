/**
 * Differential equations: Runge–Kutta methods, step control, ODEs, SDEs, Brownian paths.
 *
 * @module
 */

export { brownian, type BrownianOptions, brownianSteps } from "./brownian.ts";
export {
  checkControl,
  errorNorm,
  firstLength,
  type Outset,
  type StepControl,
  type StepErrors,
  stepFactor,
} from "./control.ts";
export { phi } from "./exponential.ts";
export { type OdeState, type PathState, solve, type SolveOptions } from "./ode.ts";
export {
  denseOutput,
  type DensePoint,
  type Move,
  rungeKutta,
  type RungeKuttaStep,
  stages,
  type VectorField,
} from "./rungekutta.ts";
export {
  brownianMotion,
  type BrownianMotionOptions,
  geometricBrownianMotion,
  type GeometricBrownianMotionOptions,
  ornsteinUhlenbeck,
  type OrnsteinUhlenbeckOptions,
} from "./sde/motion.ts";
export type { Sde, SdeField } from "./sde/equation.ts";
export { fokkerPlanck, type Planck, type PlanckOptions } from "./sde/planck.ts";
export { overdamped, type OverdampedOptions } from "./sde/potential.ts";
export { type SdeMove, type SdeScheme, type SdeSchemes, sdeSchemes } from "./sde/scheme.ts";
export { simulate, type SimulateOptions } from "./sde/simulate.ts";
export { type Tableau, type Tableaus, tableaus } from "./tableau.ts";
