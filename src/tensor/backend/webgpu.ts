/**
 * The WebGPU engine.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { type GpuBackend, guard, repairWebGpu } from "../kernel/webgpu.ts";
import { engineIn, isStarted, load, register, unavailable } from "./load.ts";
import { gpu } from "./runtime.ts";

/** What to do where there is no adapter. */
export const noAdapter =
  'no GPU adapter was found; install a GPU driver (Mesa\'s "mesa-vulkan-drivers" with "libvulkan1" ' +
  'runs without a GPU) or choose "wasm"';

/** What went wrong on GPU devices since {@link gpuFaults} last looked. */
const gpuErrors: string[] = [];

/** The adapter limits that tfjs's kernels can use; the rest stay at their defaults. */
const limits = [
  "maxComputeWorkgroupStorageSize",
  "maxComputeWorkgroupsPerDimension",
  "maxComputeWorkgroupSizeX",
  "maxComputeInvocationsPerWorkgroup",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxBufferSize",
] as const;

/** Starts WebGPU on a device of our own, so that its errors can be heard and addN may take more than seven tensors. */
export async function startWebGpu(
  { module }: { readonly module?: string | object },
): Promise<void> {
  if (isStarted("webgpu")) return;
  const adapter = await gpu()?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw unavailable("webgpu", noAdapter);
  const WebGPUBackend = engineIn<[GPUDevice, GPUAdapterInfo], GpuBackend>(
    "webgpu",
    await load("webgpu", module),
    "WebGPUBackend",
  );
  repairWebGpu();
  register("webgpu", guard(new WebGPUBackend(await openDevice(adapter), adapter.info)));
}

async function openDevice(adapter: GPUAdapter): Promise<GPUDevice> {
  const device = await adapter.requestDevice({
    requiredFeatures: adapter.features.has("timestamp-query") ? ["timestamp-query"] : [],
    requiredLimits: Object.fromEntries(limits.map((name) => [name, adapter.limits[name]])),
  });
  device.addEventListener("uncapturederror", (event) => {
    gpuErrors.push((event as GPUUncapturedErrorEvent).error.message);
  });
  device.lost.then((info) =>
    gpuErrors.push(`the device was lost (${info.reason}): ${info.message}`)
  );
  return device;
}

/** Waits for the GPU; what it reported since the last call, nothing where WebGPU is not in use. */
export async function gpuFaults(): Promise<string[]> {
  const engine = tf.engine().registry["webgpu"] as GpuBackend | undefined;
  if (!engine) return [];
  engine.ensureCommandEncoderReady();
  engine.endComputePassEncoder();
  engine.submitQueue();
  await engine.device.queue.onSubmittedWorkDone();
  await new Promise((resolve) => setTimeout(resolve)); // the error event is a task of its own
  return gpuErrors.splice(0);
}
