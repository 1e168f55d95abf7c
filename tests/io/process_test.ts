import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { ClosedPipe, toProcess, toStdout, toWritable } from "../../src/io/process.ts";

interface Log {
  pulled: number;
  closed: number;
}

/** Pieces of a megabyte, far above what a pipe holds; notes how many were asked for and that it was closed. */
async function* pieces(count: number, log: Log, fail?: Error): AsyncGenerator<Uint8Array> {
  try {
    for (let i = 0; i < count; i++) {
      log.pulled++;
      yield new Uint8Array(1 << 20).fill(i);
    }
    if (fail) throw fail;
  } finally {
    log.closed++;
  }
}

const fresh = (): Log => ({ pulled: 0, closed: 0 });

/** The error that a promise is rejected with. */
async function rejection(promise: Promise<unknown>): Promise<Error> {
  const settled = await promise.then(() => null, (error) => error);
  assert.ok(settled instanceof Error, "the promise was kept");
  return settled;
}

describe("toWritable()", () => {
  it("toWritable() asks for a piece when the one before it has been taken, and closes the stream", async () => {
    const log = fresh(), seen: number[] = [];
    let closed = 0;
    const stream = new WritableStream<Uint8Array>({
      async write() {
        await Promise.resolve();
        seen.push(log.pulled);
      },
      close: () => void closed++,
    });
    await toWritable(stream)(pieces(3, log));
    assert.deepEqual([seen, closed, stream.locked], [[1, 2, 3], 1, false]);
  });

  it("toWritable() leaves the stream open and unlocked when told to", async () => {
    const closed: string[] = [];
    const stream = () =>
      new WritableStream<Uint8Array>({
        close: () => void closed.push("close"),
        abort: () => void closed.push("abort"),
      });
    const [one, two] = [stream(), stream()], mine = new Error("mine");
    await toWritable(one, { close: false })(pieces(1, fresh()));
    await rejection(toWritable(two, { close: false })(pieces(1, fresh(), mine)));
    assert.deepEqual([closed, one.locked, two.locked], [[], false, false]);
    await rejection(toWritable(two)(pieces(1, fresh(), mine)));
    assert.deepEqual(closed, ["abort"]);
  });

  it("toWritable() closes the source on a failing stream, and hands on what it throws", async () => {
    const log = fresh(), full = new Error("full");
    const stream = new WritableStream<Uint8Array>({
      write() {
        if (log.pulled === 2) throw full;
      },
    });
    assert.equal(await rejection(toWritable(stream)(pieces(5, log))), full);
    assert.deepEqual(log, { pulled: 2, closed: 1 });
  });

  it("toWritable() calls a reader that has gone ClosedPipe, but not a source's own broken pipe", async () => {
    const log = fresh(), broken = new Deno.errors.BrokenPipe("gone");
    const stream = new WritableStream<Uint8Array>({
      write() {
        throw broken;
      },
    });
    const error = await rejection(toWritable(stream)(pieces(5, log)));
    assert.ok(error instanceof ClosedPipe && error.cause === broken && error.name === "ClosedPipe");
    assert.deepEqual(log, { pulled: 1, closed: 1 });
    const own = await rejection(toWritable(new WritableStream())(pieces(1, fresh(), broken)));
    assert.equal(own, broken);
  });

  it("toWritable() stops between two pieces on an abort and closes the source", async () => {
    const log = fresh(), control = new AbortController(), reason = new Error("enough");
    const stream = new WritableStream<Uint8Array>({
      write() {
        if (log.pulled === 2) control.abort(reason);
      },
    });
    const error = await rejection(
      toWritable(stream, { signal: control.signal })(pieces(5, log)),
    );
    assert.deepEqual([error, log], [reason, { pulled: 3, closed: 1 }]);
  });

  it("toWritable() does not touch the source when it is aborted before", async () => {
    const log = fresh(), signal = AbortSignal.abort(new Error("early"));
    await rejection(toWritable(new WritableStream(), { signal })(pieces(1, log)));
    assert.deepEqual(log, fresh());
  });
});

