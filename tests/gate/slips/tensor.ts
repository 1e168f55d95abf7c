/**
 * Slips in tensors, backends and engines.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

/** All of them. */
export const tensor: readonly Slip[] = [];
