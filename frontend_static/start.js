// @ts-check
/** Wires the tab: theme, link, data, and the app in the empty page. */
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

/**
 * @param {Promise<Response>} summary the first answer, which has been asked for already
 * @param {Promise<void>} style
 */
export async function start(summary, style) {
  const view = import('./view/app.js'); // what asks for data does not wait for what draws them
  view.catch(() => {}); // said where it is waited for
  const spoken = speak();
  const storage = _storage();
  const store = createStore({ ...initialState(), ...(storage ? readPreferences(storage) : {}) });
  /** @type {Promise<Response> | null} */
  let first = summary;
  const api = createApi((url, options) => {
    const asked = url === 'summary' ? first : null;
    if (asked) first = null;
    return asked ?? fetch(url, options);
  });
  const actions = createActions(store, api);
  followTheme(actions.setTheme);
  actions.followLink(readLink(hostHash()));
  await actions.refresh();
  _askForOverview(store.get(), api);
  const [{ mount }] = await Promise.all([view, style, spoken]);

  const root = document.createElement('div');
  root.id = 'app';
  document.body.append(root);
  document.documentElement.lang = language() === 'zh' ? 'zh-CN' : 'en';
  mount({ store, api, actions, cursor: createCursor() }, root);

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
  store.subscribe((state) => {
    // Before the runs are known, the link still holds what is to be restored.
    if (state.summary?.runs.length) writeHostLink(linkOf(state), history.isNewEntry(state));
    if (storage) writePreferences(storage, state);
  });
}

/**
 * Asks for the picture while what draws it is on its way; it finds the answer in the cache.
 * @param {import('./state/store.js').State} state @param {import('./data/api.js').Api} api
 */
function _askForOverview(state, api) {
  const run = overviewRun(state);
  if (!state.summary || !run) return;
  const { query, revision } = overviewQuestion(state, state.summary, run);
  api.overview(query, revision).catch(() => {}); // said by whoever shows it
}

/** @returns {Storage | null} null where the browser keeps nothing for this page */
function _storage() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}
