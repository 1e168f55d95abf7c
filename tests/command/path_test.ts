import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { isNumbered, real } from "../../src/command/path.ts";
import { called, dataset, guide, listed, tiny, weights, within } from "./run.ts";

describe("real()", () => {
  it("real() follows links, of files and of folders, also to where there is no file yet", async () => {
    await within(async (folder) => {
      const home = await Deno.realPath(folder);
      await Deno.mkdir(`${folder}/a`);
      await Deno.writeTextFile(`${folder}/a/file`, "");
      await Deno.symlink("a", `${folder}/b`);
      await Deno.symlink("b/file", `${folder}/link`);
      await Deno.symlink("b/new", `${folder}/dangling`);
      await Deno.symlink("dangling", `${folder}/second`);
      await Deno.symlink("round", `${folder}/round`);
      await Deno.mkdir(`${folder}/a/deep`);
      await Deno.symlink("a/deep", `${folder}/deep`);
      await Deno.symlink("../new", `${folder}/a/deep/up`);
      for (const name of ["a/file", "b/file", "./b/../a/file", "link"]) {
        assert.equal(await real(`${folder}/${name}`), `${home}/a/file`, name);
      }
      for (const name of ["a/new", "b/new", "dangling", "second", "deep/up"]) {
        assert.equal(await real(`${folder}/${name}`), `${home}/a/new`, name);
      }
      assert.equal(typeof await real(`${folder}/round`), "string");
      assert.equal(await real("/nowhere/at/all"), "/nowhere/at/all");
    });
  });
});

describe("isNumbered()", () => {
  it("isNumbered() sees through links, of a frame to the file and of the file to a frame", async () => {
    await within(async (folder) => {
      const pattern = `${folder}/%d.png`;
      await Deno.writeTextFile(`${folder}/weights`, "");
      await Deno.symlink("weights", `${folder}/3.png`);
      assert.ok(await isNumbered(pattern, 4, `${folder}/weights`));
      assert.ok(!await isNumbered(pattern, 3, `${folder}/weights`));
      await Deno.writeTextFile(`${folder}/1.png`, "");
      await Deno.symlink("1.png", `${folder}/latest`);
      assert.ok(await isNumbered(pattern, 2, `${folder}/latest`));
      assert.ok(!await isNumbered(pattern, 1, `${folder}/latest`));
    });
  });

  it("isNumbered() knows the files that a pattern is filled in to, and no others", async () => {
    await within(async (folder) => {
      await Deno.mkdir(`${folder}/12`);
      const is = (pattern: string, path: string) =>
        isNumbered(`${folder}/${pattern}`, 11, `${folder}/${path}`);
      const right = [
        ["%d.png", "10.png"],
        ["f%02d.png", "f07.png"],
        ["f%02d.png", "./f10.png"],
        ["f%02d.png", "12/../f00.png"],
        ["7%d.png", "75.png"],
        ["%d7%%.png", "107%.png"],
        ["%02d/x.png", "03/x.png"],
      ] as const;
      for (const [pattern, path] of right) assert.ok(await is(pattern, path), `${pattern} ${path}`);
      const wrong = [
        ["%d.png", "11.png"],
        ["%d.png", "07.png"],
        ["f%02d.png", "f7.png"],
        ["f%02d.png", "g07.png"],
        ["f%02d.png", "12/f07.png"],
        ["f%02d.png", "f.png"],
      ] as const;
      for (const [pattern, path] of wrong) {
        assert.ok(!await is(pattern, path), `${pattern} ${path}`);
      }
      await Deno.symlink("12", `${folder}/link`);
      assert.ok(await is("12/%d.png", "link/3.png"));
    });
  });
});

