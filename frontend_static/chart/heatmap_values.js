// @ts-check
/** The values that the heat map shows of a run: their position, their text, and which one represents several. */
import { t } from '../host/language.js';
import { formatNumber } from './format.js';
import { RATIO_STATISTIC } from './heatmap_colours.js';
import { formatFactor, formatStatistic } from './statistic_format.js';
import { worstOf } from './worst.js';

/**
 * @typedef {import('../types.d.ts').Overview} Overview
 * @typedef {import('../types.d.ts').TreeRow} TreeRow
 *
 * The overview's run on the shared axis.
 * @typedef {object} View
 * @property {import('../types.d.ts').RunInfo} run
 * @property {string} color colour of the run
 * @property {import('../types.d.ts').Theme} theme
 * @property {import('../types.d.ts').AxisKind} axis
 * @property {import('../types.d.ts').Range} range visible
 * @property {import('../types.d.ts').Range} whole
 * @property {number} start wall time of the run's first step
 * @property {number} x position of that step on the axis
 * @property {Overview} overview
 * @property {Float64Array} xs axis value of every column
 * @property {number} step at the cursor: the pinned one, else the newest
 * @property {import('../types.d.ts').StatisticInfo} metric
 * @property {import('./heatmap_colours.js').Colouring} colouring
 * @property {import('../types.d.ts').RunInfo | null} against the run that the heat map compares with
 * @property {[number, number] | null} healthyRange the user's range for every tensor; null for that of its kind
 * @property {import('./gradient_jumps.js').Jump[]} jumps jumps of single gradients, the strongest first
 * @property {import('../types.d.ts').Evidence | null} [evidence] evidence of the open finding
 */

/**
 * The tensor of a row with the worst value at a column. @param {View} view @param {TreeRow} row @param {number}
 * column
 */
export function worstIn(view, { parameters }, column) {
  return worstOf(view.colouring.kind, parameters, (parameter) => valueAt(view, parameter, column));
}

/**
 * @param {View} view @param {number} parameter @param {number} column @returns {number | null} null if nothing was
 * logged, or is known
 */
export function valueAt({ overview }, parameter, column) {
  const at = parameter * overview.columns + column;
  return overview.logged && !overview.logged[at] ? null : overview.values[at];
}

/** @param {View} view @param {number} parameter @param {number | null} value @param {boolean} [short] */
export function valueText(view, parameter, value, short = false) {
  const group = view.run.groups[view.run.parameters[parameter].group];
  if ((value === null || Number.isNaN(value)) && group?.undefined.includes(view.metric.name)) {
    return short ? '—' : t('not defined for {optimizer}', { optimizer: group.optimizer });
  }
  if (value === null) return short ? '—' : view.against ? t('nothing to compare') : t('no value');
  if (!view.against && value === Infinity && isRatio(view.metric)) return short ? 'w = 0' : t('weight was 0');
  if (!view.against) return formatStatistic(view.metric, value);
  if (view.colouring.kind === 'comparison') return Number.isFinite(value) ? formatFactor(value) : formatNumber(value);
  return `${value > 0 ? '+' : ''}${formatNumber(value)}`;
}

/** @param {View} view @returns {'ratio' | 'difference'} how the heat map compares runs */
export function compares({ colouring }) {
  return colouring.kind === 'comparison' ? 'ratio' : 'difference';
}

/** @param {View} view @returns {Set<number>} parameters whose optimizer does not have the statistic */
export function undefinedFor({ run, metric }) {
  const groups = run.groups.map((group) => group.undefined.includes(metric.name));
  return new Set(run.parameters.flatMap(({ group }, index) => (groups[group] ? [index] : [])));
}

/**
 * @param {View} view @param {boolean} lacking whether some optimizer lacks the statistic @returns {string} the
 * meaning of grey
 */
export function greyText({ against, overview }, lacking) {
  if (lacking) return overview.logged ? t('not defined or no value') : t('not defined');
  return against ? t('nothing to compare') : t('no value');
}

/** @param {Overview} overview @returns {boolean} whether some updates changed weights that were 0 */
export function hasZeroWeights({ values, statistic, against }) {
  if (against || !isRatio({ name: statistic })) return false;
  const known = zeroWeights.get(values) ?? values.includes(Infinity);
  zeroWeights.set(values, known);
  return known;
}

/** @type {WeakMap<Float32Array, boolean>} */
const zeroWeights = new WeakMap();

/** @param {{name: string}} metric */
export function isRatio(metric) {
  return metric.name === RATIO_STATISTIC;
}
