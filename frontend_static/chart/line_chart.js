// @ts-check
/** Values over steps for several runs: a shaded band, faint raw values under smoothed lines. */
import { thinToPixels } from './context_strip.js';
import { drawEvidenceSteps, drawThreshold } from './evidence_marks.js';
import {
  cssColor,
  drawLabelGround,
  drawStepAxis,
  drawValueAxis,
  FONT,
  MARGIN,
  plotArea,
  prepareCanvas,
  xToPixel,
  yToPixel,
} from './frame.js';
import { linearScale, logScale } from './scales.js';

/** @typedef {import('../types.d.ts').AxisKind} AxisKind */
/** @typedef {import('../types.d.ts').PlotArea} PlotArea */
/** @typedef {import('../types.d.ts').Range} Range */
/** @typedef {import('./frame.js').Surface} Surface */
/** @typedef {import('./scales.js').Scale} Scale */
/** @typedef {CanvasRenderingContext2D} Context */

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {string} color
 * @property {number[]} [dash]
 * @property {Float64Array} x ascending axis positions; lines may have different ones
 * @property {ArrayLike<number>} y what is drawn; NaN is a gap
 * @property {ArrayLike<number>} [raw] drawn faintly under it, when y is smoothed
 * @property {ReadonlySet<number>} [unknown] where there is no value, which is a gap without a mark
 * @property {{x: Float64Array, y: ArrayLike<number>}[]} [between] stretches of single steps between those of x,
 *   drawn unsmoothed, to keep spikes visible
 * @property {{x: number, y: number, text: string}[]} [peaks] peaks in them, with a dot and a word each
 */

/**
 * @typedef {object} LineChart
 * @property {AxisKind} axisKind
 * @property {Range} range
 * @property {Line[]} lines the first is drawn on top
 * @property {'log' | 'linear'} scale
 * @property {[number, number]} [band] shaded values
 * @property {string} [bandLabel]
 * @property {boolean} [infinityIsUsual] leave a gap without a mark if a value is infinite
 * @property {boolean} [ignoreOutliers] the highest and the lowest hundredth do not stretch the axis
 * @property {import('./evidence_marks.js').EvidenceMarks} [evidence] evidence of the open finding
 * @property {boolean} [withoutSteps] omit the labels of the horizontal axis: a chart below has them
 */

/** @typedef {{x: number[], y: number[]}} Points pixels, NaN for a gap */

const LABEL_HEIGHT = 13;
const RAW_ALPHA = 0.3;
const ENVELOPE_ALPHA = 0.2;
/** From this many values per pixel on, single ones are indistinguishable and their extremes are shown. */
const CROWDED = 1.5;

/**
 * Values that the axis cannot show leave a gap and a mark at the bottom: a tick for NaN and infinity, a
 * triangle for zeros and negative values on a logarithmic axis.
 * @param {Surface} canvas
 * @param {LineChart} chart
 * @returns {{area: PlotArea, scale: Scale}}
 */
export function drawLineChart(canvas, chart) {
  const { context, width, height } = prepareCanvas(canvas);
  const area = plotArea(width, height, { bottom: chart.withoutSteps ? 4 : MARGIN.bottom });
  const scale = lineScale(chart);
  _drawGround(context, area, chart, scale);
  context.save();
  context.beginPath();
  context.rect(area.left, area.top - 2, area.width, area.height + 4);
  context.clip();
  const backToFront = [...chart.lines].reverse();
  for (const line of backToFront) _drawRaw(context, area, line, chart, scale);
  const shown = backToFront.map((line) => _points(line.x, line.y, area, chart, scale));
  backToFront.forEach((line, i) => {
    context.lineWidth = 1.6;
    context.setLineDash(line.dash ?? []);
    _stroke(context, shown[i], line.color);
  });
  context.setLineDash([]);
  context.lineWidth = 1.4;
  for (const { between = [], color } of backToFront)
    for (const { x, y } of between) _stroke(context, _points(x, y, area, chart, scale), color);
  for (const line of backToFront) _drawPeaks(context, area, line, chart, scale);
  for (const line of chart.lines) _drawMissing(context, area, line, chart);
  context.restore();
  const limit = chart.evidence?.threshold;
  if (limit && _drawable(limit.value, chart.scale)) drawThreshold(context, area, yToPixel(area, scale, limit.value), limit.text);
  _drawBandLabel(context, area, chart, scale, shown);
  return { area, scale };
}

