// @ts-check
/** Value → position, and its ticks. Pure; a position is 0..1 from the low end. */
import { formatClock, formatDuration, formatInteger, formatNumber, powerOfTen } from './format.js';

/** @typedef {import('../types.d.ts').AxisKind} AxisKind */
/** @typedef {import('../types.d.ts').Range} Range */

/**
 * @typedef {object} Tick
 * @property {number} value
 * @property {number} unit position, 0..1
 * @property {string} label
 */

/**
 * @typedef {object} Scale
 * @property {number} low
 * @property {number} high
 * @property {(value: number) => number} toUnit 0..1, clamped; NaN stays NaN
 * @property {(unit: number) => number} toValue
 * @property {(count?: number) => Tick[]} ticks about `count`, the most important first
 * @property {number} [threshold] for a signed logarithmic scale: linear between ±threshold
 */

const SECOND_STEPS = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800,
  3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000,
];

/** @param {number} low @param {number} high @returns {Scale} a constant gets room on both sides */
export function linearScale(low, high) {
  const [from, to] = low < high ? [low, high] : _around(low);
  const span = to - from;
  const toUnit = (/** @type {number} */ value) => _clamp((value - from) / span);
  return {
    low: from,
    high: to,
    toUnit,
    toValue: (unit) => from + span * unit,
    ticks: (count = 5) => _linearTicks(from, to, count, toUnit),
  };
}

/**
 * Logarithmic; values that are not positive are at the low end.
 * @param {number} low positive @param {number} high positive @returns {Scale}
 */
export function logScale(low, high) {
  const widen = high > low ? 1 : Math.sqrt(10);
  const [from, to] = [low / widen, (high > low ? high : low) * widen];
  const start = Math.log10(from);
  const span = Math.log10(to) - start;
  const toUnit = (/** @type {number} */ value) =>
    value > 0 ? _clamp((Math.log10(value) - start) / span) : value <= 0 ? 0 : NaN;
  return {
    low: from,
    high: to,
    toUnit,
    toValue: (unit) => 10 ** (start + span * unit),
    ticks: (count = 5) => _logTicks(from, to, count, toUnit),
  };
}

/**
 * Logarithmic on both sides of zero and linear between ±threshold; value and slope are continuous
 * there: x / threshold inside, 1 + ln(x / threshold) outside.
 * @param {number} threshold positive @param {number} top the largest magnitude @returns {Scale}
 */
export function signedLogScale(threshold, top) {
  const high = Math.max(top, threshold);
  const half = 1 + Math.log(high / threshold);
  const toUnit = (/** @type {number} */ value) => {
    const size = Math.abs(value) / threshold;
    const distance = size <= 1 ? size : 1 + Math.log(size);
    return _clamp(0.5 + (0.5 * Math.sign(value) * distance) / half);
  };
  const toValue = (/** @type {number} */ unit) => {
    const distance = Math.abs(unit - 0.5) * 2 * half;
    return Math.sign(unit - 0.5) * threshold * (distance <= 1 ? distance : Math.exp(distance - 1));
  };
  return {
    low: -high,
    high,
    threshold,
    toUnit,
    toValue,
    ticks: (count = 7) => _signedLogTicks(threshold, high, count, toUnit),
  };
}

/**
 * The domain of a logarithmic scale, robust against a few outliers.
 *
 * @param {ArrayLike<number>[]} arrays values that are not positive and finite are ignored
 * @param {number} [below] fraction of the values that may lie under the domain
 * @param {number} [above] fraction of the values that may lie over it
 * @returns {[number, number] | null} low and high; null without a positive finite value
 */
export function domainOfLog(arrays, below = 0.01, above = 0.01) {
  const values = _samplePositive(arrays, 50_000).sort();
  if (!values.length) return null;
  const last = values.length - 1;
  return [values[Math.floor(below * last)], values[Math.ceil((1 - above) * last)]];
}

/**
 * Round numbers between two values: 1, 2 or 5 times a power of ten apart.
 * @param {number} from @param {number} to @param {number} count about how many
 * @param {number} [smallest] the least distance, 1 for whole numbers
 * @returns {number[]} ascending
 */
export function niceTicks(from, to, count, smallest = 0) {
  if (!(to > from)) return Number.isFinite(from) ? [from] : [];
  return _multiples(from, to, Math.max(_niceStep((to - from) / Math.max(1, count)), smallest));
}

/**
 * Ticks of the horizontal axis, in its units: whole steps, round durations, round local times.
 * @param {Range} range @param {AxisKind} axisKind @param {number} count approximate maximum
 * @returns {Tick[]} ascending
 */
