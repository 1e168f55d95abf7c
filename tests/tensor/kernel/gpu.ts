/**
 * The eager WebGPU engine beside the reference engine.
 *
 * @module
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { checkGpu, useBackend } from "../../../src/tensor/backend/backend.ts";

const adapter = await navigator.gpu?.requestAdapter();
const required = Deno.env.get("TWEEDIE_REQUIRE_WEBGPU") === "1";

/** Registers a test that needs a GPU adapter; without one it is skipped by name, or fails where one is required. */
export function onGpu(name: string, body: () => Promise<void>): void {
  if (adapter || required) it(name, body);
  else it.skip(`${name} (SKIPPED: no GPU adapter here)`, body);
}

/** Chooses the GPU and sees to it that it computes: by default tfjs does small tensors on the CPU. */
export async function useGpu(): Promise<void> {
  await useBackend("webgpu");
  tf.env().set("WEBGPU_CPU_FORWARD", false);
}

/** A tensor's shape, type and numbers. */
export interface Read {
  /** Its shape. */
  readonly shape: readonly number[];
  /** Its type. */
  readonly dtype: string;
  /** Its numbers. */
  readonly values: readonly number[];
}

/** Reads tensors and disposes of them. */
async function readAll(tensors: readonly tf.Tensor[]): Promise<Read[]> {
  const found = await Promise.all(
    tensors.map(async (t) => ({ shape: t.shape, dtype: t.dtype, values: [...await t.data()] })),
  );
  tf.dispose([...tensors]);
  return found;
}

/** What a function gives on each engine; an error that the GPU reports is thrown. */
export async function both(
  f: () => tf.Tensor[],
): Promise<{ readonly cpu: Read[]; readonly gpu: Read[] }> {
  await useBackend("cpu");
  const cpu = await readAll(tf.tidy(f));
  await useGpu();
  const gpu = await readAll(tf.tidy(f));
  await checkGpu();
  return { cpu, gpu };
}

/** Asserts equal shapes and types, and numbers that differ by at most a tolerance times the largest. */
export function assertSame(
  { cpu, gpu }: { readonly cpu: readonly Read[]; readonly gpu: readonly Read[] },
  tolerance: number,
): void {
  assert.equal(gpu.length, cpu.length);
  cpu.forEach((want, i) => {
    const got = gpu[i]!;
    assert.deepEqual([got.shape, got.dtype], [want.shape, want.dtype]);
    const scale = Math.max(1, ...want.values.filter(Number.isFinite).map(Math.abs));
    want.values.forEach((v, j) => {
      const apart = Math.abs(got.values[j]! - v);
      const same = Object.is(got.values[j], v) || apart <= tolerance * scale;
      assert.ok(same, `output ${i}, element ${j}: ${got.values[j]} against ${v} of ${scale}`);
    });
  });
}
