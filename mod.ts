/**
 * Tweedie: energy-based, score-based and diffusion models as lazy streams.
 *
 * @module
 */
export * from "./src/tensor/key.ts";
export * from "./src/tensor/random.ts";
export * from "./src/tensor/autodiff.ts";
export * from "./src/tensor/ndarray.ts";
export * from "./src/noise/schedule.ts";
export * from "./src/noise/grid.ts";
export * from "./src/noise/forward.ts";
export * from "./src/denoise/prediction.ts";
export * from "./src/denoise/posterior.ts";
export * from "./src/denoise/loss.ts";
export * from "./src/denoise/oracle.ts";
export * from "./src/sample/chain.ts";
export * from "./src/sample/ancestral.ts";
export * from "./src/sample/solver.ts";
export * from "./src/refine/guide.ts";
export * from "./src/refine/threshold.ts";
export * from "./src/watch/record.ts";
export * from "./src/watch/progress.ts";
export * from "./src/watch/frames.ts";
export * from "./src/network/layer.ts";
export * from "./src/network/mlp.ts";
export * from "./src/network/unet.ts";
export * from "./src/network/classifier.ts";
export * from "./src/network/model.ts";
export * from "./src/train/loop.ts";
export * from "./src/train/optimizer.ts";
export * from "./src/train/ema.ts";
export * from "./src/train/data.ts";
export * from "./src/train/timestep.ts";
export * from "./src/metric/frechet.ts";
export * from "./src/io/png.ts";
export * from "./src/io/video.ts";
export * from "./src/io/safetensors.ts";
export * from "./src/io/checkpoint.ts";
export * from "./src/io/process.ts";
