import { before, beforeEach, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import "../../src/tensor/autodiff.ts";
import { useBackend } from "../../src/tensor/backend/backend.ts";
import {
  awaited,
  folded,
  follows,
  own,
  owned,
  scope,
  type Scoped,
  tensorsIn,
} from "../../src/tensor/scope.ts";
import { live } from "../measure.ts";

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

/** A tensor that comes later, and belongs to who asked for it. */
async function later(values: readonly number[]): Promise<tf.Tensor> {
  await turn();
  return tf.tensor([...values]);
}

const numbers = (x: tf.Tensor): number[] => {
  const values = [...x.dataSync()];
  x.dispose();
  return values;
};

describe("scope()", () => {
  let outset = 0;
  before(() => useBackend("cpu"));
  beforeEach(() => {
    outset = live();
  });

  it("knows what is private in tfjs 4.22.0: the tensors that a scope tracks, and the tape of a gradient", () => {
    assert.equal(tf.version_core, "4.22.0");
    const engine = tf.engine();
    engine.startScope("named");
    const x = tf.scalar(1);
    assert.equal(engine.state.activeScope.name, "named");
    assert.deepEqual(engine.state.activeScope.track, [x]);
    assert.equal((x as unknown as { scopeId: number }).scopeId, engine.state.activeScope.id);
    engine.endScope();
    assert.ok(x.isDisposed);
    const depths: number[] = [];
    const gradient = tf.grad((x) => {
      const y = tf.square(x);
      depths.push(engine.state.gradientDepth);
      assert.ok(follows(y, x));
      assert.ok(!follows(tf.scalar(2), x));
      return y;
    })(tf.scalar(3));
    assert.deepEqual([depths, engine.state.gradientDepth], [[1], 0]);
    gradient.dispose();
    tf.disposeVariables();
  });

  it("frees all but the result, at once where nothing is waited for", () => {
    const x = tf.tensor([1, 2]);
    const made = scope(function* () {
      const y = yield* owned(tf.square(x)), z = yield* awaited(tf.add(y, 1));
      return { z, again: z, x };
    }) as { z: tf.Tensor; x: tf.Tensor };
    assert.equal(made.x, x);
    assert.equal(live() - outset, 2);
    assert.deepEqual(numbers(made.z), [2, 5]);
    assert.deepEqual(numbers(x), [1, 2]);
    const plain = scope(() => tf.sum(tf.square(tf.tensor([3, 4]))));
    assert.deepEqual(numbers(plain), [25]);
    assert.equal(live(), outset);
  });

  it("frees all but the result where it waits, before each wait and after it", async () => {
    const x = tf.tensor([1, 2]);
    const coming = scope(function* () {
      const early = tf.square(x), a = yield* owned(later([10, 20]));
      const middle = tf.add(a, early), b = yield* owned(later([100, 200]));
      return { sum: tf.add(middle, b), a, x };
    });
    assert.ok(coming instanceof Promise);
    const { sum, a } = await coming;
    assert.equal(live() - outset, 3);
    assert.deepEqual([numbers(sum), numbers(a)], [[111, 224], [10, 20]]);
    assert.deepEqual(numbers(x), [1, 2]);
    assert.equal(live(), outset);
  });

  it("gives what it makes to the scope around it, whether that waits or not", async () => {
    const total = await scope(function* () {
      const inner = yield* awaited(scope(function* () {
        return tf.add(yield* owned(later([1, 2])), 1);
      }));
      const atOnce = yield* awaited(scope(() => tf.square(inner)));
      yield* awaited(turn());
      return tf.sum(atOnce);
    });
    assert.deepEqual(numbers(total), [13]);
    assert.equal(live(), outset);
  });

  it("leaves alone what is older, what is kept, and what is borrowed", async () => {
    const cached = tf.tensor([7]), state = { x: tf.tensor([1]), t: 3 };
    let mine: tf.Tensor | undefined;
    const next = await scope(function* () {
      mine = tf.keep(tf.scalar(5));
      yield* awaited(Promise.resolve(cached));
      return yield* owned(
        later([2]).then((x) => ({ ...state, x, history: [state.x] })),
        state,
      );
    });
    assert.equal(next.history[0], state.x);
    assert.ok(!cached.isDisposed && !mine!.isDisposed && !state.x.isDisposed);
    const dropped = await scope(function* () {
      yield* owned(later([2]).then((x) => ({ x, history: [state.x] })), state);
      return 1;
    });
    assert.equal(dropped, 1);
    assert.ok(!state.x.isDisposed);
    tf.dispose([cached, mine!, state.x, next.x]);
    assert.equal(live(), outset);
  });

  it("takes what is handed over from outside, and outside of scopes leaves it to the caller", () => {
    const z = tf.tensor([1]), y = tf.tensor([2]);
    assert.equal(own(y), y);
    scope(() => void own(z));
    assert.ok(z.isDisposed && !y.isDisposed);
    y.dispose();
    assert.equal(live(), outset);
  });

  it("frees all when it fails: at once, later, in what it waits for, and in a finally", async () => {
    const failing: (() => Scoped<tf.Tensor>)[] = [
      // deno-lint-ignore require-yield
      function* () {
        tf.scalar(1);
        throw new Error("dead");
      },
      function* () {
        tf.scalar(1);
        yield* owned(later([1]));
        tf.scalar(2);
        throw new Error("dead");
      },
      function* () {
        tf.scalar(1);
        yield* owned(later([1]));
        return yield* owned(
          later([2]).then((x): tf.Tensor => {
            x.dispose();
            throw new Error("dead");
          }),
        );
      },
      function* () {
        try {
          yield* owned(later([1]));
          throw new Error("first");
        } finally {
          tf.scalar(3);
          yield* owned(later([4]));
          // deno-lint-ignore no-unsafe-finally
          throw new Error("dead");
        }
      },
    ];
    for (const work of failing) {
      await assert.rejects(async () => await scope(work), /dead/);
      assert.equal(live(), outset);
    }
  });

  it("can be caught, and goes on", async () => {
    const value = await scope(function* () {
      try {
        yield* owned(
          later([1]).then((x): number => {
            x.dispose();
            throw new Error("dead");
          }),
        );
      } catch {
        tf.scalar(1);
      }
      return tf.add(yield* owned(later([2])), 1);
    });
    assert.deepEqual(numbers(value), [3]);
    assert.equal(live(), outset);
  });

  it("is differentiated like any function, to third order, with scopes in scopes", () => {
    const cubed = (x: tf.Tensor): tf.Tensor =>
      scope(function* () {
        const square = yield* awaited(scope(() => tf.mul(tf.square(x), tf.onesLike(x))));
        return tf.mul(yield* owned(square), x);
      }) as tf.Tensor;
    const sum = (f: (x: tf.Tensor) => tf.Tensor) => (x: tf.Tensor): tf.Tensor => tf.sum(f(x));
    const first = tf.grad(sum(cubed)), second = tf.grad(sum(first)), third = tf.grad(sum(second));
    const x = tf.tensor([2, 3]);
    assert.deepEqual(numbers(first(x)), [12, 27]);
    assert.deepEqual(numbers(second(x)), [12, 18]);
    assert.deepEqual(numbers(third(x)), [6, 6]);
    const within = scope(function* () {
      return yield* owned(tf.grad(sum(cubed))(x));
    }) as tf.Tensor;
    assert.deepEqual(numbers(within), [12, 27]);
    x.dispose();
    assert.equal(live(), outset);
  });

  it("does not wait within a gradient: it gives a promise that says so, and frees all", async () => {
    const x = tf.scalar(2);
    let promise: unknown;
    const gradient = tf.grad((x) => {
      promise = scope(function* () {
        tf.square(x);
        return yield* owned(new Promise<tf.Tensor>(() => {}));
      });
      return tf.square(x);
    })(x);
    assert.deepEqual(numbers(gradient), [4]);
    await assert.rejects(
      async () => await promise,
      /Cannot take a gradient: .* at once, got a promise/,
    );
    x.dispose();
    assert.equal(live(), outset);
  });

  it("frees what a gradient had saved when it fails", () => {
    const x = tf.scalar(2);
    const failing = (): tf.Tensor =>
      scope(() =>
        tf.grad((x) => {
          tf.square(tf.exp(x));
          throw new Error("dead");
        })(x)
      );
    assert.throws(failing, /dead/);
    x.dispose();
    assert.equal(live(), outset);
  });

  it("folds long loops in memory that does not grow, at once and waiting", async () => {
    for (const isLater of [false, true]) {
      const counts: number[] = [], x = tf.tensor([1]);
      const y = await scope(() =>
        folded({ x, i: 0 }, 50, function* ({ x, i }) {
          counts.push(live());
          const one = isLater ? yield* owned(later([1])) : tf.ones([1]);
          return { x: tf.add(tf.mul(x, 1), one), i: i + 1 };
        })
      );
      assert.deepEqual([numbers(y.x), y.i], [[51], 50]);
      assert.equal(Math.max(...counts.slice(1)) - Math.min(...counts.slice(1)), 0);
      assert.deepEqual(numbers(x), [1]);
      assert.equal(live(), outset);
    }
    const x = tf.tensor([1]),
      same = await scope(() =>
        folded(x, 0, function* () {
          return yield* awaited(tf.ones([1]));
        })
      );
    assert.equal(same, x);
    x.dispose();
  });

  it("folds a whole number of times, or says so", () => {
    for (const count of [-1, 2.5, NaN, Infinity]) {
      assert.throws(
        () => scope(() => folded(1, count, (value) => awaited(value))),
        /Cannot fold: count must be a whole number of at least 0/,
      );
    }
  });

  it("keeps two that are under way at once apart", async () => {
    const turns: number[] = [];
    const work = (start: number) =>
      scope(function* () {
        let x: tf.Tensor = tf.scalar(start);
        for (let i = 0; i < 5; i++) {
          turns.push(start);
          const one = yield* owned(later([1]));
          x = tf.add(x, tf.sum(one));
        }
        return x;
      });
    const [a, b] = await Promise.all([work(10), work(20)]);
    assert.deepEqual(turns.slice(0, 4), [10, 20, 10, 20]);
    assert.deepEqual([numbers(a), numbers(b)], [[15], [25]]);
    assert.equal(live(), outset);
  });

  it("is called off by its signal, also where what it waits for never comes, and runs its finally", async () => {
    const controller = new AbortController(), never = new Promise<tf.Tensor>(() => {});
    let isClosed = false;
    const coming = scope(function* () {
      tf.scalar(1);
      const inner = yield* awaited(scope(function* () {
        try {
          tf.scalar(2);
          return yield* owned(never);
        } finally {
          isClosed = true;
        }
      }));
      return inner;
    }, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await assert.rejects(async () => await coming, /enough/);
    assert.ok(isClosed);
    assert.equal(live(), outset);
  });

  it("frees what comes for it after it was called off, and leaves time to end by itself", async () => {
    const controller = new AbortController();
    let arrive: (x: tf.Tensor) => void = () => {};
    const coming = scope(function* () {
      return yield* owned(new Promise<tf.Tensor>((resolve) => arrive = resolve));
    }, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await assert.rejects(async () => await coming, /enough/);
    arrive(tf.scalar(1));
    await turn();
    assert.equal(live(), outset);
    const second = new AbortController();
    const quick = scope(function* () {
      return yield* owned(later([1]));
    }, { signal: second.signal });
    second.abort();
    assert.deepEqual(numbers(await quick), [1]);
    assert.equal(live(), outset);
  });

  it("calls off the scopes in it that still wait when it fails", async () => {
    let isClosed = false;
    const coming = scope(function* () {
      const inner = scope(function* () {
        try {
          tf.scalar(1);
          return yield* owned(new Promise<tf.Tensor>(() => {}));
        } finally {
          isClosed = true;
        }
      });
      inner as unknown;
      yield* owned(later([1]));
      throw new Error("dead");
    });
    await assert.rejects(async () => await coming, /dead/);
    assert.ok(isClosed);
    assert.equal(live(), outset);
  });

  it("refuses work that waits without being a generator", () => {
    assert.throws(
      () => scope(() => Promise.resolve(1)),
      /Cannot carry out a scope: work that waits must be a generator, got a promise/,
    );
  });

  it("finds the tensors of a tree once each, and asks for no number of an array", () => {
    const [a, b] = [tf.tensor([1]), tf.tensor([2])], spins = new Int8Array(4);
    const refuse = { enumerable: true, get: () => assert.fail("a number was asked for") };
    Object.defineProperty(spins, "first", refuse);
    const tree = { x: [a, { spins, b }], again: a, step: 3, nothing: null };
    const round = Object.assign(tree, { round: tree });
    assert.deepEqual(tensorsIn(round).map(({ id }) => id), [a.id, b.id]);
    assert.deepEqual(tensorsIn(a).map(({ id }) => id), [a.id]);
    assert.deepEqual(tensorsIn(undefined), []);
    tf.dispose([a, b]);
  });

  it("refuses an option that it does not have", () => {
    const options = { signl: AbortSignal.timeout(1000) } as object;
    assert.throws(
      () => scope(() => tf.scalar(1), options),
      /Cannot carry out a scope: options must be among signal, got "signl"/,
    );
  });
});
