/**
 * Slips in samplers.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

/** All of them. */
export const sample: readonly Slip[] = [
  slip("sample/chain.ts", "fold(use, first + i)", "fold(use, i)", "laws/contract_streams"),
  slip("sample/chain.ts", "index++ >= count", "++index >= count", "laws/contract_streams"),
  slip("sample/chain.ts", "schedule.at(at).sigma", "1", "sample/chain"),
  slip("sample/reverse.ts", "upward ? grid.toReversed() : grid", "grid", "sample/reverse"),
  slip("sample/reverse.ts", "if (upward) checkUpward", "if (churn) checkUpward", "sample/reverse"),
];
