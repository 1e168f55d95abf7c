/**
 * Plain data as JSON text from which it comes back as it was.
 *
 * @module
 */

/**
 * Refuses what would not come back from JSON as it was: NaN, infinity, a bigint, a function, an instance of a class, a
 * cycle. A name whose value is undefined is left out.
 *
 * @param action What could not be done, such as `"save checkpoint"`.
 * @param value The data.
 * @param at What to call them in the message.
 * @throws {TypeError} If there is any of these, with the place.
 */
export function checkPlain(action: string, value: unknown, at: string): void {
  visit(value, at, []);

  function visit(value: unknown, at: string, around: readonly unknown[]): void {
    if (typeof value !== "object" || value === null) {
      if (isLeaf(value)) return;
      throw refuse(`${typeof value} ${String(value)}`, at);
    }
    if (around.includes(value)) throw refuse("one that holds itself", at);
    if (!Array.isArray(value) && Object.getPrototypeOf(value) !== Object.prototype) {
      throw refuse(Object.prototype.toString.call(value), at);
    }
    // A hole in a list would come back as null, and is undefined here.
    const entries = Array.isArray(value) ? Array.from(value).entries() : Object.entries(value);
    for (const [name, inner] of entries) {
      if (inner !== undefined || Array.isArray(value)) {
        visit(inner, `${at}.${name}`, [...around, value]);
      }
    }
  }

  function refuse(got: string, at: string): TypeError {
    return new TypeError(
      `Cannot ${action}: ${at} must be plain data with finite numbers, got ${got}`,
    );
  }
}

const isLeaf = (value: unknown): boolean =>
  value === null || typeof value === "string" || typeof value === "boolean" ||
  Number.isFinite(value);

/** JSON of plain data, which also keeps the sign of zero. */
export function toJson(value: unknown): string {
  const mark = crypto.randomUUID();
  const text = JSON.stringify(value, (_, inner) => Object.is(inner, -0) ? mark : inner);
  return text.replaceAll(`"${mark}"`, "-0");
}
