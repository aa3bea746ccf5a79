import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createActions, linkOf } from '../../frontend_static/state/actions.js';
import {
  checkedRuns,
  createCursor,
  createStore,
  defaultPreferences,
  initialState,
  overviewRun,
  panelKind,
  readPreferences,
  selectedParameter,
  writePreferences,
} from '../../frontend_static/state/store.js';

/** @typedef {import('../../frontend_static/types.d.ts').RunInfo} RunInfo */
/** @typedef {import('../../frontend_static/types.d.ts').Summary} Summary */

/** @param {string} run @param {number} time @returns {RunInfo} */
function runInfo(run, time) {
  const parameters = ['a.weight', 'b.weight'].map((name) => ({
    name,
    shape: [2],
    dtype: 'float32',
    elements: 2,
    elements_read: 2,
    group: 0,
  }));
  return {
    run,
    name: run,
    last_step: 10,
    last_wall_time: time,
    parameters,
    groups: [],
    unoptimized: [],
    statistics: [],
    quantities: [],
    step_columns: [],
    strip_columns: [],
    gradient_norms: false,
    scalars: [],
    messages: [],
  };
}

/** @param {string} revision @param {RunInfo[]} runs @returns {Summary} */
const summaryOf = (revision, ...runs) => ({ version: '1', revision, runs, statistics: [], messages: [] });

/** A tab whose server gives these answers in turn. @param {(Summary | Error)[]} answers */
function tabWith(...answers) {
  const store = createStore(initialState());
  let summaries = 0;
  const answer = () => {
    if (answers[0] instanceof Error) throw answers[0];
    return answers[0];
  };
  const actions = createActions(store, {
    summary: async () => {
      summaries++;
      return answer();
    },
    revision: async () => answer().revision,
  });
  return { store, actions, answers, summaries: () => summaries };
}

test('the newest run is shown first, and new runs do not take its place', async () => {
  const { store, actions, answers } = tabWith(summaryOf('1', runInfo('a', 5), runInfo('b', 9)));
  await actions.refresh();
  assert.equal(overviewRun(store.get())?.run, 'b');
  answers[0] = summaryOf('2', runInfo('a', 5), runInfo('b', 9), runInfo('c', 20));
  await actions.refresh();
  assert.equal(overviewRun(store.get())?.run, 'b');
});

test('a summary is only asked for when the revision has changed', async () => {
  const { actions, answers, summaries } = tabWith(summaryOf('1', runInfo('a', 5)));
  await actions.refresh();
  await actions.refresh();
  assert.equal(summaries(), 1);
  answers[0] = summaryOf('2', runInfo('a', 6));
  await actions.refresh();
  assert.equal(summaries(), 2);
});

test('a lost server is said, keeps what is shown, and is forgotten when it is back', async () => {
  const { store, actions, answers } = tabWith(summaryOf('1', runInfo('a', 5)));
  await actions.refresh();
  answers.unshift(new TypeError('Failed to fetch'));
  await actions.refresh();
  assert.equal(store.get().connection, 'Failed to fetch');
  assert.equal(overviewRun(store.get())?.run, 'a');
  answers.shift();
  await actions.refresh();
  assert.equal(store.get().connection, null);
  assert.equal(store.get().attempt, 1, 'what had failed is asked for again');
});

test('a link is followed even before its run has been loaded', async () => {
  const { store, actions, answers } = tabWith(summaryOf('1', runInfo('a', 5)));
  actions.followLink({ run: 'late', tensor: 'b.weight', step: 4, runs: ['a', 'late'], open: ['x'] });
  await actions.refresh();
  assert.equal(overviewRun(store.get())?.run, 'a');
  assert.equal(store.get().run, 'late');
  answers[0] = summaryOf('2', runInfo('a', 5), runInfo('late', 1));
  await actions.refresh();
  assert.equal(overviewRun(store.get())?.run, 'late');
  const link = linkOf(store.get());
  assert.deepEqual(Object.fromEntries(Object.entries(link).filter(([, value]) => value !== undefined)), {
    run: 'late',
    runs: ['a', 'late'],
    tensor: 'b.weight',
    step: 4,
    open: ['x'],
  });
});

test('a link to the default view says nothing', async () => {
  const { store, actions } = tabWith(summaryOf('1', runInfo('a', 5)));
  await actions.refresh();
  assert.ok(Object.values(linkOf(store.get())).every((value) => value === undefined));
});

