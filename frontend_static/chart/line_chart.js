// @ts-check
/** Values over steps for several runs, drawn by uPlot. */

/** @typedef {import('../types.d.ts').AxisKind} AxisKind */
/** @typedef {import('../types.d.ts').PlotArea} PlotArea */
/** @typedef {import('../types.d.ts').Range} Range */

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {string} color
 * @property {number[]} [dash]
 * @property {Float64Array} x ascending axis positions; lines may have different ones
 * @property {ArrayLike<number>} y what is drawn; NaN is a gap
 * @property {ArrayLike<number>} [raw] drawn faintly under it, when y is smoothed
 */

/**
 * @typedef {object} LineChartOptions
 * @property {AxisKind} axisKind
 * @property {Range} range
 * @property {Line[]} lines
 * @property {'log' | 'linear'} scale
 * @property {[number, number]} [band] shaded values
 * @property {string} [bandLabel]
 * @property {number} [middle] a dashed line
 * @property {(x: number | null) => void} [onCursor] axis value under the pointer; null when it leaves
 * @property {(range: Range | null) => void} [onZoom] a dragged span; null on a double click
 */

/**
 * @param {HTMLElement} element filled
 * @param {LineChartOptions} options
 * @returns {{area(): PlotArea, resize(): void, destroy(): void}}
 */
export function createLineChart(element, options) {
  throw new Error(`not written yet ${element} ${options}`);
}
