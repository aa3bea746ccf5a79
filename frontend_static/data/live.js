// @ts-check
/** Keeps the tab up to date: polls while it is visible, and tells how old the newest data is. */
import { ServerError } from './api.js';
import { t } from '../host/language.js';

/** Data younger than this many seconds counts as live. */
export const LIVE_SECONDS = 60;
/** While there is nothing to show, TensorBoard is probably still reading the log folder. */
const EMPTY_MILLISECONDS = 1000;
const IDLE_MILLISECONDS = 5000;

/**
 * Calls `poll` repeatedly while the tab is visible, one call at a time.
 * @param {object} options
 * @param {() => Promise<void>} options.poll must not reject
 * @param {() => boolean} options.isVisible
 * @param {() => boolean} [options.isEmpty] whether there is nothing to show yet
 * @param {() => number} [options.seconds] interval between polls; 0 to poll only on request
 * @param {(callback: () => void, milliseconds: number) => unknown} [options.schedule]
 * @returns {{now: () => Promise<void>, stop: () => void}} `now` polls at once, or again right after the poll in
 *   progress, which may have been too early
 */
export function startPolling({
  poll,
  isVisible,
  isEmpty = () => false,
  seconds = () => 5,
  schedule = setTimeout,
}) {
  let stopped = false;
  let again = false;
  /** @type {Promise<void> | null} */
  let running = null;

  const run = async () => {
    do {
      again = false;
      await poll();
    } while (again && !stopped);
    running = null;
  };
  const now = () => {
    if (stopped) return Promise.resolve();
    if (running) again = true;
    else running = run();
    return running;
  };
  const tick = async () => {
    if (stopped) return;
    if (isVisible() && !running && (isEmpty() || seconds() > 0)) await now();
    if (!stopped) wait();
  };
  const wait = () =>
    schedule(tick, isEmpty() ? EMPTY_MILLISECONDS : 1000 * seconds() || IDLE_MILLISECONDS);
  wait();
  return {
    now,
    stop() {
      stopped = true;
    },
  };
}

/**
 * Whether the tab is visible. TensorBoard hides a plugin by giving its frame no height; the page itself stays
 * "visible".
 */
export function isTabVisible() {
  return document.visibilityState === 'visible' && window.innerHeight > 0;
}

/**
 * Calls back when the tab becomes visible again.
 * @param {() => void} onShown
 * @returns {() => void} stops
 */
export function whenShown(onShown) {
  let visible = isTabVisible();
  const check = () => {
    const before = visible;
    visible = isTabVisible();
    if (visible && !before) onShown();
  };
  document.addEventListener('visibilitychange', check);
  window.addEventListener('resize', check);
  return () => {
    document.removeEventListener('visibilitychange', check);
    window.removeEventListener('resize', check);
  };
}

/**
 * @param {number} lastWallTime seconds since the epoch of the newest data
 * @param {number} now seconds since the epoch
 * @param {boolean} [paused] whether there may be newer data that is not shown
 * @returns {{live: boolean, text: string}} 'Live · 4 s ago', or 'Last data 3 min ago'
 */
export function describeAge(lastWallTime, now, paused = false) {
  const seconds = Math.max(0, Math.round(now - lastWallTime)); // the clocks of two machines may differ
  const live = seconds < LIVE_SECONDS && !paused;
  const age = _age(seconds);
  if (paused) return { live, text: t('Paused · data {age} ago', { age }) };
  return { live, text: live ? t('Live · {age} ago', { age }) : t('Last data {age} ago', { age }) };
}

/** @param {number} seconds */
function _age(seconds) {
  if (seconds < 60) return t('{count} s', { count: seconds });
  if (seconds < 3600) return t('{count} min', { count: Math.floor(seconds / 60) });
  if (seconds < 2 * 86400) return t('{count} h', { count: Math.floor(seconds / 3600) });
  return t('{count} days', { count: Math.floor(seconds / 86400) });
}

/** Longer than the interval at which the tab asks for new data. */
const REPLACED_MILLISECONDS = 6000;

/**
 * Retries requests that the server cannot answer. While a run is being replaced, a request may name a tensor of the
 * old run: the next summary leads to other requests, and cancels this one.
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} load @param {AbortSignal} signal
 * @param {(milliseconds: number) => Promise<unknown>} [pause]
 * @returns {Promise<T>}
 */
export async function askAgain(load, signal, pause = _pause) {
  try {
    return await load(signal);
  } catch (error) {
    if (signal.aborted || !(error instanceof ServerError) || error.status !== 404) throw error;
    await pause(REPLACED_MILLISECONDS);
    if (signal.aborted) throw error;
    return load(signal);
  }
}

/** @param {number} milliseconds */
function _pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
