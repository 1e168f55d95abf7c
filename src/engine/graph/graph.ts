/**
 * A computation as data: nodes with operators of ONNX, the constants and inputs that they read, and what is answered.
 *
 * @module
 */

/** The type of an element. */
export type ElementType = "float32" | "int32" | "int64" | "bool";

/** A node's attribute: a whole number, a word, whole numbers, or one real number. */
export type Attribute = number | string | readonly number[] | { readonly float: number };

/** One application of an operator. */
export interface Node {
  /** The operator's name. */
  readonly op: string;
  /** Names of what it reads, in the operator's order; "" for one that is left out. */
  readonly inputs: readonly string[];
  /** Names of what it makes. */
  readonly outputs: readonly string[];
  /** Its attributes. */
  readonly attributes: Readonly<Record<string, Attribute>>;
  /** The operator's set; "" is ONNX's own. */
  readonly domain: string;
}

/** Elements as they lie in memory, row by row; a bool is a byte. */
export type Elements = Float32Array | Int32Array | BigInt64Array | Uint8Array;

/** A value that never changes. */
export interface Constant {
  /** Its name. */
  readonly name: string;
  /** Its elements' type. */
  readonly type: ElementType;
  /** Its shape. */
  readonly dims: readonly number[];
  /** Its elements. */
  readonly data: Elements;
}

/** An input or output. */
export interface Port {
  /** Its name. */
  readonly name: string;
  /** Its elements' type. */
  readonly type: ElementType;
  /** Its shape; a word stands for a size that is known when it is run. */
  readonly dims: readonly (number | string)[];
}

/** A computation. */
export interface Graph {
  /** Its nodes, each after those that it reads from. */
  readonly nodes: readonly Node[];
  /** Its constants. */
  readonly constants: readonly Constant[];
  /** What it is given. */
  readonly inputs: readonly Port[];
  /** What it answers. */
  readonly outputs: readonly Port[];
}
