// @ts-check
/** The second card: the selected parameter. How runs compare, the numbers at the step, distributions. */
import { formatInteger } from '../chart/format.js';
import { createLineChart } from '../chart/line_chart.js';
import { smooth } from '../chart/smoothing.js';
import { nearestIndex } from '../state/axis.js';
import { HistogramPanel } from './histogram_panel.js';
import { ErrorBanner } from './messages.js';
import { StepLine } from './plot.js';
import { describeOptions, hyperparameterAt, hyperparametersAt } from './sidebar.js';
import { StepTable, undefinedStatistics } from './step_table.js';
import { html, icon, useEffect, useLayoutEffect, useRef, useState } from './ui.js';

/**
 * @typedef {import('./ui.js').App} App
 * @typedef {import('./overview.js').View} View
 * @typedef {import('./step_table.js').RunSeries} RunSeries
 * @typedef {import('../state/store.js').State} State
 * @typedef {import('../types.d.ts').ParameterInfo} ParameterInfo
 * @typedef {import('../types.d.ts').StatisticInfo} StatisticInfo
 * @typedef {import('../types.d.ts').Histograms} Histograms
 * @typedef {import('../types.d.ts').Hyperparameters} Hyperparameters
 */

/** Update-to-weight ratios within half a decade of 1e-3 are usual in training that goes well. */
const HEALTHY_RATIOS = /** @type {[number, number]} */ ([3e-4, 3e-3]);
const OPTIONS_SHOWN = ['amsgrad', 'maximize', 'nesterov', 'centered'];

/**
 * @param {object} props
 * @param {App} props.app
 * @param {State} props.state
 * @param {View} props.view
 * @param {ParameterInfo} props.parameter
 * @param {number} props.x the step at the cursor on the axis
 * @param {number} props.start wall time of the run's first step
 * @param {RunSeries[]} props.runs the checked ones
 * @param {import('./ui.js').Answer<any>} props.seriesAnswer
 * @param {import('./ui.js').Answer<Histograms>} props.histograms
 * @param {Hyperparameters | null} props.hyperparameters
 * @param {(delta: number) => void} props.onMoveTensor
 */
export function ParameterCard(props) {
  const { app, state, view, parameter, runs, hyperparameters, seriesAnswer, histograms } = props;
  const { run } = view;
  const statistics = statisticsOf(state, [run, ...runs.map((entry) => entry.run)]);
  const group = run.groups[parameter.group];
  const epsilon = hyperparameterAt(hyperparameters, parameter.group, 'eps', view.step);
  const stale = seriesAnswer.stale || histograms.stale;
  return html`<section class="card detail ${stale ? 'stale' : ''}" aria-label=${`Selected tensor ${parameter.name}`}>
    <div class="card-head">
      <${Breadcrumb} name=${parameter.name} />
      <span class="chip" title="Shape and type">${parameter.shape.join(' × ') || 'scalar'} · ${parameter.dtype}</span>
      <${GroupChip} group=${group} index=${parameter.group} hyperparameters=${hyperparameters} step=${view.step} />
      ${
        parameter.elements_read < parameter.elements &&
        html`<span class="chip sampled" title="Histograms and element-wise statistics read this sample, the same elements at every step">
        ${formatInteger(parameter.elements_read)} of ${formatInteger(parameter.elements)} elements
      </span>`
      }
      <span class="grow"></span>
      <${Smoothing} app=${app} value=${state.smoothing} />
      <button class="icon-button" aria-label="Previous tensor" title="Previous tensor (k)" onClick=${() => props.onMoveTensor(-1)}>
        ${icon('up')}
      </button>
      <button class="icon-button" aria-label="Next tensor" title="Next tensor (j)" onClick=${() => props.onMoveTensor(1)}>
        ${icon('down')}
      </button>
    </div>
    <${ErrorBanner} text=${seriesAnswer.error} />
    <${ErrorBanner} text=${histograms.error} />
    <div class="detail-grid">
      <${LinePanel} app=${app} state=${state} view=${view} parameter=${parameter} runs=${runs} statistics=${statistics} />
      <${StepTable}
        runs=${runs}
        first=${run}
        parameter=${parameter.name}
        statistics=${statistics}
        step=${view.step}
        x=${props.x}
        axis=${view.axis}
      />
      ${state.panels.map(
        (panel, index) => html`<${HistogramPanel}
          key=${index}
          app=${app}
          index=${index}
          panel=${panel}
          view=${view}
          quantities=${run.quantities.map(({ name }) => name)}
          histogram=${histograms.value?.quantities[panel.quantity] ?? null}
          absence=${_absence(run, parameter.name, panel.quantity, histograms)}
          start=${props.start}
          epsilon=${Number.isNaN(epsilon) ? null : epsilon}
        />`,
      )}
    </div>
  </section>`;
}

