// @ts-check
/** Shared parts of all charts: a sharp canvas, theme colours, margins and axes. */
import { axisTicks } from './scales.js';

export { niceTicks } from './scales.js';

/** @typedef {import('../types.d.ts').PlotArea} PlotArea */
/** @typedef {import('../types.d.ts').AxisKind} AxisKind */
/** @typedef {import('../types.d.ts').Range} Range */
/** @typedef {import('./scales.js').Scale} Scale */
/** @typedef {import('./scales.js').Tick} Tick */
/** @typedef {CanvasRenderingContext2D} Context */

/**
 * A surface to draw on: a canvas of the page, or a figure that is being saved (data/figure.js).
 * @typedef {Pick<HTMLCanvasElement, 'clientWidth' | 'clientHeight' | 'width' | 'height'> & {getContext: (kind: '2d') => Context | null}} Surface
 */

export const FONT_FAMILY = 'Roboto, "Segoe UI", system-ui, "Helvetica Neue", Arial, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", sans-serif';
export const FONT = `11px ${FONT_FAMILY}`;

/** Space around the data of the charts with a step axis; equal in all of them, to align them. */
export const MARGIN = { left: 46, right: 12, top: 6, bottom: 22 };

const LABEL_GAP = 6;

/**
 * @param {string} name a custom property of style/tokens.css, '--grid'
 * @returns {string} its current value
 */
export function cssColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * Match the canvas to its size on screen, clear it and scale it to CSS pixels.
 * @param {Surface} canvas
 * @returns {{context: Context, width: number, height: number, ratio: number}} CSS pixels; ratio is device pixels per CSS pixel
 */
export function prepareCanvas(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  const [deviceWidth, deviceHeight] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== deviceWidth) canvas.width = deviceWidth;
  if (canvas.height !== deviceHeight) canvas.height = deviceHeight;
  const context = canvas.getContext('2d');
  if (!context) throw new Error('this browser offers no 2D canvas');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = FONT;
  return { context, width, height, ratio };
}

/**
 * @param {number} width width of the canvas
 * @param {number} height
 * @param {Partial<typeof MARGIN>} [margin]
 * @returns {PlotArea}
 */
export function plotArea(width, height, margin = {}) {
  const { left, right, top, bottom } = { ...MARGIN, ...margin };
  return { left, top, width: Math.max(1, width - left - right), height: Math.max(1, height - top - bottom) };
}

/**
 * @param {PlotArea} area
 * @param {Range} range
 * @param {number} x
 * @returns {number} pixels; a range of one point is in the middle
 */
export function xToPixel(area, range, x) {
  return area.left + area.width * (range.to > range.from ? (x - range.from) / (range.to - range.from) : 0.5);
}

/**
 * @param {PlotArea} area
 * @param {Scale} scale
 * @param {number} value
 * @returns {number} pixels, high values up
 */
export function yToPixel(area, scale, value) {
  return area.top + area.height * (1 - scale.toUnit(value));
}

/**
 * The shared horizontal axis: grid lines through the area and labels under it.
 * @param {Context} context @param {PlotArea} area @param {Range} range @param {AxisKind} axisKind
 * @param {{grid?: boolean, labels?: boolean}} [options] grid: false leaves the data uncovered
 */
export function drawStepAxis(context, area, range, axisKind, options = {}) {
  const ticks = axisTicks(range, axisKind, Math.max(2, Math.floor(area.width / 72)));
  drawBottomAxis(context, area, ticks, options);
}

/**
 * @param {Context} context @param {PlotArea} area
 * @param {Tick[]} ticks the most important first: a label that would touch an earlier one is left out
 * @param {{grid?: boolean, labels?: boolean}} [options]
 */
