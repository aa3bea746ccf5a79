// @ts-check
/** Histograms over time as a heat map: x = step, y = value, colour = share of the elements. */
import { densityColors, packRgb, parseHex } from './colormap.js';
import { cssColor, drawMark, drawStepAxis, drawValueAxis, FONT, plotArea, prepareCanvas, yToPixel } from './frame.js';
import { resampler, specialCounts, usefulCells } from './histogram.js';
import { cellsOfPixels } from './scales.js';

/** @typedef {import('../types.d.ts').AxisKind} AxisKind */
/** @typedef {import('../types.d.ts').HistogramSeries} HistogramSeries */
/** @typedef {import('../types.d.ts').PlotArea} PlotArea */
/** @typedef {import('../types.d.ts').Range} Range */
/** @typedef {import('../types.d.ts').Theme} Theme */
/** @typedef {import('./scales.js').Scale} Scale */
/** @typedef {CanvasRenderingContext2D} Context */

const STRIP_HEIGHT = 8;
const STRIP_GAP = 4;
/** Keeps the lowest label of the value axis away from the first strip's. */
const ABOVE_STRIPS = 4;

/**
 * @typedef {object} Strip a row under the value axis for elements that do not fit on it
 * @property {string} label
 * @property {(index: number) => number} colorOf packed colour of a histogram, 0 for none
 */

/**
 * Colour is the square root of a bin's share relative to the fullest bin of its column.
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
export function drawDensity(canvas, { histogram, xs, range, color, theme, axisKind, mark, scale }) {
  const { context, width, height } = prepareCanvas(canvas);
  const colors = densityColors(cssColor('--surface'), color, theme);
  const strips = [..._zeroStrip(histogram, colors), ...nonFiniteStrip(histogram)];
  const outer = plotArea(width, height);
  const area = aboveStrips(outer, strips);
  _drawCells(context, area, densityShares(histogram, scale, usefulCells(histogram, scale, area.height)), {
    xs,
    range,
    colors,
  });
  drawStepAxis(context, outer, range, axisKind, { grid: false });
  drawValueAxis(context, area, scale, { overData: true });
  drawStrips(context, outer, strips, xs, range);
  if (mark) drawMark(context, area, scale, mark);
  return area;
}

/**
 * @param {HistogramSeries} histogram @param {Scale} scale @param {number} cells
 * @returns {{cells: number, shares: Float32Array}} [histograms, cells], each 0..1 of the fullest cell of its histogram, lowest value first
 */
export function densityShares(histogram, scale, cells) {
  const n = histogram.step.length;
  const shares = new Float32Array(n * cells);
  const resample = resampler(histogram, scale, cells);
  for (let i = 0; i < n; i++) {
    const counts = resample(i);
    const fullest = Math.max(...counts);
    if (fullest > 0)
      for (let cell = 0; cell < cells; cell++) shares[i * cells + cell] = counts[cell] / fullest;
  }
  return { cells, shares };
}

/** A strip for NaN and infinity, if there are any. @param {HistogramSeries} histogram @returns {Strip[]} */
export function nonFiniteStrip(histogram) {
  const found = _anyOf(histogram, (index) => specialCounts(histogram, index).nonFinite > 0);
  if (!found) return [];
  const mark = packRgb(parseHex(cssColor('--nan')));
  return [{ label: 'NaN, ∞', colorOf: (index) => (specialCounts(histogram, index).nonFinite ? mark : 0) }];
}

/** @param {PlotArea} area @param {Strip[]} strips @returns {PlotArea} what the strips leave */
export function aboveStrips(area, strips) {
  if (!strips.length) return area;
  return {
    ...area,
    height: Math.max(1, area.height - strips.length * (STRIP_HEIGHT + STRIP_GAP) - ABOVE_STRIPS),
  };
}

/**
 * @param {Context} context
 * @param {PlotArea} outer area including the strips
 * @param {Strip[]} strips
 * @param {Float64Array} xs
 * @param {Range} range
 */