/**
 * The statistics that some of the runs have, in the order of the summary.
 * @param {State} state
 * @param {import('../types.d.ts').RunInfo[]} runs
 * @returns {StatisticInfo[]}
 */
export function statisticsOf(state, runs) {
  const known = state.summary?.statistics ?? [];
  const logged = new Set(runs.flatMap((run) => run.statistics));
  return known.filter(({ name }) => logged.has(name));
}

/** @param {{name: string}} props */
function Breadcrumb({ name }) {
  const parts = name.split('.');
  const leaf = parts.pop();
  return html`<h2 class="crumb" title=${name}>
    ${parts.length > 0 && html`<span>${parts.join(' / ')} / </span>`}${leaf}
  </h2>`;
}

/** @param {{group: import('../types.d.ts').GroupInfo, index: number, hyperparameters: Hyperparameters | null, step: number}} props */
function GroupChip({ group, index, hyperparameters, step }) {
  const at = hyperparametersAt(hyperparameters, index, step);
  const betas = [at.beta1, at.beta2].filter((text) => text !== '—').join(', ');
  const parts = [`${group.optimizer} group ${index}`];
  if (at.lr !== '—') parts.push(`lr ${at.lr}`);
  if (betas) parts.push(`β ${betas}`);
  if (at.eps !== '—') parts.push(`ε ${at.eps}`);
  if (at.weight_decay !== '—') parts.push(`decay ${at.weight_decay}`);
  parts.push(...OPTIONS_SHOWN.filter((name) => group.options[name] === true));
  return html`<span class="chip group" title=${`${parts.join(' · ')}\n${describeOptions(group.options)}`}>${parts.join(' · ')}</span>`;
}

/** @param {{app: App, value: number}} props */
function Smoothing({ app, value }) {
  const change = (/** @type {any} */ event) => app.actions.setSmoothing(Number(event.target.value));
  return html`<label class="smoothing" title="Debiased moving average, as in TensorBoard; of the logarithm where the axis is logarithmic">
    Smoothing
    <input type="range" min="0" max="0.99" step="0.01" value=${value} onInput=${change} />
    <output>${value.toFixed(2)}</output>
  </label>`;
}

/**
 * @param {object} props
 * @param {App} props.app
 * @param {State} props.state
 * @param {View} props.view
 * @param {ParameterInfo} props.parameter
 * @param {RunSeries[]} props.runs
 * @param {StatisticInfo[]} props.statistics
 */
function LinePanel({ app, state, view, parameter, runs, statistics }) {
  const statistic = statistics.find(({ name }) => name === state.lineStatistic) ?? statistics[0];
  if (!statistic) return html`<div class="panel wide hint">No statistics were logged.</div>`;
  const isRatio = statistic.name === 'update_to_weight_ratio';
  const logarithmic = statistic.scale === 'log';
  const note = [logarithmic ? 'log scale' : 'linear scale', isRatio && 'shaded: healthy, 3e-4 to 3e-3'];
  const without = runs.filter(({ run }) =>
    undefinedStatistics(run, parameter.name).names.includes(statistic.name),
  );
  return html`<section class="panel wide" aria-label="Statistic over time">
    <h3>
      <select
        class="plain-select strong"
        aria-label="Statistic"
        title=${statistic.description}
        value=${statistic.name}
        onChange=${(/** @type {any} */ event) => app.actions.chartStatistic(event.target.value)}
      >
        ${statistics.map(({ name, label }) => html`<option key=${name} value=${name} selected=${name === statistic.name}>${label}</option>`)}
      </select>
      <small>${note.filter(Boolean).join(' · ')}</small>
      ${without.map(
        ({ run }) =>
          html`<small key=${run.run}>${run.name}: not defined for ${undefinedStatistics(run, parameter.name).optimizer}</small>`,
      )}
    </h3>
    <${Lines} app=${app} state=${state} view=${view} runs=${runs} statistic=${statistic} />
  </section>`;
}

