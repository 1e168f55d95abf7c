import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { checkWritable, writeAtomically } from "../../src/io/file.ts";
import { inFolder, names } from "./folder.ts";

/** Runs a test in a folder of its own. */

const text = (words: string): Uint8Array => new TextEncoder().encode(words);

describe("writeAtomically()", () => {
  it("writeAtomically() writes bytes and streams, new or over a file, and leaves nothing beside", () =>
    inFolder(async (folder) => {
      const path = `${folder}/a.bin`, large = new Uint8Array(300_000).map((_, i) => i % 251);
      await writeAtomically(path, large);
      const back = await Deno.readFile(path);
      assert.ok(back.length === large.length && back.every((byte, i) => byte === large[i]));
      await writeAtomically(path, ReadableStream.from([text("one "), text(""), text("two")]));
      assert.equal(await Deno.readTextFile(path), "one two");
      assert.deepEqual(names(folder), ["a.bin"]);
    }));

  it("writeAtomically() shows the old file until the new one is whole", () =>
    inFolder(async (folder) => {
      const path = `${folder}/a.txt`;
      await writeAtomically(path, text("old"));
      await writeAtomically(
        path,
        (async function* () {
          yield text("new ");
          assert.equal(await Deno.readTextFile(path), "old");
          yield text("text");
        })(),
      );
      assert.equal(await Deno.readTextFile(path), "new text");
    }));

  it("writeAtomically() leaves the old file and nothing half-written when the stream throws", () =>
    inFolder(async (folder) => {
      const path = `${folder}/a.txt`, mine = new Error("mine");
      await writeAtomically(path, text("old"));
      const failing = (async function* () {
        yield text("half");
        throw mine;
      })();
      await assert.rejects(writeAtomically(path, failing), (error) => error === mine);
      assert.equal(await Deno.readTextFile(path), "old");
      assert.deepEqual(names(folder), ["a.txt"]);
    }));

  it("writeAtomically() follows a link and keeps it", () =>
    inFolder(async (folder) => {
      await Deno.mkdir(`${folder}/real`);
      await writeAtomically(`${folder}/real/a.txt`, text("old"));
      await Deno.symlink("real/a.txt", `${folder}/link.txt`);
      await writeAtomically(`${folder}/link.txt`, text("new"));
      assert.equal(await Deno.readTextFile(`${folder}/real/a.txt`), "new");
      assert.ok((await Deno.lstat(`${folder}/link.txt`)).isSymlink);
      assert.deepEqual(names(`${folder}/real`), ["a.txt"]);
    }));

  it("writeAtomically() keeps the permissions of the file that it replaces, and gives a new one the usual", () =>
    inFolder(async (folder) => {
      const path = `${folder}/a.txt`, usual = `${folder}/b.txt`;
      const modeOf = async (file: string) => ((await Deno.stat(file)).mode ?? 0) & 0o7777;
      await Deno.writeTextFile(usual, "");
      await writeAtomically(path, text("new"));
      assert.equal(await modeOf(path), await modeOf(usual));
      for (const mode of [0o600, 0o644, 0o400, 0o755, 0o666]) {
        await Deno.chmod(path, mode);
        await writeAtomically(
          path,
          (async function* () {
            yield text(`of ${mode}`);
            const [part] = names(folder).filter((name) => name.endsWith(".part"));
            assert.equal(await modeOf(`${folder}/${part}`) & 0o077, 0, "others can read the draft");
          })(),
        );
        assert.equal(await modeOf(path), mode);
        assert.equal(await Deno.readTextFile(path), `of ${mode}`);
      }
    }));

  it("writeAtomically() and checkWritable() follow links to nothing, whose file is made", () =>
    inFolder(async (folder) => {
      await Deno.mkdir(`${folder}/real/deep`, { recursive: true });
      await Deno.symlink("real/deep", `${folder}/deep`);
      await Deno.symlink("../a.txt", `${folder}/real/deep/up.txt`);
      await Deno.symlink(`${folder}/deep/up.txt`, `${folder}/first.txt`);
      for (const path of [`${folder}/first.txt`, `${folder}/deep/up.txt`]) {
        await checkWritable(path);
        assert.deepEqual(names(`${folder}/real`), ["deep"]);
        await writeAtomically(path, text("here"));
        assert.equal(await Deno.readTextFile(`${folder}/real/a.txt`), "here");
        assert.ok((await Deno.lstat(path)).isSymlink);
        assert.deepEqual(names(`${folder}/real`), ["a.txt", "deep"]);
        await Deno.remove(`${folder}/real/a.txt`);
      }
      await Deno.symlink("no/a.txt", `${folder}/lost.txt`);
      await assert.rejects(
        writeAtomically(`${folder}/lost.txt`, text("x")),
        (error: Error) => error.message.includes(`lost.txt: folder ${folder}/no/ must exist`),
      );
      await Deno.symlink("loop.txt", `${folder}/loop.txt`);
      await assert.rejects(
        writeAtomically(`${folder}/loop.txt`, text("x")),
        /Cannot write .*, got /,
      );
    }));

  it("writeAtomically() refuses a stream of what are not bytes, and leaves the old file", () =>
    inFolder(async (folder) => {
      const path = `${folder}/a.txt`;
      await writeAtomically(path, text("old"));
      const words = ReadableStream.from(["words"]) as unknown as AsyncIterable<Uint8Array>;
      await assert.rejects(writeAtomically(path, words), {
        name: "TypeError",
        message: `Cannot write ${path}: bytes must be Uint8Arrays, got String`,
      });
      assert.equal(await Deno.readTextFile(path), "old");
      assert.deepEqual(names(folder), ["a.txt"]);
    }));

  it("writeAtomically() refuses folders and devices, and names a folder that is missing", () =>
    inFolder(async (folder) => {
      await assert.rejects(writeAtomically(folder, text("x")), TypeError);
      await assert.rejects(writeAtomically("/dev/null", text("x")), /got a device/);
      const path = `${folder}/no/a.txt`;
      const error = await writeAtomically(path, text("x")).then(() => assert.fail(), (e) => e);
      assert.ok(error.message.startsWith(`Cannot write ${path}: folder ${folder}/no/ must exist`));
      assert.ok(error.cause instanceof Deno.errors.NotFound);
      assert.deepEqual(names(folder), []);
    }));

  it("writeAtomically() does not read its stream when the folder is missing, nor a file where a folder should be", () =>
    inFolder(async (folder) => {
      let touched = false;
      const bytes = (async function* () {
        touched = true;
        yield text("x");
      })();
      await writeAtomically(`${folder}/file`, text("x"));
      await assert.rejects(
        writeAtomically(`${folder}/file/a.txt`, bytes),
        /must exist and be writable/,
      );
      assert.equal(touched, false);
    }));
});

