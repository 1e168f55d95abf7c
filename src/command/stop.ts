/**
 * Stopping in good order when the system asks for it.
 *
 * Requests are heard on a thread of their own, since the one that computes hears nothing in the middle of a step. The
 * first aborts the work, which ends in good order where it next gives way. From then on nobody listens, so that a second
 * one has the system's own effect: it ends the process at once, whatever that is doing.
 *
 * @module
 */

/** The system's requests to stop, and the exit codes that shells expect after them. */
const exitCodes = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/** The work was stopped by a request of the system, such as Ctrl-C. */
export class Interrupted extends Error {
  /** The class's name, `"Interrupted"`. */
  override readonly name: string = "Interrupted";
  /** Which request. */
  readonly signal: keyof typeof exitCodes;
  /** What the process ends with: 128 and the request's number. */
  readonly exitCode: number;

  /** From the request, and how far the work had come. */
  constructor(signal: keyof typeof exitCodes, where: string = "") {
    super(`stopped by ${signal}${where && ` ${where}`}`);
    this.signal = signal;
    this.exitCode = exitCodes[signal];
  }
}

/** What the listening thread runs: it says once that it listens, then the first request, and stops listening. */
const listening = `
  const listeners = ${JSON.stringify(Object.keys(exitCodes))}.map((name) => [name, () => {
    for (const each of listeners) forget(each);
    postMessage(name);
  }]);
  const forget = ([name, heard]) => { try { Deno.removeSignalListener(name, heard); } catch {} };
  // A system may not know one of them.
  for (const [name, heard] of listeners) try { Deno.addSignalListener(name, heard); } catch {}
  postMessage("");`;

/**
 * Runs a function under a signal that Ctrl-C, SIGTERM and SIGHUP abort; a second request ends the process at once.
 *
 * @param body The work, which throws the signal's reason when it has stopped.
 * @returns What the work returns.
 * @throws {Interrupted} If the work was stopped.
 */
export async function interruptible<A>(body: (signal: AbortSignal) => Promise<A>): Promise<A> {
  const controller = new AbortController(), ready = Promise.withResolvers<void>();
  const thread = new Worker(`data:text/javascript,${encodeURIComponent(listening)}`, {
    type: "module",
  });
  thread.onmessage = ({ data: name }: MessageEvent<"" | keyof typeof exitCodes>) => {
    if (name === "") ready.resolve();
    else controller.abort(new Interrupted(name));
  };
  try {
    await ready.promise;
    return await body(controller.signal);
  } finally {
    thread.terminate();
  }
}

/**
 * Lets the event loop turn, so that requests to stop are heard: an engine that computes on this thread settles its
 * promises without ever giving way.
 */
export function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}
