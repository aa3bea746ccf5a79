// @ts-check
/** The optimizer over time: the hyperparameters of every group, and which parameters are where. */
import { RUN_COLORS, runDash } from '../../chart/colormap.js';
import { formatInteger } from '../../chart/format.js';
import { drawLineChart } from '../../chart/line_chart.js';
import { plural, t } from '../../host/language.js';
import { axisValues, indexAtOrBefore, nearestIndex } from '../../state/axis.js';
import { Canvas, StepLine, useAxisPointer } from '../hooks/plot.js';
import { html, icon, SaveMenu, useRef, useState } from '../ui.js';
import { describeOptions, formatSetting } from './sidebar.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../chart/heatmap_values.js').View} View
 * @typedef {import('../../types.d.ts').Hyperparameters} Hyperparameters
 * @typedef {import('../../types.d.ts').PlotArea} PlotArea
 * @typedef {import('../../chart/line_chart.js').LineChart} LineChart
 *
 * @typedef {{column: string, groups: {group: number, values: Float64Array}[], constant: boolean}} Setting
 */

/** @returns {Record<string, string>} */
const names = () => ({
  lr: t('learning rate'),
  beta1: 'β₁',
  beta2: 'β₂',
  eps: 'ε',
  weight_decay: t('weight decay'),
});
const MOST_NAMES = 500;

/** @param {{app: App, state: import('../../state/store.js').State, view: View, hyperparameters: Hyperparameters | null, onSelect: (name: string) => void}} props */
export function OptimizerCard({ app, state, view, hyperparameters, onSelect }) {
  const { run } = view;
  const settings = hyperparameters?.run === run.run ? settingsOf(hyperparameters) : [];
  const changing = settings.filter(({ constant }) => !constant);
  const constant = settings.filter((setting) => setting.constant);
  const charts = changing.map((setting) => ({ setting, chart: _chartOf(setting, view, /** @type {Hyperparameters} */ (hyperparameters)) }));
  const full = state.full === 'optimizer';
  return html`<section class="card optimizer-card ${full ? 'full' : ''} ${state.full && !full ? 'behind' : ''}" aria-label=${t('Optimizer over time')}>
    <div class="card-head">
      <h2>${t('Optimizer')}</h2>
      <span class="sub">${run.name} · ${[...new Set(run.groups.map(({ optimizer }) => optimizer))].join(', ')}</span>
      <span class="grow"></span>
      ${hyperparameters && html`<${SaveSettings} view=${view} hyperparameters=${hyperparameters} charts=${charts} />`}
      <button class="icon-button" aria-label=${t('Close the optimizer')} title=${t('Close')} onClick=${() => app.actions.showOptimizer(false)}>
        ${icon('close')}
      </button>
    </div>
    ${
      changing.length === 0
        ? html`<p class="hint">${settings.length ? t('No setting changes in this run.') : t('No hyperparameters were logged.')}</p>`
        : html`<div class="settings-charts">
          ${charts.map(({ setting, chart }) => html`<${SettingChart} key=${setting.column} app=${app} view=${view} setting=${setting} chart=${chart} />`)}
        </div>`
    }
    <div class="group-list">
      ${run.groups.map((_, index) => html`<${Group} key=${index} index=${index} view=${view} constant=${constant} onSelect=${onSelect} />`)}
      <${Unoptimized} title=${t('Trainable, but in no group')} items=${run.unoptimized.filter(({ trainable, other_optimizer }) => trainable && !other_optimizer)} warns=${true} />
      <${Unoptimized} title=${t('Updated by another optimizer')} items=${run.unoptimized.filter(({ trainable, other_optimizer }) => trainable && other_optimizer)} warns=${false} />
      <${Unoptimized} title=${t('Frozen')} items=${run.unoptimized.filter(({ trainable }) => !trainable)} warns=${false} />
    </div>
  </section>`;
}

/** @param {{view: View, hyperparameters: Hyperparameters, charts: {setting: Setting, chart: LineChart}[]}} props */
function SaveSettings({ view, hyperparameters, charts }) {
  const { run } = view;
  return html`<${SaveMenu}
    label=${t('Save the hyperparameters')}
    name=${`${run.name} hyperparameters`}
    figure=${async () => {
      const { lineFigure } = await import('../../save/figures.js');
      return lineFigure({
        view,
        parameter: t('Optimizer of {run}', { run: run.name }),
        charts: charts.map(({ setting, chart }) => ({ ...chart, title: _name(setting) })),
      });
    }}
    table=${async () => (await import('../../save/tables.js')).hyperparameterTable(run, hyperparameters)}
  />`;
}

/**
 * A parameter group: what does not change in it, and which parameters it holds.
 * @param {{index: number, view: View, constant: Setting[], onSelect: (name: string) => void}} props
 */
