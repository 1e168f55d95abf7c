import { afterEach, beforeEach, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import nodeUtil from "node:util";
import * as tf from "@tensorflow/tfjs-core";
import { initialize, key, normal, unet } from "../../mod.ts";
import { backends, BackendUnavailable, useBackend } from "../../src/tensor/backend/backend.ts";
import { live } from "../measure.ts";

type StandIn = typeof import("./tensorflow_stand_in.ts");

const lost = nodeUtil as { isNullOrUndefined?: unknown };
const found = lost.isNullOrUndefined;
let loads = 0;

/** The specifier of a stand-in that has never been imported. */
const fresh = (): string => new URL(`tensorflow_stand_in.ts?${++loads}`, import.meta.url).href;

/** Loads a fresh stand-in through {@link useBackend}, by its specifier, and gives its module. */
async function loaded(): Promise<StandIn> {
  const module = fresh();
  await useBackend("tensorflow", { module });
  return await import(module);
}

/** Takes TensorFlow out of tfjs, and the lost function out of Node's module. */
async function unload(): Promise<void> {
  await useBackend("cpu");
  if ("tensorflow" in tf.engine().registryFactory) tf.removeBackend("tensorflow");
  for (const { kernelName } of tf.getKernelsForBackend("tensorflow")) {
    tf.unregisterKernel(kernelName, "tensorflow");
  }
  delete lost.isNullOrUndefined;
}

describe("useBackend() for tensorflow, on a stand-in", () => {
  beforeEach(unload);
  afterEach(async () => {
    await unload();
    if (found) lost.isNullOrUndefined = found;
  });

  it("useBackend() loads TensorFlow by its specifier and runs operations on its binding", async () => {
    const { executed } = await loaded();
    assert.equal(tf.getBackend(), "tensorflow");
    const a = tf.tensor2d([[1, 2], [3, -4]]), product = tf.matMul(a, a);
    const y = tf.relu(tf.add(product, a));
    assert.deepEqual(await y.array(), [[8, 0], [0, 18]]);
    assert.deepEqual(executed, ["MatMul", "AddV2", "Relu"]);
  });

  it("useBackend() takes a TensorFlow that the caller has imported", async () => {
    const module = await import(fresh()) as StandIn;
    await useBackend("tensorflow", { module });
    assert.deepEqual([...tf.relu(tf.tensor1d([-1, 1])).dataSync()], [0, 1]);
    assert.deepEqual(module.executed, ["Relu"]);
  });

  it("useBackend() is what brings back the function of Node's that every kernel asks", async () => {
    await import(fresh());
    await tf.setBackend("tensorflow");
    assert.throws(() => tf.relu(tf.tensor1d([1])), /isNullOrUndefined is not a function/);
    await useBackend("tensorflow", { module: {} });
    assert.deepEqual([...tf.relu(tf.tensor1d([1])).dataSync()], [1]);
  });

  it("useBackend() leaves a runtime's own isNullOrUndefined alone", async () => {
    const own = (x: unknown) => x == null;
    lost.isNullOrUndefined = own;
    await loaded();
    assert.equal(lost.isNullOrUndefined, own);
  });

  it("useBackend() called again loads nothing twice", async () => {
    const module = await loaded(), engine = tf.engine().registry["tensorflow"];
    await useBackend("cpu");
    await useBackend("tensorflow", { module });
    assert.equal(tf.engine().registry["tensorflow"], engine);
  });

  it("useBackend() keeps tensors usable to TensorFlow and back, and none stay in the binding", async () => {
    const x = tf.tensor1d([1, -2]), { alive } = await loaded();
    const y = tf.add(x, x);
    assert.equal(alive(), 2);
    await useBackend("cpu");
    const z = tf.mul(y, x);
    assert.deepEqual([...z.dataSync()], [2, 8]);
    tf.dispose([x, y, z]);
    assert.equal(alive(), 0);
  });

  it("an operation that the binding refuses throws its error, and TensorFlow stays usable", async () => {
    await loaded();
    const before = live(), x = tf.tensor1d([1]);
    assert.throws(() => tf.cos(x), /Op type not registered 'Cosine'/);
    assert.deepEqual([...tf.tidy(() => tf.add(x, x)).dataSync()], [2]);
    assert.equal(live(), before + 2); // x, and the sum
  });

  it("a kernel that TensorFlow lacks is named by tfjs", async () => {
    await loaded();
    assert.throws(() => tf.sin(tf.tensor1d([1])), /Kernel 'Sin' not registered .*'tensorflow'/);
  });

  it("backends() says whether TensorFlow is loaded", async () => {
    const told = async () => (await backends()).find(({ name }) => name === "tensorflow");
    assert.deepEqual(await told(), {
      name: "tensorflow",
      available: false,
      detail: "not loaded",
    });
    await loaded();
    assert.deepEqual(await told(), { name: "tensorflow", available: true, detail: "loaded" });
  });

  it("useBackend() passes on why the native addon is missing, and how to install it", async () => {
    const path = await Deno.makeTempFile({ suffix: ".mjs" });
    await Deno.writeTextFile(path, 'throw new Error("tfjs_binding.node can not be found");');
    const error = await useBackend("tensorflow", { module: `file://${path}` })
      .then(() => null, (e: unknown) => e);
    await Deno.remove(path);
    assert.ok(error instanceof BackendUnavailable);
    assert.match(error.message, /could not be loaded; .*--allow-scripts=.*tfjs-node.*"wasm"$/s);
    assert.match(String(error.cause), /tfjs_binding\.node can not be found/);
    assert.equal(tf.getBackend(), "cpu");
  });
});

describe("useBackend() for tensorflow, where it is not installed", () => {
  it("useBackend() fetches nothing, asks for nothing, and leaves the engine before in use", async () => {
    const program = `
      import { useBackend } from "./src/tensor/backend/backend.ts";
      import * as tf from "@tensorflow/tfjs-core";
      await useBackend("cpu");
      const error = await useBackend("tensorflow").then(() => null, (e) => e);
      console.log(error.name, tf.getBackend(), error.message);`;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-lock", "--no-prompt", "--cached-only", "-"],
      cwd: new URL("../..", import.meta.url),
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    await new Blob([program]).stream().pipeTo(child.stdin);
    const { stdout, stderr } = await child.output();
    assert.match(
      new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr),
      /^BackendUnavailable cpu Cannot use the tensorflow backend: npm:@tensorflow\/tfjs-node-gpu@\^4\.22\.0 could not/,
    );
  });
});

