// @ts-check
/** What the histogram charts share: the value axis, resampling to pixels, percentiles. Pure. */

/** @typedef {import('../types.d.ts').HistogramSeries} HistogramSeries */

/**
 * Values below which the given fractions of the elements lie, from the counts.
 * @param {HistogramSeries} histogram @param {number} index of the histogram @param {ArrayLike<number>} fractions 0..1
 * @returns {Float64Array} NaN when the histogram is empty
 */
export function percentilesOf(histogram, index, fractions) {
  throw new Error(`not written yet ${histogram} ${index} ${fractions}`);
}
