// @ts-check
/** The whole tab: loads what is shown, lays it out, and listens to the keyboard. */
import { runColor } from '../chart/colormap.js';
import { colouringOf } from '../chart/heatmap_colours.js';
import { axisValues, indexAtOrBefore, zoomedRange } from '../state/axis.js';
import { checkedRuns, compileFilter, overviewRun, referenceRun, selectedParameter } from '../state/store.js';
import { useKeyboard } from './hooks/keyboard.js';
import {
  useAxis,
  useDiagnosis,
  useJumps,
  useRunData,
  useStarts,
  useStrips,
  useZoomedOverview,
} from './hooks/run_data.js';
import { Overview } from './overview/card.js';
import { toggleAround } from './overview/module_tree.js';
import { useRanks } from './overview/ranks.js';
import { buildTree, modulesAround, modulesOpenAtFirst, rankedRows } from './overview/tree_rows.js';
import { ParameterCard, statisticsOf } from './parameter/parameter_card.js';
import { Sidebar } from './run/sidebar.js';
import { Toolbar } from './toolbar.js';
import { Banner, ErrorBanner, html, Lazy, useEffect, useLayoutEffect, useMemo, useStore } from './ui.js';

/**
 * @typedef {import('./ui.js').App} AppContext
 * @typedef {import('../state/store.js').State} State
 * @typedef {import('../types.d.ts').RunInfo} RunInfo
 * @typedef {import('../types.d.ts').Summary} Summary
 */

const help = () => import('./help.js');

/** @param {{app: AppContext}} props */
export function App({ app }) {
  const state = useStore(app.store);
  const { summary } = state;
  const run = overviewRun(state);
  return html`<div class="tab">
    ${
      summary && run
        ? html`<${Loaded} app=${app} state=${state} summary=${summary} run=${run} />`
        : html`<${Sidebar} app=${app} state=${state} run=${null} hyperparameters=${null} step=${null} findings=${[]} skipped=${null} compass=${null} />
          <main class="main">
            <${Toolbar} app=${app} state=${state} statistics=${[]} metric=${state.metric} reference=${null} />
            <div class="split"><div class="content">
              <${Notices} state=${state} run=${null} />
              ${!summary && !state.connection && html`<div class="empty waiting" role="status">Loading …</div>`}
              ${summary && summary.messages.length === 0 && html`<${Lazy} load=${help} name="NoData" />`}
            </div></div>
          </main>`
    }
    ${state.dialog === 'help' && html`<${Lazy} load=${help} name="Help" app=${app} />`}
  </div>`;
}

