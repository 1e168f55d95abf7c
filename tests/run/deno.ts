/**
 * The program in Deno, with permission to read two files: `deno run tests/run/deno.ts weights packed`.
 *
 * @module
 */

import { answers } from "./program.ts";

const [weights, packed] = await Promise.all(Deno.args.map((path) => Deno.readFile(path)));
console.log(JSON.stringify(await answers(weights!, packed!, { cpu: {}, wasm: {} })));
