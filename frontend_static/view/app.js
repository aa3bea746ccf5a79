// @ts-check
/** The whole tab: loads the data, lays out the cards, and listens to the keyboard. */
import { t } from '../host/language.js';
import { comparedRun } from '../state/questions.js';
import {
  checkedRuns,
  metricOf,
  overviewRun,
  referenceRun,
  selectedParameter,
  statisticsOf,
} from '../state/store.js';
import { useFilter } from './hooks/filter.js';
import { useOverviewView } from './hooks/overview_view.js';
import { useDiagnosis, useRunData, useStarts, useStrips } from './hooks/run_data.js';
import { useRunStates } from './hooks/run_states.js';
import { movesOf, useKeyboard } from './keyboard.js';
import { Overview } from './overview/card.js';
import { useRanks } from './overview/ranks.js';
import { buildTree, modulesAround, modulesOpenAtFirst } from './overview/tree_rows.js';
import { Sidebar } from './run/sidebar.js';
import { Toolbar } from './toolbar.js';
import { Banner, ErrorBanner, html, Lazy, render, useEffect, useMemo, useStore } from './ui.js';

/**
 * @typedef {import('./ui.js').App} AppContext
 * @typedef {import('../state/store.js').State} State
 * @typedef {import('../types.d.ts').RunInfo} RunInfo
 * @typedef {import('../types.d.ts').Summary} Summary
 */

const help = () => import('./help.js');
/** @type {import('./run/run_list.js').States} */
const NO_STATES = new Map();
/** Half of the tab, below the heat map, which does not wait for it. */
const parameterCard = () => import('./parameter/parameter_card.js');

/** Shows the tab in an empty element. @param {AppContext} app @param {HTMLElement} root */
export function mount(app, root) {
  render(html`<${App} app=${app} />`, root);
}

/** @param {{app: AppContext}} props */
function App({ app }) {
  const state = useStore(app.store);
  const { summary } = state;
  const run = overviewRun(state);
  return html`<div class="tab">
    <header class="visually-hidden"><h1>Adam Debug</h1></header>
    ${
      summary && run
        ? html`<${Loaded} app=${app} state=${state} summary=${summary} run=${run} />`
        : html`<${Sidebar} app=${app} state=${state} run=${null} hyperparameters=${null} step=${null} findings=${[]} skipped=${null} compass=${null} states=${NO_STATES} />
          <main class="main">
            <${Toolbar} app=${app} state=${state} statistics=${[]} metric=${state.metric} reference=${null} />
            <div class="split"><div class="content">
              <${Notices} state=${state} run=${null} />
              ${!summary && !state.connection && html`<div class="empty waiting" role="status">${t('Loading …')}</div>`}
              ${summary && summary.messages.length === 0 && html`<${Lazy} load=${help} name="NoData" />`}
            </div></div>
          </main>`
    }
    ${state.dialog === 'help' && html`<${Lazy} load=${help} name="Help" app=${app} />`}
  </div>`;
}

/** The tab once there is a run to show. @param {{app: AppContext, state: State, summary: Summary, run: RunInfo}} props */
function Loaded({ app, state, summary, run }) {
  const shown = useShown(app, state, summary, run);
  const { data, diagnosis, axis, metric, reference } = shown;
  const statistics = statisticsOf(state, [run]);
  const states = useRunStates(app, summary, shown.view !== null || data.overview.error !== null);
  return html`<${Sidebar}
      app=${app}
      state=${state}
      run=${run}
      hyperparameters=${data.hyperparameters.value}
      step=${axis?.step ?? null}
      findings=${diagnosis.findings}
      skipped=${diagnosis.not_evaluated}
      compass=${diagnosis.compass}
      states=${states}
    />
    <main class="main">
      <${Toolbar} app=${app} state=${state} statistics=${statistics} metric=${metric.name} reference=${reference !== run ? reference : null} />
      <div class="split ${state.settings ? 'beside-settings' : ''}">
        <div class="content">
          <${Notices} state=${state} run=${run} recording=${diagnosis.recording} />
          <${ErrorBanner} text=${data.overview.error} />
          <${ErrorBanner} text=${data.steps.error ?? data.hyperparameters.error ?? data.norms.error} />
          ${
            state.all &&
            html`<${Lazy} load=${() => import('./run/all_findings.js')} name="AllFindings" app=${app} state=${state} summary=${summary} states=${states} />`
          }
          ${
            state.compare &&
            html`<${Lazy} load=${() => import('./compare/comparison.js')} name="Comparison" app=${app} state=${state} summary=${summary} />`
          }
          ${!state.all && !state.compare && html`<${Cards} app=${app} state=${state} summary=${summary} run=${run} shown=${shown} />`}
        </div>
        ${
          state.settings &&
          html`<${Lazy}
            load=${() => import('./settings_pane.js')}
            name="SettingsPane"
            app=${app}
            state=${state}
            statistics=${statistics}
            metric=${metric.name}
          />`
        }
      </div>
    </main>`;
}

/**
 * The data shown of the runs, and the keys' effect on it.
 * @param {AppContext} app @param {State} state @param {Summary} summary @param {RunInfo} run
 */
