// @ts-check
/** The column of numbers beside the heat map. */
import { formatNumber } from '../../chart/format.js';
import { healthyRange, ratioEmphasis } from '../../chart/healthy_range.js';
import { valueAt, valueText, worstIn } from '../../chart/heatmap_values.js';
import { t } from '../../host/language.js';
import { indexAtOrBefore, nearestIndex } from '../../state/axis.js';
import { followAtRest, setText } from '../hooks/at_rest.js';
import { html, useLayoutEffect, useRef } from '../ui.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../chart/heatmap_values.js').View} View
 * @typedef {import('../../types.d.ts').TreeRow} TreeRow
 * @typedef {import('../../chart/context_strip.js').Strip} Strip
 */

/**
 * The numbers of all visible rows at the step cursor. Filled directly, when the cursor rests.
 * @param {{cursor: App['cursor'], view: View, strips: Strip[], heights: number[], rows: TreeRow[], top: number, total: number}} props
 */
export function AtStep({ cursor, view, strips, heights, rows, top, total }) {
  const column = useRef(/** @type {HTMLElement | null} */ (null));
  const shown = rows.filter((row) => !row.open);
  useLayoutEffect(() =>
    followAtRest(cursor, (x) => {
      const element = /** @type {HTMLElement} */ (column.current);
      const index = nearestIndex(view.xs, x);
      const outside = x < view.xs[0] || x > view.xs[view.xs.length - 1]; // pinned beyond the zoom
      element.querySelectorAll('.row-value').forEach((cell, i) => {
        const worst = worstIn(view, shown[i], index);
        const [text, className] = _describe(view, worst, outside ? null : valueAt(view, worst, index));
        setText(cell, text);
        const name = `row-value ${className}`;
        if (cell.className !== name) cell.className = name;
      });
      element.querySelectorAll('.strip-value').forEach((cell, i) => {
        const at = indexAtOrBefore(strips[i].x, x);
        setText(cell, at < 0 ? '' : formatNumber(strips[i].y[at]));
      });
    }),
  );
  return html`<div class="at" ref=${column}>
    <div class="sticky-top" style="height:${top}px">
      ${strips.map((_, i) => html`<div key=${i} class="strip-value" style="height:${heights[i]}px"></div>`)}
    </div>
    <div class="at-rows" style="height:${total}px">
      ${shown.map(
        (row) =>
          html`<span key=${row.key} class="row-value" style="top:${row.y}px;height:${row.height}px;line-height:${row.height}px"></span>`,
      )}
    </div>
    <div class="sticky-bottom">${t('at step')}</div>
  </div>`;
}

/** @param {View} view @param {number} parameter @param {number | null} value @returns {[string, string]} text and class */
function _describe(view, parameter, value) {
  const text = valueText(view, parameter, value, true);
  if (value === null || text === '—') return [text, ''];
  if (view.colouring.kind === 'ratio') return [text, ratioEmphasis(value, healthyRange(view.run, parameter, view.healthyRange))];
  return [text, Number.isFinite(value) ? '' : 'hot'];
}
