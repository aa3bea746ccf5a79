// @ts-check
/** The tab's charts as figures to save: with a title, a legend and the labels that the page shows beside them. */
import { drawContextStrip, isLoss } from '../chart/context_strip.js';
import { cssColor, drawStepAxis, FONT, prepareCanvas } from '../chart/frame.js';
import { formatInteger } from '../chart/format.js';
import { drawLineChart } from '../chart/line_chart.js';
import { drawOverview } from '../chart/heatmap.js';
import { drawColourScale } from '../chart/heatmap_colours.js';
import { jumpNotes } from '../chart/jump_marks.js';
import { t } from '../host/language.js';
import { HEAD } from './figure.js';

/**
 * @typedef {import('./figure.js').Figure} Figure
 * @typedef {import('./figure.js').Part} Part
 * @typedef {import('./figure.js').Surface} Surface
 * @typedef {import('../chart/context_strip.js').Strip} Strip
 * @typedef {import('../chart/heatmap_values.js').View} View
 * @typedef {import('../types.d.ts').HistogramRun} HistogramRun
 * @typedef {import('../types.d.ts').TreeRow} TreeRow
 */

const WIDTH = 960;
const CHART_HEIGHT = 260;
const NAMES_WIDTH = 250;
const LEGEND_WIDTH = 300;
const STRIP_HEIGHT = 36;
const AXIS_HEIGHT = 26;
const PADDING = 14;
const OVERVIEW_WIDTH = 1280;
const PLOT_WIDTH = OVERVIEW_WIDTH - NAMES_WIDTH - 2 * PADDING;

/**
 * @param {object} lines
 * @param {View} lines.view
 * @param {string} lines.parameter
 * @param {(import('../chart/line_chart.js').LineChart & {title: string})[]} lines.charts
 * @returns {Figure}
 */
export function lineFigure({ view, parameter, charts }) {
  /** @type {Map<string, string>} */
  const legend = new Map(charts.flatMap(({ lines }) => lines.map(({ label, color }) => [label, color])));
  const block = CHART_HEIGHT + 18;
  return {
    width: WIDTH,
    height: HEAD + charts.length * block + 8,
    title: parameter,
    subtitle: _over(charts.map(({ title }) => title).join(', '), view),
    legend: [...legend].map(([label, color]) => ({ label, color })),
    parts: charts.flatMap((chart, i) => [
      _text(chart.title, { x: PADDING + 40, y: HEAD + i * block, width: WIDTH - 80, height: 18 }),
      {
        x: PADDING,
        y: HEAD + i * block + 18,
        width: WIDTH - 2 * PADDING,
        height: CHART_HEIGHT,
        draw: (/** @type {Surface} */ surface) => void drawLineChart(surface, chart),
      },
    ]),
  };
}

/**
 * @param {object} panel
 * @param {HistogramRun[]} panel.runs
 * @param {import('../types.d.ts').ParameterInfo} panel.parameter
 * @param {string} panel.quantity
 * @param {string} panel.kind
 * @param {(run: HistogramRun) => (surface: Surface) => void} panel.draw
 * @returns {Figure}
 */
export function histogramFigure({ runs, parameter, quantity, kind, draw }) {
  const { elements, elements_read: read } = parameter;
  const counts = { read: formatInteger(read), count: formatInteger(elements) };
  const width = runs.length > 1 ? 400 : 720;
  return {
    width: runs.length * width,
    height: HEAD + 380,
    title: t('{quantity} of {parameter}', { quantity, parameter: parameter.name }),
    subtitle: read < elements ? t('{chart}, {read} of {count} elements', { chart: kind, ...counts }) : kind,
    legend: runs.map(({ color, run }) => ({ color, label: run.name })),
    parts: runs.map((run, i) => ({
      x: i * width + PADDING,
      y: HEAD,
      width: width - 2 * PADDING,
      height: 370,
      draw: draw(run),
    })),
  };
}

/**
 * @param {object} overview
 * @param {View} overview.view
 * @param {TreeRow[]} overview.rows all rows, including those out of sight
 * @param {Strip[]} overview.strips
 * @param {ReadonlySet<number>} overview.undefinedFor
 * @param {import('../chart/heatmap_marks.js').Mark[]} overview.marks
 * @param {import('../state/store.js').Crowded} overview.crowded
 * @returns {Figure}
 */
