import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ServerError } from '../../frontend_static/data/api.js';
import { askAgain, describeAge, startPolling } from '../../frontend_static/data/live.js';

/** A clock that runs when it is told to. */
function manualClock() {
  /** @type {{callback: () => any, milliseconds: number}[]} */
  const waiting = [];
  return {
    waiting,
    schedule: (/** @type {() => any} */ callback, /** @type {number} */ milliseconds) =>
      waiting.push({ callback, milliseconds }),
    async tick() {
      await waiting.shift()?.callback();
    },
  };
}

test('polls every five seconds while the tab can be seen', async () => {
  const clock = manualClock();
  let visible = true;
  let polls = 0;
  startPolling({ poll: async () => void polls++, isVisible: () => visible, schedule: clock.schedule });
  assert.equal(polls, 0);
  await clock.tick();
  assert.equal(polls, 1);
  visible = false;
  await clock.tick();
  assert.equal(polls, 1);
  visible = true;
  await clock.tick();
  assert.equal(polls, 2);
  assert.deepEqual(
    clock.waiting.map(({ milliseconds }) => milliseconds),
    [5000],
  );
});

test('polls every second while there is nothing to show', () => {
  const clock = manualClock();
  startPolling({
    poll: async () => {},
    isVisible: () => true,
    isEmpty: () => true,
    schedule: clock.schedule,
  });
  assert.deepEqual(
    clock.waiting.map(({ milliseconds }) => milliseconds),
    [1000],
  );
});

test('a wish during a poll leads to one more poll, never to two at a time', async () => {
  let running = 0;
  let polls = 0;
  /** @type {(() => void)[]} */
  const finish = [];
  const polling = startPolling({
    poll: async () => {
      assert.equal(++running, 1);
      polls++;
      await new Promise((resolve) => finish.push(() => resolve(undefined)));
      running--;
    },
    isVisible: () => true,
    schedule: () => {},
  });
  const done = polling.now();
  polling.now();
  polling.now();
  assert.equal(polls, 1);
  finish.shift()?.();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(polls, 2);
  finish.shift()?.();
  await done;
  assert.equal(polls, 2);
});

test('after stopping nothing is asked for any more', async () => {
  const clock = manualClock();
  let polls = 0;
  const polling = startPolling({
    poll: async () => void polls++,
    isVisible: () => true,
    schedule: clock.schedule,
  });
  polling.stop();
  await clock.tick();
  await polling.now();
  assert.equal(polls, 0);
  assert.deepEqual(clock.waiting, []);
});

test('data of the last minute are live, older data tell their age', () => {
  const age = (/** @type {number} */ seconds) => describeAge(1000, 1000 + seconds);
  assert.deepEqual(age(4), { live: true, text: 'Live · 4 s ago' });
  assert.deepEqual(age(59.4), { live: true, text: 'Live · 59 s ago' });
  assert.deepEqual(age(60), { live: false, text: 'Last data 1 min ago' });
  assert.equal(age(7199).text, 'Last data 1 h ago');
  assert.equal(age(5 * 86400).text, 'Last data 5 days ago');
});

test('data from a clock that runs ahead are live, not from the future', () => {
  assert.equal(describeAge(1000, 990).text, 'Live · 0 s ago');
});

test('what the server lacks is asked for once more, unless nobody waits for it', async () => {
  const gone = new ServerError('no parameter "a"', 404);
  const asking = async (/** @type {unknown[]} */ answers, /** @type {(controller: AbortController) => void} */ meanwhile = () => {}) => {
    const controller = new AbortController();
    let asked = 0;
    const load = async () => {
      const answer = answers[asked++];
      if (answer instanceof Error) throw answer;
      return answer;
    };
    const answer = await askAgain(load, controller.signal, async () => meanwhile(controller)).catch((error) => error);
    return [answer, asked];
  };
  assert.deepEqual(await asking([7]), [7, 1]);
  assert.deepEqual(await asking([gone, 7]), [7, 2]);
  assert.deepEqual(await asking([gone, gone]), [gone, 2]);
  assert.deepEqual(await asking([gone, 7], (controller) => controller.abort()), [gone, 1]);
  const broken = new ServerError('broken', 500);
  assert.deepEqual(await asking([broken, 7]), [broken, 1]);
});
