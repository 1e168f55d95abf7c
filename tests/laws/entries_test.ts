import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { npmOnly, npmOnlyLock, readConfig, root } from "../gate/config.ts";
import { onDemand, order, packageOf, rootPackages } from "./layers.ts";

const core = ["@tensorflow/tfjs-core"];

/** Entry points that cannot be imported without permissions, and which they need. */
const needs: Readonly<Record<string, readonly string[]>> = {};

const config = await readConfig();

/** Runs a module under `deno.json` as a user's script would be, with no permission but those given. */
async function script(
  text: string,
  permissions: readonly string[] = [],
): Promise<{ code: number; said: string }> {
  const process = new Deno.Command(Deno.execPath(), {
    // Frozen, so that a lock file that lacks a package of the library is noticed here.
    args: ["run", "--quiet", "--no-prompt", "--frozen", ...permissions, "-"],
    cwd: root,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const { code, stdout, stderr } = await process.output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, said: decode(stdout) + decode(stderr) };
}

/** The doors of the rooms. */
const sources = (await Array.fromAsync(Deno.readDir(new URL("src/", root))))
  .filter(({ name, isDirectory }) => isDirectory && existsSync(new URL(`src/${name}/mod.ts`, root)))
  .map(({ name }) => `/src/${name}/mod.ts`);

/** The names, values and types, that a door lets out. */
async function exported(path: string): Promise<string[]> {
  const text = await Deno.readTextFile(new URL(path, root));
  const bare = text.replaceAll(/\/\*[^]*?\*\//g, "");
  const passed = [...bare.matchAll(/export \* from "\.\/([^"]+)"/g)].map(([, inner]) =>
    exported(path.replace(/[^/]+$/, inner!))
  );
  return [
    ...(await Promise.all(passed)).flat(),
    ...[...bare.matchAll(/export (?:type )?\{([^}]*)\}/g)].flatMap(([, names]) =>
      names!.split(",").map((name) => name.trim().replace(/^type /, "").split(" as ").at(-1)!)
        .filter((name) => name !== "")
    ),
    ...[...bare.matchAll(/export (?:const|interface) (\w+)|export \* as (\w+)/g)].map(([, a, b]) =>
      (a ?? b)!
    ),
  ];
}

describe("the entry points", () => {
  it("the entry points include the root, each room, the backend and the command line", () => {
    assert.ok([".", "./backend", "./cli"].every((name) => name in config.exports));
    for (const room of order) {
      const path = `./src/${room}/mod.ts`, isRoom = Object.values(config.exports).includes(path);
      const isThere = sources.some((each) => path.endsWith(each));
      assert.equal(isRoom, isThere, room);
    }
  });

  it("the root exports at most 170 names, and each of them a room exports too", async () => {
    const root = await exported("mod.ts");
    const rooms = await Promise.all(sources.map((path) => exported(path.slice(1))));
    const all = new Set(rooms.flat());
    assert.ok(root.length > 100 && root.length <= 170, `${root.length}`);
    assert.deepEqual(root.filter((name) => !all.has(name) && !["pipe", "Pipe"].includes(name)), []);
    assert.equal(rooms.flat().length - all.size, 0);
  });

  for (const [name, path] of Object.entries(config.exports)) {
    const specifier = `@tweedie/tweedie${name.slice(1)}`;

    it(`${specifier} can be imported, says nothing and exports something`, async () => {
      const text =
        `if (Object.keys(await import("${specifier}")).length === 0) throw new Error("no exports");`;
      assert.deepEqual(await script(text, needs[name]), { code: 0, said: "" });
    });

    it(`${specifier} opens with its documentation as a module`, async () => {
      const text = await Deno.readTextFile(new URL(path, root));
      assert.match(text, /^\/\*\*(?:(?!\*\/)[^])*\n \* @module\n \*\//);
    });
  }

  for (const name of Object.keys(config.exports)) {
    if (["./onnx", "./cli"].includes(name)) continue;
    const packages = name === "./backend" ? core : [...rootPackages, ...onDemand];
    it(`importing ${name} brings in no engine, by Deno's own reading`, async () => {
      const { success, stdout } = await new Deno.Command(Deno.execPath(), {
        args: ["info", "--json", "--no-lock", config.exports[name]!],
        cwd: root,
        stderr: "inherit",
      }).output();
      assert.ok(success);
      const { modules } = JSON.parse(new TextDecoder().decode(stdout)) as {
        modules: { specifier: string }[];
      };
      const brought = modules.map(({ specifier }) => specifier)
        .filter((specifier) => specifier.startsWith("npm:") && !specifier.includes("/@types/"));
      assert.deepEqual(brought.filter((one) => !packages.includes(packageOf(one))), []);
    });
  }

  it("the entry points are really run: a missing path and a missing permission are noticed", async () => {
    // The type checker lets both pass.
    const missing = await script(`await import("fp-ts/Either");`);
    assert.notEqual(missing.code, 0);
    assert.match(missing.said, /fp-ts/);
    const forbidden = await script(`Deno.readTextFileSync("deno.json");`);
    assert.notEqual(forbidden.code, 0);
    assert.match(forbidden.said, /--allow-read/);
  });
});

describe("npmOnly()", () => {
  it("npmOnly() puts node:test for the JSR module that tests import and keeps what decides how they run", () => {
    const made = npmOnly(config);
    assert.equal(made.imports["@std/testing/bdd"], "node:test");
    assert.ok(Object.values(made.imports).every((specifier) => !specifier.startsWith("jsr:")));
    for (
      const section of [
        "name",
        "exports",
        "compilerOptions",
        "fmt",
        "lint",
        "test",
        "nodeModulesDir",
      ]
    ) {
      assert.deepEqual(made[section], config[section], section);
    }
    const kept = Object.entries(config.imports).filter(([, specifier]) =>
      specifier.startsWith("npm:")
    );
    assert.ok(kept.length > 5);
    for (const [name, specifier] of kept) assert.equal(made.imports[name], specifier);
  });

  it("npmOnlyLock() drops JSR wherever a lock file has it, and nothing else", () => {
    const npm = { "a@1.0.0": { integrity: "sha512-a" } };
    const made = npmOnlyLock({
      version: "5",
      specifiers: { "jsr:@std/testing@1": "1.0.20", "npm:a@1": "1.0.0" },
      jsr: { "@std/testing@1.0.20": { integrity: "b" } },
      npm,
      workspace: { dependencies: ["jsr:@std/testing@1", "npm:a@1"] },
    });
    assert.deepEqual(made, {
      version: "5",
      specifiers: { "npm:a@1": "1.0.0" },
      npm,
      workspace: { dependencies: ["npm:a@1"] },
    });
  });

  it("npmOnly() leaves no test behind: what tests take from JSR has a stand-in", async () => {
    const { imports } = npmOnly(config), taken: string[] = [];
    for await (const path of testFiles(new URL("tests/", root))) {
      const text = await Deno.readTextFile(path);
      taken.push(
        ...[...text.matchAll(/^import .* from "(@std\/[^"]+)";$/gm)].map(([, name]) => name!),
      );
    }
    assert.ok(taken.length > 0);
    assert.deepEqual(taken.filter((name) => !(name in imports)), []);
  });
});

async function* testFiles(folder: URL): AsyncGenerator<URL, void, undefined> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* testFiles(new URL(`${name}/`, folder));
    else if (name.endsWith("_test.ts")) yield new URL(name, folder);
  }
}
