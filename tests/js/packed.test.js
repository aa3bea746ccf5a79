import assert from 'node:assert/strict';
import { test } from 'node:test';

import { arrayOf, decodePacked, rowOf } from '../../frontend_static/data/packed.js';
import { pack } from './packing.js';

const TABLE = pack({ run: 'exp1', statistics: ['a', 'b'] }, [
  { name: 'values', dtype: 'float32', shape: [2, 3], data: new Float32Array([1, NaN, Infinity, -0, 5, 6]) },
  { name: 'step', dtype: 'float64', shape: [3], data: new Float64Array([1, 2, 2 ** 53]) },
  { name: 'counts', dtype: 'uint32', shape: [1], data: new Uint32Array([4294967295]) },
  { name: 'logged', dtype: 'uint8', shape: [3], data: new Uint8Array([1, 0, 1]) },
]);

test('what was packed is read back, special values included', () => {
  const packed = decodePacked(TABLE);
  assert.equal(packed.header.run, 'exp1');
  assert.deepEqual([...arrayOf(packed, 'values', Float32Array).data], [1, NaN, Infinity, -0, 5, 6]);
  assert.deepEqual([...arrayOf(packed, 'step', Float64Array).data], [1, 2, 2 ** 53]);
  assert.deepEqual([...arrayOf(packed, 'counts', Uint32Array).data], [4294967295]);
  assert.deepEqual([...arrayOf(packed, 'logged', Uint8Array).data], [1, 0, 1]);
});

test('arrays are views of the answer, not copies', () => {
  const values = arrayOf(decodePacked(TABLE), 'values', Float32Array);
  assert.equal(values.data.buffer, TABLE);
  assert.equal(rowOf(values, 1).buffer, TABLE);
  assert.deepEqual([...rowOf(values, 1)], [-0, 5, 6]);
});

test('an answer of no steps has arrays without items', () => {
  const empty = pack({}, [{ name: 'values', dtype: 'float32', shape: [4, 0], data: new Float32Array(0) }]);
  assert.deepEqual(arrayOf(decodePacked(empty), 'values', Float32Array).shape, [4, 0]);
});

test('what is no packed answer is refused', () => {
  assert.throws(() => decodePacked(new ArrayBuffer(0)), /Not a packed answer: 0 bytes/);
  assert.throws(
    () => decodePacked(new TextEncoder().encode('<!doctype html>').buffer),
    /Not a packed answer/,
  );
});

test('an answer that was cut off is refused, wherever that happened', () => {
  assert.throws(() => decodePacked(TABLE.slice(0, 20)), /ends within its header/);
  assert.throws(() => decodePacked(TABLE.slice(0, TABLE.byteLength - 8)), /ends within the array logged/);
});

test('an array of a type that is not asked for is refused', () => {
  const packed = decodePacked(TABLE);
  assert.throws(() => arrayOf(packed, 'values', Float64Array), /values is not a Float64Array/);
  assert.throws(() => arrayOf(packed, 'wall_time', Float64Array), /no array wall_time/);
});

test('an array of an unknown type is refused by name', () => {
  const strange = pack({}, [{ name: 'half', dtype: 'float16', shape: [0], data: new Uint8Array(0) }]);
  assert.throws(() => decodePacked(strange), /half has the unknown type float16/);
});
