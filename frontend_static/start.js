// @ts-check
/** Connects the parts of the tab: theme, link, data, and the app in the empty page. */
import { createApi } from './data/api.js';
import { isTabVisible, startPolling, whenShown } from './data/live.js';
import { language, speak } from './host/language.js';
import { followHostLink, hostHash, readLink, writeHostLink } from './host/links.js';
import { connectToTensorBoard, followTheme, takeFocus } from './host/tensorboard.js';
import { createActions, linkOf } from './state/actions.js';
import { createHistory } from './state/history.js';
import { overviewQuestion } from './state/questions.js';
import {
  createCursor,
  createStore,
  initialState,
  overviewRun,
  readPreferences,
  writePreferences,
} from './state/store.js';

const LANGUAGE_TAGS = { en: 'en', zh: 'zh-CN' };

/**
 * @param {object} asked requests that are already under way
 * @param {import('./host/language.js').Language} asked.language
 * @param {Promise<Response>} asked.summary the first answer
 * @param {Promise<Response> | null} asked.catalogue catalogue of the language, unless it is English
 * @param {Promise<void>} asked.style
 */
export async function start({ language: wanted, summary, catalogue, style }) {
  const view = import('./view/app.js'); // data requests do not wait for the drawing code
  view.catch(() => {}); // reported where it is awaited
  const spoken = speak(wanted, catalogue);
  const storage = _storage();
  const store = createStore({ ...initialState(), ...(storage ? readPreferences(storage) : {}) });
  /** @type {Promise<Response> | null} */
  let first = summary;
  const api = createApi((url, options) => {
    const asked = String(url).startsWith('summary') ? first : null;
    if (asked) first = null;
    return asked ?? fetch(url, options);
  });
  const actions = createActions(store, api);
  followTheme(actions.setTheme);
  actions.followLink(readLink(hostHash()));
  await actions.refresh();
  _askForOverview(store.get(), api);
  const [{ mount }] = await Promise.all([view, style, spoken]);
  store.set({ language: language() });
  _show(mount, { store, api, actions, cursor: createCursor() });

  const polling = startPolling({
    poll: actions.refresh,
    isVisible: isTabVisible,
    isEmpty: () => !store.get().summary?.runs.length,
    seconds: () => store.get().pollSeconds,
  });
  connectToTensorBoard(() => store.get().followReload && polling.now());
  takeFocus();
  whenShown(() => {
    takeFocus();
    polling.now();
  });
  followHostLink(actions.followLink);
  const history = createHistory(linkOf);
  const follow = (/** @type {import('./state/store.js').State} */ state) => {
    // Before the runs are known, the link still holds the state to restore.
    if (state.summary?.runs.length) writeHostLink(linkOf(state), history.isNewEntry(state));
  };
  follow(store.get());
  store.subscribe((state) => {
    follow(state);
    if (storage) writePreferences(storage, state);
  });
}

/**
 * Shows the app, and again after a change of language: a new app keeps no text and no drawing of the previous one.
 * @param {(app: import('./view/ui.js').App, root: HTMLElement) => void} mount @param {import('./view/ui.js').App} app
 */
function _show(mount, app) {
  document.title = 'Adam Debug'; // of the frame, for screen readers
  const root = document.createElement('div');
  root.id = 'app';
  document.body.append(root);
  let shown = app.store.get().language;
  const draw = () => {
    document.documentElement.lang = LANGUAGE_TAGS[shown];
    mount(app, root);
  };
  draw();
  app.store.subscribe(async (state) => {
    if (state.language === shown) return;
    shown = state.language;
    const { render } = await import('./view/ui.js');
    render(null, root);
    draw();
    document.getElementById('language')?.focus(); // where the language was chosen
  });
}

/**
 * Requests the picture while the code that draws it is loading, which finds the answer in the cache.
 * @param {import('./state/store.js').State} state @param {import('./data/api.js').Api} api
 */
function _askForOverview(state, api) {
  const run = overviewRun(state);
  if (!state.summary || !run) return;
  const { query, revision } = overviewQuestion(state, state.summary, run);
  api.overview(query, revision).catch(() => {}); // reported where it is shown
}

/** @returns {Storage | null} null if the browser stores nothing for this page */
function _storage() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}
