/**
 * What a number is: keys and random numbers, memory, engines, host views, gradients that can be differentiated again.
 *
 * @module
 */

/** Operations whose gradients can be differentiated again. */
export * as smooth from "./autodiff.ts";
export { checkKey } from "./check/check.ts";
export {
  type Compiled,
  eager,
  type Engine,
  type Fold,
  type Folded,
  type FoldStep,
  mapTensors,
  outlined,
  type Outliner,
  outlining,
  pacer,
  type Pure,
  type Tensors,
  type Unit,
} from "./engine.ts";
export { type Block, fillBits, fold, type Key, key, philox, split } from "./key.ts";
export {
  categorical,
  type IntegerRange,
  type Keys,
  normal,
  normals,
  rademacher,
  randint,
  uniform,
  type UniformOptions,
  uniforms,
  type Weights,
} from "./random.ts";
export {
  type Awaitable,
  awaited,
  folded,
  own,
  owned,
  scope,
  type Scoped,
  type ScopeOptions,
} from "./scope.ts";
export { slerp } from "./rows/slerp.ts";
export {
  type Scalar,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  type Tensor3D,
  type Tensor4D,
} from "./tensor.ts";
export {
  type ArrayView,
  fromNdarray,
  type HostView,
  toNdarray,
  view,
  type ViewData,
} from "./ndarray.ts";
