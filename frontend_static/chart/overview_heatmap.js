// @ts-check
/** Parameters × steps as a heat map in which no worst value is ever lost to a lack of pixels. */
import { packRgb, parseHex, ratioColors, ratioPosition, RATIO_DECADES, sequentialColors } from './colormap.js';
import { cssColor, prepareCanvas } from './frame.js';
import { cellsOfPixels, domainOfLog, linearScale, logScale } from './scales.js';

/** @typedef {import('../types.d.ts').Overview} Overview */
/** @typedef {import('../types.d.ts').Range} Range */
/** @typedef {import('../types.d.ts').Theme} Theme */
/** @typedef {import('../types.d.ts').TreeRow} TreeRow */
/** @typedef {import('../types.d.ts').StatisticInfo['scale']} StatisticScale */
/** @typedef {import('./scales.js').Scale} Scale */

/** The statistic whose colours diverge from 1e-3. */
export const RATIO_STATISTIC = 'update_to_weight_ratio';

/**
 * What a pixel shows: the upper half of a float32 (sign, exponent, 7 bits of mantissa: under 0.4 % off,
 * a third of one colour), or one of these. A table of 65,536 entries then replaces two million logarithms.
 */
export const CODE = {
  zero: 0,
  negativeZero: 0x8000,
  positiveInfinity: 0x7f80,
  nan: 0x7fc0,
  notLogged: 0xffff,
  outside: 0xfffe,
};
const CODES = 65_536;

/**
 * @param {HTMLCanvasElement} canvas filled without margins
 * @param {object} chart
 * @param {TreeRow[]} chart.rows y and height in CSS pixels of the canvas; rows outside it are skipped, so a tall list may be windowed
 * @param {Overview} chart.overview
 * @param {Float64Array} chart.xs axis position of each column (of its last step)
 * @param {Range} chart.range
 * @param {Theme} chart.theme
 * @param {StatisticScale} [chart.scale] how the statistic's values are read, 'log' unless told
 * @param {ReadonlySet<number>} [chart.undefinedFor] parameters whose optimizer does not define the statistic: grey, not NaN
 * @returns {void}
 */
export function drawOverview(canvas, { rows, overview, xs, range, theme, scale = 'log', undefinedFor }) {
  const { context, ratio } = prepareCanvas(canvas);
  const { width, height } = canvas;
  if (!width || !height || !xs.length) return;
  const kind = overview.statistic === RATIO_STATISTIC ? 'ratio' : scale;
  const table = _tableFor(kind, kind === 'ratio' ? null : overviewDomain(overview, scale), theme);
  const cells = cellsOfPixels(xs, range, width);
  const image = context.createImageData(width, height);
  const painter = _painter(new Uint32Array(image.data.buffer), width, ratio, table.colors);
  for (const { top, bottom, parameters } of deviceStripes(rows, ratio, height)) {
    const shown = undefinedFor ? parameters.filter((parameter) => !undefinedFor.has(parameter)) : parameters;
    painter(worstCodes(overview, shown, cells, table.ranks), top, bottom);
  }
  context.putImageData(image, 0, 0);
}

/**
 * The value scale of the heat map and its legend: robust, so that single outliers saturate instead of
 * washing out the rest. The ratio's is fixed.
 * @param {Overview} overview @param {StatisticScale} [scale] @returns {Scale}
 */
export function overviewDomain(overview, scale = 'log') {
  if (overview.statistic === RATIO_STATISTIC) return logScale(10 ** RATIO_DECADES.low, 10 ** RATIO_DECADES.high);
  if (scale === 'fraction') return linearScale(0, 1);
  if (scale === 'cosine') return linearScale(-1, 1);
  const [low, high] = domainOfLog([overview.values]) ?? [1e-3, 1];
  return logScale(low, high);
}

/** @param {Float64Array} xs @param {Range} range @param {number} unit 0..1 across the range @returns {number} the column drawn there (the nearest), -1 without columns */
export function columnAtX(xs, range, unit) {
  const x = range.from + unit * (range.to - range.from);
  let nearest = -1;
  for (let i = 0; i < xs.length; i++) {
    if (nearest < 0 || Math.abs(xs[i] - x) < Math.abs(xs[nearest] - x)) nearest = i;
  }
  return nearest;
}

/**
 * Rows of the tree as stripes of whole device pixels. A row of several parameters gets a stripe for each,
 * or stripes of several parameters where there are more of them than pixels. Open modules have none.
 * @param {TreeRow[]} rows @param {number} ratio device pixels per CSS pixel @param {number} height of the canvas, device pixels
 * @returns {{top: number, bottom: number, parameters: number[]}[]}
 */
export function deviceStripes(rows, ratio, height) {
  const stripes = [];
  for (const row of rows) {
    if (row.open || !row.parameters.length) continue;
    const top = Math.round(row.y * ratio);
    const gap = Math.round(ratio);
    const pixels = Math.max(1, Math.round((row.y + row.height) * ratio) - top - gap);
    if (top >= height || top + pixels <= 0) continue;
    const n = row.parameters.length;
    const count = Math.min(n, pixels);
    for (let s = 0; s < count; s++) {
      stripes.push({
        top: Math.max(0, top + Math.floor((s * pixels) / count)),
        bottom: Math.min(height, top + Math.floor(((s + 1) * pixels) / count)),
        parameters: row.parameters.slice(Math.floor((s * n) / count), Math.floor(((s + 1) * n) / count)),
      });
    }
  }
  return stripes.filter((stripe) => stripe.bottom > stripe.top);
}

