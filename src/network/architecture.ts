/**
 * Networks by name: what builds each, what its configuration may hold, and what it is shown and answers.
 *
 * Files of weights store the name, and whoever reads, writes, exports or trains a network asks the table; none of them knows
 * one network from another. A network of one's own is one more entry, in a table that is passed along:
 * `{ ...architectures, mine }`.
 *
 * @module
 */

import {
  type Classifier,
  classifier,
  type ClassifierConfig,
  type TimedClassifier,
  timedClassifier,
} from "./classifier.ts";
import {
  type EnergyConfig,
  energyMlp,
  type EnergyMlpConfig,
  energyNet,
  type EnergyNetwork,
} from "./energy.ts";
import {
  choice,
  count,
  counts,
  type Fields,
  flag,
  indices,
  optional,
  positive,
  size,
} from "./field.ts";
import type { Network } from "./layer/network.ts";
import { mlp, type MlpConfig } from "./mlp.ts";
import { unet, type UNetConfig } from "./unet.ts";

/**
 * What networks are for, and what they are then.
 *
 * @category Networks
 */
export interface Networks {
  /** Says what noisy data were. */
  readonly denoiser: Network;
  /** Says of which class clean data are. */
  readonly classifier: Classifier;
  /** Says of which class noisy data are. */
  readonly noisyClassifier: TimedClassifier;
  /** Says how improbable clean data are. */
  readonly energy: EnergyNetwork;
}

/**
 * What a network is for.
 *
 * @category Networks
 */
export type Role = keyof Networks;

/**
 * An entry of a configuration that cannot be, though each by itself is of the right sort.
 *
 * @category Networks
 */
export interface Misfit {
  /** Its name. */
  readonly name: string;
  /** What it must be. */
  readonly wanted: string;
  /** What it is. */
  readonly got: unknown;
}

/**
 * A choice that a user has about a network for images.
 *
 * @category Networks
 */
export interface ImageChoice {
  /** What it is, in a line. */
  readonly text: string;
  /** What is taken where nothing is said. Default: nothing. */
  readonly usual?: number | readonly number[];
  /** The most that a number may be. Default: any. */
  readonly most?: number;
  /** Whether the number of weights grows with it. Default: false. */
  readonly grows?: boolean;
}

/**
 * Images to be learned.
 *
 * @category Networks
 */
export interface ImageSpace {
  /** Height and width in pixels. */
  readonly size: readonly [number, number];
  /** Number of channels. */
  readonly channels: number;
  /** Number of classes; 0 for none. */
  readonly classes: number;
}

/**
 * How a network for images is chosen.
 *
 * @category Networks
 */
export interface ForImages {
  /** The choices, by the names of the fields that they set. */
  readonly choices: Readonly<Record<string, ImageChoice>>;
  /** The configuration for images and choices. */
  readonly config: (images: ImageSpace, chosen: Readonly<Record<string, unknown>>) => object;
}

/**
 * A kind of network.
 *
 * @category Networks
 */
export interface Architecture<R extends Role = Role, Config = never> {
  /** What it is for. */
  readonly role: R;
  /** The fields of its configuration. */
  readonly fields: Fields;
  /** Builds it. Throws for a configuration that describes none. */
  readonly build: (config: Config) => Networks[R];
  /** The shape of one sample: height, width and channels of images, the dimension of points. */
  readonly sample: (config: Config) => readonly number[];
  /** How many numbers one sample is in the widest of its layers, for memory. Default: as many as the sample itself. */
  readonly widest?: (config: Config) => number;
  /** Number of classes that it is told, or chooses between; 0 for none. */
  readonly classes: (config: Config) => number;
  /**
   * What is too much for the number of tensors in a file, which bounds what can be asked to be built. Default: nothing is.
   */
  readonly excess?: (config: Config, tensors: number) => Misfit | undefined;
  /** How it is chosen for images. Default: it is not for them. */
  readonly images?: ForImages;
}

