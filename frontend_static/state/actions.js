// @ts-check
/** The user's actions: every change of the state is named here. */
import { chosenLanguage, chooseLanguage, language, speak } from '../host/language.js';
import { asBeforeFinding, choosing, closed, colouredBy, evident, following, visit } from './evidence.js';
import { lacksRecords, rangeAround, shownIn } from './evidence.js';
import {
  checkedRuns,
  DEFAULT_METRIC,
  defaultPreferences,
  defaultView,
  metricOf,
  overviewRun,
  selectedParameter,
} from './store.js';

/**
 * @typedef {import('./store.js').State} State
 * @typedef {import('./store.js').Store} Store
 * @typedef {import('../host/links.js').Link} Link
 * @typedef {ReturnType<typeof createActions>} Actions
 *
 * Where two runs first differ, according to the comparison.
 * @typedef {object} PartingPlace
 * @property {string} run the best one, which the other is compared with
 * @property {string} against the other one
 * @property {string} statistic
 * @property {string} parameter
 * @property {number} step
 */

/**
 * @param {Store} store
 * @param {Pick<import('../data/api.js').Api, 'summary' | 'revision'>} api
 */
export function createActions(store, api) {
  return {
    ..._dataActions(store, api),
    ..._runActions(store),
    ..._overviewActions(store),
    ..._selectionActions(store),
    ..._findingActions(store),
    ..._comparisonActions(store),
    ..._axisActions(store),
    ..._preferenceActions(store, api),
    ..._pageActions(store),
  };
}

/**
 * New data, and whether it is wanted.
 * @param {Store} store
 * @param {Pick<import('../data/api.js').Api, 'summary' | 'revision'>} api
 */
function _dataActions({ get, set }, api) {
  return {
    /** Checks for new data, and fetches the summary if there is any. Never rejects. */
    async refresh() {
      try {
        const { summary, connection, attempt, paused } = get();
        const current = summary && (await api.revision());
        const news = !summary || (current !== summary.revision && !paused);
        /** @type {Partial<State>} */
        const patch = {};
        if (news) patch.summary = await api.summary();
        if (connection) Object.assign(patch, { connection: null, attempt: attempt + 1 });
        if (Object.keys(patch).length)
          set({ ...patch, ...(patch.summary && _stickyRun(get(), patch.summary)) });
      } catch (error) {
        set({ connection: error instanceof Error ? error.message : String(error) });
      }
    },
    /** @param {boolean} paused */
    pause: (paused) => set({ paused }),
  };
}

/** Which runs are shown, and which of them are compared. @param {Store} store */
function _runActions({ get, set }) {
  const checkedNames = () => new Set(checkedRuns(get()).map((info) => info.run));
  return {
    /**
     * Shows a run in the overview and in comparisons. The previous run's finding is closed, and its changes to the
     * view are undone.
     * @param {string} run @param {string | null} [rule] rule of that finding, which reopens if this run has it
     */
    showRun(run, rule = null) {
      const { checked, reopen } = get();
      const isOther = overviewRun(get())?.run !== run;
      set({
        ...(isOther && { ...asBeforeFinding(get()), finding: null, reopen: rule ?? reopen }),
        ...{ run, range: null, strip: null, all: false, compare: false, checked: checked && new Set(checked).add(run) },
        ...((isOther || get().all || get().compare) && visit(get())),
      });
    },
    /** @param {string} run */
    toggleRun(run) {
      const checked = checkedNames();
      if (!checked.delete(run)) checked.add(run);
      set({ checked });
    },
    /** @param {string[]} runs @param {boolean} on */
    checkRuns(runs, on) {
      const checked = checkedNames();
      for (const run of runs) on ? checked.add(run) : checked.delete(run);
      set({ checked });
    },
    /** @param {string} runFilter */
    filterRuns: (runFilter) => set({ runFilter }),
    /** @param {boolean} illRuns list only the runs with errors or warnings */
    listIllRuns: (illRuns) => set({ illRuns }),
    /** Compares all runs with one; the same run again ends the comparison. @param {string} run */
    referTo(run) {
      const { reference, against } = get();
      set(reference === run ? { reference: null, against: false } : { reference: run, against });
    },
    /** @param {boolean} against */
    colourAgainst: (against) => set({ against }),
  };
}

