/**
 * Runs the tests: `deno task test [--npm] [arguments of deno test]`.
 *
 * Takes `deno.json` if JSR answers and the npm-only configuration if it does not (or with `--npm`), says on standard
 * error which and why, and runs test files and the examples in doc comments under the permissions below.
 *
 * @module
 */

import { choose, flags, root } from "./config.ts";

/** What the tests may do. */
const permissions: readonly string[] = [
  // Sources, package caches (wasm binaries), data sets, and files that the tests write.
  "--allow-read",
  // Temporary folders.
  "--allow-write",
  // TWEEDIE_REQUIRE_*, and what npm packages look up.
  "--allow-env",
  // ffmpeg for video; Deno itself for the entry points, the examples and the command line.
  "--allow-run",
  // Servers on this machine only.
  "--allow-net=127.0.0.1,localhost",
  // Graphics drivers and native runtimes.
  "--allow-ffi",
  "--allow-sys",
];

const npm = Deno.args.includes("--npm");
const choice = await choose(npm);
console.error(`tests: ${choice.config} (${choice.why})`);
const { code } = await new Deno.Command(Deno.execPath(), {
  args: [
    "test",
    "--doc",
    ...flags(choice),
    ...permissions,
    ...Deno.args.filter((arg) => arg !== "--npm"),
  ],
  cwd: root,
  stdin: "null",
}).spawn().status;
Deno.exit(code);
