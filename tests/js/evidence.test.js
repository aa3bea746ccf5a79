import assert from 'node:assert/strict';
import { test } from 'node:test';

import { spanOf } from '../../frontend_static/chart/evidence_marks.js';
import { lineScale } from '../../frontend_static/chart/line_chart.js';
import { createActions } from '../../frontend_static/state/actions.js';
import { lacksRecords, rangeAround } from '../../frontend_static/state/evidence.js';
import { createStore, initialState } from '../../frontend_static/state/store.js';
import { stripHeights } from '../../frontend_static/view/overview/sizes.js';
import { conditionOf, coursePath, courseScale, nameOf } from '../../frontend_static/view/run/why.js';

/** @typedef {import('../../frontend_static/types.d.ts').Finding} Finding */

/** @param {Partial<Finding>} [what] @returns {Finding} */
const findingWith = (what) => ({
  ...{ id: 'dead-22', run: 'a', rule: 'dead', severity: 'error', title: '', text: '', advice: '' },
  ...{ parameters: ['b.weight'], from: 22, to: 90, at: 40, value: 0.94, threshold: 0.55 },
  ...{ statistic: 'dead_row_fraction', as_recorded: true, course: [] },
  ...what,
});

/** A tab on a run of two tensors and a thousand steps. */
function openTab() {
  const store = createStore(initialState());
  const actions = createActions(store, /** @type {any} */ ({}));
  const parameters = ['a.weight', 'b.weight'].map((name) => ({ name }));
  const run = { statistics: ['update_to_weight_ratio', 'dead_row_fraction'], strip_columns: ['loss', 'lr'], parameters, last_step: 1000 };
  const summary = { runs: ['a', 'b'].map((name) => ({ ...run, run: name })), statistics: run.statistics.map((name) => ({ name })) };
  store.set(/** @type {any} */ ({ run: 'a', tensor: 'a.weight', step: 7, open: new Set(['x']), summary }));
  return { store, actions, before: store.get() };
}
/** @param {import('../../frontend_static/state/store.js').State} state */
const shown = ({ run, metric, strip, tensor, step, range, open, finding }) => ({ run, metric, strip, tensor, step, range, open, finding });

test('closing a finding leads back to the view before', () => {
  for (const close of [(/** @type {any} */ a) => a.closeFinding(), (/** @type {any} */ a) => a.escape()]) {
    const { store, actions, before } = openTab();
    actions.selectFinding(findingWith());
    actions.unfold(new Set(['x', 'b']));
    assert.deepEqual(shown(store.get()), {
      ...{ run: 'a', metric: 'dead_row_fraction', strip: null, tensor: 'b.weight', step: 40 },
      ...{ range: { from: 0, to: 140 }, open: new Set(['x', 'b']), finding: 'dead-22' },
    });
    actions.selectFinding(findingWith({ id: 'lr-3', statistic: 'lr', run: 'b' }));
    assert.equal(store.get().strip, 'column lr');
    assert.equal(store.get().run, 'b');
    close(actions);
    assert.deepEqual(shown(store.get()), shown(before));
    assert.equal(store.get().beforeFinding, null);
  }
});

test('a finding about tensors that are not recorded leaves nothing of the one before as its evidence', () => {
  const { store, actions, before } = openTab();
  const [run] = store.get().summary?.runs ?? [];
  run.unoptimized = [{ name: 'c.weight', shape: [2], trainable: true, other_optimizer: '' }];
  const forgotten = findingWith({ id: 'left-1', parameters: ['c.weight'], statistic: '', from: 1, to: 40, at: null });
  actions.selectFinding(findingWith());
  actions.selectFinding(forgotten);
  const { metric, tensor, step, range, finding } = store.get();
  assert.deepEqual([metric, tensor, step, range, finding], ['update_to_weight_ratio', null, null, null, 'left-1']);
  actions.closeFinding();
  assert.deepEqual(shown(store.get()), shown(before));
  assert.ok(lacksRecords(forgotten, run));
  assert.ok(!lacksRecords(findingWith(), run));
  assert.ok(!lacksRecords({ parameters: ['d'] }, run), 'of an unknown one nothing is said');
  assert.ok(!lacksRecords({ parameters: [] }, run));
});

test('closing a finding that was opened from the list of all leads back to the list', () => {
  const { store, actions, before } = openTab();
  actions.showAllFindings(true);
  actions.selectFinding(findingWith({ run: 'b' }));
  assert.ok(!store.get().all);
  actions.selectFinding(findingWith({ run: 'b' }));
  actions.escape();
  assert.ok(store.get().all);
  assert.deepEqual(shown(store.get()), shown(before));
  actions.escape();
  assert.ok(!store.get().all);
  actions.selectFinding(findingWith());
  actions.escape();
  assert.ok(!store.get().all, 'this one was opened beside the map');
});

