/**
 * Names and shapes of tensors against those that are wanted.
 *
 * @module
 */

/** How many names a message lists of each kind. */
const listed = 4;

/**
 * Compares names and shapes, and lists all that differ in one error.
 *
 * @param got Anything with shapes, by name.
 * @param wanted The shapes to be expected, by name.
 * @param action What cannot be done where they differ, such as `"load run.safetensors"`.
 * @throws {RangeError} If one is missing, not expected, or of another shape; with the count of each, and the first names.
 */
export function compareShapes(
  got: Readonly<Record<string, { readonly shape: readonly number[] }>>,
  wanted: Readonly<Record<string, readonly number[]>>,
  action: string,
): void {
  const has = (name: string): boolean => Object.hasOwn(got, name);
  const missing = Object.keys(wanted).filter((name) => !has(name));
  const unexpected = Object.keys(got).filter((name) => !Object.hasOwn(wanted, name));
  const reshaped = Object.entries(wanted)
    .filter(([name, shape]) => has(name) && `${got[name]!.shape}` !== `${shape}`)
    .map(([name, shape]) => `${name} [${shape}], got [${got[name]!.shape}]`);
  const faults = [
    list("missing", missing),
    list("unexpected", unexpected),
    list("of another shape", reshaped),
  ];
  if (faults.every((fault) => fault === "")) return;
  const count = Object.keys(wanted).length;
  throw new RangeError(
    `Cannot ${action}: it must hold the model's ${count} tensors, got ${
      faults.filter(Boolean).join("; ")
    }`,
  );
}

/** `3 missing (a, b, c)`, or nothing. */
function list(what: string, names: readonly string[]): string {
  if (names.length === 0) return "";
  const rest = names.length > listed ? ", ..." : "";
  return `${names.length} ${what} (${names.slice(0, listed).join(", ")}${rest})`;
}
