import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createActions, linkOf } from '../../frontend_static/state/actions.js';
import { createStore, initialState } from '../../frontend_static/state/store.js';
import { namesIn, without } from '../../frontend_static/view/compare/comparison.js';
import { nextSort, notesOf, orderOf, rowsOf } from '../../frontend_static/view/compare/rows.js';
import { headWidth } from '../../frontend_static/view/compare/table.js';
import { comparisonCsv, comparisonMarkdown } from '../../frontend_static/view/compare/texts.js';

/** @typedef {import('../../frontend_static/types.d.ts').Comparison} Comparison */

/** @param {string} run @param {number | null} loss @param {object} [more] */
const loss = (run, loss, more) => ({ run, last_step: 200, final_loss: loss, common_loss: loss, not_finite_from: null, note: '', ...more });
/** @param {string} against @param {string | null} better @param {number | null} from @param {object} [more] */
const pair = (against, better, from, more) => ({
  run: 'best', against, better, from, text: `best and ${against}.`, parted: true, partings: [], partings_text: '', ...more,
});
/** Six runs: one that is best, one as good, two worse, one that is lost, one without a loss. @type {Comparison} */
const SIX = {
  runs: [
    loss('slow', 0.5),
    loss('best', 0.1, { final_loss: 0.08 }),
    loss('as good', 0.11),
    loss('late', 0.3),
    loss('lost', null, { not_finite_from: 40, note: 'the loss is not finite from step 40 on' }),
    loss('silent', null, { note: 'no loss was recorded' }),
  ],
  left_out: [],
  settings: [
    { name: 'lr', label: 'lr', values: ['1e-4', '0.01', '0.01', '3e-3', '1', '–'], numbers: [1e-4, 0.01, 0.01, 3e-3, 1, null], same_as: [0, 1, 1, 3, 4, 5] },
    { name: 'optimizer', label: 'optimizer', values: ['SGD', 'AdamW', 'AdamW', 'Adam', 'AdamW', 'AdamW'], numbers: [null, null, null, null, null, null], same_as: [0, 1, 1, 3, 1, 1] },
  ],
  same: [{ name: 'eps', label: 'eps', value: '1e-8' }],
  common_step: 200,
  text: 'Losses up to step 200.',
  best: 'best',
  pairs: [
    pair('slow', 'best', 1),
    pair('as good', null, null),
    pair('late', 'best', 120),
    pair('lost', 'best', 40),
    pair('silent', null, null, { text: '' }),
  ],
  sweep: null,
};

/** @param {Comparison} comparison @param {string} key @returns {string[]} */
const textsOf = (comparison, key) => rowsOf(comparison).find((row) => row.key === key)?.cells.map(({ text }) => text) ?? [];

test('each run has a word on how it did against the best', () => {
  assert.deepEqual(textsOf(SIX, 'verdict'), ['worse from the start', 'best', 'within noise', 'worse from step 120', 'not finite from step 40', '–']);
  const other = { ...SIX, pairs: [pair('late', 'late', 150)] };
  assert.equal(textsOf(other, 'verdict')[3], 'better from step 150');
});

test('losses that are not finite or not known say which', () => {
  assert.deepEqual(textsOf(SIX, 'final_loss'), ['0.5', '0.08', '0.11', '0.3', 'not finite', '–']);
  assert.deepEqual(textsOf(SIX, 'common_loss').slice(0, 2), ['0.5', '0.1']);
  const marks = rowsOf(SIX)[1].cells.map(({ mark }) => mark);
  assert.deepEqual(marks, ['', 'best', '', '', 'bad', '']);
});

test('without losses there are settings alone, and one loss where runs end at the same step', () => {
  const bare = { ...SIX, best: null, runs: SIX.runs.map(({ run }) => loss(run, null)) };
  assert.deepEqual(rowsOf(bare).map(({ key }) => key), ['setting lr', 'setting optimizer']);
  assert.ok(rowsOf(bare).every(({ cells }) => cells.every(({ mark }) => mark === '')), 'nothing is the same as a best one');
  const even = { ...SIX, runs: SIX.runs.map((run) => ({ ...run, final_loss: run.common_loss })) };
  assert.deepEqual(rowsOf(even).map(({ key }) => key).slice(0, 2), ['verdict', 'final_loss']);
  assert.ok(!rowsOf(even).some(({ key }) => key === 'common_loss'));
});

