// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Filters, isQuick } from '../../frontend_static/view/filters.js';

const NAMES = ['layers.0.weight', 'layers.0.bias', 'HEAD.weight'];

/** Answers when it is told to. */
class FakeWorker {
  constructor() {
    /** @type {{text: string, names: string[]}[]} */
    this.asked = [];
    this.isEnded = false;
    /** @type {(event: any) => void} */
    this.onmessage = () => {};
    this.onerror = () => {};
  }

  /** @param {any} question */
  postMessage(question) {
    this.asked.push(structuredClone(question));
  }

  answer() {
    const { text, names } = this.asked.at(-1) ?? { text: '', names: [] };
    this.onmessage({ data: { matched: names.map((name) => new RegExp(text, 'i').test(name)) } });
  }

  terminate() {
    this.isEnded = true;
  }
}

/** @param {number} [patience] */
function watched(patience) {
  /** @type {FakeWorker[]} */
  const workers = [];
  const filters = new Filters(() => {
    workers.push(new FakeWorker());
    return /** @type {any} */ (workers.at(-1));
  }, patience);
  let answers = 0;
  filters.subscribe(() => {
    answers += 1;
  });
  return { filters, workers, answers: () => answers };
}

/** @param {import('../../frontend_static/view/filters.js').Filter} filter */
const kept = (filter) => NAMES.filter(filter.matches);

test('an invalid filter matches everything and says why', () => {
  const filter = watched().filters.of('conv(', NAMES);
  assert.deepEqual(kept(filter), NAMES);
  assert.equal(filter.problem, 'invalid');
  assert.match(filter.detail, /Unterminated group/);
});

test('a quick expression is matched at once, without regard to case', () => {
  const { filters, workers } = watched();
  assert.deepEqual(kept(filters.of('head', NAMES)), ['HEAD.weight']);
  assert.deepEqual(kept(filters.of('layers.*bias', NAMES)), ['layers.0.bias']);
  assert.deepEqual(kept(filters.of('bias|head', NAMES)), NAMES.slice(1));
  assert.deepEqual(kept(filters.of('', NAMES)), NAMES);
  assert.equal(workers.length, 0);
});

test('whatever may be tried again and again is not quick', () => {
  const slow = ['(a+)+b', '(a|a)(a|a)', '.*.*x', 'a?a?', 'a{1,9}a{1,9}', '(a*)*', '(?=a+)b', '(.)\\1', '[a(]+'];
  for (const text of slow) assert.ok(!isQuick(text, NAMES), text);
  for (const text of ['weight', 'a.*b', '^a', '[ab]', 'a|b', '\\d\\w']) assert.ok(isQuick(text, NAMES), text);
  assert.ok(!isQuick('a.*b', ['x'.repeat(10_000)]), 'long names');
});

test('the worker is asked for names that are not known yet, and serves one question at a time', () => {
  const { filters, workers, answers } = watched();
  const first = filters.of('(bias|head)', NAMES.slice(0, 2));
  assert.ok(!first.isKnown);
  assert.deepEqual(kept(first), NAMES, 'all of them until it is known');
  filters.of('(w)eight', NAMES);
  assert.equal(workers.length, 1);
  const [worker] = workers;
  assert.equal(worker.asked.length, 1);
  worker.answer();
  assert.equal(worker.asked[1].text, '(w)eight');
  worker.answer();
  assert.equal(answers(), 2);
  assert.deepEqual(kept(filters.of('(w)eight', NAMES)), [NAMES[0], NAMES[2]]);
  assert.ok(!filters.of('(bias|head)', NAMES).isKnown);
  assert.deepEqual(worker.asked[2].names, [NAMES[2]]);
  worker.answer();
  assert.deepEqual(kept(filters.of('(bias|head)', NAMES)), NAMES.slice(1));
});

test('of what was typed only the last is asked after the one that is being answered', () => {
  const { filters, workers } = watched();
  for (let i = 0; i < 20; i += 1) filters.of(`(${i})`, NAMES);
  workers[0].answer();
  assert.deepEqual(
    workers[0].asked.map(({ text }) => text),
    ['(0)', '(19)'],
  );
});

test('what takes too long is matched as plain text, and its worker is ended', async () => {
  const { filters, workers, answers } = watched(5);
  const text = '(layers.)0';
  filters.of(text, [...NAMES, 'a(layers.)0b']);
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.ok(workers[0].isEnded);
  assert.equal(answers(), 1);
  const filter = filters.of(text, NAMES);
  assert.equal(filter.problem, 'slow');
  assert.equal(filters.problemOf(text).problem, 'slow');
  assert.ok(filter.matches('A(layers.)0b'));
  assert.ok(!filter.matches(NAMES[0]));
  filters.of('(w)', NAMES);
  assert.equal(workers.length, 2, 'others get a worker of their own');
});

test('without workers it is plain text', () => {
  const filters = new Filters(() => {
    throw new Error('forbidden');
  });
  filters.of('(w)eight', NAMES);
  assert.equal(filters.of('(w)eight', NAMES).problem, 'slow');
});

test('a worker that fails is plain text, too', () => {
  const { filters, workers } = watched();
  filters.of('(w)eight', NAMES);
  workers[0].onerror();
  assert.equal(filters.of('(w)eight', NAMES).problem, 'slow');
});
