// @ts-check
/** The numbers of one parameter at one step, a column for every checked run. */
import { formatAxis, formatInteger, formatNumber, formatPercent } from '../chart/format.js';
import { indexAtOrBefore } from '../state/axis.js';
import { html } from './ui.js';

/**
 * @typedef {import('../types.d.ts').RunInfo} RunInfo
 * @typedef {import('../types.d.ts').Series} Series
 * @typedef {import('../types.d.ts').StatisticInfo} StatisticInfo
 *
 * One run's series of the parameter on the shared axis.
 * @typedef {object} RunSeries
 * @property {RunInfo} run
 * @property {string} color
 * @property {number[]} [dash]
 * @property {Series | null} series null where the run has no such parameter
 * @property {Float64Array} xs axis value of every logged step
 */

/**
 * @param {object} props
 * @param {RunSeries[]} props.runs
 * @param {RunInfo} props.first the overview's run, whose column comes first if it is among them
 * @param {string} props.parameter
 * @param {StatisticInfo[]} props.statistics in the order of the rows
 * @param {number} props.step at the cursor
 * @param {number} props.x the same on the axis
 * @param {import('../types.d.ts').AxisKind} props.axis
 */
export function StepTable({ runs, first, parameter, statistics, step, x, axis }) {
  // Runs without the tensor come last.
  const rank = (/** @type {RunSeries} */ { run, series }) => (series ? Number(run !== first) : 2);
  const columns = [...runs]
    .sort((a, b) => rank(a) - rank(b))
    .map((entry) => ({
      ...entry,
      index: entry.xs.length ? indexAtOrBefore(entry.xs, x) : -1,
      undefined: undefinedStatistics(entry.run, parameter),
    }));
  const shown = statistics.filter(({ name }) => runs.some(({ run }) => run.statistics.includes(name)));
  const at = `step ${formatInteger(step)}${axis === 'step' ? '' : ` · ${formatAxis(x, axis)}`}`;
  return html`<div class="panel step-panel">
    <h3>At ${at}</h3>
    <div class="table-scroll" tabindex="0" role="region" aria-label="Numbers at the step">
      <table class="step" aria-label=${`Statistics of ${parameter} at ${at}`}>
        <thead>
          <tr>
            <th scope="col"><span class="visually-hidden">Statistic</span></th>
            ${columns.map((column) => _header(column, step))}
          </tr>
        </thead>
        <tbody>
          ${shown.map(
            (statistic) => html`<tr key=${statistic.name} data-statistic=${statistic.name}>
              <th scope="row" title=${statistic.description}>${statistic.label}</th>
              ${columns.map((column) => _cell(column, statistic, parameter))}
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </div>`;
}

/**
 * @param {RunInfo} run
 * @param {string} parameter
 * @returns {{names: string[], optimizer: string}} what the parameter's optimizer does not have
 */
export function undefinedStatistics(run, parameter) {
  const info = run.parameters.find(({ name }) => name === parameter);
  const group = info && run.groups[info.group];
  return { names: group?.undefined ?? [], optimizer: group?.optimizer ?? '' };
}

/** @param {RunSeries & {index: number}} column @param {number} step */
function _header({ run, color, series, index }, step) {
  const logged = series && index >= 0 ? series.step[index] : null;
  const note = _note(series, logged, step);
  return html`<th key=${run.run} scope="col" title=${`${run.name}${note ? `: ${note}` : ''}`}>
    <i style="background:${color}"></i>${run.name}${note && html`<small class="other-step">${note}</small>`}
  </th>`;
}

/** @param {Series | null} series @param {number | null} logged @param {number} step */
function _note(series, logged, step) {
  if (!series) return 'no such tensor';
  if (logged === null) return 'nothing logged yet';
  return logged === step ? '' : `at step ${formatInteger(logged)}`;
}

/** @param {RunSeries & {index: number, undefined: {names: string[], optimizer: string}}} column @param {StatisticInfo} statistic @param {string} parameter */
function _cell({ run, series, index, undefined: missing }, statistic, parameter) {
  const key = `${run.run} ${parameter}`;
  if (missing.names.includes(statistic.name)) {
    return html`<td key=${key} class="undefined">not defined for ${missing.optimizer}</td>`;
  }
  const values = series?.statistics[statistic.name];
  const value = values && index >= 0 ? values[index] : undefined;
  if (value === undefined) return html`<td key=${key}>—</td>`;
  return html`<td key=${key} class=${_emphasis(statistic, value)}>${formatStatistic(statistic, value)}</td>`;
}

/** @param {Pick<StatisticInfo, 'scale'>} statistic @param {number} value */
export function formatStatistic({ scale }, value) {
  if (scale === 'fraction') return formatPercent(value);
  return scale === 'count' ? formatInteger(value) : formatNumber(value);
}

/** @param {StatisticInfo} statistic @param {number} value */
function _emphasis({ name }, value) {
  if (value === Infinity || value === -Infinity) return 'hot';
  if (name === 'nonfinite_count') return value > 0 ? 'hot' : '';
  return name === 'update_to_weight_ratio' ? ratioEmphasis(value) : '';
}

// Ratios beyond these deserve a look: far above the usual 1e-3, or so little that nothing is learned.
const HOT_RATIO = 2e-2;
const WARM_RATIOS = { above: 7e-3, below: 5e-5 };

/** @param {number} ratio update / weight @returns {'' | 'warm' | 'hot'} */
export function ratioEmphasis(ratio) {
  if (!Number.isFinite(ratio) || ratio > HOT_RATIO) return 'hot';
  return ratio > 0 && (ratio > WARM_RATIOS.above || ratio < WARM_RATIOS.below) ? 'warm' : '';
}
