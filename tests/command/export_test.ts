import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decode } from "../../src/engine/onnx/proto.ts";
import { called, listed, same, started, weights, within } from "./run.ts";

/** Runs in a folder that has the weights of a tiny denoiser of 8 x 8 pixels and three classes. */
const withWeights = <A>(use: (folder: string, path: string) => Promise<A>): Promise<A> =>
  within(async (folder) => await use(folder, await weights(`${folder}/w.safetensors`)));

describe("tweedie export", () => {
  it("writes a graph with the model's schedule, kind and classes, and says what it takes", async () => {
    await withWeights(async (folder, path) => {
      const out = `${folder}/model.onnx`;
      const { code, said, shown } = await called("export", "--checkpoint", path, "--out", out);
      assert.match(said, /^tweedie: 0\.\d MB in \S+model\.onnx, from x \[N, 8, 8, 1\], /);
      assert.match(said, /, t \[N\], label \[N\] to prediction \(v\)\n$/);
      assert.deepEqual([code, shown], [0, ""]);
      const { inputs, metadata } = decode(await Deno.readFile(out));
      assert.deepEqual(inputs.map(({ name }) => name), ["x", "t", "label"]);
      assert.equal(metadata["kind"], "v");
      assert.equal(metadata["classes"], '["Trouser","Bag","Ankle boot"]');
      assert.deepEqual(listed(folder).map((file) => file.split(" ")[0]), [
        "model.onnx",
        "w.safetensors",
      ]);
    });
  });

  it("gives the same bytes again, over a file that is there", async () => {
    await withWeights(async (folder, path) => {
      const args = ["export", "--to", "onnx", "--checkpoint", path, "--out", `${folder}/m.onnx`];
      await Deno.writeTextFile(`${folder}/m.onnx`, "older");
      assert.equal((await called(...args)).code, 0);
      const first = await Deno.readFile(`${folder}/m.onnx`);
      assert.equal((await called(...args)).code, 0);
      same(await Deno.readFile(`${folder}/m.onnx`), first);
    });
  });

  it("needs no more than to read the weights and to write the file", async () => {
    await withWeights(async (folder, path) => {
      const out = `${folder}/out`;
      await Deno.mkdir(out);
      const run = started(["export", "--checkpoint", path, "--out", `${out}/m.onnx`], {
        permissions: [`--allow-read=${path},${out}`, `--allow-write=${out}`],
      });
      const { code, said } = await run.ended;
      assert.equal(code, 0, said);
      assert.equal(decode(await Deno.readFile(`${out}/m.onnx`)).opset, 18);
    });
  });

  it("refuses wrong usage with exit code 2 and leaves the folder as it was", async () => {
    await withWeights(async (folder, path) => {
      const before = listed(folder);
      const refused = async (message: RegExp, ...args: string[]) => {
        const { code, said } = await called("export", ...args);
        assert.match(said, message);
        assert.equal(code, 2);
        assert.deepEqual(listed(folder), before);
      };
      const out = `${folder}/m.onnx`;
      await refused(/required option '--checkpoint <file>' not specified/, "--out", out);
      await refused(/required option '--out <file>' not specified/, "--checkpoint", path);
      await refused(
        /'--out <file>' must end in \.onnx, got .*m\.pb/,
        ...["--checkpoint", path, "--out", `${folder}/m.pb`],
      );
      await refused(
        /'--to <format>' argument 'gguf' is invalid/,
        ...["--checkpoint", path, "--out", out, "--to", "gguf"],
      );
      await refused(
        /must be two files, got .*m\.onnx for both/,
        ...["--checkpoint", out, "--out", `${folder}/./m.onnx`],
      );
    });
  });

  it("ends with exit code 1 and one line where a file cannot be read or written", async () => {
    await withWeights(async (folder, path) => {
      await Deno.mkdir(`${folder}/folder.onnx`);
      await Deno.writeTextFile(`${folder}/text.safetensors`, "no weights at all");
      const before = listed(folder);
      const failed = async (message: RegExp, checkpoint: string, out: string) => {
        const { code, said } = await called("export", "--checkpoint", checkpoint, "--out", out);
        assert.match(said, message);
        assert.match(said, /^tweedie: [^\n]*\n$/);
        assert.equal(code, 1);
        assert.deepEqual(listed(folder), before);
      };
      await failed(/must be that of a file, got a folder/, path, `${folder}/folder.onnx`);
      await failed(/folder .* must exist and be writable/, path, `${folder}/missing/m.onnx`);
      await failed(
        /w2\.safetensors: it must be a file/,
        `${folder}/w2.safetensors`,
        `${folder}/m.onnx`,
      );
      await failed(/text\.safetensors/, `${folder}/text.safetensors`, `${folder}/m.onnx`);
    });
  });
});
