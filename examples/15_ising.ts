// Spins above, at and below the temperature at which they begin to agree: three lattices side by side, as an animation.
// Run: deno run --allow-read --allow-write=. examples/15_ising.ts [out.png]
import { every, fold, frames, key, pipe, run, saveApng } from "@tweedie/tweedie";
import { gibbs, gridStart, ising, lattice, torus } from "@tweedie/tweedie/energy";
import { view } from "@tweedie/tweedie/tensor";

const size = 96, critical = Math.log(1 + Math.SQRT2) / 2;
const betas = [0.8 * critical, critical, 1.2 * critical];
const model = ising(lattice(size, size, { boundary: "periodic" }));

const films = await Promise.all(betas.map((beta, i) => {
  const states = run(gridStart(model), { key: fold(key(1), i) })(
    gibbs(model, { beta, steps: 240 }),
  );
  return Array.fromAsync(every(3)(states)); // spins are plain arrays, which stay
}));

async function* together() {
  for (let i = 0; i < films[0]!.length; i++) {
    const spins = films.flatMap((film) => [...film[i]!.x.data]);
    yield { x: view(Int8Array.from(spins), [films.length, size, size]) };
  }
}
const out = Deno.args[0] ?? "ising.png";
await pipe(together(), frames({ grid: [1, 3], pad: 4, background: 128, scale: 2 }), saveApng(out));

for (const [i, beta] of betas.entries()) {
  const got = films[i]!.at(-1)!.info!.energy[0]! / size ** 2;
  const { energy } = torus({ width: size, height: size, beta });
  console.log(
    `beta ${beta.toFixed(3)}: energy a spin ${got.toFixed(3)}, at rest ${energy.toFixed(3)}`,
  );
}
