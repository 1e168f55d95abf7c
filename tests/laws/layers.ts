/**
 * The shape of the sources, as rules over their text: which way imports point, what the root reaches, how files are
 * named and counted, which parts of fp-ts and ix are used, and that the library prints nothing.
 *
 * A rule is a function from sources to faults, so that a test can show that it fails on sources that are made up.
 *
 * @module
 */

/** A file of the repository. */
export interface Source {
  /** Path from the root, such as `src/noise/grid.ts`. */
  readonly path: string;
  /** Its text. */
  readonly text: string;
}

/** An import or re-export that a source makes. */
export interface Import {
  /** What it imports from. */
  readonly specifier: string;
  /** The names of an import clause in braces; `*` for a whole namespace; empty for a bare or dynamic import. */
  readonly names: readonly string[];
}

/** A law: the faults that it finds. */
export type Rule = (sources: readonly Source[]) => string[];

/** Folders of `src`, and files right under it, in the order in which they may build on each other. */
export const order: readonly string[] = [
  "tensor",
  "chain",
  "solve",
  "noise",
  "denoise",
  "energy",
  "sample",
  "refine",
  "metric",
  "watch",
  "data",
  "network",
  "train",
  "io",
  "engine",
  "shard",
  "viewer",
  "command",
  "cli",
];

/** Folders and files of one folder of `src`, in the order in which they may build on each other, where there is one. */
export const innerOrder: Readonly<Record<string, readonly string[]>> = {
  noise: ["schedule", "named", "spacing", "grid", "forward", "mod"],
  network: [
    "field",
    "layer",
    "mlp",
    "unet",
    "classifier",
    "energy",
    "architecture",
    "model",
    "mod",
  ],
  engine: ["graph", "lower", "blocks", "runtime", "onnx", "compile", "denoiser", "open"],
};

/** All that importing the root may bring in. */
export const rootPackages: readonly string[] = [
  "@stdlib/math-base-special-digamma",
  "@stdlib/math-base-special-gammaln",
  "@tensorflow/tfjs-core",
  "fflate",
  "fp-ts",
  "ix",
  "ml-matrix",
  "ndarray",
];

/** Entry points that can be imported in every runtime, and the packages that each may bring in. */
export const portable: Readonly<Record<string, readonly string[]>> = {
  "mod.ts": rootPackages,
  "src/tensor/backend/backend.ts": ["@tensorflow/tfjs-core"],
};

/** Folders and files of what only Deno can do, and those that first ask where they are. */
const denoOnly = /^src\/(cli\.ts|command\/|engine\/|io\/)/;

/** What is loaded when it is needed, as decoders are when there is a picture: by dynamic imports alone. */
export const onDemand: readonly string[] = ["fast-png", "fflate", "jpeg-js"];

/** ix operators that close their source when the consumer stops, throws or aborts; the others leak or run ahead. */
export const ixOperators: ReadonlySet<string> = new Set(
  `batch buffer concatAll concatMap concatWith defaultIfEmpty delay delayEach distinct distinctUntilChanged doWhile
   endWith expand filter finalize flatMap map pairwise repeat scan skipLast skipWhile startWith switchMap take
   takeWhile tap throttle timeInterval timeout timestamp withAbort`.split(/\s+/),
);

/** What may be taken from `ix/asynciterable` itself: sources that close, and the type. */
export const ixSources: ReadonlySet<string> = new Set(["AsyncIterableX", "defer", "from", "of"]);

const vague: ReadonlySet<string> = new Set([
  "common",
  "core",
  "helper",
  "helpers",
  "util",
  "utils",
]);

const perFolder = 7;

