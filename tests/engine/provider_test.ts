/**
 * ONNX Runtime's WebGPU provider gives the CPU provider's numbers. It refuses Mesa's software adapter, so it runs on
 * SwiftShader, in a process of its own that finds no other driver.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { Given } from "./provider.ts";

/** Where Debian's package `chromium` puts SwiftShader. */
const driver = "/usr/lib/chromium/vk_swiftshader_icd.json";

const present = await Deno.stat(driver).then(() => true, () => false);
const required = Deno.env.get("TWEEDIE_REQUIRE_SWIFTSHADER") === "1";

/** Registers a test that needs SwiftShader; without it it is skipped by name, or fails where it is required. */
function onSwiftShader(name: string, body: () => Promise<void>): void {
  if (present || required) it(name, body);
  else it.skip(`${name} (SKIPPED: no ${driver} here)`, body);
}

const root = new URL("../../", import.meta.url);

/** What a provider gives in a process of its own. */
async function given(provider: "cpu" | "webgpu"): Promise<Given> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      "--no-check",
      "--no-lock",
      `--config=${fileURLToPath(new URL("deno.json", root))}`,
      "--allow-read",
      "--allow-ffi",
      "--allow-env",
      "--allow-sys",
      fileURLToPath(new URL("tests/engine/provider.ts", root)),
      provider,
    ],
    env: { VK_DRIVER_FILES: driver },
    stdin: "null",
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

const largest = (numbers: readonly number[]): number => Math.max(...numbers.map(Math.abs));

/** Asserts that numbers differ by at most 10⁻⁴ of a scale. */
function assertClose(
  got: readonly number[],
  wanted: readonly number[],
  scale: number,
  what: string,
): void {
  assert.equal(got.length, wanted.length, what);
  const distance = largest(got.map((x, i) => x - wanted[i]!));
  assert.ok(distance <= 1e-4 * scale, `${what}: ${distance} apart, scale ${scale}`);
}

describe("the webgpu provider", () => {
  let both: Promise<readonly [webgpu: Given, cpu: Given]> | undefined;
  const found = () => both ??= Promise.all([given("webgpu"), given("cpu")]);

  onSwiftShader("a compiled U-Net's answer is the CPU provider's on SwiftShader", async () => {
    const [webgpu, cpu] = await found();
    assert.match(webgpu.adapter, /SwiftShader/);
    assert.match(webgpu.name, /\(webgpu\)/);
    assert.match(cpu.name, /\(cpu\)/);
    assert.equal(cpu.forward.length, 2 * 64);
    assertClose(webgpu.forward, cpu.forward, largest(cpu.forward), "the answer");
  });

  onSwiftShader("a compiled step of training is the CPU provider's on SwiftShader", async () => {
    const [webgpu, cpu] = await found(), names = Object.keys(cpu.gradients);
    assertClose([webgpu.loss], [cpu.loss], cpu.loss, "the loss");
    const scale = Math.max(...names.map((name) => largest(cpu.gradients[name]!)));
    assert.ok(names.length > 80 && scale > 1e-3, `${names.length}, ${scale}`);
    for (const name of names) {
      assertClose(webgpu.gradients[name]!, cpu.gradients[name]!, scale, `gradient by ${name}`);
      assertClose(webgpu.ema[name]!, cpu.ema[name]!, 1, `moving average of ${name}`);
    }
  });
});
