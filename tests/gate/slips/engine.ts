/**
 * Slips in what is compiled.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

const blocks = "engine/blocks/blocks";

/** All of them. */
export const engine: readonly Slip[] = [
  slip("engine/blocks/layout.ts", "to(9, reordered(to(1, name)))", "reordered(name)", blocks),
  slip("engine/blocks/layout.ts", "channels_last: 1", "channels_last: 0", blocks),
  slip(
    "engine/blocks/layout.ts",
    "constants.every(({ type, dims, data }) =>",
    "constants.some(({ type, dims, data }) =>",
    blocks,
  ),
  slip("engine/blocks/layout.ts", "> 16 * others.length", "> 0 * others.length", blocks),
  slip("engine/graph/tidy.ts", "!names.has(from) &&", "", blocks),
  slip("engine/lower/elementwise.ts", "if (isGate) return", "if (!isGate) return", "engine/lower"),
  slip(
    "engine/lower/elementwise.ts",
    "[isNaN(rec, x), x, uniform(otherwise)]",
    "[isNaN(rec, x), uniform(otherwise), uniform(otherwise)]",
    "engine/lower",
  ),
  slip(
    "engine/lower/elementwise.ts",
    '[isAcross, left(binary(rec, "Add", rest, b)), rest]',
    '[isAcross, binary(rec, "Add", rest, b), rest]',
    "engine/lower",
  ),
  slip(
    "engine/lower/reduce.ts",
    'if (x!.type !== "float32" || found.values !== undefined) return found;',
    "if (x !== undefined) return found;",
    "engine/lower",
  ),
  slip(
    "engine/lower/reduce.ts",
    "return ofNone(value, reduction, NaN) ?? mean(",
    "return mean(",
    "engine/lower",
  ),
  slip(
    "engine/lower/pool.ts",
    'kernel === "MaxPool" ? orLess(rec, name) : name',
    "name",
    "engine/lower",
  ),
  slip(
    "engine/blocks/shape.ts",
    'kernel === "MaxPool" ? orLess(rec, name) : name',
    "name",
    "engine/lower",
  ),
  slip("engine/lower/shape.ts", "all.reduce((n, part)", "parts.reduce((n, part)", "engine/lower"),
  slip(
    "engine/compile/compile.ts",
    "data instanceof Elements ? data.slice() : Elements.from(data)",
    "data.slice() as Float32Array",
    "engine/lower",
  ),
  slip(
    "engine/compile/compile.ts",
    'renamed(answered("compile", fn(under(all, inputName("")))), outputName)',
    'renamed(fn(under(all, inputName(""))), outputName)',
    "engine/compile/compile",
  ),
  slip("engine/graph/tidy.ts", "from(b) - from(a)", "from(a) - from(b)", blocks),
  slip("engine/graph/tidy.ts", "inputs.filter(isAlone)", "inputs", blocks),
  slip(
    "engine/compile/trace.ts",
    "if (before) tf.setBackend(before);\n    else tf.removeBackend(backendName);",
    "if (before) tf.setBackend(before);",
    "engine/compile/trial",
  ),
  slip(
    "engine/runtime/session.ts",
    "if (buffer instanceof ArrayBuffer) buffer.transfer(0);",
    "",
    "engine/runtime/executor",
  ),
  slip("engine/graph/tidy.ts", "sources.get(from) ?? from", "from", blocks),
  slip("engine/graph/tidy.ts", " || bound.has(dims)", "", blocks),
  slip("engine/blocks/pseudo.ts", " && node.domain !== nchwc)", ")", blocks),
  slip("engine/compile/trial.ts", "asWritten: isLaidOut(graph)", "asWritten: false", blocks),
  slip("engine/blocks/pseudo.ts", "readers.get(name) === 1", "readers.has(name)", blocks),
  slip("engine/blocks/pseudo.ts", 'before.shift === "" ?', 'before.shift !== "no" ?', blocks),
  slip(
    "engine/blocks/pseudo.ts",
    'scale: scale === "" ? by : rec.node("Mul", [scale, by])',
    "scale: by",
    blocks,
  ),
  slip(
    "engine/blocks/pseudo.ts",
    ' || scale !== "") return undefined',
    ") return undefined",
    blocks,
  ),
  slip("engine/blocks/pseudo.ts", "isOpen(node) ? withTerm(node, other) : node", "node", blocks),
  slip("engine/blocks/pointwise.ts", "stored.slice(-3, -1)", "stored.slice(-2, -1)", blocks),
  slip(
    "engine/blocks/pointwise.ts",
    "image === a ? images(rec, image, full)",
    "images(rec, image, full)",
    blocks,
  ),
  slip("engine/blocks/pointwise.ts", "uniform(h * w)", "uniform(h)", blocks),
  slip("engine/blocks/pointwise.ts", "uniform(1 / pixels)", "uniform(1)", blocks),
  slip("engine/blocks/pointwise.ts", "same(result.shape, lead.shape) &&", "", blocks),
  slip("engine/blocks/convolution.ts", "fits(rec, made)", "made[3]! % rec.block === 0", blocks),
  slip("engine/lower/reduce.ts", "product(value.stored) > 0 && ", "", "tensor/kernel/sum"),
  slip("engine/blocks/shape.ts", "begin[3]! % block === 0 &&", "", blocks),
  slip(
    "engine/blocks/shape.ts",
    "attributes = { axis: axis === 3 ? 1 : 0 }",
    "attributes = { axis: 1 }",
    blocks,
  ),
  slip(
    "engine/blocks/convolution.ts",
    "second! + 1, first! + 1",
    "first! + 1, second! + 1",
    blocks,
  ),
  slip("engine/blocks/convolution.ts", "turned ? sides.reverse() : sides", "sides", blocks),
  slip("engine/blocks/filter.ts", 'before === undefined ? [] : ["", before]', "[]", blocks),
  slip("engine/lower/convolution.ts", "filterHeight - 1 - bottom", "bottom", blocks),
  slip(
    "engine/blocks/filter.ts",
    "bottom - below, right",
    "bottom, right",
    blocks,
  ),
  slip("engine/blocks/filter.ts", "strides[1] * inside", "inside", blocks),
  slip("engine/compile/trial.ts", "<= 1e-5 * size", "<= size", "engine/compile/trial"),
  slip(
    "engine/compile/trial.ts",
    "if (!await isRight(executor, block, [form]))",
    "if (false)",
    "engine/compile/trial",
  ),
  slip("engine/compile/trial.ts", ".catch(() => undefined)", "", "engine/compile/trial"),
  slip("engine/lower/reduce.ts", "part(end, end + rest)", "part(0, rest)", "tensor/kernel/sum"),
  slip("engine/lower/reduce.ts", "&& isLong(count);", "&& count < 0;", "tensor/kernel/sum"),
  slip(
    "tensor/kernel/sum.ts",
    "[0, rows * length], [m, rest]",
    "[0, 0], [m, rest]",
    "tensor/kernel/sum",
  ),
  slip("tensor/kernel/sum.ts", "n > few", "n > 1e9", "tensor/kernel/sum"),
  slip(
    "engine/runtime/session.ts",
    'spin_duration_us: "20"',
    'allow_spinning: "0"',
    "engine/runtime/executor",
  ),
];
