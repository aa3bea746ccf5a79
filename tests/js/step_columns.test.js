import assert from 'node:assert/strict';
import { test } from 'node:test';

import { cellsOfPixels } from '../../frontend_static/chart/scales.js';
import { isThin } from '../../frontend_static/view/overview/card.js';
import { firstColumn, fitColumns } from '../../frontend_static/view/parameter/step_columns.js';

test('columns and rows in sight fill the table and are whole', () => {
  for (const content of /** @type {const} */ (['number', 'step', 'difference']))
    for (const width of [200, 313, 317, 405, 600, 850])
      for (const columns of [1, 2, 3, 8]) {
        const fit = fitColumns({ width, height: 187 }, columns, content);
        const where = `${width} ${columns} ${content}`;
        assert.ok(fit.shown >= 1 && fit.shown <= columns, where);
        assert.ok(fit.column >= 88, where);
        if (width >= 300) assert.ok(fit.names + fit.shown * fit.column <= width, where);
        if (width >= 300) assert.ok(fit.names + fit.shown * fit.column > width - 2, where);
        if (width >= 313 && columns > 1) assert.ok(fit.shown >= 2, where);
        assert.equal((fit.height - 32) % fit.row, 0, where);
        assert.ok(fit.height <= 187, where);
      }
});

test('differences stand below numbers where a second column needs the room', () => {
  const stacked = (/** @type {number} */ width, columns = 2) => fitColumns({ width, height: 200 }, columns, 'difference').stacked;
  assert.deepEqual([stacked(317), stacked(500), stacked(317, 1)], [true, false, false]);
  const brief = (/** @type {number} */ width) => fitColumns({ width, height: 200 }, 3, 'step').brief;
  assert.deepEqual([brief(313), brief(405)], [true, false]);
});

test('the first column in sight follows the scrolling', () => {
  const fit = fitColumns({ width: 317, height: 187 }, 8, 'number');
  const at = (/** @type {number} */ columns) => firstColumn(columns * fit.column, fit, 8);
  assert.deepEqual([0, 0.4, 1, 5, 9].map(at), [0, 0, 1, 5, 6]);
});

test('nothing is drawn beyond the last step', () => {
  const xs = Float64Array.of(10, 20, 30, 40);
  const { first, last } = cellsOfPixels(xs, { from: 10, to: 70 }, 60);
  assert.deepEqual([first[29], last[29], first[30], first[35]], [3, 3, -1, -1]);
  const close = cellsOfPixels(xs, { from: 10, to: 40 }, 3);
  assert.ok(close.last.includes(3), 'the last record has a pixel');
  assert.ok(close.first.every((cell) => cell >= 0));
});

test('a few records in many steps are said', () => {
  assert.deepEqual([isThin(9, 300), isThin(9, 20), isThin(50, 5000)], [true, false, false]);
});
