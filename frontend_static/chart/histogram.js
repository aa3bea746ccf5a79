// @ts-check
/** Shared parts of the histogram charts: the value axis, resampling to its cells, percentiles. */
import { t } from '../host/language.js';
import { indexAtOrBefore } from '../state/axis.js';
import { formatInteger, formatNumber, formatPercent } from './format.js';
import { cssColor } from './frame.js';
import { linearScale, logScale, signedLogScale } from './scales.js';

/** @typedef {import('../types.d.ts').HistogramSeries} HistogramSeries */
/** @typedef {import('../types.d.ts').GroupInfo} GroupInfo */
/** @typedef {import('./scales.js').Scale} Scale */
/** @typedef {{value: number, label: string}} Mark */

/**
 * As in TensorBoard's Distributions tab: minimum, maximum, median and ±½σ, ±1σ, ±1½σ of a normal distribution.
 */
export const NINE_PERCENTILES = [0, 0.0668, 0.1587, 0.3085, 0.5, 0.6915, 0.8413, 0.9332, 1];

/** Columns of HistogramSeries.special. */
const [ZERO, SUBNORMAL, NEGATIVE_INFINITY, POSITIVE_INFINITY, NAN] = [0, 1, 2, 3, 4];
const SPECIALS = 5;
/** An unsigned axis starts where at every step at most this fraction of the elements is below. */
const TAIL = 0.01;
/** High over low; keeps a single used bin from filling the chart. */
const SHORTEST_AXIS = 10;

/**
 * The value axis for all histograms of a series: logarithmic for unsigned quantities; for signed ones linear
 * up to about a tenth of the median magnitude, because the neighbourhood of zero, which holds hardly any
 * elements, would fill the chart otherwise. The largest value is always inside.
 * @param {HistogramSeries} histogram
 * @param {'log' | 'linear'} [axis] axis of signed quantities
 * @param {number | null} [linearBelow] magnitude up to which a signed axis is linear; null for automatic
 * @returns {Scale}
 */
export function valueScale(histogram, axis = 'log', linearBelow = null) {
  const magnitudes = _magnitudes(histogram);
  if (!magnitudes.length) return histogram.signed ? signedLogScale(1e-3, 1) : logScale(1e-3, 1);
  const top = magnitudes[magnitudes.length - 1].high;
  if (!histogram.signed) {
    const bottom = _lowestTail(histogram);
    const room = Math.max(1, Math.sqrt((SHORTEST_AXIS * bottom) / top));
    return logScale(bottom / room, top * room);
  }
  if (axis === 'linear') return linearScale(-top, top);
  if (linearBelow) return signedLogScale(linearBelow, top);
  const { low, high } = _quantile(magnitudes, 0.5);
  const threshold = 10 ** Math.round(Math.log10((low + high) / 20));
  return signedLogScale(Math.min(threshold, top / 10), top);
}

/**
 * One axis for several runs' histograms of a quantity, which makes them comparable.
 * @param {HistogramSeries[]} histograms at least one
 * @param {'log' | 'linear'} axis
 * @param {number | null} linearBelow
 * @returns {Scale}
 */
export function sharedScale(histograms, axis, linearBelow) {
  const scales = histograms.map((histogram) => valueScale(histogram, axis, linearBelow));
  if (scales.length === 1) return scales[0];
  const high = Math.max(...scales.map((scale) => scale.high));
  if (!histograms[0].signed) return logScale(Math.min(...scales.map(({ low }) => low)), high);
  const thresholds = scales.map(({ threshold }) => threshold ?? Infinity);
  return axis === 'linear' ? linearScale(-high, high) : signedLogScale(Math.min(...thresholds), high);
}

/**
 * The histograms within a span of the axis; if there is none, the last one before it.
 * @param {HistogramSeries} histogram @param {Float64Array} xs axis values of its steps
 * @param {import('../types.d.ts').Range} range
 * @returns {{histogram: HistogramSeries, xs: Float64Array}}
 */
export function histogramsWithin(histogram, xs, { from, to }) {
  const before = indexAtOrBefore(xs, from);
  const last = Math.max(0, indexAtOrBefore(xs, to));
  const first = Math.min(last, xs[before] === from ? before : before + 1);
  const rows = (/** @type {number} */ size) => [first * size, (last + 1) * size];
  return {
    xs: xs.subarray(...rows(1)),
    histogram: {
      ...histogram,
      step: histogram.step.subarray(...rows(1)),
      wall_time: histogram.wall_time.subarray(...rows(1)),
      counts: histogram.counts.subarray(...rows(histogram.bins)),
      special: histogram.special.subarray(...rows(SPECIALS)),
    },
  };
}

