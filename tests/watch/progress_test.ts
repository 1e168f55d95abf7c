import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { progress, type Progressing, type ProgressOptions } from "../../src/watch/progress.ts";

/** What progress writes of items that come at given times, in milliseconds. */
async function written(
  items: readonly (Progressing & { at: number })[],
  options: ProgressOptions,
  count = Infinity,
): Promise<string[]> {
  const log: string[] = [];
  let clock = 0, seen = 0;
  async function* timed() {
    for (const item of items) {
      clock = item.at;
      yield item;
    }
  }
  const watch = progress({ write: (text) => void log.push(text), now: () => clock, ...options });
  for await (const item of watch(timed())) {
    assert.equal(item, items[seen]);
    if (++seen === count) break;
  }
  return log;
}

const run = Array.from({ length: 5 }, (_, step) => ({ step, t: 1 - step / 4, at: 2000 * step }));

describe("progress()", () => {
  it("progress() shows the step, the time, the rate, what has passed and what is left", async () => {
    const [first, second] = await written(run, { total: 4, style: "plain", label: "sampling" });
    assert.equal(first, "sampling 0/4 t 1 0.0 s\n");
    assert.equal(second, "sampling 1/4 t 0.75 0.5 steps/s 2.0 s 6.0 s left\n");
  });

  it("progress() rewrites one line and ends it once", async () => {
    const log = await written(run, { total: 4 });
    assert.equal(log.length, 6);
    assert.ok(log.slice(0, 5).every((text) => text.startsWith("\r\x1b[K") && !text.includes("\n")));
    assert.equal(log[5], "\n");
  });

  it("progress() shows the steps of a training with their loss", async () => {
    const states = [{ step: 10, loss: 0.123456, at: 0 }, { step: 30, loss: 0.1, at: 100_000 }];
    const log = await written(states, { total: 40, style: "plain" });
    assert.deepEqual(log, [
      "10/40 loss 0.1235 0.0 s\n",
      "30/40 loss 0.1 0.2 steps/s 1 min 40 s 50.0 s left\n",
    ]);
  });

  it("progress() counts items that have no step", async () => {
    const log = await written([{ at: 0 }, { at: 0 }, { at: 7_260_000 }], { style: "plain" });
    assert.deepEqual(log.map((text) => text.split(" ")[0]), ["0", "1", "2"]);
    assert.match(log[2]!, /2 h 1 min/);
  });

  it("progress() writes at every n-th item and at the last", async () => {
    const steps = (log: string[]) => log.map((text) => Number(text.split(" ")[0]));
    assert.deepEqual(steps(await written(run, { every: 3, style: "plain" })), [0, 3, 4]);
  });

  it("progress() writes no oftener than the interval", async () => {
    const items = [0, 50, 99, 100, 150, 250].map((at, step) => ({ step, at }));
    const log = await written(items, {});
    assert.deepEqual(log.map((text) => text.match(/K(\d)/)?.[1]), ["0", "3", "5", undefined]);
  });

  it("progress() ends its line with the latest place when it is broken off", async () => {
    const log = await written(run, { every: 2 }, 2);
    assert.match(log.at(-2)!, /K1 t 0.75/);
    assert.equal(log.at(-1), "\n");
  });

  it("progress() writes nothing for an empty stream", async () => {
    assert.deepEqual(await written([], {}), []);
  });

  it("progress() is silent where the standard error is not a terminal, unless told otherwise", async () => {
    const module = new URL("../../src/watch/progress.ts", import.meta.url).href;
    const config = fileURLToPath(new URL("../../deno.json", import.meta.url));
    const code = (style: string) =>
      `import { progress } from ${JSON.stringify(module)};
       const items = ReadableStream.from([{ step: 0 }, { step: 1 }]);
       for await (const _ of progress({ style: "${style}", now: () => 0 })(items));`;
    const said = async (style: string): Promise<string> => {
      const args = ["eval", "--quiet", "--no-lock", "--config", config, code(style)];
      const { stderr, stdout } = await new Deno.Command(Deno.execPath(), { args }).output();
      assert.equal(stdout.length, 0);
      return new TextDecoder().decode(stderr);
    };
    assert.equal(await said("auto"), "");
    assert.equal(await said("plain"), "0 0.0 s\n1 0.0 s\n");
  });

  it("progress() refuses counts and times that are out of range", () => {
    for (const bad of [{ total: -1 }, { every: 0 }, { interval: NaN }, { every: 1.5 }]) {
      assert.throws(() => progress(bad), RangeError);
    }
    assert.throws(() => progress({ every: 0, interval: -1 }), {
      message: "Cannot show progress: every must be a whole number of at least 1, got 0; " +
        "interval must be at least 0 ms, got -1",
    });
    assert.throws(() => progress({ style: "bar" as "line" }), {
      name: "RangeError",
      message: 'Cannot show progress: style must be one of auto, line, plain, got "bar"',
    });
  });

  it("progress() refuses an option that it does not know", () => {
    assert.throws(() => progress({ totl: 5 } as ProgressOptions), {
      name: "TypeError",
      message: /^Cannot show progress: options must be among total, every, .*, got "totl"$/,
    });
  });
});
