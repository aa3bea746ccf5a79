// @ts-check
/**
 * Values over steps for several runs, drawn by uPlot: a shaded band, faint raw lines under smoothed ones.
 */
import uPlot from '../vendor/uPlot.js';
import { cssColor, drawStepAxis, drawValueAxis, FONT, MARGIN, yToPixel } from './frame.js';
import { linearScale, logScale } from './scales.js';

/** @typedef {import('../types.d.ts').AxisKind} AxisKind */
/** @typedef {import('../types.d.ts').PlotArea} PlotArea */
/** @typedef {import('../types.d.ts').Range} Range */
/** @typedef {import('./scales.js').Scale} Scale */
/**
 * @typedef {(number | null | undefined)[]} Column null: a gap; undefined: a step that this line does not have
 */

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {string} color
 * @property {number[]} [dash]
 * @property {Float64Array} x ascending axis positions; lines may have different ones
 * @property {ArrayLike<number>} y what is drawn; NaN is a gap
 * @property {ArrayLike<number>} [raw] drawn faintly under it, when y is smoothed
 */

/**
 * @typedef {object} LineChartOptions
 * @property {AxisKind} axisKind
 * @property {Range} range
 * @property {Line[]} lines
 * @property {'log' | 'linear'} scale
 * @property {[number, number]} [band] shaded values
 * @property {string} [bandLabel]
 * @property {number} [middle] a dashed line
 * @property {(x: number | null) => void} [onCursor] axis value under the pointer; null when it leaves
 * @property {(range: Range | null) => void} [onZoom] a dragged span; null on a double click
 */

const RAW_ALPHA = 0.3;
const SHORTEST_DRAG = 5;

/**
 * Values that the axis cannot show leave a gap and a mark at the bottom: a tick for NaN and infinity, a
 * triangle for zeros and negative values on a logarithmic axis.
 * @param {HTMLElement} element filled
 * @param {LineChartOptions} options
 * @returns {{area(): PlotArea, resize(): void, destroy(): void}}
 */
export function createLineChart(element, options) {
  const { range, lines } = options;
  const scale = lineScale(options);
  const { series, data } = alignLines(options);
  const xRange = /** @type {[number, number]} */ (
    range.to > range.from ? [range.from, range.to] : [range.from - 1, range.from + 1]
  );
  const chart = new uPlot(
    {
      width: element.clientWidth,
      height: element.clientHeight,
      padding: [MARGIN.top, MARGIN.right, MARGIN.bottom, MARGIN.left],
      legend: { show: false },
      cursor: {
        x: false,
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false, dist: SHORTEST_DRAG },
        bind: { dblclick: () => () => (options.onZoom?.(null), null) },
      },
      scales: {
        x: { time: false, range: () => xRange },
        y: { distr: options.scale === 'log' ? 3 : 1, range: () => [scale.low, scale.high] },
      },
      axes: [{ show: false }, { show: false }], // drawn by hand, so that all charts of the tab look alike
      series: [{}, ...series],
      hooks: {
        drawClear: [(u) => _inCssPixels(u, (context, area) => _drawGround(context, area, options, scale))],
        draw: [
          (u) =>
            _inCssPixels(u, (context, area) =>
              lines.forEach((line) => _drawMissing(context, area, line, options)),
            ),
        ],
        setCursor: [(u) => options.onCursor?.(_cursorValue(u, range))],
        setSelect: [(u) => _zoom(u, options)],
      },
    },
    /** @type {uPlot.AlignedData} */ (data),
    element,
  );
  return {
    area: () => _areaOf(chart),
    resize: () => chart.setSize({ width: element.clientWidth, height: element.clientHeight }),
    destroy: () => chart.destroy(),
  };
}

/**
 * The value axis: everything visible is inside, and so are the band and the middle.
 * @param {Pick<LineChartOptions, 'lines' | 'range' | 'scale' | 'band' | 'middle'>} options @returns {Scale}
 */
export function lineScale({ lines, range, scale, band, middle }) {
  const onLog = scale === 'log';
  let [low, high] = [Infinity, -Infinity];
  const include = (/** @type {number} */ value) => {
    if (!Number.isFinite(value) || (onLog && value <= 0)) return;
    low = Math.min(low, value);
    high = Math.max(high, value);
  };
  for (const { x, y, raw } of lines) {
    for (let i = 0; i < x.length; i++) {
      if (x[i] < range.from || x[i] > range.to) continue;
      include(y[i]);
      if (raw) include(raw[i]);
    }
  }
  for (const value of [...(band ?? []), middle ?? NaN]) include(value);
  if (low > high) return onLog ? logScale(1e-3, 1) : linearScale(0, 1);
  if (!onLog) return linearScale(low - 0.05 * (high - low), high + 0.05 * (high - low));
  const room = Math.max(1.1, (high / low) ** 0.05);
  return logScale(low / room, high * room);
}

/**
 * All lines on one list of x values, as uPlot needs them.
 * @param {Pick<LineChartOptions, 'lines' | 'scale'>} options
 * @returns {{series: uPlot.Series[], data: (number[] | Column)[]}} raw lines come first, under the others
 */
