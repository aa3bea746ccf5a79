import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { gzipSync } from 'node:zlib';

import { h, html } from '../../frontend_static/vendor/preact.js';

const folder = new URL('../../frontend_static/vendor/', import.meta.url);
const read = (/** @type {string} */ name) => readFileSync(new URL(name, folder));
const documented = new Map(
  [
    ...read('README.md')
      .toString()
      .matchAll(/^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$/gm),
  ].map(([, name, hash]) => [name, hash]),
);
const copied = readdirSync(folder).filter((name) => name.endsWith('.js'));

test('every vendored file is the one that the README names', () => {
  assert.deepEqual([...documented.keys()].sort(), copied.sort());
  for (const name of copied)
    assert.equal(createHash('sha256').update(read(name)).digest('hex'), documented.get(name), name);
});

test('the licence of every vendored project is here', () => {
  const licences = read('LICENSES.md').toString();
  for (const words of [
    'Jason Miller',
    'Apache License',
    'Fabio Crameri',
    'WITHOUT WARRANTY OF ANY KIND',
  ])
    assert.ok(licences.includes(words), words);
});

test('vendored code needs neither eval nor the network, and stays small', () => {
  const scripts = copied.filter((name) => name.endsWith('.js'));
  for (const name of scripts)
    assert.doesNotMatch(
      read(name).toString(),
      /\beval\(|new Function|\bimport\b[^;]*from|https?:\/\/(?!www\.w3\.org)/,
      name,
    );
  assert.ok(read('preact.js').length <= 20_000);
  assert.ok(scripts.reduce((bytes, name) => bytes + gzipSync(read(name)).length, 0) < 10_000);
});

test('markup and components come from the same Preact', () => {
  const Row = () => null;
  const node = html`<${Row} label="a"><b>1</b></${Row}>`;
  assert.equal(node.type, Row);
  assert.equal(node.props.label, 'a');
  assert.deepEqual(Object.keys(node).sort(), Object.keys(h(Row, null)).sort());
});
