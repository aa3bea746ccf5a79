import assert from 'node:assert/strict';
import { test } from 'node:test';

import { piecesOf } from '../../frontend_static/view/run/pieces.js';
import { describeState, isIll, listedRuns, orderedRuns } from '../../frontend_static/view/run/run_list.js';

/** @typedef {import('../../frontend_static/types.d.ts').RunState} RunState */

/** @param {string} run @param {number} error @param {number} warning @param {number} info @returns {[string, RunState]} */
const stateOf = (run, error, warning, info) => [
  run,
  { run, counts: { error, warning, info }, worst: error ? 'error' : warning ? 'warning' : info ? 'info' : null, first: null, pending: false },
];
const runs = ['a', 'b', 'c', 'd', 'e'].map((run, i) => ({ run, last_wall_time: (7 * i) % 5 }));
const states = new Map([stateOf('a', 0, 0, 2), stateOf('b', 1, 0, 0), stateOf('c', 0, 3, 0), stateOf('d', 1, 2, 0)]);

test('runs are sorted by what was found, by their newest data, or by name', () => {
  const names = (/** @type {'name' | 'severity' | 'newest'} */ order) => orderedRuns(runs, order, states).map(({ run }) => run).join('');
  assert.equal(names('name'), 'abcde');
  assert.equal(names('severity'), 'dbcae', 'unknown ones are last');
  assert.equal(names('newest'), 'cebda'.split('').sort((x, y) => wall(y) - wall(x)).join(''));
  assert.equal(orderedRuns(runs, 'severity', new Map()).map(({ run }) => run).join(''), 'abcde');
});
const wall = (/** @type {string} */ name) => runs.find(({ run }) => run === name)?.last_wall_time ?? 0;

test('errors and warnings make a run ill, questions do not', () => {
  assert.deepEqual(['a', 'b', 'c', 'd', 'e'].map((run) => isIll(states.get(run))), [false, true, true, true, false]);
});

test('a state is said in words', () => {
  const [, state] = stateOf('x', 1, 2, 0);
  assert.equal(describeState(state), '1 error, 2 warnings');
  assert.equal(describeState({ ...state, first: 'Dead units' }), '1 error, 2 warnings: Dead units');
  assert.equal(describeState(stateOf('x', 0, 0, 1)[1]), '1 question');
});

test('leaving out healthy runs leaves the one that is shown', () => {
  const named = runs.map((info) => ({ ...info, name: info.run }));
  const state = /** @type {any} */ ({ summary: { runs: named }, runOrder: 'name', illRuns: true });
  const listed = (/** @type {any} */ shown, /** @type {any} */ other, matches = (/** @type {string} */ _name) => true) =>
    listedRuns({ ...state, ...other }, shown, states, matches)
      .map(({ run }) => run)
      .join('');
  assert.equal(listed(named[1], {}), 'bcd');
  assert.equal(listed(named[0], {}), 'abcd');
  assert.equal(listed(null, {}), 'bcd');
  assert.equal(listed(named[0], { illRuns: false }), 'abcde');
  assert.equal(listed(named[0], {}, (name) => 'be'.includes(name)), 'b');
});

test('names are parted behind their separators alone', () => {
  assert.deepEqual(piecesOf('runs/lr_1e-3'), ['runs/', 'lr_', '1e-', '3']);
  assert.deepEqual(piecesOf('rowan'), ['rowan']);
  assert.deepEqual(piecesOf('a.weight, b.bias'), ['a.', 'weight, ', 'b.', 'bias']);
  assert.deepEqual(piecesOf('a.bias, very.longer', 9), ['a.bias, ', 'very.', 'longer']);
  for (const name of ['', '..', 'a//b_', '-x', '…']) assert.equal(piecesOf(name).join(''), name);
});
