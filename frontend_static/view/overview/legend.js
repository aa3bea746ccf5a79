// @ts-check
/** The colour scale of the heat map. */
import { formatNumber } from '../../chart/format.js';
import { drawColourScale } from '../../chart/heatmap_colours.js';
import { Canvas } from '../hooks/plot.js';
import { html } from '../ui.js';

/** @typedef {import('../../chart/heatmap_values.js').View} View */

/** @param {{view: View}} props */
export function Legend({ view }) {
  const { theme, metric, colouring } = view;
  const draw = (/** @type {import('../../chart/frame.js').Surface} */ surface) => drawColourScale(surface, view);
  const { kind, scale } = colouring;
  const ends = `from ${formatNumber(scale.low)} to ${formatNumber(scale.high)}`;
  const label =
    kind === 'ratio'
      ? `Colour scale ${ends}: blue below 1e-3, red above it`
      : kind === 'comparison'
        ? `Colour scale ${ends} times the reference: blue is less, red is more`
        : `Colour scale of ${metric.label}, ${ends}`;
  return html`<${Canvas} class="legend" draw=${draw} dependencies=${[theme, colouring]} label=${label} />`;
}