/** A comment, or a string of any kind. Strings in quotes end with their line, so a stray quote does no harm. */
const token =
  /\/\*[^]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[^]|[^`\\])*`/g;

const isComment = (text: string): boolean => text.startsWith("//") || text.startsWith("/*");

/** The text without comments; long or computed templates are emptied, for they hold pages and messages. */
const code = (text: string): string =>
  text.replace(
    token,
    (part) => isComment(part) ? " " : /^`[^]*(\n|\$\{)[^]*`$/.test(part) ? "``" : part,
  );

/** The text without comments and without what strings say. */
const bare = (text: string): string => text.replace(token, (part) => isComment(part) ? " " : '""');

const named =
  /\b(?:import|export)\s+(?:type\s+)?([\w$*{][\w\s$*{},]*?)\s*\bfrom\s*["']([^"']+)["']/g;
const unnamed = /\bimport\s*(?:\(\s*)?["'`]([^"'`]+)["'`]/g;

/** The names in an import clause: `{ a, type b as c }` gives a and b. */
function names(clause: string): string[] {
  if (clause.includes("*")) return ["*"];
  const inside = /\{([^}]*)\}/.exec(clause)?.[1] ?? "";
  return inside.split(",").map((name) => name.trim().replace(/^type\s+/, "").split(/\s/)[0]!)
    .filter((name) => name);
}

/** Every import of a source, static or dynamic, of values or of types; not those with a computed name. */
export function imports({ text }: Source): Import[] {
  const plain = code(text);
  return [
    ...[...plain.matchAll(named)].map(([, clause, specifier]) => ({
      specifier: specifier!,
      names: names(clause!),
    })),
    ...[...plain.matchAll(unnamed)].map(([, specifier]) => ({ specifier: specifier!, names: [] })),
  ];
}

const isLocal = (specifier: string): boolean => /^\.{0,2}\//.test(specifier);

/** The path that a local specifier leads to. */
const follow = (from: string, specifier: string): string =>
  new URL(specifier, `file:///${from}`).pathname.slice(1);

/** The package that a specifier names: `npm:@a/b@^1/c`, `@a/b/c` and `@a/b` are all `@a/b`. */
export const packageOf = (specifier: string): string =>
  /^(?:npm:|jsr:)?\/?((?:@[^/]+\/)?[^/@]+)/.exec(specifier)?.[1] ?? specifier;

const layerOf = (path: string): number => order.indexOf(/^src\/([^/.]+)/.exec(path)?.[1] ?? "");

const inSrc = (sources: readonly Source[]): Source[] =>
  sources.filter(({ path }) => path.startsWith("src/"));

/** A rule that looks at one import of one source at a time. */
const perImport = (fault: (path: string, made: Import) => string | false): Rule => (sources) =>
  inSrc(sources).flatMap((source) =>
    imports(source).map((made) => fault(source.path, made)).filter((text) => text !== false)
  );

/** Every folder has a place in the order. */
export const placed: Rule = (sources) =>
  inSrc(sources).filter(({ path }) => layerOf(path) < 0).map(({ path }) =>
    `${path} has no place in the order of folders`
  );

/** A file imports from its own folder and from earlier ones, and never from the root or the package by its name. */
export const oneWay: Rule = perImport((path, { specifier }) => {
  if (packageOf(specifier) === "@tweedie/tweedie") {
    return `${path} imports its own package, ${specifier}`;
  }
  if (!isLocal(specifier)) return false;
  const target = follow(path, specifier), at = layerOf(target);
  if (at < 0) return `${path} imports ${target}, which is in no folder of src`;
  return at > layerOf(path) && `${path} imports ${target}, which comes later`;
});

/** Within a folder that has an order of its own, what stands in it is placed, and imports from earlier ones alone. */
export const oneWayWithin: Rule = (sources) =>
  Object.entries(innerOrder).flatMap(([folder, inner]) => {
    const place = (path: string): number | undefined => {
      const [, top, name = ""] = /^src\/([^/]+)\/([^/.]+)/.exec(path) ?? [];
      return top === folder ? inner.indexOf(name) : undefined;
    };
    return perImport((path, { specifier }) => {
      const at = place(path), target = isLocal(specifier) ? follow(path, specifier) : "";
      if (at === -1) return `${path} has no place in the order of ${folder}`;
      const to = place(target);
      return at !== undefined && to !== undefined && to > at &&
        `${path} imports ${target}, which comes later in ${folder}`;
    })(sources);
  });

/** All that importing `start` loads, as path to the path that first asked for it. */
function reach(sources: readonly Source[], start: string): Source[] {
  const all = new Map(sources.map((source) => [source.path, source])), seen = new Set([start]);
  // A set is iterated in the order of insertion, additions on the way included.
  for (const path of seen) {
    const source = all.get(path);
    for (const { specifier } of source ? imports(running(source)) : []) {
      if (isLocal(specifier)) seen.add(follow(path, specifier));
    }
  }
  return [...seen].flatMap((path) => all.get(path) ?? []);
}

/** A source as it runs: without the imports of types, and without dynamic imports of what may be loaded on demand. */
const running = ({ path, text }: Source): Source => ({
  path,
  text: code(text).replaceAll(/^import type [^;]*;/gm, "").replaceAll(
    /\bimport\s*\(\s*["']([^"']+)["']\s*,?\s*\)/g,
    (made, name) => onDemand.includes(packageOf(name)) ? "" : made,
  ),
});

/**
 * The root brings in nothing heavy, no backend, no runtime, no command line, and no module of Node; nor does the choice of
 * a backend. Literal dynamic imports count.
 */
export const lightRoot: Rule = (sources) =>
  Object.entries(portable).flatMap(([start, packages]) =>
    reach(sources, start).flatMap((source) =>
      imports(running(source)).map(({ specifier }) => specifier)
        .filter((name) => !isLocal(name) && !packages.includes(packageOf(name)))
        .map((name) => `${start} reaches ${name} through ${source.path}`)
    )
  );

/** Deno is asked for only in the folders for that, and where it was asked before whether it is there. */
export const guarded: Rule = (sources) =>
  inSrc(sources).filter(({ path, text }) =>
    !denoOnly.test(path) && /\bDeno\.[a-z]/.test(bare(text)) && !/\b(is|check)Deno\b/.test(text)
  ).map(({ path }) => `${path} asks for Deno without a guard`);

/** No folder holds more files, besides its door, than a reader can keep in mind. */
export const small: Rule = (sources) => {
  const inside = inSrc(sources).filter(({ path }) => !path.endsWith("/mod.ts"));
  const folders = Map.groupBy(inside, ({ path }) => path.slice(0, path.lastIndexOf("/")));
  return [...folders].filter(([, files]) => files.length > perFolder)
    .map(([folder, files]) => `${folder} holds ${files.length} files, more than ${perFolder}`);
};

/** No file or folder has a name that says nothing. */
export const telling: Rule = (sources) =>
  sources.filter(({ path }) => path.split("/").some((part) => vague.has(part.replace(/\..*$/, ""))))
    .map(({ path }) => `${path} has a name that says nothing`);

/** fp-ts by the only paths that run: `fp-ts/Either` and the like pass the type check and fail at run time. */
export const fpTs: Rule = perImport((path, { specifier }) =>
  packageOf(specifier) === "fp-ts" && !/^fp-ts\/lib\/\w+\.js$/.test(specifier) &&
  `${path} imports ${specifier}, not fp-ts/lib/*.js`
);

/** ix by name and from the lists above. */
export const ix: Rule = perImport((path, { specifier, names }) => {
  if (packageOf(specifier) !== "ix" || specifier === "ix/interfaces") return false;
  const allowed = specifier.startsWith("ix/asynciterable/operators")
    ? ixOperators
    : specifier.startsWith("ix/asynciterable")
    ? ixSources
    : new Set<string>();
  const wrong = names.filter((name) => !allowed.has(name));
  if (names.length === 0) wrong.push("everything");
  return wrong.length > 0 && `${path} takes ${wrong.join(", ")} from ${specifier}`;
});

/** The library prints nothing; the command line does. */
export const silent: Rule = (sources) =>
  inSrc(sources).filter(({ path, text }) =>
    path !== "src/cli.ts" && !path.startsWith("src/command/") && /\bconsole\b/.test(bare(text))
  )
    .map(({ path }) => `${path} writes to the console`);

/** Every rule by name. */
export const rules: Readonly<Record<string, Rule>> = {
  placed,
  oneWay,
  oneWayWithin,
  lightRoot,
  guarded,
  small,
  telling,
  fpTs,
  ix,
  silent,
};
