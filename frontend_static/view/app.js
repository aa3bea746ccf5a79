// @ts-check
/** The whole tab: loads what is shown, lays it out, and listens to the keyboard. */
import { runColor, runDash } from '../chart/colormap.js';
import { runRevision } from '../data/api.js';
import { axisValues, clampRange, indexAtOrBefore, stepsWithin, wholeRange } from '../state/axis.js';
import { checkedRuns, compileFilter, overviewRun, selectedParameter } from '../state/store.js';
import { Banner, ErrorBanner, Help, NoData, Waiting } from './messages.js';
import { Overview, toggleAround } from './overview.js';
import { ParameterCard, statisticsOf } from './parameter_card.js';
import { Sidebar } from './sidebar.js';
import { Toolbar } from './toolbar.js';
import { buildTree, modulesOpenAtFirst } from './tree_rows.js';
import { html, now, useAnswer, useEffect, useLayoutEffect, useMemo, useRef, useStore } from './ui.js';

/**
 * @typedef {import('./ui.js').App} AppContext
 * @typedef {import('../state/store.js').State} State
 * @typedef {import('../types.d.ts').RunInfo} RunInfo
 * @typedef {import('../types.d.ts').Summary} Summary
 * @typedef {import('../types.d.ts').StepRows} StepRows
 */

const COLUMNS = 1024;
const NO_VALUES = new Float64Array(0);

/** @param {{app: AppContext}} props */
export function App({ app }) {
  const state = useStore(app.store);
  const { summary } = state;
  const run = overviewRun(state);
  return html`<div class="tab">
    ${
      summary && run
        ? html`<${Loaded} app=${app} state=${state} summary=${summary} run=${run} />`
        : html`<${Sidebar} app=${app} state=${state} run=${null} hyperparameters=${null} step=${null} />
          <main class="main">
            <${Toolbar} app=${app} state=${state} statistics=${[]} metric=${state.metric} />
            <div class="content">
              <${Notices} state=${state} run=${null} />
              ${!summary && !state.connection && html`<${Waiting} text="Loading …" />`}
              ${summary && summary.messages.length === 0 && html`<${NoData} />`}
            </div>
          </main>`
    }
    ${state.help && html`<${Help} app=${app} />`}
  </div>`;
}

/** The tab once there is a run to show. @param {{app: AppContext, state: State, summary: Summary, run: RunInfo}} props */
function Loaded({ app, state, summary, run }) {
  const parameter = selectedParameter(state);
  const metric = _metricOf(state, run);
  const runs = checkedRuns(state);
  const data = useRunData(app, state, summary, run, metric.name);
  const { series, histograms } = useParameterData(app, state, summary, run, runs, parameter?.name ?? null);
  const starts = useStarts(app, state, summary, runs, run, data.steps.value);
  const tree = useTree(state, run);
  const open = useMemo(() => state.open ?? _openAtFirst(state, tree), [state.open, tree]);

  const whole = data.overview.value;
  const usable = whole && whole.run === run.run && whole.columns > 0 ? whole : null;
  const axis = useAxis(state, run, runs, usable, starts);
  const zoomed = useZoomedOverview(app, state, summary, run, metric.name, usable, axis);
  const color = runColor(summary.runs.indexOf(run), state.theme);
  const view = axis &&
    usable && {
      run,
      color,
      theme: state.theme,
      axis: state.axis,
      range: axis.range,
      overview: zoomed ?? usable,
      xs: zoomed ? axisValues(state.axis, zoomed.last_step, zoomed.wall_time, axis.start) : axis.xs,
      step: axis.step,
      metric,
    };
  useLayoutEffect(() => app.cursor.pin(axis ? axis.x : null), [axis?.x]);

  const moveTensor = (/** @type {number} */ delta) => {
    const order = tree.parameters;
    const at = order.indexOf(parameter ? run.parameters.indexOf(parameter) : -1);
    const next = order[Math.max(0, Math.min(order.length - 1, at + delta))];
    if (next !== undefined) app.actions.selectTensor(run.parameters[next].name);
  };
  const moveStep = (/** @type {number} */ delta) => {
    if (!usable) return;
    const steps = (zoomed ?? usable).last_step;
    const at = indexAtOrBefore(steps, state.step ?? Infinity);
    const next = at + delta;
    app.actions.pinStep(steps[Math.max(0, Math.min(steps.length - 1, next))]);
  };
  const fold = () =>
    parameter && app.actions.openModules(toggleAround(tree, open, run.parameters.indexOf(parameter)));
  useKeyboard(app, { moveTensor, moveStep, fold });

  const runSeries = runs.map((info) => {
    const found =
      series.value?.find((one) => one?.run === info.run && one.parameter === parameter?.name) ?? null;
    const index = summary.runs.indexOf(info);
    const start = starts.get(info.run) ?? found?.wall_time[0] ?? 0;
    return {
      run: info,
      color: runColor(index, state.theme),
      dash: runDash(index),
      series: found,
      xs: found ? axisValues(state.axis, found.step, found.wall_time, start) : NO_VALUES,
    };
  });
  const strips = useStrips(app, state, summary, run, data.steps.value, axis?.start ?? 0);

  return html`<${Sidebar} app=${app} state=${state} run=${run} hyperparameters=${data.hyperparameters.value} step=${axis?.step ?? null} />
    <main class="main">
      <${Toolbar} app=${app} state=${state} statistics=${run.statistics} metric=${metric.name} />
      <div class="content">
        <${Notices} state=${state} run=${run} />
        <${ErrorBanner} text=${data.overview.error} />
        <${ErrorBanner} text=${data.steps.error ?? data.hyperparameters.error} />
        ${
          view
            ? html`<${Overview}
              app=${app}
              view=${view}
              tree=${tree}
              open=${open}
              selected=${parameter ? run.parameters.indexOf(parameter) : -1}
              strips=${strips.shown}
              stripChoices=${strips.choices}
              stale=${data.overview.stale}
            />`
            : !data.overview.error && html`<${Waiting} text=${_waitingText(data.overview.value)} />`
        }
        ${
          view &&
          axis &&
          parameter &&
          html`<${ParameterCard}
          app=${app}
          state=${state}
          view=${view}
          parameter=${parameter}
          x=${axis.x}
          start=${axis.start}
          runs=${runSeries}
          seriesAnswer=${series}
          histograms=${histograms}
          hyperparameters=${data.hyperparameters.value}
          onMoveTensor=${moveTensor}
        />`
        }
      </div>
    </main>`;
}

