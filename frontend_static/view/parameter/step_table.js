// @ts-check
/** The numbers of one parameter at the step cursor, a column for every checked run. */
import { formatAxis, formatInteger, formatNumber } from '../../chart/format.js';
import { GRADIENT_STATISTIC } from '../../chart/gradient_jumps.js';
import { healthyRange, ratioEmphasis } from '../../chart/healthy_range.js';
import { isRatio } from '../../chart/heatmap_values.js';
import { formatDifference, formatStatistic } from '../../chart/statistic_format.js';
import { plural, t } from '../../host/language.js';
import { indexAtOrBefore } from '../../state/axis.js';
import { followAtRest, setText, stepAt } from '../hooks/at_rest.js';
import { html, icon, useLayoutEffect, useRef, useState } from '../ui.js';
import { firstColumn, fitColumns, HEAD_HEIGHT } from './step_columns.js';

/**
 * @typedef {import('../../types.d.ts').RunInfo} RunInfo
 * @typedef {import('../../types.d.ts').Series} Series
 * @typedef {import('../../types.d.ts').StatisticInfo} StatisticInfo
 * @typedef {import('../../types.d.ts').RunSeries} RunSeries
 *
 * @typedef {RunSeries & {undefined: {names: string[], optimizer: string}, healthy: [number, number] | null}} TableColumn
 */

const NONE = '—';

/**
 * The numbers follow the cursor without being rendered again.
 * @param {object} props
 * @param {import('../ui.js').App} props.app
 * @param {import('../../chart/heatmap_values.js').View} props.view
 * @param {RunSeries[]} props.runs
 * @param {RunInfo | null} props.reference the run that the others are compared with
 * @param {string} props.parameter
 * @param {StatisticInfo[]} props.statistics in the order of the rows
 */
