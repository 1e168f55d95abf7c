/**
 * A watcher that says how far a stream has come.
 *
 * The line goes to the standard error, so that the standard output stays free for pictures, and is silent unless that is
 * a terminal. With k of K steps done after e seconds since the first item, at step k₀, the rate is (k − k₀)/e steps a
 * second and the time left (K − k)/rate.
 *
 * @module
 */

import { pipe } from "fp-ts/lib/function.js";
import { from } from "ix/asynciterable/asynciterablex";
import { defer } from "ix/asynciterable/defer";
import { finalize } from "ix/asynciterable/operators/finalize";
import { tap } from "ix/asynciterable/operators/tap";
import { builtin, isDeno } from "../tensor/backend/runtime.ts";
import { among, decoded, is, type Rules, wholeNumber } from "../tensor/check/decode.ts";

/**
 * What progress reads of an item, where it is there: a state of a chain or of training, or anything else.
 *
 * @category Watchers
 */
export interface Progressing {
  /** Steps made so far. Default: the item's index from 0. */
  readonly step?: number;
  /** Time on the schedule, shown where it is there. */
  readonly t?: number;
  /** Loss of the step, shown where it is there. */
  readonly loss?: number;
}

/**
 * Options of {@link progress}.
 *
 * @category Watchers
 */
export interface ProgressOptions {
  /** Steps in all, for the share done and the time left. Default: unknown. */
  readonly total?: number;
  /** Write at every how many items, at least 1; the first and the last are always written. Default: 1. */
  readonly every?: number;
  /** Least time between two writes, in milliseconds. Default: 100, and 0 with `style: "plain"`. */
  readonly interval?: number;
  /** Words before the numbers, such as `"sampling"`. Default: none. */
  readonly label?: string;
  /**
   * `"line"` rewrites one line; `"plain"` writes a new line each time, for logs; `"auto"` is `"line"` on a terminal or
   * where `write` is given, and otherwise silence. Default: `"auto"`.
   */
  readonly style?: "auto" | "line" | "plain";
  /** Takes the text. Default: writes it to the standard error. */
  readonly write?: (text: string) => void;
  /** Clock in milliseconds. Default: `performance.now`. */
  readonly now?: () => number;
}

const progressOptions: Rules<ProgressOptions> = {
  total: wholeNumber(0),
  every: wholeNumber(1),
  interval: is("at least 0 ms", (time) => time >= 0),
  label: true,
  style: among(["auto", "line", "plain"]),
  write: true,
  now: true,
};

/** Where a stream stands. */
interface Place extends Progressing {
  readonly step: number;
  readonly at: number;
}

/**
 * Writes a line of progress and passes the items on. It uses no timer, and ends its line when the stream ends or is
 * broken off.
 *
 * @category Watchers
 * @param options Number of steps, how often, where to.
 * @returns The watcher.
 * @throws {TypeError} If an option is unknown.
 * @throws {RangeError} If `total`, `every`, `interval` or `style` is out of its range.
 *
 * @example The lines of a log
 * ```ts
 * import { progress } from "@tweedie/tweedie";
 * import assert from "node:assert/strict";
 *
 * const log: string[] = [];
 * const watch = progress({ total: 2, style: "plain", label: "sampling", write: (s) => log.push(s), now: () => 0 });
 * for await (const _ of watch(ReadableStream.from([{ step: 0, t: 1 }, { step: 1, t: 0.5 }])));
 * assert.deepEqual(log, ["sampling 0/2 t 1 0.0 s\n", "sampling 1/2 t 0.5 0.0 s\n"]);
 * ```
 */
export function progress(
  options: ProgressOptions = {},
): <S>(source: AsyncIterable<S>) => AsyncIterable<S> {
  decoded("show progress", options, progressOptions);
  return <S>(source: AsyncIterable<S>) =>
    defer(() => {
      const style = styleOf(options);
      if (style === "silent") return source;
      const { see, end } = telling(options, style);
      return pipe(from(source), tap<S>({ next: see }), finalize(end));
    });
}

/** As much of a terminal as is used here. */
interface Terminal {
  readonly isTTY?: boolean;
  readonly write: (text: string) => unknown;
}

/** Standard error, looked up when it is needed, so that importing this file needs nothing; browsers have none. */
const stderr = (): Terminal | undefined =>
  isDeno()
    ? {
      isTTY: Deno.stderr.isTerminal(),
      write: (text) => Deno.stderr.writeSync(new TextEncoder().encode(text)),
    }
    : builtin<{ readonly stderr: Terminal }>("node:process")?.stderr;

function toStderr(text: string): void {
  stderr()?.write(text);
}

function styleOf({ style = "auto", write }: ProgressOptions): "line" | "plain" | "silent" {
  if (style !== "auto") return style;
  return write || stderr()?.isTTY ? "line" : "silent";
}

/** One stream's line: its first and latest place, and what of it has been written. */
interface Teller {
  see(item: unknown): void;
  end(): void;
}

function telling(options: ProgressOptions, style: "line" | "plain"): Teller {
  const { every = 1, write = toStderr, now = () => performance.now() } = options;
  const interval = options.interval ?? (style === "plain" ? 0 : 100);
  let index = 0, first: Place | undefined, latest: Place | undefined, written: Place | undefined;
  const tell = (place: Place): void => {
    const text = line(place, first!, options);
    write(style === "plain" ? `${text}\n` : `\r\x1b[K${text}`);
    written = place;
  };
  return {
    see(item): void {
      latest = placeOf(item, index, now());
      first ??= latest;
      const due = !written || latest.at - written.at >= interval;
      if (index++ % every === 0 && due) tell(latest);
    },
    end(): void {
      if (latest && latest !== written) tell(latest);
      if (latest && style === "line") write("\n");
    },
  };
}

/** The numbers of an item, taken at once: its tensors may be gone later. */
function placeOf(item: unknown, index: number, at: number): Place {
  const { step, t, loss } = (Object(item)) as Record<string, unknown>;
  return {
    step: typeof step === "number" ? step : index,
    at,
    ...(typeof t === "number" ? { t } : {}),
    ...(typeof loss === "number" ? { loss } : {}),
  };
}

function line(place: Place, first: Place, { total, label }: ProgressOptions): string {
  const seconds = (place.at - first.at) / 1000, rate = (place.step - first.step) / seconds;
  const left = total === undefined ? NaN : (total - place.step) / rate;
  const parts = [
    label,
    total === undefined ? `${place.step}` : `${place.step}/${total}`,
    place.t !== undefined && `t ${brief(place.t)}`,
    place.loss !== undefined && `loss ${brief(place.loss)}`,
    rate > 0 && Number.isFinite(rate) && `${brief(rate)} steps/s`,
    duration(seconds),
    left > 0 && Number.isFinite(left) && `${duration(left)} left`,
  ];
  return parts.filter((part) => part).join(" ");
}

/** Four significant digits, without trailing zeros. */
const brief = (value: number): string => `${Number(value.toPrecision(4))}`;

/** Seconds below a minute, then minutes and seconds, then hours and minutes. */
function duration(seconds: number): string {
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds), minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
