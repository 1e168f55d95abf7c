import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { root } from "../gate/config.ts";
import { bundled, install } from "./package.ts";

type Answers = Readonly<Record<string, string>>;

/** What the program says outside of Deno: its numbers, and the messages of what needs Deno or an option. */
interface Told {
  readonly answers: Answers;
  readonly refusals: readonly string[];
}

const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const weights = new URL("examples/weights/fashion-mnist.safetensors", root).pathname;
const wasmFile = "node_modules/@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm";

/** An IDX file of one picture, packed. */
const picture = (): Uint8Array =>
  gzipSync(
    Uint8Array.of(0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28)
      .reduce((all, byte, i) => all.with(i, byte), new Uint8Array(16 + 784))
      .map((byte, i) => i < 16 ? byte : i * i % 251),
  );

/** Whether a program is installed: `output` throws at once where it is not. */
async function isThere(command: string): Promise<boolean> {
  try {
    return (await new Deno.Command(command, { args: ["--version"] }).output()).success;
  } catch {
    return false;
  }
}

const commands = ["node", "bun", "chromium"] as const;
const found = new Map<string, boolean>();
for (const command of commands) found.set(command, await isThere(command));

/** Registers a test that needs a program; without it the test is skipped by name, or fails where it is required. */
function where(command: typeof commands[number], name: string, body: () => Promise<void>): void {
  const required = Deno.env.get(`TWEEDIE_REQUIRE_${command.toUpperCase()}`) === "1";
  if (required || found.get(command)) it(name, body);
  else it.skip(`${name} (SKIPPED: ${command} is not installed)`, body);
}

async function output(command: string, args: readonly string[]): Promise<string> {
  const options = { args: [...args], cwd: root, env: { NO_COLOR: "1" } };
  const { success, stdout, stderr } = await new Deno.Command(command, options).output();
  assert.ok(success, decode(stderr));
  return decode(stdout);
}

/** Serves a page with a script and files, and opens it; gives what the script tells the server. */
async function onPage(script: string, files: Readonly<Record<string, string>>): Promise<unknown> {
  const told = Promise.withResolvers<unknown>();
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (asked) => {
      const { pathname } = new URL(asked.url);
      if (pathname === "/told") told.resolve(await asked.json());
      if (pathname === "/") {
        const headers = { "content-type": "text/html" };
        return new Response('<script type="module" src="/script.js"></script>', { headers });
      }
      if (pathname === "/script.js") {
        return new Response(script, { headers: { "content-type": "text/javascript" } });
      }
      const file = files[pathname];
      return file ? new Response(await Deno.readFile(file)) : new Response(null, { status: 404 });
    },
  );
  const profile = await Deno.makeTempDir();
  const browser = new Deno.Command("chromium", {
    args: [
      "--headless",
      "--no-sandbox",
      // A GPU in software, wherever the page runs.
      "--enable-unsafe-webgpu",
      "--use-webgpu-adapter=swiftshader",
      "--enable-features=Vulkan",
      "--use-vulkan=swiftshader",
      "--disable-dev-shm-usage",
      "--no-first-run",
      `--user-data-dir=${profile}`,
      `http://127.0.0.1:${server.addr.port}/`,
    ],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const timer = setTimeout(() => told.reject(new Error("the page told nothing")), 120_000);
  try {
    return await told.promise;
  } finally {
    clearTimeout(timer);
    browser.kill();
    await browser.status;
    await server.shutdown();
    await Deno.remove(profile, { recursive: true }).catch(() => {});
  }
}

/** The library as others get it, in a folder of its own, and what the program computes in Deno. */
async function prepared(): Promise<{ folder: string; packed: string; inDeno: Answers }> {
  const folder = `${await Deno.makeTempDir()}/`, packed = `${folder}picture.gz`;
  globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
  await Deno.writeFile(packed, picture());
  await install(folder);
  const script = new URL("deno.ts", import.meta.url).pathname;
  const flags = ["--quiet", "--no-lock", "--no-prompt", `--allow-read=${weights},${packed}`];
  const said = await output(Deno.execPath(), ["run", ...flags, script, weights, packed]);
  return { folder, packed, inDeno: JSON.parse(said) };
}

let once: ReturnType<typeof prepared> | undefined;
const ready = (): ReturnType<typeof prepared> => once ??= prepared();

describe("the library outside of Deno", () => {
  for (const command of ["node", "bun"] as const) {
    where(command, `${command} gives Deno's numbers, bit for bit`, async () => {
      const { folder, packed, inDeno } = await ready();
      const said = await output(command, [`${folder}node.js`, weights, packed]);
      const { answers, refusals } = JSON.parse(said) as Told;
      assert.equal(Object.keys(answers).length, 10);
      assert.deepEqual(answers, inDeno);
      const wanted = [
        /Cannot read a.safetensors: files/,
        /Cannot write a.png/,
        /Cannot write to st/,
      ];
      wanted.forEach((message, i) => assert.match(refusals[i]!, message));
      for (const message of refusals) assert.match(message, /need Deno, got another runtime/);
    });
  }

  where("chromium", "a page gives Deno's numbers, bit for bit", async () => {
    const { folder, packed, inDeno } = await ready();
    const files = { "/weights": weights, "/packed": packed, "/simd.wasm": folder + wasmFile };
    const told = await onPage(await bundled(folder, "page"), files) as Told & {
      readonly error?: string;
      readonly onGpu: string;
    };
    assert.equal(told.error, undefined);
    assert.deepEqual(told.answers, inDeno);
    const first = (said: string): number[] => said.split(" ").slice(1).map(Number);
    first(told.onGpu).forEach((x, i) => {
      assert.ok(Math.abs(x - first(inDeno["cpu network"]!)[i]!) < 1e-4, told.onGpu);
    });
    const wanted = [
      /tfjs-backend-wasm could not be loaded; .*npm install.* hands it over as the option module/,
      /wasm must be the URL of the package's dist\/tfjs-backend-wasm-simd.wasm in a browser/,
      /\/missing.wasm must be a file of WebAssembly, got 404/,
    ];
    wanted.forEach((message, i) => assert.match(told.refusals[i]!, message));
  });
});
