/**
 * Slips in network energies, in what trains them and in what is made of them.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

const network = "network/energy", contrastive = "train/contrastive", compose = "energy/compose";
const restore = "energy/restore", detect = "metric/detect";

/** All of them. */
export const energy: readonly Slip[] = [
  slip("network/energy.ts", "tf.mul(tf.sum(away, axes), 0.5)", "tf.sum(away, axes)", network),
  slip("network/energy.ts", "tf.neg(logSum(tf.neg(energies)))", "logSum(energies)", network),
  slip(
    "network/energy.ts",
    "features: (params, x) => layers.reduce((h, layer) => silu(layer.apply(params, h)), x),",
    "features: (params, x) => layers.reduce((h, layer) => layer.apply(params, h), x),",
    network,
  ),
  slip(
    "train/contrastive.ts",
    "tf.neg(tf.sum(network.apply(params, x, label)))",
    "tf.sum(network.apply(params, x, label))",
    contrastive,
  ),
  slip(
    "train/contrastive.ts",
    "tf.mul(noise[i]!, Math.sqrt(temperature))",
    "tf.mul(noise[i]!, temperature)",
    contrastive,
  ),
  slip("train/contrastive.ts", "tf.clipByValue(s, -scoreBound, scoreBound)", "s", contrastive),
  slip("train/contrastive.ts", "tf.sub(low, high)", "tf.sub(high, low)", contrastive),
  slip("train/contrastive.ts", "tf.mul(size, squares)", "size", contrastive),
  slip(
    "train/contrastive.ts",
    'tf.mul(normal(keys("smoothing"), sample), smoothing)',
    'normal(keys("smoothing"), sample)',
    contrastive,
  ),
  slip("train/contrastive.ts", "i % kinds === kind", "i % kinds >= 0", contrastive),
  slip("train/contrastive.ts", "(u) => u < fresh", "(u) => u >= fresh", contrastive),
  slip(
    "train/contrastive.ts",
    "return tf.where(alike(tf.greater(isPut, 0), chains), put, chains);",
    "return tf.add(put, chains);",
    contrastive,
  ),
  slip("train/contrastive.ts", "{ low: -1, high: 1 }", "{ low: 0, high: 1 }", contrastive),
  slip("train/contrastive.ts", "data: low, model: high", "data: high, model: low", contrastive),
  slip(
    "train/contrastive.ts",
    "checkCarried(before, [chains, ...network.sample]);",
    "",
    contrastive,
  ),
  slip("energy/compose.ts", "tf.mul(value, weights[i]!)", "value", compose),
  slip("energy/compose.ts", "{ weights: [1, -alpha] }", "{ weights: [1, alpha] }", compose),
  slip("energy/compose.ts", "- (logZ?.[i] ?? 0)", "+ (logZ?.[i] ?? 0)", compose),
  slip(
    "tensor/gradient/smooth.ts",
    "tf.where(tf.isFinite(most), most, tf.zerosLike(most))",
    "most",
    compose,
  ),
  slip(
    "energy/compose.ts",
    "tf.softmax(shares(x))",
    "tf.div(tf.onesLike(shares(x)), parts.length)",
    compose,
  ),
  slip(
    "energy/restore.ts",
    "tf.div(tf.sub(x, y), sigma)",
    "tf.div(tf.sub(x, y), sigma ** 2)",
    restore,
  ),
  slip("energy/restore.ts", "tf.mul(away, mask)", "tf.div(away, mask)", restore),
  slip(
    "metric/detect.ts",
    "(count((y) => y < x) + count((y) => y <= x)) / (2 *",
    "count((y) => y < x) / (1 *",
    detect,
  ),
  slip("metric/detect.ts", "/ (x.length - 1)", "/ x.length", detect),
  slip("metric/detect.ts", "variance(kept) / low.length", "variance(kept) / high.length", detect),
  slip("metric/detect.ts", "scores.length - 1 - most", "scores.length - most", detect),
  slip("io/model/contents.ts", 'if (task === "energy") return "energy";', "", "io/weights"),
  slip(
    "io/model/contents.ts",
    'return task === "energy" ? "energy" : "denoiser";',
    'return "denoiser";',
    "io/weights",
  ),
  slip("io/model/description.ts", "checkNames(list, entry.classes(own), at);", "", "io/weights"),
  slip(
    "tensor/gradient/smooth.ts",
    "const most = tf.max(a as Tensor, 1, true);",
    "const most = tf.zerosLike(tf.max(a as Tensor, 1, true));",
    network,
  ),
];
