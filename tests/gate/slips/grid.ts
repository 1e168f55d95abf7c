/**
 * Slips in models on grids.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

const at = (file: string, right: string, wrong: string, tests: string): Slip =>
  slip(`energy/grid/${file}.ts`, right, wrong, `energy/grid/${tests}`);

/** All of them. */
export const grid: readonly Slip[] = [
  at("lattice", "i - column + (column + 1) % width", "i + 1", "lattice"),
  at("lattice", "side > 1 && side % 2 === 1", "false", "lattice"),
  at("lattice", "i === side - 1 ? 2 : i % 2", "i === side - 1 ? 1 : i % 2", "lattice"),
  at("lattice", "edges[at ^ 1]!", "edges[at]!", "lattice"),
  at("lattice", "height > 1 && (wraps", "(wraps", "lattice"),
  at("ising", "return 0 - pairs - single", "return pairs - single", "ising"),
  at("ising", "valueAt(coupling, via[at]!) *", "valueAt(coupling, at >> 1) *", "ising"),
  at("ising", "Math.exp(-2 * beta * m)", "Math.exp(-beta * m)", "ising"),
  at("ising", "(p10 + p11 - p00 - p01)", "(p01 + p11 - p00 - p10)", "ising"),
  at("ising", "(p00 - p01 - p10 + p11) / 4", "(p00 + p11) / 4", "ising"),
  at("ising", "row * x.stride[0]! + column * x.stride[1]!", "i", "ising"),
  at("ising", "coupling: smooth / 2", "coupling: smooth", "exact"),
  at("ising", "data * on.sites + smooth", "data + smooth", "ising"),
  at("potts", "a === b ? -1 : 0", "a === b ? 1 : 0", "exact"),
  at("potts", "Math.abs(a - b), options", "(a - b) ** 2, options", "ising"),
  at("potts", "value === cost(b, a)", "true", "ising"),
  at("potts", "single[2 * i + 1] = -valueAt", "single[2 * i + 1] = valueAt", "ising"),
  at("potts", "list(on.sites * levels)", "list(on.sites)", "ising"),
  at("exact", "Math.exp(-beta * (u - least))", "Math.exp(-(u - least))", "exact"),
  at("exact", "energy: energy / z,", "energy,", "exact"),
  at("exact", "height * first.value / 2", "height * first.value", "exact"),
  at("exact", "spin(row, (i + 1) % width)", "spin(row, Math.min(i + 1, width - 1))", "exact"),
  at("exact", "Math.sign(argument) * (1 - small)", "(1 - small)", "exact"),
  at("mode", "localField(model, s, i) >= 0", "localField(model, s, i) >= -1", "mode"),
  at("mode", "if (next.energy < best.energy) best", "best", "mode"),
  at(
    "mode",
    'sweep(model, { rule: "gibbs", beta })',
    'sweep(model, { rule: "gibbs", beta: 1 })',
    "mode",
  ),
  at("mode", "fold(key, i)", "key", "mode"),
  at("mode", "join(a, b, 2 * j, 2 * j)", "join(a, b, 2 * j, 0)", "mode"),
  at("mode", "join(i, sink, -2 * h, 0)", "join(i, sink, -h, 0)", "mode"),
  at("mode", "left[a ^ 1]! += flow", "left[a ^ 1]! += 0", "mode"),
  at("move/rule", "Math.exp(-2 * beta * s * m)", "Math.exp(-2 * beta * s * 0)", "move/sweep"),
  at("move/rule", "s < 0 ? accept : 1 - accept", "accept", "move/sweep"),
  at("move/rule", "(u - energies[from]!)", "(u - u)", "move/sweep"),
  at("move/rule", " / (energies.length - 1)", " / energies.length", "move/rule"),
  at("move/rule", "a === from ? Math.max(left, 0) : p", "p", "move/sweep"),
  at("move/spins", "model.lattice.colours.length === 2;", "true;", "move/sweep"),
  at(
    "move/spins",
    "? finer(i) < limit - top * 2 ** 24 : byte < top",
    "? false : byte < top",
    "move/chain",
  ),
  at("move/spins", "(byte === top) next = finer(i) <", "(byte === top) next = 0 <", "move/sweep"),
  at(
    "move/spins",
    "row < height - 1 ? start + width :",
    "row < height ? start + width :",
    "move/chain",
  ),
  at("move/spins", "coupling * second.pairs", "coupling * first.pairs", "move/chain"),
  at("move/spins", "energy: 0 - coupling", "energy: -coupling", "move/chain"),
  at("move/spins", "around ? start + last : sites", "sites", "move/chain"),
  at("move/sweep", "words[i]! * 2 ** -32", "words[0]! * 2 ** -32", "move/sweep"),
  at("move/sweep", "model.lattice.colours) {", "[model.lattice.colours[0]!]) {", "move/sweep"),
  at("move/chain", "fits(value)", "true", "move/chain"),
  at("move/chain", "list![i]!", "list![0]!", "move/chain"),
  at("move/chain", "name, step);", "name, 0);", "move/sweep"),
  at("move/chain", "count > list.length", "count < list.length", "move/chain"),
  at("move/chain", "* 2 ** -32 * levels", "* 2 ** -32 * (levels - 1)", "move/chain"),
  at("move/cluster", "-Math.expm1(-2 * beta", "-Math.expm1(-beta", "move/cluster"),
  at("move/cluster", "x[j] === s && held", "held", "move/cluster"),
  at("move/cluster", "if (isFixed) return", "if (isFixed && next > 0) return", "move/cluster"),
  at("move/cluster", "parent[rootOf(i)] = sites", "parent[i] = sites", "move/cluster"),
  at("move/cluster", "before[i]! * valueAt(field, i) > 0", "valueAt(field, i) > 0", "move/cluster"),
  at("move/cluster", "before[i] === before[j] && held", "held", "move/cluster"),
  slip(
    "energy/grid/move/rule.ts",
    "const tries = 7 / 8;",
    "const tries = 1;",
    "energy/grid/move/sweep",
  ),
];
