import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parseInline, parseMarkdown } from '../../frontend_static/view/run/markdown.js';

test('stretches of a line are told apart', () => {
  assert.deepEqual(parseInline('a `b*c*` **d** *e* _f_ snake_case_name 2*3*4'), [
    { kind: 'text', text: 'a ' },
    { kind: 'code', text: 'b*c*' },
    { kind: 'text', text: ' ' },
    { kind: 'strong', text: 'd' },
    { kind: 'text', text: ' ' },
    { kind: 'emphasis', text: 'e' },
    { kind: 'text', text: ' ' },
    { kind: 'emphasis', text: 'f' },
    { kind: 'text', text: ' snake_case_name 2*3*4' },
  ]);
});

test('a link leads out of the tab by http alone', () => {
  assert.deepEqual(parseInline('[the `paper`](https://x/1)'), [{ kind: 'link', text: 'the paper', href: 'https://x/1' }]);
  for (const href of ['recipes.md#a', 'javascript:alert(1)', 'data:text/html,x', '//host/x'])
    assert.deepEqual(parseInline(`[name](${href})`), [{ kind: 'text', text: 'name' }], href);
});

test('HTML is text', () => {
  const [{ lines }] = parseMarkdown('<img src=x onerror=alert(1)> & &lt;');
  assert.deepEqual(lines, [[{ kind: 'text', text: '<img src=x onerror=alert(1)> & &lt;' }]]);
});

test('blocks are told apart', () => {
  const blocks = parseMarkdown(
    ['# Head', 'one', 'two', '', '- a', '  more', '- b', '', '1. c', '', '| x | y |', '|---|:-:|', '| 1 | a \\| b |', '', '```python', 'x = 1', '', '# no head', '```', 'end'].join('\n'),
  );
  assert.deepEqual(blocks.map(({ kind }) => kind), ['heading', 'paragraph', 'list', 'list', 'table', 'code', 'paragraph']);
  assert.equal(blocks[1].lines[0][0].text, 'one two');
  assert.deepEqual(blocks[2].lines.map(([{ text }]) => text), ['a more', 'b']);
  assert.deepEqual([blocks[2].ordered, blocks[3].ordered], [false, true]);
  assert.deepEqual(blocks[4].rows?.map((row) => row.map(([cell]) => cell.text)), [['x', 'y'], ['1', 'a | b']]);
  assert.equal(blocks[5].lines[0][0].text, 'x = 1\n\n# no head');
});

test('every text ends', () => {
  for (const text of ['', '```', '|', '- ', '#', '# ', '**', '[a](', '`', '\n\n', '> quote', '1)']) assert.ok(parseMarkdown(text), text);
});