function Group({ index, view, constant, onSelect }) {
  const { run } = view;
  const group = run.groups[index];
  const members = run.parameters.filter((parameter) => parameter.group === index);
  const elements = members.reduce((sum, parameter) => sum + parameter.elements, 0);
  return html`<details open=${run.groups.length <= 2 && members.length <= 12}>
    <summary>
      <i style="background:${_color(index, view)}"></i><b>${t('Group {index}', { index })}</b> ${group.optimizer} ·
      ${' '}${_tensors(members.length)} ·
      ${' '}${plural(elements, '{count} element', '{count} elements', { count: formatInteger(elements) })}
      ${constant.map((setting) => {
        const mine = setting.groups.find((entry) => entry.group === index);
        return mine && html`<span key=${setting.column} class="chip">${_name(setting)} ${formatSetting(mine.values[mine.values.length - 1])}</span>`;
      })}
      <span class="sub">${describeOptions(group.options)}</span>
    </summary>
    ${Object.keys({ ...group.storage, ...group.meanings }).map(
      (name) => html`<p key=${name} class="sub">
        <b>${name}</b>${group.storage[name] && ` · ${group.storage[name]}`}${group.meanings[name] && ` · ${group.meanings[name]}`}
      </p>`,
    )}
    ${group.undefined.length > 0 && html`<p class="sub">${t('Not defined for {optimizer}: {names}', { optimizer: group.optimizer, names: group.undefined.join(', ') })}</p>`}
    <ul class="name-columns">
      ${members.slice(0, MOST_NAMES).map(
        ({ name, shape }) => html`<li key=${name}>
          <button class="link" onClick=${() => onSelect(name)}>${name}</button>${' '}
          <small>${shape.join(' × ')}</small>
        </li>`,
      )}
      ${members.length > MOST_NAMES && html`<li>${t('and {count} more', { count: formatInteger(members.length - MOST_NAMES) })}</li>`}
    </ul>
  </details>`;
}

/** @param {{title: string, items: {name: string, shape: number[]}[], warns: boolean}} props */
function Unoptimized({ title, items, warns }) {
  if (!items.length) return null;
  return html`<details>
    <summary class=${warns ? 'warning' : ''}>${warns && icon('warning', 'mark')}<b>${title}</b> · ${_tensors(items.length)}</summary>
    <ul class="name-columns">
      ${items.slice(0, MOST_NAMES).map(({ name, shape }) => html`<li key=${name}>${name} <small>${shape.join(' × ')}</small></li>`)}
    </ul>
  </details>`;
}

/**
 * The columns that any group has, and whether any of them changes.
 * @param {Hyperparameters} hyperparameters
 * @returns {Setting[]}
 */
export function settingsOf({ columns, values }) {
  return columns.flatMap((column, at) => {
    const groups = values.flatMap((group, index) => {
      const series = group[at];
      return series.some((value) => !Number.isNaN(value)) ? [{ group: index, values: series }] : [];
    });
    const constant = groups.every(({ values: series }) => {
      const known = series.filter((value) => !Number.isNaN(value));
      return known.every((value) => value === known[0]);
    });
    return groups.length ? [{ column, groups, constant }] : [];
  });
}

/** @param {Setting} setting */
function _name({ column }) {
  return names()[column] ?? column.replaceAll('_', ' ');
}

/** @param {number} count */
function _tensors(count) {
  return plural(count, '{count} tensor', '{count} tensors', { count: formatInteger(count) });
}

/** @param {number} group @param {View} view */
function _color(group, { theme }) {
  const colors = RUN_COLORS[theme];
  return colors[group % colors.length];
}

/** @param {Setting} setting @param {View} view @param {Hyperparameters} hyperparameters @returns {LineChart} */
function _chartOf({ groups }, view, hyperparameters) {
  const x = axisValues(view.axis, hyperparameters.step, hyperparameters.wall_time, view.start);
  return {
    axisKind: view.axis,
    range: view.range,
    scale: 'linear',
    lines: groups.map(({ group, values }) => ({
      label: t('group {index}', { index: group }),
      color: _color(group, view),
      // Groups often have the same values: a dashed line shows the one below it.
      dash: group > 0 ? (runDash(group + 2) ?? [6, 6]) : undefined,
      x,
      y: values,
    })).reverse(),
  };
}

/** @param {{app: App, view: View, setting: Setting, chart: LineChart}} props */
function SettingChart({ app, view, setting, chart }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const [area, setArea] = useState(/** @type {PlotArea | null} */ (null));
  const x = chart.lines[0]?.x ?? new Float64Array(0);
  useAxisPointer(box, {
    area,
    range: view.range,
    onHover: (at) => app.cursor.hover(at === null ? null : view.xs[nearestIndex(view.xs, at)]),
    onClick: (at) => app.actions.pinStep(view.overview.last_step[nearestIndex(view.xs, at)]),
    onZoom: app.actions.zoom,
    onView: app.actions.zoom,
    whole: view.whole,
  });
  const at = Math.max(0, indexAtOrBefore(x, view.x));
  return html`<div class="panel">
    <h3>
      ${_name(setting)}
      ${setting.groups.map(({ group, values }) => html`<small key=${group}>${t('group {index}: {value}', { index: group, value: formatSetting(Number(values[at].toPrecision(4))) })}</small>`)}
    </h3>
    <div class="plot" ref=${box}>
      <${Canvas}
        draw=${(/** @type {HTMLCanvasElement} */ canvas) => {
          const { area: drawn } = drawLineChart(canvas, chart);
          setArea((before) => (before && before.width === drawn.width && before.height === drawn.height ? before : drawn));
        }}
        dependencies=${[setting.groups[0].values, view.range, view.axis, view.theme]}
        label=${t('{setting} of every group over time', { setting: _name(setting) })}
      />
      <${StepLine} cursor=${app.cursor} range=${view.range} area=${area} />
      <div class="zoom-span" hidden></div>
    </div>
  </div>`;
}
