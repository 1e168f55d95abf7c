// A refinement of your own: pictures of a brightness that you say, by guidance in a limited interval of noise.
// Run: deno run --allow-read --allow-write=. examples/14_brightness.ts [out.png]
import * as tw from "@tweedie/tweedie";
import { useBackend } from "@tweedie/tweedie/backend";
import * as tf from "@tensorflow/tfjs-core";

/** The brightness, the share of what is lacking that is added, and between which sigma/alpha. */
export interface Brightness {
  readonly mean: number;
  readonly scale?: number;
  readonly sigma?: readonly [number, number];
}

/**
 * x0hat ← x0hat + scale·(mean − mean(x0hat)) where least < sigma/alpha ≤ greatest: at scale 1 the nearest picture of that
 * brightness. (Limited intervals: T. Kynkäänniemi et al., NeurIPS 2024.)
 */
export function brightened({ mean, scale = 1, sigma: [least, most] = [0, Infinity] }: Brightness) {
  return tw.onModel((model) =>
    tw.decorated(model, (model) => ({
      predict: (x, t, signal) =>
        tw.scope(function* () {
          const said = yield* tw.owned(model.predict(x, t, signal)), level = model.schedule.at(t);
          const ratio = level.sigma / level.alpha, x0 = tw.convert(said, "x0", x, level);
          if (!(ratio > least && ratio <= most)) return { kind: "x0", value: x0 };
          const axes = x0.shape.map((_, i) => i).slice(1);
          const lack = tf.sub(mean, tf.mean(x0, axes, true));
          return { kind: "x0", value: tf.add(x0, tf.mul(lack, scale)) };
        }),
    }))
  );
}

if (import.meta.main) {
  await useBackend("wasm");
  const weights = `${import.meta.dirname}/weights/fashion-mnist.safetensors`;
  const { model } = await tw.loadDenoiser(weights), sampler = tw.dpmSolver(model.schedule);
  const rows: tf.Tensor[] = [];
  for (const mean of [-0.8, -0.4, 0]) {
    const states = tw.run(tw.prior([8, 28, 28, 1]), { model, key: tw.key(3) });
    const { x } = await tw.last(states(brightened({ mean, sigma: [0.5, 20] })(sampler)));
    console.log(`asked ${mean.toFixed(1)}, got ${tf.mean(x).dataSync()[0]!.toFixed(2)}`);
    rows.push(x);
  }
  const picture = await tw.toImage(tf.concat(rows), { grid: [3, 8] });
  await tw.savePng(Deno.args[0] ?? "brightness.png")(ReadableStream.from([picture]));
}
