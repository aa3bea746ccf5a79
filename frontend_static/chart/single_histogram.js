// @ts-check
/** The histogram of one step: value from left to right, share of the elements upwards. */
import { cssOf, mix, parseHex } from './colormap.js';
import { formatPercent } from './format.js';
import { cssColor, drawBottomAxis, drawLinearPart, drawValueAxis, plotArea, prepareCanvas } from './frame.js';
import { noteSpecials, resampler, usefulCells } from './histogram.js';
import { linearScale } from './scales.js';

/** @typedef {import('../types.d.ts').HistogramSeries} HistogramSeries */
/** @typedef {import('../types.d.ts').PlotArea} PlotArea */

const NARROWEST_BAR = 4;

/**
 * @param {import('./frame.js').Surface} canvas
 * @param {object} chart
 * @param {HistogramSeries} chart.histogram
 * @param {number} chart.selected index of the histogram
 * @param {string} chart.color '#rrggbb'
 * @param {import('./scales.js').Scale} chart.scale of the values
 * @param {{value: number, label: string}} [chart.mark] a dashed line at a value
 * @returns {PlotArea}
 */
export function drawSingleHistogram(canvas, { histogram, selected, color, scale, mark }) {
  const { context, width, height } = prepareCanvas(canvas);
  const area = plotArea(width, height);
  const cells = usefulCells(histogram, scale, area.width / NARROWEST_BAR);
  const counts = resampler(histogram, scale, cells)(selected);
  const total = counts.reduce((sum, count) => sum + count, 0);
  const most = total ? Math.max(...counts) / total : 1;
  const shares = linearScale(0, most * 1.08);
  drawBottomAxis(context, area, scale.ticks(Math.max(3, Math.floor(area.width / 44))));
  drawValueAxis(context, area, { ...shares, ticks: (count) => _inPercent(shares.ticks(count)) });
  if (scale.threshold) {
    const [from, to] = [-1, 1].map(
      (sign) => area.left + area.width * scale.toUnit(sign * (scale.threshold ?? 0)),
    );
    drawLinearPart(context, from, area.top + area.height + 1, to - from, 2);
  }
  context.fillStyle = cssOf(mix(parseHex(cssColor('--surface')), parseHex(color), 0.75));
  const barWidth = area.width / cells;
  counts.forEach((count, cell) => {
    const barHeight = total ? area.height * shares.toUnit(count / total) : 0;
    const left = area.left + cell * barWidth;
    context.fillRect(left, area.top + area.height - barHeight, Math.max(1, barWidth - 1), barHeight);
  });
  if (mark) _drawMark(context, area, scale.toUnit(mark.value), mark.label);
  noteSpecials(context, area, histogram, selected);
  return area;
}

/** @param {import('./scales.js').Tick[]} ticks */
function _inPercent(ticks) {
  return ticks.map((tick) => ({ ...tick, label: formatPercent(tick.value) }));
}

/** @param {CanvasRenderingContext2D} context @param {PlotArea} area @param {number} unit @param {string} label */
function _drawMark(context, area, unit, label) {
  const x = Math.round(area.left + area.width * unit) + 0.5;
  context.strokeStyle = context.fillStyle = cssColor('--text');
  context.setLineDash([3, 3]);
  context.beginPath();
  context.moveTo(x, area.top);
  context.lineTo(x, area.top + area.height);
  context.stroke();
  context.setLineDash([]);
  context.textBaseline = 'top';
  context.textAlign = unit > 0.7 ? 'right' : 'left';
  context.fillText(label, x + (unit > 0.7 ? -4 : 4), area.top);
}
