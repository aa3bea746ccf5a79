// @ts-check
/** Parameters × steps as a heat map in which no worst value is ever lost to a lack of pixels. */
import {
  COMPARISON_DECADES,
  cssOf,
  packRgb,
  parseHex,
  ratioColors,
  ratioPosition,
  RATIO_DECADES,
  sequentialColors,
} from './colormap.js';
import { cssColor, FONT_FAMILY, prepareCanvas } from './frame.js';
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
 * ratio: update-to-weight, diverging from 1e-3. comparison: a run's value over another's, diverging
 * from 1. Of cosines and of differences, 0 is in the middle.
 * @typedef {StatisticScale | 'ratio' | 'comparison'} Kind
 *
 * How values become colours.
 * @typedef {object} Colouring
 * @property {Kind} kind
 * @property {Scale} scale of values that do not diverge from a power of ten
 * @property {import('./colormap.js').Decades} [decades] of values that do
 *
 * A mark on the row of a parameter.
 * @typedef {object} Mark
 * @property {number} parameter
 * @property {number} x axis position
 * @property {string} text
 * @property {string} name of the parameter
 * @property {number} [value] what fills the mark, coloured as the cells are; nothing unless told
 */

/** Where values are told apart by decades, an exact zero counts as one decade off, as on the server. */
const ZERO_DECADES = 1;

/**
 * Values are told apart by the upper half of a float32 (sign, exponent, 7 bits of mantissa): under 0.4 %
 * off, a third of one colour. Tables of 65,536 entries then replace two million logarithms.
 */
const HALVES = 65_536;
const ZERO = 0;
const NEGATIVE_ZERO = 0x8000;
const POSITIVE_INFINITY = 0x7f80;
const NEGATIVE_INFINITY = 0xff80;
/** In place of a colour: transparent, as no colour is. */
const ZERO_WEIGHT = 1;
/** All bit patterns of NaN become the first; the second then stands for "not logged". */
const NAN = 0x7fc0;
const NOT_LOGGED = 0xffff;

/**
 * @param {import('./frame.js').Surface} canvas filled without margins
 * @param {object} chart
 * @param {TreeRow[]} chart.rows y and height in CSS pixels of the canvas; rows outside it are skipped, so a tall list may be windowed
 * @param {Overview} chart.overview
 * @param {Float64Array} chart.xs axis position of each column (of its last step)
 * @param {Range} chart.range
 * @param {Theme} chart.theme
 * @param {Colouring} [chart.colouring] that of the statistic unless told
 * @param {ReadonlySet<number>} [chart.undefinedFor] parameters whose optimizer does not define the statistic: grey, not NaN
 * @param {import('../state/store.js').Crowded} [chart.crowded] what a pixel shows that covers several cells
 * @param {Mark[]} [chart.marks] what is to be seen however narrow it is; the first are written beside
 * @returns {void}
 */
export function drawOverview(
  canvas,
  { rows, overview, xs, range, theme, colouring = colouringOf(overview), undefinedFor, marks = [], crowded = 'worst' },
) {
  const { context, ratio } = prepareCanvas(canvas);
  const { width, height } = canvas;
  if (!width || !height || !xs.length) return;
  const cells = cellsOfPixels(xs, range, width);
  const image = context.createImageData(width, height);
  const colors = _colorsOf(colouring, theme);
  const paint = _painter(new Uint32Array(image.data.buffer), cells.first, ratio, colors);
  const severities = severitiesOf(overview, colouring.kind);
  const newest = { first: cells.last, last: cells.last };
  for (const { top, bottom, parameters } of deviceStripes(rows, ratio, height)) {
    const shown = undefinedFor ? parameters.filter((parameter) => !undefinedFor.has(parameter)) : parameters;
    const severity =
      crowded === 'mean'
        ? meanSeverities(overview, colouring.kind, shown, cells)
        : worstSeverities(severities, overview.columns, shown, crowded === 'latest' ? newest : cells);
    paint(severity, top, bottom);
  }
  context.putImageData(image, 0, 0);
  const { severityOf } = severityTable(colouring.kind);
  const fillOf = (/** @type {number} */ value) => cssOf(colors[severityOf[_halfOf(value)]]);
  _drawMarks(context, marksOfRows(rows, marks, range, canvas.clientWidth), fillOf, canvas.clientWidth);
}