describe("outputs", () => {
  /** The command must refuse what it was asked, with code 2, before it writes anything. */
  async function refused(folder: string, message: RegExp, ...args: string[]): Promise<void> {
    const before = listed(folder), { code, said } = await called(...args);
    assert.match(said, message);
    assert.equal(code, 2, said);
    assert.deepEqual(listed(folder), before);
  }

  it("a picture is not written over the weights, the classifier, a frame or another picture, by whatever name", async () => {
    await within(async (folder) => {
      const file = (name: string) => `${folder}/${name}`;
      await weights(file("w.png"), tiny);
      await guide(file("01.png"));
      await Deno.symlink("w.png", file("link.png"));
      await Deno.symlink("new.png", file("dangling.png"));
      const sample = (out: string, ...more: string[]) =>
        refused(
          folder,
          new RegExp(more.pop()!),
          ...["sample", "--checkpoint", file("w.png"), "--out", file(out), ...more],
        );
      const two = (a: string, b: string) => `'${a} <file>' and '${b} <file>' must be two files`;
      await sample("w.png", two("--out", "--checkpoint"));
      await sample("link.png", two("--out", "--checkpoint"));
      await sample("a.png", "--final", file("link.png"), two("--checkpoint", "--final"));
      await sample("01.png", "--classifier", file("01.png"), two("--out", "--classifier"));
      await sample("new.png", "--final", file("dangling.png"), two("--out", "--final"));
      const frames = (final: string, ...more: string[]) =>
        sample(
          "%02d.png",
          ...["--frames", "pngs", "--steps", "4", "--final", file(final), ...more],
          "'--final <file>' must not be one of the frames .*%02d\\.png, got ",
        );
      await frames("00.png");
      await frames("04.png");
      await frames("02.png", "--every", "3");
      await sample(
        "%02d.png",
        ...["--frames", "pngs", "--classifier", file("01.png")],
        "'--classifier <file>' must not be one of the frames",
      );
      for (const [final, every] of [["05.png", "1"], ["03.png", "3"]] as const) {
        const { code, said } = await called(
          ...["sample", "--checkpoint", file("w.png"), "--out", file("%02d.png"), "--count", "1"],
          ...["--frames", "pngs", "--steps", "4", "--every", every, "--engine", "wasm"],
          ...["--final", file(final)],
        );
        assert.deepEqual([code, said], [0, ""]);
      }
    });
  });

  it("a link is followed by whatever writes: it stays one, and leads to what was written", async () => {
    await within(async (folder) => {
      const path = await weights(`${folder}/w.safetensors`);
      await Deno.mkdir(`${folder}/there`);
      const link = async (name: string): Promise<string> => {
        await Deno.writeTextFile(`${folder}/there/${name}`, "older");
        await Deno.symlink(`there/${name}`, `${folder}/${name}`);
        return `${folder}/${name}`;
      };
      const run = async (...args: string[]) => {
        const { code, said } = await called(...args);
        assert.equal(code, 0, said);
      };
      const sample = ["sample", "--checkpoint", path, "--count", "1", "--steps", "1"];
      const out = await link("a.png"), final = await link("b.png"), model = await link("m.onnx");
      await run(...sample, "--engine", "wasm", "--frames", "apng", "--out", out, "--final", final);
      await run("export", "--checkpoint", path, "--out", model);
      for (const at of [out, final, model]) {
        assert.ok((await Deno.lstat(at)).isSymlink, at);
        assert.ok((await Deno.stat(at)).size > 10, at);
      }
      assert.deepEqual(listed(`${folder}/there`).map((line) => line.split(" ")[0]), [
        "a.png",
        "b.png",
        "m.onnx",
      ]);
    });
  });

  it("a run does not keep its state over its data, its weights or its lock, by whatever name", async () => {
    await within(async (folder) => {
      const data = await dataset(`${folder}/data`), file = (name: string) => `${folder}/${name}`;
      await Deno.symlink("run", file("link"));
      const train = (message: RegExp, ...more: string[]) =>
        refused(folder, message, "train", "--data", data, "--steps", "1", ...more);
      const images = `${data}/train-images-idx3-ubyte`;
      await train(/'--data <folder>' .* must be two files/, "--checkpoint", images);
      await train(
        /'--data <folder>' .* must be two files/,
        ...["--checkpoint", file("run"), "--weights", `${data}/../data/train-labels-idx1-ubyte`],
      );
      const two = /'--checkpoint <file>' and '--weights <file>' must be two files/;
      await train(two, "--checkpoint", file("run"), "--weights", file("link"));
      await train(two, "--checkpoint", file("run"), "--weights", file("run.lock"));
      await train(
        /'--checkpoint <file>' and '--start <file>' must be two files/,
        ...["--checkpoint", file("run"), "--start", file("link")],
      );
    });
  });
});
