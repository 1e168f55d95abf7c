import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { Interrupted, interruptible, turn } from "../../src/command/stop.ts";

const source = new URL("../../src/command/stop.ts", import.meta.url).href;

/** Runs a program that computes for a time without giving way, and does something to it once it does so. */
async function busy(
  ms: number,
  disturb: (kill: (signal: Deno.Signal) => void) => Promise<void>,
): Promise<{ readonly code: number; readonly out: string; readonly took: number }> {
  const program = `
    import { interruptible, turn } from "${source}";
    await interruptible(async (signal) => {
      console.log("busy");
      for (const end = performance.now() + ${ms}; performance.now() < end;);
      for (let i = 0; i < 100 && !signal.aborted; i++) await turn();
      signal.throwIfAborted();
    }).catch((error) => (console.log(error.message), Deno.exit(error.exitCode)));`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-lock", "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(program));
  await writer.close();
  const reader = child.stdout.getReader(), first = await reader.read(), began = performance.now();
  await disturb((signal) => child.kill(signal));
  let out = "";
  for (let part = first; !part.done; part = await reader.read()) {
    out += new TextDecoder().decode(part.value);
  }
  const { code } = await child.status;
  return { code, out, took: performance.now() - began };
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe("interruptible()", () => {
  it("interruptible() aborts its work on a request to stop, once the event loop turns", async () => {
    // Not SIGINT, which ends the runner of tests as well; see the tests of the commands for that.
    let turns = 0;
    const work = interruptible(async (signal) => {
      Deno.kill(Deno.pid, "SIGTERM");
      for (; !signal.aborted; turns++) await turn();
      signal.throwIfAborted();
    });
    const error = await work.then(() => null, (error) => error);
    assert.ok(error instanceof Interrupted && turns > 0);
    assert.deepEqual([error.exitCode, error.message], [143, "stopped by SIGTERM"]);
  });

  it("Interrupted holds the exit code that shells expect, and says how far the work had come", () => {
    const { exitCode, message } = new Interrupted("SIGINT", "at step 3");
    assert.deepEqual([exitCode, message], [130, "stopped by SIGINT at step 3"]);
  });

  it("interruptible() gives what its work gives, and hands on what it throws", async () => {
    assert.equal(await interruptible(() => Promise.resolve(7)), 7);
    const own = new Error("own");
    await assert.rejects(interruptible(() => Promise.reject(own)), own);
  });

  it("interruptible() hears a request in the middle of a step, and ends in good order after it", async () => {
    for (const [name, wanted] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]] as const) {
      const { code, out } = await busy(500, (kill) => Promise.resolve(kill(name)));
      assert.deepEqual([code, out], [wanted, `busy\nstopped by ${name}\n`]);
    }
  });

  it("interruptible() lets a second request end the process at once, in the middle of a step", async () => {
    const { code, out, took } = await busy(20_000, async (kill) => {
      kill("SIGINT");
      await wait(300);
      kill("SIGINT");
    });
    assert.deepEqual([code, out], [130, "busy\n"]);
    assert.ok(took < 10_000, `it took ${took} ms`);
  });
});