describe("toStdout()", () => {
  const module = new URL("../../src/io/process.ts", import.meta.url).href;
  const script = (count: number) => `
    import { ClosedPipe, toStdout } from ${JSON.stringify(module)};
    async function* pieces() {
      try {
        for (let i = 0; i < ${count}; i++) yield new Uint8Array(1 << 20).fill(65 + i);
      } finally {
        console.error("closed");
      }
    }
    try {
      for (let i = 0; i < 2; i++) await toStdout()(pieces());
      console.error("kept");
    } catch (error) {
      console.error(error instanceof ClosedPipe ? "ClosedPipe" : error);
    }`;
  const config = `--config=${fileURLToPath(new URL("../../deno.json", import.meta.url))}`;
  const start = (count: number) =>
    new Deno.Command(Deno.execPath(), {
      args: ["eval", "--quiet", "--cached-only", "--frozen", config, script(count)],
      stdout: "piped",
      stderr: "piped",
    }).spawn();

  it("toStdout() writes everything and leaves the output open for more", async () => {
    const { stdout, stderr } = await start(2).output();
    assert.equal(stdout.length, 4 << 20);
    assert.deepEqual([stdout[0], stdout.at(-1)], [65, 66]);
    assert.equal(new TextDecoder().decode(stderr), "closed\nclosed\nkept\n");
  });

  it("toStdout() ends with ClosedPipe when the reader closes the pipe, and closes the source", async () => {
    const child = start(50), reader = child.stdout.getReader();
    assert.ok(!(await reader.read()).done);
    await reader.cancel();
    assert.equal(await new Response(child.stderr).text(), "closed\nClosedPipe\n");
    await child.status;
  });

  it("toStdout() does not touch the source when it is aborted before", async () => {
    const log = fresh();
    await rejection(toStdout({ signal: AbortSignal.abort() })(pieces(1, log)));
    assert.deepEqual(log, fresh());
  });
});

describe("toProcess()", () => {
  it("toProcess() gives a program all bytes and waits for its end", async () => {
    const path = await Deno.makeTempFile(), log = fresh();
    await toProcess("sh", ["-c", `cat > ${path}`])(pieces(3, log));
    const bytes = await Deno.readFile(path);
    await Deno.remove(path);
    assert.deepEqual([bytes.length, bytes[0], bytes.at(-1)], [3 << 20, 0, 2]);
    assert.deepEqual(log, { pulled: 3, closed: 1 });
  });

  it("toProcess() runs in the folder given, with the arguments as they are", async () => {
    const folder = await Deno.makeTempDir();
    await toProcess("sh", ["-c", 'cat > "$1"', "sh", "a b $HOME"], { cwd: folder })(
      pieces(1, fresh()),
    );
    const [entry] = [...Deno.readDirSync(folder)];
    await Deno.remove(folder, { recursive: true });
    assert.equal(entry!.name, "a b $HOME");
  });

  it("toProcess() ends with ClosedPipe when a program had enough: head -c 10", async () => {
    const log = fresh(), error = await rejection(toProcess("head", ["-c", "10"])(pieces(50, log)));
    assert.ok(error instanceof ClosedPipe);
    assert.match(error.message, /head must read to the end, got exit code 0/);
    assert.equal(log.closed, 1);
    assert.ok(log.pulled < 50);
  });

  it("toProcess() names the command and its code when the program fails: false", async () => {
    for (const count of [50, 0]) {
      const log = fresh(), error = await rejection(toProcess("false")(pieces(count, log)));
      assert.match(
        error.message,
        /^Cannot pipe into false: it must end with code 0, got exit code 1$/,
      );
      assert.ok(!(error instanceof ClosedPipe));
      assert.ok(log.closed === 1 && log.pulled < 50);
    }
  });

  it("toProcess() repeats the last five lines of the program's standard error", async () => {
    const code = "cat > /dev/null; for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 3";
    const error = await rejection(toProcess("sh", ["-c", code])(pieces(1, fresh())));
    assert.match(
      error.message,
      /got exit code 3; its last words: line 3\nline 4\nline 5\nline 6\nline 7$/,
    );
  });

  it("toProcess() reads a standard error larger than a pipe", async () => {
    const code = "head -c 1000000 /dev/zero >&2; cat > /dev/null";
    await toProcess("sh", ["-c", code])(pieces(2, fresh()));
  });

  it("toProcess() tells an end by a signal", async () => {
    const error = await rejection(toProcess("sh", ["-c", "kill -9 $$"])(pieces(50, fresh())));
    assert.match(error.message, /got an end by SIGKILL/);
  });

  it("toProcess() names a program that is not there and does not touch the source", async () => {
    const log = fresh(), error = await rejection(toProcess("no-such-program")(pieces(1, log)));
    assert.match(error.message, /^Cannot run no-such-program: .* got NotFound/);
    assert.ok(error.cause instanceof Deno.errors.NotFound);
    assert.deepEqual(log, fresh());
  });

  it("toProcess() stops the program and hands on the error when the source fails", async () => {
    const mine = new Error("mine"), log = fresh(), path = await Deno.makeTempFile();
    // Would report its end in the file, if it were left to end by itself.
    const code = `cat > /dev/null; sleep 0.2; echo ended > ${path}`;
    const error = await rejection(toProcess("sh", ["-c", code])(pieces(2, log, mine)));
    const said = await Deno.readTextFile(path);
    await Deno.remove(path);
    assert.deepEqual([error, said, log.closed], [mine, "", 1]);
  });

  it("toProcess() kills a program that does not read, on an abort, and closes the source", async () => {
    const log = fresh(), control = new AbortController(), reason = new Error("enough");
    async function* aborting() {
      yield* pieces(1, log);
    }
    const work = toProcess("sleep", ["60"], { signal: control.signal })(aborting());
    while (log.pulled === 0) await new Promise((done) => setTimeout(done, 5));
    control.abort(reason);
    assert.equal(await rejection(work), reason);
    assert.equal(log.closed, 1);
  });

  it("toProcess() kills a program that takes no notice of being stopped", async () => {
    const control = new AbortController(), options = { signal: control.signal, grace: 50 };
    const folder = await Deno.makeTempDir(), sign = `${folder}/ready`;
    const code = `trap '' TERM; touch ${sign}; while :; do sleep 0.02; done`;
    const work = rejection(toProcess("sh", ["-c", code], options)(pieces(9, fresh())));
    while ([...Deno.readDirSync(folder)].length === 0) {
      await new Promise((done) => setTimeout(done, 5));
    }
    control.abort(new Error("enough"));
    assert.equal((await work).message, "enough");
    await Deno.remove(folder, { recursive: true });
  });

  it("toProcess() does not wait for a child of the program that holds the pipe open", async () => {
    const folder = await Deno.makeTempDir(), sign = `${folder}/on`;
    await Deno.writeTextFile(sign, "");
    // Holds the standard error open for ten seconds, or until the sign is gone, and says so if it came to the end.
    const child =
      `for i in $(seq 200); do [ -e ${sign} ] || exit; sleep 0.05; done; touch ${folder}/late`;
    const error = await rejection(
      toProcess("sh", ["-c", `echo words >&2; (${child}) <&- & exit 4`])(pieces(9, fresh())),
    );
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
    await Deno.remove(folder, { recursive: true });
    assert.match(error.message, /exit code 4; its last words: words$/);
    assert.deepEqual(names, ["on"]);
  });

  it("toProcess() does not start the program when it is aborted before", async () => {
    const log = fresh(), signal = AbortSignal.abort(new Error("early"));
    const error = await rejection(toProcess("no-such-program", [], { signal })(pieces(1, log)));
    assert.deepEqual([error.message, log], ["early", fresh()]);
  });
});

