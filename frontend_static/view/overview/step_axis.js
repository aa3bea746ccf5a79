// @ts-check
/** The axis below the heat map, and the pill on it that names the step at the cursor. */
import { formatAxis, formatInteger, letters } from '../../chart/format.js';
import { axisTicks } from '../../chart/scales.js';
import { t } from '../../host/language.js';
import { setText, stepAt } from '../hooks/at_rest.js';
import { pixelOf, useMover } from '../hooks/plot.js';
import { html, useLayoutEffect, useRef } from '../ui.js';
import { AXIS_HEIGHT } from './sizes.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../chart/heatmap_values.js').View} View
 * @typedef {import('../../types.d.ts').PlotArea} PlotArea
 */

/** About how wide the step tag is, in CSS pixels. */
const TAG_PADDING = 8;
const TAG_DIGIT = 5.2;
const TAG_GAP = 4;

/** @param {{view: View, width: number}} props */
export function StepAxis({ view, width }) {
  const { range, axis } = view;
  const ticks = width ? axisTicks(range, axis, Math.max(2, Math.floor(width / 90))) : [];
  return html`<div class="x-axis" style="height:${AXIS_HEIGHT}px" aria-hidden="true">
    ${ticks.map(
      ({ unit, label }) => html`<i key=${`i${unit}`} style="left:${100 * unit}%"></i>
        <span key=${unit} class=${unit < 0.02 ? 'first' : unit > 0.98 ? 'last' : ''} style="left:${100 * unit}%">${label}</span>`,
    )}
  </div>`;
}

/** The pill on the axis that names the step at the cursor. @param {{cursor: App['cursor'], view: View, area: PlotArea}} props */
export function StepTag({ cursor, view, area }) {
  const tag = useRef(/** @type {HTMLElement | null} */ (null));
  const move = useMover(tag);
  useLayoutEffect(() =>
    cursor.subscribe((x) => {
      const element = /** @type {HTMLElement} */ (tag.current);
      const pixel = x === null ? null : pixelOf(view.range, area, x);
      element.hidden = pixel === null;
      if (x === null || pixel === null) return _hideTicks(element, area.width, -1, -1);
      const step = stepAt(view, x);
      const time = view.axis === 'step' ? '' : ` · ${formatAxis(x, view.axis)}`;
      const text = `${t('step {step}', { step: formatInteger(step) })}${time}`;
      setText(element, text);
      // A width of its own: no other text lays out the page, and none has to be asked for.
      const wide = 2 * TAG_PADDING + Math.ceil(TAG_DIGIT * letters(text));
      element.style.width = `${wide}px`;
      const left = Math.max(0, Math.min(area.width - wide, pixel - wide / 2));
      move(left);
      _hideTicks(element, area.width, left, left + wide);
    }),
  );
  return html`<div ref=${tag} class="fob" style="top:${area.height + 4}px" hidden></div>`;
}

/**
 * Hides the labels of the axis that the step tag covers in part.
 * @param {HTMLElement} tag @param {number} width of the axis @param {number} from @param {number} to pixels that the tag covers
 */
function _hideTicks(tag, width, from, to) {
  for (const label of tag.parentElement?.querySelectorAll('.x-axis span') ?? []) {
    const { style, className } = /** @type {HTMLElement} */ (label);
    const size = TAG_DIGIT * (label.textContent ?? '').length;
    const at = (width * parseFloat(style.left)) / 100;
    const left = at - (className === 'first' ? 0 : className === 'last' ? size : size / 2);
    const covered = left < to + TAG_GAP && left + size > from - TAG_GAP && to > from;
    if (covered !== (style.visibility === 'hidden')) style.visibility = covered ? 'hidden' : '';
  }
}