/** The tab once there is a run to show. @param {{app: AppContext, state: State, summary: Summary, run: RunInfo}} props */
function Loaded({ app, state, summary, run }) {
  const parameter = selectedParameter(state);
  const metric = _metricOf(state, run);
  const runs = checkedRuns(state);
  const reference = referenceRun(state);
  const against = state.against && reference !== run ? reference : null;
  const data = useRunData(app, state, summary, run, metric.name, against);
  const { findings, compass, not_evaluated, recording } = useDiagnosis(app, state, summary, run);
  const starts = useStarts(app, state, summary, runs, run, data.steps.value);
  const tree = useTree(state, run);
  const open = useMemo(() => state.open ?? _openAtFirst(state, tree), [state.open, tree]);

  const whole = data.overview.value;
  const usable =
    whole && whole.run === run.run && whole.against === (against?.run ?? null) && whole.columns > 0 ? whole : null;
  const axis = useAxis(state, run, runs, usable, starts, data.steps.value);
  const zoomed = useZoomedOverview(app, state, summary, run, metric.name, against, usable, axis);
  const { shown, jumps } = useJumps(data.norms.value, run, zoomed ?? usable);
  const [lowest, highest] = state.colourRange;
  const colouring = useMemo(
    () => usable && colouringOf(usable, metric.scale, [lowest, highest]),
    [usable, metric.scale, lowest, highest],
  );
  const view = axis &&
    usable &&
    shown &&
    colouring && {
      run,
      color: runColor(summary.runs.indexOf(run), state.theme),
      theme: state.theme,
      axis: state.axis,
      range: axis.range,
      whole: axis.whole,
      start: axis.start,
      overview: shown,
      xs: shown === usable ? axis.xs : axisValues(state.axis, shown.last_step, shown.wall_time, axis.start),
      step: axis.step,
      x: axis.x,
      // What an answer that is still to come will show, is not yet what the heat map shows.
      metric: _metricOf({ ...state, metric: usable.statistic }, run),
      colouring,
      against,
      jumps,
    };
  useLayoutEffect(() => app.cursor.pin(axis ? axis.x : null), [axis?.x]);

  const ranks = useRanks(state, view || null);
  const moveTensor = (/** @type {number} */ delta) => {
    const order = ranks ? rankedRows(tree, ranks, 1).flatMap((row) => row.parameters) : tree.parameters;
    const at = order.indexOf(parameter ? run.parameters.indexOf(parameter) : -1);
    const next = order[Math.max(0, Math.min(order.length - 1, at + delta))];
    if (next !== undefined) app.actions.selectTensor(run.parameters[next].name);
  };
  const moveStep = (/** @type {number} */ delta) => {
    if (!shown) return;
    const steps = shown.last_step;
    const next = indexAtOrBefore(steps, state.step ?? Infinity) + delta;
    app.actions.pinStep(steps[Math.max(0, Math.min(steps.length - 1, next))]);
  };
  const moveFinding = (/** @type {number} */ delta) => {
    if (!findings.length) return;
    const at = findings.findIndex(({ id }) => id === state.finding);
    const next = at < 0 ? (delta > 0 ? 0 : findings.length - 1) : at + delta;
    app.actions.selectFinding(findings[Math.max(0, Math.min(findings.length - 1, next))]);
  };
  const fold = () =>
    parameter && app.actions.openModules(toggleAround(tree, open, run.parameters.indexOf(parameter)));

  // What a finding is about is to be seen, and not behind a folded module.
  useEffect(() => {
    const at = parameter ? run.parameters.indexOf(parameter) : -1;
    const around = state.finding && at >= 0 ? modulesAround(tree, at) : [];
    if (around.some((key) => !open.has(key))) app.actions.openModules(new Set([...open, ...around]));
  }, [state.finding]);
  const zoomBy = (/** @type {number} */ factor) => {
    if (!axis) return;
    const { range, whole: all, x } = axis;
    const unit = Math.min(1, Math.max(0, (x - range.from) / (range.to - range.from)));
    app.actions.zoom(factor ? zoomedRange(range, unit, factor, all) : null);
  };
  const strips = useStrips(app, state, summary, run, data.steps.value, axis?.start ?? 0);
  useKeyboard(app, { moveTensor, moveStep, moveFinding, fold, zoomBy });
  const pinned = state.pins.flatMap((name) => run.parameters.filter((info) => info.name === name));
  const cards = { app, state, view, summary, starts, hyperparameters: data.hyperparameters.value };

  return html`<${Sidebar}
      app=${app}
      state=${state}
      run=${run}
      hyperparameters=${data.hyperparameters.value}
      step=${axis?.step ?? null}
      findings=${findings}
      skipped=${not_evaluated}
      compass=${compass}
    />
    <main class="main">
      <${Toolbar} app=${app} state=${state} statistics=${statisticsOf(state, [run])} metric=${metric.name} reference=${reference !== run ? reference : null} />
      <div class="split ${state.settings ? 'beside-settings' : ''}">
        <div class="content">
          <${Notices} state=${state} run=${run} recording=${recording} />
          <${ErrorBanner} text=${data.overview.error} />
          <${ErrorBanner} text=${data.steps.error ?? data.hyperparameters.error ?? data.norms.error} />
          ${
            view
              ? html`<${Overview}
                app=${app}
                state=${state}
                view=${view}
                findings=${findings}
                tree=${tree}
                ranks=${ranks}
                open=${open}
                selected=${parameter ? run.parameters.indexOf(parameter) : -1}
                strips=${strips.shown}
                stripChoices=${strips.choices}
                stale=${data.overview.stale}
              />`
              : !data.overview.error &&
                html`<div class="empty waiting" role="status">${_waitingText(usable ?? whole)}</div>`
          }
          ${
            view &&
            state.optimizer &&
            html`<${Lazy} load=${() => import('./run/optimizer_card.js')} name="OptimizerCard" ...${cards} onSelect=${app.actions.selectTensor} />`
          }
          ${
            view &&
            parameter &&
            html`<${ParameterCard} ...${cards} parameter=${parameter} onMoveTensor=${moveTensor} />`
          }
          ${
            view &&
            pinned
              .filter((info) => info !== parameter)
              .map(
                (info) =>
                  html`<${ParameterCard} key=${info.name} ...${cards} parameter=${info} onMoveTensor=${null} />`,
              )
          }
        </div>
        ${
          state.settings &&
          html`<${Lazy}
            load=${() => import('./settings_pane.js')}
            name="SettingsPane"
            app=${app}
            state=${state}
            statistics=${statisticsOf(state, [run])}
            metric=${metric.name}
          />`
        }
      </div>
    </main>`;
}

/** What the server and the data say, above the cards. @param {{state: State, run: RunInfo | null, recording?: string}} props */
function Notices({ state, run, recording = '' }) {
  const { connection, summary } = state;
  const messages = [...(summary?.messages ?? []), ...(run?.messages ?? [])];
  const lost = `TensorBoard does not answer (${connection}). Trying again every 5 seconds${summary ? '; what is shown is from before' : ''}.`;
  return html`<${ErrorBanner} text=${connection && lost} />
    ${recording && html`<${Banner} severity="info" text=${recording} />`}
    ${messages.map(({ severity, text }) => html`<${Banner} key=${text} severity=${severity} text=${text} />`)}`;
}

/** @param {State} state @param {RunInfo} run */
function useTree(state, run) {
  const names = run.parameters.map(({ name }) => name);
  return useMemo(() => {
    const { matches } = compileFilter(state.filter);
    return buildTree(names, (index) => matches(names[index]));
  }, [names.join('\n'), state.filter]);
}

/** @param {State} state @param {RunInfo} run @returns {import('../types.d.ts').StatisticInfo} */
function _metricOf(state, run) {
  const statistics = statisticsOf(state, [run]);
  return (
    statistics.find(({ name }) => name === state.metric) ??
    statistics[0] ?? { name: state.metric, label: state.metric, scale: 'log', description: '' }
  );
}

/** A filter is there to see what matches. @param {State} state @param {import('./overview/tree_rows.js').Module} tree */
function _openAtFirst(state, tree) {
  return modulesOpenAtFirst(tree, state.filter ? 200 : undefined);
}

/** @param {import('../types.d.ts').Overview | null} overview */
function _waitingText(overview) {
  return overview ? 'This run has no logged step yet.' : 'Loading …';
}
