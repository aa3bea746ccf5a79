// @ts-check
/** A parameter: how runs compare, the numbers at the step, its distributions. One card for each. */
import { formatInteger, formatPercent } from '../../chart/format.js';
import { t } from '../../host/language.js';
import { checkedRuns, referenceRun, statisticsOf } from '../../state/store.js';
import { seriesOfRuns, useParameterData } from '../hooks/run_data.js';
import { describeOptions, hyperparameterAt, hyperparametersAt } from '../run/sidebar.js';
import { ErrorBanner, html, icon } from '../ui.js';
import { HistogramPanel } from './histogram_panel.js';
import { LinePanel } from './line_panel.js';
import { StepTable, undefinedStatistics } from './step_table.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../chart/heatmap_values.js').View} View
 * @typedef {import('../../state/store.js').State} State
 * @typedef {import('../../types.d.ts').ParameterInfo} ParameterInfo
 * @typedef {import('../../types.d.ts').StatisticInfo} StatisticInfo
 * @typedef {import('../../types.d.ts').Histograms} Histograms
 * @typedef {import('../../types.d.ts').Hyperparameters} Hyperparameters
 */

const OPTIONS_SHOWN = ['amsgrad', 'maximize', 'nesterov', 'centered'];

/**
 * @param {object} props
 * @param {App} props.app
 * @param {State} props.state
 * @param {View} props.view
 * @param {import('../../types.d.ts').Summary} props.summary
 * @param {ParameterInfo} props.parameter
 * @param {Map<string, number>} props.starts wall times of the runs' first steps
 * @param {Hyperparameters | null} props.hyperparameters
 * @param {((delta: number) => void) | null} props.onMoveTensor null for a pinned card
 */
export function ParameterCard(props) {
  const { app, state, view, summary, parameter, starts, hyperparameters, onMoveTensor } = props;
  const { run } = view;
  const { name } = parameter;
  const checked = checkedRuns(state);
  const { series: seriesAnswer, norms, histograms } = useParameterData(app, state, summary, run, checked, name);
  const runs = seriesOfRuns(state, summary, checked, name, seriesAnswer.value, norms.value, starts);
  const statistics = statisticsOf(state, [run, ...checked]);
  const stale = seriesAnswer.stale || histograms.stale;
  const id = onMoveTensor ? 'parameter' : `pin ${name}`;
  const full = state.full === id;
  const others = state.allRuns ? runs.filter((entry) => entry.run !== run && entry.series) : [];
  const comparable = runs.filter((entry) => entry.series).length > 1;
  return html`<section
    class="card detail ${stale ? 'stale' : ''} ${full ? 'full' : ''} ${state.full && !full ? 'behind' : ''}"
    aria-label=${onMoveTensor ? t('Selected tensor {name}', { name }) : t('Pinned tensor {name}', { name })}
  >
    <div class="card-head">
      <${Breadcrumb} name=${name} />
      <${Chips} view=${view} parameter=${parameter} hyperparameters=${hyperparameters} />
      <span class="grow"></span>
      ${comparable && html`<${AllRunsButton} app=${app} on=${state.allRuns} />`}
      ${onMoveTensor && html`<${Smoothing} app=${app} value=${state.smoothing} /><${MoveButtons} onMoveTensor=${onMoveTensor} />`}
      <${PlaceButtons} app=${app} name=${name} id=${id} pinned=${state.pins.includes(name)} full=${full} />
    </div>
    <${ErrorBanner} text=${seriesAnswer.error} />
    <${ErrorBanner} text=${histograms.error} />
    <div class="detail-grid ${others.length ? 'all-runs' : ''}">
      <${LinePanel} app=${app} state=${state} view=${view} parameter=${name} runs=${runs} statistics=${statistics} />
      <${StepTable}
        app=${app}
        view=${view}
        runs=${runs}
        reference=${referenceRun(state)}
        parameter=${name}
        statistics=${statistics}
      />
      <${HistogramPanels}
        app=${app}
        state=${state}
        view=${view}
        parameter=${parameter}
        hyperparameters=${hyperparameters}
        histograms=${histograms}
        runs=${[{ run, color: view.color, start: view.start }, ...others]}
      />
    </div>
  </section>`;
}

/**
 * What the card is about: shape, group, sample.
 * @param {{view: View, parameter: ParameterInfo, hyperparameters: Hyperparameters | null}} props
 */
function Chips({ view, parameter, hyperparameters }) {
  const { shape, dtype, group, elements, elements_read: read } = parameter;
  return html`<span class="chip" title=${t('Shape and type')}>${shape.join(' × ') || t('scalar')} · ${dtype}</span>
    <${GroupChip} group=${view.run.groups[group]} index=${group} hyperparameters=${hyperparameters} step=${view.step} />
    ${
      read < elements &&
      html`<span class="chip sampled" title=${t('Histograms and element-wise statistics read this sample, the same elements at every step')}>
        ${t('{read} of {count} elements ({share})', { read: formatInteger(read), count: formatInteger(elements), share: formatPercent(read / elements) })}
      </span>`
    }`;
}

/** @param {{app: App, on: boolean}} props */
function AllRunsButton({ app, on }) {
  return html`<button
    class="icon-button"
    aria-pressed=${on}
    aria-label=${t('Histograms of all checked runs')}
    title=${on ? t('Histograms of this run alone') : t('Histograms of all checked runs, side by side')}
    onClick=${() => app.actions.prefer('allRuns', !on)}
  >
    ${icon('beside')}
  </button>`;
}

