/**
 * The packages of the engines, fetched and loaded when they are asked for.
 *
 * Their specifiers are computed, so that no module graph holds them: who imports the library downloads none, and who uses
 * one downloads that one.
 *
 * @module
 */

import * as tf from "@tensorflow/tfjs-core";
import { isDeno } from "./runtime.ts";

/** The package of each engine. */
const packages = {
  wasm: "@tensorflow/tfjs-backend-wasm",
  cpu: "@tensorflow/tfjs-backend-cpu",
  webgpu: "@tensorflow/tfjs-backend-webgpu",
  tensorflow: "@tensorflow/tfjs-node-gpu",
} as const;

/** The name of an engine that has a package. */
export type Packaged = keyof typeof packages;

/** An engine was asked for that cannot be had here; `cause` holds the underlying error, if there was one. */
export class BackendUnavailable extends Error {
  /** The class's name, `"BackendUnavailable"`. */
  override readonly name: string = "BackendUnavailable";
}

/** The error that an engine cannot be had. */
export const unavailable = (name: Packaged, why: string, cause?: unknown): BackendUnavailable =>
  new BackendUnavailable(`Cannot use the ${name} backend: ${why}`, { cause });

/** Whether tfjs has started an engine. */
export const isStarted = (name: Packaged): boolean => name in tf.engine().registry;

/** Whether tfjs knows how to start an engine. */
export const isRegistered = (name: Packaged): boolean => name in tf.engine().registryFactory;

/** Puts a running engine in the place of the package's own factory, which would report a failure by printing it. */
export function register(name: Packaged, engine: tf.KernelBackend): void {
  if (isStarted(name)) return;
  if (isRegistered(name)) tf.removeBackend(name);
  tf.registerBackend(name, () => engine);
}

/** The specifier of an engine's package in this runtime. */
export const specifierOf = (name: Packaged): string =>
  isDeno() ? `npm:${packages[name]}@^4.22.0` : packages[name];

/**
 * Loads an engine's package.
 *
 * @param name The engine.
 * @param module The module itself, or its specifier. Default: {@link specifierOf}.
 * @param advice What to do where it does not load. Default: to install it or to hand it over.
 * @returns The module.
 * @throws {BackendUnavailable} If it does not load.
 */
export async function load(
  name: Packaged,
  module: string | object = specifierOf(name),
  advice: string = isDeno() ? fetching : installing(name),
): Promise<object> {
  if (typeof module !== "string") return module;
  try {
    return await import(/* @vite-ignore */ /* webpackIgnore: true */ module);
  } catch (cause) {
    throw unavailable(name, `${module} could not be loaded; ${advice}`, cause);
  }
}

const fetching = "a run without --cached-only and without --frozen fetches it";

const installing = (name: Packaged): string =>
  `\`npm install ${
    packages[name]
  }@4.22\` installs it; a program that is bundled imports it and hands it over as the ` +
  "option module";

/** A class of engines. */
type Engine<A extends unknown[], E extends tf.KernelBackend> = new (...args: A) => E;

/**
 * The class of an engine out of its package.
 *
 * @param name The engine.
 * @param module The package's module.
 * @param of The class's name.
 * @returns The class.
 * @throws {BackendUnavailable} If it is not there, or not made for the tfjs-core that the library uses.
 */
export function engineIn<A extends unknown[], E extends tf.KernelBackend>(
  name: Packaged,
  module: object,
  of: string,
): Engine<A, E> {
  const found = member(module, of);
  if (typeof found === "function" && found.prototype instanceof tf.KernelBackend) {
    return found as Engine<A, E>;
  }
  const got = found === undefined ? "none" : "one of another tfjs-core than the library's";
  throw unavailable(name, `the module must export ${of}, as ${packages[name]} does, got ${got}`);
}

/** What a module exports by a name, itself or in the default export that stands for a CommonJS module. */
export function member(module: object, name: string): unknown {
  const { [name]: found, default: inner } = module as Readonly<Record<string, unknown>>;
  return found ?? (Object(inner) as Readonly<Record<string, unknown>>)[name];
}
