import assert from 'node:assert/strict';
import test from 'node:test';

import { columnAtX, deviceStripes } from '../../frontend_static/chart/heatmap.js';
import { colouringOf } from '../../frontend_static/chart/heatmap_colours.js';
import { labelsOfMarks, marksOfRows } from '../../frontend_static/chart/heatmap_marks.js';
import {
  meanSeverities,
  severitiesOf,
  severityTable,
  worstSeverities,
} from '../../frontend_static/chart/heatmap_severity.js';
import { cellsOfPixels } from '../../frontend_static/chart/scales.js';
import { randomNumbers } from './random.js';

/** @typedef {import('../../frontend_static/types.d.ts').Overview} Overview */
/** @typedef {import('../../frontend_static/chart/worst.js').Kind} Kind */

/** @param {number[][]} rows @param {Partial<Overview>} [more] */
const overviewOf = (rows, more = {}) => ({
  values: Float32Array.from(rows.flat()),
  columns: rows[0].length,
  parameters: rows.length,
  statistic: 'update_to_weight_ratio',
  ...more,
});
const rank = (/** @type {number | null} */ value) =>
  value === null
    ? -1
    : Number.isNaN(value)
      ? Infinity
      : value === 0 || value === Infinity
        ? 1 // as one decade off
        : Math.abs(Math.log10(value) + 3);

/**
 * What each pixel shows, as values; null for nothing.
 * @param {ReturnType<typeof overviewOf>} overview
 * @param {Kind} kind
 * @param {number[]} parameters
 * @param {number} width
 */
function shown(overview, kind, parameters, width) {
  const xs = Float64Array.from({ length: overview.columns }, (_, i) => i);
  const cells = cellsOfPixels(xs, { from: xs[0], to: xs[xs.length - 1] }, width);
  const { valueOf } = severityTable(kind);
  return [...worstSeverities(severitiesOf(overview, kind), overview.columns, parameters, cells)].map(
    (severity) => (severity ? valueOf[severity] : null),
  );
}

test('the extreme of a million cells survives on any number of pixels', () => {
  const random = randomNumbers(1);
  for (const [parameters, columns, width] of [
    [200, 2000, 300],
    [7, 1024, 941],
    [3, 5, 100],
    [50, 999, 1],
  ]) {
    const rows = Array.from({ length: parameters }, () =>
      Array.from({ length: columns }, () => 10 ** (-4 + 2 * random())),
    );
    for (const extreme of [0.7, 1e-9, NaN, Infinity]) {
      const [p, c] = [Math.floor(random() * parameters), Math.floor(random() * columns)];
      const before = rows[p][c];
      rows[p][c] = extreme;
      const values = shown(
        overviewOf(rows),
        'ratio',
        rows.map((_, i) => i),
        width,
      );
      assert.ok(
        values.some((v) => Object.is(rank(v), rank(extreme)) || Math.abs(rank(v) - rank(extreme)) < 0.002),
        `${extreme} of ${parameters}×${columns} on ${width}`,
      );
      rows[p][c] = before;
    }
  }
});

test('every pixel shows the worst of the cells it covers', () => {
  const random = randomNumbers(2);
  const rows = Array.from({ length: 9 }, () =>
    Array.from({ length: 500 }, () =>
      random() < 0.02 ? [NaN, 0, Infinity][Math.floor(3 * random())] : 10 ** (-7 + 7 * random()),
    ),
  );
  const xs = Float64Array.from({ length: 500 }, (_, i) => i);
  const { first, last } = cellsOfPixels(xs, { from: 0, to: 499 }, 120);
  const parameters = [1, 4, 8];
  shown(overviewOf(rows), 'ratio', parameters, 120).forEach((value, pixel) => {
    const covered = parameters.flatMap((p) => rows[p].slice(first[pixel], last[pixel] + 1));
    const worst = Math.max(...covered.map(rank));
    assert.ok(rank(value) === worst || Math.abs(rank(value) - worst) < 0.002, `pixel ${pixel}: ${value}`);
  });
});

test('NaN beats everything, whatever its bits; infinity beats what is finite', () => {
  const severityOf = (/** @type {number} */ value) => severitiesOf(overviewOf([[value]]), 'ratio')[0];
  const order = [1e-3, 3e-3, 0, 5e-5, 0.2, 1e-7, NaN].map(severityOf);
  assert.deepEqual(
    order,
    [...order].sort((a, b) => a - b),
  );
  const words = new Uint32Array([0x7fc00000, 0xffc00001, 0x7f800001, 0xffffffff]);
  const odd = severitiesOf({ values: new Float32Array(words.buffer) }, 'ratio');
  assert.deepEqual([...odd], Array(4).fill(severityOf(NaN)));
  assert.ok(severityOf(-0) > severityOf(2e-3) && severityOf(-0) < severityOf(3e-2));
});

