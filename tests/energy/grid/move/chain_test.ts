import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { after, type ChainEnv, last, run } from "../../../../mod.ts";
import type { ChainSampler, ChainStart } from "../../../../src/chain/chain.ts";
import {
  gibbs,
  greyLevels,
  type GridChainOptions,
  type GridModel,
  gridStart,
  type GridState,
  ising,
  type IsingOptions,
  lattice,
  metropolis,
  swendsenWang,
  wolff,
} from "../../../../src/energy/grid/mod.ts";
import { key } from "../../../../src/tensor/key.ts";
import { view } from "../../../../src/tensor/ndarray.ts";
import { near } from "../../../measure.ts";
import { centred, energyOf } from "./kernel.ts";

type Made = (options: GridChainOptions) => ChainSampler<GridState, ChainEnv>;

const on = lattice(3, 4, { boundary: "periodic" });
const spins = ising(on, { coupling: centred("J", 24), field: centred("h", 12) });
const odd = ising(lattice(3, 5, { boundary: "periodic" }), { coupling: 0.5 });
const alike = ising(on, { coupling: 0.5 });
const plain = ising(lattice(4, 6), { coupling: 0.5, field: 0.25 });
const grey = greyLevels(on, { levels: 5, single: centred("D", 60) });

/** Every chain that there is, on what it goes. */
const chains: Readonly<Record<string, readonly [GridModel, Made]>> = {
  "gibbs() of any spins": [spins, (o) => gibbs(spins, o)],
  "gibbs() of spins alike": [plain, (o) => gibbs(plain, o)],
  "metropolis() of spins alike": [plain, (o) => metropolis(plain, o)],
  "gibbs() of spins alike on an odd torus": [odd, (o) => gibbs(odd, o)],
  "gibbs() of levels": [grey, (o) => gibbs(grey, o)],
  "metropolis() of levels": [grey, (o) => metropolis(grey, o)],
  "wolff()": [alike, (o) => wolff(alike, o)],
  "swendsenWang()": [alike, (o) => swendsenWang(alike, o)],
  "wolff() in a field": [plain, (o) => wolff(plain, o)],
  "swendsenWang() in a field": [plain, (o) => swendsenWang(plain, o)],
};

/** The states of a run, the start first. */
const states = (
  start: ChainStart<GridState, ChainEnv>,
  sampler: ChainSampler<GridState, ChainEnv>,
  first = 0,
): Promise<GridState[]> => Array.fromAsync(run(start, { key: key(3), first })(sampler));

const dataOf = ({ x }: GridState): number[] => [...x.data];