export function alignLines({ lines, scale }) {
  const layers = [
    ...lines.flatMap(({ label, color, x, raw }) =>
      raw ? [{ x, y: raw, series: { label, stroke: color, width: 1, alpha: RAW_ALPHA } }] : [],
    ),
    ...lines.map(({ label, color, dash, x, y }) => ({
      x,
      y,
      series: { label, stroke: color, width: 1.6, dash },
    })),
  ];
  if (!layers.length) return { series: [], data: [[]] };
  const tables = layers.map(({ x, y }) => [Array.from(x), Array.from(y, (value) => _drawable(value, scale))]);
  const data = uPlot.join(/** @type {uPlot.AlignedData[]} */ (tables));
  const series = layers.map((layer, i) => {
    const alone = isolatedPoints(/** @type {Column} */ (data[i + 1]));
    return {
      ...layer.series,
      points: {
        show: false,
        size: 4,
        fill: layer.series.stroke,
        filter: () => (alone.length ? alone : null),
      },
    };
  });
  return { series, data: /** @type {(number[] | Column)[]} */ (data) };
}

/** @param {number} value @param {'log' | 'linear'} scale */
function _drawable(value, scale) {
  return Number.isFinite(value) && (scale === 'linear' || value > 0) ? value : null;
}

/** Points without a neighbour to draw a line to. @param {Column} column @returns {number[]} */
export function isolatedPoints(column) {
  const isolated = [];
  let before = /** @type {number | null} */ (null);
  let candidate = -1;
  column.forEach((value, i) => {
    if (value === undefined) return;
    if (value === null && candidate >= 0) isolated.push(candidate);
    candidate = value !== null && before === null ? i : -1;
    before = value;
  });
  if (candidate >= 0) isolated.push(candidate);
  return isolated;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {PlotArea} area
 * @param {LineChartOptions} options
 * @param {Scale} scale
 */
function _drawGround(context, area, { band, bandLabel, middle, range, axisKind }, scale) {
  if (band) {
    const [bottom, top] = band.map((value) => yToPixel(area, scale, value));
    context.fillStyle = cssColor('--healthy');
    context.fillRect(area.left, top, area.width, bottom - top);
  }
  drawStepAxis(context, area, range, axisKind);
  drawValueAxis(context, area, scale);
  if (middle !== undefined) {
    const y = Math.round(yToPixel(area, scale, middle)) + 0.5;
    context.strokeStyle = cssColor('--healthy-line');
    context.setLineDash([4, 4]);
    context.beginPath();
    context.moveTo(area.left, y);
    context.lineTo(area.left + area.width, y);
    context.stroke();
    context.setLineDash([]);
  }
  if (band && bandLabel) {
    const [bottom, top] = band.map((value) => yToPixel(area, scale, value));
    if (bottom - top < 13) return;
    context.font = FONT;
    context.fillStyle = cssColor('--good');
    context.textAlign = 'right';
    context.textBaseline = 'bottom';
    context.fillText(bandLabel, area.left + area.width - 6, bottom - 2);
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {PlotArea} area
 * @param {Line} line
 * @param {LineChartOptions} options
 */
function _drawMissing(context, area, { x, y, raw, color }, { range, scale }) {
  const values = raw ?? y;
  const bottom = area.top + area.height;
  const drawn = new Set();
  for (let i = 0; i < x.length; i++) {
    const value = values[i];
    if (_drawable(value, scale) !== null || x[i] < range.from || x[i] > range.to) continue;
    const share = range.to > range.from ? (x[i] - range.from) / (range.to - range.from) : 0.5;
    const pixel = Math.round(area.left + area.width * share);
    const kind = Number.isFinite(value);
    if (drawn.has(`${pixel} ${kind}`)) continue;
    drawn.add(`${pixel} ${kind}`);
    context.fillStyle = kind ? color : cssColor('--nan');
    context.beginPath();
    if (kind) {
      context.moveTo(pixel - 3, bottom - 6);
      context.lineTo(pixel + 3, bottom - 6);
      context.lineTo(pixel, bottom - 1);
    } else context.rect(pixel - 1, bottom - 8, 2, 8);
    context.fill();
  }
}

/** @param {uPlot} chart @param {(context: CanvasRenderingContext2D, area: PlotArea) => void} draw */
function _inCssPixels(chart, draw) {
  const ratio = window.devicePixelRatio || 1;
  chart.ctx.save();
  chart.ctx.scale(ratio, ratio);
  draw(chart.ctx, _areaOf(chart));
  chart.ctx.restore();
}

/** @param {uPlot} chart @returns {PlotArea} */
function _areaOf({ bbox }) {
  const ratio = window.devicePixelRatio || 1;
  return {
    left: bbox.left / ratio,
    top: bbox.top / ratio,
    width: bbox.width / ratio,
    height: bbox.height / ratio,
  };
}

/** @param {uPlot} chart @param {Range} range @returns {number | null} */
function _cursorValue(chart, range) {
  const left = chart.cursor.left ?? -1;
  if (left < 0) return null;
  return Math.min(range.to, Math.max(range.from, chart.posToVal(left, 'x')));
}

/** @param {uPlot} chart @param {LineChartOptions} options */
function _zoom(chart, { onZoom, range }) {
  const { left, width } = chart.select;
  if (width < SHORTEST_DRAG) return;
  const [from, to] = [left, left + width].map((pixel) => chart.posToVal(pixel, 'x'));
  chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  onZoom?.({ from: Math.max(range.from, from), to: Math.min(range.to, to) });
}