/** What the heat map shows of a run. @param {Store} store */
function _overviewActions({ get, set }) {
  return {
    /** @param {string} filter */
    filterTensors: (filter) => set({ filter, open: null }),
    /** @param {string} metric */
    colourBy: (metric) => set({ ...colouredBy(get(), metric), ...choosing(get(), 'metric'), ...visit(get()) }),
    /** @param {import('./store.js').RowOrder} order */
    orderRows: (order) => set({ order }),
    /** @param {Set<string>} open */
    openModules: (open) => set({ open, ...choosing(get(), 'open') }),
    /** Opens modules to show what a finding is about. @param {Set<string>} open */
    unfold: (open) => set({ open }),
    /** @param {string} strip */
    chooseStrip: (strip) => set({ strip, ...choosing(get(), 'strip') }),
    /** @param {boolean} overviewTable */
    showOverviewTable: (overviewTable) => set({ overviewTable }),
  };
}

/** The selection: a parameter, a step. @param {Store} store */
function _selectionActions({ get, set }) {
  return {
    /** @param {string} tensor */
    selectTensor: (tensor) => set({ tensor, ...choosing(get(), 'tensor'), ...visit(get()) }),
    /** @param {number | null} step null follows the newest */
    pinStep: (step) => set({ step, ...choosing(get(), 'step') }),
    /** @param {string} tensor @param {number} step */
    selectCell(tensor, step) {
      const isOther = selectedParameter(get())?.name !== tensor;
      set({ tensor, step, ...choosing(get(), 'tensor', 'step'), ...(isOther && visit(get())) });
    },
    /** Pins a parameter, or unpins it. @param {string} tensor */
    togglePin(tensor) {
      const { pins } = get();
      const rest = pins.filter((other) => other !== tensor);
      set({ pins: rest.length < pins.length ? rest : [...pins, tensor] });
    },
  };
}

/** Opening and closing findings. @param {Store} store */
function _findingActions({ get, set }) {
  /** @param {import('../types.d.ts').Finding} finding @param {Partial<State>} [entry] of the history */
  const show = (finding, entry) => {
    const state = get();
    const run = state.summary?.runs.find((info) => info.run === finding.run);
    const known = run?.parameters.some(({ name }) => name === finding.parameters[0]);
    const { metric, strip } = shownIn(finding, run);
    const unseen = lacksRecords(finding, run);
    const before = state.beforeFinding ?? {};
    const shows = metric || strip;
    const colours = metric ?? (unseen ? DEFAULT_METRIC : shows ? undefined : before.metric);
    const range = unseen ? null : rangeAround(finding, run?.last_step ?? 0);
    set({
      ...{ finding: finding.id, reopen: null, all: false, compare: false, step: finding.at ?? finding.from },
      ...(run && { run: run.run, checked: state.checked && new Set(state.checked).add(run.run) }),
      ...(known && { tensor: finding.parameters[0] }),
      // A selection by another finding or the user is not evidence for this one.
      ...(unseen && { tensor: null, step: null }),
      ...(colours !== undefined && colouredBy(state, colours)),
      ...(strip && { strip }),
      ...(!shows && before.strip !== undefined && { strip: before.strip }),
      ...(state.axis === 'step' && { range }),
      beforeFinding: { ...evident(state), ...before, ..._listsBefore(state, finding) },
      ...entry,
    });
  };
  return {
    /** Selects a finding, and shows its evidence. @param {import('../types.d.ts').Finding} finding */
    selectFinding: (finding) => show(finding, visit(get())),
    /** Shows or hides the findings of all runs. @param {boolean} all */
    showAllFindings: (all) => set({ all, compare: false, ...visit(get()) }),
    /** Closes the finding: restores the previous view, including the list of all or the comparison, except for later choices. */
    closeFinding: () => set(closed(get())),
    /** @param {boolean} why whether the open finding's explanation is shown */
    showWhy: (why) => set({ why }),
    /**
     * Reopens the previous run's open finding. @param {import('../types.d.ts').Finding[]} findings of the overview's
     * run
     */
    reopenFinding(findings) {
      const found = findings.find(({ rule }) => rule === get().reopen);
      if (found) show(found);
      else set({ reopen: null });
    },
  };
}

