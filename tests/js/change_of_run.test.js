import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createActions } from '../../frontend_static/state/actions.js';
import { createStore, initialState } from '../../frontend_static/state/store.js';

/** @typedef {import('../../frontend_static/types.d.ts').Finding} Finding */

/** A tab on run `a`, with a run `b` beside it. */
function tabOnTwoRuns() {
  const store = createStore(initialState());
  const actions = createActions(store, /** @type {any} */ ({}));
  const run = { statistics: ['gradient_rms'], strip_columns: [], parameters: [], last_step: 10, last_wall_time: 0 };
  const statistics = [{ name: 'gradient_rms' }, { name: 'update_to_weight_ratio' }];
  store.set(/** @type {any} */ ({ run: 'a', summary: { runs: ['a', 'b'].map((name) => ({ ...run, run: name })), statistics } }));
  return { store, actions };
}

/** @param {string} id @param {string} run @param {string} rule @returns {Finding} */
const findingOf = (id, run, rule) => ({
  ...{ id, run, rule, severity: 'error', title: '', text: '', advice: '', parameters: [] },
  ...{ from: 3, to: 9, at: 4, statistic: 'gradient_rms', value: 1, threshold: 0.5, as_recorded: false, course: [] },
});

test('another run closes the finding and takes back its colours', () => {
  const { store, actions } = tabOnTwoRuns();
  actions.selectFinding(findingOf('spike-3', 'a', 'spike'));
  assert.equal(store.get().metric, 'gradient_rms');
  actions.showRun('a', 'spike');
  assert.equal(store.get().finding, 'spike-3', 'the same run is no other one');
  actions.showRun('b', 'spike');
  const { finding, metric, reopen, range } = store.get();
  assert.deepEqual([finding, metric, reopen, range], [null, 'update_to_weight_ratio', 'spike', null]);
  actions.reopenFinding([findingOf('dead-1', 'b', 'dead')]);
  assert.deepEqual([store.get().finding, store.get().reopen], [null, null]);
});

test('where the other run has the same finding, that is opened', () => {
  const { store, actions } = tabOnTwoRuns();
  actions.selectFinding(findingOf('spike-3', 'a', 'spike'));
  actions.showRun('b', 'spike');
  actions.showRun('a'); // before the findings of b are there
  actions.showRun('b');
  actions.reopenFinding([findingOf('dead-1', 'b', 'dead'), findingOf('spike-7', 'b', 'spike')]);
  assert.deepEqual([store.get().finding, store.get().metric], ['spike-7', 'gradient_rms']);
  actions.showRun('a');
  assert.equal(store.get().metric, 'update_to_weight_ratio');
});

test('colours that were chosen since stay', () => {
  const { store, actions } = tabOnTwoRuns();
  actions.selectFinding(findingOf('spike-3', 'a', 'spike'));
  actions.colourBy('weight_rms');
  actions.showRun('b', 'spike');
  assert.equal(store.get().metric, 'weight_rms');
});

test('a line chart of what colours the map goes on being that', () => {
  const { store, actions } = tabOnTwoRuns();
  assert.equal(store.get().lineStatistics, null);
  actions.colourBy('gradient_rms');
  assert.equal(store.get().lineStatistics, null);
  actions.toggleStatistic('weight_rms');
  assert.deepEqual(store.get().lineStatistics, ['gradient_rms', 'weight_rms']);
  actions.colourBy('update_rms');
  assert.deepEqual(store.get().lineStatistics, ['update_rms', 'weight_rms']);
  actions.colourBy('weight_rms');
  assert.deepEqual(store.get().lineStatistics, ['update_rms', 'weight_rms']);
});