/**
 * The value axis: it includes everything visible, and a logarithmic one also the band.
 * @param {Pick<LineChart, 'lines' | 'range' | 'scale' | 'ignoreOutliers' | 'band' | 'evidence'>} chart @returns {Scale}
 */
export function lineScale({ lines, range, scale, ignoreOutliers, band, evidence }) {
  const onLog = scale === 'log';
  let [low, high] = [Infinity, -Infinity];
  /** @type {number[]} */
  const visible = [];
  const include = (/** @type {number} */ value) => {
    if (!Number.isFinite(value) || (onLog && value <= 0)) return;
    low = Math.min(low, value);
    high = Math.max(high, value);
    if (ignoreOutliers) visible.push(value);
  };
  for (const { x, y, raw } of lines) {
    for (let i = 0; i < x.length; i++) {
      if (x[i] < range.from || x[i] > range.to) continue;
      include(y[i]);
      if (raw) include(raw[i]);
    }
  }
  if (visible.length > 1) {
    const sorted = Float64Array.from(visible).sort();
    [low, high] = [0.01, 0.99].map((share) => sorted[Math.round(share * (sorted.length - 1))]);
  }
  if (!ignoreOutliers) {
    for (const { x, y } of lines.flatMap(({ between = [] }) => between))
      for (let i = 0; i < x.length; i++) if (x[i] >= range.from && x[i] <= range.to) include(y[i]);
  }
  // On a linear axis, a band of two decades would flatten everything else.
  if (onLog) for (const value of band ?? []) include(value);
  if (evidence?.threshold && low <= high) include(evidence.threshold.value);
  if (low > high) return onLog ? logScale(1e-3, 1) : linearScale(0, 1);
  if (!onLog && low === 0 && high === 0) return linearScale(0, 1);
  if (!onLog) return linearScale(low - 0.05 * (high - low), high + 0.05 * (high - low));
  const room = Math.max(1.1, (high / low) ** 0.05);
  return logScale(low / room, high * room);
}

/**
 * The lowest and highest value of each pixel, if several share one.
 * @param {ArrayLike<number>} x ascending
 * @param {ArrayLike<number>} y NaN where nothing can be drawn
 * @param {Range} range
 * @param {number} width pixels
 * @returns {{x: number, low: number, high: number}[]} left to right; pixels without a value are left out
 */
export function envelopeOf(x, y, range, width) {
  /** @type {{x: number, low: number, high: number}[]} */
  const columns = [];
  for (let i = 0; i < x.length; i++) {
    if (x[i] < range.from || x[i] > range.to || !Number.isFinite(y[i])) continue;
    const at = Math.min(width - 1, Math.floor((width * (x[i] - range.from)) / (range.to - range.from)));
    const last = columns[columns.length - 1];
    if (last?.x === at) {
      last.low = Math.min(last.low, y[i]);
      last.high = Math.max(last.high, y[i]);
    } else columns.push({ x: at, low: y[i], high: y[i] });
  }
  return columns;
}

/** @param {ArrayLike<number>} x ascending @param {Range} range @param {number} width pixels */
export function isCrowded(x, range, width) {
  let visible = 0;
  for (let i = 0; i < x.length; i++) if (x[i] >= range.from && x[i] <= range.to) visible++;
  return visible > CROWDED * width;
}

/** @param {number} value @param {'log' | 'linear'} scale */
function _drawable(value, scale) {
  return Number.isFinite(value) && (scale === 'linear' || value > 0);
}

/** @param {ArrayLike<number>} y @param {'log' | 'linear'} scale @returns {ArrayLike<number>} */
function _withGaps(y, scale) {
  return scale === 'linear' ? y : Float64Array.from(y, (value) => (value > 0 ? value : NaN));
}

/**
 * @param {ArrayLike<number>} x @param {ArrayLike<number>} y
 * @param {PlotArea} area @param {LineChart} chart @param {Scale} scale
 * @returns {Points}
 */
