// @ts-check
/** The numbers of one parameter at the step cursor, a column for every checked run. */
import { formatAxis, formatInteger, formatNumber, formatPercent } from '../chart/format.js';
import { GRADIENT_STATISTIC } from '../chart/gradient_jumps.js';
import { indexAtOrBefore } from '../state/axis.js';
import { html, useLayoutEffect, useRef } from './ui.js';

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
 * @property {number} start wall time of the run's first step
 * @property {Float64Array} xs axis value of every logged step
 * @property {{norms: import('../types.d.ts').GradientNorms, xs: Float64Array} | null} between gradient RMS
 *   of single steps around a jump, and where they lie on the axis
 *
 * @typedef {RunSeries & {undefined: {names: string[], optimizer: string}}} TableColumn
 */

const RESTING_MILLISECONDS = 60;

/**
 * The numbers follow the cursor without being rendered again.
 * @param {object} props
 * @param {import('./ui.js').App} props.app
 * @param {import('./overview.js').View} props.view
 * @param {RunSeries[]} props.runs
 * @param {RunInfo | null} props.reference the run that the others are compared with
 * @param {string} props.parameter
 * @param {StatisticInfo[]} props.statistics in the order of the rows
 */
export function StepTable({ app, view, runs, reference, parameter, statistics }) {
  const panel = useRef(/** @type {HTMLElement | null} */ (null));
  const columns = tableColumns(runs, view.run, reference, parameter);
  const shown = statistics.filter(({ name }) => runs.some(({ run }) => run.statistics.includes(name)));
  const compared = columns.findIndex(({ run }) => run === reference);
  useLayoutEffect(() =>
    followAtRest(app.cursor, (x) => {
      if (panel.current) _fill(panel.current, x, { view, columns, shown, compared });
    }),
  );
  return html`<div class="panel step-panel" ref=${panel}>
    <h3>
      <span class="at-title"></span>
      ${compared >= 0 && html`<small>compared with ${columns[compared].run.name}</small>`}
    </h3>
    <div class="table-scroll" tabindex="0" role="region" aria-label="Numbers at the step">
      <table class="step" aria-label=${`Statistics of ${parameter} at the step`}>
        <thead>
          <tr>
            <th scope="col"><span class="visually-hidden">Statistic</span></th>
            ${columns.map(
              ({ run, color }) => html`<th key=${run.run} scope="col" data-run=${run.run}>
                <span class="run-name"><i style="background:${color}"></i><span><bdi>${run.name}</bdi></span></span><small class="other-step"></small>
              </th>`,
            )}
          </tr>
        </thead>
        <tbody>
          ${shown.map(
            (statistic) => html`<tr key=${statistic.name} data-statistic=${statistic.name}>
              <th scope="row" title=${`${statistic.label}: ${statistic.description}`}>${statistic.label}</th>
              ${columns.map(({ run }) => html`<td key=${run.run}><span></span> <small></small></td>`)}
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </div>`;
}

/**
 * Numbers follow the cursor as soon as it rests: nobody reads them while it moves, and new texts make the
 * page lay out and paint more than all lines together.
 * @param {import('../state/store.js').Cursor} cursor
 * @param {(x: number) => void} fill called at once, and after moves
 * @returns {() => void} ends it
 */
export function followAtRest(cursor, fill) {
  /** @type {any} */
  let timer = null;
  const now = () => {
    const x = cursor.at();
    if (x !== null) fill(x);
  };
  now();
  const stop = cursor.subscribe(() => {
    clearTimeout(timer);
    timer = setTimeout(now, RESTING_MILLISECONDS);
  });
  return () => {
    stop();
    clearTimeout(timer);
  };
}

/**
 * The overview's run comes first, then the reference; runs without the tensor come last.
 * @param {RunSeries[]} runs @param {RunInfo} first @param {RunInfo | null} reference @param {string} parameter
 * @returns {TableColumn[]}
 */
export function tableColumns(runs, first, reference, parameter) {
  const rank = (/** @type {RunSeries} */ { run, series }) =>
    !series ? 3 : run === first ? 0 : run === reference ? 1 : 2;
  return [...runs]
    .sort((a, b) => rank(a) - rank(b))
    .map((entry) => ({ ...entry, undefined: undefinedStatistics(entry.run, parameter) }));
}

/**
 * @param {HTMLElement} panel
 * @param {number} x
 * @param {{view: import('./overview.js').View, columns: TableColumn[], shown: StatisticInfo[], compared: number}} table
 */
function _fill(panel, x, { view, columns, shown, compared }) {
  const step = stepAt(view, x);
  const title = `At step ${formatInteger(step)}${view.axis === 'step' ? '' : ` · ${formatAxis(x, view.axis)}`}`;
  const indices = columns.map(({ xs }) => (xs.length ? indexAtOrBefore(xs, x) : -1));
  setText(/** @type {HTMLElement} */ (panel.querySelector('.at-title')), title);
  panel.querySelectorAll('thead .other-step').forEach((element, c) => {
    const note = _note(columns[c].series, indices[c], step);
    setText(element, note);
    const header = /** @type {HTMLElement} */ (element.parentElement);
    header.title = `${columns[c].run.name}${note ? `: ${note}` : ''}`;
  });
  panel.querySelectorAll('tbody tr').forEach((row, r) => {
    const statistic = shown[r];
    const values = columns.map((column, c) => valueOf(column, statistic, indices[c]));
    row.querySelectorAll('td').forEach((cell, c) => {
      const missing = columns[c].undefined;
      const undefinedHere = missing.names.includes(statistic.name);
      const value = values[c];
      const text = undefinedHere
        ? `not defined for ${missing.optimizer}`
        : value === null
          ? '—'
          : value === Infinity && statistic.name === 'update_to_weight_ratio'
            ? 'weight was 0'
            : formatStatistic(statistic, value);
      const other = compared >= 0 && compared !== c ? values[compared] : null;
      const difference = value === null || other === null ? '' : formatDifference(statistic, value, other);
      const exact = statistic.name === GRADIENT_STATISTIC ? valueBetween(columns[c], step) : null;
      const className = undefinedHere ? 'undefined' : value === null ? '' : _emphasis(statistic, value);
      if (cell.className !== className) cell.className = className;
      setText(/** @type {HTMLElement} */ (cell.firstElementChild), exact === null ? text : formatNumber(exact));
      setText(
        /** @type {HTMLElement} */ (cell.lastElementChild),
        exact === null ? difference : `at ${formatInteger(step)}`,
      );
    });
  });
}

/**
 * Changes a text without a new node for it, which the page would have to style first.
 * @param {Element} element that holds nothing but text @param {string} text
 */
export function setText(element, text) {
  const node = element.firstChild;
  if (!node) element.textContent = text;
  else if (node.nodeValue !== text) node.nodeValue = text;
}

/**
 * The step that an axis value stands for: the pinned one where it is pinned, else the last logged one.
 * @param {import('./overview.js').View} view @param {number} x
 */
export function stepAt(view, x) {
  if (view.axis === 'step') return x;
  if (x === view.x) return view.step;
  return view.overview.last_step[Math.max(0, indexAtOrBefore(view.xs, x))];
}

/** @param {TableColumn} column @param {StatisticInfo} statistic @param {number} index @returns {number | null} */
export function valueOf({ series, undefined: missing }, statistic, index) {
  if (missing.names.includes(statistic.name)) return null;
  const values = series?.statistics[statistic.name];
  return values && index >= 0 ? values[index] : null;
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

/**
 * A step between records of which the gradient is known all the same.
 * @param {Pick<RunSeries, 'between' | 'series'>} column @param {number} step
 * @returns {number | null} gradient RMS
 */
export function valueBetween({ between, series }, step) {
  const at = between ? between.norms.last_step.indexOf(step) : -1;
  if (!between || at < 0 || series?.step.includes(step)) return null;
  return between.norms.logged && !between.norms.logged[at] ? null : between.norms.values[at];
}

/** @param {Series | null} series @param {number} index @param {number} step */
function _note(series, index, step) {
  if (!series) return 'no such tensor';
  if (index < 0) return 'nothing logged yet';
  return series.step[index] === step ? '' : `at step ${formatInteger(series.step[index])}`;
}

/** @param {Pick<StatisticInfo, 'scale'>} statistic @param {number} value */
export function formatStatistic({ scale }, value) {
  if (scale === 'fraction') return formatPercent(value);
  return scale === 'count' ? formatInteger(value) : formatNumber(value);
}

/**
 * How a value differs from that of the reference: a factor on logarithmic scales, else a difference.
 * @param {Pick<StatisticInfo, 'scale'>} statistic @param {number} value @param {number} reference
 * @returns {string} '×1.3', '+2.5 %', '' where there is nothing to say
 */
export function formatDifference({ scale }, value, reference) {
  if (!Number.isFinite(value) || !Number.isFinite(reference)) return '';
  if (scale === 'log') {
    if (value === reference) return '=';
    return reference > 0 ? formatFactor(value / reference) : '';
  }
  const difference = value - reference;
  if (difference === 0) return '=';
  const size = formatStatistic({ scale: scale === 'cosine' ? 'log' : scale }, Math.abs(difference));
  return `${difference > 0 ? '+' : '−'}${scale === 'fraction' ? size.replace(' %', ' pp') : size}`;
}

/** @param {number} factor 0 or positive @returns {string} '×1.3' or '÷2.1' */
export function formatFactor(factor) {
  if (factor === 0) return '×0';
  const size = Math.max(factor, 1 / factor);
  return `${factor >= 1 ? '×' : '÷'}${formatNumber(Number(size.toPrecision(size < 2 ? 3 : 2)))}`;
}

/** @param {StatisticInfo} statistic @param {number} value */
function _emphasis({ name }, value) {
  if (name === 'update_to_weight_ratio') return ratioEmphasis(value);
  if (value === Infinity || value === -Infinity) return 'hot';
  return name === 'nonfinite_count' && value > 0 ? 'hot' : '';
}

// Ratios beyond these deserve a look: far above the usual 1e-3, or so little that nothing is learned.
const HOT_RATIO = 2e-2;
const WARM_RATIOS = { above: 7e-3, below: 5e-5 };

/** @param {number} ratio update / weight, Infinity where the weight was 0 @returns {'' | 'warm' | 'hot'} */
export function ratioEmphasis(ratio) {
  if (ratio === Infinity) return '';
  if (!Number.isFinite(ratio) || ratio > HOT_RATIO) return 'hot';
  return ratio > 0 && (ratio > WARM_RATIOS.above || ratio < WARM_RATIOS.below) ? 'warm' : '';
}
