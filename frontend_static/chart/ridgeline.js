// @ts-check
/** One histogram per logged step, newest in front at the bottom. */

/** @typedef {import('../types.d.ts').AxisKind} AxisKind */
/** @typedef {import('../types.d.ts').HistogramSeries} HistogramSeries */
/** @typedef {import('../types.d.ts').PlotArea} PlotArea */
/** @typedef {import('../types.d.ts').Theme} Theme */

/**
 * @param {HTMLCanvasElement} canvas
 * @param {object} chart
 * @param {HistogramSeries} chart.histogram
 * @param {Float64Array} chart.xs axis position of each histogram
 * @param {string} chart.color '#rrggbb' @param {Theme} chart.theme
 * @param {number | null} chart.selected index of the histogram at the cursor, outlined
 * @param {AxisKind} chart.axisKind
 * @returns {{area: PlotArea, indexAt: (yPixel: number) => number, yOf: (index: number) => number}} indexAt is -1 without histograms
 */
export function drawRidgeline(canvas, chart) {
  throw new Error(`not written yet ${canvas} ${chart}`);
}