/** Half the width of a mark, in CSS pixels: a step of no width is seen, and can be hit. */
export const MARK_REACH = 4;
const LABELS = 12;
/** Where everything jumps at once, a few names are enough. */
const LABELS_OF_A_STEP = 3;
const LABEL_HEIGHT = 13;

/**
 * The marks of every row, the first of those that would lie on each other.
 * @template {Pick<Mark, 'parameter' | 'x'>} T
 * @param {TreeRow[]} rows @param {T[]} marks @param {Range} range @param {number} width CSS pixels
 * @returns {{row: TreeRow, mark: T, pixel: number, others: number}[]} in the order of the marks; `others` are hidden behind it
 */
export function marksOfRows(rows, marks, range, width) {
  /** @type {Map<number, TreeRow>} */
  const rowOf = new Map();
  for (const row of rows) if (!row.open) for (const parameter of row.parameters) rowOf.set(parameter, row);
  /** @type {{row: TreeRow, mark: T, pixel: number, others: number}[]} */
  const placed = [];
  /** @type {Map<TreeRow, typeof placed>} */
  const inRow = new Map();
  for (const mark of marks) {
    const row = rowOf.get(mark.parameter);
    if (!row || mark.x < range.from || mark.x > range.to) continue;
    const pixel = range.to > range.from ? (width * (mark.x - range.from)) / (range.to - range.from) : width / 2;
    const here = inRow.get(row) ?? [];
    inRow.set(row, here);
    const covered = here.find((other) => Math.abs(other.pixel - pixel) < 2 * MARK_REACH);
    if (covered) covered.others += 1;
    else {
      const place = { row, mark, pixel, others: 0 };
      here.push(place);
      placed.push(place);
    }
  }
  return placed;
}

/**
 * A frame around each marked step, and beside the first of them what it is, on the side of the steps before.
 * @param {CanvasRenderingContext2D} context
 * @param {ReturnType<typeof marksOfRows<Mark>>} placed
 * @param {(value: number) => string} fillOf
 * @param {number} width CSS pixels
 */
function _drawMarks(context, placed, fillOf, width) {
  const [ink, ground] = [cssColor('--text'), cssColor('--surface')];
  context.font = `500 11px ${FONT_FAMILY}`;
  context.textBaseline = 'middle';
  context.textAlign = 'left';
  for (const { row, mark, pixel } of placed) {
    const [left, top] = [Math.round(pixel) - MARK_REACH, Math.round(row.y)];
    const height = Math.round(row.y + row.height) - top - 1;
    if (mark.value !== undefined) {
      context.fillStyle = fillOf(mark.value);
      context.fillRect(left, top, 2 * MARK_REACH, height);
    }
    _frame(context, left + 1, top + 1, 2 * MARK_REACH - 2, height - 2, ground);
    _frame(context, left, top, 2 * MARK_REACH, height, ink);
  }
  const widthOf = (/** @type {string} */ words) => context.measureText(words).width + 8;
  for (const { row, text, left, size } of labelsOfMarks(placed, widthOf, width)) {
    const top = Math.round(row.y + (row.height - 1 - LABEL_HEIGHT) / 2);
    context.fillStyle = ground;
    context.fillRect(left, top, size, LABEL_HEIGHT);
    context.fillStyle = ink;
    context.fillText(text, left + 4, top + LABEL_HEIGHT / 2 + 0.5);
  }
}

/**
 * What is written beside the first marks: before the mark where there is room, else after it, and nothing
 * where it would lie on another label or mark of its row.
 * @param {ReturnType<typeof marksOfRows<Mark>>} placed
 * @param {(text: string) => number} widthOf of a label, CSS pixels
 * @param {number} width of the heat map
 * @returns {{row: TreeRow, text: string, left: number, size: number}[]}
 */
