import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import { cosineContinuous, edm, rectified, ve, vp } from "../../src/noise/schedule/continuous.ts";
import { discretized, fromLevel } from "../../src/noise/schedule/derived.ts";
import { linear, zeroTerminalSnr } from "../../src/noise/schedule/discrete.ts";
import { logSnr, type Schedule } from "../../src/noise/schedule/schedule.ts";
import { is } from "../../src/tensor/check/decode.ts";
import { type GridOptions, type Spacing, times, timesAmong } from "../../src/noise/grid.ts";

/** A list of diffusers' timesteps in our numbering. */
const ours = (timesteps: readonly number[]): number[] => timesteps.map((index) => index + 1);

const hundreds = (first: number): number[] => Array.from({ length: 10 }, (_, i) => first - 100 * i);

const ratio = ({ at }: Schedule, t: number): number => at(t).sigma / at(t).alpha;

const near = (a: number, b: number, tolerance: number): void =>
  assert.ok(Math.abs(a - b) <= tolerance * Math.max(Math.abs(b), 1e-300), `${a} is not ${b}`);

const gaps = (list: readonly number[]): number[] => list.slice(1).map((x, i) => x - list[i]!);

describe("times() on discrete schedules", () => {
  it("times() leading has the timesteps of DDIM and DDPM", () => {
    const grid = times(linear(), { steps: 10, spacing: "leading" });
    assert.deepEqual(grid, [...ours(hundreds(900)), 0]);
    const fifty = times(linear(), { steps: 50, spacing: "leading" });
    assert.deepEqual(fifty.slice(0, 3), ours([980, 960, 940]));
    assert.deepEqual(fifty.slice(-3), [...ours([20, 0]), 0]);
    const stable = times(linear(), { steps: 50, spacing: "leading", offset: 1 });
    assert.deepEqual([stable[0], stable[49]], ours([981, 1]));
  });

  it("times() trailing has the timesteps of DDIM and is the default", () => {
    assert.deepEqual(times(linear(), { steps: 10 }), [...ours(hundreds(999)), 0]);
    assert.deepEqual(
      times(linear(), { steps: 7 }),
      // numpy: round(arange(1000, 0, -1000 / 7)).
      [1000, 857, 714, 571, 429, 286, 143, 0],
    );
    assert.deepEqual(times(linear({ steps: 5 }), { steps: 2 }), [5, 2, 0]);
  });

  it("times() linspace with one dropped has the timesteps of DPM-Solver, UniPC and DEIS", () => {
    const listed = [999, 899, 799, 699, 599, 500, 400, 300, 200, 100];
    const options = { steps: 10, spacing: "linspace", dropped: 1 } as const;
    assert.deepEqual(times(linear(), options), [...ours(listed), 0]);
    assert.deepEqual(times(linear(), { ...options, final: 1 }), [...ours(listed), 1]);
  });

  it("times() leading with one dropped has DPM-Solver's stride T // (n + 1)", () => {
    const grid = times(linear(), { steps: 10, spacing: "leading", dropped: 1 });
    assert.deepEqual(grid.slice(0, 2), ours([900, 810]));
    assert.deepEqual(grid.slice(-2), [ours([90])[0], 0]);
  });

  it("times() linspace without rounding has the timesteps of Euler, Heun and LMS", () => {
    const listed = [1099, 976.8889, 854.7778, 732.6667, 610.55554, 488.44446, 366.33334, 244.22223];
    const schedule = linear({ steps: 1100 });
    const grid = times(schedule, { steps: 10, spacing: "linspace", round: false });
    ours(listed).forEach((t, i) => near(grid[i]!, t, 1e-7));
    assert.deepEqual(grid.slice(-2), [1, 0]);
    const sigmas = [261.05557, 81.40568, 29.112116, 11.912564, 5.5358195, 2.8648753, 1.5868177];
    sigmas.forEach((sigma, i) => near(ratio(schedule, grid[i]!), sigma, 1e-5));
  });

  it("times() linspace keeps both ends", () => {
    const grid = times(linear(), { steps: 20, spacing: "linspace" });
    assert.deepEqual([grid.length, grid[0], grid[19], grid[20]], [21, 1000, 1, 0]);
    // Half-way indices go to even: linspace(0, 3, 3) is 0, 1.5, 3, and linspace(0, 5, 3) is 0, 2.5, 5.
    const small = (steps: number) => times(linear({ steps }), { steps: 3, spacing: "linspace" });
    assert.deepEqual(small(4), [...ours([3, 2, 0]), 0]);
    assert.deepEqual(small(6), [...ours([5, 2, 0]), 0]);
  });

  it("times() quadratic is DDIM's floor of squares up to 0.8 T", () => {
    const grid = times(linear(), { steps: 10, spacing: "quadratic" });
    const squares = Array.from({ length: 10 }, (_, i) => Math.floor(800 * (i / 9) ** 2 + 1e-9));
    assert.deepEqual(grid, [...ours(squares.reverse()), 0]);
    assert.equal(times(linear(), { steps: 10, spacing: "quadratic", reach: 1 })[0], 1000);
  });

  it("times() of all steps is every time, by any sub-sequence that can", () => {
    const every = Array.from({ length: 31 }, (_, i) => 30 - i), schedule = linear({ steps: 30 });
    assert.deepEqual(times(schedule), every);
    (["leading", "trailing", "linspace", "uniform"] as const).forEach((spacing) =>
      assert.deepEqual(times(schedule, { spacing }), every)
    );
  });

  it("times() with from starts a sub-sequence in the middle", () => {
    assert.deepEqual(times(linear(), { steps: 4, from: 400 }), [400, 300, 200, 100, 0]);
    assert.deepEqual(times(linear(), { steps: 2, from: 9, spacing: "leading" }), [5, 1, 0]);
    assert.equal(times(linear(), { steps: 3, from: 9, spacing: "linspace" })[0], 9);
  });

  it("times() karras and logLinear go from T to 1 and then to the data, and round on demand", () => {
    (["karras", "logLinear"] as const).forEach((spacing) => {
      const grid = times(linear(), { steps: 10, spacing });
      assert.deepEqual([grid.length, grid[0], grid[9], grid[10]], [11, 1000, 1, 0]);
      const along = (t: number) =>
        spacing === "karras" ? ratio(linear(), t) ** (1 / 7) : logSnr(linear().at(t));
      gaps(grid.slice(0, 10).map(along)).forEach((gap, _, all) => near(gap, all[0]!, 1e-9));
      assert.equal(times(linear({ steps: 200 }), { steps: 10, spacing })[9], 1);
      const whole = times(linear(), { steps: 10, spacing, round: true });
      assert.ok(whole.every(Number.isInteger));
      whole.forEach((t, i) => assert.ok(Math.abs(t - grid[i]!) <= 0.5));
    });
  });
});