export function axisTicks(range, axisKind, count) {
  const { from, to } = range;
  const toUnit = (/** @type {number} */ value) => (to > from ? (value - from) / (to - from) : 0.5);
  const ticksFor = (/** @type {number} */ wanted) =>
    axisKind === 'step' ? _stepTicks(from, to, wanted) : _timeTicks(from, to, axisKind, wanted);
  const [values, label] = _atLeastTwo(count, ticksFor, ([found]) => found.length);
  return values.map((value) => ({ value, unit: toUnit(value), label: label(value) }));
}

/**
 * Where each cell of a heat map starts and ends: halfway to its neighbours, which leaves no gap between steps
 * that were logged far apart. The last one ends at its step: nothing was recorded after it.
 * @param {ArrayLike<number>} xs ascending @param {Range} range filled by a single cell
 * @returns {Float64Array} one more than there are cells
 */
export function cellBoundaries(xs, range) {
  const n = xs.length;
  const boundaries = new Float64Array(n + 1);
  for (let i = 1; i < n; i++) boundaries[i] = (xs[i - 1] + xs[i]) / 2;
  boundaries[0] = n > 1 ? 2 * xs[0] - boundaries[1] : range.from;
  boundaries[n] = n > 1 ? xs[n - 1] : range.to; // nothing was recorded after it
  return boundaries;
}

/**
 * Which cells each pixel shows. Every visible cell has at least one pixel, however narrow it is, so a pixel
 * may show several.
 * @param {ArrayLike<number>} xs ascending @param {Range} range @param {number} width in pixels
 * @returns {{first: Int32Array, last: Int32Array}} per pixel, inclusive; first is -1 where no cell lies
 */
export function cellsOfPixels(xs, range, width) {
  const first = new Int32Array(width).fill(-1);
  const last = new Int32Array(width).fill(-1);
  const boundaries = cellBoundaries(xs, range);
  const span = range.to - range.from;
  for (let i = 0; i < xs.length; i++) {
    const visible =
      span > 0 ? boundaries[i + 1] >= range.from && boundaries[i] <= range.to : xs[i] === range.from;
    if (!visible) continue;
    const [left, right] =
      span > 0
        ? [boundaries[i], boundaries[i + 1]].map((b) => (width * (b - range.from)) / span)
        : [0, width];
    const start = Math.min(width - 1, Math.max(0, Math.round(left)));
    const end = Math.min(width, Math.max(start + 1, Math.round(right)));
    for (let pixel = start; pixel < end; pixel++) {
      if (first[pixel] < 0) first[pixel] = i;
      last[pixel] = i;
    }
  }
  return { first, last };
}

/**
 * @param {number} from
 * @param {number} to
 * @param {number} count
 * @returns {[number[], (value: number) => string]}
 */
function _stepTicks(from, to, count) {
  return [niceTicks(from, to, count, 1), formatInteger];
}

/**
 * @param {number} from
 * @param {number} to
 * @param {AxisKind} axisKind
 * @param {number} count
 * @returns {[number[], (value: number) => string]}
 */
function _timeTicks(from, to, axisKind, count) {
  const wanted = (to - from) / Math.max(1, count);
  const step = SECOND_STEPS.find((s) => s >= wanted) ?? Math.ceil(wanted / 2592000) * 2592000;
  // For the reader, a day starts at local midnight, not at that of UTC.
  const shift = axisKind === 'wall' ? -60 * new Date(from * 1000).getTimezoneOffset() : 0;
  const values = to > from ? _multiples(from + shift, to + shift, step).map((t) => t - shift) : [from];
  const label = axisKind === 'wall' ? (/** @type {number} */ t) => _wallLabel(t, step) : formatDuration;
  return [values, label];
}

/** @param {number} epochSeconds @param {number} step seconds between ticks */
function _wallLabel(epochSeconds, step) {
  const time = new Date(epochSeconds * 1000);
  const clock = formatClock(time);
  if (step < 60) return clock;
  if (step < 86400 && clock !== '00:00:00') return clock.slice(0, 5);
  return time.toLocaleDateString('en-US', { month: 'short', day: 'numeric' });
}

/**
 * @param {number} from
 * @param {number} to
 * @param {number} count
 * @param {(value: number) => number} toUnit
 * @returns {Tick[]}
 */
function _linearTicks(from, to, count, toUnit) {
  const ticksFor = (/** @type {number} */ wanted) => {
    const step = _niceStep((to - from) / Math.max(1, wanted));
    return _multiples(from, to, step).map((value) => ({
      value,
      unit: toUnit(value),
      label: _linearLabel(value, step),
    }));
  };
  return _atLeastTwo(count, ticksFor, (ticks) => ticks.length);
}

/**
 * The round numbers of a short axis may all be outside of it; then finer ones are used.
 * @template T
 * @param {number} count
 * @param {(count: number) => T} ticksFor
 * @param {(ticks: T) => number} size
 * @returns {T}
 */
function _atLeastTwo(count, ticksFor, size) {
  let ticks = ticksFor(count);
  for (let finer = count + 1; size(ticks) < 2 && finer <= count + 4; finer++) ticks = ticksFor(finer);
  return ticks;
}

