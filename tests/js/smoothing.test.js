import assert from 'node:assert/strict';
import test from 'node:test';

import { smooth } from '../../frontend_static/chart/line_chart.js';
import { isSmoothed } from '../../frontend_static/view/parameter/line_charts.js';

/** @param {ArrayLike<number>} actual @param {ArrayLike<number>} expected */
const close = (actual, expected) =>
  Array.from(actual).forEach((v, i) =>
    assert.ok(Math.abs(v - expected[i]) < 1e-12, `${i}: ${v} ≠ ${expected[i]}`),
  );

test('smoothing is the debiased weighted mean of all values so far', () => {
  const values = [3, -1, 4, 1, -5, 9];
  const w = 0.6;
  const expected = values.map((_, n) => {
    const weights = values.slice(0, n + 1).map((_, i) => w ** (n - i));
    const sum = weights.reduce((a, b) => a + b);
    return weights.reduce((total, weight, i) => total + weight * values[i], 0) / sum;
  });
  close(smooth(values, w), expected);
});

test('a constant stays what it is', () => {
  close(smooth([2, 2, 2, 2], 0.97), [2, 2, 2, 2]);
});

test('without weight the values come back exactly', () => {
  assert.deepEqual([...smooth([1e-7, 3, NaN], 0, true)], [1e-7, 3, NaN]);
});

test('on a logarithmic axis decades are averaged', () => {
  close(smooth([1e-4, 1e-2], 0.5, true).map(Math.log10), [-4, -8 / 3]);
});

test('gaps keep what they are and leave their neighbours undisturbed', () => {
  const smoothed = smooth([1, NaN, Infinity, 3], 0.5);
  assert.ok(Number.isNaN(smoothed[1]));
  assert.equal(smoothed[2], Infinity);
  close([smoothed[0], smoothed[3]], smooth([1, 3], 0.5));
  assert.deepEqual([...smooth([0, -1], 0.5, true)], [0, -1]);
});

test('a weight of 1 cannot freeze the line at nothing', () => {
  assert.ok(smooth([5, 6], 1).every(Number.isFinite));
});

test('a count is not smoothed', () => {
  assert.ok(isSmoothed({ scale: 'log' }, { smoothing: 0.6 }));
  assert.ok(!isSmoothed({ scale: 'log' }, { smoothing: 0 }));
  assert.ok(!isSmoothed({ scale: 'count' }, { smoothing: 0.6 }));
});
