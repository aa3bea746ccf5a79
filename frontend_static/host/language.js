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
/** What was chosen on this page; null for what an earlier visit has kept. @type {Language | '' | null} */
let chosenHere = null;
/** The newest call of `speak()`, which alone counts. */
let latest = 0;

/** @returns {Language} what the tab speaks */
export function language() {
  return spoken;
}

/** @returns {Language | ''} what the user chose; '' for the browser's */
export function chosenLanguage() {
  const chosen = chosenHere ?? _stored();
  return LANGUAGES.find((known) => known === chosen) ?? '';
}

/** Keeps what the user chose for the next visit. @param {Language | ''} chosen '' for the browser's */
export function chooseLanguage(chosen) {
  chosenHere = chosen;
  try {
    if (chosen) localStorage.setItem(KEY, chosen);
    else localStorage.removeItem(KEY);
  } catch {
    // Storage may be forbidden; the choice then holds until the page is loaded again.
  }
}

/**
 * The closest that there is to what is wanted most. index.js decides in the same way before this file is here.
 *
 * @param {readonly string[]} [names] as browsers name languages, the most wanted first
 * @returns {Language}
 */
export function wantedLanguage(names = [chosenLanguage(), ...navigator.languages]) {
  const first = names.find(Boolean)?.toLowerCase().split(/[-_]/)[0];
  return LANGUAGES.find((known) => known === first) ?? 'en';
}

/**
 * Loads the catalogue of a language and speaks it from then on; English where it cannot be had.
 *
 * @param {Language} [wanted]
 * @param {Promise<Response> | null} [catalogue] of it, where it has been asked for already
 */
export async function speak(wanted = wantedLanguage(), catalogue = null) {
  const turn = ++latest;
  const found = await _catalogue(wanted, catalogue);
  if (turn !== latest) return;
  [spoken, translations] = found ? [wanted, found] : ['en', {}];
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
 * Sentences that follow each other.
 *
 * @param {(string | false | null | undefined)[]} sentences those that are empty are left out
 * @returns {string}
 */
export function paragraph(sentences) {
  return sentences.filter(Boolean).join(spoken === 'zh' ? '' : ' ');
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

/**
 * @param {Language} wanted @param {Promise<Response> | null} asked
 * @returns {Promise<Record<string, string> | null>} null where it cannot be had
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
