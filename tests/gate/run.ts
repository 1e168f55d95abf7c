/**
 * Runs the tests: `deno task test [--npm] [arguments of deno test]`.
 *
 * Takes `deno.json` if JSR answers and the npm-only configuration if it does not (or with `--npm`), says on standard
 * error which and why, and runs test files and the examples in doc comments under the permissions below.
 *
 * The tests' report is what counts. A software Vulkan driver may corrupt its heap while the process takes it down
 * (SwiftShader in 1 of 10 runs of a single matrix product, whether or not the device was destroyed before): a process
 * that dies of a signal after a report without failures is said to have done so, and passes.
 *
 * @module
 */

import { stripVTControlCharacters } from "node:util";
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
const child = new Deno.Command(Deno.execPath(), {
  args: [
    "test",
    "--doc",
    ...flags(choice),
    ...permissions,
    ...Deno.args.filter((arg) => arg !== "--npm"),
  ],
  cwd: root,
  stdin: "null",
  stdout: "piped",
}).spawn();

/** The end of what was printed, enough to hold the report's last line. */
let printed = "";
const decoder = new TextDecoder();
for await (const bytes of child.stdout) {
  for (let at = 0; at < bytes.length;) at += await Deno.stdout.write(bytes.subarray(at));
  printed = (printed + decoder.decode(bytes, { stream: true })).slice(-1000);
}
const { code, signal } = await child.status;
const passed = /^ok \| \d+ passed .*\| 0 failed/m.test(stripVTControlCharacters(printed));
if (signal && passed) console.error(`tests: ${signal} at the exit, after the report`);
Deno.exit(signal && passed ? 0 : code);
