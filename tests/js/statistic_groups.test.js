import assert from 'node:assert/strict';
import { test } from 'node:test';

import { groupedStatistics, searchedStatistics } from '../../frontend_static/view/parameter/statistic_groups.js';
import { quantityText, textsOf } from '../../frontend_static/view/what_is_text.js';

/** @param {string} name @param {string} [description] @returns {import('../../frontend_static/types.d.ts').StatisticInfo} */
const statistic = (name, description = '') => ({ name, label: name.replace(/_/g, ' '), scale: 'log', description });
const all = ['update_rms', 'weight_rms', 'gradient_rms', 'gradient_exp_avg_cosine', 'exp_avg_sq_root', 'nonfinite_count', 'weight_decay_ratio', 'dead_row_fraction', 'epsilon_fraction', 'rms_t', 'state_step'].map(
  (name) => statistic(name),
);

test('every statistic is in one group, in its order', () => {
  const groups = groupedStatistics(all);
  assert.deepEqual(
    groups.map(({ title, members }) => [title, members.map(({ name }) => name)]),
    [
      ['Update', ['update_rms', 'rms_t']],
      ['Weight', ['weight_rms', 'weight_decay_ratio']],
      ['Moments', ['gradient_exp_avg_cosine', 'exp_avg_sq_root', 'epsilon_fraction']],
      ['Gradient', ['gradient_rms', 'dead_row_fraction']],
      ['State', ['nonfinite_count', 'state_step']],
    ],
  );
  assert.deepEqual(groupedStatistics([]), []);
});

test('a search finds names, labels and descriptions, word by word', () => {
  const found = (/** @type {string} */ text) => searchedStatistics([...all, statistic('x', 'share of ROWS')], text).map(({ name }) => name);
  assert.deepEqual(found('RMS weight'), ['weight_rms']);
  assert.deepEqual(found('rows of'), ['x']);
  assert.deepEqual(found('dead_row'), ['dead_row_fraction']);
  assert.equal(found('  ').length, all.length + 1);
  assert.deepEqual(found('no such thing'), []);
});

test('pictures, marks and gauges are explained', () => {
  for (const topic of /** @type {const} */ (['colours', 'comparison', 'shared', 'compass', 'gain']))
    assert.ok(textsOf(topic, '').every((text) => text.length > 40), topic);
  for (const quantity of ['update', 'gradient', 'exp_avg', 'exp_avg_sq']) assert.match(quantityText(quantity), /Healthy|Below/);
  assert.equal(quantityText('other'), '');
  assert.equal(textsOf('quantity', 'other').length, 1);
});
