/**
 * Memory is managed in one file: elsewhere its words stand in few places, and each is known.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";

const root = new URL("../../src/", import.meta.url);

/** The words. */
const words = /\b(?:dispose|finally)\b|\btf\.(?:tidy|keep)\b/g;

/** Where they may stand outside of `tensor/` and `engine/`, and how often: drivers and streams, files and processes, what outlives a call. */
const known: Readonly<Record<string, number>> = {
  "chain/draw.ts": 1,
  "chain/move/tempering.ts": 1,
  "chain/run.ts": 5,
  "command/choose.ts": 1,
  "command/sample/batch.ts": 1,
  "command/stop.ts": 1,
  "command/train/report.ts": 1,
  "command/train/run.ts": 2,
  "data/batches.ts": 1,
  "data/file/file.ts": 1,
  "data/file/idx.ts": 1,
  "denoise/prediction.ts": 1,
  "io/process.ts": 3,
  "refine/guide/gradient.ts": 1,
  "solve/ode.ts": 4,
  "solve/sde/simulate.ts": 3,
  "train/flat.ts": 1,
  "train/loop/step.ts": 1,
  "train/loop/train.ts": 1,
  "train/loop/state.ts": 1,
  "watch/record.ts": 2,
};

/** The text of a source without its comments. */
const code = (text: string): string =>
  text.replace(/\/\*[^]*?\*\//g, "").replace(/\/\/[^\n]*/g, "");

const counted = (text: string): number => code(text).match(words)?.length ?? 0;

async function* sources(folder: URL, path = ""): AsyncGenerator<[path: string, text: string]> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* sources(new URL(`${name}/`, folder), `${path}${name}/`);
    else yield [`${path}${name}`, await Deno.readTextFile(new URL(name, folder))];
  }
}

describe("memory", () => {
  it("is managed in src/tensor/scope.ts, and elsewhere in the places that are listed", async () => {
    const found: Record<string, number> = {};
    for await (const [path, text] of sources(root)) {
      const count = counted(text);
      if (count > 0 && !/^(?:tensor|engine)\//.test(path)) found[path] = count;
    }
    assert.deepEqual(found, known);
    const all = Object.values(found).reduce((a, b) => a + b);
    assert.ok(all <= 50, `${all}`);
  });

  it("is counted in code, not in comments", () => {
    const text = "/** dispose */ x.dispose(); // finally\ntf.tidy(() => tf.keep(y)); disposed;";
    assert.equal(counted(text), 3);
  });
});
