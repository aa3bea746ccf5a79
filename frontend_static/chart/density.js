// @ts-check
/** Histograms over time as a heat map: x = step, y = value, colour = share of the elements. */

/** @typedef {import('../types.d.ts').AxisKind} AxisKind */
/** @typedef {import('../types.d.ts').HistogramSeries} HistogramSeries */
/** @typedef {import('../types.d.ts').PlotArea} PlotArea */
/** @typedef {import('../types.d.ts').Range} Range */
/** @typedef {import('../types.d.ts').Theme} Theme */

/**
 * @param {HTMLCanvasElement} canvas
 * @param {object} chart
 * @param {HistogramSeries} chart.histogram
 * @param {Float64Array} chart.xs axis position of each histogram
 * @param {Range} chart.range @param {string} chart.color '#rrggbb' @param {Theme} chart.theme @param {AxisKind} chart.axisKind
 * @param {{value: number, label: string}} [chart.mark] a dashed line at a value
 * @returns {PlotArea}
 */
export function drawDensity(canvas, chart) {
  throw new Error(`not written yet ${canvas} ${chart}`);
}
