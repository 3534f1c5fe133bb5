/**
 * Converts half-precision numbers to single precision, which represents them exactly.
 * @param halves Float16Array where Node has one (24 and later), else Uint16Array with the bits; shape [n]
 * @returns shape [n]
 */
export function float16ToFloat32(halves: ArrayBufferView): Float32Array {
  const bits = new Uint16Array(halves.buffer, halves.byteOffset, halves.byteLength / 2);
  return Float32Array.from(bits, toNumber);
}

/** 1 bit of sign, 5 of exponent (15 stands for 2⁰), 10 of fraction. */
function toNumber(bits: number): number {
  const sign = bits >>> 15 === 1 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