/** @param {{app: App, state: State, view: View, runs: RunSeries[], statistic: StatisticInfo}} props */
function Lines({ app, state, view, runs, statistic }) {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  const chart = useRef(/** @type {ReturnType<typeof createLineChart> | null} */ (null));
  const [area, setArea] = useState(/** @type {import('../types.d.ts').PlotArea | null} */ (null));
  const latest = useRef(view);
  latest.current = view;
  const logarithmic = statistic.scale === 'log';
  const isRatio = statistic.name === 'update_to_weight_ratio';
  const data = runs.map((entry) => entry.series?.statistics[statistic.name] ?? null);
  const names = runs.map(({ run }) => run.name).join(', ');

  useLayoutEffect(() => {
    const target = /** @type {HTMLElement} */ (element.current);
    const lines = runs.flatMap(({ run, color, dash, xs }, i) => {
      const y = data[i];
      if (!y) return [];
      const smoothed = state.smoothing > 0 ? smooth(y, state.smoothing, logarithmic) : y;
      const raw = smoothed === y ? undefined : y;
      return [{ label: run.name, color, dash, x: xs, y: smoothed, raw }];
    });
    const created = createLineChart(target, {
      axisKind: view.axis,
      range: view.range,
      lines: lines.reverse(), // the first run is drawn last, on top
      scale: logarithmic ? 'log' : 'linear',
      band: isRatio ? HEALTHY_RATIOS : undefined,
      bandLabel: isRatio ? 'healthy' : undefined,
      middle: isRatio ? 1e-3 : undefined,
      onCursor(x) {
        const { xs } = latest.current;
        app.cursor.hover(x === null ? null : xs[nearestIndex(xs, x)]);
      },
      onZoom: (range) => app.actions.zoom(range),
    });
    chart.current = created;
    setArea(created.area());
    return () => {
      chart.current = null;
      created.destroy();
    };
  }, [view.axis, view.range, view.theme, state.smoothing, statistic, names, ...padded(data)]);

  useEffect(() => {
    const observer = new ResizeObserver(() => {
      if (!element.current?.clientWidth || !chart.current) return;
      chart.current.resize();
      setArea(chart.current.area());
    });
    observer.observe(/** @type {HTMLElement} */ (element.current));
    return () => observer.disconnect();
  }, []);

  const click = () => {
    const x = app.cursor.at();
    const { xs, overview } = latest.current;
    if (x !== null) app.actions.pinStep(overview.last_step[nearestIndex(xs, x)]);
  };
  return html`<div class="plot">
    <div
      class="fill"
      ref=${element}
      role="img"
      aria-label=${`${statistic.label} over time of ${names}; the table has the numbers at the step`}
      onClick=${click}
    ></div>
    <${StepLine} cursor=${app.cursor} range=${view.range} area=${area} />
  </div>`;
}

/** Effects want as many dependencies at every rendering. @param {unknown[]} items */
function padded(items) {
  return Array.from({ length: 32 }, (_, i) => items[i]);
}

/**
 * @param {import('../types.d.ts').RunInfo} run
 * @param {string} parameter
 * @param {string} quantity
 * @param {import('./ui.js').Answer<Histograms>} histograms
 * @returns {string | null}
 */
function _absence(run, parameter, quantity, histograms) {
  const missing = undefinedStatistics(run, parameter);
  if (missing.names.includes(quantity)) return `${quantity} is not defined for ${missing.optimizer}.`;
  if (run.quantities.length === 0)
    return 'This run has no histograms. The callback logs them every histograms_every_n_steps.';
  if (!run.quantities.some(({ name }) => name === quantity))
    return `This run has no histograms of ${quantity}.`;
  if (histograms.error) return null;
  return histograms.value ? 'No histogram has been logged yet.' : 'Loading …';
}
