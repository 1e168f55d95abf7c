import { MathBackendCPU } from "@tensorflow/tfjs-backend-cpu";
import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import nodeUtil from "node:util";
import * as tf from "@tensorflow/tfjs-core";
import {
  type Backend,
  type BackendOptions,
  backends,
  BackendUnavailable,
  checkGpu,
  useBackend,
} from "../../src/tensor/backend/backend.ts";

/** Runs a program on its standard input with no permission whatever; gives all that it printed. */
async function runBare(program: string): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-lock", "--no-prompt", "-"],
    cwd: new URL("../..", import.meta.url),
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(program));
  await writer.close();
  const { stdout, stderr } = await child.output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

/** Runs `body` with the machine's GPU hidden. */
async function withoutGpu(body: () => Promise<void>): Promise<void> {
  Object.defineProperty(navigator, "gpu", { value: undefined, configurable: true });
  try {
    await body();
  } finally {
    delete (navigator as { gpu?: unknown }).gpu;
  }
}

/** Runs `body` with console.warn caught, and gives what it was told. */
async function warnings(body: () => Promise<unknown>): Promise<string[]> {
  const heard: string[] = [], warn = console.warn;
  console.warn = (...args: unknown[]) => heard.push(args.join(" "));
  try {
    await body();
  } finally {
    console.warn = warn;
  }
  return heard;
}

/** Asks for an engine that cannot be had, with tensors alive on "cpu"; they and "cpu" must survive. */
async function refused(
  name: Backend,
  options: { module?: string | object },
  message: RegExp,
): Promise<BackendUnavailable> {
  await useBackend("cpu");
  const kept = tf.tensor([1, 2, 3]);
  const error = await useBackend(name, options).then(() => null, (e: unknown) => e);
  assert.ok(error instanceof BackendUnavailable, String(error));
  assert.equal(error.name, "BackendUnavailable");
  assert.match(error.message, message);
  assert.equal(tf.getBackend(), "cpu");
  const doubled = tf.add(kept, kept);
  assert.deepEqual([...doubled.dataSync()], [2, 4, 6]);
  tf.dispose([kept, doubled]);
  return error;
}

describe("useBackend()", () => {
  it("useBackend() for wasm and cpu needs no permission and prints nothing", async () => {
    const printed = await runBare(`
      import { useBackend } from "./src/tensor/backend/backend.ts";
      import * as tf from "@tensorflow/tfjs-core";
      for (const name of ["wasm", "cpu"] as const) {
        await useBackend(name);
        const [sum] = tf.sum(tf.matMul(tf.ones([3, 4]), tf.ones([4, 5]))).dataSync();
        console.log(tf.getBackend(), sum);
      }`);
    assert.equal(printed, "wasm 60\ncpu 60\n");
  });

  it("useBackend() called twice at once, and again, starts one engine and warns of nothing", async () => {
    const heard = await warnings(async () => {
      await Promise.all([useBackend("wasm"), useBackend("wasm")]);
      const engine = tf.engine().registry["wasm"];
      await useBackend("wasm");
      assert.equal(tf.engine().registry["wasm"], engine);
    });
    assert.deepEqual(heard, []);
  });

  it("useBackend() with no name chooses wasm, whatever was in use", async () => {
    await useBackend("cpu");
    await useBackend();
    assert.equal(tf.getBackend(), "wasm");
  });

  it("useBackend() keeps tensors usable from one engine to the next", async () => {
    await useBackend("cpu");
    const x = tf.tensor([1, 2]);
    await useBackend("wasm");
    const y = tf.mul(x, x);
    await useBackend("cpu");
    const z = tf.add(y, x);
    assert.deepEqual([...z.dataSync()], [2, 6]);
    tf.dispose([x, y, z]);
  });

  it("useBackend() refuses a name that it does not know", async () => {
    for (const name of ["gpu", "toString"]) {
      await assert.rejects(useBackend(name as Backend), {
        name: "RangeError",
        message:
          `Cannot use a backend: name must be one of wasm, cpu, webgpu, tensorflow, got ${name}`,
      });
    }
  });

  it("useBackend() for webgpu without an adapter says so and leaves the old engine in use", async () => {
    await withoutGpu(async () => {
      await refused(
        "webgpu",
        {},
        /^Cannot use the webgpu backend: no GPU adapter was found; install/,
      );
    });
  });

  it("useBackend() for a TensorFlow that does not load says how to get it and why", async () => {
    const module = "data:text/javascript,throw new Error('no native addon')";
    const error = await refused(
      "tensorflow",
      { module },
      /allow-scripts=npm:@tensorflow\/tfjs-node-gpu/,
    );
    assert.equal((error.cause as Error).message, "no native addon");
  });

  it("useBackend() takes the module of an engine, or its specifier", async () => {
    await useBackend("wasm");
    await useBackend("cpu", { module: await import("@tensorflow/tfjs-backend-cpu") });
    assert.equal(tf.getBackend(), "cpu");
    await useBackend("wasm", { module: "@tensorflow/tfjs-backend-wasm" });
    assert.equal(tf.getBackend(), "wasm");
  });

  it("useBackend() refuses a module without the engine, and one of another tfjs-core", async () => {
    const cases: [Backend, object, RegExp][] = [
      [
        "cpu",
        {},
        /the module must export MathBackendCPU, as @tensorflow\/tfjs-backend-cpu does, got none$/,
      ],
      ["wasm", {}, /the module must export BackendWasm, .*, got none$/],
      ["cpu", { MathBackendCPU: class {} }, /got one of another tfjs-core than the library's$/],
    ];
    for (const [name, module, message] of cases) await refused(name, { module }, message);
    const error = await refused(
      "cpu",
      { module: "data:text/javascript,throw new Error('none')" },
      /'none'\) could not be loaded; a run without --cached-only and without --frozen fetches it$/,
    );
    assert.equal((error.cause as Error).message, "none");
  });

  it("useBackend() refuses what is no code of WebAssembly", async () => {
    const printed = await runBare(`
      import { useBackend } from "./src/tensor/backend/backend.ts";
      const error = await useBackend("wasm", { wasm: "data:,none" }).then(() => null, (e) => e);
      console.log(error.name, error.message);`);
    assert.match(
      printed,
      /^BackendUnavailable .*: data:,none must be a file of WebAssembly, got 200/,
    );
  });

  it("useBackend() refuses a module that is not TensorFlow's", async () => {
    await refused("tensorflow", { module: {} }, /the module given did not register it/);
  });

  it("useBackend() refuses an option that it does not know, and one without meaning for the engine", async () => {
    const before = tf.getBackend();
    for (
      const [name, options, message] of [
        [
          "cpu",
          { thread: 2 },
          /^Cannot use the cpu backend: options must be among module, wasm, got "thread"$/,
        ],
        [
          "cpu",
          { wasm: "a.wasm" },
          /^Cannot use the cpu backend: wasm must be absent but for "wasm", got "a.wasm"$/,
        ],
      ] as const
    ) {
      await assert.rejects(useBackend(name, options as BackendOptions), {
        name: "TypeError",
        message,
      });
    }
    assert.equal(tf.getBackend(), before);
  });

  it("useBackend() leaves the old engine in use when a TensorFlow loads but does not start", async () => {
    tf.registerBackend("tensorflow", () => {
      throw new Error("no CUDA device");
    });
    // tfjs itself warns with the factory's error.
    const heard = await warnings(async () => {
      await refused("tensorflow", { module: {} }, /tensorflow backend: tfjs could not start it$/);
    });
    assert.match(heard.join("\n"), /no CUDA device/);
    tf.removeBackend("tensorflow");
  });

  it("useBackend() uses a TensorFlow module that is handed in, with Node's lost function back", async () => {
    await useBackend("cpu");
    tf.registerBackend("tensorflow", () => new MathBackendCPU());
    tf.copyRegisteredKernels("cpu", "tensorflow");
    await warnings(async () => {
      await useBackend("tensorflow", { module: {} });
      assert.equal(tf.getBackend(), "tensorflow");
      assert.deepEqual([...tf.add(1, 2).dataSync()], [3]);
    });
    const lost = (nodeUtil as { isNullOrUndefined?: (x: unknown) => boolean }).isNullOrUndefined!;
    assert.deepEqual([null, undefined, 0, ""].map(lost), [true, true, false, false]);
    await useBackend("cpu");
    tf.removeBackend("tensorflow");
  });
});

