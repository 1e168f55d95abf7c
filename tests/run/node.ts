/**
 * The program in Node or Bun: `node node.js weights packed`.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import process from "node:process";
import { loadDenoiser, toStdout } from "@tweedie/tweedie";
import { writeAtomically } from "@tweedie/tweedie/io";
import { answers } from "./program.ts";

const [weights, packed] = process.argv.slice(2) as [string, string];

/** What a function that needs Deno says here. */
async function refusal(use: () => Promise<unknown>): Promise<string> {
  return await use().then(() => "nothing", (error: Error) => error.message);
}

console.log(JSON.stringify({
  answers: await answers(await readFile(weights), await readFile(packed), { cpu: {}, wasm: {} }),
  refusals: [
    await refusal(() => loadDenoiser("a.safetensors")),
    await refusal(() => writeAtomically("a.png", new Uint8Array(1))),
    await refusal(async () => await toStdout()(new Blob([]).stream())),
  ],
}));
