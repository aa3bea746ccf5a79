import assert from 'node:assert/strict';
import { test } from 'node:test';

import { readLink, writeLink } from '../../frontend_static/host/links.js';

/** @type {import('../../frontend_static/host/links.js').Link} */
const LINK = {
  run: 'exp=1/adam_debug & co',
  runs: ['a,b', 'ü/%25', ''],
  tensor: 'h.7.mlp.c_proj.weight',
  step: 3650,
  metric: 'gradient_rms',
  axis: 'wall',
  open: ['h.7', 'h.7.mlp'],
  reference: 'a,b=c',
  against: true,
  pins: ['h.0.weight', 'ü,%'],
  filter: 'attn.*(weight|bias)$ & =',
  range: { from: 120, to: 480.25 },
  order: 'anomaly',
  finding: 'spike/h.7/3650',
  compare: true,
  strip: 'tag loss/train',
};

test('a link restores what it was made from', () => {
  assert.deepEqual(readLink(writeLink('', LINK)), LINK);
});

test('a link survives the host, which decodes and encodes every value again', () => {
  const [tab, ...tokens] = writeLink('#adam_debug', LINK).slice(1).split('&');
  const encoded = tokens.map((token) => {
    const [key, value, ...more] = token.split('=');
    assert.deepEqual(more, [], 'the host drops a value with a second "="');
    return `${key}=${encodeURIComponent(decodeURIComponent(value))}`;
  });
  assert.deepEqual(readLink([tab, ...encoded].join('&')), LINK);
});

test('nothing checked and nothing open is not the same as the default', () => {
  const link = readLink(writeLink('', { runs: [], open: [] }));
  assert.deepEqual(link, { runs: [], open: [] });
});

test('what is undefined is left out', () => {
  assert.equal(writeLink('#adam_debug', { run: undefined, step: 7 }), '#adam_debug&p.adam_debug.step=7');
});

test("the host's own part of the address stays as it is", () => {
  const hash = '#adam_debug&tagFilter=a%3Db&p.other.run=x&p.adam_debug.step=1';
  assert.equal(writeLink(hash, { step: 2 }), '#adam_debug&tagFilter=a%3Db&p.other.run=x&p.adam_debug.step=2');
});

test('an empty address opens this tab', () => {
  assert.equal(writeLink('', { axis: 'wall' }), '#adam_debug&p.adam_debug.axis=wall');
});

test('what is unknown or malformed is ignored', () => {
  const hash =
    '#adam_debug&p.adam_debug.step=-3&p.adam_debug.axis=sideways&p.adam_debug.nonsense=x&p.adam_debug.range=9,3' +
    '&p.adam_debug.against=yes&p.adam_debug.order=up' +
    '&p.adam_debug.tensor=%E0%A4%A&p.adam_debug.run&p.adam_debug.__proto__=x&p.adam_debug.metric=';
  assert.deepEqual(readLink(hash), {});
});