describe("times() on continuous schedules", () => {
  it("times() karras on edm() has the paper's sigmas", () => {
    const listed =
      "80 57.586 40.786 28.375 19.352 12.910 8.401 5.315 3.257 1.923 1.088 0.585 0.296 0.1395 " +
      "0.0599 0.0229 0.00753 0.002 0";
    const grid = times(edm(), { steps: 18, spacing: "karras" });
    assert.equal(grid.length, 19);
    listed.split(" ").forEach((printed, i) => {
      const digits = printed.split(".")[1]?.length ?? 0;
      assert.equal(grid[i]!.toFixed(digits), printed);
    });
  });

  it("times() karras on edm() has the sigmas of diffusers' EDM in ten steps", () => {
    const listed = [80, 42.415188, 21.108677, 9.723202, 4.0661235, 1.501742, 0.46997905];
    const grid = times(edm(), { steps: 10, spacing: "karras" });
    [...listed, 0.11663856, 0.020435335, 0.002, 0].forEach((s, i) => near(grid[i]!, s, 1e-6));
  });

  it("times() uniform with a shift has the sigmas of diffusers' flow matching", () => {
    // It shifts the least sigma first: 0.001 to 0.002994, and again in the grid.
    const listed = [1, 0.9601293, 0.913349, 0.8576923, 0.79036826, 0.7072785, 0.60215056];
    const grid = times(rectified(), { steps: 10, shift: 3, least: 0.008928572 });
    [...listed, 0.46487603, 0.27804878, 0.008928572, 0].forEach((s, i) => near(grid[i]!, s, 1e-6));
    const plain = times(rectified(), { steps: 2, shift: 3 });
    assert.deepEqual([plain.length, plain[0], plain[1]!.toFixed(12), plain[2]], [
      3,
      1,
      "0.750000000000",
      0,
    ]);
  });

  it("times() uniform is the default; on ve() it is NCSN's geometric sequence", () => {
    assert.deepEqual(times(vp(), { steps: 4 }), [1, 0.75, 0.5, 0.25, 0]);
    assert.equal(times(vp()).length, 51);
    const schedule = ve({ sigmaMin: 0.01, sigmaMax: 1 });
    const sigmas = times(schedule, { steps: 9 }).map((t) => schedule.at(t).sigma);
    assert.deepEqual([sigmas[0]!.toFixed(14), sigmas[9]], ["1.00000000000000", 0.01]);
    gaps(sigmas.map(Math.log)).forEach((gap) => near(gap, -Math.log(100) / 9, 1e-12));
  });

  it("times() ends at final: score SDE's 1e-3", () => {
    const grid = times(vp(), { steps: 1000, final: 1e-3 });
    assert.deepEqual([grid.length, grid[0], grid[1000]], [1001, 1, 1e-3]);
    gaps(grid).forEach((gap) => near(gap, -0.999 / 1000, 1e-9));
  });

  it("times() logLinear is linear in log-SNR and stops a thousandth short of infinite", () => {
    const grid = times(vp(), { steps: 10, spacing: "logLinear" });
    assert.deepEqual([grid[0], grid[9], grid[10]], [1, 1e-3, 0]);
    gaps(grid.slice(0, 10).map((t) => logSnr(vp().at(t)))).forEach((gap, _, all) =>
      near(gap, all[0]!, 1e-9)
    );
    const open = times(vp(), { steps: 10, spacing: "logLinear", final: 1e-4 });
    assert.deepEqual([open.length, open[10]], [11, 1e-4]);
    assert.ok(open[9]! > 1e-4);
  });

  it("times() karras with another rho is linear in sigma^(1/rho), to 0 where least says so", () => {
    const grid = times(edm(), { steps: 6, spacing: "karras", rho: 3, least: 0 });
    gaps(grid.map(Math.cbrt)).forEach((gap) => near(gap, -Math.cbrt(80) / 6, 1e-9));
    const quadratic = times(edm(), { steps: 4, spacing: "quadratic" });
    gaps(quadratic.map(Math.sqrt)).forEach((gap) => near(gap, -Math.sqrt(80) / 4, 1e-9));
  });

  it("times() of one step goes from noise to data", () => {
    assert.deepEqual(times(edm(), { steps: 1, spacing: "karras" }), [80, 0]);
    assert.deepEqual(times(vp(), { steps: 1 }), [1, 0]);
    assert.deepEqual(times(linear(), { steps: 1 }), [1000, 0]);
  });

  it("times() ends at the least time of a schedule that has no time of the data", () => {
    const schedule = fromLevel(rectified().at, { span: [0.1, 0.9] });
    assert.deepEqual(times(schedule, { steps: 2 }), [0.9, 0.5, 0.1]);
    assert.equal(times(schedule, { steps: 2, spacing: "karras" })[2], 0.1);
    assert.equal(times(discretized(ve(), 9), { spacing: "uniform" })[9], 0);
  });
});

