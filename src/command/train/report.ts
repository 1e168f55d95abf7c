/**
 * How a training run reports: step, loss, speed and time left.
 *
 * On a terminal one line is rewritten as the run goes, and kept at each checkpoint. In a log there is a line at each
 * checkpoint and no more. After m steps in s seconds since the first report, which comes before the first step, at step
 * k of K and with B images a step, the speed is B·m/s images a second and the time left (K − k)·s/m. The loss is the
 * mean over the steps since the last line that was kept.
 *
 * @module
 */

import type { TrainReport } from "./run.ts";

/** Options of {@link reported}. */
export interface ReportedOptions {
  /** Number of steps of the whole run. */
  readonly steps: number;
  /** Images a step. */
  readonly batch: number;
  /** Takes the text. */
  readonly write: (text: string) => void;
  /** Whether the text goes to a terminal, where a line can be rewritten. */
  readonly terminal: boolean;
  /** Once it is aborted nothing more is written: who aborted it has the last word. Default: none. */
  readonly signal?: AbortSignal;
  /** Clock in milliseconds. Default: `performance.now`. */
  readonly now?: () => number;
}

/** Least time between two writes on a terminal, in milliseconds. */
const interval = 200;

/** What has been seen: the first report, when it came, when the last line was written, losses since the last line kept. */
interface Seen {
  readonly from: number;
  readonly began: number;
  readonly wrote: number;
  readonly sum: number;
  readonly count: number;
}

/** With one more report; the first comes before any step and has no loss. */
function noted(seen: Seen | undefined, { step, loss }: TrainReport, at: number): Seen {
  if (!seen) return { from: step, began: at, wrote: at, sum: 0, count: 0 };
  return { ...seen, sum: seen.sum + loss, count: seen.count + 1 };
}

/**
 * Writes lines of progress and passes the reports on.
 *
 * @param options Steps, images a step, where to.
 * @returns The watcher.
 */
export function reported(
  options: ReportedOptions,
): (source: AsyncIterable<TrainReport>) => AsyncIterable<TrainReport> {
  return (source) => ({ [Symbol.asyncIterator]: () => lines(source, options) });
}

async function* lines(
  source: AsyncIterable<TrainReport>,
  options: ReportedOptions,
): AsyncGenerator<TrainReport, void, undefined> {
  const { terminal, write, signal, now = () => performance.now() } = options;
  let seen: Seen | undefined, open = false;
  try {
    for await (const report of source) {
      const at = now();
      seen = noted(seen, report, at);
      const due = report.saved || (terminal && at - seen.wrote >= interval);
      if (due && seen.count > 0 && !signal?.aborted) {
        write(`${terminal ? "\r\x1b[K" : ""}${line(report, seen, options, at)}`);
        if (report.saved) write("\n");
        open = !report.saved;
        seen = { ...seen, wrote: at, ...(report.saved ? { sum: 0, count: 0 } : {}) };
      }
      yield report;
    }
  } finally {
    if (open) write("\n");
  }
}

function line(
  { step }: TrainReport,
  { from, began, sum, count }: Seen,
  { steps, batch }: ReportedOptions,
  at: number,
): string {
  const seconds = (at - began) / 1000, rate = (step - from) / seconds;
  const known = rate > 0 && Number.isFinite(rate);
  const parts = [
    `step ${step}/${steps}`,
    `loss ${(sum / count).toFixed(5)}`,
    known && `${(rate * batch).toFixed(1)} images/s`,
    known && step < steps && `${clock((steps - step) / rate)} left`,
  ];
  return parts.filter((part) => part).join("  ");
}

/** Seconds as h:mm:ss. */
function clock(seconds: number): string {
  const whole = Math.round(seconds), two = (n: number): string => `${n}`.padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}
