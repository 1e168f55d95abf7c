/**
 * Slips in networks, training and metrics.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

/** All of them. */
export const train: readonly Slip[] = [
  slip("metric/bits.ts", "Math.log2(levels / width)", "Math.log2(levels)", "metric/bits"),
  slip("metric/bits.ts", "if (fault >= 0)", "if (fault === -2)", "metric/bits"),
  slip("metric/frechet.ts", ".max() <= within", ".max() <= 0", "metric/frechet"),
  slip(
    "metric/frechet.ts",
    "-slack * Math.max(...values)",
    "-1e-12 * Math.max(...values)",
    "metric/frechet",
  ),
  slip("network/classifier.ts", "tf.add(a!, 1)", "a!", "network/classifier"),
  slip("network/classifier.ts", "tf.div(x, size), Array", "x, Array", "network/classifier"),
  slip(
    "network/classifier.ts",
    "under === schedule ? t : timeNear(schedule, level)",
    "t",
    "network/classifier",
  ),
  slip("train/diffusion.ts", "{ at } = unit(schedule)", "{ at } = schedule", "train/diffusion"),
  slip(
    "train/timestep/range.ts",
    "1 / ((most - least) * density(t))",
    "1 / density(t)",
    "train/timestep",
  ),
  slip(
    "train/timestep/law.ts",
    "density: (t) => 2 * noiseRate(schedule, t),",
    "density: (t) => noiseRate(schedule, t),",
    "train/timestep",
  ),
  slip(
    "train/timestep/range.ts",
    "whole.inverse(from + u * total)",
    "whole.inverse(u * total)",
    "train/timestep",
  ),
  slip(
    "train/timestep/spread.ts",
    "(u[0]! + i) / u.length)",
    "(u[i]! + i) / u.length)",
    "train/timestep",
  ),
  slip(
    "train/timestep/spread.ts",
    "i % 2 === 0 ? u[i]! : opposite(u[i - 1]!)",
    "opposite(u[i]!)",
    "train/timestep",
  ),
  slip(
    "train/timestep/uniform.ts",
    "if (at(start).sigma > 0) return start;",
    "if (at(start).sigma < 0) return start;",
    "train/timestep",
  ),
  slip(
    "train/timestep/law.ts",
    "(t - first + 0.5) / count",
    "(t - first + 1) / count",
    "train/timestep",
  ),
  slip("train/timestep/law.ts", "? density(t - 0.5) : 0", "? density(t) : 0", "train/timestep"),
  slip(
    "train/timestep/range.ts",
    "if (!integral) checkEnds(",
    "if (integral) checkEnds(",
    "train/timestep",
  ),
  slip(
    "denoise/loss/weighting.ts",
    "({ eps }, { t }) => eps * (diffusion(t) / at(t).sigma) ** 2 / 2",
    "({ score }, { t }) => score * diffusion(t) ** 2 / 2",
    "denoise/loss",
  ),
  slip("denoise/loss/weighting.ts", "({ eps, x0 }) => eps + x0", "({ v }) => v", "denoise/loss"),
  slip(
    "denoise/loss/weighting.ts",
    "s = t >= 1 ? at(t - 1) : data",
    "s = at(t - 1)",
    "denoise/loss",
  ),
  slip("denoise/loss/regression.ts", "  checkBatch(batch);\n", "", "denoise/loss"),
  slip(
    "train/diffusion.ts",
    "score: score / square, v: v * square",
    "score, v",
    "train/diffusion",
  ),
  slip("train/diffusion.ts", '  checkKind("make a loss", options);\n', "", "train/diffusion"),
  slip("network/model.ts", "|| at(last).alpha > 0", "|| at(last).alpha >= 0", "network/model"),
  slip("train/loop/train.ts", "      await pace();\n", "", "train/loop"),
  slip(
    "train/loop/train.ts",
    "if (finite) await checkMade(",
    "if (!Number.isFinite(made.loss)) await checkMade(",
    "train/loop",
  ),
  slip("train/loop/train.ts", "if (finite) await checkBatch(batch, step);", "", "train/loop"),
  slip("train/loop/step.ts", "finite ? summed(next) : 0", "0", "train/loop"),
  slip(
    "train/loop/step.ts",
    "async () => {\n      free();\n      held",
    "async () => {\n      held",
    "train/loop",
  ),
  slip(
    "train/flat.ts",
    "const groups = [params, ...Object.values(moments).slice(-1), carried];\n    const all",
    "const groups = [params];\n    const all",
    "train/loop",
  ),
  slip(
    "train/loop/step.ts",
    "carried: { ...carried, ...ready?.carried }",
    "carried",
    "train/stateful",
  ),
  slip("train/flat.ts", "{ ...before, ...ready?.carried }", "before", "train/stateful"),
  slip(
    "train/loop/step.ts",
    "memory = yield* remembered(objective, memory, toldBy(outputs));",
    "",
    "train/stateful",
  ),
  slip("train/ema.ts", "value >= 0 && value < 1", "value >= 0 && value <= 1", "train/ema"),
  slip(
    "network/layer/network.ts",
    "    checkTensors(applying, params, weights);\n",
    "",
    "network/layer",
  ),
  slip(
    "network/layer/network.ts",
    "if (wrong !== undefined) throw unfit(",
    "if (wrong === null) throw unfit(",
    "network/layer",
  ),
];
