// @ts-check
/** The connection to TensorBoard: the message channel that it offers to plugin frames, and its theme. */

/** @typedef {import('../types.d.ts').Theme} Theme */

/**
 * Opens the channel and answers every message, as the host expects.
 * @param {() => unknown} onReload TensorBoard has reloaded its data (its button or its timer)
 * @param {Window} [host] the window that holds TensorBoard
 * @returns {() => void} closes the channel
 */
export function connectToTensorBoard(onReload, host = window.parent) {
  if (host === window) return () => {};
  const channel = new MessageChannel();
  const port = channel.port1;
  port.onmessage = ({ data }) => {
    const message = _parse(data);
    if (!message || message.isReply) return;
    if (message.type === 'experimental.DataReloaded') onReload();
    port.postMessage(
      JSON.stringify({ type: message.type, id: message.id, payload: null, error: null, isReply: true }),
    );
  };
  host.postMessage('experimental.bootstrap', '*', [channel.port2]);
  return () => port.close();
}

/** @param {unknown} data @returns {{type: string, id: number, isReply: boolean} | null} */
function _parse(data) {
  try {
    const message = JSON.parse(String(data));
    return message && typeof message.type === 'string' ? message : null;
  } catch {
    return null; // not of this protocol
  }
}

/**
 * Follows TensorBoard's light or dark theme, which is not announced to plugin frames. Calls back with the theme now
 * and whenever it changes, after setting `:root.dark`.
 * @param {(theme: Theme) => void} onChange
 * @returns {() => void} stops following
 */
export function followTheme(onChange) {
  const hostBody = _hostBody();
  const preference = window.matchMedia('(prefers-color-scheme: dark)');
  const apply = () => {
    const dark = hostBody ? hostBody.classList.contains('dark-mode') : preference.matches;
    document.documentElement.classList.toggle('dark', dark);
    onChange(dark ? 'dark' : 'light');
  };
  apply();
  if (hostBody) {
    const observer = new MutationObserver(apply);
    observer.observe(hostBody, { attributes: true, attributeFilter: ['class'] });
    return () => observer.disconnect();
  }
  preference.addEventListener('change', apply);
  return () => preference.removeEventListener('change', apply);
}

/** @returns {HTMLElement | null} TensorBoard's body; null if the tab is not embedded */
function _hostBody() {
  try {
    return window.parent === window ? null : window.parent.document.body;
  } catch {
    return null; // embedded from another origin
  }
}

/**
 * Directs keys to the tab without a click, unless the user is typing in TensorBoard.
 * @param {Window} [host]
 */
export function takeFocus(host = window.parent) {
  try {
    const typing = host.document.activeElement?.closest('input, textarea, select, [contenteditable]');
    if (!typing) window.focus();
  } catch {
    // Embedded from another origin: requires a click into the tab.
  }
}
