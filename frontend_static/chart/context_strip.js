// @ts-check
/** A thin line above the heat map (loss, learning rate) on the same horizontal axis, over the full width. */

/** @typedef {import('../types.d.ts').Range} Range */

/**
 * @param {HTMLCanvasElement} canvas
 * @param {object} chart
 * @param {Float64Array} chart.x ascending axis positions @param {ArrayLike<number>} chart.y NaN and infinity are gaps
 * @param {Range} chart.range @param {string} chart.color
 * @param {boolean} [chart.log] logarithmic values
 * @returns {void}
 */
export function drawContextStrip(canvas, chart) {
  void canvas;
  void chart;
}
