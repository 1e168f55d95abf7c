/**
 * Graphs from ONNX files as models: what `tweedie export` wrote, and denoisers of other libraries.
 *
 * A file of ours says in its metadata what it is; of another the caller says it: under which schedule it was trained,
 * what its output means, which inputs take x_t, the time and the class, and which number the graph is to be shown for
 * a time t.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { type Condition, type Kind, kinds, type Model } from "../../denoise/prediction.ts";
import type { Schedule } from "../../noise/schedule/schedule.ts";
import { decoded, is, type Rule, type Rules, showing, whole } from "../../tensor/check/decode.ts";
import { networkTime } from "../../network/layer/embedding.ts";
import { inUnits } from "../../network/model.ts";
import { type ScheduleConfig, scheduleOf } from "../../noise/named.ts";
import type { Executor, HostTensor, SessionPort } from "../runtime/executor.ts";
import { decode, type Description } from "../onnx/proto.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** What the metadata of a denoiser's file have under `format`. */
export const denoiserFormat = "tweedie.denoise";

/** Where a graph has its channels: last, as everywhere in this library, or after the batch, as in PyTorch. */
export type Layout = "NHWC" | "NCHW";

/** Options of {@link onnxModel}. Each has a default where the file's metadata, written by us, say it. */
export interface OnnxModelOptions {
  /** The schedule that the graph was trained under. */
  readonly schedule?: Schedule;
  /** What the output means. */
  readonly kind?: Kind;
  /** Names of the inputs: x_t, the time and, if there is one, the class of each sample. */
  readonly inputs?: { readonly x: string; readonly t: string; readonly label?: string };
  /** Name of the output, of the shape of x_t. Default: the only one. */
  readonly output?: string;
  /** Where the graph has its channels. Default: `"NCHW"` for other libraries' files. */
  readonly layout?: Layout;
  /**
   * What the graph is shown for a time t; rounded where it takes whole numbers. Default: {@link networkTime}, which is
   * in [0, 1000]. Libraries that count the noise levels from 0 want `(t) => t - 1`.
   */
  readonly times?: (t: number, schedule: Schedule) => number;
  /**
   * Whether the graph is shown x_t/√(alpha² + sigma²) and answers in that unit, as networks of this library. Of
   * variance-preserving schedules that is x_t itself. Default: false.
   */
  readonly units?: boolean;
  /** Number of classes. Default: not known, so that any number is passed on. */
  readonly classes?: number;
  /** The number that stands for "no class". Default: none, so that every sample needs a class. */
  readonly nullClass?: number;
}

const layouts: readonly unknown[] = ["NHWC", "NCHW"] satisfies Layout[];

/** The rule of a domain, of which what is not in it is of another type. */
const typed = <A>(wanted: string, fits: (value: A) => boolean): Rule =>
  showing(is(wanted, fits, true), String);

const listed = (words: readonly unknown[]): Rule =>
  typed(`one of ${words.join(", ")}`, (value) => words.includes(value));

const count: Rule = typed("a whole number of at least 0", whole(0));

const modelOptions: Rules<OnnxModelOptions> = {
  schedule: typed("a schedule", ({ timeOf }: Schedule) => typeof timeOf === "function"),
  kind: listed(kinds),
  inputs: true,
  output: true,
  layout: listed(layouts),
  times: typed("a function", (value) => typeof value === "function"),
  units: typed("a boolean", (value) => typeof value === "boolean"),
  classes: count,
  nullClass: count,
};

const inputNames: Rules<NonNullable<OnnxModelOptions["inputs"]>> = {
  x: true,
  t: true,
  label: true,
};

/** A graph as a model. */
export interface OnnxModel {
  /** The model, without a condition; `given` puts one on, where the graph takes classes. */
  readonly model: Model;
  /** What the file says about itself. */
  readonly description: Description;
  /** Frees what the executor holds for it. Calling it again does nothing. */
  readonly dispose: () => Promise<void>;
}