export function drawBottomAxis(context, area, ticks, { grid = true, labels = true } = {}) {
  const bottom = area.top + area.height;
  const canvasWidth = context.canvas.width / (window.devicePixelRatio || 1);
  context.save();
  context.font = FONT;
  _styleAxis(context);
  context.textAlign = 'center';
  context.textBaseline = 'top';
  /** @type {[number, number][]} */
  const taken = [];
  for (const tick of ticks) {
    const x = area.left + area.width * tick.unit;
    if (grid) _line(context, _sharp(x), area.top, _sharp(x), bottom);
    if (!labels) continue;
    const half = context.measureText(tick.label).width / 2;
    const middle = Math.min(Math.max(x, half + 1), canvasWidth - half - 1);
    const extent = /** @type {[number, number]} */ ([middle - half - LABEL_GAP, middle + half + LABEL_GAP]);
    if (taken.some(([from, to]) => extent[0] < to && extent[1] > from)) continue;
    taken.push([middle - half, middle + half]);
    context.fillText(tick.label, middle, bottom + 6);
  }
  context.restore();
}

/**
 * The value axis at the left: grid lines and labels, and a bar where a signed logarithmic axis is linear.
 * @param {Context} context @param {PlotArea} area @param {Scale} scale
 * @param {{overData?: boolean}} [options] overData: grid lines faint enough for the top of a heat map
 */
export function drawValueAxis(context, area, scale, { overData = false } = {}) {
  context.save();
  context.font = FONT;
  _styleAxis(context);
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  /** @type {number[]} */
  const taken = [];
  for (const tick of scale.ticks(Math.max(2, Math.floor(area.height / 22)))) {
    const y = area.top + area.height * (1 - tick.unit);
    context.globalAlpha = overData ? 0.4 : 1;
    _line(context, area.left, _sharp(y), area.left + area.width, _sharp(y));
    context.globalAlpha = 1;
    const middle = Math.min(Math.max(y, area.top + 4), area.top + area.height - 4);
    if (taken.some((other) => Math.abs(other - middle) < 13)) continue;
    taken.push(middle);
    context.fillText(tick.label, area.left - 6, middle);
  }
  if (scale.threshold) {
    const y = yToPixel(area, scale, scale.threshold);
    drawLinearPart(context, area.left - 1, y, 2, 2 * (area.top + area.height / 2 - y));
  }
  context.restore();
}

/**
 * Mark the part of the axis between ±threshold, where it is linear.
 * @param {Context} context
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 */
export function drawLinearPart(context, x, y, width, height) {
  context.fillStyle = cssColor('--axis');
  context.fillRect(x, y, width, height);
}

/**
 * A dashed line across the data at a value.
 * @param {Context} context
 * @param {PlotArea} area
 * @param {Scale} scale
 * @param {{value: number, label: string}} mark
 */
export function drawMark(context, area, scale, { value, label }) {
  const y = Math.round(yToPixel(area, scale, value)) + 0.5;
  context.strokeStyle = cssColor('--text');
  context.lineWidth = 1;
  context.setLineDash([3, 3]);
  context.beginPath();
  context.moveTo(area.left, y);
  context.lineTo(area.left + area.width, y);
  context.stroke();
  context.setLineDash([]);
  context.textAlign = 'left';
  const above = y - area.top > 15;
  context.textBaseline = above ? 'bottom' : 'top';
  drawLabelGround(context, area.left + 5, above ? y - 15 : y + 1, context.measureText(label).width, 14);
  context.fillStyle = cssColor('--text');
  context.fillText(label, area.left + 5, y + (above ? -2 : 2));
}

/**
 * Draws a background that keeps a label readable on top of data.
 * @param {Context} context
 * @param {number} left left edge of the text
 * @param {number} top
 * @param {number} width width of the text
 * @param {number} height
 */
export function drawLabelGround(context, left, top, width, height) {
  context.save();
  context.globalAlpha = 0.8;
  context.fillStyle = cssColor('--surface');
  context.fillRect(left - 3, top, width + 6, height);
  context.restore();
}

/** @param {Context} context */
function _styleAxis(context) {
  context.fillStyle = cssColor('--text-2');
  context.strokeStyle = cssColor('--grid');
  context.lineWidth = 1;
  context.setLineDash([]);
}

/** @param {number} pixel @returns {number} a position where a one-pixel line is not blurred over two */
function _sharp(pixel) {
  return Math.round(pixel) + 0.5;
}

/** @param {Context} context @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1 */
function _line(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}