/** What the server and the data say, above the cards. @param {{state: State, run: RunInfo | null}} props */
function Notices({ state, run }) {
  const { connection, summary } = state;
  const messages = [...(summary?.messages ?? []), ...(run?.messages ?? [])];
  const lost = `TensorBoard does not answer (${connection}). Trying again every 5 seconds${summary ? '; what is shown is from before' : ''}.`;
  return html`<${ErrorBanner} text=${connection && lost} />
    ${messages.map(({ severity, text }) => html`<${Banner} key=${text} severity=${severity} text=${text} />`)}`;
}

/** @param {AppContext} app @param {State} state @param {Summary} summary @param {RunInfo} run @param {string} statistic */
function useRunData({ api }, state, summary, run, statistic) {
  const revision = _revision(state, summary, run);
  return {
    overview: useAnswer(`${run.run}\n${statistic}`, revision, (signal) =>
      api.overview({ run: run.run, statistic, columns: COLUMNS }, revision, signal),
    ),
    steps: useAnswer(run.run, revision, (signal) => api.steps(run.run, revision, signal)),
    hyperparameters: useAnswer(run.run, revision, (signal) => api.hyperparameters(run.run, revision, signal)),
  };
}

/** @param {AppContext} app @param {State} state @param {Summary} summary @param {RunInfo} run @param {RunInfo[]} runs @param {string | null} name */
function useParameterData({ api }, state, summary, run, runs, name) {
  const holders = runs.filter((info) => info.parameters.some((parameter) => parameter.name === name));
  const revisions = holders.map((info) => _revision(state, summary, info));
  const series = useAnswer(
    name && JSON.stringify([name, holders.map((info) => info.run)]),
    revisions.join('\n'),
    (signal) => Promise.all(holders.map((info, i) => api.series(info.run, name ?? '', revisions[i], signal))),
  );
  const logged = run.quantities.map((quantity) => quantity.name);
  const wanted = [...new Set(state.panels.map(({ quantity }) => quantity))]
    .filter((q) => logged.includes(q))
    .sort();
  const revision = _revision(state, summary, run);
  const histograms = useAnswer(
    name && wanted.length ? JSON.stringify([run.run, name, wanted]) : null,
    revision,
    (signal) =>
      api.histograms(
        { run: run.run, parameter: name ?? '', quantity: wanted, columns: 256 },
        revision,
        signal,
      ),
  );
  return { series, histograms };
}