export function labelsOfMarks(placed, widthOf, width) {
  /** @type {Map<number, number>} */
  const written = new Map();
  /** @type {Map<TreeRow, [number, number][]>} */
  const taken = new Map();
  for (const { row, pixel } of placed)
    taken.set(row, [...(taken.get(row) ?? []), [pixel - MARK_REACH, pixel + MARK_REACH]]);
  const labels = [];
  for (const { row, mark, pixel, others } of placed) {
    const count = written.get(mark.x) ?? 0;
    if (count === LABELS_OF_A_STEP) continue;
    const within = mark.name.startsWith(row.key) ? row.key.length + 1 : 0;
    const inner = row.kind === 'module' ? `${mark.name.slice(within)} ` : '';
    const end = others ? ` +${others}` : '';
    const here = /** @type {[number, number][]} */ (taken.get(row));
    const label = [`${inner}${mark.text}${end}`, `${mark.text}${end}`]
      .flatMap((text) => {
        const size = widthOf(text);
        const [before, after] = [pixel - MARK_REACH - 2 - size, pixel + MARK_REACH + 2].map(Math.round);
        return [{ text, size, left: before }, { text, size, left: after }];
      })
      .filter(({ left, size }) => left >= 0 && left + size <= width)
      .find(({ left, size }) => !here.some(([from, to]) => left < to && left + size > from));
    if (!label) continue;
    here.push([label.left, label.left + label.size]);
    written.set(mark.x, count + 1);
    labels.push({ row, ...label });
    if (labels.length === LABELS) break;
  }
  return labels;
}

/** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} width @param {number} height @param {string} color */
function _frame(context, x, y, width, height, color) {
  context.strokeStyle = color;
  context.lineWidth = 1;
  context.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
}

/** @param {number} value @returns {number} its upper half, as float32 */
function _halfOf(value) {
  if (Number.isNaN(value)) return NAN;
  return new Uint32Array(Float32Array.of(value).buffer)[0] >>> 16;
}

/**
 * How the heat map and its legend colour values. Scales that follow the data are robust: single
 * outliers saturate instead of washing out the rest.
 * @param {Pick<Overview, 'statistic' | 'values'> & {against?: string | null}} overview
 * @param {StatisticScale} [scale] how the statistic's values are read, 'log' unless told
 * @param {[number, number]} [ratios] update-to-weight ratios at the ends of the colours
 * @returns {Colouring}
 */
export function colouringOf(overview, scale = 'log', ratios = [10 ** RATIO_DECADES.low, 10 ** RATIO_DECADES.high]) {
  const signed = scale === 'fraction' || scale === 'cosine';
  if (overview.against) {
    const decades = COMPARISON_DECADES;
    return signed
      ? { kind: 'cosine', scale: linearScale(-1, 1) }
      : { kind: 'comparison', scale: logScale(10 ** decades.low, 10 ** decades.high), decades };
  }
  if (overview.statistic === RATIO_STATISTIC) {
    const [low, high] = ratios.map(Math.log10);
    return { kind: 'ratio', scale: logScale(...ratios), decades: { ...RATIO_DECADES, low, high } };
  }
  if (signed) return { kind: scale, scale: linearScale(scale === 'cosine' ? -1 : 0, 1) };
  const [low, high] = domainOfLog([overview.values]) ?? [1e-3, 1];
  return { kind: scale, scale: logScale(low, high) };
}

/**
 * @param {Float64Array} xs
 * @param {Range} range
 * @param {number} unit 0..1 across the range
 * @returns {number} the column drawn there (the nearest), -1 without columns
 */
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
 * @param {Pick<TreeRow, 'open' | 'parameters' | 'y' | 'height'>[]} rows
 * @param {number} ratio device pixels per CSS pixel
 * @param {number} height of the canvas, device pixels
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
 * How bad each cell is, as an integer: the higher, the worse; 0 where nothing was logged. NaN beats
 * everything, and infinity comes next. Ratios count decades from their middle, an exact 0 as one decade,
 * so that it neither drowns among healthy values nor hides a spike, and infinity, the ratio of an update
 * to a weight that was 0, as well; cosines count their distance from 0;
 * of other statistics the largest is the worst.
 * @param {Pick<Overview, 'values' | 'logged'>} overview
 * @param {Kind} kind
 * @returns {Uint16Array} [parameters, columns]; see severityTable
 */
