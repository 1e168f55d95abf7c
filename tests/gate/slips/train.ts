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
    "train/timestep.ts",
    "1 / ((most - least) * density(t))",
    "1 / density(t)",
    "train/timestep",
  ),
  slip(
    "train/timestep.ts",
    "density: (t) => 2 * noiseRate(schedule, t),",
    "density: (t) => noiseRate(schedule, t),",
    "train/timestep",
  ),
  slip(
    "train/timestep.ts",
    "whole.inverse(from + u * total)",
    "whole.inverse(u * total)",
    "train/timestep",
  ),
  slip("train/timestep.ts", "(u[0]! + i) / u.length)", "(u[i]! + i) / u.length)", "train/timestep"),
  slip(
    "train/timestep.ts",
    "i % 2 === 0 ? u[i]! : opposite(u[i - 1]!)",
    "opposite(u[i]!)",
    "train/timestep",
  ),
];