/**
 * Wall times of the runs' first steps; other runs than the overview's need them on the relative axis.
 * @param {AppContext} app @param {State} state @param {Summary} summary @param {RunInfo[]} runs @param {RunInfo} shown
 * @param {StepRows | null} steps of the run shown
 * @returns {Map<string, number>}
 */
function useStarts({ api }, state, summary, runs, shown, steps) {
  const others = state.axis === 'relative' ? runs.filter((info) => info !== shown) : [];
  const revisions = others.map((info) => _revision(state, summary, info));
  const rows = useAnswer(
    others.length ? JSON.stringify(others.map((info) => info.run)) : null,
    revisions.join('\n'),
    (signal) => Promise.all(others.map((info, i) => api.steps(info.run, revisions[i], signal))),
  );
  return useMemo(() => {
    /** @type {Map<string, number>} */
    const starts = new Map();
    for (const one of [...(rows.value ?? []), ...(steps ? [steps] : [])]) {
      const first = one.columns.wall_time?.find((time) => !Number.isNaN(time));
      if (first !== undefined) starts.set(one.run, first);
    }
    return starts;
  }, [rows.value, steps]);
}

/** @param {State} state @param {RunInfo} run */
function useTree(state, run) {
  const names = run.parameters.map(({ name }) => name);
  return useMemo(() => {
    const { matches } = compileFilter(state.filter);
    return buildTree(names, (index) => matches(names[index]));
  }, [names.join('\n'), state.filter]);
}

/**
 * Where the run's columns lie on the axis, what is visible, and where the cursor is pinned.
 * @param {State} state @param {RunInfo} run @param {RunInfo[]} runs
 * @param {import('../types.d.ts').Overview | null} overview of the whole run
 * @param {Map<string, number>} starts
 */
function useAxis(state, run, runs, overview, starts) {
  return useMemo(() => {
    if (!overview) return null;
    const start = starts.get(run.run) ?? overview.wall_time[0];
    const xs = axisValues(state.axis, overview.last_step, overview.wall_time, start);
    const others = runs
      .filter((info) => info !== run)
      .flatMap((info) => {
        if (state.axis === 'step') return [[xs[0], info.last_step]];
        const otherStart = starts.get(info.run);
        const known = state.axis === 'relative' && otherStart !== undefined;
        return known ? [[0, info.last_wall_time - otherStart]] : [];
      });
    const whole = wholeRange(xs, others);
    const last = xs.length - 1;
    const index = state.step === null ? last : Math.max(0, indexAtOrBefore(overview.last_step, state.step));
    // A pinned step within a column that covers several steps stays what it is.
    const step = state.step === null ? overview.last_step[last] : state.step;
    const x = state.axis === 'step' ? step : xs[index];
    return { start, xs, whole, range: clampRange(state.range, whole) ?? whole, step, x };
  }, [
    state.axis,
    state.step,
    state.range,
    overview,
    runs.map((info) => `${info.run} ${info.last_step}`).join('\n'),
    starts,
  ]);
}

/**
 * The visible part at full resolution, where the whole run has been thinned to the screen.
 * @param {AppContext} app @param {State} state @param {Summary} summary @param {RunInfo} run @param {string} statistic
 * @param {import('../types.d.ts').Overview | null} whole
 * @param {ReturnType<typeof useAxis>} axis
 */
function useZoomedOverview({ api }, state, summary, run, statistic, whole, axis) {
  const thinned = whole && axis && axis.range !== axis.whole && whole.logged_steps > whole.columns;
  const part = thinned ? stepsWithin(axis.range, axis.xs, whole.first_step, whole.last_step) : null;
  const revision = _revision(state, summary, run);
  const answer = useAnswer(part && JSON.stringify([run.run, statistic, part]), revision, (signal) =>
    api.overview({ run: run.run, statistic, columns: COLUMNS, ...part }, revision, signal),
  );
  return answer.stale || !answer.value?.columns ? null : answer.value;
}

/**
 * The series above the heat map: a loss, where one was recorded or written, and the gradient norm.
 * @param {AppContext} app @param {State} state @param {Summary} summary @param {RunInfo} run
 * @param {StepRows | null} steps @param {number} start
 */
