// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { healthyRange, ratioEmphasis } from '../../frontend_static/chart/healthy_range.js';

const tensor = { name: 'w', shape: [4], dtype: 'float32', elements: 4, elements_read: 4 };
const optimizer = { optimizer: 'AdamW', options: {}, undefined: [], meanings: {}, storage: {} };
const RUN = {
  parameters: [
    { ...tensor, group: 0, kind: 'matrix' },
    { ...tensor, group: 1, kind: 'gain' },
    { ...tensor, group: 0, kind: '' },
    { ...tensor, group: 0 },
  ],
  groups: [
    { ...optimizer, healthy_ratios: /** @type {Record<string, [number, number]>} */ ({ matrix: [2e-4, 4e-2] }) },
    { ...optimizer, healthy_ratios: /** @type {Record<string, [number, number]>} */ ({ gain: [1e-5, 4e-3] }) },
  ],
};

test('the range is that of the kind of tensor and its group, or what the user wants', () => {
  const ranges = [0, 1, 2, 3, 9].map((parameter) => healthyRange(RUN, parameter, null));
  assert.deepEqual(ranges, [[2e-4, 4e-2], [1e-5, 4e-3], null, null, null]);
  assert.deepEqual(healthyRange(RUN, 2, [1e-6, 1]), [1e-6, 1]);
});

test('a ratio deserves a look outside of the range, and more than a look far above it', () => {
  const seen = [0, 1e-4, 2e-4, 4e-2, 5e-2, 0.3, NaN, Infinity].map((ratio) => ratioEmphasis(ratio, [2e-4, 4e-2]));
  assert.deepEqual(seen, ['', 'warm', '', '', 'warm', 'hot', 'hot', '']);
  assert.equal(ratioEmphasis(0.3, null), '');
});