test('values that the best run has too are pale', () => {
  const [lr, optimizer] = rowsOf(SIX).filter(({ kind }) => kind === 'setting');
  assert.deepEqual(lr.cells.map(({ mark }) => mark), ['', '', 'same', '', '', '']);
  assert.deepEqual(optimizer.cells.map(({ mark }) => mark), ['', '', 'same', '', 'same', 'same']);
});

test('columns are sorted by loss, by numbers, and by names; what is not known comes last', () => {
  const rows = rowsOf(SIX);
  const order = (/** @type {string} */ key, down = false) => orderOf(SIX, rows, { key, down });
  assert.deepEqual(order(''), [1, 2, 3, 0, 4, 5]);
  assert.deepEqual(order('setting lr'), [0, 3, 1, 2, 4, 5]);
  assert.deepEqual(order('setting lr', true), [4, 1, 2, 3, 0, 5]);
  assert.deepEqual(order('setting optimizer'), [3, 1, 2, 4, 5, 0]);
  assert.deepEqual(order('a row that is gone'), order(''));
});

test('a click on a row sorts by it, the other way round, and no longer', () => {
  const first = nextSort({ key: '', down: false }, 'lr');
  const second = nextSort(first, 'lr');
  assert.deepEqual([first, second], [{ key: 'lr', down: false }, { key: 'lr', down: true }]);
  assert.deepEqual(nextSort(second, 'lr'), { key: '', down: false });
  assert.deepEqual(nextSort(second, 'eps'), { key: 'eps', down: false });
});

test('runs that lack a loss for one reason are named together', () => {
  const both = { ...SIX, runs: [...SIX.runs, loss('mute', null, { note: 'no loss was recorded' })] };
  assert.deepEqual(notesOf(both), [
    { note: 'the loss is not finite from step 40 on', runs: ['lost'] },
    { note: 'no loss was recorded', runs: ['silent', 'mute'] },
  ]);
});

test('a run that is left out goes at once, with what was said of it', () => {
  const left = without(SIX, (run) => run === 'late');
  assert.deepEqual(left?.runs.map(({ run }) => run), ['slow', 'best', 'as good', 'lost', 'silent']);
  assert.deepEqual(left?.settings[0].values, ['1e-4', '0.01', '0.01', '1', '–']);
  assert.ok(left && !left.pairs.some(({ against }) => against === 'late'));
  assert.deepEqual(left && textsOf(left, 'verdict'), ['worse from the start', 'best', 'within noise', 'not finite from step 40', '–']);
  assert.equal(without(SIX, () => false), SIX);
  assert.equal(without(SIX, (run) => run !== 'best'), null, 'one run is no comparison');
});

test('the Markdown is a table with what is said below it', () => {
  const rows = rowsOf(SIX);
  const nameOf = (/** @type {string} */ run) => (run === 'late' ? 'a|b_c' : run);
  const said = { ...SIX, sweep: { setting: 'lr', values: [], losses: [], best: '', as_good: [], edge: null, text: 'The best lr is 0.01.' } };
  const text = comparisonMarkdown(said, rows, [1, 3], nameOf, 'http://host/#adam_debug(x)');
  const lines = text.split('\n');
  assert.deepEqual(lines.slice(0, 4), ['|  | best | a\\|b\\_c |', '|---|---:|---:|', '| against the best | best | worse from step 120 |', '| final loss | 0.08 | 0.3 |']);
  for (const part of ['The same in all runs: eps 1e-8', 'The best lr is 0.01.', '- silent: no loss was recorded', '- best and slow.', '%28x%29'])
    assert.ok(text.includes(part), part);
});

test('the CSV has a line for each run, numbers as numbers', () => {
  const lines = comparisonCsv(SIX, [1, 5], (run) => (run === 'silent' ? '=1+1' : run)).trim().split('\r\n');
  assert.deepEqual(lines, [
    'run,last_step,final_loss,common_loss,not_finite_from,lr,optimizer,eps',
    'best,200,0.08,0.1,,0.01,AdamW,1e-8',
    "'=1+1,200,,,,–,AdamW,1e-8",
  ]);
});

test('a long name has a wider column, within bounds', () => {
  assert.ok(headWidth('a') < headWidth('a'.repeat(60)));
  assert.equal(headWidth('a'.repeat(300)), headWidth('a'.repeat(400)));
});

