// @ts-check
/**
 * What the tab says, in the language that the user chose or the browser asks for.
 *
 * English text is the key of the catalogues in `languages/`. A text with gaps, `{count} tensors`, is
 * filled after it was translated, so that every language has its own order of words.
 */

export const LANGUAGES = /** @type {const} */ (['en', 'zh']);
/** @typedef {(typeof LANGUAGES)[number]} Language */

const KEY = 'adam_debug.language';

/** @type {Record<string, string>} */
let translations = {};
/** @type {Language} */
let spoken = 'en';

/** @returns {Language} what the tab speaks */
export function language() {
  return spoken;
}

/** @returns {Language | ''} what the user chose; '' for the browser's */
export function chosenLanguage() {
  const chosen = _stored();
  return LANGUAGES.find((known) => known === chosen) ?? '';
}

/** Keeps what the user chose for the next visit. @param {Language | ''} chosen '' for the browser's */
export function chooseLanguage(chosen) {
  try {
    if (chosen) localStorage.setItem(KEY, chosen);
    else localStorage.removeItem(KEY);
  } catch {
    // Storage may be forbidden; the choice then holds until the page is loaded again.
  }
}

/**
 * Loads the catalogue of the language that is wanted; stays English where that cannot be done.
 *
 * @param {readonly string[]} wanted as browsers name languages, the most wanted first
 */
export async function speak(wanted = [chosenLanguage(), ...navigator.languages]) {
  const asked = wanted.map((name) => name.toLowerCase().split(/[-_]/)[0]).filter(Boolean);
  spoken = LANGUAGES.find((known) => known === asked[0]) ?? 'en';
  translations = {};
  if (spoken === 'en') return;
  try {
    const answer = await fetch(new URL(`../languages/${spoken}.json`, import.meta.url));
    if (!answer.ok) throw new Error(`${answer.status}`);
    translations = await answer.json();
  } catch {
    spoken = 'en';
  }
}

/**
 * Says a text.
 *
 * @param {string} text in English, a literal with named gaps
 * @param {Record<string, string | number>} [values] what fills the gaps
 * @returns {string}
 */
export function t(text, values = {}) {
  const translated = translations[text] ?? text;
  return translated.replace(/\{(\w+)\}/g, (gap, name) => (name in values ? String(values[name]) : gap));
}

/**
 * Says how many of a thing there are.
 *
 * @param {number} count
 * @param {string} one for one of them, with the gap {count}
 * @param {string} many for any other number
 * @param {Record<string, string | number>} [values] what fills the gaps; by default {count} as a plain number
 * @returns {string}
 */
export function plural(count, one, many, values = { count }) {
  return t(count === 1 ? one : many, values);
}

function _stored() {
  try {
    return localStorage.getItem(KEY) ?? '';
  } catch {
    return '';
  }
}
