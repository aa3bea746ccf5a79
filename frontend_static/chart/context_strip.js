// @ts-check
/** A thin line above the heat map (loss, learning rate) on the same horizontal axis, over the full width. */
import { drawEvidenceSteps, drawThreshold } from './evidence_marks.js';
import { cssColor, FONT_FAMILY, prepareCanvas } from './frame.js';

/**
 * @typedef {import('../types.d.ts').Range} Range
 *
 * A series in the strip.
 * @typedef {{name: string, label: string, x: Float64Array, y: ArrayLike<number>}} Strip
 */

const PADDING = 3;
const NOTE_GAP = 6;
/**
 * Share of the beginning that may leave the strip at the top: the first losses of a run would flatten the
 * rest. A later spike never leaves it.
 */
const BEGINNING = 0.05;

/**
 * @param {import('./frame.js').Surface} canvas
 * @param {object} chart
 * @param {Float64Array} chart.x ascending axis positions
 * @param {ArrayLike<number>} chart.y NaN and infinity are gaps with a mark at the bottom
 * @param {Range} chart.range @param {string} chart.color
 * @param {boolean} [chart.log] logarithmic values
 * @param {boolean} [chart.cut] whether the beginning may leave the strip, as the first losses may
 * @param {{x: number, text: string}[]} [chart.notes] labels beside the line, the most important first
 * @param {import('./evidence_marks.js').EvidenceMarks | null} [chart.evidence] evidence of the open finding
 * @returns {void}
 */
export function drawContextStrip(canvas, { x, y, range, color, log = false, cut = false, notes = [], evidence = null }) {
  const { context, width, height } = prepareCanvas(canvas);
  const values = log ? Float64Array.from(y, (value) => (value > 0 ? Math.log10(value) : NaN)) : y;
  const points = thinToPixels(x, values, range, width);
  const toValue = (/** @type {number} */ value) => (log ? Math.log10(value) : value);
  const limit = evidence?.threshold ?? null;
  const domain = _including(stripDomain(points, width, cut && range.from <= x[0]), limit && toValue(limit.value));
  if (evidence) drawEvidenceSteps(context, { left: 0, top: 0, width, height }, range, evidence.steps);
  if (!domain) return;
  const toY = (/** @type {number} */ value) =>
    PADDING +
    (height - 2 * PADDING) *
      (1 - Math.max(0, Math.min(1, (value - domain.low) / (domain.high - domain.low))));
  context.strokeStyle = context.fillStyle = color;
  context.lineWidth = 1.2;
  context.lineJoin = 'round';
  _drawLine(context, points, toY);
  context.fillStyle = cssColor('--nan');
  for (const pixel of _notFinite(x, y, range, width)) context.fillRect(pixel - 1, height - 5, 2, 5);
  if (limit) drawThreshold(context, { left: 0, top: 0, width, height }, toY(toValue(limit.value)), limit.text);
  _drawNotes(context, notes, range, width);
}

