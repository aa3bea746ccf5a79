import assert from 'node:assert/strict';
import test from 'node:test';

import { burstsOf, jumpsOf, jumpSteps, withStepsBetween } from '../../frontend_static/chart/gradient_jumps.js';
import { randomNumbers } from './random.js';

/** @param {number[]} steps @param {(number | null)[][]} rows null for no gradient */
const normsOf = (steps, rows) => ({
  parameters: rows.length,
  columns: steps.length,
  values: Float32Array.from(rows.flat(), (value) => value ?? NaN),
  logged: Uint8Array.from(rows.flat(), (value) => (value === null ? 0 : 1)),
  first_step: Float64Array.from(steps),
  last_step: Float64Array.from(steps),
  wall_time: Float64Array.from(steps, (step) => 100 + step),
});
const range = (/** @type {number} */ from, /** @type {number} */ to) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

test('the parameter that jumps is told from those that vary', () => {
  const random = randomNumbers(3);
  const steps = range(137, 200);
  const noise = () => steps.map(() => 0.01 * Math.exp(0.3 * (random() + random() - 1)));
  const rows = [noise(), noise(), noise()];
  rows[1][63] = 4;
  const jumps = jumpsOf(normsOf(steps, rows));
  assert.equal(jumps.length, 1);
  assert.equal(jumps[0].parameter, 1);
  assert.equal(jumps[0].step, 200);
  assert.equal(jumps[0].wallTime, 300);
  assert.equal(jumpSteps(jumps[0]), '200');
  assert.equal(jumpSteps({ ...jumps[0], from: 198 }), '198–200');
  assert.ok(jumps[0].factor > 250 && jumps[0].factor < 600, String(jumps[0].factor));
});

test('of high steps in a row the highest counts, and the strongest jump comes first', () => {
  const steps = [...range(1, 20), ...range(101, 120)];
  const row = steps.map(() => 1);
  row.splice(10, 3, 5, 9, 6);
  row[39] = 50;
  const jumps = jumpsOf(normsOf(steps, [row]));
  assert.deepEqual(jumps.map(({ step, factor }) => [step, Math.round(factor)]), [[120, 50], [12, 9]]);
  assert.deepEqual(burstsOf(normsOf(steps, [row])), [{ first: 0, end: 20 }, { first: 20, end: 40 }]);
});

test('a gradient that is not finite is a jump, no gradient and less than double are none', () => {
  const steps = range(1, 12);
  const flat = steps.map(() => 1);
  const jumps = jumpsOf(
    normsOf(steps, [
      [...flat.slice(1), NaN],
      [...flat.slice(1), null],
      [...flat.slice(1), 1.9],
      [null, null, null, null, null, null, null, null, null, 1, 1, 30],
    ]),
  );
  assert.deepEqual(jumps.map(({ parameter, factor }) => [parameter, factor]), [[0, Infinity]]);
});

test('steps between records become columns, and go into columns that cover them', () => {
  const overview = {
    ...normsOf([50, 100, 150], [[1, 2, 3], [4, 5, 6]]),
    logged: undefined,
    first_step: Float64Array.of(50, 100, 140),
    run: 'run',
    statistic: 'gradient_rms',
    against: null,
    total: { steps: 4, wall_time: 0 },
  };
  const merged = withStepsBetween(overview, normsOf([98, 99, 100, 141], [[7, 8, 9, 1], [null, 1, 1, 10]]));
  assert.deepEqual([...merged.last_step], [50, 98, 99, 100, 150]);
  assert.deepEqual([...merged.first_step], [50, 98, 99, 100, 140]);
  assert.deepEqual([...merged.wall_time], [150, 198, 199, 200, 250]);
  assert.deepEqual([...merged.values], [1, 7, 8, 9, 3, 4, NaN, 1, 5, 10]);
  assert.deepEqual([...(merged.logged ?? [])], [1, 1, 1, 1, 1, 1, 0, 1, 1, 1]);
  assert.equal(merged.columns, 5);
});