// Straight on Deno.test, whose sanitizers fail a test that leaves a process, a pipe, a timer or an operation behind.
Deno.test({
  name: "toProcess() leaves nothing behind, however it ends",
  sanitizeOps: true,
  sanitizeResources: true,
  fn: async () => {
    const soon = (): AbortSignal => AbortSignal.timeout(20);
    const ends = [
      toProcess("cat")(pieces(3, fresh())),
      toProcess("head", ["-c", "10"])(pieces(9, fresh())),
      toProcess("false")(pieces(9, fresh())),
      toProcess("false")(pieces(0, fresh())),
      toProcess("no-such-program")(pieces(9, fresh())),
      toProcess("cat")(pieces(3, fresh(), new Error("mine"))),
      toProcess("sleep", ["60"], { signal: soon() })(pieces(9, fresh())),
      toProcess("sleep", ["60"], { signal: soon() })(pieces(0, fresh())),
    ];
    const settled = (await Promise.allSettled(ends)).map((end) =>
      end.status === "fulfilled" ? "kept" : end.reason.name
    );
    const timeout = "TimeoutError";
    const failed = new Array(4).fill("Error");
    assert.deepEqual(settled, ["kept", "ClosedPipe", ...failed, timeout, timeout]);
  },
});

describe("toWritable(), toStdout() and toProcess()", () => {
  it("toWritable(), toStdout() and toProcess() refuse options that they do not know or that say nothing", () => {
    const cases: readonly (readonly [() => unknown, string, string])[] = [
      [
        () => toWritable(new WritableStream(), { closed: true } as { close?: boolean }),
        "TypeError",
        'Cannot write bytes: options must be among signal, close, got "closed"',
      ],
      [
        () => toStdout({ close: true } as { signal?: AbortSignal }),
        "TypeError",
        'Cannot write to standard output: options must be among signal, got "close"',
      ],
      [
        () => toProcess("cat", [], { close: true } as { cwd?: string }),
        "TypeError",
        'Cannot run cat: options must be among signal, cwd, stdout, grace, got "close"',
      ],
      [
        () => toProcess("cat", [], { stdout: "piped" as "null" }),
        "RangeError",
        'Cannot run cat: stdout must be "null" or "inherit", got "piped"',
      ],
      [
        () => toProcess("cat", [], { grace: -1 }),
        "RangeError",
        "Cannot run cat: grace must be a number of milliseconds in [0, 2^31), got -1",
      ],
    ];
    for (const [call, name, message] of cases) assert.throws(call, { name, message });
  });
});
