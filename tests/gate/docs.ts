/**
 * Documentation of every entry point: `deno doc --lint`, less what cannot be otherwise.
 *
 * Deno takes a type of an npm package for a private one of ours, wherever it stands in a public signature, and
 * re-exporting it only moves the fault into the package. Such faults are dropped if no source of ours declares the
 * type; all others stand.
 *
 * @module
 */

import { readConfig, root } from "./config.ts";

const reference =
  /error\[private-type-ref\]: public type '[^']*' references private type '([^']*)'/;

/** Whether a source declares something by this name. */
const declares = (text: string, name: string): boolean =>
  new RegExp(`\\b(?:type|interface|class|enum|const|let|function|namespace)\\s+${name}\\b`).test(
    text,
  );

/**
 * The faults that stand.
 *
 * @param output What `deno doc --lint` printed, without colour.
 * @param sources Texts of our own sources.
 * @returns One text for each fault.
 */
export function faults(output: string, sources: readonly string[]): string[] {
  const found = output.split(/^(?=error[[:])/m).filter((part) => part.startsWith("error["));
  return found.filter((fault) => {
    const name = reference.exec(fault)?.[1];
    return name === undefined || sources.some((text) => declares(text, name));
  });
}

async function texts(folder: URL): Promise<string[]> {
  const inside = await Array.fromAsync(Deno.readDir(folder));
  const found = inside.map(({ name, isDirectory }) =>
    isDirectory
      ? texts(new URL(`${name}/`, folder))
      : Deno.readTextFile(new URL(name, folder)).then((text) => [text])
  );
  return (await Promise.all(found)).flat();
}

async function main(): Promise<number> {
  const entries = Object.values((await readConfig()).exports);
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", "--quiet", "--lint", ...entries],
    cwd: root,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const output = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("\n");
  if (code === 0) return 0;
  // An exit for another reason, such as a file that does not parse, has no fault to show for itself.
  const standing = output.includes("error[")
    ? faults(output, await texts(new URL("src/", root)))
    : [output];
  console.error(standing.join(""));
  return Math.min(1, standing.length);
}

if (import.meta.main) Deno.exit(await main());