/** All that is known of a graph. */
interface KnownGraph
  extends Required<Pick<OnnxModelOptions, "schedule" | "kind" | "layout" | "times" | "units">> {
  readonly x: SessionPort;
  readonly t: SessionPort;
  readonly label: SessionPort | undefined;
  readonly output: SessionPort;
  readonly classes: number | undefined;
  readonly nullClass: number | undefined;
}

/**
 * A graph from an ONNX file as a model.
 *
 * @param executor What runs it. It stays the caller's.
 * @param bytes The file.
 * @param options What the file does not say of itself.
 * @returns The model, whose x_t is of the graph's shape with the channels last.
 * @throws {SyntaxError} If the bytes are no ONNX file, or its metadata are damaged.
 * @throws {TypeError} If an option is unknown, of another type or has nothing to act on, if something is neither in the metadata
 *   nor in the options, the graph has other inputs or outputs,
 *   they are of types that cannot be fed, or constants lie in another file; all this before the executor is asked.
 * @throws What the executor throws.
 *
 * @example A U-Net that was exported from diffusers
 * ```ts ignore
 * import { linear } from "@tweedie/tweedie";
 * import { executor, onnxModel } from "@tweedie/tweedie/onnx";
 *
 * const runtime = await executor();
 * const { model, dispose } = await onnxModel(runtime, await Deno.readFile("unet.onnx"), {
 *   schedule: linear(),
 *   kind: "eps",
 *   inputs: { x: "sample", t: "timestep" },
 *   layout: "NCHW",
 *   times: (t) => t - 1,
 * });
 * ```
 */
export async function onnxModel(
  executor: Executor,
  bytes: Uint8Array,
  options: OnnxModelOptions = {},
): Promise<OnnxModel> {
  const action = "use a graph as a model", { inputs } = decoded(action, options, modelOptions);
  if (inputs !== undefined) decoded(action, inputs, inputNames);
  const description = decode(bytes), graph = knownOf(description, options);
  const { id } = await executor.load(bytes);
  const under = (schedule: Schedule) => (condition?: Condition): Model => ({
    schedule,
    predict: async (x, t, signal) => {
      signal?.throwIfAborted();
      const feeds = await feedsOf(graph, { x, t, condition });
      const { [graph.output.name]: output } = await executor.run(id, feeds, {
        [graph.output.name]: true,
      });
      return { kind: graph.kind, value: answered(graph, output!, x) };
    },
    ...(graph.label && { given: under(schedule) }),
  });
  const plain = (schedule: Schedule): Model => under(schedule)();
  const model = graph.units ? inUnits(graph.schedule, plain) : plain(graph.schedule);
  let freed: Promise<void> | undefined;
  return { model, description, dispose: () => freed ??= executor.free([id], []) };
}

const refused = (name: string, wanted: string, got: unknown): TypeError =>
  new TypeError(`Cannot use a graph as a model: ${name} must be ${wanted}, got ${got}`);

function knownOf(description: Description, options: OnnxModelOptions): KnownGraph {
  const known: OnnxModelOptions = { ...ownOptions(description), ...options };
  const { schedule, kind, inputs, layout = "NCHW", times, units = false, classes, nullClass } =
    known;
  if (schedule === undefined) throw refused("schedule", "given for such a file", "none");
  if (kind === undefined) throw refused("kind", "given for such a file", "none");
  if (inputs === undefined) throw refused("inputs", "given for such a file", "none");
  for (const name of ["classes", "nullClass"] as const) {
    if (inputs.label !== undefined || options[name] === undefined) continue;
    throw refused(name, "absent where the graph takes no class", options[name]);
  }
  const [file] = description.files;
  if (file !== undefined) throw refused("its constants", "in one file with it", `some in ${file}`);
  return {
    schedule,
    kind,
    layout,
    units,
    times: times ?? ((t) => networkTime(schedule, t)),
    ...inputsOf(description.inputs, inputs),
    output: outputOf(description.outputs, known.output),
    classes,
    nullClass,
  };
}