function _points(x, y, area, chart, scale) {
  const thin = thinToPixels(x, _withGaps(y, chart.scale), chart.range, area.width);
  return {
    x: thin.x.map((pixel) => area.left + pixel),
    y: thin.y.map((value) => yToPixel(area, scale, value)),
  };
}

/** @param {Context} context @param {PlotArea} area @param {Line} line @param {LineChart} chart @param {Scale} scale */
function _drawRaw(context, area, line, chart, scale) {
  const raw = line.raw ?? line.y;
  const width = Math.max(1, Math.floor(area.width));
  if (isCrowded(line.x, chart.range, width)) {
    const columns = envelopeOf(line.x, _withGaps(raw, chart.scale), chart.range, width);
    context.globalAlpha = ENVELOPE_ALPHA;
    context.fillStyle = line.color;
    context.beginPath();
    for (const { x, high } of columns) context.lineTo(area.left + x + 0.5, yToPixel(area, scale, high));
    for (const { x, low } of columns.reverse())
      context.lineTo(area.left + x + 0.5, yToPixel(area, scale, low) + 1);
    context.fill();
  } else if (line.raw) {
    context.globalAlpha = RAW_ALPHA;
    context.lineWidth = 1;
    _stroke(context, _points(line.x, raw, area, chart, scale), line.color);
  }
  context.globalAlpha = 1;
}

/** @param {Context} context @param {{x: number[], y: number[]}} points @param {string} color */
function _stroke(context, { x, y }, color) {
  context.strokeStyle = context.fillStyle = color;
  context.lineJoin = 'round';
  context.beginPath();
  for (let i = 0; i < x.length; i++) {
    if (Number.isNaN(y[i])) continue;
    const starts = i === 0 || Number.isNaN(y[i - 1]);
    const alone = starts && (i === x.length - 1 || Number.isNaN(y[i + 1]));
    if (alone) context.fillRect(x[i] - 2.5, y[i] - 2.5, 5, 5);
    else if (starts) context.moveTo(x[i], y[i]);
    else context.lineTo(x[i], y[i]);
  }
  context.stroke();
}

/** @param {Context} context @param {PlotArea} area @param {Line} line @param {LineChart} chart @param {Scale} scale */
function _drawPeaks(context, area, { peaks = [], color }, { range }, scale) {
  context.font = FONT;
  context.textBaseline = 'top';
  for (const { x, y, text } of peaks) {
    if (x < range.from || x > range.to) continue;
    const [left, top] = [xToPixel(area, range, x), Math.max(area.top, yToPixel(area, scale, y))];
    context.fillStyle = color;
    context.beginPath();
    context.roundRect(left - 3.5, top - 2, 7, 7, 3.5);
    context.fill();
    context.fillStyle = cssColor('--text');
    const room = area.left + area.width - left > context.measureText(text).width + 12;
    context.textAlign = room ? 'left' : 'right';
    context.fillText(text, left + (room ? 7 : -7), top);
  }
  context.textAlign = 'left';
}

/** @param {Context} context @param {PlotArea} area @param {LineChart} chart @param {Scale} scale */
function _drawGround(context, area, chart, scale) {
  const { band, range, axisKind } = chart;
  if (band) {
    const [bottom, top] = _bandPixels(area, band, scale);
    context.fillStyle = cssColor('--healthy');
    context.fillRect(area.left, top, area.width, bottom - top);
  }
  if (chart.evidence) drawEvidenceSteps(context, area, range, chart.evidence.steps);
  drawStepAxis(context, area, range, axisKind, { labels: !chart.withoutSteps });
  drawValueAxis(context, area, scale);
}

/** @param {PlotArea} area @param {[number, number]} band @param {Scale} scale @returns {number[]} its lower and upper edge within the area */
function _bandPixels(area, band, scale) {
  return band.map((value) => Math.min(Math.max(yToPixel(area, scale, value), area.top), area.top + area.height));
}

/**
 * @param {Context} context @param {PlotArea} area @param {LineChart} chart @param {Scale} scale
 * @param {Points[]} shown the lines, in pixels
 */
