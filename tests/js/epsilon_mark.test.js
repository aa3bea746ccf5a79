import assert from 'node:assert/strict';
import { test } from 'node:test';

import { epsilonMark } from '../../frontend_static/chart/histogram.js';

/** @param {string} optimizer @param {Record<string, string>} meanings */
const group = (optimizer, meanings) => ({ optimizer, options: {}, undefined: [], meanings, storage: {} });
const ADAM = group('AdamW', {});
const RMSPROP = group('RMSprop', { exp_avg_sq: 'square_avg, without bias correction' });
const ADADELTA = group('MyAdadelta', {
  exp_avg_sq: 'square_avg, without bias correction',
  acc_delta: 'average of the squared updates before lr',
});

test('beside the root ε is compared with √v, under it with v', () => {
  const axis = { low: 1e-14, high: 1 };
  for (const beside of [ADAM, RMSPROP, undefined])
    assert.deepEqual(epsilonMark(beside, 1e-6, axis), { mark: { value: 1e-6 ** 2, label: '√v = ε' }, note: '' });
  assert.deepEqual(epsilonMark(ADADELTA, 1e-6, axis), { mark: { value: 1e-6, label: 'v = ε' }, note: '' });
});

test('where ε lies beyond the axis that is said', () => {
  const axis = { low: 1e-9, high: 1e-3 };
  assert.equal(epsilonMark(ADAM, 1e-6, axis).note, '√v = ε (1e-6) is beyond the axis');
  assert.equal(epsilonMark(ADAM, 1e-6, axis).mark, null);
  assert.equal(epsilonMark(ADADELTA, 0.01, axis).note, 'v = ε (0.01) is beyond the axis');
});

test('without ε there is neither', () => {
  for (const none of [null, 0]) assert.deepEqual(epsilonMark(ADAM, none, { low: 1e-9, high: 1 }), { mark: null, note: '' });
});