/** The real TensorFlow, where TWEEDIE_TENSORFLOW names its module: docs/engines.md says how to come by one. */
const real = Deno.env.get("TWEEDIE_TENSORFLOW");

/** Operations of every kind that the networks use, on small numbers. */
function answers(): Record<string, tf.Tensor> {
  const a = tf.tensor2d([[1, 2, 3], [4, 5, 6]]), b = tf.tensor2d([[1, -1], [2, 0], [0.5, 3]]);
  const image = tf.reshape(tf.range(0, 32), [1, 4, 4, 2]) as tf.Tensor4D;
  const filter = tf.fill([3, 3, 2, 3], 0.1) as tf.Tensor4D;
  return {
    add: tf.add(a, 1),
    sub: tf.sub(a, a),
    mul: tf.mul(a, a),
    div: tf.div(a, 3),
    matMul: tf.matMul(a, b),
    transposed: tf.matMul(a, a, false, true),
    conv2d: tf.conv2d(image, filter, 1, "same"),
    halved: tf.conv2d(image, filter, 2, "same"),
    sigmoid: tf.sigmoid(a),
    exp: tf.exp(a),
    sqrt: tf.sqrt(a),
    rsqrt: tf.rsqrt(a),
    sum: tf.sum(a, 1),
    mean: tf.mean(image, [1, 2]),
    max: tf.max(a),
    transpose: tf.transpose(a),
    concat: tf.concat([a, a], 1),
    softmax: tf.softmax(a),
    slice: tf.slice(a, [0, 1], [2, 2]),
    pad: tf.pad(a, [[1, 1], [0, 2]]),
    split: tf.split(a, 3, 1)[1]!,
    oneHot: tf.oneHot(tf.tensor1d([0, 2], "int32"), 3),
    where: tf.where(tf.greater(a, 2), a, tf.zerosLike(a)),
    gather: tf.gather(a, tf.tensor1d([1, 0], "int32")),
  };
}

const network = unet({ size: [8, 8], base: 8, multipliers: [1, 2], groups: 4, classes: 3 });

/** A U-Net none of whose weights are zero, at two times. */
function images(): tf.Tensor {
  const parts = Object.entries(network.parameters).map(([name, p]) => [name, { ...p, std: 0.1 }]);
  const params = initialize(Object.fromEntries(parts), key(0));
  return network.apply(params, normal(key(1), [2, 8, 8, 1]), [10, 500], [2, null]);
}

const onTensorFlow = async (name: string, made: () => Record<string, tf.Tensor>): Promise<void> => {
  const numbers = () =>
    tf.tidy(() =>
      Object.entries(made()).map(([key, tensor]) => [key, [...tensor.dataSync()]] as const)
    );
  await useBackend("cpu");
  const want = numbers();
  await useBackend("tensorflow", { module: real! });
  const got = Object.fromEntries(numbers());
  await useBackend("cpu");
  for (const [key, values] of want) {
    const far = Math.max(...values.map((value, i) => Math.abs(value - got[key]![i]!)));
    assert.ok(far < 1e-5, `${name}: ${key} is ${far} off`);
  }
};

describe("the real TensorFlow", () => {
  const test = (name: string, body: () => Promise<void>) =>
    real ? it(name, body) : it.skip(`${name} (SKIPPED: TWEEDIE_TENSORFLOW is not set)`, body);
  test("TensorFlow's operations give the reference engine's numbers", () =>
    onTensorFlow("operations", answers));
  test("a U-Net gives the reference engine's numbers on TensorFlow", () =>
    onTensorFlow("U-Net", () => ({ images: images() })));
});
