import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  axisValueOfStep,
  axisValues,
  clampRange,
  indexAtOrBefore,
  nearestIndex,
  shiftedRange,
  stepsWithin,
  wholeRange,
  zoomedRange,
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

const WHOLE = { from: 0, to: 1000 };

test('the wheel zooms around the pointer, and never out of the data', () => {
  const zoomed = zoomedRange({ from: 200, to: 600 }, 0.25, 0.5, WHOLE);
  assert.deepEqual(zoomed, { from: 250, to: 450 });
  assert.equal(zoomed.from + 0.25 * (zoomed.to - zoomed.from), 300, 'the point under the pointer stays');
  assert.deepEqual(zoomedRange({ from: 0, to: 900 }, 0, 2, WHOLE), WHOLE);
  const { from, to } = zoomedRange({ from: 999, to: 1000 }, 1, 1e-6, WHOLE);
  assert.ok(to - from >= 1 && to <= 1000);
});

test('moving along stops at the ends and keeps the length', () => {
  assert.deepEqual(shiftedRange({ from: 100, to: 300 }, 50, WHOLE), { from: 150, to: 350 });
  assert.deepEqual(shiftedRange({ from: 100, to: 300 }, -500, WHOLE), { from: 0, to: 200 });
  assert.deepEqual(shiftedRange({ from: 100, to: 300 }, 5000, WHOLE), { from: 800, to: 1000 });
});

test('time never runs backwards on an axis', () => {
  const steps = Float64Array.of(1, 2, 3, 4, 5, 6);
  const times = Float64Array.of(NaN, 100, 40, 90, Infinity, 120);
  assert.deepEqual([...axisValues('wall', steps, times, 100)], [100, 100, 100, 100, 100, 120]);
  assert.deepEqual([...axisValues('relative', steps, times, 100)], [0, 0, 0, 0, 0, 20]);
  assert.equal(axisValues('step', steps, times, 100), steps);
  const ascending = Float64Array.of(1, 2, 2, 5, 6, 7);
  assert.equal(axisValues('wall', steps, ascending, 0), ascending);
});

test('a step between two known ones lies between their times, one beyond them at the last', () => {
  assert.equal(axisValueOfStep(STEPS, TIMES, 8), 1008);
  assert.equal(axisValueOfStep(STEPS, TIMES, 6), 1006);
  assert.ok(Math.abs(axisValueOfStep(STEPS, TIMES, 29) - 1054) < 1e-9);
  assert.equal(axisValueOfStep(STEPS, TIMES, 0), 1001);
  assert.equal(axisValueOfStep(STEPS, TIMES, 60), 1100);
});