/** What is done in the comparison of runs. @param {Store} store */
function _comparisonActions({ get, set }) {
  return {
    /** Compares the checked runs, or no longer. @param {boolean} compare */
    showComparison: (compare) => set({ compare, all: false, ...visit(get()) }),
    /** Checks these runs alone. @param {string[]} runs */
    compareOnly: (runs) => set({ checked: new Set(runs), compare: true, all: false, ...visit(get()) }),
    /**
     * Shows a tensor of two runs at the step at which they part in a statistic, the better run as the reference.
     * @param {PartingPlace} place
     */
    showParting({ run, against, statistic, parameter, step }) {
      const state = get();
      const { checked } = state;
      const before = { ...state, ...asBeforeFinding(state) };
      const coloured = colouredBy(before, statistic);
      const charts = coloured.lineStatistics;
      const isDrawn = !charts || charts.includes(statistic);
      set({
        ...asBeforeFinding(state),
        ...{ finding: null, reopen: null, all: false, compare: false, range: null, against: false },
        ...coloured,
        ...(!isDrawn && { lineStatistics: [...charts, statistic] }),
        ...{ run: against, reference: run, tensor: parameter, step, unfolded: parameter },
        ...(checked && { checked: new Set(checked).add(run).add(against) }),
        ...visit(state),
      });
    },
  };
}

/** The axis shared by all charts. @param {Store} store */
function _axisActions({ get, set }) {
  return {
    /** @param {import('../types.d.ts').AxisKind} axis */
    setAxis: (axis) => set({ axis, range: null, ...choosing(get(), 'range') }),
    /** @param {import('../types.d.ts').Range | null} range */
    zoom: (range) => set({ range, ...choosing(get(), 'range') }),
  };
}

/**
 * How charts are drawn and the tab's language, which this browser remembers.
 * @param {Store} store
 * @param {Pick<import('../data/api.js').Api, 'summary'>} api
 */
function _preferenceActions({ get, set }, api) {
  /** @param {import('../host/language.js').Language | ''} chosen '' for the browser's */
  const speakLanguage = async (chosen) => {
    chooseLanguage(chosen);
    await speak();
    if (language() === get().language) return;
    set({ language: language() });
    try {
      set({ summary: await api.summary() }); // its texts come from the server
    } catch {
      // The texts stay in the previous language; the next request to the server reports the error.
    }
  };
  return {
    speakLanguage,
    /** Adds a line chart, or removes it; the last one stays. @param {string} name */
    toggleStatistic(name) {
      const run = overviewRun(get());
      const metric = run ? metricOf(get(), run).name : get().metric;
      const charts = get().lineStatistics ?? [metric];
      const rest = charts.filter((other) => other !== name);
      const next = rest.length < charts.length ? rest : [...charts, name];
      if (next.length) set({ lineStatistics: following(next, metric) });
    },
    /** @template {keyof import('./store.js').Preferences} K @param {K} name @param {State[K]} value */
    prefer: (name, value) => set({ [name]: value }),
    /**
     * Draws all histogram panels in this way, replacing other choices. @param {State['defaultChart']} defaultChart
     */
    chooseDefaultChart: (defaultChart) =>
      set({ defaultChart, panels: get().panels.map((panel) => ({ ...panel, kind: null })) }),
    /** @param {number} index @param {Partial<import('./store.js').Panel>} change */
    changePanel(index, change) {
      set({ panels: get().panels.map((panel, i) => (i === index ? { ...panel, ...change } : panel)) });
    },
    /** Resets all preferences. */
    forgetPreferences() {
      set(defaultPreferences());
      if (chosenLanguage()) speakLanguage('');
    },
  };
}

