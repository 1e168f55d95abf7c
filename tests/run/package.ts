/**
 * The library as Node, Bun and bundlers get it: a folder of JavaScript modules with a package.json, each made from one
 * TypeScript file, as JSR makes npm packages, and its dependencies beside it.
 *
 * @module
 */

import { build, stop, transform } from "esbuild";
import { readConfig, root } from "../gate/config.ts";

/** The packages that programs import besides the library; of the library's own the root brings in all others. */
const packages = [
  "@tensorflow/tfjs-core",
  "@tensorflow/tfjs-backend-cpu",
  "@tensorflow/tfjs-backend-wasm",
  "@tensorflow/tfjs-backend-webgpu",
  "fast-png",
  "fflate",
  "fp-ts",
  "ix",
  "jpeg-js",
  "ml-matrix",
  "ndarray",
];

/** Paths from the root of the library's sources. */
async function sources(folder = "src/"): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, root))) {
    if (isDirectory) found.push(...await sources(`${folder}${name}/`));
    else found.push(`${folder}${name}`);
  }
  return found;
}

/** JavaScript of TypeScript: types dropped, and modules called by the names of their JavaScript. */
async function emitted(path: string): Promise<string> {
  const text = await Deno.readTextFile(new URL(path, root));
  const { code } = await transform(text, { loader: "ts", format: "esm", target: "es2022" });
  return code.replaceAll(/((?:from|import)\s*\(?\s*"\.[^"]*)\.ts"/g, '$1.js"');
}

/** The locked version of a package. */
async function versions(): Promise<Record<string, string>> {
  const { specifiers } = JSON.parse(await Deno.readTextFile(new URL("deno.lock", root))) as {
    specifiers: Record<string, string>;
  };
  return Object.fromEntries(packages.map((name) => {
    const [, version] = Object.entries(specifiers).find(([key]) => key.startsWith(`npm:${name}@`))!;
    return [name, version.replace(/_.*/, "")];
  }));
}

/**
 * Installs the library and the programs of this folder.
 *
 * @param folder An empty folder, with a slash at its end.
 */
export async function install(folder: string): Promise<void> {
  const at = `${folder}node_modules/@tweedie/tweedie/`, { exports } = await readConfig();
  await Deno.writeTextFile(
    `${folder}package.json`,
    JSON.stringify({ type: "module", dependencies: await versions() }),
  );
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["install", "--quiet", "--node-modules-dir=auto"],
    cwd: folder,
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  for (const path of ["mod.ts", ...await sources()]) {
    await Deno.mkdir(`${at}${path.replace(/[^/]*$/, "")}`, { recursive: true });
    await Deno.writeTextFile(at + path.replace(/\.ts$/, ".js"), await emitted(path));
  }
  const map = Object.entries(exports).map(([name, path]) => [name, path.replace(/\.ts$/, ".js")]);
  await Deno.writeTextFile(
    `${at}package.json`,
    JSON.stringify({
      name: "@tweedie/tweedie",
      type: "module",
      exports: Object.fromEntries(map),
    }),
  );
  for (const name of ["program", "node", "page"]) {
    await Deno.writeTextFile(`${folder}${name}.js`, await emitted(`tests/run/${name}.ts`));
  }
  await stop();
}

/**
 * Bundles a program for browsers into one file.
 *
 * @param folder Where {@link install} has put it.
 * @param name Its name, without `.js`.
 * @returns The text of the script.
 */
export async function bundled(folder: string, name: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [`${folder}${name}.js`],
    absWorkingDir: folder,
    bundle: true,
    platform: "browser",
    format: "esm",
    write: false,
    logLevel: "silent",
  });
  await stop();
  return outputFiles[0]!.text;
}
