/**
 * Byte streams into pipes: the standard output, any `WritableStream`, another program.
 *
 * A piece is asked for when the one before it has been taken, so that a slow reader slows the source (back-pressure).
 * Whatever ends the stream, the source is closed before the promise settles. Three ends are told apart:
 *
 * - the reader had enough, as `head` has: {@link ClosedPipe}, which a program may take for a quiet end;
 * - the reader failed: an `Error` with the command, its exit code and the last lines of its standard error;
 * - the source failed or the signal was aborted: that error itself, and the child is stopped.
 *
 * A signal is looked at between pieces: give the source the same one, so that it stops in the middle of its work.
 *
 * @module
 */

import { checkDeno, isDeno } from "../tensor/backend/runtime.ts";
import { decoded, is, oneOf, type Rules } from "../tensor/check/decode.ts";

/**
 * The reader of a pipe closed it before all was written; `cause` is the system's error, where there is one.
 *
 * @category Files
 */
export class ClosedPipe extends Error {
  /** The class's name, `"ClosedPipe"`. */
  override readonly name: string = "ClosedPipe";
}

/**
 * Options of {@link toStdout}.
 *
 * @category Files
 */
export interface PipeOptions {
  /** Ends the writing between two pieces. Default: none. */
  readonly signal?: AbortSignal;
}

/**
 * Options of {@link toWritable}.
 *
 * @category Files
 */
export interface WritableOptions extends PipeOptions {
  /** Whether to close the stream at the end, and to abort it when something fails. Default: true. */
  readonly close?: boolean;
}

/**
 * Options of {@link toProcess}.
 *
 * @category Files
 */
export interface ProcessOptions {
  /** Stops the program, and ends the writing between two pieces. Default: none. */
  readonly signal?: AbortSignal;
  /** Folder to run in. Default: this program's. */
  readonly cwd?: string;
  /** Where the program's standard output goes. Default: `"null"`, nowhere. */
  readonly stdout?: "null" | "inherit";
  /** How long a program that is being stopped has from SIGTERM to SIGKILL, in milliseconds. Default: 2000. */
  readonly grace?: number;
}

const pipeOptions: Rules<PipeOptions> = { signal: true };

const writableOptions: Rules<WritableOptions> = { ...pipeOptions, close: true };

const processOptions: Rules<ProcessOptions> = {
  ...pipeOptions,
  cwd: true,
  stdout: oneOf("null", "inherit"),
  // More is no time at all to a timer.
  grace: is("a number of milliseconds in [0, 2^31)", (time) => time >= 0 && time < 2 ** 31),
};

/**
 * A consumer of a byte stream.
 *
 * @category Files
 */
export type ByteSink = (bytes: AsyncIterable<Uint8Array>) => Promise<void>;

/** What the system reports when a pipe has no reader. */
const isBroken = (error: unknown): boolean =>
  isDeno() &&
  (error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionReset);

/** Writes one piece; a reader's absence gets a type of its own, to tell it from the source's errors. */
async function put(
  writer: WritableStreamDefaultWriter<Uint8Array>,
  piece: Uint8Array,
): Promise<void> {
  try {
    await writer.write(piece);
  } catch (cause) {
    if (!isBroken(cause)) throw cause;
    throw new ClosedPipe("Cannot write on: the reader closed the pipe", { cause });
  }
}

/**
 * Writes bytes to a stream.
 *
 * @category Files
 * @param stream The stream, which must not be locked; it is unlocked again at the end.
 * @param options Signal; whether to close the stream.
 * @returns A function of a byte stream.
 * @throws {TypeError} If an option is not known.
 * @throws {ClosedPipe} If the reader closed the pipe.
 * @throws What the source or the stream throws; the signal's reason.
 *
 * @example A stream of one's own
 * ```ts
 * import { toWritable } from "@tweedie/tweedie/io";
 * import assert from "node:assert/strict";
 *
 * const sizes: number[] = [];
 * const stream = new WritableStream<Uint8Array>({ write: (piece) => void sizes.push(piece.length) });
 * await toWritable(stream)(ReadableStream.from([new Uint8Array(3), new Uint8Array(4)]));
 * assert.deepEqual(sizes, [3, 4]);
 * ```
 */
export function toWritable(
  stream: WritableStream<Uint8Array>,
  options: WritableOptions = {},
): ByteSink {
  const { signal, close = true } = decoded("write bytes", options, writableOptions);
  return async (bytes) => {
    signal?.throwIfAborted();
    const writer = stream.getWriter();
    try {
      for await (const piece of bytes) {
        signal?.throwIfAborted();
        await put(writer, piece);
      }
      if (close) await writer.close();
    } catch (error) {
      if (close) await writer.abort(error).catch(() => {});
      throw error;
    } finally {
      writer.releaseLock();
    }
  };
}

/**
 * Writes bytes to the standard output, and leaves it open.
 *
 * @category Files
 * @param options Signal.
 * @returns A function of a byte stream.
 * @throws {TypeError} If an option is not known.
 * @throws {ClosedPipe} If the reader closed the pipe, as in `deno run frames.ts | head -c 100`.
 * @throws What the source throws; the signal's reason.
 *
 * @example End quietly when the reader has had enough
 * ```ts
 * import { ClosedPipe } from "@tweedie/tweedie/io";
 * import { toStdout } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const nothing = ReadableStream.from<Uint8Array>([]);
 * const ended = await toStdout()(nothing).catch((error) => {
 *   if (!(error instanceof ClosedPipe)) throw error;
 * });
 * assert.equal(ended, undefined);
 * ```
 */
