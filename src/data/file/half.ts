/**
 * Half precision by its bits, for runtimes that have no `Float16Array` (Node before 24, older browsers).
 *
 * ```text
 *   sign, exponent e of 5 bits, fraction f of 10:  ±f·2⁻²⁴ where e = 0,  ±(1024 + f)·2^(e − 25) else,
 *   ±∞ where e = 31 and f = 0, NaN where e = 31 and f ≠ 0
 * ```
 *
 * Source: IEEE 754-2019, section 3.4 (binary16) and 4.3.1 (rounding to the nearest, ties to even).
 *
 * @module
 */

/** The steps between numbers of exponent e: 2^(e − 25), the same for 0 as for 1. */
const steps = Float64Array.from({ length: 31 }, (_, e) => 2 ** (Math.max(e, 1) - 25));

/** The numbers that bits of half precision stand for, without loss. */
export function widenHalves(bits: ArrayLike<number>): Float32Array<ArrayBuffer> {
  const out = new Float32Array(bits.length); // a loop is many times as fast as `from` with a function
  for (let i = 0; i < out.length; i++) out[i] = fromHalf(bits[i]!);
  return out;
}

/** The bits of numbers in half precision, rounded to the nearest, ties to even; infinity beyond the greatest. */
export function narrowHalves(numbers: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const out = new Uint16Array(numbers.length);
  for (let i = 0; i < out.length; i++) out[i] = toHalf(numbers[i]!);
  return out;
}

function fromHalf(bits: number): number {
  const e = bits >> 10 & 31, fraction = bits & 1023, sign = bits & 0x8000 ? -1 : 1;
  if (e === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (e === 0 ? fraction : 1024 + fraction) * steps[e]!;
}

function toHalf(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0, size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  const e = Math.max(exponentOf(size) + 15, 0);
  // Division by a power of two is exact. Where e > 0 the quotient has the leading 1, which is no part of the fraction; a
  // carry out of the fraction rightly raises the exponent.
  return sign | (Math.max(e - 1, 0) << 10) + even(size / steps[e]!);
}

const float64 = new DataView(new ArrayBuffer(8));

/** The greatest e with 2^e ≤ x, for normal numbers x > 0; less than −1000 below them. */
function exponentOf(x: number): number {
  float64.setFloat64(0, x);
  return (float64.getUint16(0) >> 4) - 1023;
}

/** The nearest whole number, of two the even one. */
function even(x: number): number {
  const below = Math.floor(x), over = x - below;
  return below + (over > 0.5 || over === 0.5 && below % 2 === 1 ? 1 : 0);
}