/** @param {{onMoveTensor: (delta: number) => void}} props */
function MoveButtons({ onMoveTensor }) {
  return html`<button class="icon-button" aria-label=${t('Previous tensor')} title=${t('Previous tensor (k)')} onClick=${() => onMoveTensor(-1)}>
      ${icon('up')}
    </button>
    <button class="icon-button" aria-label=${t('Next tensor')} title=${t('Next tensor (j)')} onClick=${() => onMoveTensor(1)}>
      ${icon('down')}
    </button>`;
}

/** Where the card is, and how large. @param {{app: App, name: string, id: string, pinned: boolean, full: boolean}} props */
function PlaceButtons({ app, name, id, pinned, full }) {
  return html`<button
      class="icon-button"
      aria-pressed=${pinned}
      aria-label=${pinned ? t('Unpin this tensor') : t('Pin this tensor below')}
      title=${pinned ? t('Unpin') : t('Pin: keep this tensor below while you look at others')}
      onClick=${() => app.actions.togglePin(name)}
    >
      ${icon('pin')}
    </button>
    <button
      class="icon-button"
      aria-pressed=${full}
      aria-label=${full ? t('Back to normal size') : t('Full size')}
      title=${full ? t('Back to normal size (Esc)') : t('Full size')}
      onClick=${() => app.actions.toggleFull(id)}
    >
      ${icon(full ? 'small' : 'full')}
    </button>`;
}

/**
 * @param {object} props
 * @param {App} props.app
 * @param {State} props.state
 * @param {View} props.view
 * @param {ParameterInfo} props.parameter
 * @param {Hyperparameters | null} props.hyperparameters
 * @param {import('../ui.js').Answer<Histograms[]>} props.histograms
 * @param {Pick<import('../../types.d.ts').HistogramRun, 'run' | 'color' | 'start'>[]} props.runs the overview's first
 */
function HistogramPanels({ app, state, view, parameter, hyperparameters, histograms, runs }) {
  const { name } = parameter;
  const epsilon = hyperparameterAt(hyperparameters, parameter.group, 'eps', view.step);
  return state.panels.map(
    (panel, index) => html`<${HistogramPanel}
      key=${index}
      app=${app}
      index=${index}
      panel=${panel}
      state=${state}
      view=${view}
      parameter=${parameter}
      quantities=${view.run.quantities.map((quantity) => quantity.name)}
      runs=${runs.map((entry) => ({
        ...entry,
        histogram: _histogramOf(entry.run, name, panel.quantity, histograms.value),
        absence: _absence(entry.run, name, panel.quantity, histograms),
      }))}
      epsilon=${Number.isNaN(epsilon) ? null : epsilon}
    />`,
  );
}

/** @param {{name: string}} props */
function Breadcrumb({ name }) {
  const parts = name.split('.');
  const leaf = parts.pop();
  const letters = name.length + 2 * parts.length;
  return html`<h2 class="crumb" title=${name} style="min-width:min(120px, ${letters}ch)">
    ${parts.length > 0 && html`<span class="path"><bdi>${parts.join(' / ')} /</bdi></span>${' '}`}<b>${leaf}</b>
  </h2>`;
}

/** @param {{group: import('../../types.d.ts').GroupInfo, index: number, hyperparameters: Hyperparameters | null, step: number}} props */
function GroupChip({ group, index, hyperparameters, step }) {
  const at = hyperparametersAt(hyperparameters, index, step);
  const betas = [at.beta1, at.beta2].filter((text) => text !== '—').join(', ');
  const parts = [t('{optimizer} group {index}', { optimizer: group.optimizer, index })];
  if (at.lr !== '—') parts.push(`lr ${at.lr}`);
  if (betas) parts.push(`β ${betas}`);
  if (at.eps !== '—') parts.push(`ε ${at.eps}`);
  if (at.weight_decay !== '—') parts.push(t('decay {value}', { value: at.weight_decay }));
  parts.push(...OPTIONS_SHOWN.filter((name) => group.options[name] === true));
  return html`<span class="chip group" title=${`${parts.join(' · ')}\n${describeOptions(group.options)}`}>${parts.join(' · ')}</span>`;
}

/** @param {{app: App, value: number}} props */
function Smoothing({ app, value }) {
  const change = (/** @type {any} */ event) => app.actions.prefer('smoothing', Number(event.target.value));
  return html`<label class="smoothing" title=${t('Debiased moving average, as in TensorBoard; on a logarithmic axis, of the logarithms')}>
    ${t('Smoothing')}
    <input type="range" min="0" max="0.99" step="0.01" value=${value} onInput=${change} />
    <output>${value.toFixed(2)}</output>
  </label>`;
}

/**
 * @param {import('../../types.d.ts').RunInfo} run
 * @param {string} parameter
 * @param {string} quantity
 * @param {Histograms[] | null} answers
 */
function _histogramOf(run, parameter, quantity, answers) {
  if (undefinedStatistics(run, parameter).names.includes(quantity)) return null;
  const found = answers?.find((answer) => answer.run === run.run)?.quantities[quantity];
  return found?.step.length ? found : null;
}

/**
 * @param {import('../../types.d.ts').RunInfo} run
 * @param {string} parameter
 * @param {string} quantity
 * @param {import('../ui.js').Answer<Histograms[]>} histograms
 * @returns {string | null}
 */
function _absence(run, parameter, quantity, histograms) {
  const missing = undefinedStatistics(run, parameter);
  if (missing.names.includes(quantity)) return t('{quantity} is not defined for {optimizer}.', { quantity, optimizer: missing.optimizer });
  if (run.quantities.length === 0)
    return t('This run has no histograms. The callback logs them every histograms_every_n_steps.');
  if (!run.quantities.some(({ name }) => name === quantity))
    return t('This run has no histograms of {quantity}.', { quantity });
  if (histograms.error) return null;
  return histograms.value ? t('No histogram has been logged yet.') : t('Loading …');
}