/**
 * Networks by name.
 *
 * @category Networks
 */
export type Architectures = Readonly<Record<string, Architecture>>;

/**
 * Who asks for a network by its name takes the table that it stands in.
 *
 * @category Networks
 */
export interface ArchitectureOptions {
  /** The networks that there are. Default: {@link architectures}. */
  readonly architectures?: Architectures;
}

const unetEntry: Architecture<"denoiser", UNetConfig> = {
  role: "denoiser",
  fields: {
    size,
    channels: optional(choice("1 or 3", [1, 3]), 1),
    patch: optional(count(), 1),
    base: optional(count(), 32),
    multipliers: optional(counts, [1, 2, 2]),
    blocks: optional(count(0), 2),
    attention: optional(indices, []),
    middleAttention: optional(flag, true),
    groups: optional(count(), 8),
    embedding: optional(count()),
    classes: optional(count(0), 0),
  },
  build: unet,
  sample: ({ size, channels = 1 }) => [...size, channels],
  widest: ({ size: [height, width], base = 32, patch = 1 }) => base * height * width / patch ** 2,
  classes: ({ classes = 0 }) => classes,
  excess: ({ multipliers, blocks = 2 }, tensors) => {
    const levels = multipliers?.length ?? 3;
    if (levels * Math.max(blocks, 1) <= tensors) return undefined;
    const most = Math.floor(tensors / levels), of = `of ${levels} levels, for ${tensors} tensors`;
    return { name: "blocks", wanted: `at most ${most} on each ${of}`, got: blocks };
  },
  images: {
    choices: {
      base: {
        text: "channels at the first level; a multiple of 8",
        usual: 40,
        most: 4096,
        grows: true,
      },
      multipliers: {
        text: "channels of each level, as multiples of the base",
        usual: [1, 2],
        grows: true,
      },
      blocks: { text: "residual blocks a level", usual: 1, most: 64, grows: true },
      patch: { text: "side of the blocks of pixels that the network works on", usual: 2 },
      middleAttention: { text: "attention between two blocks at the lowest resolution" },
    },
    config: ({ size, channels, classes }, chosen) => {
      const { base, middleAttention = false } = chosen;
      return {
        size,
        channels,
        ...chosen,
        middleAttention,
        classes,
        // Norms of one channel a group would take away what the network is told of time and class.
        ...((base as number) < 16 && { groups: (base as number) / 2 }),
      };
    },
  },
};

const mlpEntry: Architecture<"denoiser", MlpConfig> = {
  role: "denoiser",
  fields: {
    dimension: count(),
    width: optional(count(), 128),
    layers: optional(count(), 3),
    features: optional(count(2), 32),
    classes: optional(count(0), 0),
  },
  build: mlp,
  sample: ({ dimension }) => [dimension],
  widest: ({ width = 128 }) => width,
  classes: ({ classes = 0 }) => classes,
  excess: ({ layers = 3 }, tensors) =>
    layers <= tensors
      ? undefined
      : { name: "layers", wanted: `at most ${tensors}, for ${tensors} tensors`, got: layers },
};

/** What classifiers of clean and of noisy images have in common. */
const ofClassifier = {
  fields: {
    size,
    classes: count(),
    channels: optional(count(), 1),
    base: optional(count(), 32),
    features: optional(count(), 64),
  },
  sample: ({ size, channels = 1 }: ClassifierConfig) => [...size, channels],
  classes: ({ classes }: ClassifierConfig) => classes,
};

const classifierEntry: Architecture<"classifier", ClassifierConfig> = {
  ...ofClassifier,
  role: "classifier",
  build: classifier,
};

const timedClassifierEntry: Architecture<"noisyClassifier", ClassifierConfig> = {
  ...ofClassifier,
  role: "noisyClassifier",
  build: timedClassifier,
};

