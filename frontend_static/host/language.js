// @ts-check
/**
 * The texts of the tab, in the user's or the browser's language.
 *
 * English text is the key of the catalogues in `languages/`. A text with gaps, `{count} tensors`, is filled after
 * translation, because languages differ in word order.
 */

export const LANGUAGES = /** @type {const} */ (['en', 'zh']);
/** @typedef {(typeof LANGUAGES)[number]} Language */

const KEY = 'adam_debug.language';

/** @type {Record<string, string>} */
let translations = {};
/** @type {Language} */
let spoken = 'en';
/** The choice made on this page; null for the one stored by an earlier visit. @type {Language | '' | null} */
let chosenHere = null;
/** The newest call of `speak()`, the only one that counts. */
let latest = 0;

/** @returns {Language} the tab's current language */
export function language() {
  return spoken;
}

/** @returns {Language | ''} the user's choice; '' for the browser's */
export function chosenLanguage() {
  const chosen = chosenHere ?? _stored();
  return LANGUAGES.find((known) => known === chosen) ?? '';
}

/** Stores the user's choice for the next visit. @param {Language | ''} chosen '' for the browser's */
export function chooseLanguage(chosen) {
  chosenHere = chosen;
  try {
    if (chosen) localStorage.setItem(KEY, chosen);
    else localStorage.removeItem(KEY);
  } catch {
    // Storage may be forbidden; the choice is then lost when the page is reloaded.
  }
}

/**
 * The available language closest to the preferred ones. index.js decides the same way before this file is loaded.
 *
 * @param {readonly string[]} [names] browser language names, the preferred ones first
 * @returns {Language}
 */
export function wantedLanguage(names = [chosenLanguage(), ...navigator.languages]) {
  const first = names.find(Boolean)?.toLowerCase().split(/[-_]/)[0];
  return LANGUAGES.find((known) => known === first) ?? 'en';
}

/**
 * Loads the catalogue of a language and switches to it; to English if it is not available.
 *
 * @param {Language} [wanted]
 * @param {Promise<Response> | null} [catalogue] its catalogue, if already requested
 */
export async function speak(wanted = wantedLanguage(), catalogue = null) {
  const turn = ++latest;
  const found = await _catalogue(wanted, catalogue);
  if (turn !== latest) return;
  [spoken, translations] = found ? [wanted, found] : ['en', {}];
}

/**
 * Translates a text.
 *
 * @param {string} text an English literal with named gaps
 * @param {Record<string, string | number>} [values] values of the gaps
 * @returns {string}
 */
export function t(text, values = {}) {
  const translated = translations[text] ?? text;
  return translated.replace(/\{(\w+)\}/g, (gap, name) => (name in values ? String(values[name]) : gap));
}

/**
 * Joins sentences into a paragraph.
 *
 * @param {(string | false | null | undefined)[]} sentences empty ones are left out
 * @returns {string}
 */
export function paragraph(sentences) {
  return sentences.filter(Boolean).join(spoken === 'zh' ? '' : ' ');
}

/**
 * Counts things in words.
 *
 * @param {number} count
 * @param {string} one text for one of them, with the gap {count}
 * @param {string} many text for any other number
 * @param {Record<string, string | number>} [values] values of the gaps; by default {count} as a plain number
 * @returns {string}
 */
export function plural(count, one, many, values = { count }) {
  return t(count === 1 ? one : many, values);
}

/**
 * @param {Language} wanted @param {Promise<Response> | null} asked
 * @returns {Promise<Record<string, string> | null>} null if it is not available
 */
async function _catalogue(wanted, asked) {
  if (wanted === 'en') return {};
  try {
    const answer = await (asked ?? fetch(new URL(`../languages/${wanted}.json`, import.meta.url)));
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

function _stored() {
  try {
    return localStorage.getItem(KEY) ?? '';
  } catch {
    return '';
  }
}
