// @ts-check
/** The horizontal axis shared by all charts: positions of steps, and the visible span. Pure. */

/**
 * @typedef {import('../types.d.ts').AxisKind} AxisKind
 * @typedef {import('../types.d.ts').Range} Range
 */

/**
 * @param {AxisKind} axis
 * @param {Float64Array} step
 * @param {Float64Array} wallTime seconds since the epoch, as long as `step`
 * @param {number} start wall time of the run's first step
 * @returns {Float64Array} axis value of every step, ascending; a view of the input if that suffices
 */
export function axisValues(axis, step, wallTime, start) {
  if (axis === 'step') return step;
  const times = _ascending(wallTime);
  return axis === 'wall' ? times : times.map((time) => time - start);
}

/** If the clock was set back, time stands still until it catches up. @param {Float64Array} times */
function _ascending(times) {
  if (times.every((time, i) => i === 0 || time >= times[i - 1])) return times;
  let latest = times.find(Number.isFinite) ?? 0;
  return times.map((time) => (latest = time > latest && time < Infinity ? time : latest));
}

/**
 * @param {ArrayLike<number>} ascending not empty
 * @param {number} value
 * @returns {number} index of the last item at or before `value`; -1 if all come after it
 */
export function indexAtOrBefore(ascending, value) {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ascending[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/**
 * The position of a step on the axis, interpolated between known steps.
 * @param {ArrayLike<number>} steps ascending, not empty
 * @param {ArrayLike<number>} xs their axis values
 * @param {number} step
 * @returns {number} that of the first or last known step if it is outside
 */
export function axisValueOfStep(steps, xs, step) {
  const before = indexAtOrBefore(steps, step);
  if (before < 0) return xs[0];
  if (before === steps.length - 1 || steps[before] === step) return xs[before];
  const share = (step - steps[before]) / (steps[before + 1] - steps[before]);
  return xs[before] + share * (xs[before + 1] - xs[before]);
}

/**
 * @param {ArrayLike<number>} ascending not empty
 * @param {number} value
 * @returns {number} index of the item nearest to `value`
 */
export function nearestIndex(ascending, value) {
  const before = indexAtOrBefore(ascending, value);
  if (before < 0) return 0;
  if (before === ascending.length - 1) return before;
  return ascending[before + 1] - value < value - ascending[before] ? before + 1 : before;
}

/**
 * The span shown before any zoom: that of the overview's run, widened to all checked runs if the overview's run
 * still fills half of it. So a short run beside a long one stays readable.
 * @param {ArrayLike<number>} xs axis values of the overview's run, not empty
 * @param {ArrayLike<number>[]} others those of the other checked runs
 * @returns {Range}
 */
export function wholeRange(xs, others) {
  const own = { from: xs[0], to: xs[xs.length - 1] };
  const all = { ...own };
  for (const other of others) {
    if (!other.length) continue;
    all.from = Math.min(all.from, other[0]);
    all.to = Math.max(all.to, other[other.length - 1]);
  }
  const range = 2 * (own.to - own.from) >= all.to - all.from ? all : own;
  return range.to > range.from ? range : { from: range.from - 0.5, to: range.to + 0.5 };
}

/**
 * The steps covered by a visible span, for a request that is thinned to the screen.
 * @param {Range} range
 * @param {ArrayLike<number>} xs axis values of the columns of the whole run
 * @param {ArrayLike<number>} firstStep
 * @param {ArrayLike<number>} lastStep
 * @returns {{from: number, to: number}}
 */
export function stepsWithin(range, xs, firstStep, lastStep) {
  // One extra column on each side, because the drawing should reach the edges.
  const first = Math.max(0, indexAtOrBefore(xs, range.from) - 1);
  const last = Math.min(xs.length - 1, indexAtOrBefore(xs, range.to) + 2);
  return { from: firstStep[first], to: lastStep[last] };
}

/**
 * A zoom is only kept if it is longer than a click and shows a part of the data.
 * @param {Range | null} range
 * @param {Range} whole
 * @returns {Range | null} null shows everything
 */
export function clampRange(range, whole) {
  if (!range) return null;
  const from = Math.max(whole.from, Math.min(range.from, range.to));
  const to = Math.min(whole.to, Math.max(range.from, range.to));
  if (!(to > from) || to - from >= whole.to - whole.from) return null;
  return { from, to };
}

/** Limit of the wheel zoom, as a share of the whole. */
const CLOSEST_ZOOM = 1e-3;

/**
 * @param {Range} range currently visible
 * @param {number} unit 0 to 1 across it; the point that stays fixed
 * @param {number} factor factor of its length; below 1 zooms in
 * @param {Range} whole
 * @returns {Range} within `whole`, not shorter than CLOSEST_ZOOM of it
 */
export function zoomedRange(range, unit, factor, whole) {
  const all = whole.to - whole.from;
  const length = Math.min(all, Math.max((range.to - range.from) * factor, all * CLOSEST_ZOOM));
  const from = range.from + unit * (range.to - range.from - length);
  return shiftedRange({ from, to: from + length }, 0, whole);
}

/** @param {Range} range @param {number} by @param {Range} whole @returns {Range} as long as before, within `whole` */
export function shiftedRange(range, by, whole) {
  const length = range.to - range.from;
  const from = Math.max(whole.from, Math.min(whole.to - length, range.from + by));
  return { from, to: from + length };
}