/**
 * Where ε takes over the denominator, on the axis of exp_avg_sq; a note if that is beyond the axis: then ε
 * plays no part, and a mark would push the data out of sight.
 * @param {GroupInfo | undefined} group
 * @param {number | null} epsilon the group's ε
 * @param {Pick<Scale, 'low' | 'high'>} scale
 * @returns {{mark: Mark | null, note: string}}
 */
export function epsilonMark(group, epsilon, { low, high }) {
  if (!epsilon) return { mark: null, note: '' };
  const inside = isUnderRoot(group);
  const label = inside ? 'v = ε' : '√v = ε';
  const value = inside ? epsilon : epsilon ** 2;
  if (value >= low && value <= high) return { mark: { value, label }, note: '' };
  return { mark: null, note: t('{label} ({value}) is beyond the axis', { label, value: formatNumber(epsilon) }) };
}

/**
 * Whether ε is added to v, under the root. Only Adadelta does so, and only it keeps acc_delta: that also
 * identifies subclasses with another name.
 * @param {GroupInfo | undefined} group
 */
function isUnderRoot(group) {
  return group?.meanings.acc_delta !== undefined;
}

/**
 * Resamples histograms onto equal cells of a scale.
 * @param {HistogramSeries} histogram @param {Scale} scale @param {number} cells
 * @returns {(index: number) => Float64Array} elements per cell, lowest values first; the array is reused
 */
export function resampler(histogram, scale, cells) {
  const { bins, counts } = histogram;
  const edges = _edgeUnits(histogram, scale);
  const result = new Float64Array(cells);
  return (index) => {
    result.fill(0);
    for (let bin = 0; bin < bins; bin++) {
      const count = counts[index * bins + bin];
      if (count) _spread(result, count, edges[bin] * cells, edges[bin + 1] * cells);
    }
    return result;
  };
}

/**
 * How many cells the scale can be divided into before single bins show up as stripes.
 * @param {HistogramSeries} histogram @param {Scale} scale @param {number} most @returns {number}
 */
export function usefulCells(histogram, scale, most) {
  const edges = _edgeUnits(histogram, scale);
  let widest = 0;
  for (let bin = 0; bin < histogram.bins; bin++) widest = Math.max(widest, edges[bin + 1] - edges[bin]);
  return Math.max(8, Math.min(Math.floor(most), widest > 0 ? Math.floor(1 / widest) : most));
}

/**
 * The elements of a histogram outside its bins.
 * @param {HistogramSeries} histogram @param {number} index
 * @returns {{elements: number, zeros: number, subnormal: number, nonFinite: number}} counts
 */
export function specialCounts(histogram, index) {
  const at = (/** @type {number} */ column) => histogram.special[index * SPECIALS + column];
  const nonFinite = at(NEGATIVE_INFINITY) + at(POSITIVE_INFINITY) + at(NAN);
  let elements = at(ZERO) + at(SUBNORMAL) + nonFinite;
  for (let bin = 0; bin < histogram.bins; bin++) elements += histogram.counts[index * histogram.bins + bin];
  return { elements, zeros: at(ZERO), subnormal: at(SUBNORMAL), nonFinite };
}

/**
 * Values below which the given fractions of the elements are, from the counts: including zeros, subnormal
 * numbers (as 0) and infinities, excluding NaN, with elements spread evenly within a bin.
 * @param {HistogramSeries} histogram @param {number} index index of the histogram
 * @param {ArrayLike<number>} fractions 0..1; 0 and 1 give the outer edges of the outermost used bins
 * @returns {Float64Array} NaN when the histogram is empty
 */
export function percentilesOf(histogram, index, fractions) {
  const groups = _ascendingGroups(histogram, index);
  const total = groups.reduce((sum, group) => sum + group.count, 0);
  return Float64Array.from(fractions, (fraction) => (total ? _atRank(groups, fraction * total) : NaN));
}

/** @typedef {{low: number, high: number, count: number}} Group elements between two values */

