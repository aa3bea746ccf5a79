// @ts-check
/** The view's state, the stored preferences, and the step cursor. */

/**
 * @typedef {import('../types.d.ts').Summary} Summary
 * @typedef {import('../types.d.ts').RunInfo} RunInfo
 * @typedef {import('../types.d.ts').ParameterInfo} ParameterInfo
 * @typedef {'ridgeline' | 'density' | 'bands' | 'single' | 'table'} PanelKind
 * @typedef {'auto' | 'log' | 'linear'} ValueScale
 * @typedef {'model' | 'latest' | 'anomaly'} RowOrder
 * @typedef {'name' | 'severity' | 'newest'} RunOrder
 * @typedef {'nearest' | 'ascending' | 'descending' | 'default'} TooltipOrder
 * @typedef {{quantity: string, kind: PanelKind | null}} Panel null draws the default chart
 * @typedef {'worst' | 'latest' | 'mean'} Crowded what a pixel that covers several cells shows
 *
 * Stored between visits, and never part of a link.
 * @typedef {object} Preferences
 * @property {number} smoothing 0 to 0.99
 * @property {Panel[]} panels the histogram panels
 * @property {string[] | null} lineStatistics statistics that have a line chart; null for the one that colours the map
 * @property {ValueScale} lineScale auto: chosen by the statistic
 * @property {boolean} ignoreOutliers let single values leave the line charts at the top and bottom
 * @property {boolean} linkCursor show the step under the pointer in every chart
 * @property {TooltipOrder} tooltipOrder
 * @property {[number, number] | null} healthyRange update-to-weight ratios that need no attention; null for those of
 *   the tensor's kind
 * @property {[number, number]} colourRange update-to-weight ratios at the ends of the colours; 1e-3 is between them
 * @property {Crowded} crowded what a pixel of the heat map that covers several cells shows
 * @property {PanelKind | 'quantity'} defaultChart chart of histogram panels; quantity: chosen by the quantity
 * @property {'log' | 'linear'} histogramAxis axis of signed quantities; log is linear around zero
 * @property {number | null} linearBelow magnitude up to which it is linear; null for automatic
 * @property {boolean} allRuns draw the histograms of all checked runs beside each other
 * @property {RunOrder} runOrder order of the list of runs; severity: the worst findings first
 * @property {boolean} followReload ask for new data when TensorBoard reloads
 * @property {number} pollSeconds interval between requests for new data; 0 for never
 *
 * @typedef {object} View the contents of a link, apart from the preferences
 * @property {string | null} run run that the overview shows
 * @property {Set<string> | null} checked runs drawn in comparisons; null for the default
 * @property {string | null} reference run that others are compared with
 * @property {boolean} against colour the overview by the ratio to the reference
 * @property {string} filter regular expression for parameters
 * @property {string} metric statistic that colours the overview
 * @property {import('../types.d.ts').AxisKind} axis
 * @property {string | null} tensor selected parameter
 * @property {string[]} pins parameters that stay below the selected one
 * @property {number | null} step pinned step; null follows the newest
 * @property {Set<string> | null} open open modules; null for the default
 * @property {import('../types.d.ts').Range | null} range zoom in axis units; null shows everything
 * @property {RowOrder} order order of the overview's rows
 * @property {string | null} finding id of the selected finding
 * @property {boolean} why whether the selected finding's explanation is open
 * @property {boolean} all whether the findings of all runs are listed, in place of the cards
 * @property {boolean} compare whether the checked runs are compared, in place of the cards
 * @property {string | null} strip series above the heat map; null for the default
 *
 * @typedef {object} Page
 * @property {import('../types.d.ts').Theme} theme
 * @property {import('../host/language.js').Language} language the tab's language
 * @property {Summary | null} summary null until the first answer
 * @property {string | null} connection why the server does not answer; null if it does
 * @property {number} attempt counts recoveries of the connection, to repeat failed requests
 * @property {string} runFilter regular expression
 * @property {boolean} illRuns list only the runs with errors or warnings
 * @property {boolean} paused keep the current data although there may be newer data
 * @property {number} visits counts the views that the user navigated to: the browser's Back stops at each
 * @property {'help' | null} dialog
 * @property {boolean} settings whether the settings are open
 * @property {boolean} overviewTable whether a table replaces the heat map
 * @property {boolean} optimizer whether the optimizer's card is open
 * @property {string | null} full name of the card that fills the tab
 * @property {Partial<Evident> | null} beforeFinding the state before the selected finding changed it, except for what
 *   the user has chosen since; null for nothing
 * @property {string | null} unfolded tensor to which the comparison led; the modules around it are opened
 * @property {string | null} reopen rule whose finding was open in the previous run, to be opened if this run has it
 *
 * The parts of the view that opening a finding changes.
 * @typedef {Pick<View, 'run' | 'metric' | 'strip' | 'tensor' | 'step' | 'range' | 'open' | 'all' | 'compare'>} Evident
 *
 * @typedef {Preferences & View & Page} State
 *
 * @typedef {object} Store
 * @property {() => State} get
 * @property {(patch: Partial<State>) => void} set
 * @property {(listener: (state: State) => void) => () => void} subscribe
 *
 * @typedef {ReturnType<typeof createCursor>} Cursor
 */

