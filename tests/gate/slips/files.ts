/**
 * Slips in files, frames and watchers.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

/** All of them. */
export const files: readonly Slip[] = [
  // Which kind of file came.
  slip("io/model/contents.ts", "isNoisy(config) !== wanted.noisy", "false", "io/weights"),
  slip(
    "io/model/contents.ts",
    "shown(got) + holdsInstead(metadata)",
    "shown(got)",
    "io/weights",
  ),
  slip(
    "io/model/description.ts",
    "steps as number > mostSteps",
    "steps as number > Infinity",
    "io/weights",
  ),
  slip("io/model/contents.ts", ": { ...config, architecture };", ": config;", "io/architecture"),
  slip("io/model/description.ts", "if (!known.includes(name))", "if (false)", "io/architecture"),
  slip("network/architecture.ts", "levels * Math.max(blocks, 1)", "blocks", "io/weights"),
  // What is written can be read.
  slip(
    "io/model/save.ts",
    "  checkNumbers(tensors, action);\n  await writeSafetensors",
    "  await writeSafetensors",
    "io/weights",
  ),
  slip(
    "io/model/save.ts",
    "  checkParameters(tensors, network.parameters, action);\n",
    "",
    "io/weights",
  ),
  slip("io/model/save.ts", "{ ...metadata, ...metadataOf", "{ ...metadataOf", "io/weights"),
  slip("io/checkpoint.ts", "  checkFinite(saving, tensors);\n", "", "io/checkpoint"),
  slip("io/checkpoint.ts", '  checkRecord("meta", meta);\n', "", "io/checkpoint"),
  slip(
    "io/tensors/device.ts",
    "data instanceof Float64Array ? data : floats(tensor)",
    "floats(tensor)",
    "io/checkpoint",
  ),
  slip(
    "io/tensors/device.ts",
    "values[1] === tensor.data ? own(values) : values",
    "values",
    "io/checkpoint",
  ),
  slip(
    "io/safetensors.ts",
    "!Array.isArray(shape) || !shape.every",
    "!shape.every",
    "io/safetensors",
  ),
  slip("io/safetensors.ts", "  checkStored(whole, options);\n", "", "io/safetensors"),
  slip(
    "io/safetensors.ts",
    "(x & 0x7c00) === 0x7c00;",
    "false;",
    "io/weights",
  ),
  // Element types and metadata.
  slip(
    "io/tensors/header.ts",
    "metadata === undefined || metadata === null",
    "metadata === undefined",
    "io/safetensors",
  ),
  slip("io/tensors/dtype.ts", "2 ** (exponent - 7)", "2 ** (exponent - 8)", "io/safetensors"),
  slip("io/tensors/dtype.ts", "bits << 8", "bits << 7", "io/safetensors"),
  // Header and size first.
  slip(
    "io/tensors/open.ts",
    "headerOf(bytes, file.size - start)",
    "headerOf(bytes, Infinity)",
    "io/safetensors",
  ),
  slip(
    "data/file/file.ts",
    "throw refusal(action,",
    "throw new RangeError(action); refusal(action,",
    "io/safetensors",
  ),
  slip("data/file/file.ts", "  checkKind(path, await Deno.stat(path));\n", "", "io/safetensors"),
  slip("data/file/idx.ts", "  checkLength(layout, file.size - start);\n", "", "data/batches"),
  slip("data/file/idx.ts", "        checkPacked(layout, size);\n", "", "data/batches"),
  slip("data/file/idx.ts", "  checkPacked(layout, bytes.length);\n", "", "data/batches"),
  slip("data/file/idx.ts", "maxOutputLength: most, ", "", "data/batches"),
  slip("data/file/idx.ts", "filled + piece.length > found.data.length", "false", "data/batches"),
  slip("data/file/idx.ts", "  checkLength(layout, filled);\n", "", "data/batches"),
  // Gzip without zlib, half precision without Float16Array.
  slip("data/file/gzip.ts", "    if (last) checkTrailer(seen);\n", "", "data/gzip"),
  slip("data/file/gzip.ts", "    checkTrailer(start);\n", "", "data/gzip"),
  slip("data/file/gzip.ts", "crc = length = 0;", "", "data/gzip"),
  slip("data/file/half.ts", "below % 2 === 1", "below % 2 === 0", "data/half"),
  slip("data/file/half.ts", "Math.max(e - 1, 0)", "e", "data/half"),
  slip("io/tensors/dtype.ts", 'dtype !== "F16" || hasHalf()', "true", "data/half"),
  // Sets and their classes.
  slip("data/sets/mnist.ts", 'hex.join("") === digest', "true", "data/batches"),
  slip("data/sets/mnist.ts", "label >= count", "label > count", "data/batches"),
  slip("data/batches.ts", "label >= count", "label > count", "data/batches"),
  slip("data/batches.ts", '  checkBytes("images", images);\n', "", "data/batches"),
  slip("data/batches.ts", "  decoded(making, options, batchRules);\n", "", "data/batches"),
  slip("data/batches.ts", "  key: needed(aKey),\n  flip", "  key: true,\n  flip", "data/batches"),
  // Pictures, arrays and batches that are read ahead.
  slip("data/picture/fit.ts", "Math.min(to, at + 1) - Math.max(from, at)", "1", "data/picture"),
  slip("data/picture/fit.ts", "round((within.width - width) / 2)", "0", "data/picture"),
  slip("data/picture/fit.ts", "row.sum * column.sum", "rows.length", "data/picture"),
  slip("data/picture/header.ts", "pixels > mostPixels", "false", "data/picture"),
  slip("data/picture/header.ts", "ratios[kind] * size", "Infinity", "data/picture"),
  slip("data/picture/decode.ts", "    await checkUnpacked(chunks, header);\n", "", "data/picture"),
  slip("data/picture/decode.ts", "* 255 / most * opacity", "* 255 / most", "data/picture"),
  slip("data/picture/decode.ts", "{ colorTransform: false }", "{}", "data/picture"),
  slip(
    "data/sets/folder.ts",
    'filter(({ name }) => !name.startsWith("."))',
    "slice()",
    "data/folder",
  ),
  slip("data/file/file.ts", "a.name < b.name ? -1 : 1", "a.name < b.name ? 1 : -1", "data/folder"),
  slip("data/sets/folder.ts", "[sample, fit, digests]", "[sample, digests]", "data/folder"),
  slip("data/sets/cifar.ts", "at + 1 + c * plane + p", "at + 1 + 3 * p + c", "data/sets"),
  slip("data/sets/numpy.ts", "least < 0 ? -1 : 0", "0", "data/sets"),
  slip("data/file/npy.ts", "size > 1 && isLittle !== isLittleHere", "false", "data/sets"),
  slip("data/file/zip.ts", "filled + data.length > size", "false", "data/sets"),
  slip("data/file/zip.ts", "size > ratio * packed", "false", "data/sets"),
  slip("data/batches.ts", "        await Promise.allSettled(coming);\n", "", "data/folder"),
  slip("data/batches.ts", "          next.catch(() => undefined);\n", "", "data/folder"),
  slip("command/train/plan.ts", "side % divisor === 0", "true", "command/data"),
  // Files are replaced as they were, and links followed.
  slip("io/file.ts", "  await Deno.chmod(part, old.mode & 0o7777);\n", "", "io/file"),
  slip("io/file.ts", "{ mode: mode & 0o600 }", "{}", "io/file"),
  slip("io/file.ts", "if (!found?.isSymlink) return real;", "return real;", "io/file"),
  slip("io/file.ts", "Deno.realPath(folderOf(real))", "Promise.resolve(folderOf(real))", "io/file"),
  // States.
  slip("io/model/state.ts", "  checkFinite(action, host);\n", "", "io/state"),
  slip("io/model/state.ts", "tf.clone(tensors[name]!)", "tensors[name]!", "io/state"),
  slip(
    "io/model/state.ts",
    "a.dataId === b.dataId && a.dtype === b.dtype && tf.util.arraysEqual(a.shape, b.shape)",
    "a.dataId === b.dataId",
    "io/state",
  ),
  slip("io/model/state.ts", "  checkNames(names, file, path);\n", "", "io/state"),
  slip(
    "io/model/state.ts",
    "if (depth > deepest) throw unfit",
    "if (depth > 1e9) throw unfit",
    "io/state",
  ),
  // Pictures.
  slip("watch/frames.ts", "  checkFinite(values, shape, name);\n", "", "watch/frames"),
  slip("watch/frames.ts", "  checkSize(shape, grid, options);\n", "", "watch/frames"),
  slip("watch/frames.ts", "Math.floor(i * count / values.length)", "i", "watch/frames"),
  slip("watch/frames.ts", "decoded(making, options, imageOptions)", "options", "watch/frames"),
  slip("io/png.ts", "decoded(writing, options, sequenceOptions)", "options", "io/png"),
  slip("io/video.ts", "decoded(writing, options, y4mOptions)", "options", "io/video"),
  slip(
    "io/process.ts",
    '  decoded("write to standard output", options, pipeOptions);\n',
    "",
    "io/process",
  ),
];
