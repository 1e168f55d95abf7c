import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { imports, packageOf, type Rule, rules, type Source } from "./layers.ts";

const root = new URL("../../", import.meta.url);

/** Every file below a folder, with paths from the root. */
async function below(folder: string): Promise<Source[]> {
  const found: Source[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, root))) {
    const path = `${folder}${name}`;
    if (isDirectory) found.push(...await below(`${path}/`));
    else found.push({ path, text: await Deno.readTextFile(new URL(path, root)) });
  }
  return found;
}

const sources = [
  { path: "mod.ts", text: await Deno.readTextFile(new URL("mod.ts", root)) },
  ...await below("src/"),
];

const file = (path: string, text: string): Source => ({ path, text });

/** The rule finds this fault and no other, and finds none once the fault is gone. */
function catches(
  rule: Rule,
  wrong: readonly Source[],
  fault: string,
  right: readonly Source[],
): void {
  assert.deepEqual(rule(wrong), [fault]);
  assert.deepEqual(rule(right), []);
}

describe("the sources", () => {
  it("the sources are found", () => {
    assert.ok(sources.some(({ path }) => path === "src/tensor/key.ts"));
    assert.ok(sources.length > 20);
  });

  for (const [name, rule] of Object.entries(rules)) {
    it(`the sources keep the rule ${name}`, () => assert.deepEqual(rule(sources), []));
  }
});

describe("imports()", () => {
  const read = (text: string) => imports(file("src/io/a.ts", text));

  it("imports() reads every form, with the names", () => {
    assert.deepEqual(
      read(`
        import * as tf from "a";
        import { one, type Two as Three } from 'b';
        import type { Four } from "c";
        import Five, { six } from "d";
        export * from "e";
        export { seven } from "f";
        import {
          eight,
          nine,
        } from "g";
        import "h";
        const i = await import("i"), j = import(
          "j",
        );`),
      [
        { specifier: "a", names: ["*"] },
        { specifier: "b", names: ["one", "Two"] },
        { specifier: "c", names: ["Four"] },
        { specifier: "d", names: ["six"] },
        { specifier: "e", names: ["*"] },
        { specifier: "f", names: ["seven"] },
        { specifier: "g", names: ["eight", "nine"] },
        { specifier: "h", names: [] },
        { specifier: "i", names: [] },
        { specifier: "j", names: [] },
      ],
    );
  });

  it("imports() passes over comments, pages in templates and computed names", () => {
    assert.deepEqual(
      read(`
        /** \`\`\`ts
         * import { a } from "a";
         */
        // import "b";
        const url = "https://example.org"; import "c";
        const page = \`<script>
          import "d";
        </script>\`;
        await import(url);
        const imported = { from: "e" };`),
      [{ specifier: "c", names: [] }],
    );
  });

  it("imports() agrees with Deno's own reading of the sources", async () => {
    const { success, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", "--no-lock", "--no-npm", "mod.ts"],
      cwd: root,
      stderr: "inherit",
    }).output();
    assert.ok(success);
    type Module = { specifier: string; dependencies?: { specifier: string }[] };
    const { modules } = JSON.parse(new TextDecoder().decode(stdout)) as { modules: Module[] };
    const local = modules.filter(({ specifier }) => specifier.startsWith(root.href));
    assert.ok(local.length > 10);
    for (const { specifier, dependencies = [] } of local) {
      const source = sources.find(({ path }) => new URL(path, root).href === specifier)!;
      const ours = new Set(imports(source).map((made) => made.specifier));
      assert.deepEqual(
        [...ours].sort(),
        dependencies.map((made) => made.specifier).sort(),
        source.path,
      );
    }
  });

  it("packageOf() leaves out scheme, version and path", () => {
    for (const name of ["@a/b", "@a/b/c", "npm:@a/b@^1.2.0/c", "npm:/@a/b@1/c", "jsr:@a/b@1"]) {
      assert.equal(packageOf(name), "@a/b");
    }
    for (const name of ["fp-ts", "fp-ts/lib/function.js", "npm:fp-ts@^2"]) {
      assert.equal(packageOf(name), "fp-ts");
    }
  });
});

