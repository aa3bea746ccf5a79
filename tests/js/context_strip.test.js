import assert from 'node:assert/strict';
import test from 'node:test';

import { isLoss, stripDomain, thinToPixels } from '../../frontend_static/chart/context_strip.js';

const steps = (/** @type {number} */ n) => Float64Array.from({ length: n }, (_, i) => i);

test('a spike of one step among a million survives', () => {
  const y = new Float32Array(1_000_000).fill(2);
  y[654_321] = 900;
  y[10] = -5;
  const thin = thinToPixels(steps(y.length), y, { from: 0, to: y.length - 1 }, 800);
  assert.ok(thin.y.includes(900) && thin.y.includes(-5));
  assert.ok(thin.x.length <= 800 * 5);
});

test('few points are kept as they are', () => {
  const thin = thinToPixels([1, 2, 4, 8], [3, 1, 4, 1], { from: 0, to: 8 }, 80);
  assert.deepEqual(thin, { x: [10, 20, 40, 80], y: [3, 1, 4, 1] });
});

test('a gap of one step survives, and infinity is a gap', () => {
  const y = Float64Array.from({ length: 10_000 }, (_, i) => (i === 5000 ? NaN : i === 7000 ? Infinity : 1));
  const thin = thinToPixels(steps(y.length), y, { from: 0, to: y.length }, 100);
  assert.equal(thin.y.filter(Number.isNaN).length, 2);
});

test('a zoomed strip keeps one point beyond either edge, where the line enters and leaves', () => {
  const thin = thinToPixels(steps(100), steps(100), { from: 40.5, to: 42.5 }, 50);
  assert.deepEqual(thin.y, [40, 41, 42, 43]);
});

test('nothing and a single point are drawn without complaint', () => {
  assert.deepEqual(thinToPixels([], [], { from: 0, to: 1 }, 50), { x: [], y: [] });
  assert.deepEqual(thinToPixels([7], [3], { from: 7, to: 7 }, 50), { x: [25], y: [3] });
});

test('the first losses may leave the strip, a later spike never does', () => {
  const x = [...steps(200)];
  const y = x.map((i) => (i < 5 ? 1000 : i === 150 ? 50 : 1));
  assert.deepEqual(stripDomain({ x, y }, 200, true), { low: 1, high: 50 });
  assert.deepEqual(stripDomain({ x, y }, 200, false), { low: 1, high: 1000 });
  assert.deepEqual(stripDomain({ x: [1], y: [NaN] }, 200, true), null);
});

test('only the beginning of a loss may leave the strip', () => {
  assert.deepEqual(['loss', 'Loss/train', 'lr', 'loss_scale', 'gradient_norm'].map(isLoss), [true, true, false, false, false]);
});
