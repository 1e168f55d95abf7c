// Predictor-corrector: of two modes, the right-hand one has 4/5 of the samples. At 40 evaluations, 20 steps with a Langevin
// correction after each come nearer to that than 40 steps without.
// Run: deno run examples/10_predictor_corrector.ts
import {
  annealedLangevin,
  corrected,
  ddpm,
  key,
  last,
  mixture,
  prior,
  run,
  vp,
} from "@tweedie/tweedie";
import { useBackend } from "@tweedie/tweedie/backend";
import { pipe } from "@tweedie/tweedie";

await useBackend("cpu");
const schedule = vp();
const law = { means: [-2, 2], variances: [0.04, 0.04], weights: [0.2, 0.8] };
const model = mixture(schedule, law);
const predictor = (steps: number) =>
  ddpm(schedule, { steps, spacing: "logLinear", final: 0.01, lastNoise: true });

for (
  const [name, sampler] of [
    ["predictor, 40 steps", predictor(40)],
    [
      "predictor and corrector, 20 steps",
      corrected(annealedLangevin({ ratio: 0.6 }))(predictor(20)),
    ],
  ] as const
) {
  const { x } = await last(pipe(sampler, run(prior([4000, 1]), { model, key: key(3) })));
  const share = x.dataSync().filter((value) => value > 0).length / 4000;
  console.log(`${name}: ${share.toFixed(3)} on the right (expected: 0.800)`);
}
