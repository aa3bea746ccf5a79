// @ts-check
/**
 * Which names a filter keeps.
 *
 * A regular expression can take minutes for one name, nothing can interrupt it, and a link that somebody
 * else made may contain one. So only expressions that are quick for certain run on the page. All others
 * run in a worker, and those that take too long there are matched as plain text.
 */

/** For all names of a question, with the start of the worker. */
const MOST_MILLISECONDS = 2000;
/** Quick expressions compare about as many characters as the square of a name's length. */
const MOST_COMPARED = 5e7;
/** Expressions whose answers are kept. */
const MOST_KEPT = 8;

/** @typedef {{matches: (name: string) => boolean, problem: '' | 'invalid' | 'slow', detail: string, isKnown: boolean}} Filter */

/** @type {Filter} */
const ALL = { matches: () => true, problem: '', detail: '', isKnown: true };

/**
 * Whether an expression surely takes at most the square of a name's length: without groups, and with one
 * quantifier at most, there is nothing to try again and again. What looks like a quantifier counts as one.
 * @param {string} text @param {readonly string[]} names
 */
export function isQuick(text, names) {
  if (text.includes('(') || (text.match(/[*+?{]/g) ?? []).length > 1) return false;
  let compared = 0;
  for (const { length } of names) compared += length * length;
  return compared <= MOST_COMPARED;
}

/** Answers filters; the same worker serves all of them. */
export class Filters {
  /** @param {() => Worker} startWorker @param {number} [patience] in milliseconds */
  constructor(startWorker, patience = MOST_MILLISECONDS) {
    this._startWorker = startWorker;
    this._patience = patience;
    /** What is known of expressions: which names match, or that it takes too long. @type {Map<string, Map<string, boolean> | 'slow'>} */
    this._known = new Map();
    /** @type {Worker | null} */
    this._worker = null;
    /** What the worker is asked. @type {{text: string, names: readonly string[], timer: any} | null} */
    this._asked = null;
    /** @type {Map<string, Set<string>>} */
    this._waiting = new Map();
    /** @type {Set<() => void>} */
    this._listeners = new Set();
  }

  /** @param {() => void} listener called when an answer has come @returns {() => void} ends it */
  subscribe(listener) {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  }

  /**
   * What a filter keeps of some names.
   * @param {string} text a regular expression, matched anywhere and without regard to case; an invalid one matches all
   * @param {readonly string[]} names
   * @returns {Filter} `isKnown` is false, and all names match, until the worker has answered
   */
  of(text, names) {
    if (!text) return ALL;
    try {
      const expression = new RegExp(text, 'i');
      if (isQuick(text, names)) return { ...ALL, matches: (name) => expression.test(name) };
    } catch (error) {
      return { ...ALL, problem: 'invalid', detail: error instanceof Error ? error.message : String(error) };
    }
    const known = this._known.get(text);
    if (known === 'slow') return { ...ALL, problem: 'slow', matches: _contains(text) };
    const unknown = names.filter((name) => !known?.has(name));
    if (unknown.length) this._ask(text, unknown);
    if (!known || unknown.length) return { ...ALL, isKnown: false };
    return { ...ALL, matches: (name) => known.get(name) ?? true };
  }

  /** What is wrong with a filter, as far as it is known. @param {string} text @returns {Filter} */
  problemOf(text) {
    return this.of(text, []);
  }

  /** @param {string} text @param {readonly string[]} names */
  _ask(text, names) {
    const waiting = this._waiting.get(text) ?? new Set();
    for (const name of names) waiting.add(name);
    // What was typed before is not wanted any more.
    this._waiting.delete(text);
    this._waiting.set(text, waiting);
    while (this._waiting.size > MOST_KEPT) this._waiting.delete([...this._waiting.keys()][0]);
    this._next();
  }

  _next() {
    if (this._asked || !this._waiting.size) return;
    const [text, waiting] = [...this._waiting].at(-1) ?? ['', new Set()];
    this._waiting.delete(text);
    const names = [...waiting];
    const timer = setTimeout(() => this._giveUp(), this._patience);
    this._asked = { text, names, timer };
    try {
      this._worker ??= this._listenTo(this._startWorker());
      this._worker.postMessage({ text, names });
    } catch {
      // A host may forbid workers.
      this._giveUp();
    }
  }

  /** @param {Worker} worker */
  _listenTo(worker) {
    worker.onmessage = ({ data }) => this._take(data);
    worker.onerror = () => this._giveUp();
    return worker;
  }

  /** @param {{matched: boolean[]}} answer */
  _take({ matched }) {
    const asked = this._end();
    if (!asked) return;
    const known = this._known.get(asked.text);
    const answers = known && known !== 'slow' ? known : new Map();
    asked.names.forEach((name, i) => {
      answers.set(name, matched[i]);
    });
    this._keep(asked.text, answers);
  }

  _giveUp() {
    this._worker?.terminate();
    this._worker = null;
    const asked = this._end();
    if (asked) this._keep(asked.text, 'slow');
  }

  _end() {
    const asked = this._asked;
    clearTimeout(asked?.timer);
    this._asked = null;
    return asked;
  }

  /** @param {string} text @param {Map<string, boolean> | 'slow'} answers */
  _keep(text, answers) {
    this._known.delete(text);
    this._known.set(text, answers);
    while (this._known.size > MOST_KEPT) this._known.delete([...this._known.keys()][0]);
    for (const listener of [...this._listeners]) listener();
    this._next();
  }
}

/** @param {string} text @returns {(name: string) => boolean} */
function _contains(text) {
  const wanted = text.toLowerCase();
  return (name) => name.toLowerCase().includes(wanted);
}