describe("an unwritable folder", () => {
  it("writeAtomically() says so before reading its stream, and leaves nothing", () =>
    inFolder(async (folder) => {
      // Permissions of Deno, not of the system: the tests may run as root, whom no folder refuses.
      const file = new URL("../../src/io/file.ts", import.meta.url).href;
      const code = `import { writeAtomically } from ${JSON.stringify(file)};
        async function* bytes() { console.log("touched"); yield new Uint8Array(1); }
        await writeAtomically(${
        JSON.stringify(`${folder}/a.txt`)
      }, bytes()).catch((e) => console.log(e.message));`;
      const script = `${folder}/script.ts`;
      await Deno.writeTextFile(script, code);
      const args = ["run", "--no-config", "--no-prompt", "--allow-read", script];
      const { stdout } = await new Deno.Command(Deno.execPath(), { args }).output();
      const said = new TextDecoder().decode(stdout);
      assert.match(
        said,
        /^Cannot write .*a\.txt: folder .* must exist and be writable, got NotCapable/,
      );
      assert.ok(!said.includes("touched"));
      assert.deepEqual(names(folder), ["script.ts"]);
    }));

  it("checkWritable() passes where a file can go and refuses where none can, leaving nothing", () =>
    inFolder(async (folder) => {
      await checkWritable(`${folder}/a.txt`);
      await assert.rejects(checkWritable(`${folder}/no/a.txt`), /got NotFound/);
      await assert.rejects(checkWritable(folder), TypeError);
      assert.deepEqual(names(folder), []);
    }));
});
