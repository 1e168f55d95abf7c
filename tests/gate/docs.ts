/**
 * Documentation of every entry point: `deno doc --lint`, as it is.
 *
 * @module
 */

import { readConfig, root } from "./config.ts";

const entries = Object.values((await readConfig()).exports);
const { code } = await new Deno.Command(Deno.execPath(), {
  args: ["doc", "--quiet", "--lint", ...entries],
  cwd: root,
  env: { NO_COLOR: "1" },
  stdin: "null",
  stdout: "null",
  stderr: "inherit",
}).spawn().status;
Deno.exit(code);
