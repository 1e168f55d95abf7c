/**
 * Slips in densities, their combinators and the laws that serve as oracles.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

/** A slip in a file of densities that its own test catches. */
const own = (name: string, right: string, wrong: string): Slip =>
  slip(`energy/density/${name}.ts`, right, wrong, `energy/density/${name}`);

/** A slip in measures, which are tested with densities. */
const measure = (right: string, wrong: string): Slip =>
  slip("energy/measure.ts", right, wrong, "energy/density/density");

/** All of them. */
export const density: readonly Slip[] = [
  measure("sum * Math.exp(top - value) + 1", "sum + 1"),
  measure("r * share * (2 - share)", "r * share"),
  measure("[Math.sinh(s), Math.cosh(s)]", "[Math.sinh(s), Math.exp(s)]"),
  measure("w * weight]", "weight]"),
  own("density", "covariances[k]![i]![j]! + away(i) * away(j)", "covariances[k]![i]![j]!"),
  own("density", "Math.log(shares[k]!) + p", "Math.log(weights[k]!) + p"),
  own("density", "part.draw(fold(key, k), count)", "part.draw(key, count)"),
  own("density", "logP === -Infinity ? 0 : ", ""),
  own("density", 'fold(fold(key, "next"), i)', 'fold(key, "next")'),
  own("normal", "d / 2 * Math.log(2 * Math.PI)", "Math.log(2 * Math.PI) / 2"),
  own("normal", "Math.log(row[i]!)", "2 * Math.log(row[i]!)"),
  own("normal", "inverse(l).transpose().to2DArray()", "inverse(l).to2DArray()"),
  own("normal", "map((value) => -value)", "map((value) => value)"),
  own("normal", "q.entropy - p.entropy", "p.entropy - q.entropy"),
  own("normal", "sub(gain.mmul(cross.transpose()))", "add(gain.mmul(cross.transpose()))"),
  own("normal", "i & 1 ? Math.sin(angle) : Math.cos(angle)", "Math.cos(angle)"),
  own("linear", "sub(dot(back, column(shift)))", "add(dot(back, column(shift)))"),
  own("linear", "dot(after.matrix, before.matrix)", "dot(before.matrix, after.matrix)"),
  own("linear", "sum(spread, after.noise)", "sum(spread, before.noise)"),
  own("family", "-(a! ** 2) / (4 * b!)", "-(a! ** 2) / (2 * b!)"),
  own("family", "-gammaln(x + 1)", "-gammaln(x)"),
  own("family", "(1 - u!) ** (1 / shape)", "(1 - u!) ** shape"),
  own("family", "z! ** 2 / 2 + d * (1 - v", "z! ** 2 + d * (1 - v"),
  own("family", "Math.ceil(rate / 500)", "1"),
  own("family", "p * (p - 1) / 4 * Math.log(Math.PI)", "p * (p - 1) / 2 * Math.log(Math.PI)"),
  own("family", "...lower(x, 2), factored", "...lower(x, 1), factored"),
  own("family", "eta - i / 2));", "eta));"),
  own("link", "f + Math.log1p(-Math.exp(f) / 2)", "Math.log(softplus(f))"),
  own("link", "2 * Math.log(Math.abs(f))", "Math.log(Math.abs(f))"),
  own("link", "p === 0 ? 0 : p * h(x)", "p * h(x)"),
  own("gibbs", "(energy(y) - energy(x)) / temperature", "(energy(x) - energy(y)) / temperature"),
  own("gibbs", "-energy(x) / temperature", "-energy(x)"),
  own("gibbs", "-(value as number) / temperature", "(value as number) / temperature"),
  own("gibbs", "!(states <= limit)", "!(states < limit)"),
  own("process", "const rest = sigma ** 2 / (2 * theta)", "const rest = sigma ** 2"),
  own("process", "-rest * Math.expm1(-2 * theta * delta)", "-rest * Math.expm1(-theta * delta)"),
  own(
    "process",
    "scaling(1 - theta * delta, sigma ** 2 * delta",
    "scaling(1 - theta * delta, sigma * delta",
  ),
  own("process", "Math.min(s, t)", "Math.max(s, t)"),
  own("process", "scaling(Math.sqrt(1 - beta), beta", "scaling(1 - beta, beta"),
  own("process", "imaginaryEigenvalues[i]!) < 1)", "0 * imaginaryEigenvalues[i]!) < 1)"),
  own("process", "Math.max(0, Math.log(", "Math.abs(Math.log("),
];