function _drawBandLabel(context, area, { band, bandLabel }, scale, shown) {
  if (!band || !bandLabel) return;
  const [bottom, top] = _bandPixels(area, band, scale);
  if (bottom - top < LABEL_HEIGHT) return;
  context.font = FONT;
  context.textAlign = 'left';
  context.textBaseline = 'bottom';
  const width = context.measureText(bandLabel).width;
  const tops = [bottom - LABEL_HEIGHT, top].slice(0, bottom - top < 2 * LABEL_HEIGHT ? 1 : 2);
  const free = freePlace(area, { width, height: LABEL_HEIGHT }, tops, shown);
  const place = free ?? { left: area.left + area.width - 6 - width, top: tops[0] };
  if (!free) drawLabelGround(context, place.left, place.top, width, LABEL_HEIGHT);
  context.fillStyle = cssColor('--good');
  context.fillText(bandLabel, place.left, place.top + LABEL_HEIGHT - 2);
}

/**
 * The rightmost place for a label that no line crosses.
 * @param {PlotArea} area
 * @param {{width: number, height: number}} size
 * @param {number[]} tops possible top edges, the best first
 * @param {Points[]} lines
 * @returns {{left: number, top: number} | null} null if every place is taken
 */
export function freePlace(area, { width, height }, tops, lines) {
  for (let left = area.left + area.width - 6 - width; left >= area.left + 4; left -= width / 2) {
    for (const top of tops) {
      const isFree = lines.every(({ x, y }) =>
        y.every((here, i) => {
          const before = y[i - 1] ?? here;
          const aside = x[i] < left || (x[i - 1] ?? x[i]) > left + width;
          // No line crosses a gap: NaN compares as false.
          const meets = Math.min(here, before) <= top + height + 1 && Math.max(here, before) >= top - 1;
          return aside || !meets;
        }),
      );
      if (isFree) return { left, top };
    }
  }
  return null;
}

/** @param {Context} context @param {PlotArea} area @param {Line} line @param {LineChart} chart */
function _drawMissing(context, area, { x, y, raw, color, unknown }, { range, scale, infinityIsUsual }) {
  const values = raw ?? y;
  const bottom = area.top + area.height;
  const drawn = new Set();
  for (let i = 0; i < x.length; i++) {
    const value = values[i];
    if (_drawable(value, scale) || x[i] < range.from || x[i] > range.to || unknown?.has(i)) continue;
    if (infinityIsUsual && value === Infinity) continue;
    const pixel = Math.round(xToPixel(area, range, x[i]));
    const finite = Number.isFinite(value);
    if (drawn.has(`${pixel} ${finite}`)) continue;
    drawn.add(`${pixel} ${finite}`);
    context.fillStyle = finite ? color : cssColor('--nan');
    context.beginPath();
    if (finite) {
      context.moveTo(pixel - 3, bottom - 6);
      context.lineTo(pixel + 3, bottom - 6);
      context.lineTo(pixel, bottom - 1);
    } else context.rect(pixel - 1, bottom - 8, 2, 8);
    context.fill();
  }
}

/**
 * TensorBoard's smoothing, for the same look as in the Scalars tab: a debiased exponential moving average,
 * s ← w·s + (1 − w)·y, shown as s / (1 − wⁿ) after n values.
 *
 * @param {ArrayLike<number>} values NaN and infinity are gaps: they stay unchanged and do not affect what
 *   follows. On a logarithmic axis, the same applies to values that are not positive.
 * @param {number} weight 0 (no smoothing) up to, but not including, 1
 * @param {boolean} [onLog] average log10 of the values, as shown on a logarithmic axis
 * @returns {Float64Array}
 */
export function smooth(values, weight, onLog = false) {
  const w = Math.min(Math.max(weight, 0), 0.9999);
  if (w === 0) return Float64Array.from(values);
  const result = new Float64Array(values.length);
  let sum = 0;
  let debias = 0; // 1 − wⁿ
  for (let i = 0; i < values.length; i++) {
    const value = onLog ? Math.log10(values[i]) : values[i];
    if (!Number.isFinite(value)) {
      result[i] = values[i];
      continue;
    }
    sum = w * sum + (1 - w) * value;
    debias = w * debias + (1 - w);
    result[i] = onLog ? 10 ** (sum / debias) : sum / debias;
  }
  return result;
}
