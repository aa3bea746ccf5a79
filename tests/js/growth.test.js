import assert from 'node:assert/strict';
import test from 'node:test';

import { append, lastStep } from '../../frontend_static/data/growth.js';

/** @typedef {import('../../frontend_static/data/packed.js').Packed} Packed */
/** @typedef {import('../../frontend_static/data/packed.js').TypedArray} TypedArray */

/**
 * @param {Record<string, any>} header
 * @param {Record<string, [TypedArray, number[]]>} arrays
 * @returns {Packed}
 */
const packed = (header, arrays) => ({
  header,
  arrays: new Map(Object.entries(arrays).map(([name, [data, shape]]) => [name, { data, shape }])),
});
const extent = (/** @type {number} */ steps) => ({ steps, wall_time: 100 + steps });
const f64 = (/** @type {number[]} */ ...values) => Float64Array.from(values);
const f32 = (/** @type {number[]} */ ...values) => Float32Array.from(values);

/** @param {number[]} steps @param {number[]} values @param {number} before @param {object} [more] */
const series = (steps, values, before, more = {}) =>
  packed(
    { statistics: ['a', 'b'], earlier: extent(before), total: extent(before + steps.length), ...more },
    { step: [f64(...steps), [steps.length]], values: [f32(...values), [2, steps.length]] },
  );
const KNOWN = series([1, 2], [10, 20, 11, 21], 0);

test('new steps follow the known ones in every row', () => {
  const grown = append(KNOWN, series([5], [50, 51], 2));
  assert.deepEqual(grown?.arrays.get('step')?.data, f64(1, 2, 5));
  assert.deepEqual(grown?.arrays.get('values'), { data: f32(10, 20, 50, 11, 21, 51), shape: [2, 3] });
  assert.deepEqual(grown?.header, { statistics: ['a', 'b'], earlier: extent(0), total: extent(3) });
});

test('what a restart has written anew, or a change of the rows, asks for everything', () => {
  assert.equal(append(KNOWN, series([5], [50, 51], 3)), null, 'more steps before than known');
  const rewritten = series([], [], 2);
  rewritten.header.earlier.wall_time += 1;
  assert.equal(append(KNOWN, rewritten), null);
  assert.equal(append(KNOWN, series([5], [50, 51], 2, { statistics: ['a', 'c'] })), null);
  const wider = packed({ ...series([5], [1, 2], 2).header }, { step: [f64(5), [1]], values: [f32(1, 2, 3), [3, 1]] });
  assert.equal(append(KNOWN, wider), null);
});

test('an answer that has grown beyond what the screen shows is thinned anew', () => {
  assert.ok(append(KNOWN, series([5], [50, 51], 2), 2));
  assert.equal(append(KNOWN, series([5, 6], [1, 2, 3, 4], 2), 2), null);
});

test('a mask that one part left out is one where everything was logged', () => {
  const overview = (/** @type {number} */ step, /** @type {number} */ before, /** @type {number[] | null} */ logged) =>
    packed(
      { earlier: extent(before), total: extent(before + 1) },
      {
        last_step: [f64(step), [1]],
        values: [f32(step, step), [2, 1]],
        ...(logged && { logged: /** @type {[TypedArray, number[]]} */ ([Uint8Array.from(logged), [2, 1]]) }),
      },
    );
  const grown = append(overview(1, 0, null), overview(2, 1, [0, 1]));
  assert.deepEqual(grown?.arrays.get('logged')?.data, Uint8Array.of(1, 0, 1, 1));
  assert.equal(append(overview(1, 0, null), overview(2, 1, null))?.arrays.has('logged'), false);
});

test('histograms whose tail uses other bins share all of them', () => {
  const histogram = (
    /** @type {number} */ step,
    /** @type {number} */ before,
    /** @type {number[]} */ edges,
    /** @type {number[]} */ counts,
  ) =>
    packed(
      { earlier: extent(before), total: extent(before + 1) },
      {
        step: [f64(step), [1]],
        'g/counts': [Uint32Array.from(counts), [1, counts.length]],
        'g/edges': [f64(...edges), [edges.length]],
        'g/special': [Uint32Array.of(0, 0, 0, 0, step), [1, 5]],
      },
    );
  const known = histogram(1, 0, [1, 2, 4], [5, 6]);
  const grown = append(known, histogram(2, 1, [2, 4, 8], [7, 8]));
  assert.deepEqual(grown?.arrays.get('g/edges')?.data, f64(1, 2, 4, 8));
  assert.deepEqual(grown?.arrays.get('g/counts'), { data: Uint32Array.of(5, 6, 0, 0, 7, 8), shape: [2, 3] });
  assert.deepEqual(grown?.arrays.get('g/special')?.shape, [2, 5]);
  assert.equal(append(known, histogram(2, 1, [16, 32], [1])), null, 'the edges between are unknown');
  const empty = append(known, histogram(2, 1, [0], []));
  assert.deepEqual(empty?.arrays.get('g/counts')?.data, Uint32Array.of(5, 6, 0, 0));
});

test('the last step is found in every kind of answer', () => {
  assert.equal(lastStep(KNOWN), 2);
  assert.equal(lastStep(series([], [], 0)), null);
  const rows = packed({ columns: ['step', 'loss'] }, { values: [f64(1, 2, 3, 0.1, 0.2, 0.3), [2, 3]] });
  assert.equal(lastStep(rows), 3);
});
