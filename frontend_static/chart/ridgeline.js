// @ts-check
/** One histogram per logged step, newest in front at the bottom, over a shared value axis. */
import { cssOf, mix, parseHex } from './colormap.js';
import { formatAxis } from './format.js';
import { cssColor, drawBottomAxis, drawLinearPart, plotArea, prepareCanvas } from './frame.js';
import { noteSpecials, resampler, specialCounts, usefulCells } from './histogram.js';

/** @typedef {import('../types.d.ts').AxisKind} AxisKind */
/** @typedef {import('../types.d.ts').HistogramSeries} HistogramSeries */
/** @typedef {import('../types.d.ts').PlotArea} PlotArea */
/** @typedef {import('../types.d.ts').Theme} Theme */
/** @typedef {import('./scales.js').Scale} Scale */
/** @typedef {CanvasRenderingContext2D} Context */

/** Height of an ordinary peak, as a share of the area. */
const PEAK = 0.3;
/** Taller ones are compressed towards this many times the ordinary height. */
const TALLEST = 1.5;
/** Curves closer than this many pixels would be a grey mass of outlines. */
const CLOSEST = 1.7;
const LABEL_HEIGHT = 15;

/**
 * @param {import('./frame.js').Surface} canvas
 * @param {object} chart
 * @param {HistogramSeries} chart.histogram
 * @param {Float64Array} chart.xs axis position of each histogram
 * @param {string} chart.color '#rrggbb' @param {Theme} chart.theme
 * @param {number | null} chart.selected index of the histogram at the cursor, outlined
 * @param {AxisKind} chart.axisKind
 * @param {Scale} chart.scale of the values
 * @returns {{area: PlotArea, indexAt: (yPixel: number) => number, yOf: (index: number) => number}} indexAt is -1 without histograms
 */
export function drawRidgeline(canvas, { histogram, xs, color, theme, selected, axisKind, scale }) {
  const { context, width, height } = prepareCanvas(canvas);
  const n = xs.length;
  const label = (/** @type {number} */ index) => _rowLabel(xs[index], axisKind);
  const area = plotArea(width, height, { left: 22, right: _labelWidth(context, n, label) + 16 });
  const peak = area.height * PEAK;
  const headroom = peak * TALLEST;
  const yOf = (/** @type {number} */ index) =>
    area.top + headroom + (area.height - headroom) * (n > 1 ? index / (n - 1) : 1);
  const indexAt = (/** @type {number} */ y) => {
    const share = (y - area.top - headroom) / (area.height - headroom);
    return n ? Math.min(n - 1, Math.max(0, Math.round(share * (n - 1)))) : -1;
  };
  drawBottomAxis(context, area, scale.ticks(Math.max(3, Math.floor(area.width / 44))));
  if (scale.threshold) _markLinearPart(context, area, scale);
  if (n) {
    const chosen = selected !== null && selected >= 0 && selected < n ? selected : null;
    const curves = _curves(histogram, scale, area, rowsToDraw(n, area.height - headroom, chosen));
    _drawCurves(context, area, curves, { yOf, peak, n, color, theme, selected: chosen });
    _drawNonFinite(context, area, histogram, yOf);
    _drawRowLabels(context, area, n, yOf, label, chosen);
    noteSpecials(context, area, histogram, chosen ?? n - 1);
  }
  return { area, indexAt, yOf };
}

/**
 * As many evenly spaced rows as fit; always including the first, the newest and the selected one.
 * @param {number} n
 * @param {number} height pixels
 * @param {number | null} selected
 * @returns {number[]} ascending
 */
export function rowsToDraw(n, height, selected) {
  const most = Math.max(2, Math.floor(height / CLOSEST));
  const count = Math.min(n, most);
  const rows = new Set(
    Array.from({ length: count }, (_, i) => (count > 1 ? Math.round((i * (n - 1)) / (count - 1)) : n - 1)),
  );
  if (selected !== null) rows.add(selected);
  return [...rows].sort((a, b) => a - b);
}

/**
 * Heights in units of an ordinary peak: the median of the tallest points of all curves. So a single step at
 * which all elements share one value (as in Adam's first step) does not flatten the rest.
 * @param {Float64Array[]} curves @returns {(value: number) => number} linear up to 1, then compressed
 */
export function heightScale(curves) {
  const tops = curves
    .map((curve) => Math.max(...curve))
    .filter((top) => top > 0)
    .sort((a, b) => a - b);
  const ordinary = tops.length ? tops[Math.floor(tops.length / 2)] * 1.15 : 1;
  const room = TALLEST - 1;
  return (value) => {
    const v = value / ordinary;
    return v <= 1 ? v : 1 + room * (1 - Math.exp(-(v - 1) / room));
  };
}