describe("chains on a grid", () => {
  for (const [name, [model, make]] of Object.entries(chains)) {
    it(`${name} tells energy, mean and share of changes as they are`, async () => {
      const all = await states(gridStart(model, { count: 3 }), make({ beta: 0.4, steps: 6 }));
      const { sites } = model.lattice;
      all.slice(1).forEach(({ x, step, info }, i) => {
        assert.equal(step, i + 1);
        assert.equal(info!.beta, 0.4);
        const changes = x.data.reduce((sum, v, at) => sum + +(v !== all[i]!.x.data[at]), 0);
        near(info!.accepted, changes / x.data.length, 1e-15);
        for (const c of [0, 1, 2]) {
          const one = x.data.subarray(c * sites, (c + 1) * sites);
          near(info!.energy[c]!, energyOf(model, one), 1e-12);
          near(info!.magnetization[c]!, one.reduce((a, b) => a + b, 0) / sites, 1e-15);
        }
      });
    });

    it(`${name} goes on from a recorded state as if it had not been stopped`, async () => {
      const beta = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], sampler = make({ beta });
      const whole = await states(gridStart(model, { count: 2 }), sampler);
      const rest = await states(whole[2]!, after(2)(sampler));
      assert.deepEqual(rest.map(dataOf), whole.slice(2).map(dataOf));
      assert.deepEqual(rest.at(-1)!.info, whole.at(-1)!.info);
      assert.deepEqual(whole.slice(1).map(({ info }) => info!.beta), beta);
    });

    it(`${name} draws each chain by itself, whatever its batch`, async () => {
      const sampler = make({ beta: 0.3, steps: 4 }), { sites } = model.lattice;
      const many = dataOf((await states(gridStart(model, { count: 5 }), sampler)).at(-1)!);
      const two = (await states(gridStart(model, { count: 2 }), sampler, 3)).at(-1)!;
      assert.deepEqual(dataOf(two), many.slice(3 * sites));
      const one = (await states(gridStart(model), sampler, 4)).at(-1)!;
      assert.deepEqual(one.x.shape, [model.lattice.height, model.lattice.width]);
      assert.deepEqual(dataOf(one), many.slice(4 * sites));
      // And no two of them are alike, nor is a step what the last one was.
      const rows = [0, 1, 2, 3, 4].map((c) => many.slice(c * sites, (c + 1) * sites).join());
      assert.equal(new Set(rows).size, 5);
    });
  }

  for (const boundary of ["free", "periodic"] as const) {
    for (const [height, width] of [[1, 1], [1, 6], [6, 1], [2, 2], [2, 4], [4, 6]] as const) {
      it(`sweeps of spins alike draw what those of any spins do: ${height} × ${width}, ${boundary}`, async () => {
        const on = lattice(height, width, { boundary });
        const fast = ising(on, { coupling: 0.5, field: 0.25 });
        const options: IsingOptions = {
          coupling: new Float64Array(on.edges.length / 2).fill(0.5),
          field: new Float64Array(on.sites).fill(0.25),
        };
        for (const make of [gibbs, metropolis]) {
          const [a, b] = await Promise.all(
            [fast, ising(on, options)].map((model) =>
              states(gridStart(model, { count: 20 }), make(model, { beta: 0.7, steps: 5 }))
            ),
          );
          assert.deepEqual(a!.map(dataOf), b!.map(dataOf));
          assert.deepEqual(a!.map(({ info }) => info), b!.map(({ info }) => info));
        }
      });
    }
  }

  it("no energy is minus zero", async () => {
    const { info } = await last(
      run(gridStart(ising(lattice(1, 1))), { key: key(0) })(
        gibbs(ising(lattice(1, 1)), { beta: 1, steps: 1 }),
      ),
    );
    assert.ok(Object.is(info!.energy[0], 0));
  });

  it("chains on a grid refuse temperatures, numbers of steps and models that are none", () => {
    for (const beta of [-1, NaN, Infinity, [], [0.1, NaN]]) {
      assert.throws(
        () => gibbs(spins, { beta }),
        /^RangeError: Cannot make a chain on a grid: beta must be numbers of at least 0, got /,
      );
    }
    assert.throws(
      () => gibbs(spins, { beta: [1, 2], steps: 3 }),
      /steps must be at most 2, as many as beta, got 3/,
    );
    assert.throws(() => gibbs(spins, { beta: 1, steps: 1.5 }), /steps must be a whole number/);
    assert.throws(() => gibbs(spins, {} as GridChainOptions), /beta must be/);
    for (const make of [wolff, swendsenWang]) {
      assert.throws(
        () => make(ising(lattice(1, 3), { coupling: [1, -0.5] }), { beta: 1 }),
        /^RangeError: Cannot move clusters: coupling of edge 1 must be at least 0, got -0.5$/,
      );
    }
  });

  it("chains on a grid refuse a start of another shape or with other values, before any step", async () => {
    const sampler = gibbs(spins, { beta: 1, steps: 1 });
    const from = (data: Int8Array, shape: readonly number[]) =>
      states({ x: view(data, shape), step: 0 }, sampler);
    const ones = new Int8Array(12).fill(1);
    await assert.rejects(from(ones, [4, 3]), /x must be of shape \[3, 4\] or \[count, 3, 4\]/);
    await assert.rejects(from(ones, [1, 1, 3, 4]), /x must be of shape/);
    await assert.rejects(from(ones.with(5, 0), [3, 4]), /x must be of spins of -1 or 1, got 0/);
    const turned = view(ones, [4, 3]).transpose(1, 0);
    await assert.rejects(states({ x: turned, step: 0 }, sampler), /must be a whole array/);
    const floats = { x: view(new Float32Array(12), [3, 4]), step: 0 } as unknown as GridState;
    await assert.rejects(states(floats, sampler), /x must be a view of an Int8Array/);
    const levels = { x: view(ones.with(2, 5), [3, 4]), step: 0 };
    await assert.rejects(
      states(levels, gibbs(grey, { beta: 1, steps: 1 })),
      /x must be of levels below 5, got 5/,
    );
  });
});

describe("gridStart()", () => {
  it("gridStart() is hot, each value as likely, or cold", async () => {
    for (const [model, values] of [[spins, [-1, 1]], [grey, [0, 1, 2, 3, 4]]] as const) {
      const count = 2000, none = gibbs(model, { beta: 1, steps: 0 });
      const [hot] = await states(gridStart(model, { count }), none), sites = 12 * count;
      for (const value of values) {
        const share = hot!.x.data.filter((v) => v === value).length / sites, p = 1 / values.length;
        const z = (share - p) / Math.sqrt(p * (1 - p) / sites);
        assert.ok(Math.abs(z) < 4, `${value}: ${z}`);
      }
      assert.deepEqual(new Set(hot!.x.data), new Set<number>(values));
      const [cold] = await states(gridStart(model, { from: "cold" }), none);
      assert.ok(cold!.x.data.every((v) => v === values.at(-1)));
    }
    assert.throws(
      () => gridStart(spins, { from: "warm" as "hot" }),
      /from must be "hot" or "cold"/,
    );
    assert.throws(
      () => gridStart(spins, { count: 0 }),
      /count must be a whole number of at least 1/,
    );
  });
});