test('the run of the overview and a few others are checked at first', async () => {
  const runs = Array.from({ length: 300 }, (_, i) => runInfo(`run${i}`, i));
  const { store, actions } = tabWith(summaryOf('1', ...runs));
  await actions.refresh();
  const names = checkedRuns(store.get()).map(({ run }) => run);
  assert.deepEqual(names, ['run0', 'run1', 'run2', 'run3', 'run4', 'run5', 'run6', 'run299']);
  actions.toggleRun('run3');
  actions.checkRuns(['run7', 'run8'], true);
  assert.deepEqual(
    checkedRuns(store.get()).map(({ run }) => run),
    ['run0', 'run1', 'run2', 'run4', 'run5', 'run6', 'run7', 'run8', 'run299'],
  );
});

test('a tensor that the run does not have gives way to the first', async () => {
  const { store, actions } = tabWith(summaryOf('1', runInfo('a', 5)));
  await actions.refresh();
  actions.selectTensor('b.weight');
  assert.equal(selectedParameter(store.get())?.name, 'b.weight');
  actions.selectTensor('gone');
  assert.equal(selectedParameter(store.get())?.name, 'a.weight');
});

test('escape takes back one thing at a time', () => {
  const { store, actions } = tabWith();
  store.set({ dialog: 'help', range: { from: 1, to: 2 }, filter: 'x', step: 3 });
  actions.escape();
  assert.equal(store.get().dialog, null);
  actions.escape();
  assert.equal(store.get().range, null);
  actions.escape();
  assert.equal(store.get().filter, '');
  actions.escape();
  assert.equal(store.get().step, null);
});

test('several moves of the cursor in one task tell the listeners once', () => {
  /** @type {(() => void)[]} */
  const frames = [];
  const cursor = createCursor((later) => frames.push(later));
  /** @type {(number | null)[]} */
  const seen = [];
  const stop = cursor.subscribe((x) => seen.push(x));
  cursor.pin(5);
  cursor.hover(7);
  cursor.hover(8);
  assert.equal(frames.length, 1);
  frames.shift()?.();
  cursor.hover(null);
  frames.shift()?.();
  stop();
  cursor.hover(9);
  frames.shift()?.();
  assert.deepEqual(seen, [null, 8, 5]);
});

test('a link takes back whatever it does not mention', async () => {
  const { store, actions } = tabWith(summaryOf('1', runInfo('a', 5), runInfo('b', 6)));
  await actions.refresh();
  actions.referTo('a');
  actions.colourAgainst(true);
  actions.zoom({ from: 1, to: 2 });
  actions.togglePin('a.weight');
  actions.orderRows('anomaly');
  actions.filterTensors('bias');
  assert.deepEqual(linkOf(store.get()).range, { from: 1, to: 2 });
  assert.deepEqual(linkOf(store.get()).pins, ['a.weight']);
  actions.followLink({ tensor: 'b.weight' });
  const { reference, against, range, pins, order, filter, tensor } = store.get();
  assert.deepEqual(
    { reference, against, range, pins, order, filter, tensor },
    { reference: null, against: false, range: null, pins: [], order: 'model', filter: '', tensor: 'b.weight' },
  );
});

test('the last line chart stays, and a reference named twice is none', async () => {
  const { store, actions } = tabWith(summaryOf('1', runInfo('a', 5)));
  actions.toggleStatistic('gradient_rms');
  actions.toggleStatistic('update_to_weight_ratio');
  actions.toggleStatistic('gradient_rms');
  assert.deepEqual(store.get().lineStatistics, ['gradient_rms']);
  actions.referTo('a');
  actions.colourAgainst(true);
  actions.referTo('a');
  assert.deepEqual([store.get().reference, store.get().against], [null, false]);
});

test('while paused, new data are left alone', async () => {
  const { store, actions, answers } = tabWith(summaryOf('1', runInfo('a', 5)));
  await actions.refresh();
  answers[0] = summaryOf('2', runInfo('a', 6));
  actions.pause(true);
  await actions.refresh();
  assert.equal(store.get().summary?.revision, '1');
  actions.pause(false);
  await actions.refresh();
  assert.equal(store.get().summary?.revision, '2');
});