/** @param {HistogramSeries} histogram @param {number} index @returns {Group[]} all non-empty */
function _ascendingGroups({ bins, counts, edges, special }, index) {
  const at = (/** @type {number} */ column) => special[index * SPECIALS + column];
  const zeros = { low: 0, high: 0, count: at(ZERO) + at(SUBNORMAL) };
  const groups = [{ low: -Infinity, high: -Infinity, count: at(NEGATIVE_INFINITY) }];
  let zerosPlaced = false;
  for (let bin = 0; bin < bins; bin++) {
    if (!zerosPlaced && edges[bin] >= 0) {
      groups.push(zeros);
      zerosPlaced = true;
    }
    groups.push({ low: edges[bin], high: edges[bin + 1], count: counts[index * bins + bin] });
  }
  if (!zerosPlaced) groups.push(zeros);
  groups.push({ low: Infinity, high: Infinity, count: at(POSITIVE_INFINITY) });
  return groups.filter((group) => group.count > 0);
}

/** @param {Group[]} groups @param {number} rank 0..total @returns {number} */
function _atRank(groups, rank) {
  let before = 0;
  for (const { low, high, count } of groups) {
    if (before + count >= rank) return low === high ? low : low + ((high - low) * (rank - before)) / count;
    before += count;
  }
  return groups[groups.length - 1].high;
}

/**
 * All steps of a series as one histogram of |value|.
 * @param {HistogramSeries} histogram
 * @returns {Group[]} ascending, all non-empty
 */
function _magnitudes({ bins, counts, edges }) {
  const totals = new Float64Array(bins);
  for (let i = 0; i < counts.length; i++) totals[i % bins] += counts[i];
  const groups = [];
  for (let bin = 0; bin < bins; bin++) {
    if (!totals[bin]) continue;
    const [a, b] = [Math.abs(edges[bin]), Math.abs(edges[bin + 1])];
    groups.push({ low: Math.min(a, b), high: Math.max(a, b), count: totals[bin] });
  }
  return groups.sort((a, b) => a.high - b.high);
}

/**
 * The smallest value among the TAIL quantiles of all steps.
 * @param {HistogramSeries} histogram a non-empty one of an unsigned quantity
 * @returns {number} positive
 */
function _lowestTail({ bins, counts, edges }) {
  let lowest = bins - 1;
  for (let row = 0; row < counts.length; row += bins) {
    let total = 0;
    for (let bin = 0; bin < bins; bin++) total += counts[row + bin];
    let cumulative = 0;
    for (let bin = 0; bin < lowest; bin++) {
      cumulative += counts[row + bin];
      if (cumulative > TAIL * total) lowest = bin;
    }
  }
  return edges[lowest] || edges[lowest + 1] / 2;
}

/** @param {Group[]} groups ascending @param {number} fraction @returns {Group} */
function _quantile(groups, fraction) {
  let left = fraction * groups.reduce((sum, group) => sum + group.count, 0);
  return groups.find((group) => (left -= group.count) <= 0) ?? groups[groups.length - 1];
}

/** @param {HistogramSeries} histogram @param {Scale} scale @returns {Float64Array} */
function _edgeUnits({ edges }, scale) {
  return Float64Array.from(edges, scale.toUnit);
}

/**
 * Share a count among cells in proportion to the overlap.
 * @param {Float64Array} cells
 * @param {number} count
 * @param {number} from in cells
 * @param {number} to
 */
function _spread(cells, count, from, to) {
  const first = Math.min(cells.length - 1, Math.floor(from));
  const last = Math.min(cells.length - 1, Math.max(first, Math.ceil(to) - 1));
  if (first === last) {
    cells[first] += count;
    return;
  }
  for (let cell = first; cell <= last; cell++) {
    cells[cell] += (count * (Math.min(to, cell + 1) - Math.max(from, cell))) / (to - from);
  }
}

/**
 * Notes the contents of a histogram that no curve shows.
 * @param {CanvasRenderingContext2D} context
 * @param {import('../types.d.ts').PlotArea} area
 * @param {HistogramSeries} histogram
 * @param {number} row
 */
export function noteSpecials(context, area, histogram, row) {
  const { elements, zeros, subnormal, nonFinite } = specialCounts(histogram, row);
  const notes = [
    zeros ? { text: t('exactly 0: {share}', { share: formatPercent(zeros / elements) }), color: '--text-2' } : null,
    subnormal ? { text: t('subnormal: {share}', { share: formatPercent(subnormal / elements) }), color: '--text-2' } : null,
    nonFinite ? { text: t('NaN or ∞: {count}', { count: formatInteger(nonFinite) }), color: '--critical' } : null,
  ].filter((note) => note !== null);
  context.textAlign = 'left';
  context.textBaseline = 'top';
  notes.forEach(({ text, color }, line) => {
    context.fillStyle = cssColor(color);
    context.fillText(text, area.left, area.top + 14 * line);
  });
}
