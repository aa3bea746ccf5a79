// @ts-check
/** What TensorBoard imports. It asks for the first answer and the styles while the modules still load. */

/** Called once by TensorBoard when the tab is opened for the first time. */
export async function render() {
  const summary = fetch('summary');
  summary.catch(() => {}); // said by whoever uses it
  const style = _addStyleSheet('style.css'); // all sheets of style/ in one
  const { start } = await import('./start.js');
  await start(summary, style);
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