/**
 * Per pixel the code of the worst cell among those it covers.
 * @param {Overview} overview @param {number[]} parameters of one stripe
 * @param {{first: Int32Array, last: Int32Array}} cells columns per pixel
 * @param {Float32Array} ranks per code: the higher, the worse
 * @returns {Uint16Array} see CODE
 */
export function worstCodes({ values, columns, logged }, parameters, { first, last }, ranks) {
  const width = first.length;
  const codes = new Uint16Array(width).fill(CODE.notLogged);
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (const parameter of parameters) {
    const row = parameter * columns;
    for (let pixel = 0; pixel < width; pixel++) {
      if (first[pixel] < 0) continue;
      let worst = codes[pixel];
      for (let at = row + first[pixel]; at <= row + last[pixel]; at++) {
        if (logged && !logged[at]) continue;
        const code = _code(words[at]);
        if (ranks[code] > ranks[worst]) worst = code;
      }
      codes[pixel] = worst;
    }
  }
  for (let pixel = 0; pixel < width; pixel++) if (first[pixel] < 0) codes[pixel] = CODE.outside;
  return codes;
}

/**
 * How bad each code is. NaN beats everything. The ratio counts decades from 1e-3, so that +∞ and an
 * update of exactly 0 come next; cosines count their distance from 0; the largest wins elsewhere.
 * @param {StatisticScale | 'ratio'} kind @returns {Float32Array}
 */
export function severityRanks(kind) {
  const ranks = _valuesOfCodes().map((value) => _severity(kind, value));
  ranks[CODE.nan] = Infinity;
  ranks[CODE.notLogged] = -Infinity;
  return ranks;
}

/** @param {number} word bits of a float32 @returns {number} */
function _code(word) {
  const code = word >>> 16;
  const isNaN = (code & 0x7f80) === 0x7f80 && (word & 0x7fffff) !== 0;
  return isNaN ? CODE.nan : code;
}

/** @param {StatisticScale | 'ratio'} kind @param {number} value */
function _severity(kind, value) {
  if (kind === 'ratio') return value > 0 ? Math.min(Math.abs(Math.log10(value) - RATIO_DECADES.middle), 2e3) : 1e3;
  if (kind === 'cosine') return Math.abs(value);
  if (kind === 'fraction') return value;
  return value > 0 ? Math.min(Math.log10(value), 1e3) : -1e3;
}

/** @type {{key: string, ranks: Float32Array, colors: Uint32Array} | null} */
let _table = null;

/** @param {StatisticScale | 'ratio'} kind @param {Scale | null} scale null for the ratio @param {Theme} theme */
function _tableFor(kind, scale, theme) {
  const key = [kind, scale?.low, scale?.high, theme].join();
  if (_table?.key !== key) _table = { key, ranks: severityRanks(kind), colors: _colors(kind, scale, theme) };
  return _table;
}

/** @param {StatisticScale | 'ratio'} kind @param {Scale | null} scale @param {Theme} theme @returns {Uint32Array} packed colour per code; 0 is the hatch of an exact zero */
function _colors(kind, scale, theme) {
  const ramp = kind === 'ratio' || kind === 'cosine' ? ratioColors(theme) : sequentialColors(theme);
  const position = scale ? scale.toUnit : (/** @type {number} */ value) => ratioPosition(Math.log10(value));
  const colors = Uint32Array.from(_valuesOfCodes(), (value) => ramp[Math.round(position(value) * (ramp.length - 1))]);
  const hatched = kind === 'ratio' || kind === 'log';
  for (const zero of [CODE.zero, CODE.negativeZero]) {
    colors[zero] = hatched ? 0 : ramp[Math.round((kind === 'count' || !scale ? 0 : scale.toUnit(0)) * (ramp.length - 1))];
  }
  colors[CODE.nan] = packRgb(parseHex(cssColor('--nan')));
  colors[CODE.notLogged] = packRgb(parseHex(cssColor('--nodata')));
  return colors;
}

/** @returns {Float32Array} the value in the middle of what each code stands for */
function _valuesOfCodes() {
  const words = Uint32Array.from({ length: CODES }, (_, code) => (code << 16) | 0x8000);
  for (const exact of [CODE.zero, CODE.negativeZero, CODE.positiveInfinity, 0xff80]) words[exact] = exact << 16;
  return new Float32Array(words.buffer);
}

/**
 * @param {Uint32Array} pixels @param {number} width @param {number} ratio @param {Uint32Array} colors
 * @returns {(codes: Uint16Array, top: number, bottom: number) => void}
 */
function _painter(pixels, width, ratio, colors) {
  const ground = colors[CODE.notLogged];
  const line = packRgb(parseHex(cssColor('--hatch')));
  const period = Math.max(4, Math.round(6 * ratio));
  return (codes, top, bottom) => {
    const hatched = [];
    for (let x = 0, at = top * width; x < width; x++, at++) {
      const code = codes[x];
      if (code === CODE.outside) continue;
      pixels[at] = colors[code];
      if (colors[code] === 0) hatched.push(x);
    }
    for (let y = top + 1; y < bottom; y++) pixels.copyWithin(y * width, top * width, (top + 1) * width);
    for (const x of hatched) {
      for (let y = top; y < bottom; y++) pixels[y * width + x] = (x + y) % period < period / 3 ? line : ground;
    }
  };
}