test('an update of a weight that was 0 is no trouble, where infinity is in other statistics', () => {
  assert.ok(Number(shown(overviewOf([[1e-3, Infinity, 0.1]]), 'ratio', [0], 1)[0]) > 0.09);
  assert.deepEqual(shown(overviewOf([[1e-3, Infinity, 2e-3]]), 'ratio', [0], 1), [Infinity]);
  for (const kind of /** @type {Kind[]} */ (['log', 'comparison']))
    assert.deepEqual(shown(overviewOf([[1e-3, Infinity, 1e30]]), kind, [0], 1), [Infinity]);
});

test('a crowded pixel can show the mean of what was logged', () => {
  const overview = overviewOf([[1, 2, 30, NaN], [3, 6, 99, 8]], { logged: Uint8Array.of(1, 1, 1, 1, 1, 1, 0, 1) });
  const cells = { first: Int32Array.of(0, 2, 3, -1), last: Int32Array.of(1, 2, 3, -1) };
  const { valueOf } = severityTable('log');
  const means = [...meanSeverities(overview, 'log', [0, 1], cells)].map((s) => (s ? valueOf[s] : null));
  assert.ok(Math.abs(Number(means[0]) - 3) < 0.02, String(means[0]));
  assert.ok(Math.abs(Number(means[1]) - 30) < 0.2, String(means[1]));
  assert.ok(Number.isNaN(means[2]));
  assert.equal(means[3], null);
});

test('an exact zero does not drown among healthy values, and does not hide a spike', () => {
  const [healthy, spike] = [overviewOf([[1e-3, 0, 2e-3]]), overviewOf([[1e-3, 0, 0.1]])];
  assert.deepEqual(shown(healthy, 'ratio', [0], 1), [0]);
  assert.ok(Number(shown(spike, 'ratio', [0], 1)[0]) > 0.09);
});

test('cells that were not logged show nothing, and hide nothing', () => {
  const overview = overviewOf([[0.5, 0.5, 1e-3]], { logged: Uint8Array.of(0, 1, 1) });
  assert.deepEqual(
    shown(overview, 'ratio', [0], 3).map((v) => v && Number(v.toPrecision(2))),
    [null, 0.5, 0.001],
  );
  assert.deepEqual(shown(overview, 'ratio', [], 2), [null, null]);
});

test('other statistics: the largest wins, of cosines the one furthest from zero', () => {
  const rows = [[1e-9, 5, 0, 2]];
  assert.ok(
    Math.abs(Number(shown(overviewOf(rows, { statistic: 'weight_rms' }), 'log', [0], 1)[0]) - 5) < 0.02,
  );
  assert.ok(
    Math.abs(Number(shown(overviewOf([[0.3, -0.8, 0.5]], { statistic: 'c' }), 'cosine', [0], 1)[0]) + 0.8) <
      0.004,
  );
  assert.ok(
    Math.abs(Number(shown(overviewOf([[0, 0.25, 0.1]], { statistic: 'f' }), 'fraction', [0], 1)[0]) - 0.25) <
      0.001,
  );
});

test('a row of several tensors keeps a stripe for each while there are pixels', () => {
  const row = (
    /** @type {number[]} */ parameters,
    /** @type {number} */ y,
    /** @type {number} */ height,
  ) => ({ open: false, parameters, y, height });
  const stripes = deviceStripes([row([0, 1, 2], 0, 14), row([3], 14, 14)], 1, 28);
  assert.deepEqual(
    stripes.map((s) => s.parameters),
    [[0], [1], [2], [3]],
  );
  assert.deepEqual([stripes[0].top, stripes[2].bottom], [0, 13]);
  const crowded = deviceStripes(
    [
      row(
        Array.from({ length: 40 }, (_, i) => i),
        0,
        14,
      ),
    ],
    2,
    28,
  );
  assert.equal(crowded.length, 26);
  assert.deepEqual(
    crowded.flatMap((s) => s.parameters),
    Array.from({ length: 40 }, (_, i) => i),
  );
  crowded.forEach((s, i) => assert.equal(s.top, i ? crowded[i - 1].bottom : 0));
});

test('open modules and rows outside the canvas are not drawn', () => {
  const row = (/** @type {number} */ y, open = false) => ({ open, parameters: [0], y, height: 14 });
  assert.deepEqual(deviceStripes([row(-20), row(100), row(0, true)], 1, 50), []);
  assert.equal(deviceStripes([row(-7)], 1, 50)[0].top, 0);
});

