import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  allModules,
  buildTree,
  modulesAround,
  modulesOpenAtFirst,
  rankedRows,
  rowOfParameter,
  treeRows,
} from '../../frontend_static/view/overview/tree_rows.js';

const CNN = ['conv1.weight', 'conv1.bias', 'fc.weight', 'fc.bias'];
const BLOCK = [
  'ln_1.weight',
  'ln_1.bias',
  'attn.qkv.weight',
  'attn.qkv.bias',
  'attn.proj.weight',
  'attn.proj.bias',
];
const GPT = [
  'wte.weight',
  ...[0, 1, 10].flatMap((i) => BLOCK.map((name) => `h.${i}.${name}`)),
  'ln_f.weight',
  'ln_f.bias',
];

const labels = (/** @type {string[]} */ names, /** @type {Set<string>} */ open = new Set()) =>
  treeRows(buildTree(names), open, 10).map((row) => `${'  '.repeat(row.depth)}${row.label}`);

test('layers of a few tensors are not rows of their own', () => {
  assert.deepEqual(labels(CNN), CNN);
});

test('numbered blocks take the place of the list that holds them', () => {
  assert.deepEqual(labels(GPT), ['wte.weight', 'h.0', 'h.1', 'h.10', 'ln_f.weight', 'ln_f.bias']);
  assert.deepEqual(labels([...GPT, 'h.11.scale']).slice(3, 5), ['h.10', 'h.11.scale']);
});

test('an open module shows its children by what is left of their names', () => {
  assert.deepEqual(labels(GPT, new Set(['h.1', 'h.1.attn'])), [
    'wte.weight',
    'h.0',
    'h.1',
    '  ln_1.weight',
    '  ln_1.bias',
    '  attn',
    '    qkv.weight',
    '    qkv.bias',
    '    proj.weight',
    '    proj.bias',
    'h.10',
    'ln_f.weight',
    'ln_f.bias',
  ]);
});

test('what all names start with is left out', () => {
  const names = BLOCK.map((name) => `module.model.${name}`);
  assert.deepEqual(labels(names), ['ln_1.weight', 'ln_1.bias', 'attn']);
  assert.deepEqual(labels(['net.0.weight', 'net.2.weight']), ['net.0.weight', 'net.2.weight']);
  assert.deepEqual(labels(['net.fc.weight']), ['net.fc.weight']);
});

test('modules with one child are shown together with it', () => {
  const names = ['head.bias', ...BLOCK.map((name) => `encoder.only.${name}`)];
  assert.deepEqual(labels(names), ['head.bias', 'encoder.only']);
});

test('a folded module holds every tensor below it', () => {
  const row = treeRows(buildTree(GPT), new Set(), 10)[1];
  assert.deepEqual([row.kind, row.parameters], ['module', [1, 2, 3, 4, 5, 6]]);
});

for (const names of [
  [],
  ['weight'],
  ['0.weight', '0.bias', '2.weight', '2.bias'],
  Array.from({ length: 1000 }, (_, i) => `parameter_${i}`),
  ['a.b', 'a.b.c', 'a.b.c.d', 'a'],
  ['..', '.', 'x.', '.x', 'x..y'],
  Array.from({ length: 60 }, (_, i) => `layers.${i % 6}.experts.${i % 10}.w${i}.weight`),
]) {
  test(`every tensor has one place, and one row when all is open: ${names[0] ?? 'none'} … (${names.length})`, () => {
    const tree = buildTree(names);
    const rows = treeRows(tree, allModules(tree), 10);
    const tensors = rows.filter((row) => row.kind === 'tensor');
    assert.deepEqual(tensors.map((row) => row.key).sort(), [...names].sort());
    assert.equal(new Set(rows.map((row) => row.key + row.kind)).size, rows.length);
    names.forEach((name, index) => assert.equal(rowOfParameter(rows, index)?.key, name));
    const folded = treeRows(tree, new Set(), 10).flatMap((row) => row.parameters);
    assert.deepEqual(
      folded.sort((a, b) => a - b),
      names.map((_, index) => index),
    );
  });
}

test('rows follow each other without a gap', () => {
  const tree = buildTree(GPT);
  treeRows(tree, allModules(tree), 14).forEach((row, i) =>
    assert.deepEqual([row.y, row.height], [14 * i, 14]),
  );
});

test('what does not pass the filter is not in the tree', () => {
  const tree = buildTree(GPT, (index) => GPT[index].includes('attn.qkv'));
  assert.deepEqual(
    tree.parameters.map((index) => GPT[index]),
    GPT.filter((name) => name.includes('attn.qkv')),
  );
});

test('at first as many levels are open as fit', () => {
  const tree = buildTree(GPT);
  assert.deepEqual([...modulesOpenAtFirst(tree, 6)], []);
  assert.deepEqual([...modulesOpenAtFirst(tree, 15)], ['h.0', 'h.1', 'h.10']);
  assert.deepEqual(modulesOpenAtFirst(tree, 100), allModules(tree));
});

test('a module that holds all layers is opened, however many it has', () => {
  const layers = Array.from({ length: 80 }, (_, i) => BLOCK.map((name) => `model.layers.${i}.${name}`)).flat();
  const tree = buildTree(['model.embed_tokens.weight', ...layers, 'model.norm.weight', 'lm_head.weight']);
  assert.deepEqual([...modulesOpenAtFirst(tree)], ['model']);
});

test('the modules around a tensor are named from the outside in', () => {
  const tree = buildTree(GPT);
  assert.deepEqual(modulesAround(tree, GPT.indexOf('h.10.attn.proj.bias')), ['h.10', 'h.10.attn']);
  assert.deepEqual(modulesAround(tree, 0), []);
});

test('rows in order of a rank have no modules, and names without what all start with', () => {
  const names = ['m.a.weight', 'm.a.bias', 'm.b.weight', 'm.b.bias'];
  const rows = rankedRows(buildTree(names), [1, Infinity, 5, -1], 10);
  assert.deepEqual(
    rows.map(({ label, y, kind }) => [label, y, kind]),
    [
      ['a.bias', 0, 'tensor'],
      ['b.weight', 10, 'tensor'],
      ['a.weight', 20, 'tensor'],
      ['b.bias', 30, 'tensor'],
    ],
  );
});
