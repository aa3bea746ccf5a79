import assert from 'node:assert/strict';
import test from 'node:test';

import { histogramsWithin, specialCounts } from '../../frontend_static/chart/histogram.js';
import { heightScale, rowsToDraw } from '../../frontend_static/chart/ridgeline.js';
import { histogramOf } from './histogram_of.js';

test('as many rows are drawn as fit, always with the first, the newest and the selected one', () => {
  assert.deepEqual(rowsToDraw(4, 100, null), [0, 1, 2, 3]);
  assert.deepEqual(rowsToDraw(1, 100, 0), [0]);
  const rows = rowsToDraw(1000, 100, 77);
  assert.ok(rows.length <= 60);
  assert.ok([0, 77, 999].every((row) => rows.includes(row)));
});

test('a step at which all elements share one value does not flatten the others', () => {
  const ordinary = Array.from({ length: 9 }, () => Float64Array.of(0.1, 0.2, 0.1));
  const height = heightScale([...ordinary, Float64Array.of(0, 1, 0)]);
  assert.ok(height(0.2) > 0.8 && height(0.2) <= 1);
  assert.ok(height(1) > height(0.5) && height(1) < 1.5);
  assert.ok(Math.abs(height(0.1) * 2 - height(0.2)) < 1e-12, 'ordinary heights are in proportion');
  assert.equal(height(0), 0);
});

test('nothing at all has no height', () => {
  assert.equal(heightScale([])(0), 0);
  assert.equal(heightScale([Float64Array.of(0, 0)])(0), 0);
});

test('a zoom leaves the histograms of its steps, and at least the last one before it', () => {
  const histogram = histogramOf([[1], [2, 0], [3], [4, NaN, 0, 0]], false);
  const xs = Float64Array.of(10, 20, 30, 40);
  const within = (/** @type {number} */ from, /** @type {number} */ to) => {
    const { histogram: part, xs: positions } = histogramsWithin(histogram, xs, { from, to });
    const rows = Array.from(part.step.keys());
    assert.equal(part.counts.length, rows.length * part.bins);
    return { xs: [...positions], zeros: rows.map((row) => specialCounts(part, row).zeros) };
  };
  assert.deepEqual(within(10, 40), { xs: [10, 20, 30, 40], zeros: [0, 1, 0, 2] });
  assert.deepEqual(within(11, 30), { xs: [20, 30], zeros: [1, 0] });
  assert.deepEqual(within(20, 29), { xs: [20], zeros: [1] });
  assert.deepEqual(within(21, 29), { xs: [20], zeros: [1] });
  assert.deepEqual(within(35, 99), { xs: [40], zeros: [2] });
  assert.deepEqual(within(1, 5), { xs: [10], zeros: [0] });
});
