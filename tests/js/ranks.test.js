import assert from 'node:assert/strict';
import test from 'node:test';

import { anomalies } from '../../frontend_static/view/overview/ranks.js';

/** @param {number[][]} rows @param {number[][]} [logged] */
const overviewOf = (rows, logged) => ({
  parameters: rows.length,
  columns: rows[0].length,
  values: Float32Array.from(rows.flat()),
  logged: logged && Uint8Array.from(logged.flat()),
});
const ALL = { first: 0, last: 5 };

test('what stands out is what jumps while the others do not, not what is large or drifts', () => {
  const usual = [1e-1, 1e-2, 1e-3, 1e-3, 1e-3, 1e-3]; // all begin high
  const rows = [1, 100, 1, 5, 5].map((factor) => usual.map((v) => factor * v));
  rows[2][4] *= 30;
  const ranks = anomalies(overviewOf(rows), ALL, 'log');
  assert.ok(ranks[2] > 50 && ranks[0] < 1e-3 && ranks[1] < 1e-3);
  // At first everything moves, each in its way; later a change of the same size stands out.
  const early = [3, 1, 0.3, 10, 30].map((end) => [1, end, end, end, end, end].map((v) => 1e-3 * v));
  early[1][4] *= 3;
  const late = anomalies(overviewOf(early), ALL, 'log');
  assert.equal(late.indexOf(Math.max(...late)), 1);
  assert.ok(anomalies(overviewOf(rows), { first: 0, last: 3 }, 'log')[2] < 1e-3, 'only what is visible counts');
});

test('what is not finite comes first, what has no value last', () => {
  const rows = [
    [1, 1, 1, 1, 1, 1],
    [1, 1, NaN, 1, 1, 1],
    [0, 0, 0, 0, 0, 0],
    [NaN, NaN, NaN, NaN, NaN, NaN],
  ];
  const logged = rows.map((_, p) => rows[0].map(() => (p === 3 ? 0 : 1)));
  assert.deepEqual([...anomalies(overviewOf(rows, logged), ALL, 'log')], [0, Infinity, -1, -1]);
  assert.equal(anomalies(overviewOf(rows), ALL, 'log', new Set([3]))[3], -1);
  const first = overviewOf([[Infinity, 1, 1, 1, 1, 1], rows[0], rows[0]]);
  assert.equal(anomalies(first, ALL, 'log')[0], Infinity);
  assert.equal(anomalies(first, ALL, 'ratio')[0], 0, 'weights that begin as zeros');
});
