/**
 * Breaks the code, one slip at a time, and sees that a test fails: `deno task break [part of a file's name]`.
 *
 * Works in a copy of what git knows of. A slip that no test minds, or whose place is not found once, ends it with code 1.
 *
 * @module
 */

import { root } from "./config.ts";
import type { Slip } from "./slips/slip.ts";
import { slips } from "./slips.ts";

const chosen = slips.filter(({ file, tests }) => `${file} ${tests}`.includes(Deno.args[0] ?? ""));
if (chosen.length === 0) {
  console.error(`Cannot break: a slip must be in, or caught by, ${Deno.args[0]}, got none`);
  Deno.exit(2);
}
const folder = await Deno.makeTempDir({ prefix: "tweedie-break-" });

/** Whether tests pass in the copy. */
async function pass(tests: readonly string[]): Promise<boolean> {
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "test:npm", "--no-check", ...tests],
    cwd: folder,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).output();
  return success;
}

/** Whether the slip's tests mind it. */
async function caught({ file, right, wrong, tests }: Slip): Promise<boolean> {
  const path = `${folder}/${file}`, text = await Deno.readTextFile(path);
  if (text.split(right).length !== 2) {
    throw new RangeError(`Cannot break ${file}: it must hold once, got other than that: ${right}`);
  }
  await Deno.writeTextFile(path, text.replace(right, () => wrong));
  try {
    return !await pass([tests]);
  } finally {
    await Deno.writeTextFile(path, text);
  }
}

try {
  const copied = await new Deno.Command("git", {
    args: ["checkout-index", "--all", `--prefix=${folder}/`],
    cwd: root,
  }).output();
  if (!copied.success) throw new Error(new TextDecoder().decode(copied.stderr));
  if (!await pass([...new Set(chosen.map(({ tests }) => tests))])) {
    throw new Error("Cannot begin: the tests must pass as the code is, got a failure");
  }
  let missed = 0;
  for (const slip of chosen) {
    const seen = await caught(slip);
    if (!seen) missed++;
    console.log(
      `${seen ? "caught" : "MISSED"}  ${slip.file}: ${slip.right.trim()} → ${slip.wrong.trim()}`,
    );
  }
  console.log(`${chosen.length - missed} of ${chosen.length} caught`);
  Deno.exitCode = missed > 0 ? 1 : 0;
} finally {
  await Deno.remove(folder, { recursive: true });
}