/** What is open on the page, and the whole view at once. @param {Store} store */
function _pageActions({ get, set }) {
  return {
    /** @param {import('../types.d.ts').Theme} theme */
    setTheme: (theme) => set({ theme }),
    /** @param {boolean} shown */
    showHelp: (shown) => set({ dialog: shown ? 'help' : null }),
    /** @param {boolean} settings */
    showSettings: (settings) => set({ settings }),
    /** Shows the settings over time, a card that lists would hide. @param {boolean} optimizer */
    showOptimizer: (optimizer) => set(optimizer ? { optimizer, all: false, compare: false, ...visit(get()) } : { optimizer }),
    /** Lets a card fill the tab, or returns it to its place. @param {string} card */
    toggleFull: (card) => set({ full: get().full === card ? null : card }),

    /**
     * Undoes one thing at a time: dialog, full size, settings, list of findings or comparison, zoom, finding, filter,
     * pinned step.
     */
    escape() {
      const { dialog, full, settings, range, filter, finding, beforeFinding, all, compare, step } = get();
      const zoomed = range && !(finding && beforeFinding && 'range' in beforeFinding); // not by the finding
      if (dialog) set({ dialog: null });
      else if (full) set({ full: null });
      else if (settings) set({ settings: false });
      else if (all || compare) set({ all: false, compare: false, ...visit(get()) });
      else if (zoomed) set({ range: null });
      else if (finding) set(closed(get()));
      else if (filter) set({ filter: '', open: null });
      else if (step !== null) set({ step: null });
    },

    /** @param {Link} link */
    followLink(link) {
      set({
        ...defaultView(),
        ...{ beforeFinding: null, reopen: null },
        ...link,
        run: link.run ?? get().run,
        checked: link.runs ? new Set(link.runs) : null,
        open: link.open ? new Set(link.open) : null,
      });
    },
  };
}

/**
 * The contents of a link to the current view; defaults are left out.
 * @param {State} state
 * @returns {Link}
 */
export function linkOf(state) {
  const several = (state.summary?.runs.length ?? 0) > 1;
  return {
    run: several ? overviewRun(state)?.run : undefined,
    runs: state.checked ? [...state.checked] : state.compare ? checkedRuns(state).map(({ run }) => run) : undefined,
    reference: state.reference ?? undefined,
    against: state.against || undefined,
    tensor: state.tensor ?? undefined,
    pins: state.pins.length ? state.pins : undefined,
    step: state.step ?? undefined,
    metric: state.metric === DEFAULT_METRIC ? undefined : state.metric,
    axis: state.axis === 'step' ? undefined : state.axis,
    open: state.open ? [...state.open] : undefined,
    filter: state.filter || undefined,
    range: state.range ?? undefined,
    order: state.order === 'model' ? undefined : state.order,
    finding: state.finding ?? undefined,
    why: (state.finding && state.why) || undefined,
    all: state.all || undefined,
    compare: state.compare || undefined,
    strip: state.strip ?? undefined,
  };
}

/** Which list a finding was opened from. @param {State} state @param {import('../types.d.ts').Finding} finding */
function _listsBefore({ finding, beforeFinding, all, compare }, { id }) {
  const before = finding === id ? beforeFinding : null;
  return { all: all || before?.all, compare: compare || before?.compare };
}

/**
 * The newest run is shown first. Later ones only join the list: the view does not jump.
 * @param {State} state
 * @param {import('../types.d.ts').Summary} summary
 * @returns {Partial<State>}
 */
function _stickyRun(state, summary) {
  if (state.run && summary.runs.some((run) => run.run === state.run)) return {};
  if (state.run && !state.summary) return {}; // from a link; it may still be loading
  const newest = summary.runs.reduce(
    (best, run) => (!best || run.last_wall_time > best.last_wall_time ? run : best),
    /** @type {import('../types.d.ts').RunInfo | null} */ (null),
  );
  return { run: newest?.run ?? state.run };
}
