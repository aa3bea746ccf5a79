// @ts-check
/** Wires the tab: theme, link, data, and the app in the empty page. */
import { createApi } from './data/api.js';
import { isTabVisible, startPolling, whenShown } from './data/live.js';
import { followHostLink, hostHash, readLink, replaceHostLink } from './host/links.js';
import { connectToTensorBoard, followTheme, takeFocus } from './host/tensorboard.js';
import { createActions, linkOf } from './state/actions.js';
import { createCursor, createStore, initialState, readPreferences, writePreferences } from './state/store.js';
import { App, parameterCard } from './view/app.js';
import { html, render as mount } from './view/ui.js';

/**
 * @param {Promise<Response>} summary the first answer, which has been asked for already
 * @param {Promise<void>} style
 */
export async function start(summary, style) {
  parameterCard().catch(() => {}); // on its way while the first answers are; said by whoever shows it
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
  await Promise.all([actions.refresh(), style]);

  const root = document.createElement('div');
  root.id = 'app';
  document.body.append(root);
  document.documentElement.lang = 'en';
  mount(html`<${App} app=${{ store, api, actions, cursor: createCursor() }} />`, root);

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
  store.subscribe((state) => {
    // Before the runs are known, the link still holds what is to be restored.
    if (state.summary?.runs.length) replaceHostLink(linkOf(state));
    if (storage) writePreferences(storage, state);
  });
}

/** @returns {Storage | null} null where the browser keeps nothing for this page */
function _storage() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}