export function drawStrips(context, outer, strips, xs, range) {
  context.save();
  context.font = FONT;
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  strips.forEach(({ label, colorOf }, i) => {
    const top = outer.top + outer.height - (strips.length - i) * (STRIP_HEIGHT + STRIP_GAP) + STRIP_GAP;
    context.fillStyle = cssColor('--surface-2');
    context.fillRect(outer.left, top, outer.width, STRIP_HEIGHT);
    const strip = { ...outer, top, height: STRIP_HEIGHT };
    _drawImage(
      context,
      strip,
      xs,
      range,
      1,
      (index) => colorOf(index),
      (a, b) => (colorOf(b) ? b : a),
    );
    context.fillStyle = cssColor('--text-2');
    context.fillText(label, outer.left - 6, top + STRIP_HEIGHT / 2 + 0.5);
  });
  context.restore();
}

/** @param {HistogramSeries} histogram @param {Uint32Array} colors @returns {Strip[]} */
function _zeroStrip(histogram, colors) {
  const share = (/** @type {number} */ index) => {
    const { elements, zeros, subnormal } = specialCounts(histogram, index);
    return elements ? (zeros + subnormal) / elements : 0;
  };
  if (!_anyOf(histogram, (index) => share(index) > 0)) return [];
  const subnormals = _anyOf(histogram, (index) => specialCounts(histogram, index).subnormal > 0);
  return [
    {
      label: subnormals ? '≈ 0' : '= 0',
      colorOf: (index) => (share(index) ? colors[Math.round(255 * Math.sqrt(share(index)))] : 0),
    },
  ];
}

/** @param {HistogramSeries} histogram @param {(index: number) => boolean} test */
function _anyOf(histogram, test) {
  for (let index = 0; index < histogram.step.length; index++) if (test(index)) return true;
  return false;
}

/**
 * @param {Context} context
 * @param {PlotArea} area
 * @param {{cells: number, shares: Float32Array}} density
 * @param {{xs: Float64Array, range: Range, colors: Uint32Array}} look
 */
function _drawCells(context, area, { cells, shares }, { xs, range, colors }) {
  const colorOf = (/** @type {number} */ index, /** @type {number} */ cell) =>
    colors[Math.round(255 * Math.sqrt(shares[index * cells + cell]))];
  const fuller = (/** @type {number} */ a, /** @type {number} */ b, /** @type {number} */ cell) =>
    shares[b * cells + cell] > shares[a * cells + cell] ? b : a;
  _drawImage(context, area, xs, range, cells, colorOf, fuller);
}

/**
 * One pixel column per device pixel, stretched vertically only: steps stay sharp, bins blend.
 * @param {Context} context
 * @param {PlotArea} area
 * @param {Float64Array} xs
 * @param {Range} range
 * @param {number} cells
 * @param {(index: number, cell: number) => number} colorOf packed, 0 for none
 * @param {(a: number, b: number, cell: number) => number} pick which of two histograms a pixel shows
 */
function _drawImage(context, area, xs, range, cells, colorOf, pick) {
  const width = Math.max(1, Math.round(area.width * (window.devicePixelRatio || 1)));
  const { first, last } = cellsOfPixels(xs, range, width);
  const image = new ImageData(width, cells);
  const pixels = new Uint32Array(image.data.buffer);
  for (let x = 0; x < width; x++) {
    if (first[x] < 0) continue;
    for (let cell = 0; cell < cells; cell++) {
      let shown = first[x];
      for (let index = shown + 1; index <= last[x]; index++) shown = pick(shown, index, cell);
      pixels[(cells - 1 - cell) * width + x] = colorOf(shown, cell);
    }
  }
  const sheet = new OffscreenCanvas(width, cells);
  sheet.getContext('2d')?.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(sheet, area.left, area.top, area.width, area.height);
}