export function severitiesOf({ values, logged }, kind) {
  const known = _severities.get(values);
  if (known?.kind === kind && known.logged === logged) return known.severities;
  const { severityOf } = severityTable(kind);
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const severities = new Uint16Array(values.length);
  for (let i = 0; i < words.length; i++) {
    const half = words[i] >>> 16;
    const isNaN = (half & 0x7f80) === POSITIVE_INFINITY && (words[i] & 0x7fffff) !== 0;
    if (!logged || logged[i]) severities[i] = severityOf[isNaN ? NAN : half];
  }
  _severities.set(values, { kind, logged, severities });
  return severities;
}

/** @type {WeakMap<Float32Array, {kind: Kind, logged: Uint8Array | undefined, severities: Uint16Array}>} */
const _severities = new WeakMap();

/**
 * The worst cell among those that each pixel covers.
 * @param {Uint16Array} severities [parameters, columns] @param {number} columns
 * @param {number[]} parameters of one stripe
 * @param {{first: Int32Array, last: Int32Array}} cells columns per pixel
 * @returns {Uint16Array} per pixel
 */
export function worstSeverities(severities, columns, parameters, { first, last }) {
  const worst = new Uint16Array(first.length);
  for (const parameter of parameters) {
    const row = parameter * columns;
    for (let pixel = 0; pixel < first.length; pixel++) {
      if (first[pixel] < 0) continue;
      let severity = worst[pixel];
      for (let at = row + first[pixel], end = row + last[pixel]; at <= end; at++) {
        if (severities[at] > severity) severity = severities[at];
      }
      worst[pixel] = severity;
    }
  }
  return worst;
}

/**
 * The arithmetic mean of the cells that each pixel covers; NaN where one of them is.
 * @param {Pick<Overview, 'values' | 'columns' | 'logged'>} overview @param {Kind} kind
 * @param {number[]} parameters of one stripe
 * @param {{first: Int32Array, last: Int32Array}} cells columns per pixel
 * @returns {Uint16Array} severity per pixel
 */
export function meanSeverities({ values, columns, logged }, kind, parameters, { first, last }) {
  const { severityOf } = severityTable(kind);
  return Uint16Array.from(first, (from, pixel) => {
    let [sum, count] = [0, 0];
    for (const parameter of from < 0 ? [] : parameters) {
      for (let at = parameter * columns + from, end = parameter * columns + last[pixel]; at <= end; at++) {
        if (logged && !logged[at]) continue;
        sum += values[at];
        count++;
      }
    }
    return count ? severityOf[_halfOf(sum / count)] : 0;
  });
}

/**
 * All values in ascending order of severity.
 * @param {Kind} kind
 * @returns {{severityOf: Uint16Array, valueOf: Float32Array, decadeOf: Float32Array}} severity of the upper
 *   half of a float32, and the value of a severity and its log10
 */
export function severityTable(kind) {
  const known = _severityTables.get(kind);
  if (known) return known;
  const values = _valuesOfHalves();
  const keys = new Float64Array(HALVES);
  for (let half = 0; half < HALVES; half++) {
    // The half itself breaks ties and travels through the sort.
    keys[half] = Math.round((_badness(kind, half, values[half]) + 1e3) * 1e6) * HALVES + half;
  }
  keys.sort();
  const table = {
    severityOf: new Uint16Array(HALVES),
    valueOf: new Float32Array(HALVES),
    decadeOf: new Float32Array(HALVES),
  };
  keys.forEach((key, severity) => {
    const half = key % HALVES;
    table.severityOf[half] = severity;
    table.valueOf[severity] = values[half];
    table.decadeOf[severity] = Math.log10(values[half]);
  });
  _severityTables.set(kind, table);
  return table;
}

/** @type {Map<Kind, ReturnType<typeof severityTable>>} */
const _severityTables = new Map();

