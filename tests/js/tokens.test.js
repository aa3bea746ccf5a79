import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

import { contrast } from './contrast.js';

const css = readFileSync(new URL('../../frontend_static/style/tokens.css', import.meta.url), 'utf8');
const [lightBlock, darkBlock] = css.split(':root.dark');
const variables = (/** @type {string} */ text) =>
  Object.fromEntries([...text.matchAll(/(--[\w-]+):\s*([^;]+);/g)].map(([, name, value]) => [name, value]));
const light = variables(lightBlock);
const themes = { light, dark: { ...light, ...variables(darkBlock) } };

for (const [theme, colors] of Object.entries(themes)) {
  for (const name of [
    '--text',
    '--text-2',
    '--text-3',
    '--accent-text',
    '--link',
    '--critical',
    '--warning',
    '--info',
    '--good',
  ]) {
    test(`${theme}: ${name} is readable on cards`, () => {
      for (const ground of ['--surface', '--surface-2', '--page']) {
        const found = contrast(colors[name], colors[ground]);
        assert.ok(found >= 4.5, `${colors[name]} on ${ground} ${colors[ground]}: ${found.toFixed(2)}`);
      }
    });
  }

  for (const name of ['--nan', '--cursor', '--focus']) {
    test(`${theme}: ${name} is visible on cards`, () =>
      assert.ok(contrast(colors[name], colors['--surface']) >= 3));
  }

  test(`${theme}: severities are readable on their soft ground, the step label on its pill`, () => {
    for (const name of ['--critical', '--warning', '--info'])
      assert.ok(contrast(colors[name], colors[`${name}-soft`]) >= 4.5, name);
    assert.ok(contrast(colors['--fob-text'], colors['--fob']) >= 4.5);
  });
}

test('nothing is fetched from elsewhere', () => {
  assert.doesNotMatch(css, /@font-face|@import|url\((?!"data:)/);
});
