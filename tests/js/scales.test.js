import assert from 'node:assert/strict';
import test from 'node:test';

import {
  axisTicks,
  cellBoundaries,
  cellsOfPixels,
  domainOfLog,
  linearScale,
  logScale,
  niceTicks,
  signedLogScale,
} from '../../frontend_static/chart/scales.js';

/** @param {import('../../frontend_static/chart/scales.js').Tick[]} ticks */
const labels = (ticks) => ticks.map((tick) => tick.label);
const scales = { linear: linearScale(-3, 8), log: logScale(2e-9, 40), signedLog: signedLogScale(1e-5, 0.3) };

for (const [name, scale] of Object.entries(scales)) {
  test(`${name}: positions turn back into the same values`, () => {
    for (let unit = 0; unit <= 1; unit += 1 / 64) {
      assert.ok(Math.abs(scale.toUnit(scale.toValue(unit)) - unit) < 1e-9, `${unit}`);
    }
    assert.equal(scale.toUnit(scale.low), 0);
    assert.equal(scale.toUnit(scale.high), 1);
  });

  test(`${name}: positions grow with the value and stay inside`, () => {
    const values = [-Infinity, -8, -0.01, 0, 1e-12, 1e-7, 1e-3, 1, 7, 30, Infinity];
    const units = values.map(scale.toUnit);
    units.forEach((unit, i) =>
      assert.ok(unit >= 0 && unit <= 1 && (i === 0 || unit >= units[i - 1]), `${values[i]} → ${unit}`),
    );
    assert.ok(Number.isNaN(scale.toUnit(NaN)));
  });
}

test('a constant lies in the middle of its axis', () => {
  for (const value of [0, 5, -2e-9])
    assert.ok(Math.abs(linearScale(value, value).toUnit(value) - 0.5) < 1e-9);
  assert.ok(Math.abs(logScale(3e-7, 3e-7).toUnit(3e-7) - 0.5) < 1e-9);
});

test('a signed logarithmic scale is symmetric, and linear inside its threshold', () => {
  const { toUnit } = signedLogScale(1e-5, 1);
  for (const value of [1e-7, 1e-5, 3e-3, 1]) assert.ok(Math.abs(toUnit(value) + toUnit(-value) - 1) < 1e-12);
  assert.ok(Math.abs((toUnit(1e-5) - 0.5) / (toUnit(5e-6) - 0.5) - 2) < 1e-9);
  const [inside, outside] = [toUnit(1e-5) - toUnit(0.999e-5), toUnit(1.001e-5) - toUnit(1e-5)];
  assert.ok(Math.abs(inside / outside - 1) < 0.01, 'the slope is continuous at the threshold');
});

test('a log axis is labelled with whole decades', () => {
  assert.deepEqual(labels(logScale(1e-6, 1e-1).ticks(6)), ['10⁻⁶', '10⁻⁵', '10⁻⁴', '10⁻³', '10⁻²', '10⁻¹']);
  assert.deepEqual(labels(logScale(1e-14, 1e-4).ticks(4)), ['10⁻¹³', '10⁻¹⁰', '10⁻⁷', '10⁻⁴']);
});

test('a log axis of less than a decade still has labels', () => {
  assert.deepEqual(labels(logScale(1.5e-4, 9e-4).ticks(5)), ['2·10⁻⁴', '5·10⁻⁴']);
  for (let low = 1e-9; low < 1e3; low *= 1.37) {
    for (const width of [1.0001, 1.01, 1.1, 1.5, 2, 4, 9, 11, 99]) {
      const scale = logScale(low, low * width);
      const ticks = scale.ticks(4);
      assert.ok(ticks.length >= 2, `${low} … ×${width}: ${labels(ticks)}`);
      assert.equal(new Set(labels(ticks)).size, ticks.length, `${low} … ×${width}: ${labels(ticks)}`);
    }
  }
});

test('linear labels have the digits that tell them apart', () => {
  assert.deepEqual(labels(linearScale(0.12, 0.1207).ticks(4)), [
    '1.200e-1',
    '1.202e-1',
    '1.204e-1',
    '1.206e-1',
  ]);
  assert.deepEqual(labels(linearScale(-1, 1).ticks(4)), ['−1.0', '−0.5', '0', '0.5', '1.0']);
});

