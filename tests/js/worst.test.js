import assert from 'node:assert/strict';
import test from 'node:test';

import { severitiesOf } from '../../frontend_static/chart/heatmap_severity.js';
import { valueText, worstIn } from '../../frontend_static/chart/heatmap_values.js';
import { badness, isBroken, worstOf } from '../../frontend_static/chart/worst.js';

/** @typedef {import('../../frontend_static/chart/worst.js').Kind} Kind */

/** From the best to the worst of each kind. @type {[Kind, number[]][]} */
const ORDERED = [
  ['ratio', [1e-3, 2e-3, 2e-4, 1e-1, 1e-7, -Infinity, NaN]],
  ['comparison', [1, 2, 0.3, 100, 1e-4, Infinity, NaN]],
  ['log', [0, 1e-30, 1e-3, 7, 1e20, Infinity, NaN]],
  ['count', [0, 1, 3, 1000, Infinity, NaN]],
  ['fraction', [0, 0.1, 0.5, 1, Infinity, NaN]],
  ['cosine', [0, -0.1, 0.5, -1, -Infinity, NaN]],
];

/** @param {Kind} kind @param {number[][]} rows @param {number[][]} [logged] @returns {any} */
const viewOf = (kind, rows, logged) => ({
  overview: {
    columns: rows[0].length,
    values: Float32Array.from(rows.flat()),
    logged: logged && Uint8Array.from(logged.flat()),
  },
  colouring: { kind },
  metric: { name: 'update_to_weight_ratio', scale: 'log' },
  run: { parameters: rows.map(() => ({ group: 0 })), groups: [{ undefined: [] }] },
  against: null,
});

test('each kind of value has its order, and what is broken is above all others', () => {
  for (const [kind, values] of ORDERED) {
    const found = values.map((value) => badness(kind, value));
    assert.deepEqual(found, [...found].sort((a, b) => a - b), kind);
    assert.equal(new Set(found).size, found.length, kind);
    assert.deepEqual(values.filter((value) => isBroken(kind, value)), values.filter((value) => !Number.isFinite(value)));
  }
});

test('a ratio to a weight that was 0 is no fault, and as bad as no update', () => {
  assert.equal(isBroken('ratio', Infinity), false);
  assert.equal(badness('ratio', Infinity), badness('ratio', 0));
  assert.equal(badness('ratio', 0), badness('ratio', 1e-2));
  assert.equal(isBroken('comparison', Infinity), true);
});

test('the worst of several is the first of the worst, and what has no value is never it', () => {
  const values = [null, 1e-3, NaN, NaN];
  const valueOf = (/** @type {number} */ i) => values[i];
  assert.equal(worstOf('ratio', [0, 1, 3, 2], valueOf), 3);
  assert.equal(worstOf('ratio', [0, 1], valueOf), 1);
  assert.equal(worstOf('ratio', [0], valueOf), 0);
  assert.equal(worstOf('ratio', [], valueOf), -1);
});

test('the number of a folded row is that of the tensor whose colour it has', () => {
  for (const [kind, values] of ORDERED) {
    for (let i = 1; i < values.length; i++) {
      for (const order of [[values[i - 1], values[i]], [values[i], values[i - 1]]]) {
        const view = viewOf(kind, order.map((value) => [value]));
        const worst = worstIn(view, /** @type {any} */ ({ parameters: [0, 1] }), 0);
        assert.ok(Object.is(order[worst], values[i]), `${kind} ${order}`);
        const severities = severitiesOf(view.overview, kind);
        assert.ok(severities[worst] > severities[1 - worst], `${kind} ${order}`);
      }
    }
  }
});

test('a tensor of a folded row that was not logged does not stand for the others', () => {
  const view = viewOf('ratio', [[0.5], [1e-3]], [[0], [1]]);
  assert.equal(worstIn(view, /** @type {any} */ ({ parameters: [0, 1] }), 0), 1);
  assert.equal(valueText(view, 0, Infinity), 'weight was 0');
});