export function toStdout(options: PipeOptions = {}): ByteSink {
  decoded("write to standard output", options, pipeOptions);
  checkDeno("write to standard output");
  return (bytes) => toWritable(Deno.stdout.writable, { ...options, close: false })(bytes);
}

/**
 * Runs a program and writes bytes to its standard input. Needs the permission to run it.
 *
 * @category Files
 * @param command The program's name or path.
 * @param args Its arguments.
 * @param options Signal, folder, standard output.
 * @returns A function of a byte stream, whose promise is kept once the program has ended well.
 * @throws {TypeError | RangeError} If an option is not known, or out of its range.
 * @throws {Error} If the program cannot be started (the source is then not touched), or ends with another code than 0;
 * the message has the command, the code and the last lines of its standard error.
 * @throws {ClosedPipe} If the program ended with code 0 before it had read everything.
 * @throws What the source throws; the signal's reason. The program is stopped then: SIGTERM, later SIGKILL.
 *
 * @example A film: `toProcess("ffmpeg", ["-y", "-i", "-", "film.mp4"])(y4m()(images))`; here, a program that counts
 * ```ts
 * import { toProcess } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const count = toProcess("sh", ["-c", "test $(wc -c) = 7 || { echo not seven >&2; exit 3; }"]);
 * await count(ReadableStream.from([new Uint8Array(3), new Uint8Array(4)]));
 * await assert.rejects(count(ReadableStream.from([new Uint8Array(3)])), /got exit code 3.*not seven/s);
 * ```
 */
export function toProcess(
  command: string,
  args: readonly string[] = [],
  options: ProcessOptions = {},
): ByteSink {
  const { signal } = decoded(`run ${command}`, options, processOptions);
  const unclosed = { ...(signal && { signal }), close: false };
  return async (bytes) => {
    checkDeno(`run ${command}`);
    signal?.throwIfAborted();
    const child = started(command, args, options), lines = lastLines(child.stderr);
    const stop = (): void => stopped(child, options.grace ?? 2000);
    signal?.addEventListener("abort", stop, { once: true });
    try {
      const fault = await faultOf(toWritable(child.stdin, unclosed)(bytes));
      // Stopped first: a program that is given half of its input must not take the end of it for the whole.
      if (fault && !(fault.error instanceof ClosedPipe)) stop();
      await child.stdin.close().catch(() => {});
      const status = await child.status, said = await lines.end();
      signal?.throwIfAborted();
      judge(command, status, said, fault);
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  };
}

function started(
  command: string,
  args: readonly string[],
  options: ProcessOptions,
): Deno.ChildProcess {
  const { cwd, stdout = "null" } = options, where = cwd === undefined ? {} : { cwd };
  try {
    return new Deno.Command(command, {
      args: [...args],
      ...where,
      stdin: "piped",
      stdout,
      stderr: "piped",
    }).spawn();
  } catch (cause) {
    const got = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause);
    const wanted = `installed and allowed (--allow-run=${command})`;
    throw new Error(`Cannot run ${command}: command must be ${wanted}, got ${got}`, { cause });
  }
}

/** Asks a program to end, and makes it end if it has not after a while. */
function stopped(child: Deno.ChildProcess, grace: number): void {
  signalled(child, "SIGTERM");
  const timer = setTimeout(() => signalled(child, "SIGKILL"), grace);
  child.status.finally(() => clearTimeout(timer));
}

function signalled(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch {
    // It has ended already.
  }
}

/** A failure as a value, so that what the program has to say about it can be waited for. */
function faultOf(work: Promise<void>): Promise<{ error: unknown } | undefined> {
  return work.then(() => undefined, (error) => ({ error }));
}

/** Which of a program's ends was a good one, and what to say of the others. */
function judge(
  command: string,
  { code, signal, success }: Deno.CommandStatus,
  said: string,
  fault: { error: unknown } | undefined,
): void {
  if (fault && !(fault.error instanceof ClosedPipe)) throw fault.error;
  if (success && !fault) return;
  const got = signal ? `an end by ${signal}` : `exit code ${code}`, cause = fault?.error;
  const rest = said && `; its last words: ${said}`;
  if (success) {
    throw new ClosedPipe(`Cannot write on: ${command} must read to the end, got ${got}${rest}`, {
      cause,
    });
  }
  throw new Error(`Cannot pipe into ${command}: it must end with code 0, got ${got}${rest}`, {
    cause,
  });
}

/**
 * Reads the standard error as it comes, so that the program never waits for it, and holds its last lines. Once the
 * program has ended, what is still in the pipe is waited for, but not for long: a child of the child may hold it open.
 */
function lastLines(stream: ReadableStream<Uint8Array>): { end: () => Promise<string> } {
  const reader = stream.pipeThrough(new TextDecoderStream() as never).getReader();
  let text = "";
  const read = async (): Promise<void> => {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      text = (text + part.value).slice(-2000);
    }
  };
  const done = read();
  const end = async (): Promise<string> => {
    const timer = setTimeout(() => reader.cancel(), 500);
    await done;
    clearTimeout(timer);
    return text.trim().split(/[\r\n]+/).slice(-5).join("\n");
  };
  return { end };
}
