import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { counting, crossed, quadrature } from "../../../src/energy/measure.ts";
import { linked, links, normalised } from "../../../src/energy/density/link.ts";
import { key } from "../../../src/tensor/key.ts";
import { near, nearly } from "../../measure.ts";

const names = ["square", "exponential", "absolute", "softplus"] as const;
const points = counting([0, 1, 2, 3, 4]), values = [0.5, -1.2, 2, 0.1, -0.7];
const line = quadrature(-Infinity, Infinity);

describe("links", () => {
  it("logG is the logarithm of g, which is at least 0", () => {
    for (const name of names) {
      for (const f of [-31, -29, -3, -0.5, 0.2, 1, 40]) {
        const { g, logG } = links[name];
        assert.ok(g(f) >= 0);
        near(logG(f), Math.log(g(f)), 1e-12 * (1 + Math.abs(logG(f))));
      }
    }
    near(links.softplus.g(1), Math.log(1 + Math.E), 1e-15);
    near(links.square.g(-3), 9, 0);
  });

  it("logG neither overflows nor underflows", () => {
    assert.equal(links.exponential.logG(2000), 2000);
    assert.equal(links.softplus.logG(-2000), -2000);
    nearly(links.softplus.logG(2000), Math.log(2000), 1e-15);
    nearly(links.square.logG(1e-200), -400 * Math.LN10, 1e-14);
    assert.equal(links.absolute.logG(0), -Infinity);
  });
});

describe("linked()", () => {
  it("linked() sums to 1 over a finite set", () => {
    for (const name of names) {
      const { logDensity } = linked((k: number) => values[k]!, name, points);
      const p = values.map((_, k) => Math.exp(logDensity(k)));
      near(p.reduce((a, b) => a + b, 0), 1, 1e-12);
      const total = values.reduce((sum, f) => sum + links[name].g(f), 0);
      p.forEach((pk, k) => near(pk, links[name].g(values[k]!) / total, 1e-15));
    }
  });

  it("linked() integrates to 1 on the line and in the plane", () => {
    const fs = {
      square: (x: number) => x * Math.exp(-(x ** 2) / 4),
      exponential: (x: number) => Math.sin(x) - x ** 2 / 2,
      absolute: (x: number) => -Math.exp(-((x - 1) ** 2)),
      softplus: (x: number) => 2 - x ** 2,
    };
    // A coarser rule of another interval, so that the volume is not checked by its own sum.
    const other = quadrature(-12, 12, 601), coarse = quadrature(-Infinity, Infinity, 161);
    for (const name of names) {
      const p = linked(fs[name], name, line);
      near(
        [...other.nodes()].reduce((sum, [x, w]) => sum + w * Math.exp(p.logDensity(x)), 0),
        1,
        1e-8,
      );
      near(p.expectation(() => 1), 1, 1e-12);
    }
    const square = linked(fs.square, "square", line); // ∫ x²·e^(−x²/2) dx
    nearly(square.logVolume, Math.log(2 * Math.PI) / 2, 1e-12);
    const plane = linked(
      ([x, y]: readonly [number, number]) => -(x ** 2 + y ** 2 - x * y),
      "exponential",
      crossed(coarse, coarse),
    );
    near(plane.logVolume, Math.log(2 * Math.PI / Math.sqrt(3)), 1e-10);
  });

  it("a factor in front of g changes nothing, and what one point gains the others lose", () => {
    const logs = [0.3, -1, 2, 0.5], all = counting([0, 1, 2, 3]);
    const p = normalised((k: number) => logs[k]!, all);
    const scaled = normalised((k: number) => logs[k]! + Math.log(7), all);
    logs.forEach((_, k) => near(scaled.logDensity(k), p.logDensity(k), 1e-15));
    const raised = normalised((k: number) => logs[k]! + (k === 1 ? 0.5 : 0), all);
    logs.forEach((_, k) =>
      assert.ok(
        k === 1 ? raised.logDensity(k) > p.logDensity(k) : raised.logDensity(k) < p.logDensity(k),
      )
    );
  });

  it("what is infinite where the density is 0 counts nothing", () => {
    const p = normalised((k: number) => k === 0 ? -Infinity : 0, counting([0, 1, 2]));
    assert.equal(p.expectation((k) => 1 / k), 0.75);
  });

  it("entropy and draws are those of the probabilities (chi-squared)", () => {
    const p = linked((k: number) => values[k]!, "square", points),
      n = 20_000,
      draws = p.draw(key(1), n);
    const shares = values.map((_, k) => Math.exp(p.logDensity(k)));
    near(p.entropy, -shares.reduce((sum, s) => sum + s * Math.log(s), 0), 1e-14);
    const chi = (wanted: number[]) =>
      wanted.reduce(
        (sum, s, k) => sum + (draws.filter((d) => d === k).length - n * s) ** 2 / (n * s),
        0,
      );
    assert.ok(chi(shares) < 23.5); // four degrees of freedom, one in 10⁴
    assert.ok(chi(values.map((f) => Math.abs(f) / 4.5)) > 100);
  });

  it("what cannot be normalised is refused", () => {
    assert.throws(
      () => linked(() => 0, "square", points),
      /its volume must be finite and above 0, got exp\(-Infinity\)/,
    );
    assert.throws(() => linked(() => NaN, "exponential", points), /got exp\(NaN\)/);
    assert.throws(
      () => linked(() => 0, "cube" as never, points),
      /link must be one of square, exponential, absolute, softplus, got cube/,
    );
    assert.equal("draw" in linked((x: number) => -(x ** 2), "exponential", line), false);
  });
});
