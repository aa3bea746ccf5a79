import assert from 'node:assert/strict';
import { test } from 'node:test';

import { escapeXml } from '../../frontend_static/save/svg_context.js';
import { histogramTable, overviewTable, toCsv } from '../../frontend_static/save/tables.js';
import { readLink, writeLink } from '../../frontend_static/host/links.js';
import { toMarkdown } from '../../frontend_static/view/run/findings.js';

const HOSTILE = [
  '<img src=x onerror=alert(1)>',
  '"><script>alert(1)</script>',
  "' onmouseover='alert(1)",
  'a`b``c ](javascript:alert(1))',
  '=HYPERLINK("http://x","y")',
  '+1+cmd|/C calc!A0',
  '-2+3',
  '@SUM(A1)',
  '\t=1',
  '\r=1',
  'line\nbreak, "quoted"',
  '\x1b[31m\0\x07',
  '\ud800 alone',
  '__proto__',
  'constructor',
  '../../etc/passwd',
  '&run=other#fragment?x=%00',
];

test('a table has no formula in place of a name', () => {
  for (const name of HOSTILE) {
    const text = toCsv([['run', 'value'], [name, -2.5]]);
    const field = text.slice('run,value\r\n'.length).replace(/^"/, '');
    assert.doesNotMatch(field, /^[=+\-@\t\r]/, JSON.stringify(name));
    assert.ok(text.endsWith(',-2.5\r\n'), 'a negative number stays a number');
  }
  assert.equal(toCsv([['=1', '+1', '-1', '@1', 'a=1', '-inf']]), "'=1,'+1,'-1,'@1,a=1,-inf\r\n");
});

test('infinities keep their names in the table of histograms', () => {
  const histogram = {
    quantity: 'update',
    step: [7],
    bins: 1,
    counts: [0],
    edges: [0, 1],
    special: [0, 0, 3, 0, 0],
  };
  const text = histogramTable([/** @type {any} */ ({ run: { name: '=run' }, histogram })]);
  assert.equal(text.split('\r\n')[1], "'=run,update,7,-inf,-inf,3");
});

test('names in the table of the overview are text', () => {
  const run = { name: '@run', parameters: HOSTILE.map((name) => ({ name })) };
  const overview = { columns: 1, first_step: [1], last_step: [4], values: HOSTILE.map(() => -0.5), logged: null };
  const rows = [{ open: false, parameters: HOSTILE.map((_, i) => i) }];
  const view = { overview, xs: [4], range: { from: 0, to: 9 }, run, metric: { name: 'update_rms' }, against: null };
  const text = overviewTable(/** @type {any} */ (view), /** @type {any} */ (rows));
  assert.ok(text.startsWith('run,statistic,parameter,1-4\r\n'));
  assert.ok(text.includes(`'@run,update_rms,"'=HYPERLINK(""http://x"",""y"")",-0.5`));
});

test('a drawing has no element and no character that XML does not know', () => {
  for (const name of HOSTILE) {
    const escaped = escapeXml(name);
    assert.doesNotMatch(escaped, /[<>"\0-\x08\x0b\x0c\x0e-\x1f]|&(?!(amp|lt|gt|quot);)/, JSON.stringify(name));
    assert.doesNotMatch(escaped, /\p{Surrogate}/u);
  }
  assert.equal(escapeXml('\ud800 \u{1f600} \x1b[m \ufffe'), '\ufffd \u{1f600} \ufffd[m \ufffd');
});

test('nothing in a finding is Markdown or HTML, wherever its names stand', () => {
  for (const name of HOSTILE) {
    const finding = {
      severity: 'error',
      title: 'Updates too large',
      text: `${name} jumped`,
      advice: `Look at ${name}`,
      parameters: [name],
      from: 1,
      to: 2,
      run: name,
    };
    const markdown = toMarkdown(/** @type {any} */ (finding), 'http://host/#a=(b)');
    const lines = markdown.split('\n');
    assert.equal(lines.length, 10, 'a name begins no line');
    const [why, advice] = [lines[5], lines[6]];
    for (const line of [why, advice]) assert.doesNotMatch(line, /(^|[^\\])[`<>[\]*_]/, line);
    // The code ends with the line: the fence is in the name nowhere.
    for (const line of [lines[2], lines[3]]) {
      const [, fence, inner] = /** @type {RegExpExecArray} */ (/^- \w+: (`+)(.*)\1$/.exec(line));
      assert.ok(!inner.includes(fence), line);
    }
    assert.equal(lines[8], '[Open in TensorBoard](http://host/#a=%28b%29)');
  }
});

test('names go through a link unharmed and change no other key', () => {
  assert.equal(readLink(writeLink('', { run: '\ud800x' })).run, '\ufffdx');
  for (const name of HOSTILE.filter((name) => !name.includes('\ud800'))) {
    const hash = writeLink('#scalars&other=1', { run: name, runs: [name, 'b'], tensor: name, pins: [name] });
    assert.deepEqual(readLink(hash), { run: name, runs: [name, 'b'], tensor: name, pins: [name] });
    assert.ok(hash.startsWith('#scalars&other=1&p.adam_debug.run='));
    assert.doesNotMatch(hash.slice(1), /[#<>"\s]/);
  }
});