describe("backends()", () => {
  it("backends() lists the four engines, without a GPU too, and starts none", async () => {
    const before = tf.getBackend();
    await withoutGpu(async () => {
      const list = await backends();
      assert.deepEqual(list.map((b) => b.name), ["wasm", "cpu", "webgpu", "tensorflow"]);
      assert.deepEqual(list.map((b) => b.available), [true, true, false, false]);
      assert.match(list[2]!.detail, /no GPU adapter/);
    });
    assert.equal(tf.getBackend(), before);
  });
});

/** Registers a test that needs a GPU adapter; without one it is skipped by name, or fails where one is required. */
const adapter = await navigator.gpu?.requestAdapter();
const required = Deno.env.get("TWEEDIE_REQUIRE_WEBGPU") === "1";
function onGpu(name: string, body: () => Promise<void>): void {
  if (adapter || required) it(name, body);
  else it.skip(`${name} (SKIPPED: no GPU adapter here)`, body);
}

describe("checkGpu()", () => {
  it("checkGpu() has nothing to say where WebGPU is not in use", async () => {
    await useBackend("cpu");
    await checkGpu();
  });

  onGpu("checkGpu() throws once what the GPU kept silent about", async () => {
    await useBackend("webgpu");
    tf.env().set("WEBGPU_CPU_FORWARD", false);
    const fine = tf.add(tf.ones([4]), 1);
    const { device } = tf.backend() as unknown as { device: GPUDevice };
    device.createShaderModule({ code: "this is no shader" }); // no error here
    await assert.rejects(
      checkGpu(),
      /^Error: Cannot trust the GPU's results:\n[^]*parsing error/,
    );
    await checkGpu();
    const sum = tf.add(fine, 1);
    await sum.data();
    await checkGpu();
    tf.dispose([fine, sum]);
  });

  onGpu(
    "useBackend() for webgpu opens a device whose addN takes more than seven tensors",
    async () => {
      await useBackend("webgpu");
      tf.env().set("WEBGPU_CPU_FORWARD", false);
      const sum = tf.addN(Array.from({ length: 8 }, (_, i) => tf.fill([5], i)));
      assert.deepEqual([...await sum.data()], Array(5).fill(28));
      await checkGpu();
    },
  );
});