function useStrips({ api }, state, summary, run, steps, start) {
  const choices = useMemo(() => stripChoices(run), [run]);
  const chosen =
    choices.find(({ name }) => name === state.strip) ??
    choices.find(({ label }) => /loss/i.test(label)) ??
    null;
  const revision = `${_revision(state, summary, run)} ${summary.revision}`;
  const tag = chosen?.tag;
  const scalar = useAnswer(tag ? JSON.stringify([chosen.run, tag]) : null, revision, (signal) =>
    api.scalar(chosen?.run ?? '', tag ?? '', revision, signal),
  );
  const shown = useMemo(() => {
    /** @type {import('./overview.js').Strip[]} */
    const strips = [];
    const mine = steps?.run === run.run ? steps : null;
    const times = mine?.columns.wall_time ?? NO_VALUES;
    const xs = mine ? axisValues(state.axis, mine.columns.step, times, start) : NO_VALUES;
    if (chosen) {
      const { name, label, column } = chosen;
      const written = !scalar.stale && scalar.value;
      const x = written ? axisValues(state.axis, written.step, written.wall_time, start) : NO_VALUES;
      strips.push(
        column
          ? { name, label, x: xs, y: mine?.columns[column] ?? NO_VALUES }
          : { name, label, x, y: written ? written.value : NO_VALUES },
      );
    }
    if (mine?.columns.gradient_norm?.some((norm) => !Number.isNaN(norm)) ?? !mine) {
      strips.push({
        name: 'gradient_norm',
        label: 'gradient norm',
        x: xs,
        y: mine?.columns.gradient_norm ?? NO_VALUES,
      });
    }
    return strips;
  }, [chosen, scalar.value, scalar.stale, steps, run.run, state.axis, start]);
  return { shown, choices };
}

/** Columns of every step row that the callback writes itself; what follows them the user has recorded. */
const OWN_COLUMNS = ['step', 'wall_time', 'gradient_norm', 'callback_milliseconds', 'dropped_records'];

/**
 * @param {RunInfo} run
 * @returns {{name: string, label: string, column?: string, run?: string, tag?: string}[]}
 */
function stripChoices(run) {
  const columns = run.step_columns.filter((column) => !OWN_COLUMNS.includes(column));
  const recorded = columns.map((column) => ({ name: `column ${column}`, label: column, column }));
  const written = run.scalars.map((scalar) => ({ name: `tag ${scalar.tag}`, label: scalar.tag, ...scalar }));
  return [...recorded, ...written];
}

/** @param {AppContext} app @param {{moveTensor: (delta: number) => void, moveStep: (delta: number) => void, fold: () => void}} moves */
function useKeyboard(app, moves) {
  const latest = useRef(moves);
  latest.current = moves;
  useEffect(() => {
    const listener = (/** @type {KeyboardEvent} */ event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const { moveTensor, moveStep, fold } = latest.current;
      const field = /** @type {HTMLElement} */ (event.target).closest?.('input, select, textarea');
      if (event.key === 'Escape') {
        if (field) /** @type {HTMLElement} */ (field).blur();
        else app.actions.escape();
        return;
      }
      if (field) return;
      /** @type {Record<string, () => void>} */
      const keys = {
        ArrowLeft: () => moveStep(event.shiftKey ? -10 : -1),
        ArrowRight: () => moveStep(event.shiftKey ? 10 : 1),
        j: () => moveTensor(1),
        k: () => moveTensor(-1),
        o: fold,
        '/': () =>
          /** @type {HTMLElement | null} */ (document.querySelector('.tensor-filter input'))?.focus(),
        '?': () => app.actions.showHelp(!app.store.get().help),
      };
      const act = keys[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    };
    document.addEventListener('keydown', listener);
    return () => document.removeEventListener('keydown', listener);
  }, []);
}

/** @param {State} state @param {Summary} summary @param {RunInfo} run */
function _revision(state, summary, run) {
  return `${runRevision(summary, run, now())} ${state.attempt}`;
}

/** @param {State} state @param {RunInfo} run @returns {import('../types.d.ts').StatisticInfo} */
function _metricOf(state, run) {
  const statistics = statisticsOf(state, [run]);
  return (
    statistics.find(({ name }) => name === state.metric) ??
    statistics[0] ?? { name: state.metric, label: state.metric, scale: 'log', description: '' }
  );
}

/** A filter is there to see what matches. @param {State} state @param {import('./tree_rows.js').Module} tree */
function _openAtFirst(state, tree) {
  return modulesOpenAtFirst(tree, state.filter ? 200 : undefined);
}

/** @param {import('../types.d.ts').Overview | null} overview */
function _waitingText(overview) {
  return overview ? 'This run has no logged step yet.' : 'Loading …';
}
