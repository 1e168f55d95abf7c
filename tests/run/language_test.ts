import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { npmOnly, readConfig, root } from "../gate/config.ts";

/** Folders of what runs in Deno alone. */
const denoOnly = /\/src\/(command|engine)\//;

/** The type checker's words for what a library lacks; what is unknown of Deno is guarded, and follows from no standard. */
const lacking =
  /^TS2550 |^TS2339 .* on type '(Readonly)?(Array|Set|Map|Uint8Array|Iterator|Promise|ArrayBuffer)\w*[<'.]/;

/** Faults that the type checker finds when it knows of ES2023 and of the web alone, as "message at file". */
async function faults(path: string): Promise<string[]> {
  const config = npmOnly(await readConfig());
  const lib = ["es2023", "dom", "dom.iterable", "dom.asynciterable"];
  const compilerOptions = { ...config["compilerOptions"] as object, lib };
  const at = await Deno.makeTempFile({ suffix: ".json" });
  await Deno.writeTextFile(at, JSON.stringify({ imports: config.imports, compilerOptions }));
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["check", "--no-lock", `--config=${at}`, path],
    env: { NO_COLOR: "1" },
  }).output();
  await Deno.remove(at);
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  return [...said.matchAll(/^(?:error: )?(TS\d+ [^\n]*)\n[^]*?^ +(at \S+)$/gm)]
    .map(([, message, place]) => `${message} ${place}`);
}

describe("the language", () => {
  it("the library uses nothing of JavaScript that Node 20 or a page lacks", async () => {
    for (const path of ["mod.ts", "src/tensor/backend/backend.ts"]) {
      const found = await faults(new URL(path, root).pathname);
      assert.deepEqual(found.filter((one) => lacking.test(one) && !denoOnly.test(one)), []);
    }
  });

  it("what is newer is found", async () => {
    const at = await Deno.makeTempFile({ suffix: ".ts" });
    await Deno.writeTextFile(
      at,
      `export const a = Map.groupBy([1], (x: number) => x);
       export const b = new Set([1]).union(new Set([2]));
       export const c = Promise.withResolvers<void>();`,
    );
    const found = (await faults(at)).filter((one) => lacking.test(one));
    await Deno.remove(at);
    for (const name of ["groupBy", "union", "withResolvers"]) {
      assert.ok(found.some((one) => one.includes(`'${name}'`)), `${name}: ${found}`);
    }
  });
});
