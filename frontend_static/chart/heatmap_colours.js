// @ts-check
/** How values of the heat map become colours. */
import {
  COMPARISON_DECADES,
  drawLegend,
  drawRatioLegend,
  packRgb,
  parseHex,
  RATIO_DECADES,
  ratioColors,
  ratioPosition,
  sequentialColors,
} from './colormap.js';
import { cssColor } from './frame.js';
import {
  HALVES,
  NAN,
  NEGATIVE_INFINITY,
  NEGATIVE_ZERO,
  NOT_LOGGED,
  POSITIVE_INFINITY,
  severityTable,
  ZERO,
} from './heatmap_severity.js';
import { domainOfLog, linearScale, logScale } from './scales.js';

/** @typedef {import('../types.d.ts').Overview} Overview */
/** @typedef {import('../types.d.ts').Theme} Theme */
/** @typedef {import('../types.d.ts').StatisticInfo['scale']} StatisticScale */
/** @typedef {import('./scales.js').Scale} Scale */
/** @typedef {import('./worst.js').Kind} Kind */

/**
 * How values become colours.
 * @typedef {object} Colouring
 * @property {Kind} kind
 * @property {Scale} scale for values that do not diverge from a power of ten
 * @property {import('./colormap.js').Decades} [decades] for values that do
 */

/** The statistic whose colours diverge from 1e-3. */
export const RATIO_STATISTIC = 'update_to_weight_ratio';

/** A placeholder for a colour: transparent, unlike all colours. */
export const ZERO_WEIGHT = 1;

/**
 * How the heat map and its legend colour values. Scales that follow the data are robust: single outliers
 * saturate instead of washing out the rest.
 * @param {Pick<Overview, 'statistic' | 'values'> & {against?: string | null}} overview
 * @param {StatisticScale} [scale] scale of the statistic's values, 'log' by default
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

/** @param {Kind} kind whether factors between values matter, and an exact zero looks different */
export function isLogarithmic(kind) {
  return kind === 'ratio' || kind === 'comparison' || kind === 'log';
}

/** @type {{key: string, colors: Uint32Array} | null} */
let _latestColors = null;

/**
 * @param {Colouring} colouring
 * @param {Theme} theme
 * @returns {Uint32Array} packed colour per severity; 0 is the hatch of an exact zero, 1 that of a weight that was 0
 */
export function colorsOf(colouring, theme) {
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
  if (isLogarithmic(kind)) colors[severityOf[ZERO]] = colors[severityOf[NEGATIVE_ZERO]] = 0;
  for (const half of [NAN, POSITIVE_INFINITY, NEGATIVE_INFINITY])
    colors[severityOf[half]] = packRgb(parseHex(cssColor('--nan')));
  if (kind === 'ratio') colors[severityOf[POSITIVE_INFINITY]] = ZERO_WEIGHT;
  colors[severityOf[NOT_LOGGED]] = packRgb(parseHex(cssColor('--nodata')));
  return colors;
}

/** @param {import('./frame.js').Surface} surface @param {{theme: Theme, colouring: Colouring}} view */
export function drawColourScale(surface, { theme, colouring: { kind, scale, decades } }) {
  if (decades) drawRatioLegend(surface, theme, decades);
  else drawLegend(surface, theme, scale, { diverging: kind === 'cosine' });
}
