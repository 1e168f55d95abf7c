// 2026-11-30, one virtual core of an AMD EPYC, other work beside it, Deno 2.9.6, numpy 2.4.6; in quiet moments sweeps take 17 ns a site:
//   sweeps, millions of sites a second            E/N of the last
//   heat bath                 1 of 64²       36.4          -1.3799
//   Metropolis                1 of 64²       37.9          -1.3828
//   heat bath, any couplings  1 of 64²        7.7          -1.3799
//   Metropolis, numpy         1 of 64²       16.9          -1.4004
//   heat bath                 16 of 64²      32.9          -1.4547
//   Metropolis                16 of 64²      47.6          -1.4155
//   heat bath, any couplings  16 of 64²       7.1          -1.4547
//   Metropolis, numpy         16 of 64²      23.6          -1.4314
//   heat bath                 16 of 128²     36.9          -1.4822
//   Metropolis                16 of 128²     33.3          -1.4626
//   heat bath, any couplings  16 of 128²      7.7          -1.4822
//   Metropolis, numpy         16 of 128²     30.4          -1.4516
//
//   Wolff, 50 chains of 1000 steps after 100
//               E/N   standard error     Kaufman        z   z of −√2   ms a step
//   64²   -1.423269         0.000872   -1.423938     0.77      -10.4       0.187
//   128²  -1.419172         0.000485   -1.419076    -0.20      -10.2       0.636
//
//   sum over all states of a lattice of 4 rows, ms
//   4 × 2  2^8 = 256            1.7
//   4 × 3  2^12 = 4096           9.3
//   4 × 4  2^16 = 65536         29.2
//   4 × 5  2^20 = 1048576      214.6
//
// How fast do spins turn, and is their energy right? The Ising model on critical tori, beta = ln(1 + √2)/2.
//
//   sweeps     of the heat bath and of Metropolis, by both ways of the library, and numpy's chequerboard beside them, in turn:
//              the best of so many turns, in millions of sites looked at in a second
//   clusters   Wolff's energy a site, from chains by themselves after a cold start, against Kaufman's of the torus and
//              Onsager's −√2 of the plane; z in standard errors over the chains
//   sums       time of the sum over all 2^n states
//
// Run: deno run --allow-read --allow-run bench/ising.ts [--python PATH] [--turns 5] [--chains 50] [--steps 1000]
//
// numpy is another program's, never needed by the library: --python names an interpreter with numpy; without one it is left out.

import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import { key, run } from "@tweedie/tweedie";
import {
  enumerated,
  gibbs,
  gridStart,
  type Ising,
  ising,
  lattice,
  metropolis,
  torus,
  wolff,
} from "@tweedie/tweedie/energy";

const { values } = parseArgs({
  options: {
    python: { type: "string" },
    turns: { type: "string", default: "5" },
    chains: { type: "string", default: "50" },
    steps: { type: "string", default: "1000" },
  },
});
const [turns, chains, steps] = [values.turns, values.chains, values.steps].map(Number) as [
  number,
  number,
  number,
];
const beta = Math.log(1 + Math.SQRT2) / 2;

const torusOf = (side: number): Ising => ising(lattice(side, side, { boundary: "periodic" }));

/** The same with a number for each edge, which goes the general way. */
function listed({ lattice: on }: Ising): Ising {
  return ising(on, { coupling: new Float64Array(on.edges.length / 2).fill(1) });
}

// ---- sweeps ------------------------------------------------------------------------------------------------------------

/** What is timed: so many chains of so many sweeps. */
interface Work {
  readonly side: number;
  readonly chains: number;
  readonly sweeps: number;
}

/** Seconds that the work took, and its last energy a site. */
interface Taken {
  readonly seconds: number;
  readonly energy: number;
}

type Contestant = (work: Work) => Promise<Taken>;

const ours =
  (sampler: typeof gibbs, modelOf: (side: number) => Ising): Contestant =>
  async ({ side, chains, sweeps }) => {
    const model = modelOf(side), start = gridStart(model, { count: chains, from: "cold" });
    const began = performance.now();
    let energy = NaN;
    for await (
      const { info } of run(start, { key: key(1) })(sampler(model, { beta, steps: sweeps }))
    ) {
      if (info) energy = info.energy.reduce((a, b) => a + b) / chains / side ** 2;
    }
    return { seconds: (performance.now() - began) / 1000, energy };
  };

