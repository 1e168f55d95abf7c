/**
 * A slip of the pen that the tests are known to catch.
 *
 * @module
 */

/** One slip. */
export interface Slip {
  /** The file. */
  readonly file: string;
  /** What stands there, once. */
  readonly right: string;
  /** What is put in its place. */
  readonly wrong: string;
  /** The tests that must not pass with it. */
  readonly tests: string;
}

/** A slip in a file under `src`, and the test file under `tests` that catches it, without its ending. */
export const slip = (file: string, right: string, wrong: string, tests: string): Slip => ({
  file: `src/${file}`,
  right,
  wrong,
  tests: `tests/${tests}_test.ts`,
});
