import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import {
  above,
  atLeast,
  boolean,
  callable,
  decoded,
  is,
  oneOf,
  type Rules,
  whole,
  within,
} from "../../../src/tensor/check/decode.ts";

interface Options {
  readonly eta?: number;
  readonly steps?: number;
  readonly kind?: string;
  readonly last?: boolean;
  readonly draw?: () => number;
  readonly free?: unknown;
}

const rules: Rules<Options> = {
  eta: is("a number of at least 0", atLeast(0)),
  steps: is("a whole number of at least 1", whole(1)),
  kind: oneOf("x0", "eps", "v"),
  last: boolean,
  draw: callable,
  free: true,
};

const refuses = (options: unknown, message: string, type: typeof Error = RangeError): void =>
  assert.throws(() => decoded("sample", options as Options, rules), { message, name: type.name });

describe("decoded()", () => {
  it("gives options that are right, and takes undefined for absent", () => {
    const options = { eta: 0, steps: 3, kind: "v", last: false, draw: () => 1, free: NaN };
    assert.equal(decoded("sample", options, rules), options);
    assert.deepEqual(decoded("sample", {}, rules), {});
    const absent = { eta: undefined, speed: undefined } as unknown as Options;
    assert.equal(decoded("sample", absent, rules), absent);
  });

  it("says what is wrong with one option", () => {
    refuses({ eta: -1 }, "Cannot sample: eta must be a number of at least 0, got -1");
    refuses({ eta: NaN }, "Cannot sample: eta must be a number of at least 0, got NaN");
    refuses({ steps: 1.5 }, "Cannot sample: steps must be a whole number of at least 1, got 1.5");
    refuses({ kind: "y" }, 'Cannot sample: kind must be "x0", "eps" or "v", got "y"');
    refuses({ last: 1 }, "Cannot sample: last must be true or false, got 1");
    refuses({ draw: 1 }, "Cannot sample: draw must be a function, got 1", TypeError);
    refuses(
      { step: 1 },
      'Cannot sample: options must be among eta, steps, kind, last, draw, free, got "step"',
      TypeError,
    );
    for (const none of [null, 5, [1]]) {
      refuses(
        none,
        `Cannot sample: options must be an object, got ${JSON.stringify(none)}`,
        TypeError,
      );
    }
  });

  it("says all that is wrong at once, faults of type first", () => {
    refuses(
      { eta: -1, kind: "y" },
      'Cannot sample: eta must be a number of at least 0, got -1; kind must be "x0", "eps" or "v", got "y"',
    );
    refuses(
      { eta: -1, draw: 3, toString: 1 },
      "Cannot sample: draw must be a function, got 3; " +
        'options must be among eta, steps, kind, last, draw, free, got "toString"; ' +
        "eta must be a number of at least 0, got -1",
      TypeError,
    );
  });

  it("has the domains of numbers", () => {
    const ends = [-1, 0, 0.5, 1, 2, Infinity, NaN];
    assert.deepEqual(ends.filter(atLeast(0)), [0, 0.5, 1, 2]);
    assert.deepEqual(ends.filter(above(0)), [0.5, 1, 2]);
    assert.deepEqual(ends.filter(within(0, 1)), [0, 0.5, 1]);
    assert.deepEqual(ends.filter(whole(0)), [0, 1, 2]);
  });
});
