/**
 * Slips in tensors, backends and engines.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

/** All of them. */
export const tensor: readonly Slip[] = [
  slip("tensor/check.ts", "|| Object.hasOwn(known, name)) continue", ") continue", "tensor/check"),
  slip(
    "tensor/engine.ts",
    "worked < every ? undefined : paused(worked)",
    "undefined",
    "sample/run/fit",
  ),
];
