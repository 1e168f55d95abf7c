/**
 * Brings `deno.lock` up to date: `deno task lock`. Resolves every npm package that `deno.json`, the entry points, the
 * examples and the benchmarks name, keeps the versions that are locked already, and asks nothing of JSR, so the file
 * comes out the same with and without it.
 *
 * @module
 */

import { readConfig, root } from "./config.ts";

/** Paths from the root of the TypeScript files right under a folder. */
async function scripts(folder: string): Promise<string[]> {
  const files = await Array.fromAsync(Deno.readDir(new URL(folder, root)));
  return files.filter(({ name }) => name.endsWith(".ts")).map(({ name }) => `${folder}${name}`);
}

const { exports, imports } = await readConfig();
const packages = Object.values(imports).filter((specifier) => specifier.startsWith("npm:"));
const files = [
  ...Object.values(exports),
  ...await scripts("examples/"),
  ...await scripts("bench/"),
];
const command = new Deno.Command(Deno.execPath(), {
  args: ["cache", "--frozen=false", ...files, ...packages],
  cwd: root,
  stdin: "null",
});
Deno.exit((await command.spawn().status).code);
