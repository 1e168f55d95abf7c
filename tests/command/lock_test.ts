import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { locked } from "../../src/command/train/lock.ts";
import { called, dataset, happening, listed, type Running, started, within } from "./run.ts";

/** Starts a command line that has a minute. */
function brief(args: readonly string[]): Running {
  const run = started(args), late = setTimeout(() => run.kill("SIGKILL"), 60_000);
  return { ...run, ended: run.ended.finally(() => clearTimeout(late)) };
}

const names = (folder: string): string[] => listed(folder).map((line) => line.split(" ")[0]!);

describe("locked()", () => {
  it("locked() holds a file for one at a time, by all its names, and leaves nothing behind", async () => {
    await within(async (folder) => {
      const path = `${folder}/run`,
        busy = { message: new RegExp(`got process ${Deno.pid} at work`) };
      await Deno.symlink("run", `${folder}/link`);
      const unlock = await locked(path);
      assert.equal(await Deno.readTextFile(`${path}.lock`), `${Deno.pid}\n`);
      await assert.rejects(locked(path), busy);
      await assert.rejects(locked(`${folder}/link`), busy);
      await assert.rejects(locked(`${folder}/other`, path), busy);
      assert.deepEqual(names(folder), ["link", "run.lock"]);
      await unlock();
      assert.deepEqual(names(folder), ["link"]);
      const again = await locked(path, `${folder}/other`);
      assert.deepEqual(names(folder), ["link", "other.lock", "run.lock"]);
      await again();
      assert.deepEqual(names(folder), ["link"]);
    });
  });

  it("locked() takes over what a process left that is no more", async () => {
    await within(async (folder) => {
      await Deno.writeTextFile(`${folder}/run.lock`, "1\n");
      const unlock = await locked(`${folder}/run`);
      assert.equal(await Deno.readTextFile(`${folder}/run.lock`), `${Deno.pid}\n`);
      await unlock();
      assert.deepEqual(names(folder), []);
    });
  });

  it("locked() does not take for its own a lock that was taken away while it waited for it", async () => {
    await within(async (folder) => {
      const lock = `${folder}/run.lock`, own = Deno.FsFile.prototype.tryLock;
      let turns = 0;
      Deno.FsFile.prototype.tryLock = async function (...args): Promise<boolean> {
        // As a holder does that lets go between the opening of the file and this.
        if (turns++ === 0) await Deno.remove(lock);
        return await own.apply(this, args);
      };
      try {
        const unlock = await locked(`${folder}/run`);
        assert.equal(turns, 2);
        assert.equal(await Deno.readTextFile(lock), `${Deno.pid}\n`);
        await unlock();
        assert.deepEqual(names(folder), []);
      } finally {
        Deno.FsFile.prototype.tryLock = own;
      }
    });
  });

  it("locked() gives a lock to one of many that ask at once, each time one lets go", async () => {
    await within(async (folder) => {
      let holders = 0, turns = 0;
      const worker = async () => {
        for (let made = 0; made < 20;) {
          const unlock = await locked(`${folder}/run`).catch(() => undefined);
          await new Promise((resolve) => setTimeout(resolve));
          if (unlock === undefined) continue;
          assert.equal(++holders, 1);
          await new Promise((resolve) => setTimeout(resolve));
          holders--;
          await unlock();
          made++;
          turns++;
        }
      };
      await Promise.all([worker(), worker(), worker()]);
      assert.equal(turns, 60);
    });
  });
});

describe("two runs of tweedie train on one checkpoint", () => {
  const small = [
    ...["--batch", "2", "--base", "8", "--multipliers", "1", "--patch", "4", "--engine", "wasm"],
    ...["--steps", "1000000", "--every", "5"],
  ];

  it("the second ends with code 1 and names the first, which goes on; what a killed one leaves is taken over", async () => {
    await within(async (folder) => {
      const data = await dataset(`${folder}/data`), file = (name: string) => `${folder}/${name}`;
      const args = (checkpoint: string, weights: string) => [
        ...["train", "--data", data, "--checkpoint", file(checkpoint)],
        ...["--weights", file(weights), ...small],
      ];
      const first = brief(args("run", "w"));
      await first.saying(/step 5\//);
      const pid = (await Deno.readTextFile(file("run.lock"))).trim();
      // As it would be while the first writes.
      const half = file("run.0123abcd.part");
      await Deno.writeTextFile(half, "half a checkpoint");
      await Deno.symlink("run", file("link"));
      for (const [checkpoint, weights] of [["run", "w"], ["link", "v"], ["other", "w"]] as const) {
        const { code, said } = await brief(args(checkpoint, weights)).ended;
        const path = file(checkpoint === "other" ? "w" : checkpoint);
        assert.equal(
          said,
          `tweedie: Cannot train: ${path} must be that of one run, got process ${pid} at work on it; wait for it, or stop it\n`,
        );
        assert.equal(code, 1);
      }
      assert.equal(await Deno.readTextFile(half), "half a checkpoint");
      assert.ok(!names(folder).some((name) => /^(other|v)/.test(name)), `${names(folder)}`);
      await happening(folder, first, ({ paths }) => paths.some((path) => path.endsWith("run")));
      first.kill("SIGKILL");
      assert.equal((await first.ended).code, 137);
      assert.ok(names(folder).includes("run.lock"));
      const second = brief(args("link", "w"));
      await second.saying(/steps \d+ to 1000000 of 2 images/);
      assert.notEqual((await Deno.readTextFile(file("run.lock"))).trim(), pid);
      second.kill("SIGINT");
      assert.equal((await second.ended).code, 130);
      assert.deepEqual(names(folder), ["data", "link", "run"]);
      assert.ok((await Deno.lstat(file("link"))).isSymlink);
    });
  });

  it("a run that fails lets go of its locks", async () => {
    await within(async (folder) => {
      const data = await dataset(`${folder}/data`);
      await Deno.writeTextFile(`${folder}/run`, "no checkpoint");
      const args = ["train", "--data", data, "--checkpoint", `${folder}/run`, ...small];
      const { code } = await called(...args);
      assert.equal(code, 1);
      assert.deepEqual(names(folder), ["data", "run"]);
    });
  });
});
