/**
 * Where the pictures go, by format and destination.
 *
 * @module
 */

import type { Image } from "../../watch/frames.ts";
import { apng, type ApngOptions, png, saveApng, savePng, savePngs } from "../../io/png.ts";
import { writeAtomically } from "../../io/file.ts";
import { toStdout } from "../../io/process.ts";
import { raw, y4m } from "../../io/video.ts";

/** How pictures are written. */
export type Format = "png" | "pngs" | "apng" | "y4m" | "rgb24" | "gray";

/** What takes the frames. */
export type Write = (images: AsyncIterable<Image>) => Promise<unknown>;

/** What to write, and where. */
export interface Written {
  /** The format. */
  readonly frames: Format;
  /** The file, a pattern of files, or `-` for the standard output. */
  readonly out: string;
  /** Frames a second. */
  readonly fps: number;
}

/**
 * What takes the frames.
 *
 * @param written Format and destination.
 * @param signal Ends the writing to the standard output between two pieces.
 * @returns A function of the frames.
 */
export function writer({ frames: format, out, fps }: Written, signal: AbortSignal): Write {
  const animation = { delay: Math.round(1000 / fps), hold: 1500 };
  if (format === "pngs") return savePngs(out);
  if (format === "png" && out !== "-") return savePng(out);
  if (format === "apng" && out !== "-") return saveApng(out, animation);
  const bytes = encoder(format, fps, animation);
  return (images) =>
    out === "-" ? toStdout({ signal })(bytes(images)) : writeAtomically(out, bytes(images));
}

/** Frames to a stream of bytes. */
function encoder(
  format: Exclude<Format, "pngs">,
  fps: number,
  animation: ApngOptions,
): (images: AsyncIterable<Image>) => AsyncIterable<Uint8Array> {
  if (format === "y4m") return y4m({ fps });
  if (format === "rgb24" || format === "gray") return raw({ format });
  return async function* (images) {
    if (format === "apng") return yield await apng(images, animation);
    let latest: Image | undefined;
    for await (const image of images) latest = image;
    if (latest !== undefined) yield png(latest);
  };
}
