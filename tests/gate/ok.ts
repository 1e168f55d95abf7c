/**
 * The gate: `deno task ok`. One step after another, each named, stopping at the first that fails.
 *
 * @module
 */

import { choose, flags, root } from "./config.ts";

/** A step of the gate: what it is called, and the arguments of Deno that carry it out. */
type Step = readonly [name: string, ...args: string[]];

const choice = await choose(Deno.args.includes("--npm"));
const test = [
  "run",
  "--no-lock",
  "--allow-read",
  "--allow-write",
  "--allow-run",
  "tests/gate/run.ts",
  ...Deno.args,
];

const steps: readonly Step[] = [
  ["format", "fmt", "--check"],
  ["lint", "lint"],
  ["types", "check", ...flags(choice), "."],
  ["documentation", "run", "--no-lock", "--allow-read", "--allow-run", "tests/gate/docs.ts"],
  ["layers", ...test, "tests/laws/layers_test.ts"],
  ["entry points", ...test, "tests/laws/entries_test.ts"],
  ["tests and examples", ...test],
  // The tree may hold work that is not committed yet.
  ["publish", "publish", "--dry-run", "--quiet", "--allow-dirty"],
];

/** Runs one step with its output shown; the exit code. */
async function carryOut(args: readonly string[]): Promise<number> {
  const command = new Deno.Command(Deno.execPath(), { args: [...args], cwd: root, stdin: "null" });
  return (await command.spawn().status).code;
}

console.error(`gate: ${choice.config} (${choice.why})`);
for (const [i, [name, ...args]] of steps.entries()) {
  console.error(`\n[${i + 1}/${steps.length}] ${name}`);
  const began = performance.now(), code = await carryOut(args);
  if (code !== 0) {
    console.error(`\nnot ok: ${name} failed (deno ${args.join(" ")})`);
    Deno.exit(code);
  }
  console.error(
    `[${i + 1}/${steps.length}] ${name}: ok, ${((performance.now() - began) / 1000).toFixed(1)} s`,
  );
}
console.error(`\nok: ${steps.length} steps`);
