import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createActions, linkOf } from '../../frontend_static/state/actions.js';
import { createHistory } from '../../frontend_static/state/history.js';
import { createStore, initialState } from '../../frontend_static/state/store.js';

/** Counts entries of the history as actions are done. */
function tabWithHistory() {
  const store = createStore(initialState());
  const actions = createActions(store, /** @type {any} */ ({}));
  const run = { statistics: ['a', 'b'], strip_columns: [], parameters: ['x', 'y', 'z'].map((name) => ({ name })), last_step: 9 };
  const statistics = [{ name: 'a' }, { name: 'b' }];
  store.set(/** @type {any} */ ({ run: 'one', summary: { runs: ['one', 'two'].map((name) => ({ ...run, run: name })), statistics } }));
  let time = 0;
  const history = createHistory(linkOf, () => time);
  history.isNewEntry(store.get());
  let entries = 0;
  let last = '';
  store.subscribe((state) => {
    // As an address does: what is the same is no new entry.
    const link = JSON.stringify(linkOf(state));
    if (history.isNewEntry(state) && link !== last) entries++;
    last = link;
  });
  const made = (/** @type {() => void} */ act, wait = 5000) => {
    time += wait;
    const before = entries;
    act();
    return entries - before;
  };
  return { store, actions, made };
}
const FINDING = /** @type {any} */ ({ id: 'f', run: 'one', rule: 'r', parameters: ['y'], from: 3, to: 4, at: 3, statistic: 'b', value: 1, threshold: 0, course: [] });

test('what the user goes to is an entry of the history, and is one only', () => {
  const { actions, made } = tabWithHistory();
  assert.equal(made(() => actions.colourBy('b')), 1);
  assert.equal(made(() => actions.selectTensor('y')), 1);
  assert.equal(made(() => actions.selectCell('z', 3)), 1);
  assert.equal(made(() => actions.showRun('two')), 1);
  assert.equal(made(() => actions.selectFinding(FINDING)), 1);
  assert.equal(made(() => actions.closeFinding()), 1);
  assert.equal(made(() => actions.showAllFindings(true)), 1);
  assert.equal(made(() => actions.showComparison(true)), 1);
  assert.equal(made(() => actions.compareOnly(['one'])), 1);
  const place = { run: 'one', against: 'two', statistic: 'a', parameter: 'y', step: 3 };
  assert.equal(made(() => actions.showParting(place), 10), 1, 'also at once');
  assert.equal(made(() => actions.showComparison(true)), 1);
  assert.equal(made(() => actions.escape()), 1);
});

test('moves of the cursor, and what the tab does by itself, are none', () => {
  const { store, actions, made } = tabWithHistory();
  actions.selectFinding(FINDING);
  assert.equal(made(() => actions.pinStep(5)), 0);
  assert.equal(made(() => actions.selectCell('y', 6)), 0);
  assert.equal(made(() => actions.zoom({ from: 1, to: 2 })), 0);
  assert.equal(made(() => actions.unfold(new Set(['m']))), 0);
  assert.equal(made(() => actions.showWhy(true)), 0);
  assert.equal(made(() => actions.selectFinding(FINDING)), 1, 'back to its steps');
  store.set({ reopen: 'r', finding: null });
  assert.equal(made(() => actions.reopenFinding([FINDING])), 0);
  assert.equal(made(() => actions.followLink({ metric: 'b' })), 0);
});

test('a way through tensors by keys is one entry', () => {
  const { actions, made } = tabWithHistory();
  assert.equal(made(() => actions.selectTensor('y')), 1);
  assert.equal(made(() => actions.selectTensor('z'), 200), 0);
  assert.equal(made(() => actions.selectTensor('y'), 900), 0);
  assert.equal(made(() => actions.colourBy('b'), 100), 1);
  assert.equal(made(() => actions.selectTensor('z'), 2000), 1);
});
