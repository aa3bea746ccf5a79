import assert from 'node:assert/strict';
import { test } from 'node:test';

import { AnswerCache, createApi, runRevision, ServerError } from '../../frontend_static/data/api.js';
import { pack } from './packing.js';

/** A server that gives one answer and remembers what it was asked. @param {() => Response} answer */
function serverWith(answer) {
  /** @type {string[]} */
  const asked = [];
  const api = createApi(async (url) => {
    asked.push(String(url));
    return answer();
  });
  return { api, asked };
}

const SERIES = pack({ run: 'r', parameter: 'a.weight', statistics: ['x', 'y'] }, [
  { name: 'step', dtype: 'float64', shape: [2], data: new Float64Array([1, 2]) },
  { name: 'wall_time', dtype: 'float64', shape: [2], data: new Float64Array([10, 20]) },
  { name: 'values', dtype: 'float32', shape: [2, 2], data: new Float32Array([1, 2, 3, 4]) },
]);

test('requests are relative, and names are encoded', async () => {
  const { api, asked } = serverWith(() => new Response(SERIES));
  await api.series('exp 1/ü&x', 'a.weight', '1');
  assert.deepEqual(asked, ['series?run=exp+1%2F%C3%BC%26x&parameter=a.weight']);
});

test('a series has its statistics by name', async () => {
  const { api } = serverWith(() => new Response(SERIES));
  const series = await api.series('r', 'a.weight', '1');
  assert.deepEqual([...series.statistics.y], [3, 4]);
  assert.deepEqual([...series.wall_time], [10, 20]);
});

test('an answer is fetched once a revision', async () => {
  const { api, asked } = serverWith(() => new Response(SERIES.slice(0)));
  await Promise.all([api.series('r', 'a', '1'), api.series('r', 'a', '1')]);
  await api.series('r', 'a', '1');
  assert.equal(asked.length, 1);
  await api.series('r', 'a', '2');
  assert.equal(asked.length, 2);
});

/** @param {number[]} steps @param {number} before how many came before them */
const grown = (steps, before) => {
  const extent = (/** @type {number} */ n) => ({ steps: n, wall_time: n });
  const header = { run: 'r', parameter: 'a', statistics: ['x'] };
  return pack({ ...header, earlier: extent(before), total: extent(before + steps.length) }, [
    { name: 'step', dtype: 'float64', shape: [steps.length], data: Float64Array.from(steps) },
    { name: 'wall_time', dtype: 'float64', shape: [steps.length], data: Float64Array.from(steps) },
    { name: 'values', dtype: 'float32', shape: [1, steps.length], data: Float32Array.from(steps) },
  ]);
};

test('of a run that goes on, only the new steps are fetched', async () => {
  const answers = [grown([1, 2], 0), grown([3], 2)];
  const { api, asked } = serverWith(() => new Response(answers.shift()));
  await api.series('r', 'a', '1');
  const series = await api.series('r', 'a', '2');
  assert.deepEqual([...series.statistics.x], [1, 2, 3]);
  assert.deepEqual(asked.slice(1), ['series?run=r&parameter=a&since=2']);
});

test('of a run that was started again, everything is fetched', async () => {
  const answers = [grown([1, 2], 0), grown([3], 1), grown([1, 2, 3], 0)];
  const { api, asked } = serverWith(() => new Response(answers.shift()));
  await api.series('r', 'a', '1');
  const series = await api.series('r', 'a', '2');
  assert.deepEqual([...series.step], [1, 2, 3]);
  assert.equal(asked.length, 3);
});

test('what is known outlives a failure, and grows afterwards', async () => {
  const answers = [new Response(grown([1, 2], 0)), new Response('gone', { status: 503 }), new Response(grown([3], 2))];
  const { api } = serverWith(() => /** @type {Response} */ (answers.shift()));
  await api.series('r', 'a', '1');
  await assert.rejects(api.series('r', 'a', '2'));
  const series = await api.series('r', 'a', '2');
  assert.deepEqual([...series.step], [1, 2, 3]);
});

test('large answers make room for each other, the newest stays', async () => {
  /** @type {string[]} */
  const loaded = [];
  const load = async (/** @type {string} */ url) => {
    loaded.push(url);
    return url;
  };
  const cache = new AnswerCache(load, 10, 100, (url) => (url === 'huge' ? 500 : 40));
  for (const url of ['a', 'b', 'a', 'c']) await cache.get(url, '1');
  await cache.get('a', '1');
  assert.deepEqual(loaded, ['a', 'b', 'c'], 'a was used later than b');
  await cache.get('b', '1');
  await cache.get('huge', '1');
  await cache.get('huge', '1');
  assert.deepEqual(loaded, ['a', 'b', 'c', 'b', 'huge']);
});

test("an error is the server's own sentence, and is not remembered", async () => {
  let fail = true;
  const { api } = serverWith(() =>
    fail ? new Response('no run "r"; there are: a, b\n', { status: 404 }) : new Response(SERIES),
  );
  await assert.rejects(api.series('r', 'a', '1'), new ServerError('no run "r"; there are: a, b', 404));
  fail = false;
  assert.equal((await api.series('r', 'a', '1')).run, 'r');
});

test('a page of HTML is not shown as an error text', async () => {
  const { api } = serverWith(
    () => new Response('<!doctype html>…', { status: 502, statusText: 'Bad Gateway' }),
  );
  await assert.rejects(api.summary(), { message: '502 Bad Gateway' });
});

test('who still wants an answer gets it although another has given it up', async () => {
  let loads = 0;
  const cache = new AnswerCache(async (_url, signal) => {
    loads++;
    await new Promise((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
    return loads;
  }, 4);
  const first = new AbortController();
  const given = cache.get('u', '1', first.signal);
  const wanted = cache.get('u', '1', new AbortController().signal);
  first.abort();
  await assert.rejects(given, { name: 'AbortError' });
  assert.equal(await wanted, 2);
});

test('what has been unused for longest is forgotten first', async () => {
  /** @type {string[]} */
  const loads = [];
  const cache = new AnswerCache(async (url) => loads.push(url), 2);
  for (const url of ['a', 'b', 'a', 'c', 'a', 'b']) await cache.get(url, '1');
  assert.deepEqual(loads, ['a', 'b', 'c', 'b']);
});

test('a run that has stopped keeps its revision while others grow', () => {
  /** @type {any} */
  const run = { last_step: 10, last_wall_time: 1000, scalars: [] };
  /** @type {(revision: string) => any} */
  const summary = (revision) => ({ revision, runs: [run] });
  assert.equal(runRevision(summary('1'), run, 2000), runRevision(summary('2'), run, 2000));
  assert.notEqual(runRevision(summary('1'), run, 1100), runRevision(summary('2'), run, 1100));
  const grown = { ...run, last_step: 11 };
  assert.notEqual(runRevision(summary('1'), run, 2000), runRevision(summary('1'), grown, 2000));
});
