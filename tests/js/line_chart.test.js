import assert from 'node:assert/strict';
import test from 'node:test';

import { envelopeOf, freePlace, isCrowded, lineScale } from '../../frontend_static/chart/line_chart.js';
import { unknownAmong } from '../../frontend_static/view/parameter/line_charts.js';

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

test('the envelope holds the extremes of every pixel', () => {
  const n = 10_000;
  const y = Float64Array.from({ length: n }, (_, i) => (i === 5555 ? 9 : i === 7777 ? NaN : i % 2));
  const x = Float64Array.from(y, (_, i) => i);
  const columns = envelopeOf(x, y, { from: 0, to: n }, 100);
  assert.equal(columns.length, 100);
  assert.ok(columns.every(({ low }) => low === 0));
  assert.deepEqual(
    columns.filter(({ high }) => high !== 1),
    [{ x: 55, low: 0, high: 9 }],
  );
});

test('only what is visible makes a chart crowded', () => {
  const x = Float64Array.from({ length: 1000 }, (_, i) => i);
  assert.ok(isCrowded(x, { from: 0, to: 1000 }, 400));
  assert.ok(!isCrowded(x, { from: 0, to: 400 }, 400));
});

test('a label lies where no line runs, even between two points, and nowhere if there is no such place', () => {
  const area = { left: 0, top: 0, width: 106, height: 60 };
  const label = (/** @type {{x: number[], y: number[]}[]} */ ...lines) =>
    freePlace(area, { width: 20, height: 10 }, [50, 10], lines);
  assert.deepEqual(label(), { left: 80, top: 50 });
  assert.deepEqual(label({ x: [0, 106], y: [55, 55] }), { left: 80, top: 10 });
  assert.deepEqual(label({ x: [75, 106], y: [0, 60] }), { left: 50, top: 50 });
  assert.deepEqual(label({ x: [0, 53, 106], y: [55, NaN, 55] }), { left: 80, top: 50 });
  assert.equal(label({ x: [0, 106], y: [55, 55] }, { x: [0, 106], y: [15, 15] }), null);
});

test('an unknown value is told from one that is not finite by the count of these', () => {
  const statistic = /** @type {any} */ ({ name: 'gradient_rms' });
  const raw = Float32Array.of(1, NaN, NaN, Infinity);
  const series = /** @type {any} */ ({ statistics: { nonfinite_count: Float32Array.of(0, 0, 3, 0) } });
  assert.deepEqual([...unknownAmong(raw, statistic, series)], [1]);
  assert.deepEqual([...unknownAmong(raw, statistic, /** @type {any} */ ({ statistics: {} }))], []);
  assert.deepEqual([...unknownAmong(raw, /** @type {any} */ ({ name: 'nonfinite_count' }), series)], []);
});
