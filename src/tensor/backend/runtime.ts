/**
 * What the JavaScript runtime has besides the language: looked up when it is used, so that importing the library works in
 * Deno, Node, Bun and browsers alike.
 *
 * @module
 */

/** As much of Node's `process` as is used here; Deno and Bun have it too. */
interface NodeProcess {
  readonly getBuiltinModule?: (name: string) => unknown;
}

/** Whether this is Deno. */
export const isDeno = (): boolean => "Deno" in globalThis;

/**
 * A module of Node, where the runtime has it.
 *
 * @param name Its name, such as `"node:zlib"`.
 * @returns The module, or undefined in a browser.
 */
export const builtin = <M>(name: string): M | undefined =>
  (globalThis as { process?: NodeProcess }).process?.getBuiltinModule?.(name) as M | undefined;

/**
 * Refuses what only Deno can do.
 *
 * @param action What was asked for, such as `"read a.png"`.
 * @param instead What can be done here. Default: nothing is said of that.
 * @throws {Error} If this is not Deno.
 */
export function checkDeno(action: string, instead = ""): void {
  if (isDeno()) return;
  throw new Error(`Cannot ${action}: files and programs need Deno, got another runtime${instead}`);
}

/** The GPU's entry point, where there is one. */
export const gpu = (): GPU | undefined =>
  (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu;