test('the column under the pointer is the nearest one', () => {
  const xs = Float64Array.of(1, 2, 4, 8, 16);
  const range = { from: 1, to: 16 };
  assert.deepEqual(
    [0, 0.3, 0.32, 1].map((unit) => columnAtX(xs, range, unit)),
    [0, 2, 2, 4],
  );
  assert.equal(columnAtX(xs, range, 5.1 / 15), 3);
  assert.equal(columnAtX(new Float64Array(), range, 0.5), -1);
});

test('each kind of statistic has its domain', () => {
  const round = (/** @type {number} */ value) => Number(value.toPrecision(3));
  const ratio = colouringOf(overviewOf([[1]]));
  assert.deepEqual([ratio.kind, round(ratio.scale.low), round(ratio.scale.high)], ['ratio', 1e-6, 0.316]);
  assert.equal(colouringOf(overviewOf([[1]]), 'log', [1e-5, 1]).decades?.low, -5);
  const other = overviewOf([[0, 1e-4, 1e-2, NaN]], { statistic: 'weight_rms' });
  const { low, high } = colouringOf(other).scale;
  assert.ok(Math.abs(low / 1e-4 - 1) < 1e-6 && Math.abs(high / 1e-2 - 1) < 1e-6);
  assert.deepEqual([colouringOf(other, 'fraction').scale.low, colouringOf(other, 'cosine').scale.low], [0, -1]);
  assert.ok(colouringOf(overviewOf([[0, NaN]], { statistic: 'x' })).scale.high > 0);
});

test('a comparison diverges from equal, or from no difference', () => {
  const compared = overviewOf([[1]], { statistic: 'weight_rms', against: 'other' });
  const { kind, decades } = colouringOf(compared);
  assert.deepEqual([kind, decades?.middle], ['comparison', 0]);
  assert.equal(colouringOf(compared, 'fraction').kind, 'cosine');
});

test('of marks that would lie on each other the first is shown, and says how many it hides', () => {
  /** @param {string} key @param {number[]} parameters @param {boolean} [open] */
  const row = (key, parameters, open = false) =>
    /** @type {import('../../frontend_static/types.d.ts').TreeRow} */ ({
      key, label: key, depth: 0, kind: 'module', open, parameters, y: 0, height: 20,
    });
  const rows = [row('open', [0, 1, 2], true), row('a', [0, 1]), row('b', [2])];
  const marks = [
    { parameter: 1, x: 50 },
    { parameter: 0, x: 51 },
    { parameter: 2, x: 50 },
    { parameter: 0, x: 90 },
    { parameter: 2, x: 150 },
    { parameter: 7, x: 50 },
  ];
  const placed = marksOfRows(rows, marks, { from: 0, to: 100 }, 200);
  assert.deepEqual(
    placed.map(({ row: { key }, mark, pixel, others }) => [key, marks.indexOf(mark), pixel, others]),
    [['a', 0, 100, 1], ['b', 2, 100, 0], ['a', 3, 180, 0]],
  );
});

test('no label of a mark lies on another label or mark of its row', () => {
  const row = /** @type {import('../../frontend_static/types.d.ts').TreeRow} */ ({
    key: 'a', label: 'a', depth: 0, kind: 'tensor', open: false, parameters: [0], y: 0, height: 20,
  });
  const placed = [390, 300, 310, 45, 200].map((pixel) => ({
    row,
    mark: { parameter: 0, name: 'a', x: pixel, text: String(pixel) },
    pixel,
    others: 0,
  }));
  const labels = labelsOfMarks(placed, () => 60, 400);
  // Beside 310 there is another mark on the left, and the label of 390 on the right.
  assert.deepEqual(
    labels.map(({ text, left }) => [text, left]),
    [['390', 324], ['300', 234], ['45', 51], ['200', 134]],
  );
});

test('all marks of a step are labelled, or it says of how many these are the first', () => {
  const labels = (/** @type {number} */ count) => {
    const placed = Array.from({ length: count }, (_, i) => ({
      row: /** @type {import('../../frontend_static/types.d.ts').TreeRow} */ ({ key: `r${i}`, label: '', depth: 0, kind: 'tensor', open: false, parameters: [i], y: 20 * i, height: 20 }),
      mark: { parameter: i, name: `r${i}`, x: 7, text: 'NaN' },
      pixel: 200,
      others: 0,
    }));
    return labelsOfMarks(placed, () => 60, 400).map(({ text }) => text);
  };
  assert.deepEqual(labels(8), Array(8).fill('NaN'));
  assert.deepEqual(labels(9), ['NaN', 'NaN', 'NaN · first 3 of 9']);
});
