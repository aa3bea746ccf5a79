import { readdirSync, readFileSync } from 'node:fs';

const TAB = new URL('../../frontend_static/', import.meta.url);

/** A call of `t()` or `plural()`, up to its first argument. */
const CALL = /(?<![\w$.])(t|plural)\(\s*/g;
const LITERAL = /^(?:'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\$]|\\.|\$(?!\{))*)`)\s*(?=[,)])/;

/** @param {string} source @returns {string} without comments, which show calls that are none */
function codeOf(source) {
  return source.replace(/\/\*[^]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '$1');
}

/** @param {string} code from the start of an argument @returns {{text: string | null, length: number}} null where it is no literal */
function literalAt(code) {
  const found = LITERAL.exec(code);
  if (!found) return { text: null, length: 0 };
  const text = found[1] ?? found[2] ?? found[3];
  return { text: text.replace(/\\(.)/g, '$1'), length: found[0].length };
}

/** @param {string} code from the start of an argument @returns {number} where the next one starts, as of `f(a, [b, c])`; -1 for none */
function nextArgument(code) {
  let depth = 0;
  for (let i = 0; i < code.length; i++) {
    if ('([{'.includes(code[i])) depth++;
    else if (')]}'.includes(code[i])) {
      if (depth-- === 0) return -1;
    } else if (code[i] === ',' && depth === 0) return i + 1 + (/^\s*/.exec(code.slice(i + 1))?.[0].length ?? 0);
  }
  return -1;
}

/**
 * The texts of all calls in a script.
 * @param {string} source
 * @returns {(string | null)[]} null for one that is no literal
 */
export function textsIn(source) {
  const code = codeOf(source);
  return [...code.matchAll(CALL)].flatMap(({ 0: head, 1: name, index }) => {
    if (/function\s*$/.test(code.slice(Math.max(0, index - 20), index))) return []; // where it is defined
    const first = code.slice(index + head.length);
    if (name === 't') return [literalAt(first).text];
    const start = nextArgument(first);
    const one = start < 0 ? { text: null, length: 0 } : literalAt(first.slice(start));
    if (one.text === null) return [null];
    const rest = first.slice(start + one.length).replace(/^,\s*/, '');
    return [one.text, literalAt(rest).text];
  });
}

/** @returns {Map<string, (string | null)[]>} the texts of every script that has some, by its path */
export function textsOfTab() {
  const scripts = readdirSync(TAB, { recursive: true })
    .map(String)
    .filter((path) => path.endsWith('.js') && !path.startsWith('vendor') && path !== 'host/language.js');
  const texts = scripts.map((path) => /** @type {const} */ ([path, textsIn(readFileSync(new URL(path, TAB), 'utf8'))]));
  return new Map(texts.filter(([, found]) => found.length));
}