export const DEFAULT_METRIC = 'update_to_weight_ratio';
const DEFAULT_CHECKED = 8;
const PANEL_KINDS = ['ridgeline', 'density', 'bands', 'single', 'table'];
const PREFERENCES_KEY = 'adam_debug.preferences';

/** @returns {Preferences} */
export function defaultPreferences() {
  return {
    smoothing: 0.6,
    panels: [
      { quantity: 'update', kind: null },
      { quantity: 'exp_avg_sq', kind: null },
      { quantity: 'gradient', kind: null },
    ],
    lineStatistics: null,
    lineScale: 'auto',
    ignoreOutliers: false,
    linkCursor: true,
    tooltipOrder: 'nearest',
    healthyRange: null,
    colourRange: [1e-6, 10 ** -0.5],
    crowded: 'worst',
    defaultChart: 'quantity',
    histogramAxis: 'log',
    linearBelow: null,
    allRuns: false,
    runOrder: 'name',
    followReload: true,
    pollSeconds: 5,
  };
}

/** @returns {View} */
export function defaultView() {
  return {
    run: null,
    checked: null,
    reference: null,
    against: false,
    filter: '',
    metric: DEFAULT_METRIC,
    axis: 'step',
    tensor: null,
    pins: [],
    step: null,
    open: null,
    range: null,
    order: 'model',
    finding: null,
    why: false,
    all: false,
    compare: false,
    strip: null,
  };
}

/** @returns {State} */
export function initialState() {
  return {
    ...defaultPreferences(),
    ...defaultView(),
    theme: 'light',
    language: 'en',
    summary: null,
    connection: null,
    attempt: 0,
    runFilter: '',
    illRuns: false,
    paused: false,
    visits: 0,
    dialog: null,
    settings: false,
    overviewTable: false,
    optimizer: false,
    full: null,
    beforeFinding: null,
    unfolded: null,
    reopen: null,
  };
}