export function StepTable({ app, view, runs, reference, parameter, statistics }) {
  const panel = useRef(/** @type {HTMLElement | null} */ (null));
  const columns = tableColumns(runs, view, reference, parameter);
  const without = runs.filter(({ run }) => !columns.some((column) => column.run === run));
  const shown = statistics.filter(({ name }) => columns.some(({ run }) => run.statistics.includes(name)));
  const compared = columns.findIndex(({ run }) => run === reference);
  useLayoutEffect(() =>
    followAtRest(app.cursor, (x) => {
      if (panel.current) _fill(panel.current, x, { view, columns, shown, compared });
    }),
  );
  return html`<div class="panel step-panel" ref=${panel}>
    <h3>
      <span class="at-title"></span>
      <${StepSlider} app=${app} view=${view} />
      ${compared >= 0 && html`<small>${t('compared with {run}', { run: columns[compared].run.name })}</small>`}
    </h3>
    <${WholeColumns} columns=${columns} rows=${shown.length} content=${compared >= 0 ? 'difference' : columns.some(({ between }) => between) ? 'step' : 'number'}>
      <table class="step" aria-label=${t('Statistics of {parameter} at the step', { parameter })}>
        <thead>
          <tr>
            <th scope="col"><span class="visually-hidden">${t('Statistic')}</span></th>
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
              <th scope="row" title=${t('{name}: {value}', { name: statistic.label, value: statistic.description })}>${statistic.label}</th>
              ${columns.map(({ run }) => html`<td key=${run.run}><span></span> <small></small></td>`)}
            </tr>`,
          )}
        </tbody>
      </table>
    </${WholeColumns}>
    ${without.length > 0 && html`<p class="without" title=${without.map(({ run }) => run.name).join('\n')}>${_withoutIt(without.length)}</p>`}
  </div>`;
}

/**
 * Scrolls from column to column and from row to row, so that none is cut, and says which are in sight.
 * @param {{columns: TableColumn[], rows: number, content: 'number' | 'step' | 'difference', children?: any}} props
 */
function WholeColumns({ columns, rows, content, children }) {
  const room = useRef(/** @type {HTMLElement | null} */ (null));
  const scroller = useRef(/** @type {HTMLElement | null} */ (null));
  const [size, setSize] = useState({ width: 300, height: 150 });
  const [scrolled, setScrolled] = useState(0);
  useLayoutEffect(() => {
    const element = /** @type {HTMLElement} */ (room.current);
    const measure = () => element.clientWidth && setSize({ width: element.clientWidth, height: element.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const all = columns.length;
  const fit = fitColumns(size, all, content);
  const first = firstColumn(scrolled, fit, all);
  const go = (/** @type {number} */ by) => scroller.current?.scrollBy({ left: by * fit.shown * fit.column });
  const style = `height:${fit.height}px;--names:${fit.names}px;--column:${fit.column}px;--row:${fit.row}px;--head:${HEAD_HEIGHT}px`;
  const below = rows * fit.row + HEAD_HEIGHT > fit.height;
  return html`<div class="table-room" ref=${room}>
      <div
        class="table-scroll ${fit.stacked ? 'stacked' : ''} ${fit.brief ? 'brief' : ''} ${below ? 'more-below' : ''}"
        ref=${scroller}
        style=${style}
        tabindex="0"
        role="region"
        aria-label=${t('Numbers at the step')}
        onScroll=${(/** @type {any} */ event) => setScrolled(event.target.scrollLeft)}
      >
        ${children}
      </div>
    </div>
    ${
      fit.shown < all &&
      html`<p class="columns-in-sight">
        <button class="icon-button small" aria-label=${t('Runs before')} title=${t('Runs before')} disabled=${first === 0} onClick=${() => go(-1)}>${icon('left')}</button>
        <span role="status">${
          fit.shown === 1
            ? t('run {first} of {all}', { first: first + 1, all })
            : t('runs {first}–{last} of {all}', { first: first + 1, last: first + fit.shown, all })
        }</span>
        <button class="icon-button small" aria-label=${t('Runs after')} title=${t('Runs after')} disabled=${first + fit.shown >= all} onClick=${() => go(1)}>${icon('right')}</button>
      </p>`
    }`;
}

/**
 * Moves the step through what was recorded; at its end it follows the newest.
 * @param {{app: import('../ui.js').App, view: import('../../chart/heatmap_values.js').View}} props
 */
function StepSlider({ app, view }) {
  const { last_step: steps } = view.overview;
  const last = steps.length - 1;
  const at = Math.max(0, indexAtOrBefore(steps, view.step));
  const text = t('step {step}', { step: formatInteger(view.step) });
  return html`<input
    class="step-slider"
    type="range"
    min="0"
    max=${last}
    step="1"
    value=${at}
    aria-label=${t('Step')}
    aria-valuetext=${text}
    title=${t('Drag to another step')}
    onInput=${(/** @type {any} */ event) => app.cursor.hover(view.xs[Number(event.target.value)])}
    onChange=${(/** @type {any} */ event) => {
      const index = Number(event.target.value);
      app.cursor.hover(null);
      app.actions.pinStep(index === last ? null : steps[index]);
    }}
  />`;
}

/** @param {number} runs */
function _withoutIt(runs) {
  return plural(runs, '{count} checked run has no such tensor', '{count} checked runs have no such tensor');
}

/**
 * The runs that have the tensor; the overview's comes first, then the reference.
 * @param {RunSeries[]} runs @param {import('../../chart/heatmap_values.js').View} view @param {RunInfo | null} reference @param {string} parameter
 * @returns {TableColumn[]}
 */
export function tableColumns(runs, view, reference, parameter) {
  const rank = (/** @type {RunSeries} */ { run }) => (run === view.run ? 0 : run === reference ? 1 : 2);
  return runs
    .filter(({ run }) => run.parameters.some(({ name }) => name === parameter))
    .sort((a, b) => rank(a) - rank(b))
    .map((entry) => {
      const index = entry.run.parameters.findIndex(({ name }) => name === parameter);
      const healthy = healthyRange(entry.run, index, view.healthyRange);
      return { ...entry, undefined: undefinedStatistics(entry.run, parameter), healthy };
    });
}

/**
 * @param {HTMLElement} panel
 * @param {number} x
 * @param {{view: import('../../chart/heatmap_values.js').View, columns: TableColumn[], shown: StatisticInfo[], compared: number}} table
 */
function _fill(panel, x, { view, columns, shown, compared }) {
  const step = stepAt(view, x);
  const title = `${t('At step {step}', { step: formatInteger(step) })}${view.axis === 'step' ? '' : ` · ${formatAxis(x, view.axis)}`}`;
  const indices = columns.map(({ xs }) => (xs.length ? indexAtOrBefore(xs, x) : -1));
  setText(/** @type {HTMLElement} */ (panel.querySelector('.at-title')), title);
  panel.querySelectorAll('thead .other-step').forEach((element, c) => {
    const note = _note(columns[c].series, indices[c], step);
    setText(element, note);
    const header = /** @type {HTMLElement} */ (element.parentElement);
    const { name } = columns[c].run;
    header.title = note ? t('{name}: {value}', { name, value: note }) : name;
  });
  panel.querySelectorAll('tbody tr').forEach((row, r) => {
    const statistic = shown[r];
    const values = columns.map((column, c) => valueOf(column, statistic, indices[c]));
    row.querySelectorAll('td').forEach((cell, c) => {
      const missing = columns[c].undefined;
      const undefinedHere = missing.names.includes(statistic.name);
      const value = values[c];
      const text = undefinedHere ? t('not defined for {optimizer}', { optimizer: missing.optimizer }) : _textOf(statistic, value);
      const other = compared >= 0 && compared !== c ? values[compared] : null;
      const difference = value === null || other === null ? '' : formatDifference(statistic, value, other);
      const exact = statistic.name === GRADIENT_STATISTIC ? valueBetween(columns[c], step) : null;
      const className = undefinedHere ? 'undefined' : value === null ? '' : _emphasis(statistic, value, columns[c].healthy);
      if (cell.className !== className) cell.className = className;
      const about = text === NONE && exact === null && columns[c].series ? t('no value') : '';
      if (cell.title !== about) cell.title = about;
      setText(/** @type {HTMLElement} */ (cell.firstElementChild), exact === null ? text : formatNumber(exact));
      setText(
        /** @type {HTMLElement} */ (cell.lastElementChild),
        exact === null ? difference : t('at {step}', { step: formatInteger(step) }),
      );
    });
  });
}

/** @param {StatisticInfo} statistic @param {number | null} value */
function _textOf(statistic, value) {
  if (value === null) return NONE;
  return value === Infinity && isRatio(statistic) ? t('weight was 0') : formatStatistic(statistic, value);
}

/**
 * NaN of a tensor whose numbers were all finite is not known, as the gradient of one that has none.
 * @param {Pick<TableColumn, 'series' | 'undefined'>} column @param {{name: string}} statistic @param {number} index
 * @returns {number | null}
 */
export function valueOf({ series, undefined: missing }, statistic, index) {
  const values = series?.statistics[statistic.name];
  if (!values || index < 0 || missing.names.includes(statistic.name)) return null;
  const isKnown = !Number.isNaN(values[index]) || series.statistics.nonfinite_count?.[index] !== 0;
  return isKnown ? values[index] : null;
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
  if (!series) return ''; // it is on its way
  if (index < 0) return t('nothing logged yet');
  return series.step[index] === step ? '' : t('at step {step}', { step: formatInteger(series.step[index]) });
}

/** @param {StatisticInfo} statistic @param {number} value @param {[number, number] | null} healthy */
function _emphasis({ name }, value, healthy) {
  if (isRatio({ name })) return ratioEmphasis(value, healthy);
  if (value === Infinity || value === -Infinity) return 'hot';
  return name === 'nonfinite_count' && value > 0 ? 'hot' : '';
}
