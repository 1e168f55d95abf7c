// Garments with every tenth pixel flipped, restored by the exact mode of an Ising energy: the least cut of a graph.
// Run: deno run --allow-read --allow-write=. examples/18_restore.ts [out.png]
import { fashionMnist, key, savePng, split, toImage } from "@tweedie/tweedie";
import { minCut, restoration } from "@tweedie/tweedie/energy";
import { uniforms, view } from "@tweedie/tweedie/tensor";

const count = 12, side = 28, pixels = side * side, flipped = 0.1;
const { images } = await fashionMnist(undefined, "test");
const spins = (bits: Int8Array): Int8Array => bits.map((bit) => 2 * bit - 1);

const rows: Int8Array[][] = [[], [], []];
const wrong = [0, 0];
for (const [n, each] of split(key(1), count).entries()) {
  const clean = Int8Array.from(
    images.subarray(n * pixels, (n + 1) * pixels),
    (grey) => grey > 127 ? 1 : 0,
  );
  const u = uniforms(each, pixels), seen = clean.map((bit, i) => u[i]! < flipped ? 1 - bit : bit);
  // E = −Σ data·[y = seen] − Σ smooth·[y = y' of neighbours], in nats.
  const { model } = restoration(view(seen, [side, side]), {
    data: Math.log((1 - flipped) / flipped),
    smooth: 1,
  });
  const { s } = minCut(model);
  [spins(clean), spins(seen), s].forEach((picture, row) => rows[row]!.push(picture));
  wrong[0]! += seen.filter((bit, i) => bit !== clean[i]).length;
  wrong[1]! += s.filter((spin, i) => spin !== 2 * clean[i]! - 1).length;
}
const all = Int8Array.from(rows.flat().flatMap((picture) => [...picture]));
const sheet = await toImage(view(all, [3 * count, side, side]), {
  grid: [3, count],
  pad: 2,
  background: 96,
  scale: 3,
});
await savePng(Deno.args[0] ?? "restored.png")(ReadableStream.from([sheet]));
const [before, after] = wrong.map((each) => (100 * each / (count * pixels)).toFixed(1));
console.log(`pixels wrong: ${before} % before, ${after} % after`);
