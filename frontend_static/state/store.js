// @ts-check
/** The view's state, the preferences kept from visit to visit, and the step cursor. */

/**
 * @typedef {import('../types.d.ts').Summary} Summary
 * @typedef {import('../types.d.ts').RunInfo} RunInfo
 * @typedef {import('../types.d.ts').ParameterInfo} ParameterInfo
 * @typedef {'ridgeline' | 'density' | 'bands'} PanelKind
 * @typedef {{quantity: string, kind: PanelKind}} Panel
 *
 * @typedef {object} State
 * @property {import('../types.d.ts').Theme} theme
 * @property {Summary | null} summary null until the first answer
 * @property {string | null} connection why the server does not answer; null while it does
 * @property {number} attempt counts recoveries of the connection, so that failed requests are repeated
 * @property {string | null} run run that the overview shows
 * @property {Set<string> | null} checked runs drawn in comparisons; null for the default
 * @property {string} runFilter regular expression
 * @property {string} filter regular expression for parameters
 * @property {string} metric statistic that colours the overview
 * @property {string} lineStatistic statistic of the line chart
 * @property {import('../types.d.ts').AxisKind} axis
 * @property {string | null} tensor selected parameter
 * @property {number | null} step pinned step; null follows the newest
 * @property {Set<string> | null} open open modules; null for the default
 * @property {import('../types.d.ts').Range | null} range zoom in axis units; null shows everything
 * @property {string | null} strip series above the heat map; null for the default
 * @property {number} smoothing 0 to 0.99
 * @property {Panel[]} panels the histogram panels
 * @property {boolean} help
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
const PREFERENCES_KEY = 'adam_debug.preferences';

/** @returns {State} */
export function initialState() {
  return {
    theme: 'light',
    summary: null,
    connection: null,
    attempt: 0,
    run: null,
    checked: null,
    runFilter: '',
    filter: '',
    metric: DEFAULT_METRIC,
    lineStatistic: DEFAULT_METRIC,
    axis: 'step',
    tensor: null,
    step: null,
    open: null,
    range: null,
    strip: null,
    smoothing: 0.6,
    panels: [
      { quantity: 'update', kind: 'ridgeline' },
      { quantity: 'exp_avg_sq', kind: 'density' },
      { quantity: 'gradient', kind: 'bands' },
    ],
    help: false,
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
 * The step cursor of all charts. It lives outside the state: moving it moves overlays, once a
 * frame, and renders nothing.
 * @param {(callback: () => void) => unknown} [nextFrame]
 */
export function createCursor(nextFrame = requestAnimationFrame) {
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
    nextFrame(() => {
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

/** @param {State} state @returns {RunInfo | null} the run that the overview shows */
export function overviewRun(state) {
  const runs = state.summary?.runs ?? [];
  return runs.find((run) => run.run === state.run) ?? runs[0] ?? null;
}

/**
 * The runs drawn in comparisons, in the order of the list: the overview's run and what is checked.
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

/** @param {State} state @returns {ParameterInfo | null} of the overview's run */
export function selectedParameter(state) {
  const parameters = overviewRun(state)?.parameters ?? [];
  return parameters.find((parameter) => parameter.name === state.tensor) ?? parameters[0] ?? null;
}

/**
 * @param {string} text a regular expression, matched anywhere and without regard to case
 * @returns {{matches: (name: string) => boolean, error: string | null}} an invalid one matches all
 */
export function compileFilter(text) {
  if (!text) return { matches: () => true, error: null };
  try {
    const expression = new RegExp(text, 'i');
    return { matches: (name) => expression.test(name), error: null };
  } catch (error) {
    return { matches: () => true, error: error instanceof Error ? error.message : String(error) };
  }
}

/**
 * @param {Pick<Storage, 'getItem'>} storage
 * @returns {Partial<State>} what an earlier visit left, as far as it is valid
 */
export function readPreferences(storage) {
  try {
    const { smoothing, panels } = JSON.parse(storage.getItem(PREFERENCES_KEY) ?? '{}');
    /** @type {Partial<State>} */
    const preferences = {};
    if (smoothing >= 0 && smoothing <= 0.99) preferences.smoothing = smoothing;
    if (Array.isArray(panels) && panels.length === 3 && panels.every(_isPanel)) {
      preferences.panels = panels.map(({ quantity, kind }) => ({ quantity, kind }));
    }
    return preferences;
  } catch {
    return {}; // storage is switched off, or holds something else
  }
}

/** @param {Pick<Storage, 'setItem'>} storage @param {State} state */
export function writePreferences(storage, { smoothing, panels }) {
  try {
    storage.setItem(PREFERENCES_KEY, JSON.stringify({ smoothing, panels }));
  } catch {
    // Storage is full or switched off: the preference lasts as long as the page.
  }
}

/** @param {any} panel */
function _isPanel(panel) {
  return typeof panel?.quantity === 'string' && ['ridgeline', 'density', 'bands'].includes(panel.kind);
}
