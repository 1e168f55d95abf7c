/**
 * Slips in the moves of Markov chains.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

/** A slip in a file of moves that its own test catches, or that of another. */
const own = (name: string, right: string, wrong: string, test = name): Slip =>
  slip(`chain/move/${name}.ts`, right, wrong, `chain/move/${test}`);

/** All of them. */
export const chain: readonly Slip[] = [
  // The rule as it is misprinted: f(x') − f(x'), which takes every move.
  own("accept", "from - to + back - forth", "to - to + back - forth", "metropolis"),
  own("accept", "from - to + back - forth", "from - to + forth - back"),
  own("accept", "to === Infinity ? -Infinity : from", "from"),
  own("accept", "const accepted = tf.less(logU, logA)", "const accepted = tf.less(logA, logU)"),
  own("accept", "doubles(key, 1)[0]! + 2 ** -54", "doubles(key, 1)[0]! / 2 + 2 ** -54"),
  own("accept", "tf.fill(logA.shape, NaN), tf.zeros", "tf.zerosLike(logA), tf.zeros"),
  own("accept", "refusedAtInfinity(ratio, there.energy);", "ratio;", "mala"),
  own("accept", "divergent ? tf.where(divergent, no, possible) : possible", "possible", "hmc"),
  own("accept", "checkTest(logA, state.step);", "", "metropolis"),
  own("accept", "acceptance: tf.minimum(tf.exp(logA), 1)", "acceptance: tf.exp(logA)", "mala"),
  own("accept", "place.law === target.law && ", "", "metropolis"),
  own("accept", "${purpose} test", "${purpose}", "metropolis"),
  own("target", "score: tf.neg(grad)", "score: grad"),
  own("target", "score: tf.neg(gradient)", "score: gradient"),
  own("target", "{ score: tf.mul(place.score, beta) }", "{ score: place.score }"),
  own("target", "if (bad >= 0) throw", "if (bad > values.length) throw"),
  own("target", "yield* owned(energy(x))", "energy(x) as Tensor"),
  own(
    "metropolis",
    "tf.add(odds, tf.sub(said.back!, said.forth))",
    "tf.add(odds, tf.sub(said.forth, said.back!))",
  ),
  own("metropolis", "x: accepted ? y : x, step", "x: y, step"),
  own("metropolis", "tf.mul(noise(), scale)", "tf.mul(noise(), Math.sqrt(scale))"),
  own("metropolis", "row[i] = 1 - row", "row[i] = row"),
  own("mala", "eps: stepSize / 2, law", "eps: stepSize, law"),
  own("mala", "cooled(target, beta ?? 1) }", "target }"),
  own("mala", "eps: stepSize / (beta ?? 1)", "eps: stepSize"),
  own("mala", "tf.mul(here.score, eps));", "tf.mul(here.score, -eps));"),
  own("hmc", "half = tf.mul(eps, 0.5)", "half = tf.mul(eps, 1)"),
  own("hmc", "tf.mul(tf.mul(middle, inverseMass), eps)", "tf.mul(middle, eps)"),
  own("hmc", "tf.div(noise(env", "tf.mul(noise(env"),
  own(
    "hmc",
    "tf.sub(kinetic(p, inverseMass), kinetic(end.p, inverseMass))",
    "tf.zeros([x.shape[0]!])",
  ),
  own("hmc", "tf.logicalOr(away, tf.less(logA, -1000))", "tf.less(logA, -1000)"),
  own("hmc", "tf.logicalOr(away, tf.less(logA, -1000))", "away"),
  own("hmc", "tf.sub(delta, chance)", "tf.sub(chance, delta)"),
  own("hmc", "Math.sqrt(k) / gamma", "k / gamma"),
  own("hmc", "kappa: 0.75", "kappa: 0.5"),
  own("hmc", "tf.mul(away, tf.sub(x, mean))", "tf.square(away)"),
  own("hmc", "...begun(adapted.logMean)", "...begun(adapted.logStep)"),
  own("hmc", "tf.div(adapted.squares, n - 1)", "tf.div(adapted.squares, n)"),
  own("hmc", "start + 3 * size > to", "start + 2 * size > to"),
  own("hmc", "wide(tf.exp(adapted.logMean), x)", "wide(tf.exp(adapted.logStep), x)"),
  own("hmc", "low: -jitter,", "low: 0,"),
  own("gibbs", "`block ${block}`", '"block"'),
  own("gibbs", "Math.floor(u! * count)", "0"),
  own("gibbs", "x = yield* updated(blocks[b]!, x,", "x = yield* updated(blocks[b]!, state.x,"),
  own("tempering", "colder * (low - high)", "colder * (high - low)"),
  own("tempering", "tf.mul(tf.sub(low, high), colder)", "tf.mul(tf.sub(high, low), colder)"),
  own("tempering", "tf.where(wide, x, y)", "tf.where(wide, y, y)"),
  own("tempering", "i % 2 === step % 2", "i % 2 === 0"),
  own("tempering", 'fold(fold(env.key, "replica"), r)', "env.key"),
  own(
    "tempering",
    "await check(replicaEnv(env, r), x[r]!)",
    "await check(replicaEnv(env, r), x[0]!)",
  ),
];