/** The types that an input can be fed. */
const feedable = { x: ["float32"], t: ["float32", "int64", "int32"] };

function inputsOf(
  ports: readonly SessionPort[],
  names: NonNullable<OnnxModelOptions["inputs"]>,
): Pick<KnownGraph, "x" | "t" | "label"> {
  const wanted = Object.values(names);
  const other = ports.find(({ name }) => !wanted.includes(name));
  if (other !== undefined) throw refused("its inputs", wanted.join(", "), `also ${other.name}`);
  return {
    x: portOf(ports, "input", names.x, feedable.x),
    t: portOf(ports, "input", names.t, feedable.t),
    label: names.label === undefined ? undefined : portOf(ports, "input", names.label, feedable.t),
  };
}

function outputOf(ports: readonly SessionPort[], name: string | undefined): SessionPort {
  if (name === undefined && ports.length !== 1) {
    throw refused("output", `one of ${ports.map((port) => port.name).join(", ")}`, "none");
  }
  return portOf(ports, "output", name ?? ports[0]!.name, feedable.x);
}

function portOf(
  ports: readonly SessionPort[],
  what: string,
  wanted: string,
  types: readonly string[],
): SessionPort {
  const port = ports.find(({ name }) => name === wanted);
  if (port === undefined) {
    throw refused(what, `one of ${ports.map(({ name }) => name).join(", ")}`, wanted);
  }
  if (!types.includes(port.type)) {
    throw refused(`${what} ${wanted}`, `of ${types.join(" or ")}`, port.type);
  }
  return port;
}

/** What a file of ours says; nothing of another. */
function ownOptions({ inputs, metadata }: Description): OnnxModelOptions {
  if (metadata["format"] !== denoiserFormat) return {};
  const { kind, layout } = metadata;
  if (!kinds.some((each) => each === kind)) {
    throw damaged("kind", `one of ${kinds.join(", ")}`, kind);
  }
  if (layout !== "NHWC" && layout !== "NCHW") throw damaged("layout", "NHWC or NCHW", layout);
  const labelled = inputs.some(({ name }) => name === "label");
  const names = parsed(metadata, "classes"), classes = Array.isArray(names) ? names.length : 0;
  return {
    schedule: described(metadata),
    kind: kind as Kind,
    layout,
    units: true,
    inputs: { x: "x", t: "t", ...(labelled && { label: "label" }) },
    output: "prediction",
    ...(labelled && { classes, nullClass: classes }),
  };
}

const damaged = (name: string, wanted: string, got: unknown): SyntaxError =>
  new SyntaxError(`Cannot read a denoiser's metadata: ${name} must be ${wanted}, got ${got}`);

function parsed(metadata: Description["metadata"], name: string): unknown {
  try {
    return JSON.parse(metadata[name] ?? "");
  } catch {
    throw damaged(name, "JSON", metadata[name]);
  }
}

function described(metadata: Description["metadata"]): Schedule {
  const config = parsed(metadata, "schedule");
  try {
    return scheduleOf(Object(config) as ScheduleConfig);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw damaged("schedule", "one that can be made", `${metadata["schedule"]} (${why})`);
  }
}

/** What the model is asked about. */
interface ModelInputs {
  readonly x: Tensor;
  readonly t: number;
  readonly condition: Condition | undefined;
}

async function feedsOf(
  graph: KnownGraph,
  { x, t, condition }: ModelInputs,
): Promise<Record<string, HostTensor>> {
  const dims = turned(x.shape, graph), samples = x.shape[0]!;
  checkShape(graph.x, dims);
  const time = graph.times(t, graph.schedule);
  if (!Number.isFinite(time)) {
    throw new RangeError(`Cannot predict: times(${t}) must be a finite number, got ${time}`);
  }
  const labels = graph.label &&
    labelsOf(graph, condition ?? Array<null>(samples).fill(null), samples);
  return {
    [graph.x.name]: { type: "float32", dims, data: await elementsOf(laidOut(x, graph)) },
    [graph.t.name]: numbers(graph.t, repeated(graph.t, time, samples)),
    ...(graph.label && { [graph.label.name]: numbers(graph.label, labels!) }),
  };
}

