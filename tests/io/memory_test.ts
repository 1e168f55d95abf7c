/**
 * What reading a file takes: the peak of the memory of a process of its own, as Linux counts it (`VmHWM`).
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { fileURLToPath } from "node:url";
import { inFolder } from "./folder.ts";

const root = new URL("../../", import.meta.url);

/** How many bytes a module's work adds to the peak of a process that has loaded it; undefined where nobody counts. */
async function added(work: string): Promise<number | undefined> {
  const peak = `Number(/VmHWM:\\s+(\\d+)/.exec(Deno.readTextFileSync("/proc/self/status"))[1])`;
  const text = `
    const { readIdx } = await import(${JSON.stringify(new URL("src/data/file/idx.ts", root).href)});
    const { readSafetensors } = await import(${
    JSON.stringify(new URL("src/io/safetensors.ts", root).href)
  });
    const before = ${peak};
    ${work}
    console.log(${peak} - before);`;
  const process = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-prompt", "--cached-only", "--frozen"],
      ...[`--config=${fileURLToPath(new URL("deno.json", root))}`, "--allow-all", "-"],
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const { success, stdout, stderr } = await process.output();
  const said = new TextDecoder().decode(stderr);
  if (/\/proc/.test(said)) return undefined;
  assert.ok(success, said);
  return Number(new TextDecoder().decode(stdout)) * 1024;
}

/** A file of so many bytes behind its beginning, and what reading it adds to the memory. */
async function reading(
  begin: Uint8Array,
  size: number,
  reader: "readIdx" | "readSafetensors",
  refused: boolean,
): Promise<number | undefined> {
  let bytes: number | undefined;
  await inFolder(async (folder) => {
    const path = `${folder}/file`;
    await Deno.writeFile(path, begin);
    if (size > 0) await Deno.truncate(path, begin.length + size);
    const call = `await ${reader}(${JSON.stringify(path)})`;
    bytes = await added(refused ? `${call}.then(() => { throw "read" }, () => {});` : `${call};`);
  });
  return bytes;
}

const size = 192_000_000;

/** What has been let go of and is not collected yet, whatever the size. */
const slack = 100_000_000;

const idx = new Uint8Array(8);
idx.set([0, 0, 8, 1]);
new DataView(idx.buffer).setUint32(4, size);

/** A header and zeros, packed. */
const packed = (header: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(header.length + size);
  bytes.set(header);
  return gzipSync(bytes);
};

const nine = new Uint8Array([0, 0, 8, 1, 0, 0, 0, 9]);

const tensors = (shape: number): Uint8Array => {
  const w = { dtype: "U8", shape: [shape], data_offsets: [0, shape] };
  const json = new TextEncoder().encode(JSON.stringify({ w })),
    bytes = new Uint8Array(8 + json.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
};

describe("the memory that reading takes", () => {
  const whole: readonly (readonly [string, Uint8Array, number, "readIdx" | "readSafetensors"])[] = [
    ["an IDX file", idx, size, "readIdx"],
    [
      "an IDX file that is packed",
      packed(idx),
      0,
      "readIdx",
    ],
    ["a safetensors file", tensors(size), size, "readSafetensors"],
  ];
  for (const [what, begin, behind, reader] of whole) {
    it(`${what} is held once, not twice`, async () => {
      const bytes = await reading(begin, behind, reader, false);
      if (bytes === undefined) return console.log("no /proc here: not measured");
      assert.ok(bytes > 0.9 * size && bytes < size + slack, `${bytes} bytes for ${size}`);
    });
  }

  const refused: typeof whole = [
    [
      "an IDX file of another size than it says",
      nine,
      size,
      "readIdx",
    ],
    [
      "a packed IDX file of more than it says",
      packed(nine),
      0,
      "readIdx",
    ],
    ["a safetensors file of another size than it says", tensors(9), size, "readSafetensors"],
    ["zeros, as safetensors", new Uint8Array(), size, "readSafetensors"],
    ["zeros, as IDX", new Uint8Array(), size, "readIdx"],
  ];
  for (const [what, begin, behind, reader] of refused) {
    it(`${what} is refused before it is held`, async () => {
      const bytes = await reading(begin, behind, reader, true);
      if (bytes === undefined) return console.log("no /proc here: not measured");
      assert.ok(bytes < 0.3 * size, `${bytes} bytes for ${size}`);
    });
  }
});
