// @ts-check
/** Texts that follow the cursor without rendering. */
import { indexAtOrBefore } from '../../state/axis.js';

const RESTING_MILLISECONDS = 60;

/**
 * Numbers follow the cursor once it rests: they cannot be read while it moves, and new texts cost the page more
 * layout and painting than all lines together.
 * @param {import('../../state/store.js').Cursor} cursor
 * @param {(x: number) => void} fill called at once, and after moves
 * @returns {() => void} stops it
 */
export function followAtRest(cursor, fill) {
  /** @type {any} */
  let timer = null;
  const now = () => {
    const x = cursor.at();
    if (x !== null) fill(x);
  };
  now();
  const stop = cursor.subscribe(() => {
    clearTimeout(timer);
    timer = setTimeout(now, RESTING_MILLISECONDS);
  });
  return () => {
    stop();
    clearTimeout(timer);
  };
}

/**
 * Changes a text without creating a node, which the page would have to style first.
 * @param {Element} element contains only text @param {string} text
 */
export function setText(element, text) {
  const node = element.firstChild;
  if (!node) element.textContent = text;
  else if (node.nodeValue !== text) node.nodeValue = text;
}

/**
 * The step at an axis value: the pinned one at its position, else the last logged one.
 * @param {import('../../chart/heatmap_values.js').View} view @param {number} x
 */
export function stepAt(view, x) {
  if (view.axis === 'step') return x;
  if (x === view.x) return view.step;
  return view.overview.last_step[Math.max(0, indexAtOrBefore(view.xs, x))];
}
