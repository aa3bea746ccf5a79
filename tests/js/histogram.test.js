import assert from 'node:assert/strict';
import test from 'node:test';

import {
  NINE_PERCENTILES,
  percentilesOf,
  resampler,
  specialCounts,
  usefulCells,
  sharedScale,
  valueScale,
} from '../../frontend_static/chart/histogram.js';
import { densityShares } from '../../frontend_static/chart/density.js';
import { binOf, histogramOf } from './histogram_of.js';
import { normalNumbers } from './random.js';

/** @param {number} seed @param {number} n @param {number} [scale] */
function normal(seed, n, scale = 1) {
  const next = normalNumbers(seed);
  return Array.from({ length: n }, () => scale * next());
}

/** @param {Iterable<number>} values */
function sum(values) {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

test('percentiles from counts lie in the bin of the percentile of the values', () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const values = [...normal(seed, 997, 10 ** (seed - 4)), ...Array(seed * 40).fill(0)];
    const histogram = histogramOf([values], true);
    const sorted = [...values].sort((a, b) => a - b);
    const fractions = Array.from({ length: 101 }, (_, i) => i / 100);
    percentilesOf(histogram, 0, fractions).forEach((found, i) => {
      const exact =
        sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(fractions[i] * sorted.length) - 1))];
      if (exact === 0) return assert.equal(found, 0, `${fractions[i]}`);
      const bin = binOf([...histogram.edges], exact);
      const [low, high] = [histogram.edges[bin], histogram.edges[bin + 1]];
      assert.ok(
        found >= low - 1e-12 && found <= high + 1e-12,
        `${fractions[i]}: ${found} outside ${low}…${high} of ${exact}`,
      );
    });
  }
});

test('percentiles interpolate within a bin', () => {
  const values = Array.from({ length: 1000 }, (_, i) => 1 + (0.25 * (i + 0.5)) / 1000);
  const found = percentilesOf(histogramOf([values], false), 0, [0.1, 0.5, 0.9]);
  [1.025, 1.125, 1.225].forEach((expected, i) => assert.ok(Math.abs(found[i] - expected) < 1e-9));
});

test('zeros, infinities and NaN take their place among the percentiles', () => {
  const values = [-Infinity, -1, -1, 0, 0, 0, 1, 1, Infinity, Infinity, NaN, NaN];
  const found = percentilesOf(histogramOf([values], true), 0, [0, 0.5, 0.8, 1]);
  assert.deepEqual([found[0], found[1], found[2], found[3]], [-Infinity, 0, 1.25, Infinity]);
  assert.deepEqual([...percentilesOf(histogramOf([[0, 0]], true), 0, NINE_PERCENTILES)], Array(9).fill(0));
});

test('an empty histogram has no percentiles', () => {
  assert.ok(percentilesOf(histogramOf([[]], true), 0, NINE_PERCENTILES).every(Number.isNaN));
  assert.ok(percentilesOf(histogramOf([[NaN]], true), 0, NINE_PERCENTILES).every(Number.isNaN));
});

test('bins cut to those in use give the same percentiles', () => {
  const full = histogramOf([[...normal(7, 500).map(Math.abs), 0, 0, 0]], true);
  const from = full.counts.findIndex((count) => count > 0);
  const cut = {
    ...full,
    counts: full.counts.slice(from),
    edges: full.edges.slice(from),
    bins: full.bins - from,
  };
  assert.deepEqual(percentilesOf(cut, 0, NINE_PERCENTILES), percentilesOf(full, 0, NINE_PERCENTILES));
});

test('resampling onto cells keeps every element', () => {
  for (const signed of [true, false]) {
    const steps = [1e-9, 1e-4, 3].map((scale, seed) =>
      normal(seed, 800, scale).map((v) => (signed ? v : v * v)),
    );
    const histogram = histogramOf(steps, signed);
    const scale = valueScale(histogram);
    for (const cells of [1, 7, 60, 500]) {
      const resample = resampler(histogram, scale, cells);
      for (const step of [0, 1, 2]) assert.ok(Math.abs(sum(resample(step)) - 800) < 1e-6);
    }
  }
});

