import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import {
  above,
  among,
  atLeast,
  boolean,
  callable,
  decoded,
  inTurn,
  is,
  needed,
  oneOf,
  type Rules,
  showing,
  whole,
  wholeNumber,
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

  it("misses an option that is needed", () => {
    const size: Rules<{ size?: number | undefined; eta?: number }> = {
      size: needed(wholeNumber(1)),
      eta: rules.eta,
    };
    for (const none of [{}, { size: undefined }, { speed: undefined }]) {
      assert.throws(() => decoded("sample", { ...none, eta: -1 }, size), {
        name: "RangeError",
        message: "Cannot sample: eta must be a number of at least 0, got -1; " +
          "size must be a whole number of at least 1, got undefined",
      });
    }
    assert.deepEqual(decoded("sample", { size: 1 }, size), { size: 1 });
    assert.throws(() => decoded("sample", { sise: 1 } as object, size), {
      name: "TypeError",
      message: 'Cannot sample: options must be among size, eta, got "sise"',
    });
  });

  it("puts rules one after the other, and shows what came as they say", () => {
    const even = inTurn(wholeNumber(1), is("even", (n) => n % 2 === 0));
    const kind = showing(among(["a", "b"]), (value: string) => value);
    const table: Rules<{ base?: number; kind?: string }> = { base: even, kind };
    const of = (options: { base?: number; kind?: string }) => () =>
      decoded("build", options, table);
    assert.throws(of({ base: 0.5 }), /: base must be a whole number of at least 1, got 0.5$/);
    assert.throws(
      of({ base: 3, kind: "c" }),
      /: base must be even, got 3; kind must be one of a, b, got c$/,
    );
    assert.deepEqual(of({ base: 4, kind: "b" })(), { base: 4, kind: "b" });
  });

  it("has the domains of numbers", () => {
    const ends = [-1, 0, 0.5, 1, 2, Infinity, NaN];
    assert.deepEqual(ends.filter(atLeast(0)), [0, 0.5, 1, 2]);
    assert.deepEqual(ends.filter(above(0)), [0.5, 1, 2]);
    assert.deepEqual(ends.filter(within(0, 1)), [0, 0.5, 1]);
    assert.deepEqual(ends.filter(whole(0)), [0, 1, 2]);
  });
});