/** Axes with the channels moved from the end to where the graph has them; sizes in that order. */
const turned = (shape: readonly number[], { layout }: KnownGraph): number[] =>
  layout === "NHWC" ? [...shape] : [shape[0]!, shape.at(-1)!, ...shape.slice(1, -1)];

/** x as the graph wants it; a new tensor. */
const laidOut = (x: Tensor, graph: KnownGraph): Tensor =>
  graph.layout === "NHWC" ? tf.clone(x) : tf.transpose(x, turned([...x.shape.keys()], graph));

/** A tensor's elements in an array of their own, since they are handed over, and a backend may hold what it answers. */
async function elementsOf(y: Tensor): Promise<Float32Array> {
  try {
    return new Float32Array(await y.data());
  } finally {
    y.dispose();
  }
}

function checkShape({ name, dims: wanted }: SessionPort, dims: readonly number[]): void {
  const fits = wanted.length === 0 || (wanted.length === dims.length &&
    wanted.every((size, axis) => typeof size === "string" || size < 0 || size === dims[axis]));
  if (fits) return;
  throw new RangeError(
    `Cannot predict: x_t as the graph's ${name} must be of shape [${wanted}], got [${dims}]`,
  );
}

/** A time as often as the graph wants it: once for a scalar or a fixed size of 1, else for each sample. */
function repeated({ dims }: SessionPort, value: number, samples: number): number[] {
  const [size] = dims;
  return Array<number>(
    size === undefined ? 1 : typeof size === "number" && size > 0 ? size : samples,
  )
    .fill(value);
}

/** Numbers of one axis, or one number without axes, in the port's type. */
function numbers({ type, dims }: SessionPort, values: readonly number[]): HostTensor {
  const shape = dims.length === 0 ? [] : [values.length, ...dims.slice(1).map(() => 1)];
  const rounded = values.map(Math.round);
  if (type === "int64") {
    return { type, dims: shape, data: BigInt64Array.from(rounded, BigInt) };
  }
  if (type === "int32") return { type, dims: shape, data: Int32Array.from(rounded) };
  return { type: "float32", dims: shape, data: Float32Array.from(values) };
}

function labelsOf(graph: KnownGraph, condition: Condition, samples: number): number[] {
  const { classes = Infinity, nullClass } = graph;
  if (condition.length !== samples) {
    throw refusedCondition(`one entry for each of ${samples} samples`, condition.length);
  }
  return condition.map((label) => {
    if (label === null && nullClass !== undefined) return nullClass;
    if (label !== null && Number.isInteger(label) && label >= 0 && label < classes) return label;
    const wanted = `${nullClass === undefined ? "" : "null or "}a whole number in [0, ${classes})`;
    throw refusedCondition(`${wanted} for each sample`, label);
  });
}

const refusedCondition = (wanted: string, got: unknown): RangeError =>
  new RangeError(`Cannot predict: condition must be ${wanted}, got ${got}`);

/** The graph's answer, with its channels where x has them. */
function answered(graph: KnownGraph, { type, dims, data }: HostTensor, x: Tensor): Tensor {
  const wanted = turned(x.shape, graph);
  if (type !== "float32" || !tf.util.arraysEqual([...dims], wanted)) {
    throw new RangeError(
      `Cannot predict: the graph's ${graph.output.name} must be float32 [${wanted}], got ${type} [${dims}]`,
    );
  }
  const axes = turned([...dims.keys()], graph);
  return tf.tidy(() => {
    const y = tf.tensor(data as Float32Array, [...dims]);
    return graph.layout === "NHWC" ? y : tf.transpose(y, axes.map((_, axis) => axes.indexOf(axis)));
  });
}