/** @param {State} initial @returns {Store} */
export function createStore(initial) {
  let state = initial;
  /** @type {Set<(state: State) => void>} */
  const listeners = new Set();
  return {
    get: () => state,
    set(patch) {
      state = { ...state, ...patch };
      for (const listener of [...listeners]) listener(state);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/**
 * The step cursor of all charts. It is separate from the state: moving it moves overlays without rendering. Several
 * moves in one task count as one.
 * @param {(callback: () => void) => unknown} [soon]
 */
export function createCursor(soon = queueMicrotask) {
  /** @type {number | null} */
  let pinned = null;
  /** @type {number | null} */
  let hovered = null;
  let waiting = false;
  /** @type {Set<(x: number | null) => void>} */
  const listeners = new Set();
  const at = () => hovered ?? pinned;
  const notify = () => {
    if (waiting) return;
    waiting = true;
    soon(() => {
      waiting = false;
      for (const listener of [...listeners]) listener(at());
    });
  };
  return {
    /** @returns {number | null} axis value under the mouse, else of the pinned step */
    at,
    /** @param {number | null} x */
    pin(x) {
      if (x === pinned) return;
      pinned = x;
      notify();
    },
    /** @param {number | null} x null when the mouse leaves */
    hover(x) {
      if (x === hovered) return;
      hovered = x;
      notify();
    },
    /** @param {(x: number | null) => void} listener called at once and after every move */
    subscribe(listener) {
      listeners.add(listener);
      listener(at());
      return () => {
        listeners.delete(listener);
      };
    },
  };
}

/**
 * How a panel is drawn: quantities that change sign as a ridgeline, those that span many decades as a density.
 * @param {Panel} panel @param {Pick<Preferences, 'defaultChart'>} preferences @returns {PanelKind}
 */
export function panelKind({ quantity, kind }, { defaultChart }) {
  if (kind) return kind;
  if (defaultChart !== 'quantity') return defaultChart;
  return quantity === 'exp_avg_sq' ? 'density' : quantity === 'gradient' ? 'bands' : 'ridgeline';
}

/** @param {State} state @returns {RunInfo | null} the run that the overview shows */
export function overviewRun(state) {
  const runs = state.summary?.runs ?? [];
  return runs.find((run) => run.run === state.run) ?? runs[0] ?? null;
}

/**
 * The runs drawn in comparisons, in the order of the list: the overview's run and the checked ones.
 * @param {State} state
 * @returns {RunInfo[]}
 */
export function checkedRuns(state) {
  const runs = state.summary?.runs ?? [];
  const shown = overviewRun(state);
  if (state.checked) {
    const checked = state.checked;
    return runs.filter((run) => checked.has(run.run));
  }
  const others = runs.filter((run) => run !== shown).slice(0, DEFAULT_CHECKED - 1);
  return runs.filter((run) => run === shown || others.includes(run));
}

/** @param {State} state @returns {RunInfo | null} the run that the overview's run is compared with */
export function referenceRun(state) {
  return state.summary?.runs.find((run) => run.run === state.reference) ?? null;
}

/** @param {State} state @returns {ParameterInfo | null} of the overview's run */
export function selectedParameter(state) {
  const parameters = overviewRun(state)?.parameters ?? [];
  return parameters.find((parameter) => parameter.name === state.tensor) ?? parameters[0] ?? null;
}

/** The name of `strip` for a column of every step. @param {string} column */
export const columnStrip = (column) => `column ${column}`;

/**
 * The statistics that some of the runs have, in the order of the summary.
 * @param {State} state
 * @param {RunInfo[]} runs
 * @returns {import('../types.d.ts').StatisticInfo[]}
 */
export function statisticsOf(state, runs) {
  const known = state.summary?.statistics ?? [];
  const logged = new Set(runs.flatMap((run) => run.statistics));
  return known.filter(({ name }) => logged.has(name));
}

/** What colours the overview of a run, which may lack what was chosen. @param {State} state @param {RunInfo} run @returns {import('../types.d.ts').StatisticInfo} */
export function metricOf(state, run) {
  const statistics = statisticsOf(state, [run]);
  return (
    statistics.find(({ name }) => name === state.metric) ??
    statistics[0] ?? { name: state.metric, label: state.metric, scale: 'log', description: '' }
  );
}

const POSITIVE_PAIR = (/** @type {any} */ pair) =>
  Array.isArray(pair) && pair.length === 2 && pair[0] > 0 && pair[1] > pair[0] && pair[1] < Infinity;
const ONE_OF =
  (/** @type {unknown[]} */ ...values) =>
  (/** @type {any} */ value) =>
    values.includes(value);
const BOOLEAN = ONE_OF(true, false);

/** @type {Record<keyof Preferences, (value: any) => boolean>} */
const VALID = {
  smoothing: (value) => value >= 0 && value <= 0.99,
  panels: (value) => Array.isArray(value) && value.length === 3 && value.every(_isPanel),
  lineStatistics: (value) =>
    value === null || (Array.isArray(value) && value.length > 0 && value.every((name) => typeof name === 'string')),
  lineScale: ONE_OF('auto', 'log', 'linear'),
  ignoreOutliers: BOOLEAN,
  linkCursor: BOOLEAN,
  tooltipOrder: ONE_OF('nearest', 'ascending', 'descending', 'default'),
  healthyRange: (value) => value === null || POSITIVE_PAIR(value),
  colourRange: (value) => POSITIVE_PAIR(value) && value[0] < 1e-3 && value[1] > 1e-3,
  crowded: ONE_OF('worst', 'latest', 'mean'),
  defaultChart: ONE_OF('quantity', ...PANEL_KINDS),
  histogramAxis: ONE_OF('log', 'linear'),
  linearBelow: (value) => value === null || (value > 0 && value < Infinity),
  allRuns: BOOLEAN,
  runOrder: ONE_OF('name', 'severity', 'newest'),
  followReload: BOOLEAN,
  pollSeconds: ONE_OF(0, 2, 5, 15, 30, 60),
};

/** @template {keyof Preferences} K @param {K} name @param {any} value @returns {boolean} */
export function isValidPreference(name, value) {
  return VALID[name](value);
}

/**
 * @param {Pick<Storage, 'getItem'>} storage
 * @returns {Partial<Preferences>} the valid preferences stored by an earlier visit
 */
export function readPreferences(storage) {
  try {
    const kept = JSON.parse(storage.getItem(PREFERENCES_KEY) ?? '{}') ?? {};
    const names = /** @type {(keyof Preferences)[]} */ (Object.keys(VALID));
    return Object.fromEntries(
      names.filter((name) => name in kept && VALID[name](kept[name])).map((name) => [name, kept[name]]),
    );
  } catch {
    return {}; // storage is disabled, or holds something else
  }
}

/** @param {Pick<Storage, 'setItem'>} storage @param {State} state */
export function writePreferences(storage, state) {
  const names = /** @type {(keyof Preferences)[]} */ (Object.keys(VALID));
  const text = JSON.stringify(Object.fromEntries(names.map((name) => [name, state[name]])));
  try {
    storage.setItem(PREFERENCES_KEY, text);
  } catch {
    // Storage is full or disabled: the preference lasts as long as the page.
  }
}

/** @param {any} panel */
function _isPanel(panel) {
  return (
    typeof panel?.quantity === 'string' &&
    [null, ...PANEL_KINDS].includes(panel.kind)
  );
}
