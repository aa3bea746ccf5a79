// @ts-check
/** The contents of a link: the view's state as keys `p.adam_debug.*` of TensorBoard's URL hash. */

/**
 * @typedef {object} Link
 * @property {string} [run] the run that the overview shows
 * @property {string[]} [runs] the checked runs
 * @property {string} [reference] the run that others are compared with
 * @property {boolean} [against] whether the overview is coloured by that comparison
 * @property {string} [tensor] the selected parameter
 * @property {string[]} [pins] parameters below it
 * @property {number} [step] the pinned step
 * @property {string} [metric] statistic that colours the overview
 * @property {import('../types.d.ts').AxisKind} [axis]
 * @property {string[]} [open] the open modules
 * @property {string} [filter] regular expression for parameters
 * @property {import('../types.d.ts').Range} [range] visible part of the axis, in its units
 * @property {'latest' | 'anomaly' | 'model'} [order] order of the rows
 * @property {string} [finding] the selected finding
 * @property {boolean} [why] whether its explanation is open
 * @property {boolean} [all] whether the findings of all runs are listed
 * @property {boolean} [compare] whether the checked runs are compared
 * @property {string} [strip] the series above the heat map
 */

const TAB = 'adam_debug';
const PREFIX = `p.${TAB}.`;

const TEXT = { read: (/** @type {string} */ value) => value || undefined, write: String };
const LIST = {
  read: (/** @type {string} */ value) =>
    value === '' ? [] : value.split(',').map(_decode).filter((item) => item !== null),
  write: (/** @type {string[]} */ items) => items.map(_encode).join(','),
};
const FLAG = { read: (/** @type {string} */ value) => value === '1' || undefined, write: () => '1' };
const ONE_OF = (/** @type {string[]} */ ...values) => ({
  read: (/** @type {string} */ value) => (values.includes(value) ? value : undefined),
  write: String,
});

/**
 * The name of each field in the address, and how it is read and written.
 * @type {Record<keyof Link, {key: string, read: (value: string) => any, write: (value: any) => string}>}
 */
const FIELDS = {
  run: { key: 'run', ...TEXT },
  runs: { key: 'runs', ...LIST },
  reference: { key: 'ref', ...TEXT },
  against: { key: 'against', ...FLAG },
  tensor: { key: 'tensor', ...TEXT },
  pins: { key: 'pins', ...LIST },
  step: { key: 'step', read: (value) => (/^\d+$/.test(value) ? Number(value) : undefined), write: String },
  metric: { key: 'metric', ...TEXT },
  axis: { key: 'axis', ...ONE_OF('step', 'relative', 'wall') },
  open: { key: 'open', ...LIST },
  filter: { key: 'q', ...TEXT },
  range: { key: 'range', read: _readRange, write: ({ from, to }) => `${from},${to}` },
  order: { key: 'order', ...ONE_OF('model', 'latest', 'anomaly') },
  finding: { key: 'finding', ...TEXT },
  why: { key: 'why', ...FLAG },
  all: { key: 'all', ...FLAG },
  compare: { key: 'compare', ...FLAG },
  strip: { key: 'strip', ...TEXT },
};
const FIELD_OF_KEY = new Map(
  Object.entries(FIELDS).map(([field, { key }]) => [key, /** @type {keyof Link} */ (field)]),
);

/**
 * Reads our keys. Unknown and malformed ones are ignored: links outlive versions.
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
    const field = FIELD_OF_KEY.get(token.slice(PREFIX.length, equals));
    const read = field && value !== null ? FIELDS[field].read(value) : undefined;
    if (field && read !== undefined) Object.assign(link, { [field]: read });
  }
  return link;
}

/**
 * Replaces our keys in the host's hash and leaves everything else unchanged.
 * @param {string} hash
 * @param {Link} link undefined keys are left out
 * @returns {string} the new hash, with '#'
 */
export function writeLink(hash, link) {
  const kept = _tokens(hash).filter((token) => !token.startsWith(PREFIX));
  if (kept.length === 0) kept.push(TAB);
  for (const [field, value] of Object.entries(link)) {
    if (value === undefined) continue;
    const { key, write } = FIELDS[/** @type {keyof Link} */ (field)];
    kept.push(`${PREFIX}${key}=${_encode(write(value))}`);
  }
  return `#${kept.join('&')}`;
}

/** @returns {string} the hash of TensorBoard's page */
export function hostHash() {
  return _host().location.hash;
}

/** Key in the state of a history entry that marks it as a view of the tab. */
const OURS = 'adamDebug';

/**
 * Writes the state to TensorBoard's address, replacing the current history entry or adding a new one. Does nothing
 * while another tab is in front: the address is then not ours.
 * @param {Link} link @param {boolean} [isNew] whether the browser's Back should return to the previous view
 */
export function writeHostLink(link, isNew = false) {
  const host = _host();
  const tab = _tokens(host.location.hash)[0];
  if (tab !== undefined && tab !== TAB) return;
  const hash = writeLink(host.location.hash, link);
  const isSame = hash === host.location.hash;
  const { state } = host.history;
  if (isSame && state?.[OURS]) return;
  try {
    if (isNew && !isSame) host.history.pushState({ ...state, [OURS]: true }, '', hash);
    else host.history.replaceState({ ...state, [OURS]: true }, '', hash);
  } catch {
    // Browsers refuse hundreds of changes within seconds; a later one will succeed.
  }
}

/**
 * Calls back when the user follows another link within the open page, or goes back or forward between views.
 * @param {(link: Link) => void} onLink
 * @returns {() => void} stops
 */
export function followHostLink(onLink) {
  const host = _host();
  let travelled = ''; // where Back or Forward led, which the hash change after it repeats
  const onTravel = (/** @type {PopStateEvent} */ { state }) => {
    if (!state?.[OURS]) return;
    travelled = host.location.hash;
    onLink(readLink(travelled));
  };
  const onHash = () => {
    const { hash } = host.location;
    const known = hash === travelled;
    travelled = '';
    if (!known && _tokens(hash).some((token) => token.startsWith(PREFIX))) onLink(readLink(hash));
  };
  host.addEventListener('popstate', onTravel);
  host.addEventListener('hashchange', onHash);
  return () => {
    host.removeEventListener('popstate', onTravel);
    host.removeEventListener('hashchange', onHash);
  };
}

/** @returns {string} the address of the view, for the clipboard */
export function hostAddress() {
  return _host().location.href;
}

/** @returns {Window} */
function _host() {
  try {
    void window.parent.location.hash; // throws if the tab is embedded from another origin
    return window.parent;
  } catch {
    return window;
  }
}

/** @param {string} hash */
function _tokens(hash) {
  return hash.replace(/^#/, '').split('&').filter(Boolean);
}

/** An unpaired surrogate, as in a damaged name, cannot be encoded. @param {string} text */
function _encode(text) {
  return encodeURIComponent(text.replace(/\p{Surrogate}/gu, '\ufffd'));
}

/** @param {string} text @returns {string | null} */
function _decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

/** @param {string} value '120,480.5' */
function _readRange(value) {
  const [from, to, ...more] = value.split(',').map((end) => (end.trim() === '' ? NaN : Number(end)));
  return Number.isFinite(from) && to > from && to < Infinity && !more.length ? { from, to } : undefined;
}