test('what was chosen while a finding was open stays when it is closed', () => {
  const { store, actions } = openTab();
  actions.selectFinding(findingWith());
  actions.pinStep(50);
  actions.chooseStrip('column loss');
  actions.closeFinding();
  const { step, strip, tensor, metric } = store.get();
  assert.deepEqual({ step, strip, tensor, metric }, { step: 50, strip: 'column loss', tensor: 'a.weight', metric: 'update_to_weight_ratio' });
});

test('escape takes back a zoom of the user before the finding', () => {
  const { store, actions } = openTab();
  actions.selectFinding(findingWith());
  actions.zoom({ from: 30, to: 50 });
  actions.escape();
  assert.deepEqual([store.get().range, store.get().finding], [null, 'dead-22']);
  actions.escape();
  assert.equal(store.get().finding, null);
});

test('a finding is shown with some steps around it, unless it fills the run', () => {
  assert.deepEqual(rangeAround({ ...findingWith(), from: 500, to: 500 }, 1000), { from: 450, to: 550 });
  assert.equal(rangeAround({ ...findingWith(), from: 100, to: 900 }, 1000), null);
});

test('marked steps stay in sight and are wide enough to be seen', () => {
  const area = { left: 46, width: 200 };
  const range = { from: 0, to: 100 };
  assert.deepEqual(spanOf({ from: 10, to: 60 }, range, area), { left: 66, width: 100 });
  assert.deepEqual(spanOf({ from: 50, to: 50 }, range, area), { left: 143, width: 6 });
  assert.deepEqual(spanOf({ from: 100, to: 130 }, range, area), { left: 240, width: 6 });
  assert.deepEqual(spanOf({ from: -50, to: 20 }, range, area), { left: 46, width: 40 });
  assert.equal(spanOf({ from: 101, to: 130 }, range, area), null);
});

test('the value axis reaches to the threshold', () => {
  const lines = [{ label: '', color: '', x: Float64Array.of(1, 2), y: [0.1, 0.2] }];
  const evidence = { steps: { from: 1, to: 2 }, threshold: { value: 0.8, text: '' } };
  const range = { from: 1, to: 2 };
  for (const scale of /** @type {const} */ (['linear', 'log'])) {
    const [low, high] = [0.1, 0.8].map(lineScale({ lines, range, scale, evidence }).toUnit);
    assert.ok(low > 0 && high < 1 && high > 0.8, `${scale}: ${low} ${high}`);
  }
});

test('a strip that a finding is about is higher', () => {
  const strips = [{ name: 'column loss' }, { name: 'gradient_norm' }];
  const heights = (/** @type {string} */ statistic) => stripHeights(strips, { statistic }).map((height) => height > 30);
  assert.deepEqual(['loss', 'gradient_norm', 'weight_rms'].map(heights), [[true, false], [false, true], [false, false]]);
  assert.deepEqual(stripHeights(strips, null), [30, 30]);
});

test('the condition is said with value and threshold', () => {
  const percent = (/** @type {number} */ value) => `${Math.round(100 * value)} %`;
  const say = (/** @type {Partial<Finding>} */ what, as_recorded = true, format = percent) =>
    conditionOf(findingWith({ ...what, as_recorded }), 'rows without gradient', format);
  assert.equal(say({}), 'rows without gradient is 94 % at step 40; the threshold is 55 %.');
  assert.equal(say({ value: 100, threshold: 5 }, false, String), 'The value computed from rows without gradient is 100 at step 40; the threshold is 5.');
  assert.equal(say({ value: 3, threshold: 0 }, false, String), 'The value computed from rows without gradient is 3 at step 40.');
  assert.equal(say({ value: 1, threshold: 0 }, false), '', 'a question of yes or no');
  assert.equal(say({ statistic: '' }), '');
  assert.match(say({ value: null }), /is not finite at step 40/);
  assert.equal(nameOf('gradient_norm', []), 'gradient norm');
});

test('the course is drawn from the lowest to the highest of values and threshold', () => {
  /** @type {Finding['course']} */
  const course = [[10, 0.5], [20, null], [30, 1], [40, 0.75]];
  const scale = courseScale(course, 0);
  assert.deepEqual([scale.low, scale.high, scale.toY(0), scale.toY(1)], [0, 1, 1, 0]);
  assert.equal(coursePath(course, scale, 90, 40), 'M0.0 20.0h0M60.0 0.0h0L90.0 10.0');
  const decades = courseScale([[1, 1e-4], [2, 1]], 0.01);
  assert.equal(Number(decades.toY(0.01).toFixed(6)), 0.5, 'on a logarithmic axis');
});
