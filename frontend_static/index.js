// @ts-check
/** What TensorBoard imports: style sheets, theme, link, data, and the app in the empty page. */
import { createApi } from './data/api.js';
import { isTabVisible, startPolling, whenShown } from './data/live.js';
import { followHostLink, hostHash, readLink, replaceHostLink } from './host/links.js';
import { connectToTensorBoard, followTheme } from './host/tensorboard.js';
import { createActions, linkOf } from './state/actions.js';
import { createCursor, createStore, initialState, readPreferences, writePreferences } from './state/store.js';
import { App } from './view/app.js';
import { html, render as mount } from './view/ui.js';

const STYLES = ['style/tokens.css', 'style/layout.css', 'style/controls.css'];

/** Called once by TensorBoard when the tab is opened for the first time. */
export async function render() {
  const storage = _storage();
  const store = createStore({ ...initialState(), ...(storage ? readPreferences(storage) : {}) });
  const api = createApi();
  const actions = createActions(store, api);
  followTheme(actions.setTheme);
  actions.followLink(readLink(hostHash()));
  await Promise.all([actions.refresh(), ...STYLES.map(_addStyleSheet)]);

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
  whenShown(polling.now);
  followHostLink(actions.followLink);
  store.subscribe((state) => {
    // Before the runs are known, the link still holds what is to be restored.
    if (state.summary?.runs.length) replaceHostLink(linkOf(state));
    if (storage) writePreferences(storage, state);
  });
}

/** @param {string} path @returns {Promise<void>} resolved when the sheet applies, or cannot be had */
function _addStyleSheet(path) {
  const link = document.createElement('link');
  link.rel = 'stylesheet';
  link.href = new URL(path, import.meta.url).href;
  const done = new Promise((resolve) => {
    link.onload = link.onerror = () => resolve(undefined);
  });
  document.head.append(link);
  return /** @type {Promise<void>} */ (done);
}

/** @returns {Storage | null} null where the browser keeps nothing for this page */
function _storage() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}