test('a signed axis names zero, its ends first and the decade of its threshold', () => {
  const ticks = signedLogScale(1e-5, 0.1).ticks(11);
  assert.deepEqual(labels(ticks).slice(0, 3), ['0', '10⁻¹', '−10⁻¹']);
  assert.ok(labels(ticks).includes('10⁻⁵'));
});

test('step ticks are whole numbers, even on a short range', () => {
  assert.deepEqual(niceTicks(0, 5000, 5), [0, 1000, 2000, 3000, 4000, 5000]);
  assert.deepEqual(
    axisTicks({ from: 3, to: 5 }, 'step', 10).map((tick) => tick.value),
    [3, 4, 5],
  );
  assert.deepEqual(labels(axisTicks({ from: 7, to: 7 }, 'step', 10)), ['7']);
  assert.deepEqual(
    axisTicks({ from: 0, to: 0.5 }, 'relative', 5).map((tick) => tick.value),
    [0, 0.1, 0.2, 0.3, 0.4, 0.5],
  );
});

test('every axis with room for labels has at least two', () => {
  for (const kind of /** @type {const} */ (['step', 'relative', 'wall'])) {
    for (let span = 2; span < 1e8; span *= 1.7) {
      const ticks = axisTicks({ from: 1.7e9 + 1, to: 1.7e9 + 1 + span }, kind, 2);
      assert.ok(ticks.length >= 2, `${kind} over ${span}: ${labels(ticks)}`);
      assert.ok(ticks.length <= 14, `${kind} over ${span}: ${labels(ticks)}`);
      assert.ok(ticks.every(({ unit }) => unit >= -1e-6 && unit <= 1 + 1e-6));
    }
  }
});

test('durations are cut at minutes and hours', () => {
  assert.deepEqual(labels(axisTicks({ from: 0, to: 3600 }, 'relative', 5)), [
    '0 s',
    '15 min',
    '30 min',
    '45 min',
    '1 h',
  ]);
});

test('the domain of a log scale ignores a few outliers, zeros and what is not finite', () => {
  const values = Float32Array.from({ length: 1000 }, (_, i) => 1e-4 * (1 + i / 1000));
  values[3] = 1e9;
  values[4] = 1e-30;
  const [low, high] = domainOfLog([values, [NaN, Infinity, -1, 0]]) ?? [NaN, NaN];
  assert.ok(low >= 0.99e-4 && high <= 2.01e-4, `${low} ${high}`);
  assert.equal(domainOfLog([[0, NaN, -3]]), null);
  assert.deepEqual(domainOfLog([[5]]), [5, 5]);
});

test('cells reach halfway to their neighbours, and the last one to its step', () => {
  assert.deepEqual([...cellBoundaries([1, 2, 4, 8], { from: 0, to: 9 })], [0.5, 1.5, 3, 6, 8]);
  assert.deepEqual([...cellBoundaries([5], { from: 0, to: 9 })], [0, 9]);
  assert.equal(cellBoundaries([], { from: 0, to: 9 }).length, 1);
});

test('no visible cell is without a pixel, and no pixel inside the run is without a cell', () => {
  const xs = [1, 2, 4, 8, 16, 32, 50, 100, 150, 200, 1000, 1001, 1002, 5000];
  for (const width of [1, 3, 14, 100, 941]) {
    const { first, last } = cellsOfPixels(xs, { from: 1, to: 5000 }, width);
    const seen = new Set();
    for (let pixel = 0; pixel < width; pixel++) {
      assert.ok(first[pixel] >= 0 && last[pixel] >= first[pixel], `pixel ${pixel} of ${width}`);
      for (let cell = first[pixel]; cell <= last[pixel]; cell++) seen.add(cell);
    }
    assert.equal(seen.size, xs.length, `width ${width}`);
  }
});

test('a zoomed range shows only the cells in it, and nothing beyond the end of the run', () => {
  const xs = Float64Array.from({ length: 100 }, (_, i) => i * 10);
  const zoomed = cellsOfPixels(xs, { from: 500, to: 600 }, 50);
  assert.ok(zoomed.first.every((cell) => cell >= 50 && cell <= 60));
  const shorter = cellsOfPixels(xs, { from: 0, to: 1980 }, 100);
  assert.equal(shorter.first[99], -1);
  assert.equal(shorter.first[10], 20);
});
