import assert from 'node:assert/strict';
import { test } from 'node:test';

import { marksOf } from '../../frontend_static/chart/jump_marks.js';

test('a mark says that it is about the gradient of its tensor alone', () => {
  const jump = (/** @type {number} */ factor, /** @type {number} */ value) => ({ parameter: 0, from: 3, step: 3, wallTime: 9, value, factor });
  const view = /** @type {import('../../frontend_static/chart/heatmap_values.js').View} */ (
    /** @type {unknown} */ ({
      axis: 'step',
      start: 0,
      against: null,
      overview: { statistic: 'update_to_weight_ratio' },
      run: { parameters: [{ name: 'fc.weight' }] },
      jumps: [jump(4600, 2), jump(Infinity, NaN)],
    })
  );
  const marks = marksOf(view);
  assert.deepEqual(
    marks.map(({ text, x, name, value }) => ({ text, x, name, value })),
    [
      { text: 'own gradient ×4600', x: 3, name: 'fc.weight', value: undefined },
      { text: 'own gradient NaN', x: 3, name: 'fc.weight', value: undefined },
    ],
  );
});
