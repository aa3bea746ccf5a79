// @ts-check
/** What a link restores: the view's state as keys `p.adam_debug.*` of TensorBoard's URL hash. */

/**
 * @typedef {object} Link
 * @property {string} [run] the run that the overview shows
 * @property {string[]} [runs] the checked runs
 * @property {string} [tensor] the selected parameter
 * @property {number} [step] the pinned step
 * @property {string} [metric] statistic that colours the overview
 * @property {import('../types.d.ts').AxisKind} [axis]
 * @property {string[]} [open] the open modules
 */

const TAB = 'adam_debug';
const PREFIX = `p.${TAB}.`;
const AXES = ['step', 'relative', 'wall'];

/**
 * Reads our keys. What is unknown or malformed is ignored: links outlive versions.
 * @param {string} hash with or without '#'
 * @returns {Link}
 */
export function readLink(hash) {
  /** @type {Link} */
  const link = {};
  for (const token of _tokens(hash)) {
    if (!token.startsWith(PREFIX)) continue;
    const equals = token.indexOf('=');
    const value = equals < 0 ? null : _decode(token.slice(equals + 1));
    if (value !== null) _assign(link, token.slice(PREFIX.length, equals), value);
  }
  return link;
}

/**
 * Replaces our keys in the host's hash and leaves everything else as it is.
 * @param {string} hash
 * @param {Link} link keys that are undefined are left out
 * @returns {string} the new hash, with '#'
 */
export function writeLink(hash, link) {
  const kept = _tokens(hash).filter((token) => !token.startsWith(PREFIX));
  if (kept.length === 0) kept.push(TAB);
  for (const [key, value] of Object.entries(link)) {
    if (value === undefined) continue;
    const text = Array.isArray(value) ? value.map(encodeURIComponent).join(',') : String(value);
    kept.push(`${PREFIX}${key}=${encodeURIComponent(text)}`);
  }
  return `#${kept.join('&')}`;
}

/** @returns {string} the hash of TensorBoard's page */
export function hostHash() {
  return _host().location.hash;
}

/**
 * Puts the state into TensorBoard's address without a new entry in the history.
 * Does nothing while another tab is in front: the address is then not ours.
 * @param {Link} link
 */
export function replaceHostLink(link) {
  const host = _host();
  const tab = _tokens(host.location.hash)[0];
  if (tab !== undefined && tab !== TAB) return;
  const hash = writeLink(host.location.hash, link);
  if (hash !== host.location.hash) host.history.replaceState(host.history.state, '', hash);
}

/**
 * Calls back when the user follows another link within the open page.
 * @param {(link: Link) => void} onLink
 * @returns {() => void} stops
 */
export function followHostLink(onLink) {
  const host = _host();
  const listener = () => {
    const hash = host.location.hash;
    if (_tokens(hash).some((token) => token.startsWith(PREFIX))) onLink(readLink(hash));
  };
  host.addEventListener('hashchange', listener);
  return () => host.removeEventListener('hashchange', listener);
}

/** @returns {string} the address of the view, for the clipboard */
export function hostAddress() {
  return _host().location.href;
}

/** @returns {Window} */
function _host() {
  try {
    void window.parent.location.hash; // throws where the tab is embedded from another origin
    return window.parent;
  } catch {
    return window;
  }
}

/** @param {string} hash */
function _tokens(hash) {
  return hash.replace(/^#/, '').split('&').filter(Boolean);
}

/** @param {string} text @returns {string | null} */
function _decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

/** @param {Link} link @param {string} key @param {string} value */
function _assign(link, key, value) {
  if (key === 'run' || key === 'tensor' || key === 'metric') {
    if (value) link[key] = value;
  } else if (key === 'runs' || key === 'open') {
    const items = value === '' ? [] : value.split(',').map(_decode);
    link[key] = items.filter((item) => item !== null);
  } else if (key === 'step') {
    if (/^\d+$/.test(value)) link.step = Number(value);
  } else if (key === 'axis' && AXES.includes(value)) {
    link.axis = /** @type {import('../types.d.ts').AxisKind} */ (value);
  }
}
