import assert from 'node:assert/strict';
import test from 'node:test';

import { alignLines, isolatedPoints, lineScale } from '../../frontend_static/chart/line_chart.js';

/**
 * @param {number[]} x
 * @param {number[]} y
 * @param {number[]} [raw]
 */
const line = (x, y, raw) => ({ label: 'a', color: '#000000', x: Float64Array.from(x), y, raw });
const range = { from: 0, to: 100 };

test('the value axis holds everything visible, with the band', () => {
  const { low, high } = lineScale({
    lines: [line([1, 2, 3], [1e-4, 2e-1, NaN], [5e-5, 1, 0])],
    range,
    scale: 'log',
    band: [3e-4, 3e-3],
  });
  assert.ok(low < 5e-5 && low > 1e-5 && high > 1 && high < 3);
});

test('what is outside the range, not finite or not positive does not stretch a log axis', () => {
  const { low, high } = lineScale({
    lines: [line([1, 2, 3, 500], [1e-3, 0, Infinity, 1e9])],
    range,
    scale: 'log',
  });
  assert.ok(low > 1e-4 && high < 1e-2 && low < high);
});

test('an axis exists without lines', () => {
  for (const scale of /** @type {const} */ (['log', 'linear'])) {
    const { low, high } = lineScale({ lines: [], range, scale });
    assert.ok(low < high);
  }
});

test('runs with different steps share one list of steps without gaps in either', () => {
  const { data } = alignLines({
    scale: 'linear',
    lines: [line([1, 3, 5], [10, 30, 50]), line([2, 3], [7, NaN])],
  });
  assert.deepEqual(data[0], [1, 2, 3, 5]);
  assert.deepEqual(data[1], [10, undefined, 30, 50]);
  assert.deepEqual(data[2], [undefined, 7, null, undefined]);
});

test('raw lines lie under all smoothed ones', () => {
  const { series } = alignLines({ scale: 'log', lines: [line([1], [1], [2]), line([1], [1], [2])] });
  assert.deepEqual(
    series.map((s) => s.alpha),
    [0.3, 0.3, undefined, undefined],
  );
});

test('points without neighbours are found, across the steps of other runs', () => {
  assert.deepEqual(isolatedPoints([1, null, 2, 3, null, 4]), [0, 5]);
  assert.deepEqual(isolatedPoints([1, undefined, 2]), []);
  assert.deepEqual(isolatedPoints([undefined, 7, undefined]), [1]);
  assert.deepEqual(isolatedPoints([null, null]), []);
});