/** @param {Kind} kind @param {number} half @param {number} value @returns {number} -1000..1000 */
function _badness(kind, half, value) {
  if (half === NOT_LOGGED) return -1e3;
  if (Number.isNaN(value)) return 1e3;
  if (kind === 'ratio' && value === Infinity) return ZERO_DECADES;
  if (value === Infinity || value === -Infinity) return 950;
  if (kind === 'ratio' || kind === 'comparison') {
    const { middle } = kind === 'ratio' ? RATIO_DECADES : COMPARISON_DECADES;
    return value > 0 ? Math.min(Math.abs(Math.log10(value) - middle), 900) : ZERO_DECADES;
  }
  if (kind === 'cosine') return Math.min(Math.abs(value), 900);
  if (kind === 'fraction') return Math.max(-900, Math.min(value, 900));
  return value > 0 ? Math.min(Math.log10(value), 900) : -900;
}

/** @returns {Float32Array} the value in the middle of what each upper half stands for */
function _valuesOfHalves() {
  const words = new Uint32Array(HALVES);
  for (let half = 0; half < HALVES; half++) words[half] = (half << 16) | 0x8000;
  for (const exact of [ZERO, NEGATIVE_ZERO, POSITIVE_INFINITY, NEGATIVE_INFINITY]) words[exact] = exact << 16;
  return new Float32Array(words.buffer);
}

/** @type {{key: string, colors: Uint32Array} | null} */
let _latestColors = null;

/**
 * @param {Colouring} colouring
 * @param {Theme} theme
 * @returns {Uint32Array} packed colour per severity; 0 is the hatch of an exact zero, 1 that of a weight that was 0
 */
function _colorsOf(colouring, theme) {
  const key = [colouring.kind, colouring.scale.low, colouring.scale.high, theme].join();
  if (_latestColors?.key !== key) _latestColors = { key, colors: _paintedSeverities(colouring, theme) };
  return _latestColors.colors;
}

/** @param {Colouring} colouring @param {Theme} theme */
function _paintedSeverities({ kind, scale, decades }, theme) {
  const { severityOf, valueOf, decadeOf } = severityTable(kind);
  const ramp = decades || kind === 'cosine' ? ratioColors(theme) : sequentialColors(theme);
  const colors = new Uint32Array(HALVES);
  for (let severity = 0; severity < HALVES; severity++) {
    const unit = decades ? ratioPosition(decadeOf[severity], decades) : scale.toUnit(valueOf[severity]);
    colors[severity] = ramp[Math.round(unit * (ramp.length - 1))];
  }
  if (decades || kind === 'log') colors[severityOf[ZERO]] = colors[severityOf[NEGATIVE_ZERO]] = 0;
  for (const half of [NAN, POSITIVE_INFINITY, NEGATIVE_INFINITY])
    colors[severityOf[half]] = packRgb(parseHex(cssColor('--nan')));
  if (kind === 'ratio') colors[severityOf[POSITIVE_INFINITY]] = ZERO_WEIGHT;
  colors[severityOf[NOT_LOGGED]] = packRgb(parseHex(cssColor('--nodata')));
  return colors;
}

/**
 * @param {Uint32Array} pixels of the canvas
 * @param {Int32Array} first column of each pixel, -1 where there is none and the card shows
 * @param {number} ratio @param {Uint32Array} colors per severity
 * @returns {(severities: Uint16Array, top: number, bottom: number) => void}
 */
function _painter(pixels, first, ratio, colors) {
  const width = first.length;
  const ground = colors[0];
  const line = packRgb(parseHex(cssColor('--hatch')));
  const period = Math.max(4, Math.round(6 * ratio));
  return (severities, top, bottom) => {
    /** @type {number[]} */
    const hatched = [];
    /** @type {number[]} */
    const lined = [];
    for (let x = 0, at = top * width; x < width; x++, at++) {
      if (first[x] < 0) continue;
      pixels[at] = colors[severities[x]];
      if (pixels[at] === 0) hatched.push(x);
      else if (pixels[at] === ZERO_WEIGHT) lined.push(x);
    }
    for (let y = top + 1; y < bottom; y++) pixels.copyWithin(y * width, top * width, (top + 1) * width);
    for (const x of hatched) {
      for (let y = top; y < bottom; y++)
        pixels[y * width + x] = (x + y) % period < period / 3 ? line : ground;
    }
    for (const x of lined) {
      for (let y = top; y < bottom; y++)
        pixels[y * width + x] = (y - top) % period < period / 2 ? line : ground;
    }
  };
}
