import assert from 'node:assert/strict';
import test from 'node:test';

import { heightScale, rowsToDraw } from '../../frontend_static/chart/ridgeline.js';

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
