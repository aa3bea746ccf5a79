import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import test from 'node:test';

/** As in Python, whose limits tests/project/test_lengths.py holds. */
const MOST_LINES = 60;
const TAB = new URL('../../frontend_static/', import.meta.url);

/**
 * The functions and methods of modules, as the engine itself parses them. What stands within a function that
 * nobody has called is not among them, but cannot be longer than it.
 * @param {string[]} urls
 * @returns {Promise<{url: string, name: string, lines: number}[]>}
 */
async function functionsOf(urls) {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: false });
  for (const url of urls) await import(url);
  const { result } = await session.post('Profiler.takePreciseCoverage');
  session.disconnect();
  const modules = result.filter(({ url }) => urls.includes(url));
  assert.equal(modules.length, urls.length); // each of them was parsed
  return modules.flatMap(({ url, functions }) => {
    const source = url.startsWith('data:')
      ? decodeURIComponent(url.slice(url.indexOf(',') + 1))
      : readFileSync(new URL(url), 'utf8');
    const [, ...within] = functions; // the first is the module
    return within.map(({ functionName: name, ranges: [{ startOffset, endOffset }] }) => ({
      url,
      name,
      lines: source.slice(startOffset, endOffset).split('\n').length,
    }));
  });
}

test('no function of the tab is too long to be read', async () => {
  const scripts = readdirSync(TAB, { recursive: true })
    .map(String)
    .filter((path) => path.endsWith('.js') && !path.startsWith('vendor'))
    .map((path) => new URL(path, TAB).href);
  const found = await functionsOf(scripts);
  const long = found.filter(({ lines }) => lines > MOST_LINES);
  assert.deepEqual(
    long.map(({ url, name, lines }) => `${url.slice(TAB.href.length)}: ${name}, ${lines} lines`),
    [],
  );
});

test('every kind of function is measured, called or not', async () => {
  const body = '{\n'.concat('  1;\n'.repeat(MOST_LINES), '}');
  const source = [
    `export function declared() ${body}`,
    `export async function later() ${body}`,
    `export const arrow = () => ${body};`,
    `export const held = { method() ${body}, field: function () ${body} };`,
    `export class Kept { method() ${body} get value() ${body} static made() ${body} }`,
    `export const text = \`}\${'{'} /* \`; export const after = () => ${body};`,
  ].join('\n');
  const found = await functionsOf([`data:text/javascript,${encodeURIComponent(source)}`]);
  assert.deepEqual(
    found.filter(({ lines }) => lines === MOST_LINES + 2).map(({ name }) => name),
    ['declared', 'later', 'arrow', 'method', 'field', 'method', 'get value', 'made', 'after'],
  );
});
