// @ts-check
/** Matches names in a thread that the page can end. */
globalThis.onmessage = ({ data: { text, names } }) => {
  const expression = new RegExp(text, 'i');
  globalThis.postMessage({ matched: names.map((/** @type {string} */ name) => expression.test(name)) });
};
