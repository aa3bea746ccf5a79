// @ts-check
/** How bad the cells of the heat map are, in a form that allows comparing millions of them at once. */
import { badness } from './worst.js';

/** @typedef {import('../types.d.ts').Overview} Overview */
/** @typedef {import('./worst.js').Kind} Kind */

/**
 * Values are distinguished by the upper half of a float32 (sign, exponent, 7 bits of mantissa): an error
 * below 0.4 %, a third of one colour. Tables of 65,536 entries then replace two million logarithms.
 */
export const HALVES = 65_536;

export const ZERO = 0;
export const NEGATIVE_ZERO = 0x8000;
export const POSITIVE_INFINITY = 0x7f80;
export const NEGATIVE_INFINITY = 0xff80;
/** All bit patterns of NaN become the first; the second then stands for "not logged". */
export const NAN = 0x7fc0;
export const NOT_LOGGED = 0xffff;

/** @param {number} value @returns {number} its upper half, as float32 */
export function halfOf(value) {
  if (Number.isNaN(value)) return NAN;
  return new Uint32Array(Float32Array.of(value).buffer)[0] >>> 16;
}

/**
 * How bad each cell is, as an integer: the higher, the worse; 0 where nothing was logged.
 * @param {Pick<Overview, 'values' | 'logged'>} overview
 * @param {Kind} kind
 * @returns {Uint16Array} [parameters, columns]; see severityTable
 */
export function severitiesOf({ values, logged }, kind) {
  const known = _severities.get(values);
  if (known?.kind === kind && known.logged === logged) return known.severities;
  const { severityOf } = severityTable(kind);
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const severities = new Uint16Array(values.length);
  for (let i = 0; i < words.length; i++) {
    const half = words[i] >>> 16;
    const isNaN = (half & 0x7f80) === POSITIVE_INFINITY && (words[i] & 0x7fffff) !== 0;
    if (!logged || logged[i]) severities[i] = severityOf[isNaN ? NAN : half];
  }
  _severities.set(values, { kind, logged, severities });
  return severities;
}

/** @type {WeakMap<Float32Array, {kind: Kind, logged: Uint8Array | undefined, severities: Uint16Array}>} */
const _severities = new WeakMap();

/**
 * The worst cell covered by each pixel.
 * @param {Uint16Array} severities [parameters, columns] @param {number} columns
 * @param {number[]} parameters parameters of one stripe
 * @param {{first: Int32Array, last: Int32Array}} cells columns per pixel
 * @returns {Uint16Array} per pixel
 */
export function worstSeverities(severities, columns, parameters, { first, last }) {
  const worst = new Uint16Array(first.length);
  for (const parameter of parameters) {
    const row = parameter * columns;
    for (let pixel = 0; pixel < first.length; pixel++) {
      if (first[pixel] < 0) continue;
      let severity = worst[pixel];
      for (let at = row + first[pixel], end = row + last[pixel]; at <= end; at++) {
        if (severities[at] > severity) severity = severities[at];
      }
      worst[pixel] = severity;
    }
  }
  return worst;
}

/**
 * The arithmetic mean of the cells covered by each pixel; NaN if one of them is.
 * @param {Pick<Overview, 'values' | 'columns' | 'logged'>} overview @param {Kind} kind
 * @param {number[]} parameters parameters of one stripe
 * @param {{first: Int32Array, last: Int32Array}} cells columns per pixel
 * @returns {Uint16Array} severity per pixel
 */
export function meanSeverities({ values, columns, logged }, kind, parameters, { first, last }) {
  const { severityOf } = severityTable(kind);
  return Uint16Array.from(first, (from, pixel) => {
    let [sum, count] = [0, 0];
    for (const parameter of from < 0 ? [] : parameters) {
      for (let at = parameter * columns + from, end = parameter * columns + last[pixel]; at <= end; at++) {
        if (logged && !logged[at]) continue;
        sum += values[at];
        count++;
      }
    }
    return count ? severityOf[halfOf(sum / count)] : 0;
  });
}

/**
 * All values in ascending order of severity.
 * @param {Kind} kind
 * @returns {{severityOf: Uint16Array, valueOf: Float32Array, decadeOf: Float32Array}} severity of the upper
 *   half of a float32, and the value of a severity and its log10
 */
export function severityTable(kind) {
  const known = _severityTables.get(kind);
  if (known) return known;
  const values = _valuesOfHalves();
  const keys = new Float64Array(HALVES);
  for (let half = 0; half < HALVES; half++) {
    const bad = half === NOT_LOGGED ? -1e3 : badness(kind, values[half]);
    // The half itself breaks ties and is carried through the sort.
    keys[half] = Math.round((bad + 1e3) * 1e6) * HALVES + half;
  }
  keys.sort();
  const table = {
    severityOf: new Uint16Array(HALVES),
    valueOf: new Float32Array(HALVES),
    decadeOf: new Float32Array(HALVES),
  };
  keys.forEach((key, severity) => {
    const half = key % HALVES;
    table.severityOf[half] = severity;
    table.valueOf[severity] = values[half];
    table.decadeOf[severity] = Math.log10(values[half]);
  });
  _severityTables.set(kind, table);
  return table;
}

/** @type {Map<Kind, ReturnType<typeof severityTable>>} */
const _severityTables = new Map();

/** @returns {Float32Array} the middle value of those that share each upper half */
function _valuesOfHalves() {
  const words = new Uint32Array(HALVES);
  for (let half = 0; half < HALVES; half++) words[half] = (half << 16) | 0x8000;
  for (const exact of [ZERO, NEGATIVE_ZERO, POSITIVE_INFINITY, NEGATIVE_INFINITY]) words[exact] = exact << 16;
  return new Float32Array(words.buffer);
}