test('resampling puts elements where the axis has them', () => {
  const histogram = histogramOf([Array(10).fill(-0.3), Array(10).fill(0.01)], true);
  const scale = valueScale(histogram);
  const resample = resampler(histogram, scale, 200);
  [-0.3, 0.01].forEach((value, step) => {
    const cells = [...resample(step)];
    const centre = sum(cells.map((count, i) => count * (i + 0.5))) / sum(cells) / 200;
    assert.ok(Math.abs(centre - scale.toUnit(value)) < 0.03, `${value}: ${centre}`);
  });
});

test('unequal bins leave no stripes in an even distribution', () => {
  const values = Array.from({ length: 40_000 }, (_, i) => 10 ** (-8 + (6 * (i + 0.5)) / 40_000));
  const histogram = histogramOf([values], false);
  const scale = valueScale(histogram);
  const inner = [...resampler(histogram, scale, usefulCells(histogram, scale, 300))(0)].slice(3, -3);
  assert.ok(Math.max(...inner) / Math.min(...inner) < 1.15, `${Math.min(...inner)}…${Math.max(...inner)}`);
});

test('the value axis holds the largest value, and starts its logarithm just under the bulk', () => {
  const signed = valueScale(histogramOf([[...normal(1, 1000, 1e-4), 0.5]], true));
  assert.ok(signed.high >= 0.5 && signed.low === -signed.high);
  const threshold = signed.threshold ?? NaN;
  assert.ok(threshold >= 1e-6 && threshold <= 3e-5, `${threshold}`);
  const unsigned = valueScale(histogramOf([normal(1, 1000, 1e-4).map((v) => v * v)], false));
  assert.equal(unsigned.threshold, undefined);
  assert.ok(unsigned.low < 1e-9 && unsigned.high < 1e-6, `${unsigned.low}…${unsigned.high}`);
});

test('the value axis exists for nothing, zeros and a constant', () => {
  for (const signed of [true, false]) {
    for (const steps of [[], [[]], [[0, 0]], [[3e-7, 3e-7]]]) {
      const scale = valueScale(histogramOf(steps, signed));
      assert.ok(scale.low < scale.high && scale.ticks(5).length >= 2);
    }
  }
});

test('densities are shares of the fullest cell of their own step', () => {
  const histogram = histogramOf([normal(1, 500), normal(2, 5), []], true);
  const { cells, shares } = densityShares(histogram, valueScale(histogram), 40);
  for (const step of [0, 1]) assert.equal(Math.max(...shares.slice(step * cells, (step + 1) * cells)), 1);
  assert.equal(sum(shares.slice(2 * cells)), 0);
});

test('what lies outside the bins is counted', () => {
  assert.deepEqual(specialCounts(histogramOf([[0, 0, 1, NaN, -Infinity]], true), 0), {
    elements: 5,
    zeros: 2,
    subnormal: 0,
    nonFinite: 2,
  });
});

test('several runs share an axis that holds all of them', () => {
  const [small, large] = [1e-6, 1e-2].map((size) => histogramOf([[size, -size, size / 2]], true));
  const shared = sharedScale([small, large], 'log', null);
  assert.equal(shared.high, valueScale(large).high);
  assert.equal(shared.threshold, valueScale(small).threshold);
  assert.equal(sharedScale([small, large], 'linear', null).low, -shared.high);
  const [low, high] = [1e-9, 1e-3].map((size) => histogramOf([[size, size * 2]], false));
  const unsigned = sharedScale([high, low], 'log', null);
  assert.ok(unsigned.low <= valueScale(low).low && unsigned.high >= valueScale(high).high);
});

test('where the signed axis becomes linear can be chosen', () => {
  const histogram = histogramOf([[1e-3, -1e-3, 1e-4]], true);
  assert.equal(valueScale(histogram, 'log', 1e-9).threshold, 1e-9);
  assert.equal(valueScale(histogram, 'linear', 1e-9).threshold, undefined);
});