/** numpy, kept open and asked line by line. */
function peer(python: string): Contestant & { readonly close: () => Promise<void> } {
  const child = new Deno.Command(python, {
    args: [fileURLToPath(new URL("ising.py", import.meta.url))],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter(), lines = child.stdout.pipeThrough(new TextDecoderStream());
  const reader = lines.getReader();
  const ask: Contestant = async (work) => {
    await writer.write(new TextEncoder().encode(`${JSON.stringify({ ...work, beta })}\n`));
    let text = "";
    while (!text.endsWith("\n")) {
      const { value, done } = await reader.read();
      if (done) throw new Error(`Cannot measure numpy: ${python} has failed`);
      text += value;
    }
    return JSON.parse(text);
  };
  return Object.assign(ask, {
    close: async () => {
      await writer.close();
      await child.status;
    },
  });
}

const numpy = values.python === undefined ? undefined : peer(values.python);
const contestants: Readonly<Record<string, Contestant>> = {
  "heat bath": ours(gibbs, torusOf),
  "Metropolis": ours(metropolis, torusOf),
  "heat bath, any couplings": ours(gibbs, (side) => listed(torusOf(side))),
  ...(numpy && { "Metropolis, numpy": numpy }),
};
console.log("sweeps, millions of sites a second            E/N of the last");
for (
  const work of [
    { side: 64, chains: 1, sweeps: 1000 },
    { side: 64, chains: 16, sweeps: 100 },
    { side: 128, chains: 16, sweeps: 25 },
  ]
) {
  const { side, chains, sweeps } = work, sites = side ** 2 * chains * sweeps;
  const best: Record<string, Taken> = {};
  for (let turn = 0; turn < turns; turn++) {
    for (const [name, contestant] of Object.entries(contestants)) {
      const taken = await contestant(work);
      if (!(best[name] && best[name].seconds <= taken.seconds)) best[name] = taken;
    }
  }
  for (const [name, { seconds, energy }] of Object.entries(best)) {
    const rate = (sites / seconds / 1e6).toFixed(1).padStart(7);
    const where = `${chains} of ${side}²`.padEnd(11);
    console.log(`${name.padEnd(25)} ${where} ${rate} ${energy.toFixed(4).padStart(16)}`);
  }
}
await numpy?.close();

// ---- clusters ----------------------------------------------------------------------------------------------------------

console.log(`\nWolff, ${chains} chains of ${steps} steps after ${steps / 10}`);
console.log("            E/N   standard error     Kaufman        z   z of −√2   ms a step");
for (const side of [64, 128]) {
  const model = torusOf(side), before = steps / 10, sums = new Float64Array(chains);
  const sampler = wolff(model, { beta, steps: before + steps });
  const start = gridStart(model, { count: chains, from: "cold" }), began = performance.now();
  for await (const { step, info } of run(start, { key: key(2) })(sampler)) {
    if (step > before) info!.energy.forEach((u, c) => sums[c]! += u / side ** 2 / steps);
  }
  const each = (performance.now() - began) / (before + steps) / chains;
  const mean = sums.reduce((a, b) => a + b) / chains;
  const square = sums.reduce((sum, u) => sum + (u - mean) ** 2, 0) / (chains - 1);
  const error = Math.sqrt(square / chains);
  const kaufman = torus({ width: side, height: side, beta }).energy;
  console.log([
    `${side}²`.padEnd(5),
    mean.toFixed(6),
    error.toFixed(6).padStart(16),
    kaufman.toFixed(6).padStart(11),
    ((mean - kaufman) / error).toFixed(2).padStart(8),
    ((mean + Math.SQRT2) / error).toFixed(1).padStart(10),
    each.toFixed(3).padStart(11),
  ].join(" "));
}

// ---- sums --------------------------------------------------------------------------------------------------------------

console.log("\nsum over all states of a lattice of 4 rows, ms");
for (const width of [2, 3, 4, 5]) {
  const model = ising(lattice(4, width)), began = performance.now();
  const { states } = enumerated(model);
  const took = (performance.now() - began).toFixed(1).padStart(9);
  console.log(`4 × ${width}  2^${4 * width} = ${String(states).padEnd(8)} ${took}`);
}