describe("each rule", () => {
  it("each rule is shown to fail: placed", () =>
    catches(
      rules.placed!,
      [file("src/extra/a.ts", ""), file("src/io/a.ts", "")],
      "src/extra/a.ts has no place in the order of folders",
      [file("src/io/a.ts", ""), file("src/cli.ts", ""), file("src/engine/onnx/run.ts", "")],
    ));

  it("each rule is shown to fail: oneWay, for a later folder, statically and dynamically", () => {
    const fault = "src/noise/a.ts imports src/sample/b.ts, which comes later";
    const right = [
      file("src/sample/b.ts", `import "../noise/a.ts"; import type { C } from "./c.ts";`),
      file("src/cli.ts", `import "./sample/b.ts";`),
      file("src/engine/onnx/run.ts", `import "../../io/a.ts"; import "./trace.ts";`),
    ];
    catches(
      rules.oneWay!,
      [file("src/noise/a.ts", `export * from "../sample/b.ts";`)],
      fault,
      right,
    );
    catches(
      rules.oneWay!,
      [file("src/noise/a.ts", `import type { B } from "../sample/b.ts";`)],
      fault,
      right,
    );
    catches(
      rules.oneWay!,
      [file("src/noise/a.ts", `await import("../sample/b.ts");`)],
      fault,
      right,
    );
  });

  it("each rule is shown to fail: oneWay, for the root and the package itself", () => {
    catches(
      rules.oneWay!,
      [file("src/io/a.ts", `import { key } from "../../mod.ts";`)],
      "src/io/a.ts imports mod.ts, which is in no folder of src",
      [file("src/io/a.ts", `import { key } from "../tensor/key.ts";`)],
    );
    catches(
      rules.oneWay!,
      [file("src/io/a.ts", `import "@tweedie/tweedie/backend";`)],
      "src/io/a.ts imports its own package, @tweedie/tweedie/backend",
      [file("src/io/a.ts", `import "@tensorflow/tfjs-core";`)],
    );
  });

  it("each rule is shown to fail: oneWayWithin, for a later file, and one without a place", () => {
    catches(
      rules.oneWayWithin!,
      [file("src/engine/graph/a.ts", `import type { B } from "../compile/b.ts";`)],
      "src/engine/graph/a.ts imports src/engine/compile/b.ts, which comes later in engine",
      [
        file("src/engine/compile/b.ts", `import "../graph/a.ts"; import "./c.ts";`),
        file("src/noise/grid.ts", `import "./spacing.ts"; import "../tensor/check/check.ts";`),
      ],
    );
    catches(
      rules.oneWayWithin!,
      [file("src/network/a.ts", `import "../tensor/check/check.ts";`)],
      "src/network/a.ts has no place in the order of network",
      [file("src/io/a.ts", `import "./b.ts";`)],
    );
  });

  it("each rule is shown to fail: lightRoot, however far away and by any form", () => {
    const tree = (last: string) => [
      file("mod.ts", `export * from "./src/io/a.ts";`),
      file(
        "src/io/a.ts",
        `import "../noise/b.ts";\nimport type * as zlib from "node:zlib";\nimport { pipe } from "fp-ts/lib/function.js";`,
      ),
      file("src/noise/b.ts", last),
      file("src/cli.ts", `import "commander";`),
    ];
    const right = tree(`import * as tf from "@tensorflow/tfjs-core";`);
    for (
      const name of [
        "@tensorflow/tfjs-backend-cpu",
        "onnxruntime-node",
        "commander",
        "npm:onnxruntime-web@1",
        "node:zlib",
      ]
    ) {
      const fault = `mod.ts reaches ${name} through src/noise/b.ts`;
      catches(rules.lightRoot!, tree(`import "${name}";`), fault, right);
      catches(rules.lightRoot!, tree(`await import("${name}");`), fault, right);
    }
  });

  it("each rule is shown to fail: lightRoot, for the choice of a backend", () => {
    const backend = (text: string) => [file("src/tensor/backend/backend.ts", text)];
    catches(
      rules.lightRoot!,
      backend(`await import("@tensorflow/tfjs-backend-cpu");`),
      "src/tensor/backend/backend.ts reaches @tensorflow/tfjs-backend-cpu through src/tensor/backend/backend.ts",
      backend(`const name = "@tensorflow/tfjs-backend-cpu"; await import(name);`),
    );
  });

  it("each rule is shown to fail: guarded", () =>
    catches(
      rules.guarded!,
      [file("src/watch/a.ts", `Deno.stderr.writeSync(text);`)],
      "src/watch/a.ts asks for Deno without a guard",
      [
        file("src/watch/a.ts", `if (isDeno()) Deno.stderr.writeSync(text);`),
        file("src/watch/b.ts", `/** Deno.stat */ const a = "Deno.stat";`),
        file("src/io/a.ts", `Deno.stat(path);`),
      ],
    ));

  it("each rule is shown to fail: lightRoot, for what is to be loaded on demand", () => {
    const root = (text: string) => [file("mod.ts", text)];
    for (const name of ["fast-png", "npm:jpeg-js@^0.4.4"]) {
      const fault = `mod.ts reaches ${name} through mod.ts`, late = `await import("${name}");`;
      catches(rules.lightRoot!, root(`import "${name}";`), fault, root(late));
      catches(rules.lightRoot!, root(`export * from "${name}"; ${late}`), fault, root(late));
    }
  });

  it("each rule is shown to fail: small", () => {
    const files = (count: number) =>
      Array.from({ length: count }, (_, i) => file(`src/io/${i}.ts`, ""));
    catches(rules.small!, files(8), "src/io holds 8 files, more than 7", files(7));
  });

  it("each rule is shown to fail: telling", () => {
    for (
      const path of ["src/io/utils.ts", "src/helpers/a.ts", "src/common.ts", "src/io/core/a.ts"]
    ) {
      catches(rules.telling!, [file(path, "")], `${path} has a name that says nothing`, [
        file("src/io/score.ts", ""),
      ]);
    }
  });

  it("each rule is shown to fail: fpTs", () => {
    for (
      const name of [
        "fp-ts",
        "fp-ts/Either",
        "fp-ts/lib/Either",
        "fp-ts/es6/Either.js",
        "npm:fp-ts@2/lib/Either.js",
      ]
    ) {
      catches(
        rules.fpTs!,
        [file("src/io/a.ts", `import { a } from "${name}";`)],
        `src/io/a.ts imports ${name}, not fp-ts/lib/*.js`,
        [file("src/io/a.ts", `import { right } from "fp-ts/lib/Either.js";`)],
      );
    }
  });

  it("each rule is shown to fail: ix", () => {
    const right = [
      file("src/io/a.ts", `import { map, take as first } from "ix/asynciterable/operators";`),
      file("src/io/b.ts", `import { scan } from "ix/asynciterable/operators/scan";`),
      file(
        "src/io/c.ts",
        `import { from } from "ix/asynciterable"; import type { A } from "ix/interfaces";`,
      ),
    ];
    const wrong = {
      "skip from ix/asynciterable/operators":
        `import { map, skip } from "ix/asynciterable/operators";`,
      "takeUntil from ix/asynciterable/operators/takeuntil":
        `import { takeUntil } from "ix/asynciterable/operators/takeuntil";`,
      "* from ix/asynciterable/operators": `import * as op from "ix/asynciterable/operators";`,
      "create, merge from ix/asynciterable": `import { create, merge } from "ix/asynciterable";`,
      "everything from ix/asynciterable/operators": `await import("ix/asynciterable/operators");`,
      "from from ix": `import { from } from "ix";`,
    };
    for (const [what, text] of Object.entries(wrong)) {
      catches(rules.ix!, [file("src/io/a.ts", text)], `src/io/a.ts takes ${what}`, right);
    }
  });

  it("each rule is shown to fail: silent", () =>
    catches(
      rules.silent!,
      [file("src/io/a.ts", `export const a = () => console.log("a");`)],
      "src/io/a.ts writes to the console",
      [
        file("src/cli.ts", `console.error("a");`),
        file("src/io/a.ts", `// console.log\nexport const a = "console.log";`),
      ],
    ));

  it("each rule is shown to fail by a test of its own", async () => {
    const text = await Deno.readTextFile(new URL(import.meta.url));
    for (const name of Object.keys(rules)) {
      assert.match(text, new RegExp(`catches\\(\\s*rules\\.${name}!`));
    }
  });
});
