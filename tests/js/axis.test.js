import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  axisValues,
  clampRange,
  indexAtOrBefore,
  nearestIndex,
  stepsWithin,
  wholeRange,
} from '../../frontend_static/state/axis.js';

const STEPS = new Float64Array([1, 2, 4, 8, 50]);
const TIMES = new Float64Array([1001, 1002, 1004, 1008, 1100]);

test('the axis is the step, the time since the start, or the time of day', () => {
  assert.deepEqual([...axisValues('step', STEPS, TIMES, 1000)], [...STEPS]);
  assert.deepEqual([...axisValues('relative', STEPS, TIMES, 1000)], [1, 2, 4, 8, 100]);
  assert.deepEqual([...axisValues('wall', STEPS, TIMES, 1000)], [...TIMES]);
});

test('the step at or before a value is found, as a search from the end would', () => {
  for (let value = 0; value < 60; value += 0.5) {
    const expected = STEPS.findLastIndex((step) => step <= value);
    assert.equal(indexAtOrBefore(STEPS, value), expected, `at ${value}`);
  }
});

test('the nearest step is found, as a search through all would', () => {
  for (let value = 0; value < 60; value += 0.25) {
    const distances = [...STEPS].map((step) => Math.abs(step - value));
    assert.equal(distances[nearestIndex(STEPS, value)], Math.min(...distances), `at ${value}`);
  }
});

test('other runs widen the view as long as the own run fills half of it', () => {
  assert.deepEqual(wholeRange([0, 100], [[0, 180]]), { from: 0, to: 180 });
  assert.deepEqual(wholeRange([0, 100], [[0, 900]]), { from: 0, to: 100 });
  assert.deepEqual(wholeRange([0, 100], [[]]), { from: 0, to: 100 });
});

test('a run of one step has a view with room on both sides', () => {
  assert.deepEqual(wholeRange([7], []), { from: 6.5, to: 7.5 });
});

test('a zoom stays within the data, and a zoom to everything is none', () => {
  const whole = { from: 0, to: 100 };
  assert.deepEqual(clampRange({ from: 80, to: 300 }, whole), { from: 80, to: 100 });
  assert.deepEqual(clampRange({ from: 30, to: 10 }, whole), { from: 10, to: 30 });
  assert.equal(clampRange({ from: -5, to: 300 }, whole), null);
  assert.equal(clampRange({ from: 120, to: 130 }, whole), null);
  assert.equal(clampRange(null, whole), null);
});

test('the steps of a view reach one column beyond its edges', () => {
  const first = [1, 11, 21, 31, 41];
  const last = [10, 20, 30, 40, 50];
  assert.deepEqual(stepsWithin({ from: 25, to: 32 }, last, first, last), { from: 1, to: 50 });
  assert.deepEqual(stepsWithin({ from: 20, to: 20.5 }, last, first, last), { from: 1, to: 40 });
});
