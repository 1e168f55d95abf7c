/**
 * Slips in tensors, backends and engines.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

/** All of them. */
export const tensor: readonly Slip[] = [
  slip("tensor/key.ts", "isWord(hi) && isWord(lo)", "key !== undefined", "tensor/key"),
  slip(
    "tensor/key.ts",
    'checkKey("fold a key", parent, "parent");',
    "",
    "tensor/key",
  ),
  slip(
    "tensor/random.ts",
    "checkKey(action, key, name);",
    "void [action, key, name];",
    "tensor/random",
  ),
  slip(
    "tensor/random.ts",
    'checkOptions("draw uniforms", options, uniformOptions);',
    "",
    "tensor/random",
  ),
];