export function overviewFigure({ view, rows, strips, undefinedFor, marks, crowded }) {
  const height = rows.length * (rows[0]?.height ?? 0);
  const top = HEAD + strips.length * STRIP_HEIGHT;
  const { overview, xs, range, theme, colouring, metric, run, against } = view;
  const drawn = rows.filter((row) => !row.open);
  return {
    width: OVERVIEW_WIDTH,
    height: top + height + AXIS_HEIGHT + 8,
    title: metric.label,
    subtitle: _over(against ? t('{run} compared with {reference}', { run: run.name, reference: against.name }) : run.name, view),
    legend: [
      { color: cssColor('--nan'), label: colouring.kind === 'ratio' ? 'NaN' : t('NaN or infinite') },
      ...(overview.logged
        ? [{ color: cssColor('--nodata'), label: against ? t('nothing to compare') : t('no value') }]
        : []),
    ],
    parts: [
      {
        x: OVERVIEW_WIDTH - LEGEND_WIDTH - PADDING,
        y: 8,
        width: LEGEND_WIDTH,
        height: 30,
        draw: (surface) => drawColourScale(surface, view),
      },
      ...strips.flatMap((strip, i) => _stripParts(strip, HEAD + i * STRIP_HEIGHT, view)),
      ...rows.map((row) => _rowName(row, top)),
      {
        x: NAMES_WIDTH,
        y: top,
        width: PLOT_WIDTH,
        height,
        draw: (surface) =>
          drawOverview(surface, { rows: drawn, overview, xs, range, theme, colouring, undefinedFor, marks, crowded }),
      },
      _axisPart(view, top + height),
    ],
  };
}

/**
 * A series above the heat map, and its label.
 * @param {Strip} strip @param {number} y @param {View} view
 * @returns {Part[]}
 */
function _stripParts({ name, label, x, y: values }, y, view) {
  const isNorm = name === 'gradient_norm';
  return [
    _text(label, { x: PADDING, y, width: NAMES_WIDTH - PADDING, height: STRIP_HEIGHT }),
    {
      x: NAMES_WIDTH,
      y,
      width: PLOT_WIDTH,
      height: STRIP_HEIGHT - 4,
      draw: (surface) =>
        drawContextStrip(surface, {
          x,
          y: values,
          range: view.range,
          color: view.color,
          log: isNorm,
          cut: isLoss(name),
          notes: isNorm ? jumpNotes(view) : [],
        }),
    },
  ];
}

/** @param {TreeRow} row @param {number} top top of all rows @returns {Part} */
function _rowName({ label, depth, y, height, parameters, kind }, top) {
  return _text(kind === 'module' ? `${label}  ${parameters.length}` : label, {
    x: PADDING + depth * 12,
    y: top + y,
    width: NAMES_WIDTH - PADDING - depth * 12,
    height,
  });
}

/** @param {View} view @param {number} y @returns {Part} */
function _axisPart(view, y) {
  return {
    x: NAMES_WIDTH - PADDING,
    y,
    width: PLOT_WIDTH + 2 * PADDING,
    height: AXIS_HEIGHT,
    draw(surface) {
      const { context } = prepareCanvas(surface);
      const area = { left: PADDING, top: 0, width: PLOT_WIDTH, height: 2 };
      drawStepAxis(context, area, view.range, view.axis, { grid: false });
    },
  };
}

/** @param {string} what @param {View} view @returns {string} the subject and the axis */
function _over(what, { axis }) {
  return {
    step: t('{what}, over steps', { what }),
    relative: t('{what}, over time since the start', { what }),
    wall: t('{what}, over wall-clock time', { what }),
  }[axis];
}

/** @param {string} text @param {{x: number, y: number, width: number, height: number}} place @returns {Part} */
function _text(text, place) {
  return {
    ...place,
    draw(surface) {
      const { context } = prepareCanvas(surface);
      context.font = FONT;
      context.fillStyle = cssColor('--text');
      context.textAlign = 'left';
      context.textBaseline = 'middle';
      let shown = text;
      while (shown.length > 4 && context.measureText(shown).width > place.width - 6)
        shown = `…${shown.slice(shown.startsWith('…') ? 2 : 1)}`;
      context.fillText(shown, 0, place.height / 2);
    },
  };
}