/** @param {{low: number, high: number} | null} domain @param {number | null} value */
function _including(domain, value) {
  if (!domain || value === null || !Number.isFinite(value)) return domain;
  return { low: Math.min(domain.low, value), high: Math.max(domain.high, value) };
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {{x: number, text: string}[]} notes @param {Range} range @param {number} width
 */
function _drawNotes(context, notes, range, width) {
  context.font = `500 11px ${FONT_FAMILY}`;
  context.textBaseline = 'top';
  context.textAlign = 'left';
  /** @type {[number, number][]} */
  const taken = [];
  for (const { x, text } of notes) {
    if (x < range.from || x > range.to) continue;
    const pixel = range.to > range.from ? (width * (x - range.from)) / (range.to - range.from) : width / 2;
    const size = context.measureText(text).width;
    const left = pixel - NOTE_GAP - size >= 0 ? pixel - NOTE_GAP - size : Math.min(width - size, pixel + NOTE_GAP);
    if (taken.some(([from, to]) => left < to && left + size > from)) continue;
    taken.push([left - NOTE_GAP, left + size + 2 * NOTE_GAP]);
    context.fillStyle = cssColor('--surface');
    context.fillRect(left - 2, 0, size + 4, 13);
    context.fillStyle = cssColor('--text');
    context.fillText(text, left, 1);
  }
}

/**
 * The points that suffice to draw a line: if several share a pixel, the first, the lowest, the highest and
 * the last of them, so the spike of a single step survives. Gaps stay gaps.
 * @param {ArrayLike<number>} x
 * @param {ArrayLike<number>} y
 * @param {Range} range
 * @param {number} width pixels
 * @returns {{x: number[], y: number[]}} pixels and values, with NaN in y for a gap; one point beyond either end if
 * there is one
 */
export function thinToPixels(x, y, range, width) {
  const toPixel = (/** @type {number} */ v) =>
    range.to > range.from ? (width * (v - range.from)) / (range.to - range.from) : width / 2;
  /** @type {{x: number[], y: number[]}} */
  const thin = { x: [], y: [] };
  for (let start = 0, end; start < x.length; start = end) {
    const pixel = _column(toPixel(x[start]), width);
    for (end = start + 1; end < x.length && _column(toPixel(x[end]), width) === pixel;) end++;
    // Outside the range, only the nearest point matters: the line enters or leaves there.
    const members = pixel < 0 ? [end - 1] : pixel >= width ? [start] : _extremes(y, start, end);
    for (const i of members) {
      thin.x.push(toPixel(x[i]));
      thin.y.push(Number.isFinite(y[i]) ? y[i] : NaN);
    }
  }
  return thin;
}

/** @param {number} pixel @param {number} width @returns {number} -1 left of the chart, width right of it */
function _column(pixel, width) {
  return pixel < 0 ? -1 : pixel > width ? width : Math.min(width - 1, Math.floor(pixel));
}

/**
 * @param {ArrayLike<number>} y
 * @param {number} start
 * @param {number} end
 * @returns {number[]} ascending indices
 */
function _extremes(y, start, end) {
  let [low, high, gap] = [-1, -1, -1];
  for (let i = start; i < end; i++) {
    if (!Number.isFinite(y[i])) gap = i;
    else {
      if (low < 0 || y[i] < y[low]) low = i;
      if (high < 0 || y[i] > y[high]) high = i;
    }
  }
  return [...new Set([start, low, high, gap, end - 1])].filter((i) => i >= 0).sort((a, b) => a - b);
}

/** Whether a series is a loss, whose first values would make all others look the same. @param {string} name */
export function isLoss(name) {
  return /loss/i.test(name) && !/scale/i.test(name);
}

/**
 * @param {{x: number[], y: number[]}} points
 * @param {number} width
 * @param {boolean} cut whether the beginning may leave the strip
 * @returns {{low: number, high: number} | null}
 */
export function stripDomain({ x, y }, width, cut) {
  const range = (/** @type {number} */ from) => {
    let [low, high] = [Infinity, -Infinity];
    y.forEach((value, i) => {
      if (!Number.isFinite(value) || x[i] < from || x[i] > width) return;
      [low, high] = [Math.min(low, value), Math.max(high, value)];
    });
    return { low, high };
  };
  const later = range(cut ? BEGINNING * width : 0);
  const { low, high } = later.high > later.low ? later : range(0);
  if (low > high) return null;
  return high > low ? { low, high } : { low: low - 1, high: low + 1 };
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {{x: number[], y: number[]}} points
 * @param {(value: number) => number} toY
 */
function _drawLine(context, { x, y }, toY) {
  context.beginPath();
  for (let i = 0; i < x.length; i++) {
    if (Number.isNaN(y[i])) continue;
    const starts = i === 0 || Number.isNaN(y[i - 1]);
    const alone = starts && (i === x.length - 1 || Number.isNaN(y[i + 1]));
    if (alone) context.fillRect(x[i] - 2, toY(y[i]) - 2, 4, 4);
    else if (starts) context.moveTo(x[i], toY(y[i]));
    else context.lineTo(x[i], toY(y[i]));
  }
  context.stroke();
}

/**
 * @param {ArrayLike<number>} x
 * @param {ArrayLike<number>} y
 * @param {Range} range
 * @param {number} width
 * @returns {Set<number>} whole pixels
 */
function _notFinite(x, y, range, width) {
  const pixels = new Set();
  for (let i = 0; i < x.length; i++) {
    if (Number.isFinite(y[i]) || x[i] < range.from || x[i] > range.to) continue;
    pixels.add(
      Math.round(range.to > range.from ? (width * (x[i] - range.from)) / (range.to - range.from) : width / 2),
    );
  }
  return pixels;
}