/** What energies of images and of points have in common. */
const ofEnergy = {
  role: "energy",
  classes: ({ classes = 0 }: { readonly classes?: number }) => classes,
} as const;

const energyNetEntry: Architecture<"energy", EnergyConfig> = {
  ...ofEnergy,
  fields: {
    size,
    channels: optional(count(), 1),
    base: optional(count(), 32),
    classes: optional(count(0), 0),
    reference: optional(positive, 1),
  },
  build: energyNet,
  sample: ({ size, channels = 1 }) => [...size, channels],
  widest: ({ size: [height, width], base = 32 }) => base * height * width,
  images: {
    choices: {
      base: {
        text: "channels of the first convolution",
        usual: 32,
        most: 4096,
        grows: true,
      },
      reference: {
        text: "standard deviation of the normal law that the energy is measured against",
        usual: 1,
      },
    },
    config: ({ size, channels, classes }, chosen) => ({ size, channels, ...chosen, classes }),
  },
};

const energyMlpEntry: Architecture<"energy", EnergyMlpConfig> = {
  ...ofEnergy,
  fields: {
    dimension: count(),
    width: optional(count(), 128),
    layers: optional(count(), 3),
    classes: optional(count(0), 0),
    reference: optional(positive, 1),
  },
  build: energyMlp,
  sample: ({ dimension }) => [dimension],
  widest: ({ width = 128 }) => width,
  excess: ({ layers = 3 }, tensors) =>
    layers <= tensors
      ? undefined
      : { name: "layers", wanted: `at most ${tensors}, for ${tensors} tensors`, got: layers },
};

/**
 * The networks of this library by name.
 *
 * @category Networks
 */
export const architectures: Architectures = {
  unet: unetEntry,
  mlp: mlpEntry,
  classifier: classifierEntry,
  timedClassifier: timedClassifierEntry,
  energyNet: energyNetEntry,
  energyMlp: energyMlpEntry,
};

/**
 * The network of each role where none is named, as in files that were written before there were names.
 *
 * @category Networks
 */
export const usualArchitecture: Readonly<Record<Role, string>> = {
  denoiser: "unet",
  classifier: "classifier",
  noisyClassifier: "timedClassifier",
  energy: "energyNet",
};

/**
 * The names of the networks for a role.
 *
 * @category Networks
 * @param role What they are for.
 * @param options The table.
 * @returns The names, in the table's order.
 *
 * @example
 * ```ts
 * import { architectureNames } from "@tweedie/tweedie/network";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(architectureNames("denoiser"), ["unet", "mlp"]);
 * ```
 */
export function architectureNames(
  role: Role,
  { architectures: table = architectures }: ArchitectureOptions = {},
): string[] {
  return Object.keys(table).filter((name) => table[name]!.role === role);
}

/**
 * A network by its name.
 *
 * @category Networks
 * @param role What it is for.
 * @param name Its name. Default: that of {@link usualArchitecture}.
 * @param options The table.
 * @returns The entry.
 * @throws {RangeError} If there is none of that name for that role.
 *
 * @example The shape of what a perceptron is shown
 * ```ts
 * import { architectureOf, type MlpConfig } from "@tweedie/tweedie/network";
 * import assert from "node:assert/strict";
 *
 * const { sample } = architectureOf<"denoiser", MlpConfig>("denoiser", "mlp");
 * assert.deepEqual(sample({ dimension: 2 }), [2]);
 * ```
 */
export function architectureOf<R extends Role, Config extends object = object>(
  role: R,
  name: string = usualArchitecture[role],
  options: ArchitectureOptions = {},
): Architecture<R, Config> {
  const { architectures: table = architectures } = options;
  const entry = Object.hasOwn(table, name) ? table[name] : undefined;
  if (entry?.role === role) return entry as Architecture<R, never> as Architecture<R, Config>;
  const known = architectureNames(role, options).join(", ");
  throw new RangeError(`Cannot find a network: architecture must be one of ${known}, got ${name}`);
}
