/**
 * Which configuration the tests run under.
 *
 * `deno.json` names `jsr:@std/testing`. Where JSR cannot be reached, the same test files run with `node:test` in its
 * place, under a configuration and a lock file that are made from `deno.json` and `deno.lock` on each run, so that
 * there is nothing to keep in step. Both are git-ignored; the configuration lies in the root because paths in it are
 * relative to it.
 *
 * `deno.lock` is committed and pins what comes from npm; `deno task lock` brings it up to date, without JSR. The tests
 * work on a copy, so that they leave the checkout as it was. Where JSR is reachable, `deno install` adds its entries
 * to `deno.lock`: they may be committed, and are left out of the npm-only copy.
 *
 * @module
 */

/** What the gate reads of `deno.json`. */
export interface Config {
  /** Entry points: subpath to file. */
  readonly exports: Readonly<Record<string, string>>;
  /** Import map: name to specifier. */
  readonly imports: Readonly<Record<string, string>>;
  /** All other sections. */
  readonly [section: string]: unknown;
}

/** What the gate reads of `deno.lock`. */
export interface Lock {
  /** Specifier to version. */
  readonly specifiers?: Readonly<Record<string, string>>;
  /** What `deno.json` asks for. */
  readonly workspace?: { readonly dependencies?: readonly string[] };
  /** All other sections. */
  readonly [section: string]: unknown;
}

/** A configuration, the lock file to go with it, and the reason for the choice. */
export interface Choice {
  /** Path of the configuration. */
  readonly config: string;
  /** Path of the lock file. */
  readonly lock: string;
  /** Whether the lock file must be complete: only npm's part is known to be. */
  readonly frozen: boolean;
  /** Why this one, for the reader of the output. */
  readonly why: string;
}

/** What stands in for a JSR module where JSR cannot be reached. */
const standIns: Readonly<Record<string, string>> = { "@std/testing/bdd": "node:test" };

const fromJsr = (specifier: string): boolean => specifier.startsWith("jsr:");

const without = <A>(
  record: Readonly<Record<string, A>>,
  drop: (key: string, value: A) => boolean,
) => Object.fromEntries(Object.entries(record).filter(([key, value]) => !drop(key, value)));

/** `deno.json` without JSR: what has a stand-in gets it, the rest goes; tasks and publishing have no use here. */
export function npmOnly(config: Config): Config {
  const { tasks: _tasks, publish: _publish, ...rest } = config;
  return { ...rest, imports: { ...without(config.imports, (_, at) => fromJsr(at)), ...standIns } };
}

/** `deno.lock` without JSR, which `--frozen` accepts beside {@link npmOnly}. */
export function npmOnlyLock(lock: Lock): Lock {
  const { jsr: _jsr, ...rest } = lock;
  const dependencies = (lock.workspace?.dependencies ?? []).filter((specifier) =>
    !fromJsr(specifier)
  );
  return {
    ...rest,
    specifiers: without(lock.specifiers ?? {}, fromJsr),
    workspace: { ...lock.workspace, dependencies },
  };
}

/** The root of the repository. */
export const root: URL = new URL("../../", import.meta.url);

/** `deno.json` as it is now. */
export async function readConfig(): Promise<Config> {
  return JSON.parse(await Deno.readTextFile(new URL("deno.json", root)));
}

/**
 * Chooses the configuration and writes the files that it needs.
 *
 * @param forced Take the npm-only configuration without asking JSR.
 * @returns The choice; its paths are relative to the root.
 */
export async function choose(forced: boolean): Promise<Choice> {
  const config = await readConfig();
  const lock: Lock = JSON.parse(await Deno.readTextFile(new URL("deno.lock", root)));
  const missing = forced
    ? "it was asked for"
    : await whyNoJsr(Object.values(config.imports).filter(fromJsr));
  if (missing === undefined) {
    await write("deno.test.lock", lock);
    return { config: "deno.json", lock: "deno.test.lock", frozen: false, why: "JSR answers" };
  }
  await write("deno.npm-only.json", npmOnly(config));
  await write("deno.npm-only.lock", npmOnlyLock(lock));
  return {
    config: "deno.npm-only.json",
    lock: "deno.npm-only.lock",
    frozen: true,
    why: `node:test, because ${missing}`,
  };
}

/** The flags that put a subcommand of Deno under a choice. */
export const flags = ({ config, lock, frozen }: Choice): string[] => [
  `--config=${config}`,
  `--lock=${lock}`,
  `--frozen=${frozen}`,
];

async function write(name: string, value: unknown): Promise<void> {
  // Renamed into place, so that a run beside this one never reads half a file.
  const draft = new URL(`${name}.${Deno.pid}`, root);
  await Deno.writeTextFile(draft, JSON.stringify(value, null, 2) + "\n");
  await Deno.rename(draft, new URL(name, root));
}

/** Fetches what the tests would; the reason if that fails. A copy in Deno's cache counts as an answer. */
async function whyNoJsr(specifiers: readonly string[]): Promise<string | undefined> {
  const seconds = 15;
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["cache", "--quiet", "--no-config", "--no-lock", ...specifiers],
    cwd: root,
    stdin: "null",
    stdout: "null",
    stderr: "null",
    signal: AbortSignal.timeout(seconds * 1000),
  }).output();
  return success ? undefined : `JSR did not give ${specifiers.join(", ")}`;
}
