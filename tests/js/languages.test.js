import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

import { createApi } from '../../frontend_static/data/api.js';
import { language, LANGUAGES, paragraph, plural, speak, t, wantedLanguage } from '../../frontend_static/host/language.js';
import { wantedLanguage as wantedAtFirst } from '../../frontend_static/index.js';
import { textsIn, textsOfTab } from './texts_of_tab.js';

/** @param {string} language @returns {[string, string][]} in the order of the file */
function entriesOf(language) {
  const text = readFileSync(new URL(`../../frontend_static/languages/${language}.json`, import.meta.url), 'utf8');
  const lines = text.split('\n').filter((line) => line.includes('": "'));
  return lines.map((line) => /** @type {[string, string]} */ (Object.entries(JSON.parse(`{${line.replace(/,$/, '')}}`))[0]));
}

/** @param {string} text @returns {string[]} */
const gapsOf = (text) => [...new Set(text.match(/\{\w+\}/g))].sort();

const said = textsOfTab();
const texts = new Set([...said.values()].flat());

test('every text of the tab is a literal', () => {
  assert.ok(texts.size > 100, 'they are found');
  const others = [...said].filter(([, found]) => found.includes(null)).map(([path]) => path);
  assert.deepEqual(others, []);
});

for (const language of LANGUAGES.filter((name) => name !== 'en')) {
  const entries = entriesOf(language);
  const keys = entries.map(([english]) => english);

  test(`${language}: the catalogue lacks no text and has no other`, () => {
    const known = new Set(keys);
    assert.deepEqual([...texts].filter((text) => !known.has(String(text))), []);
    assert.deepEqual(keys.filter((key) => !texts.has(key)), []);
  });

  test(`${language}: translations have the gaps of their texts`, () => {
    const wrong = entries.filter(([english, other]) => String(gapsOf(english)) !== String(gapsOf(other)));
    assert.deepEqual(wrong, []);
    assert.deepEqual(entries.filter(([, other]) => !other.trim()), []);
  });

  test(`${language}: the catalogue is sorted and has each text once`, () => {
    const byCodePoint = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    assert.deepEqual(keys, byCodePoint);
    assert.equal(new Set(keys).size, keys.length);
  });
}

test('zh: a space lies between Chinese and Latin letters or digits', () => {
  const glued = entriesOf('zh').filter(([, other]) => /[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9][\u4e00-\u9fff]/.test(other));
  assert.deepEqual(glued, []);
});

test('texts are found wherever they stand, and what is no literal too', () => {
  const source = [
    "t('one'); x.t('not ours'); const at(1);",
    "// t('a comment')",
    "html`<p title=${t('two, {gap}', { gap })}>${t(\"it's\")}</p>`",
    "plural(f(a, [b, c]), '{count} thing', '{count} things', { count });",
    "plural(\n  n,\n  'one line',\n  'two lines',\n)",
    't(name); t(`with ${gap}`); t(`without`);',
    "plural(n, one, 'many');",
    "t(a ? 'b' : 'c')",
    "t('glued ' + name)",
  ].join('\n');
  assert.deepEqual(textsIn(source), [
    ...['one', 'two, {gap}', "it's", '{count} thing', '{count} things', 'one line', 'two lines'],
    ...[null, null, 'without', null, null, null],
  ]);
});

test('the first request is in the language that the tab then speaks', () => {
  const cases = [['zh-CN', 'zh', 'en'], ['zh_TW'], ['ZH'], ['en-GB', 'zh'], ['de', 'zh'], ['zha'], []];
  const answers = cases.map((languages) => {
    Object.defineProperty(globalThis, 'navigator', { value: { languages }, configurable: true });
    return ['', 'en', 'zh', 'tlh'].map((chosen) => {
      Object.defineProperty(globalThis, 'localStorage', { value: { getItem: () => chosen }, configurable: true });
      assert.equal(wantedAtFirst(), wantedLanguage(), `${languages} ${chosen}`);
      return wantedLanguage();
    });
  });
  assert.deepEqual(answers, [
    ...[['zh', 'en', 'zh', 'zh'], ['zh', 'en', 'zh', 'zh'], ['zh', 'en', 'zh', 'zh']],
    ...[['en', 'en', 'zh', 'en'], ['en', 'en', 'zh', 'en'], ['en', 'en', 'zh', 'en'], ['en', 'en', 'zh', 'en']],
  ]);
});

test('the tab speaks what its catalogue holds, and English where it cannot be had', async () => {
  const catalogue = () => Promise.resolve(new Response(JSON.stringify({ '{count} steps of {run}': '{run} 的 {count} 步' })));
  await speak('zh', catalogue());
  assert.equal(language(), 'zh');
  assert.equal(t('{count} steps of {run}', { count: 3, run: '{run}' }), '{run} 的 3 步');
  assert.equal(plural(1, '{count} step', '{count} steps of {run}', { count: 1, run: 'a' }), '1 step');
  assert.equal(paragraph(['一。', null, false, '', '二。']), '一。二。');
  for (const none of [Promise.resolve(new Response('', { status: 404 })), Promise.reject(new Error('gone'))]) {
    await speak('zh', none);
    assert.equal(language(), 'en');
    assert.equal(t('{count} steps of {run}', { count: 3, run: 'a' }), '3 steps of a');
    assert.equal(paragraph(['One.', null, 'Two.']), 'One. Two.');
  }
});

test('of two languages the one that was chosen last is spoken, whichever catalogue comes first', async () => {
  /** @type {(response: Response) => void} */
  let answer = () => {};
  const first = speak('zh', new Promise((resolve) => (answer = resolve)));
  await speak('en');
  answer(new Response('{}'));
  await first;
  assert.equal(language(), 'en');
});

test('answers with texts are asked for in the language of the tab, and in English without saying so', async () => {
  /** @type {string[]} */
  const asked = [];
  const api = createApi(async (url) => {
    asked.push(String(url));
    return new Response(JSON.stringify({ findings: [] }));
  });
  const ask = async () => {
    await api.summary();
    await api.findings('a/b');
    await api.revision();
  };
  await ask();
  await speak('zh', Promise.resolve(new Response('{}')));
  await ask();
  await speak('en');
  assert.deepEqual(asked, [
    ...['summary', 'findings?run=a%2Fb', 'revision'],
    ...['summary?lang=zh', 'findings?run=a%2Fb&lang=zh', 'revision'],
  ]);
});
