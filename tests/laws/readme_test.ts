import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";

const root = new URL("../../", import.meta.url);
const readme = await Deno.readTextFile(new URL("README.md", root));

/** A program of the README, with the package read from here and its picture put into a folder. */
function program(index: number, folder: string): string {
  const [, text] = [...readme.matchAll(/^```ts\n([\s\S]*?)^```$/gm)][index]!;
  return text!
    .replaceAll("jsr:@tweedie/tweedie", "@tweedie/tweedie")
    .replace("boots.png", `${folder}/boots.png`);
}

/** What a program prints, under the permissions given. */
async function printed(program: string, permissions: readonly string[]): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-lock", ...permissions, "-"],
    cwd: root,
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  await new Blob([program]).stream().pipeTo(child.stdin);
  const { code, stdout, stderr } = await child.output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

describe("README", () => {
  it("its first program runs without a permission, and prints the share of a mode", async () => {
    const share = Number(await printed(program(0, ""), []));
    // The standard error of 1,000 is 0.0145.
    assert.ok(Math.abs(share - 0.7) < 4 * 0.0145, `${share}`);
  });

  it("its example runs and writes its animation", async () => {
    const folder = await Deno.makeTempDir();
    try {
      await printed(program(1, folder), ["--allow-read", `--allow-write=${folder}`]);
      const bytes = await Deno.readFile(`${folder}/boots.png`);
      // 50 steps, every fifth, with the first: eleven frames.
      assert.equal(new TextDecoder("latin1").decode(bytes).split("fcTL").length - 1, 11);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });

  it("its programs of everything are the example's, in at most 15 lines each", async () => {
    const example = await Deno.readTextFile(new URL("examples/12_everything.ts", root));
    const blocks = [...readme.matchAll(/^```ts ignore\n(await pipe\([\s\S]*?)^```$/gm)];
    const all = [
      "ddim guided inpainted corrected run frames",
      "flow conditioned likelihood run frames",
    ];
    assert.equal(blocks.length, all.length);
    for (const [i, parts] of all.entries()) {
      const lines = blocks[i]![1]!.trimEnd();
      assert.ok(example.includes(lines));
      assert.ok(lines.split("\n").length <= 15);
      for (const part of parts.split(" ")) assert.match(lines, new RegExp(`^  ${part}\\b`, "m"));
    }
  });

  it("names tasks that there are", async () => {
    const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", root)));
    const named = [...readme.matchAll(/deno(?:@\S+)? task ([\w:]+)/g)].map(([, name]) => name!);
    assert.ok(named.length >= 5);
    for (const name of named) assert.ok(name in tasks, `there is no task ${name}`);
  });

  it("its links and pictures lead somewhere", async () => {
    const links = [...readme.matchAll(/\]\(([^)#:]+)\)/g)].map(([, path]) => path!);
    assert.ok(links.length >= 2);
    for (const path of links) await Deno.stat(new URL(path, root));
  });
});