function useShown(app, state, summary, run) {
  const parameter = selectedParameter(state);
  const metric = metricOf(state, run);
  const runs = checkedRuns(state);
  const reference = referenceRun(state);
  const against = comparedRun(state);
  const data = useRunData(app, state, summary, run);
  const diagnosis = useDiagnosis(app, state, summary, run);
  const { findings } = diagnosis;
  useEffect(() => {
    const isOurs = findings.length ? findings[0].run === run.run : diagnosis.not_evaluated !== null;
    if (state.reopen && isOurs) app.actions.reopenFinding(findings);
  }, [state.reopen, diagnosis, run.run]);
  const starts = useStarts(app, state, summary, runs, run, data.steps.value);
  const tree = useTree(state, run);
  const open = useMemo(() => state.open ?? _openAtFirst(state, tree), [state.open, tree]);

  const finding = findings.find(({ id }) => id === state.finding) ?? null;
  const { axis, shown, view } = useOverviewView(app, state, summary, run, { metric, runs, against, data, starts, finding });
  const ranks = useRanks(state, view);
  // The subject of a finding or a comparison should be visible, not in a folded module.
  useEffect(() => {
    const at = parameter?.name === state.tensor ? run.parameters.findIndex(({ name }) => name === state.tensor) : -1;
    const around = (state.finding || state.unfolded === state.tensor) && at >= 0 ? modulesAround(tree, at) : [];
    if (around.some((key) => !open.has(key))) app.actions.unfold(new Set([...open, ...around]));
  }, [state.finding, state.unfolded]);
  const strips = useStrips(app, state, summary, run, data.steps.value, axis?.start ?? 0);
  const moves = movesOf(app, state, { run, parameter, tree, open, ranks, shown, findings, axis });
  useKeyboard(app, moves);
  return { parameter, metric, reference, data, diagnosis, starts, tree, open, axis, view, ranks, strips, moves };
}

/**
 * The heat map, and the open cards below it: the optimizer, the selected parameter, and the pinned ones.
 * @param {{app: AppContext, state: State, summary: Summary, run: RunInfo, shown: ReturnType<typeof useShown>}} props
 */
function Cards({ app, state, summary, run, shown }) {
  const { parameter, data, diagnosis, starts, tree, open, view, ranks, strips, moves } = shown;
  if (!view)
    return !data.overview.error && html`<div class="empty waiting" role="status">${_waitingText(data.overview.value)}</div>`;
  const pinned = state.pins.flatMap((name) => run.parameters.filter((info) => info.name === name));
  const cards = { app, state, view, summary, starts, hyperparameters: data.hyperparameters.value };
  return html`<${Overview}
      app=${app}
      state=${state}
      view=${view}
      findings=${diagnosis.findings}
      tree=${tree}
      ranks=${ranks}
      open=${open}
      selected=${parameter ? run.parameters.indexOf(parameter) : -1}
      strips=${strips.shown}
      stripChoices=${strips.choices}
      stale=${data.overview.stale}
    />
    ${
      state.optimizer &&
      html`<${Lazy} load=${() => import('./run/optimizer_card.js')} name="OptimizerCard" ...${cards} onSelect=${app.actions.selectTensor} />`
    }
    ${
      parameter &&
      html`<${Lazy} load=${parameterCard} name="ParameterCard" ...${cards} parameter=${parameter} onMoveTensor=${moves.moveTensor} />`
    }
    ${pinned
      .filter((info) => info !== parameter)
      .map(
        (info) =>
          html`<${Lazy} key=${info.name} load=${parameterCard} name="ParameterCard" ...${cards} parameter=${info} onMoveTensor=${null} />`,
      )}`;
}

/**
 * Messages of the server and about the data, above the cards. @param {{state: State, run: RunInfo | null, recording?:
 * string}} props
 */
function Notices({ state, run, recording = '' }) {
  const { connection, summary } = state;
  const messages = [...(summary?.messages ?? []), ...(run?.messages ?? [])];
  const reason = { reason: connection ?? '' };
  const lost = summary
    ? t('TensorBoard does not answer ({reason}). What you see is older; retrying every 5 seconds.', reason)
    : t('TensorBoard does not answer ({reason}). Retrying every 5 seconds.', reason);
  return html`<${ErrorBanner} text=${connection && lost} />
    ${recording && html`<${Banner} severity="info" text=${recording} />`}
    ${messages.map(({ severity, text }) => html`<${Banner} key=${text} severity=${severity} text=${text} />`)}`;
}

/** @param {State} state @param {RunInfo} run */
function useTree(state, run) {
  const names = run.parameters.map(({ name }) => name);
  const filter = useFilter(state.filter, names);
  return useMemo(() => buildTree(names, (index) => filter.matches(names[index])), [names.join('\n'), filter]);
}

/**
 * With a filter, the matches are unfolded. @param {State} state @param {import('./overview/tree_rows.js').Module}
 * tree
 */
function _openAtFirst(state, tree) {
  return modulesOpenAtFirst(tree, state.filter ? 200 : undefined);
}

/** @param {import('../types.d.ts').Overview | null} overview */
function _waitingText(overview) {
  return overview ? t('This run has no logged step yet.') : t('Loading …');
}
