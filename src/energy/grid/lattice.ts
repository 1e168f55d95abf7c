/**
 * Square lattices as plain data: which sites there are, which are neighbours, and which can be changed at once.
 *
 * ```text
 *   site i = row·width + column        edges (i, right of i) and (i, below i)
 *   colour = (a(row) + b(column)) mod k      a(r) = r mod 2, but 2 for the last of an odd ring; k = 3 if there is one, else 2
 * ```
 *
 * No two neighbours have one colour, so given all others the sites of a colour are independent, and a sweep changes them
 * in any order. Two colours, a chequerboard, do unless a periodic side is odd: a ring of odd length has no two-colouring.
 *
 * With a periodic boundary a height or width of 2 joins two sites by two edges, one each way round, so that a torus has two
 * edges a site at any size. Along a side of 1 there are none: a site is no neighbour of its own.
 *
 * Source: J. Besag, "Spatial interaction and the statistical analysis of lattice systems" (1974), section 6 (coding sets).
 *
 * @module
 */

import { decoded, oneOf, type Rules } from "../../tensor/check/decode.ts";
import { refusal } from "../../tensor/check/check.ts";

/**
 * Whether the last row and column are neighbours of the first.
 *
 * @category Grids
 */
export type Boundary = "free" | "periodic";

/**
 * What a lattice may be told.
 *
 * @category Grids
 */
export interface LatticeOptions {
  /** Whether opposite sides meet. Default: `"free"`. */
  readonly boundary?: Boundary;
}

/**
 * A square lattice. Sites are numbered row by row.
 *
 * @category Grids
 */
export interface Lattice {
  /** Number of rows. */
  readonly height: number;
  /** Number of columns. */
  readonly width: number;
  /** Whether opposite sides meet. */
  readonly boundary: Boundary;
  /** Number of sites, height·width. */
  readonly sites: number;
  /** Both ends of each edge: edge e joins `edges[2e]` and `edges[2e + 1]`. Site by site, to the right and then down. */
  readonly edges: Int32Array;
  /** The neighbours of site i stand in `neighbours[starts[i]]` to `neighbours[starts[i + 1] - 1]`; of sites + 1. */
  readonly starts: Int32Array;
  /** The neighbours, site by site. */
  readonly neighbours: Int32Array;
  /** The edge that leads to each of the neighbours. */
  readonly via: Int32Array;
  /** The sites of each colour, in order: two for a chequerboard, three where a periodic side is odd. */
  readonly colours: readonly Int32Array[];
}

const making = "make a lattice";

const rules: Rules<LatticeOptions> = { boundary: oneOf("free", "periodic") };

/**
 * A lattice of any height and width.
 *
 * @category Grids
 * @param height Number of rows, at least 1.
 * @param width Number of columns, at least 1.
 * @param options Its boundary.
 * @returns The lattice.
 * @throws {TypeError} If an option is not known.
 * @throws {RangeError} If a side is not a whole number of at least 1, there are more than 2²⁸ sites, or the boundary is none.
 *
 * @example A torus has two edges a site
 * ```ts
 * import { lattice } from "@tweedie/tweedie/energy";
 * import assert from "node:assert/strict";
 *
 * const torus = lattice(4, 6, { boundary: "periodic" });
 * assert.equal(torus.edges.length / 2, 2 * 24);
 * assert.deepEqual(torus.colours.map((sites) => sites.length), [12, 12]);
 * ```
 */
export function lattice(height: number, width: number, options: LatticeOptions = {}): Lattice {
  const { boundary = "free" } = decoded(making, options, rules);
  for (const [name, side] of Object.entries({ height, width })) {
    if (Number.isSafeInteger(side) && side >= 1) continue;
    throw refusal(making, `${name} must be a whole number of at least 1`, side);
  }
  const sites = height * width;
  if (sites > 2 ** 28) throw refusal(making, "height·width must be at most 2^28", sites);
  const edges = edgesOf(height, width, boundary);
  const colours = coloursOf(height, width, boundary);
  return { height, width, boundary, sites, edges, ...adjacency(sites, edges), colours };
}

/** Both ends of each edge. */
function edgesOf(height: number, width: number, boundary: Boundary): Int32Array {
  const wraps = boundary === "periodic", ends = new Int32Array(4 * height * width);
  let count = 0;
  for (let row = 0, i = 0; row < height; row++) {
    for (let column = 0; column < width; column++, i++) {
      if (width > 1 && (wraps || column + 1 < width)) {
        ends[count++] = i;
        ends[count++] = i - column + (column + 1) % width;
      }
      if (height > 1 && (wraps || row + 1 < height)) {
        ends[count++] = i;
        ends[count++] = column + (row + 1) % height * width;
      }
    }
  }
  return ends.slice(0, count);
}

/** The edges, site by site. */
function adjacency(
  sites: number,
  edges: Int32Array,
): Pick<Lattice, "starts" | "neighbours" | "via"> {
  const starts = new Int32Array(sites + 1);
  for (const end of edges) starts[end + 1]!++;
  for (let i = 0; i < sites; i++) starts[i + 1]! += starts[i]!;
  const next = starts.slice(), neighbours = new Int32Array(edges.length);
  const via = new Int32Array(edges.length);
  edges.forEach((end, at) => {
    const to = next[end]!++;
    neighbours[to] = edges[at ^ 1]!;
    via[to] = at >> 1;
  });
  return { starts, neighbours, via };
}

/** The sites of each colour. */
function coloursOf(height: number, width: number, boundary: Boundary): Int32Array[] {
  const isOdd = (side: number): boolean => boundary === "periodic" && side > 1 && side % 2 === 1;
  const count = isOdd(height) || isOdd(width) ? 3 : 2;
  const along = (i: number, side: number): number => isOdd(side) && i === side - 1 ? 2 : i % 2;
  const colours = Array.from({ length: count }, (): number[] => []);
  for (let i = 0; i < height * width; i++) {
    const row = Math.floor(i / width), column = i % width;
    colours[(along(row, height) + along(column, width)) % count]!.push(i);
  }
  return colours.map((sites) => Int32Array.from(sites));
}
