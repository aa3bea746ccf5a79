// @ts-check
/** What every component uses: Preact, icons, the store and answers of the server as hooks. */
import { html, useEffect, useState } from '../vendor/preact.js';
import { isAbort } from '../data/api.js';

export { h, html, render, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../vendor/preact.js';

/**
 * What components get besides data.
 * @typedef {object} App
 * @property {import('../state/store.js').Store} store
 * @property {import('../state/actions.js').Actions} actions
 * @property {import('../state/store.js').Cursor} cursor
 * @property {import('../data/api.js').Api} api
 */

const ICONS = {
  search:
    'M10 3a7 7 0 1 0 4.2 12.6l4.6 4.6 1.4-1.4-4.6-4.6A7 7 0 0 0 10 3zm0 2a5 5 0 1 1 0 10 5 5 0 0 1 0-10z',
  check: 'M9 15.6 5.4 12 4 13.4l5 5L20 7.4 18.6 6z',
  right: 'M9.4 6 8 7.4l4.6 4.6L8 16.6 9.4 18l6-6z',
  down: 'M7.4 8.6 6 10l6 6 6-6-1.4-1.4-4.6 4.6z',
  up: 'M12 8l-6 6 1.4 1.4 4.6-4.6 4.6 4.6L18 14z',
  link: 'M7 7h4v2H7a3 3 0 0 0 0 6h4v2H7A5 5 0 0 1 7 7zm6 0h4a5 5 0 0 1 0 10h-4v-2h4a3 3 0 0 0 0-6h-4zm-5 4h8v2H8z',
  copy: 'M8 3h11a2 2 0 0 1 2 2v11h-2V5H8zM5 7h9a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V9c0-1.1.9-2 2-2zm0 2v10h9V9z',
  expand: 'M12 3 7.5 7.5 9 9l3-3 3 3 1.5-1.5zm0 18 4.5-4.5L15 15l-3 3-3-3-1.5 1.5z',
  collapse: 'M7.5 4.5 12 9l4.5-4.5L15 3l-3 3-3-3zm9 15L12 15l-4.5 4.5L9 21l3-3 3 3z',
  close: 'M6.4 5 5 6.4l5.6 5.6L5 17.6 6.4 19l5.6-5.6 5.6 5.6 1.4-1.4-5.6-5.6L19 6.4 17.6 5 12 10.6z',
  warning: 'M12 3 1.5 21h21zm-1 7h2v5h-2zm0 6.5h2v2h-2z',
};

/** @param {keyof typeof ICONS} name @param {string} [className] */
export function icon(name, className = 'icon') {
  return html`<svg class=${className} viewBox="0 0 24 24" aria-hidden="true">
    <path d=${ICONS[name]} />
  </svg>`;
}

/** @param {import('../state/store.js').Store} store @returns {import('../state/store.js').State} */
export function useStore(store) {
  const [state, setState] = useState(store.get());
  useEffect(() => {
    setState(store.get());
    return store.subscribe(setState);
  }, [store]);
  return state;
}

/**
 * @template T
 * @typedef {object} Answer
 * @property {T | null} value the newest good answer; the one before stays until the next is here
 * @property {string | null} error why there is no answer about the subject
 * @property {boolean} stale whether `value` is about an earlier subject
 */

/**
 * Loads what a component shows. A new revision of the same subject replaces the value without a
 * gap; a new subject marks it stale until the answer is here. Outdated requests are given up.
 * @template T
 * @param {string | null} subject what is asked for; null asks for nothing
 * @param {string} revision
 * @param {(signal: AbortSignal) => Promise<T>} load
 * @returns {Answer<T>}
 */
export function useAnswer(subject, revision, load) {
  const [state, setState] = useState({
    subject: /** @type {string | null} */ (null),
    value: /** @type {T | null} */ (null),
    error: /** @type {string | null} */ (null),
  });
  useEffect(() => {
    if (subject === null) return;
    const controller = new AbortController();
    const { signal } = controller;
    load(signal).then(
      (value) => signal.aborted || setState({ subject, value, error: null }),
      (error) => {
        if (signal.aborted || isAbort(error)) return;
        const message = error instanceof Error ? error.message : String(error);
        setState((before) => ({
          subject,
          value: before.subject === subject ? before.value : null,
          error: message,
        }));
      },
    );
    return () => controller.abort();
  }, [subject, revision]);
  if (subject === null) return { value: null, error: null, stale: false };
  return { value: state.value, error: state.error, stale: state.subject !== subject };
}

/** Wall clock in seconds since the epoch. */
export const now = () => Date.now() / 1000;

/** @param {string} text puts it into the clipboard @returns {Promise<boolean>} whether that worked */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return _copyThroughSelection(text); // the clipboard API is absent on plain http
  }
}

/** @param {string} text */
function _copyThroughSelection(text) {
  const area = document.createElement('textarea');
  area.value = text;
  area.style.position = 'fixed';
  area.style.opacity = '0';
  document.body.append(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  return copied;
}
