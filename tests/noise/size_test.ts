import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { stripTypeScriptTypes } from "node:module";
import { gzipSync } from "node:zlib";
import { imports } from "../laws/layers.ts";

/** The code of a file without types, comments and indentation. */
const codeOf = (text: string): string =>
  stripTypeScriptTypes(text).replace(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, "").replace(/\n\s+/g, "\n");

/** What a file under src/noise loads when it runs: itself, and each module that its code names. */
async function loaded(
  path: string,
): Promise<{ readonly size: number; readonly packages: string[] }> {
  const seen = new Set([new URL(`../../src/noise/${path}`, import.meta.url).href]);
  const packages: string[] = [], codes: string[] = [];
  for (const url of seen) {
    const text = codeOf(await Deno.readTextFile(new URL(url)));
    codes.push(text);
    for (const { specifier } of imports({ path: url, text })) {
      if (specifier.startsWith(".")) seen.add(new URL(specifier, url).href);
      else packages.push(specifier);
    }
  }
  return { size: gzipSync(codes.join("\n")).length, packages };
}

describe("what a page loads for schedules", () => {
  for (const name of ["schedule", "discrete", "continuous", "derived"]) {
    it(`${name} comes with all that it loads in less than 5 kB, and without any package`, async () => {
      const { size, packages } = await loaded(`schedule/${name}.ts`);
      assert.ok(size < 5000, `${size} bytes`);
      assert.deepEqual(packages, []);
    });
  }

  it("schedules by name load no package either", async () => {
    assert.deepEqual((await loaded("named.ts")).packages, []);
  });
});
