// @ts-check
/** The steps around a jump of the gradient norm, mostly between records. Pure. */
import { formatInteger } from './format.js';

/**
 * @typedef {import('../types.d.ts').Overview} Overview
 * @typedef {import('../types.d.ts').StepColumns} StepColumns
 *
 * The peak of one parameter's gradient.
 * @typedef {object} Jump
 * @property {number} parameter index
 * @property {number} from
 * @property {number} step the last; equal to `from` unless several steps share a column
 * @property {number} wallTime
 * @property {number} value gradient RMS, which may not be finite
 * @property {number} factor relative to the median of the steps around it; Infinity if the value is not finite
 */

export const GRADIENT_STATISTIC = 'gradient_rms';

// The callback's definition of a jump of the total norm, applied to one parameter's: this many robust
// standard deviations above the median of the steps around it, and at least this many times the median.
const DEVIATIONS = 6;
const LEAST_FACTOR = 2;
/** The standard deviation of a normal distribution, in median absolute deviations. */
const ROBUST_SCALE = 1.4826;
/** With fewer steps, it is unclear what is usual. */
const LEAST_STEPS = 8;

/**
 * @param {StepColumns} norms
 * @returns {Jump[]} the strongest first; of several consecutive high steps the highest
 */
export function jumpsOf(norms) {
  const jumps = burstsOf(norms).flatMap(({ first, end }) =>
    Array.from({ length: norms.parameters }, (_, parameter) => _jumps(norms, parameter, first, end)).flat(),
  );
  return jumps.sort((a, b) => b.factor - a.factor || a.step - b.step);
}

/** @param {Jump} jump @returns {string} '1,837', or '1,837–1,839' if these share a column */
export function jumpSteps({ from, step }) {
  return from === step ? formatInteger(step) : `${formatInteger(from)}–${formatInteger(step)}`;
}

/**
 * Groups of columns without gaps between them.
 * @param {Pick<StepColumns, 'columns' | 'first_step' | 'last_step'>} norms
 * @returns {{first: number, end: number}[]} `end` is not included
 */
export function burstsOf({ columns, first_step, last_step }) {
  const bursts = [];
  for (let first = 0, end; first < columns; first = end) {
    end = first + 1;
    while (end < columns && first_step[end] - last_step[end - 1] <= 1) end++;
    bursts.push({ first, end });
  }
  return bursts;
}

/** @param {StepColumns} norms @param {number} parameter @param {number} first @param {number} end @returns {Jump[]} */
function _jumps({ columns, values, logged, first_step, last_step, wall_time }, parameter, first, end) {
  const at = (/** @type {number} */ column) => {
    const cell = parameter * columns + column;
    return logged && !logged[cell] ? null : values[cell];
  };
  const logarithms = [];
  for (let column = first; column < end; column++) {
    const value = at(column);
    if (value !== null && value > 0 && value < Infinity) logarithms.push(Math.log(value));
  }
  const middle = _median(logarithms);
  const deviation = ROBUST_SCALE * _median(logarithms.map((each) => Math.abs(each - middle)));
  const enough = logarithms.length >= LEAST_STEPS;
  const threshold = enough ? middle + Math.max(DEVIATIONS * deviation, Math.log(LEAST_FACTOR)) : Infinity;
  /** @type {Jump[]} */
  const jumps = [];
  let inJump = false;
  for (let column = first; column < end; column++) {
    const value = at(column);
    const high = value !== null && (!Number.isFinite(value) || Math.log(value) > threshold);
    if (high) {
      const factor = Number.isFinite(value) ? Math.exp(Math.log(value) - middle) : Infinity;
      const from = first_step[column];
      const jump = { parameter, from, step: last_step[column], wallTime: wall_time[column], value, factor };
      const before = jumps[jumps.length - 1];
      if (!inJump) jumps.push(jump);
      else if (factor > before.factor) jumps[jumps.length - 1] = jump;
    }
    inJump = high;
  }
  return jumps;
}

/** @param {number[]} values @returns {number} NaN without values */
function _median(values) {
  return values.length ? Float64Array.from(values).sort()[values.length >> 1] : NaN;
}

/**
 * An overview of the gradient RMS that includes the steps between its records: as separate columns, or, if
 * a column covers several steps, by the largest value there.
 * @param {Overview} overview
 * @param {StepColumns} norms of the same parameters
 * @returns {Overview}
 */
export function withStepsBetween(overview, norms) {
  /** @type {{first: number, last: number, wall: number, a: number, b: number[]}[]} a: column of the overview, b: of the norms */
  const merged = Array.from(overview.last_step, (last, a) => ({
    first: overview.first_step[a],
    last,
    wall: overview.wall_time[a],
    a,
    b: [],
  }));
  let at = 0;
  const own = merged.length;
  for (let b = 0; b < norms.columns; b++) {
    const [first, last] = [norms.first_step[b], norms.last_step[b]];
    while (at < own && merged[at].last < last) at++;
    if (at < own && merged[at].first <= last) merged[at].b.push(b);
    else merged.push({ first, last, wall: norms.wall_time[b], a: -1, b: [b] });
  }
  merged.sort((x, y) => x.last - y.last);
  const columns = merged.length;
  const values = new Float32Array(overview.parameters * columns).fill(NaN);
  const logged = new Uint8Array(values.length);
  for (let parameter = 0; parameter < overview.parameters; parameter++) {
    merged.forEach(({ a, b }, column) => {
      const cell = parameter * columns + column;
      const take = (/** @type {StepColumns} */ from, /** @type {number} */ index) => {
        const other = parameter * from.columns + index;
        if (from.logged && !from.logged[other]) return;
        const value = from.values[other];
        if (!logged[cell] || !Number.isFinite(value) || value > values[cell]) values[cell] = value;
        logged[cell] = 1;
      };
      if (a >= 0) take(overview, a);
      for (const index of b) take(norms, index);
    });
  }
  return {
    ...overview,
    columns,
    values,
    first_step: Float64Array.from(merged, ({ first }) => first),
    last_step: Float64Array.from(merged, ({ last }) => last),
    wall_time: Float64Array.from(merged, ({ wall }) => wall),
    logged: logged.every(Boolean) ? undefined : logged,
  };
}
