/**
 * The program in a page, which imports the engines' packages itself, so that they are in its bundle, and sends what it has
 * computed to its server.
 *
 * @module
 */

import * as cpu from "@tensorflow/tfjs-backend-cpu";
import * as wasm from "@tensorflow/tfjs-backend-wasm";
import * as webgpu from "@tensorflow/tfjs-backend-webgpu";
import { checkGpu, useBackend } from "@tweedie/tweedie/backend";
import { answers, predicted } from "./program.ts";

const fetched = async (path: string): Promise<Uint8Array> =>
  new Uint8Array(await (await fetch(path)).arrayBuffer());

async function told(): Promise<unknown> {
  const refusals = [];
  for (const options of [{}, { module: wasm }, { module: wasm, wasm: "/missing.wasm" }]) {
    refusals.push(await useBackend("wasm", options).then(() => "nothing", (e: Error) => e.message));
  }
  const engines = { cpu: { module: cpu }, wasm: { module: wasm, wasm: "/simd.wasm" } };
  const [weights, packed] = [await fetched("/weights"), await fetched("/packed")];
  const told = { answers: await answers(weights, packed, engines), refusals };
  await useBackend("webgpu", { module: webgpu });
  const onGpu = await predicted(weights);
  await checkGpu();
  return { ...told, onGpu };
}

const body = await told().catch((error: Error) => ({ error: `${error.stack ?? error}` }));
await fetch("/told", { method: "POST", body: JSON.stringify(body) });
