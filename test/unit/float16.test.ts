import { expect, test } from 'vitest';
import { float16ToFloat32 } from '../../src/worker/inference/float16.ts';

test.each([
  [0x0000, 0],
  [0x8000, -0],
  [0x0001, 2 ** -24],
  [0x03ff, 1023 * 2 ** -24],
  [0x0400, 2 ** -14],
  [0x3555, 0.333251953125],
  [0x3c00, 1],
  [0xc000, -2],
  [0x7bff, 65504],
  [0x7c00, Infinity],
  [0xfc00, -Infinity],
  [0x7e00, NaN],
])('bits %i are %d', (bits, value) => {
  expect(float16ToFloat32(Uint16Array.of(bits))).toEqual(Float32Array.of(value));
});

test('reads a view that begins in the middle of its buffer', () => {
  expect(float16ToFloat32(Uint16Array.of(0, 0x3c00, 0xc000).subarray(1))).toEqual(Float32Array.of(1, -2));
});

test.runIf('Float16Array' in globalThis)('every half is what Float16Array says', () => {
  const bits = Uint16Array.from({ length: 65_536 }, (_, i) => i);
  const { Float16Array: Half } = globalThis as unknown as {
    Float16Array: new (buffer: ArrayBuffer) => ArrayBufferView & Iterable<number>;
  };
  const halves = new Half(bits.buffer);
  expect(float16ToFloat32(halves)).toEqual(Float32Array.from(halves));
});
