/**
 * Slips of the pen that the tests are known to catch: `deno task break` makes each of them in a copy, and sees a test fail.
 * Those of the samplers' steps are in `tests/laws/mutations.ts`, where a test refutes each by its statistics.
 *
 * @module
 */

import { chain } from "./slips/chain.ts";
import { boltzmann } from "./slips/boltzmann.ts";
import { command } from "./slips/command.ts";
import { diagnose } from "./slips/diagnose.ts";
import { density } from "./slips/density.ts";
import { engine } from "./slips/engine.ts";
import { energy } from "./slips/energy.ts";
import { files } from "./slips/files.ts";
import { grid } from "./slips/grid.ts";
import { noise } from "./slips/noise.ts";
import { refine } from "./slips/refine.ts";
import { sample } from "./slips/sample.ts";
import { tensor } from "./slips/tensor.ts";
import { train } from "./slips/train.ts";
import type { Slip } from "./slips/slip.ts";

/** All of them. */
export const slips: readonly Slip[] = [
  ...tensor,
  ...diagnose,
  ...engine,
  ...noise,
  ...grid,
  ...chain,
  ...density,
  ...sample,
  ...refine,
  ...train,
  ...boltzmann,
  ...files,
  ...energy,
  ...command,
];