/**
 * @param {number} value
 * @param {number} step distance between ticks, which determines the number of digits
 */
function _linearLabel(value, step) {
  if (value === 0) return '0';
  const size = Math.abs(value);
  const sign = value < 0 ? '−' : '';
  const stepExponent = Math.floor(Math.log10(step) + 1e-9);
  if (size < 1e5 && step >= 1e-3) return sign + size.toFixed(Math.max(0, -stepExponent));
  const digits = Math.max(0, Math.floor(Math.log10(size) + 1e-9) - stepExponent);
  return sign + size.toExponential(Math.min(digits, 12)).replace('e+', 'e');
}

/**
 * @param {number} low
 * @param {number} high
 * @param {number} count
 * @param {(value: number) => number} toUnit
 * @returns {Tick[]}
 */
function _logTicks(low, high, count, toUnit) {
  const tick = (/** @type {number} */ value, /** @type {string} */ label) => ({
    value,
    unit: toUnit(value),
    label,
  });
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  if (last > first) return _decades(first, last, count).map((e) => tick(10 ** e, powerOfTen(e)));
  // Fewer than two whole decades in view: 2 and 5 between them, and if necessary linear ticks.
  const between = [];
  for (let e = first - 1; e <= last + 1; e++) {
    for (const digit of [1, 2, 5]) {
      const value = digit * 10 ** e;
      if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) {
        between.push(tick(value, digit === 1 ? powerOfTen(e) : `${digit}·${powerOfTen(e)}`));
      }
    }
  }
  return between.length > 1 ? between : _linearTicks(low, high, Math.min(count, 4), toUnit);
}

/**
 * Zero first, then decades from the outside in, because a crowded axis should keep its ends.
 * @param {number} threshold
 * @param {number} high
 * @param {number} count
 * @param {(value: number) => number} toUnit
 * @returns {Tick[]}
 */
function _signedLogTicks(threshold, high, count, toUnit) {
  const first = Math.ceil(Math.log10(threshold) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  const ticks = [{ value: 0, unit: 0.5, label: '0' }];
  const each = Math.max(1, Math.floor((count - 1) / 2));
  const add = (/** @type {number} */ size, /** @type {string} */ label) => {
    ticks.push(
      { value: size, unit: toUnit(size), label },
      { value: -size, unit: toUnit(-size), label: `−${label}` },
    );
  };
  if (last >= first) for (const e of _decades(first, last, each).reverse()) add(10 ** e, powerOfTen(e));
  else add(high, formatNumber(high));
  return ticks;
}

/**
 * Whole exponents, evenly spaced, including the last one.
 * @param {number} first
 * @param {number} last
 * @param {number} count
 * @returns {number[]} ascending
 */
function _decades(first, last, count) {
  const step = Math.max(1, Math.ceil((last - first + 1) / Math.max(1, count)));
  const exponents = [];
  for (let e = last; e >= first; e -= step) exponents.unshift(e);
  return exponents;
}

/** @param {number} wanted @returns {number} the next 1, 2 or 5 times a power of ten */
function _niceStep(wanted) {
  const power = 10 ** Math.floor(Math.log10(wanted));
  return (
    [1, 2, 5, 10].map((digit) => digit * power).find((step) => step >= wanted * (1 - 1e-9)) ?? 10 * power
  );
}

/** @param {number} from @param {number} to @param {number} step @returns {number[]} */
function _multiples(from, to, step) {
  const slack = 1e-9 * (to - from);
  const first = Math.ceil((from - slack) / step);
  const last = Math.floor((to + slack) / step);
  if (!Number.isFinite(first) || !Number.isFinite(last) || last - first > 1000) return [];
  // Rounded, because 3 × 0.1 is not 0.3; "+ 0" turns -0 into 0.
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(15)) + 0);
}

/** @param {number} value @returns {[number, number]} */
function _around(value) {
  const room = Math.abs(value) * 0.1 || 1;
  return [value - room, value + room];
}

/** @param {number} unit */
function _clamp(unit) {
  return unit < 0 ? 0 : unit > 1 ? 1 : unit;
}

/**
 * @param {ArrayLike<number>[]} arrays
 * @param {number} limit approximate number of values that suffices
 * @returns {Float64Array}
 */
function _samplePositive(arrays, limit) {
  const total = arrays.reduce((sum, array) => sum + array.length, 0);
  const stride = Math.max(1, Math.floor(total / limit));
  const sample = new Float64Array(Math.ceil(total / stride) + arrays.length);
  let n = 0;
  for (const array of arrays) {
    for (let i = 0; i < array.length; i += stride) {
      const value = array[i];
      if (value > 0 && value < Infinity) sample[n++] = value;
    }
  }
  return sample.slice(0, n);
}
