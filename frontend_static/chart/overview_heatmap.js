// @ts-check
/** Parameters × steps as a heat map in which no worst value is ever lost to a lack of pixels. */

/** @typedef {import('../types.d.ts').Overview} Overview */
/** @typedef {import('../types.d.ts').Range} Range */
/** @typedef {import('../types.d.ts').Theme} Theme */
/** @typedef {import('../types.d.ts').TreeRow} TreeRow */
/** @typedef {import('../types.d.ts').StatisticInfo['scale']} StatisticScale */

/**
 * @param {HTMLCanvasElement} canvas filled without margins
 * @param {object} chart
 * @param {TreeRow[]} chart.rows y and height in CSS pixels of the canvas; rows outside are skipped, so a tall list may be windowed
 * @param {Overview} chart.overview
 * @param {Float64Array} chart.xs axis position of each column (of its last step)
 * @param {Range} chart.range
 * @param {Theme} chart.theme
 * @param {StatisticScale} [chart.scale] how the statistic's values are read, 'log' unless told
 * @param {ReadonlySet<number>} [chart.undefinedFor] parameters whose optimizer does not define the statistic: grey, not NaN
 * @returns {void}
 */
export function drawOverview(canvas, chart) {
  void canvas;
  void chart;
}

/**
 * The value scale of the heat map and its legend: robust, so that single outliers saturate instead of
 * washing out the rest. The ratio's is fixed.
 * @param {Overview} overview @param {StatisticScale} [scale]
 * @returns {import('./scales.js').Scale}
 */
export function overviewDomain(overview, scale = 'log') {
  throw new Error(`not written yet ${overview} ${scale}`);
}

/** @param {Float64Array} xs @param {Range} range @param {number} unit 0..1 across the range @returns {number} the column drawn there, -1 without columns */
export function columnAtX(xs, range, unit) {
  throw new Error(`not written yet ${xs} ${range} ${unit}`);
}
