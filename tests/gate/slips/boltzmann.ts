/**
 * Slips in Boltzmann machines. Those that are found in print: no biases where "no x_i or z_i terms" are meant to be pairs within a
 * layer; a sum that grows with both layers; a gradient without its minus sign; chains of CD that start at the model.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

const rbm = "energy/boltzmann/rbm.ts", gibbs = "energy/boltzmann/gibbs.ts";
const partition = "energy/boltzmann/partition/exact.ts",
  annealing = "energy/boltzmann/partition/annealing.ts";
const likelihood = "energy/boltzmann/partition/likelihood.ts";
const divergence = "energy/boltzmann/divergence.ts", dbm = "energy/boltzmann/dbm.ts";
const monitor = "energy/boltzmann/monitor.ts", training = "train/boltzmann/divergence.ts";
const deep = "train/boltzmann/deep.ts", greedy = "train/boltzmann/greedy.ts";
const exact = "energy/boltzmann/partition/exact",
  likely = "energy/boltzmann/partition/likelihood",
  annealed = "energy/boltzmann/partition/annealing",
  trained = "train/boltzmann/divergence";

/** All of them. */
export const boltzmann: readonly Slip[] = [
  slip(
    rbm,
    "tf.neg(tf.sum(tf.mul(x, visible), 1))",
    "tf.zeros([x.shape[0]!])",
    "energy/boltzmann/rbm",
  ),
  slip(
    rbm,
    "tf.matMul(scaled(rbm, x), rbm.weights), rbm.hidden)",
    "tf.matMul(scaled(rbm, x), rbm.weights), 0)",
    "energy/boltzmann/rbm",
  ),
  slip(
    rbm,
    "tf.exp(tf.mul(logVariance, -0.5))",
    "tf.exp(tf.mul(logVariance, -1))",
    "energy/boltzmann/rbm",
  ),
  slip(
    rbm,
    "return tf.add(tf.mul(told, tf.exp(tf.mul(rbm.logVariance, 0.5))), rbm.visible)",
    "return tf.add(tf.mul(told, tf.exp(rbm.logVariance)), rbm.visible)",
    "energy/boltzmann/rbm",
  ),
  slip(rbm, "tf.mul(weights, Math.sqrt(beta))", "tf.mul(weights, beta)", "energy/boltzmann/rbm"),
  slip(
    rbm,
    "tf.sub(logVariance, Math.log(beta))",
    "tf.add(logVariance, Math.log(beta))",
    "energy/boltzmann/rbm",
  ),
  slip(rbm, "const least = 0.5 /", "const least = 0.25 /", "energy/boltzmann/rbm"),
  slip(rbm, "tf.less(u, p)", "tf.less(p, u)", "energy/boltzmann/gibbs"),
  slip(
    gibbs,
    "bernoulli(hiddenMean(rbm, x), draws.hidden)",
    "hiddenMean(rbm, x)",
    "energy/boltzmann/gibbs",
  ),
  slip(gibbs, "beta === 1 ? rbm : heated(rbm, beta)", "rbm", "energy/boltzmann/gibbs"),
  slip(
    gibbs,
    "sampleKeys(env, count, purpose, step)",
    "sampleKeys(env, count, purpose, 0)",
    "energy/boltzmann/gibbs",
  ),
  slip(gibbs, 'keys("visible units")', 'keys("hidden units")', "energy/boltzmann/gibbs"),
  slip(
    gibbs,
    "(isGaussian ? normal : uniform)",
    "(isGaussian ? uniform : uniform)",
    "energy/boltzmann/gibbs",
  ),
  slip(partition, "if (logVariance === undefined && n < m) {", "if (n < m) {", exact),
  slip(partition, "operations: n * 2 ** m }", "operations: n * 2 ** (n + m) }", exact),
  slip(partition, "own += sign * bias[unit]!;", "own += bias[unit]!;", exact),
  slip(partition, "own += isOn ? -bias[unit]! : bias[unit]!;", "own += bias[unit]!;", exact),
  slip(partition, "isOn ? down[unit]! : up[unit]!", "up[unit]!", exact),
  slip(partition, "log += Math.log(product);", "log += product;", exact),
  slip(partition, "< 500", "< 5000", exact),
  slip(partition, "told * (unit[i]! + told / 2)", "told * (unit[i]! + told)", likely),
  slip(partition, "(Math.log(2 * Math.PI) + log) / 2", "Math.log(2 * Math.PI) + log / 2", likely),
  slip(likelihood, "Math.exp(log - logZ), means", "Math.exp(log), means", likely),
  slip(
    likelihood,
    "(apart ** 2 + spread - unit[i]! * told) / 2",
    "(apart ** 2 - unit[i]! * told) / 2",
    likely,
  ),
  slip(likelihood, "softplus(input), -energy) - all", "softplus(input), -energy)", likely),
  slip(likelihood, "a.map((v, i) => v - b[i]!)", "a.map((v, i) => v + b[i]!)", likely),
  slip(annealing, "tf.mul(base, 1 - beta)", "tf.mul(base, 1)", annealed),
  slip(
    annealing,
    "tf.add(state.logWeight, rise(rbm, x, at))",
    "tf.sub(state.logWeight, rise(rbm, x, at))",
    annealed,
  ),
  slip(
    annealing,
    "tf.sub(state.logWeight, rise(rbm, x, at))",
    "tf.sub(state.logWeight, rise(rbm, state.x, at))",
    annealed,
  ),
  slip(
    annealing,
    "between(rbm, at.base, at.to)",
    "between(rbm, at.base, at.from)",
    annealed,
  ),
  slip(annealing, "steps.toReversed()", "steps", annealed),
  slip(
    annealing,
    "tf.mul(tf.sub(visible, base), (to + from) / 2)",
    "tf.mul(tf.sub(visible, base), to)",
    annealed,
  ),
  slip(annealing, "base ? softplus(b) : Math.LN2", "softplus(b)", annealed),
  slip(annealing, "return m * Math.LN2 +", "return", annealed),
  slip(
    annealing,
    "sign * (most + Math.log(mean))",
    "(most + Math.log(mean))",
    annealed,
  ),
  slip(
    annealing,
    "error: standardError(w) / mean",
    "error: standardError(w)",
    annealed,
  ),
  slip(annealing, "/ (count - 1) / count)", "/ (count - 1))", annealed),
  slip(
    annealing,
    "/ sumOf(w.map((each) => each * each))",
    "/ sumOf(w)",
    annealed,
  ),
  slip(
    divergence,
    "a.map((each, l) => tf.sub(each, b[l]!))",
    "a.map((each, l) => tf.add(each, b[l]!))",
    "energy/boltzmann/divergence",
  ),
  slip(
    divergence,
    "outer(alone[l]!, offsets[l + 1]!)",
    "outer(alone[l]!, offsets[l]!)",
    "energy/boltzmann/divergence",
  ),
  slip(
    divergence,
    "tf.sub(raw, times(below, offsets[l - 1]!, true))",
    "raw",
    "energy/boltzmann/divergence",
  ),
  slip(
    divergence,
    "tf.sub(kept, times(above, offsets[l + 1]!))",
    "kept",
    "energy/boltzmann/divergence",
  ),
  slip(divergence, "isMirrored ? mirrored(found) : found", "found", "energy/boltzmann/divergence"),
  slip(
    divergence,
    "tf.matMul(tf.mul(unit, each), hidden, true)",
    "tf.matMul(unit, hidden, true)",
    "energy/boltzmann/divergence",
  ),
  slip(
    divergence,
    "tf.sub(tf.square(apart), tf.mul(unit, told))",
    "tf.square(apart)",
    "energy/boltzmann/divergence",
  ),
  slip(
    divergence,
    "tf.add(tf.mul(old, 1 - rate), tf.mul(now, rate))",
    "tf.add(tf.mul(old, rate), tf.mul(now, 1 - rate))",
    "energy/boltzmann/divergence",
  ),
  slip(
    monitor,
    "tf.neg(tf.softplus(tf.neg(rise)))",
    "tf.neg(tf.softplus(rise))",
    "energy/boltzmann/monitor",
  ),
  slip(monitor, "tf.sub(told, tf.mul(flip, rbm.visible))", "told", "energy/boltzmann/monitor"),
  slip(monitor, "freeEnergy(rbm, x))), n)", "freeEnergy(rbm, x))), 1)", "energy/boltzmann/monitor"),
  slip(monitor, "fold(key, i), 1", "key, 1", "energy/boltzmann/monitor"),
  slip(
    monitor,
    "tf.sub(tf.mean(freeEnergy(rbm, heldOut)), tf.mean(freeEnergy(rbm, trained)))",
    "tf.sub(tf.mean(freeEnergy(rbm, trained)), tf.mean(freeEnergy(rbm, heldOut)))",
    "energy/boltzmann/monitor",
  ),
  slip(dbm, "if (o === e - 1) return tf.transpose(dbm.weights[o]!);", "", "energy/boltzmann/dbm"),
  slip(dbm, "for (const parity of [1, 0])", "for (const parity of [1])", "energy/boltzmann/dbm"),
  slip(
    dbm,
    "tf.sub(tf.addN(entropies), dbmEnergy(",
    "tf.sub(0, dbmEnergy(",
    "energy/boltzmann/dbm",
  ),
  slip(
    dbm,
    "tf.add(surprise(mean), surprise(tf.sub(1, mean)))",
    "tf.mul(surprise(mean), 2)",
    "energy/boltzmann/dbm",
  ),
  slip(dbm, "l === 0 || l === top ? 1 : 0.5", "1", "energy/boltzmann/dbm"),
  slip(
    dbm,
    "...(above ? [tf.matMul(layers[l + 1]!, above, false, true)] : []),",
    "",
    "energy/boltzmann/dbm",
  ),
  slip(
    training,
    'let at = negatives === "persistent" ? chainsIn(carried) : x;',
    'let at = negatives === "persistent" ? x : x;',
    trained,
  ),
  slip(
    training,
    'negatives === "persistent" ? chainsIn(carried) : x;',
    'negatives === "persistent" ? chainsIn(carried) : tf.zerosLike(x);',
    trained,
  ),
  slip(
    training,
    'return negatives === "persistent" ? { ...found, ends: at } : found;',
    "return found;",
    trained,
  ),
  slip(training, "at = gibbsStep(law, at, draws).x;", "at = gibbsStep(law, x, draws).x;", trained),
  slip(
    training,
    'negatives === "exact" ? 0 : kSteps',
    'negatives === "exact" ? 0 : kSteps + 1',
    trained,
  ),
  slip(
    training,
    "tf.sub(tf.mean(freeEnergy(law, x)), free)",
    "tf.add(tf.mean(freeEnergy(law, x)), free)",
    trained,
  ),
  slip(training, "layer === undefined ? decay : decay / 2", "decay", trained),
  slip(training, "return tf.add(a!, b!);", "return a!;", trained),
  slip(
    training,
    "visibleOffset: offsets.visible, hiddenOffset: offsets.hidden",
    'visibleOffset: carried["visibleOffset"]!, hiddenOffset: offsets.hidden',
    trained,
  ),
  slip(
    training,
    'variances === "learned") return gradient',
    'variances !== "learned") return gradient',
    trained,
  ),
  slip("train/boltzmann/slope.ts", "tf.sub(value, along(", "tf.add(value, along(", trained),
  slip("train/boltzmann/rows.ts", "fold(key, epoch)", "key", "train/boltzmann/rows"),
  slip("train/boltzmann/rows.ts", "u[i]! * (i + 1)", "u[i]! * i", "train/boltzmann/rows"),
  slip(
    deep,
    "meanField(machine, x, { steps })",
    "meanField(machine, x, { steps: 0 })",
    "train/boltzmann/deep",
  ),
  slip(
    deep,
    "hiddenMean(law, at)))",
    "tf.zeros([at.shape[0]!, law.hidden.size])))",
    "train/boltzmann/deep",
  ),
  slip(deep, "carried: { chains: at,", "carried: { ", "train/boltzmann/deep"),
  slip(
    greedy,
    'l === 0 ? "visible" : l === top ? "hidden" : undefined',
    'l === 0 ? "visible" : undefined',
    "train/boltzmann/deep",
  ),
  slip(
    greedy,
    'hiddenMean(doubled(rbm, "visible"), tf.concat([x, x], 1))',
    "hiddenMean(rbm, x)",
    "train/boltzmann/deep",
  ),
];