describe("times()", () => {
  it("times() is steps + 1 falling times from the start to final, whatever the options", () => {
    const schedules = [linear(), linear({ steps: 200 }), vp(), ve(), edm(), cosineContinuous()];
    const spacings: Spacing[] = ["uniform", "trailing", "leading", "karras", "logLinear"];
    const options = fc.record({
      steps: fc.integer({ min: 1, max: 60 }),
      spacing: fc.constantFrom(...spacings),
      rho: fc.double({ min: 1, max: 12, noNaN: true }),
      dropped: fc.nat(2),
    });
    fc.assert(fc.property(fc.constantFrom(...schedules), options, (schedule, { ...given }) => {
      fc.pre(schedule.steps !== undefined || !["trailing", "leading"].includes(given.spacing));
      const grid = times(schedule, given);
      assert.equal(grid.length, given.steps + 1);
      gaps(grid).forEach((gap) => assert.ok(gap < 0));
      assert.equal(grid[given.steps], 0);
      if (given.spacing !== "leading") assert.equal(grid[0], schedule.span[1]);
      const noise = grid.map((t) => ratio(schedule, t));
      gaps(noise).forEach((gap) => assert.ok(gap < 0));
    }));
  });

  it("times() takes the layout that a schedule brings, and another where it is asked for", () => {
    const karras = times(edm(), { steps: 18, spacing: "karras" });
    assert.deepEqual(times(edm(), { steps: 18 }), karras);
    assert.deepEqual(times(edm(), { steps: 18, rho: 7 }), karras);
    assert.deepEqual(times(edm(), { steps: 2, spacing: "uniform" }), [80, 40, 0]);
    const { at } = edm(), span = [0.002, 80] as const;
    const own = fromLevel(at, { span, grid: { spacing: "karras", rho: 3 } });
    assert.deepEqual(
      times(own, { steps: 5 }),
      times(fromLevel(at, { span }), { steps: 5, spacing: "karras", rho: 3 }),
    );
    const bent = fromLevel(rectified().at, { grid: { spacing: "uniform", shift: 3 } });
    near(times(bent, { steps: 2 })[1]!, 0.75, 1e-12);
    assert.deepEqual(times(bent, { steps: 2, spacing: "uniform" }), [1, 0.5, 0]);
    // Half of the levels of ten, in time of a thousand steps of sigma, are below 1.
    const steps = discretized(edm(), 1000), grid = times(steps, { steps: 10 });
    assert.deepEqual([grid.length, grid[0], grid[10]], [11, 1000, 0]);
    assert.ok(steps.at(grid[5]!).sigma < 4 && steps.at(grid[9]!).sigma < 0.05);
  });

  it("times() of a way of no length is that time, whatever the steps and the layout", () => {
    const still: [Schedule, GridOptions, number][] = [
      [linear(), { from: 0, steps: 10 }, 0],
      [linear(), { from: 0, steps: 0 }, 0],
      [linear(), { from: 0, spacing: "leading", offset: 1 }, 0],
      [vp(), { from: 0 }, 0],
      [vp(), { from: 0, steps: 10, spacing: "logLinear", least: 1e-3 }, 0],
      [vp(), { from: 0.1 * 3, final: 0.3, steps: 5 }, 0.3],
      [edm(), { from: 0, steps: 10 }, 0],
      [edm(), { from: 0.002, final: 0.002 }, 0.002],
      [ve(), { from: 0, steps: 4 }, 0],
      [linear(), { times: [0] }, 0],
      [vp(), { times: [0.3] }, 0.3],
    ];
    assert.equal(still.length, 11);
    still.forEach(([schedule, options, t]) => assert.deepEqual(times(schedule, options), [t]));
  });

  it("times() with a small from keeps its layout, down to the data", () => {
    for (const [schedule, from] of [[edm(), 0.001], [vp(), 0.0005], [linear(), 1]] as const) {
      for (const spacing of ["karras", "logLinear"] as const) {
        const grid = times(schedule, { from, spacing, steps: 4 });
        assert.deepEqual([grid.length, grid[0], grid[4]], [5, from, 0]);
        near(grid[3]!, from / 1000, 1e-9);
      }
    }
  });

  it("times() takes a time next to an end, or to a whole one, for that", () => {
    assert.deepEqual(times(vp(), { steps: 2, from: 1 - 1e-10 }), [1, 0.5, 0]);
    assert.deepEqual(times(vp(), { steps: 2, from: 1 + 1e-10, final: -1e-17 }), [1, 0.5, 0]);
    assert.deepEqual(times(edm(), { times: [80.00000001, 3, 0] }), [80, 3, 0]);
    assert.deepEqual(times(linear(), { from: 0.57 * 1000 + 1e-10, steps: 2 }), [570, 285, 0]);
    assert.deepEqual(times(linear(), { times: [1000.0000001, 500, 1e-9] }), [1000, 500, 0]);
  });

  it("times() refuses an option that has no part in the layout, by name", () => {
    const idle: [Schedule, GridOptions, string][] = [
      [linear(), { times: [2, 1], spacing: "leading" }, "spacing"],
      [linear(), { times: [2, 1], from: 2 }, "from"],
      [linear(), { times: [2, 1], final: 1 }, "final"],
      [linear(), { reach: 1 }, "reach"],
      [edm(), { spacing: "quadratic", reach: 1 }, "reach"],
      [linear(), { shift: 3 }, "shift"],
      [edm(), { shift: 3 }, "shift"],
      [linear(), { least: 1 }, "least"],
      [linear(), { spacing: "quadratic", least: 1 }, "least"],
    ];
    assert.equal(idle.length, 9);
    idle.forEach(([schedule, options, name]) =>
      assert.throws(() => times(schedule, options), {
        name: "RangeError",
        message: new RegExp(
          `^Cannot make a grid: ${name} must be absent (with spacing|beside times)`,
        ),
      })
    );
  });

  it("times() tells all that is wrong with its options, and a sampler all that is with its own", () => {
    const bad = { steps: -1, spacing: "karras", rho: 0 } as const;
    assert.throws(() => times(vp(), bad), {
      name: "RangeError",
      message: "Cannot make a grid: steps must be a whole number of at least 1, got -1; " +
        "rho must be finite and above 0, got 0",
    });
    const rules = { eta: is("0", (eta) => eta === 0) };
    assert.throws(
      () => timesAmong("sample", { schedule: vp(), options: { ...bad, eta: 1 } }, rules),
      {
        name: "RangeError",
        message: "Cannot sample: eta must be 0, got 1",
      },
    );
  });

  it("times() refuses an option that it does not know", () => {
    assert.throws(() => times(vp(), { step: 5 } as GridOptions), {
      name: "TypeError",
      message: /^Cannot make a grid: options must be among steps, .*, got "step"$/,
    });
  });

  it("times() takes a list as it is, and copies it", () => {
    const list = [700, 300.5, 0], grid = times(linear(), { times: list, steps: 99 });
    assert.deepEqual(grid, list);
    assert.notEqual(grid, list);
  });

  it("times() refuses bad options by name", () => {
    const bad: [Schedule, GridOptions, RegExp][] = [
      [linear(), { steps: 0 }, /Cannot make a grid: steps must be a whole number .* got 0$/],
      [vp(), { steps: 2.5 }, /steps must be a whole number/],
      [linear(), { steps: 1001 }, /times\[\d+\] must be below the time before it, \d+, got \d+$/],
      [
        linear(),
        { steps: 50, spacing: "quadratic" },
        /must be below the time before it, 1, got 1$/,
      ],
      [linear(), { steps: 600, spacing: "karras", round: true }, /must be below/],
      [linear(), { steps: 1, spacing: "linspace" }, /steps must be at least 2 for linspace/],
      [
        linear(),
        { steps: 10, spacing: "leading", final: 1 },
        /below the time before it, 1, got 1$/,
      ],
      [
        linear(),
        { steps: 2, spacing: "leading", offset: 600 },
        /times\[0\] must be in \[0, 1000\]/,
      ],
      [linear(), { offset: -1 }, /offset must be/],
      [linear(), { dropped: 0.5 }, /dropped must be/],
      [linear(), { from: 10.5, steps: 2 }, /from must be a whole number/],
      [linear(), { from: 1001 }, /from must be in \[0, 1000\], got 1001$/],
      [vp(), { from: -0.1 }, /from must be in \[0, 1\], got -0.1$/],
      [vp(), { final: 1 }, /final must be in \[0, 1\), got 1$/],
      [vp(), { final: -0.1 }, /final must be/],
      [vp(), { final: 0.5, least: 0.4 }, /least must be in \[0.5, 1\), got 0.4$/],
      [edm(), { spacing: "karras", rho: 0 }, /rho must be/],
      [vp(), { shift: 0 }, /shift must be/],
      [linear(), { steps: 5, spacing: "quadratic", reach: 1.5 }, /reach must be/],
      [vp(), { round: true }, /round must be false for continuous time/],
      [vp(), { spacing: "leading" }, /spacing must be one of uniform, .* for continuous time, got/],
      [vp(), { spacing: "cubic" as Spacing }, /spacing must be one of .*, got cubic$/],
      [linear(), { spacing: "toString" as Spacing }, /must be one of .*trailing.*, got toString$/],
      [
        rectified(),
        { spacing: "karras" },
        /from must be a time at which log-SNR is finite, got 1$/,
      ],
      [zeroTerminalSnr(linear()), { spacing: "logLinear" }, /from must be a time/],
      [vp(), { spacing: "logLinear", least: 0 }, /least must be a time at which log-SNR is finite/],
      [vp(), { times: [1] }, /times must be at least two, got 1$/],
      [vp(), { times: [1, 1] }, /times\[1\] must be below/],
      [vp(), { times: [1, NaN] }, /times\[1\] must be in \[0, 1\], got NaN$/],
      [vp(), { times: [2, 1] }, /times\[0\] must be in/],
      [vp(), { times: [] }, /times must be at least two, got 0$/],
      [vp(), { times: [1, 0.1 * 3, 0.3, 0] }, /times\[2\] must be below the time before it/],
      [vp(), { steps: 0 }, /steps must be a whole number of at least 1, got 0$/],
      [vp(), { from: 0, steps: -1 }, /steps must be a whole number/],
    ];
    assert.equal(bad.length, 34);
    bad.forEach(([schedule, options, pattern]) =>
      assert.throws(
        () => times(schedule, options),
        (error) => error instanceof RangeError && pattern.test(error.message),
        `${JSON.stringify(options)}`,
      )
    );
  });
});
