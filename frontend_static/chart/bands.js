// @ts-check
/** Percentiles over time as nested bands, the nine of TensorBoard's Distributions tab. */
import { cssOf, mix, parseHex } from './colormap.js';
import { aboveStrips, drawStrips, nonFiniteStrip } from './density.js';
import {
  cssColor,
  drawMark,
  drawStepAxis,
  drawValueAxis,
  plotArea,
  prepareCanvas,
  xToPixel,
  yToPixel,
} from './frame.js';
import { NINE_PERCENTILES, percentilesOf } from './histogram.js';
import { cellBoundaries } from './scales.js';

export { percentilesOf } from './histogram.js';

/** @typedef {import('../types.d.ts').AxisKind} AxisKind */
/** @typedef {import('../types.d.ts').HistogramSeries} HistogramSeries */
/** @typedef {import('../types.d.ts').PlotArea} PlotArea */
/** @typedef {import('../types.d.ts').Range} Range */
/** @typedef {import('../types.d.ts').Theme} Theme */
/** @typedef {import('./scales.js').Scale} Scale */
/**
 * @typedef {{index: number, x: number, y: Float64Array}} Point pixels; y of the nine percentiles, lowest first
 */

/** Share of the run colour in each band, from minimum–maximum to ±½σ. */
const STRENGTHS = [0.2, 0.38, 0.6, 0.85];

/**
 * @param {import('./frame.js').Surface} canvas
 * @param {object} chart
 * @param {HistogramSeries} chart.histogram
 * @param {Float64Array} chart.xs axis position of each histogram
 * @param {Range} chart.range
 * @param {string} chart.color '#rrggbb'
 * @param {Theme} chart.theme
 * @param {AxisKind} chart.axisKind
 * @param {Scale} chart.scale of the values
 * @param {{value: number, label: string}} [chart.mark] a dashed line at a value
 * @returns {PlotArea}
 */
export function drawBands(canvas, { histogram, xs, range, color, axisKind, scale, mark }) {
  const { context, width, height } = prepareCanvas(canvas);
  const strips = nonFiniteStrip(histogram);
  const outer = plotArea(width, height);
  const area = aboveStrips(outer, strips);
  drawStepAxis(context, outer, range, axisKind);
  drawValueAxis(context, area, scale);
  context.save();
  context.beginPath();
  context.rect(area.left, area.top, area.width, area.height);
  context.clip();
  for (const stretch of _stretches(histogram, xs, range, area, scale)) _drawStretch(context, stretch, color);
  context.restore();
  drawStrips(context, outer, strips, xs, range);
  if (mark) drawMark(context, area, scale, mark);
  return area;
}

/**
 * Unbroken sequences of non-empty histograms.
 * @param {HistogramSeries} histogram
 * @param {Float64Array} xs
 * @param {Range} range
 * @param {PlotArea} area
 * @param {Scale} scale
 * @returns {Point[][]}
 */
function _stretches(histogram, xs, range, area, scale) {
  const boundaries = cellBoundaries(xs, range);
  const toPixel = (/** @type {number} */ x) => xToPixel(area, range, x);
  /** @type {Point[][]} */
  const stretches = [];
  let before = false;
  xs.forEach((x, index) => {
    const percentiles = percentilesOf(histogram, index, NINE_PERCENTILES);
    const holdsAnything = !Number.isNaN(percentiles[0]);
    if (holdsAnything) {
      if (!before) stretches.push([]);
      stretches[stretches.length - 1].push({
        index,
        x: toPixel(x),
        y: percentiles.map((value) => yToPixel(area, scale, value)),
      });
    }
    before = holdsAnything;
  });
  // A single histogram has no neighbour to draw a band to: it fills its cell.
  return stretches.map((points) => {
    if (points.length > 1) return points;
    const { index, y } = points[0];
    const ends =
      range.to > range.from
        ? [boundaries[index], boundaries[index + 1]].map(toPixel)
        : [area.left, area.left + area.width];
    return ends.map((x) => ({ index, x, y }));
  });
}

/** @param {CanvasRenderingContext2D} context @param {Point[]} points @param {string} color */
function _drawStretch(context, points, color) {
  const [surface, run] = [parseHex(cssColor('--surface')), parseHex(color)];
  STRENGTHS.forEach((strength, band) => {
    context.fillStyle = cssOf(mix(surface, run, strength));
    context.beginPath();
    for (const { x, y } of points) context.lineTo(x, y[band]);
    for (const { x, y } of [...points].reverse()) context.lineTo(x, y[y.length - 1 - band]);
    context.closePath();
    context.fill();
  });
  context.strokeStyle = cssColor('--text');
  context.lineWidth = 1;
  context.beginPath();
  for (const { x, y } of points) context.lineTo(x, y[4]);
  context.stroke();
}