test('a finding leads to its run, tensor and step', async () => {
  const { store, actions } = tabWith(summaryOf('1', runInfo('a', 5), runInfo('b', 9)));
  await actions.refresh();
  actions.selectFinding({
    id: 'x',
    run: 'a',
    rule: 'spike',
    severity: 'error',
    title: '',
    text: '',
    advice: '',
    parameters: ['b.weight'],
    from: 3,
    to: 9,
    at: null,
    statistic: '',
    value: 1, threshold: 0.5, as_recorded: false, course: [],
  });
  const { run, tensor, step, finding, range } = store.get();
  assert.deepEqual({ run, tensor, step, finding }, { run: 'a', tensor: 'b.weight', step: 3, finding: 'x' });
  assert.equal(range, null, 'most of a run of ten steps');
});

test('a finding colours the map by what shows it, or puts that above the map', async () => {
  const info = { ...runInfo('a', 5), statistics: ['weight_rms', 'gradient_rms'], strip_columns: ['loss', 'lr'] };
  const { store, actions } = tabWith(summaryOf('1', info));
  await actions.refresh();
  const finding = /** @type {import('../../frontend_static/types.d.ts').Finding} */ ({
    ...{ id: 'x', run: 'a', rule: 'r', severity: 'error', title: '', text: '', advice: '' },
    ...{ parameters: [], from: 3, to: 9, at: 4, statistic: '', value: 1, threshold: 0.5, as_recorded: false, course: [[4, 1]] },
  });
  const seen = (/** @type {string} */ statistic) => {
    actions.selectFinding({ ...finding, statistic });
    const { metric, strip } = store.get();
    return { metric, strip };
  };
  assert.deepEqual(seen('weight_rms'), { metric: 'weight_rms', strip: null });
  assert.deepEqual(seen('lr'), { metric: 'weight_rms', strip: 'column lr' });
  // What nothing shows is not seen in what the finding before was about.
  const before = { metric: 'update_to_weight_ratio', strip: null };
  assert.deepEqual(seen(''), before);
  assert.deepEqual(seen('gradient_rms'), { metric: 'gradient_rms', strip: null });
  assert.deepEqual(seen('second_moment_flicker'), before);
});

test('a panel has the default chart until another is chosen, and again when the default changes', () => {
  const store = createStore(initialState());
  const actions = createActions(store, /** @type {any} */ ({}));
  const kinds = () => store.get().panels.map((panel) => panelKind(panel, store.get()));
  assert.deepEqual(kinds(), ['ridgeline', 'density', 'bands']);
  actions.changePanel(0, { quantity: 'exp_avg_sq' });
  actions.changePanel(1, { kind: 'single' });
  assert.deepEqual(kinds(), ['density', 'single', 'bands']);
  actions.chooseDefaultChart('bands');
  assert.deepEqual(kinds(), ['bands', 'bands', 'bands']);
});

test('preferences last from visit to visit; what is damaged is ignored', () => {
  /** @type {Record<string, string>} */
  const kept = {};
  const storage = {
    getItem: (/** @type {string} */ key) => kept[key] ?? null,
    setItem: (/** @type {string} */ key, /** @type {string} */ value) => void (kept[key] = value),
  };
  assert.deepEqual(readPreferences(storage), {});
  const state = { ...initialState(), smoothing: 0.9, tensor: 'not a preference' };
  writePreferences(storage, state);
  assert.deepEqual(readPreferences(storage), { ...defaultPreferences(), smoothing: 0.9 });
  const [key] = Object.keys(kept);
  const damage = [
    '{',
    'null',
    '{"smoothing": 7, "panels": [1, 2, 3]}',
    '{"smoothing": "much"}',
    '{"crowded": "best", "linearBelow": 0, "defaultChart": null, "allRuns": "yes"}',
    '{"healthyRange": [3, 1], "colourRange": [1e-2, 1], "pollSeconds": -1, "lineStatistics": []}',
  ];
  for (const damaged of damage) {
    kept[key] = damaged;
    assert.deepEqual(readPreferences(storage), {}, damaged);
  }
});

test('settings over time leave the lists that would hide them', () => {
  const store = createStore({ ...initialState(), all: true });
  const actions = createActions(store, /** @type {any} */ ({}));
  actions.showOptimizer(true);
  assert.deepEqual([store.get().optimizer, store.get().all, store.get().compare], [true, false, false]);
  actions.showComparison(true);
  actions.showOptimizer(false);
  assert.equal(store.get().compare, true);
});
