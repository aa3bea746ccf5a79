import assert from 'node:assert/strict';
import test from 'node:test';

import {
  cssOf,
  densityColors,
  mix,
  packRgb,
  parseHex,
  ratioColors,
  ratioPosition,
  runColor,
  RUN_COLORS,
  runDash,
  sequentialColors,
  toOkLab,
  unpackRgb,
} from '../../frontend_static/chart/colormap.js';
import { contrast } from './contrast.js';

/** @typedef {[number, number, number]} Rgb */

const CARDS = { light: '#ffffff', dark: '#303030' };
const lightness = (/** @type {number} */ packed) => toOkLab(unpackRgb(packed))[0];
/** One step of one 8-bit channel changes the lightness by up to 0.003. */
const ROUNDING = 0.003;
const isMonotone = (/** @type {number[]} */ values, /** @type {number} */ sign) =>
  values.every((v, i) => values.slice(0, i).every((earlier) => sign * (v - earlier) >= -ROUNDING));

test('the ratio scale is centred on exactly 1e-3', () => {
  assert.equal(ratioPosition(-3), 0.5);
  assert.equal(ratioPosition(-6), 0);
  assert.equal(ratioPosition(-0.5), 1);
  assert.equal(ratioPosition(-Infinity), 0);
  assert.equal(ratioPosition(Infinity), 1);
});

for (const theme of /** @type {const} */ (['light', 'dark'])) {
  test(`${theme}: the ratio scale changes lightness steadily on either side of its quiet centre`, () => {
    const all = [...ratioColors(theme)].map(lightness);
    assert.equal(all.length, 512);
    const outwards = theme === 'light' ? -1 : 1;
    assert.ok(isMonotone(all.slice(0, 256).reverse(), outwards), 'low arm');
    assert.ok(isMonotone(all.slice(256), outwards), 'high arm');
    const card = toOkLab(parseHex(CARDS[theme]))[0];
    const nearest = all.reduce(
      (best, v, i) => (Math.abs(v - card) < Math.abs(all[best] - card) ? i : best),
      0,
    );
    assert.ok(Math.abs(nearest - 255.5) < 24, `the colour nearest to the card is number ${nearest}`);
  });

  test(`${theme}: the ratio scale is blue below the centre and red above`, () => {
    const colors = ratioColors(theme);
    const [low, high] = [unpackRgb(colors[100]), unpackRgb(colors[411])];
    assert.ok(low[2] > low[0] && high[0] > high[2]);
  });

  test(`${theme}: one-sided scales start at the card and move away from it`, () => {
    const outwards = theme === 'light' ? -1 : 1;
    for (const colors of [
      sequentialColors(theme),
      ...RUN_COLORS[theme].map((run) => densityColors(CARDS[theme], run, theme)),
    ]) {
      assert.equal(colors.length, 256);
      assert.ok(isMonotone([...colors].map(lightness), outwards));
      assert.ok(contrast(cssToHex(colors[0]), CARDS[theme]) < 1.2);
      assert.ok(contrast(cssToHex(colors[255]), CARDS[theme]) > 4.5);
    }
  });

  test(`${theme}: a density map passes through the colour of its run`, () => {
    const run = runColor(0, theme);
    const distances = [...densityColors(CARDS[theme], run, theme)].map((packed) =>
      distance(unpackRgb(packed), parseHex(run)),
    );
    assert.ok(Math.min(...distances) <= 3);
  });

  test(`${theme}: every run colour stands out from the card`, () => {
    for (const color of RUN_COLORS[theme])
      assert.ok(contrast(color, CARDS[theme]) >= 3, `${color}: ${contrast(color, CARDS[theme]).toFixed(2)}`);
  });
}

test('the first 28 runs differ in colour or dashes', () => {
  const looks = Array.from({ length: 28 }, (_, i) => `${runColor(i, 'light')} ${runDash(i)}`);
  assert.equal(new Set(looks).size, looks.length);
  assert.deepEqual([0, 1, 2].map(runDash), [undefined, undefined, undefined]);
});

test('colours survive packing', () => {
  assert.deepEqual(unpackRgb(packRgb([18, 181, 203])), [18, 181, 203]);
  assert.equal(cssOf(packRgb([18, 181, 203])), 'rgb(18 181 203)');
  assert.deepEqual(parseHex('#fff'), [255, 255, 255]);
  assert.throws(() => parseHex('rgb(1 2 3)'), /expected a colour like #12b5cb/);
});

test('mixing starts and ends at its colours', () => {
  assert.deepEqual(mix([10, 20, 30], [200, 100, 50], 0), [10, 20, 30]);
  assert.deepEqual(mix([10, 20, 30], [200, 100, 50], 1), [200, 100, 50]);
});

/** @param {number} packed */
function cssToHex(packed) {
  return `#${unpackRgb(packed)
    .map((v) => v.toString(16).padStart(2, '0'))
    .join('')}`;
}

/** @param {Rgb} a @param {Rgb} b */
function distance(a, b) {
  return Math.max(...a.map((v, i) => Math.abs(v - b[i])));
}