test('a run that is not listed any more is called by its path', () => {
  const { nameOf, indexOf } = namesIn(/** @type {any} */ ({ runs: [{ run: 'x/adam_debug', name: 'x' }, { run: 'y/adam_debug', name: 'y' }] }));
  assert.deepEqual([nameOf('y/adam_debug'), nameOf('gone'), indexOf('y/adam_debug')], ['y', 'gone', 1]);
});

/** The tab on three runs of which one has been chosen. */
function opened() {
  const store = createStore(initialState());
  const actions = createActions(store, /** @type {any} */ ({}));
  const run = { statistics: ['a', 'b'], strip_columns: [], parameters: ['x', 'y'].map((name) => ({ name })), last_step: 9 };
  const runs = ['one', 'two', 'three'].map((name) => ({ ...run, run: name }));
  store.set(/** @type {any} */ ({ run: 'one', metric: 'a', summary: { runs, statistics: [{ name: 'a' }, { name: 'b' }] } }));
  return { store, actions };
}
const PARTING = { run: 'one', against: 'two', statistic: 'b', parameter: 'y', step: 7 };

test('the comparison is a view: one of the lists at a time, in the link with its runs, and left by Escape', () => {
  const { store, actions } = opened();
  actions.showAllFindings(true);
  actions.showComparison(true);
  assert.deepEqual([store.get().all, store.get().compare], [false, true]);
  assert.deepEqual(linkOf(store.get()).runs, ['one', 'two', 'three'], 'later runs do not join what is shared');
  assert.equal(linkOf(store.get()).compare, true);
  actions.showAllFindings(true);
  assert.equal(store.get().compare, false);
  actions.showComparison(true);
  actions.escape();
  assert.deepEqual([store.get().all, store.get().compare], [false, false]);
  assert.equal(linkOf(store.get()).runs, undefined);
  actions.showComparison(true);
  actions.showRun('two');
  assert.equal(store.get().compare, false);
  actions.followLink({ compare: true, runs: ['one', 'three'] });
  assert.equal(store.get().compare, true);
});

test('two runs alone can be compared', () => {
  const { store, actions } = opened();
  const { visits } = store.get();
  actions.compareOnly(['one', 'three']);
  assert.deepEqual([...(store.get().checked ?? [])], ['one', 'three']);
  assert.equal(store.get().visits, visits + 1);
});

test('where runs part is shown in both, the better one as the reference', () => {
  const { store, actions } = opened();
  actions.compareOnly(['one', 'three']);
  actions.showParting(PARTING);
  const { run, reference, tensor, step, metric, compare, checked } = store.get();
  assert.deepEqual({ run, reference, tensor, step, metric, compare }, { run: 'two', reference: 'one', tensor: 'y', step: 7, metric: 'b', compare: false });
  assert.deepEqual([...(checked ?? [])], ['one', 'three', 'two']);
  assert.equal(store.get().lineStatistics, null, 'the line chart follows the map');
});

test('line charts that were chosen get one of the statistic in which runs part', () => {
  const { store, actions } = opened();
  store.set({ lineStatistics: ['c', 'd'] });
  actions.showParting(PARTING);
  assert.deepEqual(store.get().lineStatistics, ['c', 'd', 'b']);
  actions.showParting(PARTING);
  assert.deepEqual(store.get().lineStatistics, ['c', 'd', 'b']);
});

test('a finding that is opened from the comparison leads back to it, and a parting takes back what it changed', () => {
  const { store, actions } = opened();
  const finding = /** @type {any} */ ({ id: 'f', run: 'one', rule: 'r', parameters: ['y'], from: 3, to: 4, at: 3, statistic: 'b', value: 1, threshold: 0, course: [] });
  actions.showComparison(true);
  actions.selectFinding(finding);
  assert.equal(store.get().compare, false);
  actions.selectFinding(finding);
  actions.closeFinding();
  assert.equal(store.get().compare, true);
  actions.selectFinding(finding);
  actions.showParting({ ...PARTING, statistic: 'a' });
  const { finding: open, beforeFinding, compare, metric } = store.get();
  assert.deepEqual({ open, beforeFinding, compare, metric }, { open: null, beforeFinding: null, compare: false, metric: 'a' });
});