/** @param {HistogramSeries} histogram @param {Scale} scale @param {PlotArea} area @param {number[]} rows */
function _curves(histogram, scale, area, rows) {
  const resample = resampler(histogram, scale, usefulCells(histogram, scale, area.width / 2.5));
  return rows.map((row) => {
    const cells = resample(row);
    const total = cells.reduce((sum, count) => sum + count, 0);
    return { row, shares: cells.map((count) => (total ? count / total : 0)) };
  });
}

/**
 * @param {Context} context @param {PlotArea} area @param {{row: number, shares: Float64Array}[]} curves
 * @param {{yOf: (row: number) => number, peak: number, n: number, color: string, theme: Theme, selected: number | null}} look
 */
function _drawCurves(context, area, curves, { yOf, peak, n, color, theme, selected }) {
  const base = parseHex(color);
  const back = mix(base, [255, 255, 255], 0.45);
  const front = mix(base, [0, 0, 0], 0.18);
  const edge = cssColor('--surface');
  const height = heightScale(curves.map((curve) => curve.shares));
  const trace = (/** @type {Float64Array} */ shares, /** @type {number} */ y) => {
    context.beginPath();
    context.moveTo(area.left, y);
    shares.forEach((share, i) =>
      context.lineTo(area.left + (area.width * (i + 0.5)) / shares.length, y - height(share) * peak),
    );
    context.lineTo(area.left + area.width, y);
  };
  context.lineJoin = 'round';
  for (const { row, shares } of curves) {
    trace(shares, yOf(row));
    context.globalAlpha = selected !== null && row !== selected ? 0.85 : 1;
    context.fillStyle = cssOf(mix(back, front, n > 1 ? row / (n - 1) : 1));
    context.fill();
    context.globalAlpha = 1;
    context.strokeStyle = edge;
    context.lineWidth = 0.8;
    context.stroke();
  }
  const chosen = curves.find((curve) => curve.row === selected);
  if (!chosen) return;
  trace(chosen.shares, yOf(chosen.row));
  context.strokeStyle = cssColor('--cursor');
  context.lineWidth = 1.5;
  context.stroke();
}

/** @param {Context} context @param {PlotArea} area @param {Scale} scale */
function _markLinearPart(context, area, scale) {
  const [from, to] = [-1, 1].map(
    (sign) => area.left + area.width * scale.toUnit(sign * (scale.threshold ?? 0)),
  );
  drawLinearPart(context, from, area.top + area.height + 1, to - from, 2);
}

/**
 * A dot at the left of every row with NaN or infinity.
 * @param {Context} context
 * @param {PlotArea} area
 * @param {HistogramSeries} histogram
 * @param {(row: number) => number} yOf
 */
function _drawNonFinite(context, area, histogram, yOf) {
  context.fillStyle = cssColor('--nan');
  for (let row = 0; row < histogram.step.length; row++) {
    if (specialCounts(histogram, row).nonFinite) context.fillRect(area.left - 10, yOf(row) - 1.5, 5, 3);
  }
}

/**
 * Labels from the newest row up, as many as fit, none under the pill of the selected one.
 * @param {Context} context
 * @param {PlotArea} area
 * @param {number} n
 * @param {(row: number) => number} yOf
 * @param {(row: number) => string} label
 * @param {number | null} selected
 */
function _drawRowLabels(context, area, n, yOf, label, selected) {
  const left = area.left + area.width + 8;
  const pill = selected === null ? null : Math.max(yOf(selected), area.top + LABEL_HEIGHT / 2);
  context.textAlign = 'left';
  context.textBaseline = 'middle';
  context.fillStyle = cssColor('--text-2');
  let free = Infinity;
  for (let row = n - 1; row >= 0; row--) {
    const y = Math.min(yOf(row), area.top + area.height - 3);
    if (y > free || (pill !== null && Math.abs(y - pill) < LABEL_HEIGHT + 1)) continue;
    context.fillText(label(row), left, y);
    free = y - LABEL_HEIGHT - 4;
  }
  if (selected !== null && pill !== null) _drawPill(context, left - 6, pill, label(selected));
}

/** @param {Context} context @param {number} left @param {number} middle @param {string} text */
function _drawPill(context, left, middle, text) {
  const width = context.measureText(text).width + 12;
  context.fillStyle = cssColor('--fob');
  context.beginPath();
  context.roundRect(left, middle - 8, width, 16, 8);
  context.fill();
  context.fillStyle = cssColor('--fob-text');
  context.fillText(text, left + 6, middle + 0.5);
}

/** @param {number} x @param {AxisKind} axisKind */
function _rowLabel(x, axisKind) {
  const text = formatAxis(x, axisKind);
  return axisKind === 'wall' ? text.slice(-8) : text;
}

/** @param {Context} context @param {number} n @param {(row: number) => string} label */
function _labelWidth(context, n, label) {
  let widest = 24;
  for (let row = 0; row < n; row += Math.max(1, Math.floor(n / 40)))
    widest = Math.max(widest, context.measureText(label(row)).width);
  return n ? Math.max(widest, context.measureText(label(n - 1)).width) : widest;
}
