/**
 * A sweep of spins, of which each takes a byte of random bits.
 *
 * The byte decides, unless it is equal to the first byte of the probability, where another 24 bits do. So probabilities hold to
 * 2⁻³², at a quarter of the bits. A model of one coupling, one field and two colours has a way of its own, many times as fast:
 * what a site sees is one of nine sums, and the energy is summed on the way. Both draw the same.
 *
 * @module
 */

import { fillBits, fold, type Key, philox } from "../../../tensor/key.ts";
import { type Ising, isingEnergy, localField } from "../ising.ts";
import type { Lattice } from "../lattice.ts";
import type { ChainStep } from "./chain.ts";
import { type Sweep, upProbability } from "./rule.ts";

/**
 * A sweep of spins.
 *
 * @param model The model.
 * @param by The rule and the inverse temperature.
 * @returns The step of one chain.
 */
export const spinSweep = (model: Ising, by: Sweep): ChainStep =>
  isPlain(model) ? plainSweep(model, by) : anySweep(model, by);

/** A model of one coupling, one field and two colours. */
type Plain = Ising & { readonly coupling: number; readonly field: number };

const isPlain = (model: Ising): model is Plain =>
  typeof model.coupling === "number" && typeof model.field === "number" &&
  model.lattice.colours.length === 2;

/** A byte for each site, four in a word, and 24 bits more for the few that need them. */
interface Draws {
  readonly words: Uint32Array;
  readonly finer: (i: number) => number;
}

function draws(key: Key, sites: number): Draws {
  const rest = fold(key, 0);
  return {
    words: fillBits(key, new Uint32Array((sites + 3) >> 2)),
    finer: (i) => philox([i, 0, 0, 0], rest)[0] >>> 8,
  };
}

/** A probability in units of 2⁻³². */
const limitOf = (p: number): number => Math.round(2 ** 32 * p);

/** Any couplings and fields, any number of colours. */
const anySweep = (model: Ising, { rule, beta }: Sweep): ChainStep => (before, key) => {
  const x = before.slice(), { words, finer } = draws(key, x.length);
  let moved = 0;
  for (const sites of model.lattice.colours) {
    for (const i of sites) {
      const limit = limitOf(upProbability(rule, x[i]!, localField(model, x, i), beta));
      const top = Math.floor(limit / 2 ** 24), byte = words[i >> 2]! >>> ((i & 3) << 3) & 255;
      const isUp = byte === top ? finer(i) < limit - top * 2 ** 24 : byte < top;
      const next = isUp ? 1 : -1;
      if (next !== x[i]) moved++;
      x[i] = next;
    }
  }
  return { x, moved, energy: isingEnergy(model, x) };
};

/** The probabilities are a table over the sum of the neighbours, k, and the spin: at 2·(k + 4) + [s > 0]. */
function plainSweep({ lattice, coupling, field }: Plain, { rule, beta }: Sweep): ChainStep {
  const limits = Float64Array.from({ length: 18 }, (_, at) => {
    const m = coupling * ((at >> 1) - 4) + field;
    return limitOf(upProbability(rule, at & 1 ? 1 : -1, m, beta));
  });
  const tops = Int32Array.from(limits, (limit) => Math.floor(limit / 2 ** 24));
  return (before, key) => {
    // A row of zeros behind the last stands for what lies outside a free boundary.
    const x = new Int8Array(lattice.sites + lattice.width);
    x.set(before);
    const drawn = { limits, tops, ...draws(key, lattice.sites) };
    const first = recoloured(lattice, x, { colour: 0, ...drawn });
    const second = recoloured(lattice, x, { colour: 1, ...drawn });
    return {
      x: x.slice(0, lattice.sites),
      moved: first.moved + second.moved,
      // Each edge has one end of the second colour.
      energy: 0 - coupling * second.pairs - field * (first.sum + second.sum),
    };
  };
}

/** One colour of a chequerboard, and its probabilities in units of 2⁻³², with the first byte of each. */
interface Recolour extends Draws {
  readonly colour: number;
  readonly limits: Float64Array;
  readonly tops: Int32Array;
}

/** Draws one colour anew, in place; Σ s_i and Σ s_i·s_j over its sites. */
function recoloured(
  { height, width, boundary, sites }: Lattice,
  x: Int8Array,
  { colour, limits, tops, words, finer }: Recolour,
): { moved: number; pairs: number; sum: number } {
  const isRing = (side: number): boolean => boundary === "periodic" && side > 1;
  const last = width - 1, around = isRing(width);
  let moved = 0, pairs = 0, sum = 0;
  for (let row = 0; row < height; row++) {
    const start = row * width;
    const up = row > 0 ? start - width : isRing(height) ? sites - width : sites;
    const down = row < height - 1 ? start + width : isRing(height) ? 0 : sites;
    const left = around ? start + last : sites, right = around ? start : sites;
    for (let column = (row + colour) & 1; column < width; column += 2) {
      const i = start + column, s = x[i]!;
      const k = x[up + column]! + x[down + column]! + x[column > 0 ? i - 1 : left]! +
        x[column < last ? i + 1 : right]!;
      const at = 2 * k + 8 + (s + 1 >> 1), byte = words[i >> 2]! >>> ((i & 3) << 3) & 255;
      const top = tops[at]!;
      // Without a branch, as which way it goes is a matter of chance: 1 if the byte is below, −1 if not.
      let next = -1 - 2 * (byte - top >> 31);
      if (byte === top) next = finer(i) < limits[at]! - top * 2 ** 24 ? 1 : -1;
      x[i] = next;
      moved += (next ^ s) & 2;
      pairs += next * k;
      sum += next;
    }
  }
  return { moved: moved / 2, pairs, sum };
}
