// @ts-check
/** Parameters × steps as a heat map that never loses the worst value to a lack of pixels. */
import { cssOf, packRgb, parseHex } from './colormap.js';
import { cssColor, prepareCanvas } from './frame.js';
import { colorsOf, colouringOf, ZERO_WEIGHT } from './heatmap_colours.js';
import { drawMarks, marksOfRows } from './heatmap_marks.js';
import { halfOf, meanSeverities, severitiesOf, severityTable, worstSeverities } from './heatmap_severity.js';
import { cellsOfPixels } from './scales.js';

/** @typedef {import('../types.d.ts').Overview} Overview */
/** @typedef {import('../types.d.ts').Range} Range */
/** @typedef {import('../types.d.ts').Theme} Theme */
/** @typedef {import('../types.d.ts').TreeRow} TreeRow */
/** @typedef {import('./heatmap_colours.js').Colouring} Colouring */
/** @typedef {import('./heatmap_marks.js').Mark} Mark */

/**
 * @param {import('./frame.js').Surface} canvas filled without margins
 * @param {object} chart
 * @param {TreeRow[]} chart.rows y and height in CSS pixels of the canvas; rows outside it are skipped, so a tall list may be windowed
 * @param {Overview} chart.overview
 * @param {Float64Array} chart.xs axis position of each column (of its last step)
 * @param {Range} chart.range
 * @param {Theme} chart.theme
 * @param {Colouring} [chart.colouring] by default the statistic's
 * @param {ReadonlySet<number>} [chart.undefinedFor] parameters whose optimizer does not define the statistic: grey, not NaN
 * @param {import('../state/store.js').Crowded} [chart.crowded] what a pixel that covers several cells shows
 * @param {Mark[]} [chart.marks] always visible, however narrow; the first ones are labelled
 * @returns {void}
 */
export function drawOverview(
  canvas,
  { rows, overview, xs, range, theme, colouring = colouringOf(overview), undefinedFor, marks = [], crowded = 'worst' },
) {
  const { context, ratio } = prepareCanvas(canvas);
  const { width, height } = canvas;
  if (!width || !height || !xs.length) return;
  const cells = cellsOfPixels(xs, range, width);
  const image = context.createImageData(width, height);
  const colors = colorsOf(colouring, theme);
  const paint = _painter(new Uint32Array(image.data.buffer), cells.first, ratio, colors);
  const severities = severitiesOf(overview, colouring.kind);
  const newest = { first: cells.last, last: cells.last };
  for (const { top, bottom, parameters } of deviceStripes(rows, ratio, height)) {
    const shown = undefinedFor ? parameters.filter((parameter) => !undefinedFor.has(parameter)) : parameters;
    const severity =
      crowded === 'mean'
        ? meanSeverities(overview, colouring.kind, shown, cells)
        : worstSeverities(severities, overview.columns, shown, crowded === 'latest' ? newest : cells);
    paint(severity, top, bottom);
  }
  context.putImageData(image, 0, 0);
  const { severityOf } = severityTable(colouring.kind);
  const fillOf = (/** @type {number} */ value) => cssOf(colors[severityOf[halfOf(value)]]);
  drawMarks(context, marksOfRows(rows, marks, range, canvas.clientWidth), fillOf, canvas.clientWidth);
}

/**
 * @param {Float64Array} xs
 * @param {Range} range
 * @param {number} unit 0..1 across the range
 * @returns {number} the nearest drawn column, -1 without columns
 */
export function columnAtX(xs, range, unit) {
  const x = range.from + unit * (range.to - range.from);
  let nearest = -1;
  for (let i = 0; i < xs.length; i++) {
    if (nearest < 0 || Math.abs(xs[i] - x) < Math.abs(xs[nearest] - x)) nearest = i;
  }
  return nearest;
}

/**
 * Rows of the tree as stripes of whole device pixels. A row of several parameters gets a stripe for each, or
 * stripes of several parameters if there are more of them than pixels. Open modules have none.
 * @param {Pick<TreeRow, 'open' | 'parameters' | 'y' | 'height'>[]} rows
 * @param {number} ratio device pixels per CSS pixel
 * @param {number} height of the canvas, device pixels
 * @returns {{top: number, bottom: number, parameters: number[]}[]}
 */
export function deviceStripes(rows, ratio, height) {
  const stripes = [];
  for (const row of rows) {
    if (row.open || !row.parameters.length) continue;
    const top = Math.round(row.y * ratio);
    const gap = Math.round(ratio);
    const pixels = Math.max(1, Math.round((row.y + row.height) * ratio) - top - gap);
    if (top >= height || top + pixels <= 0) continue;
    const n = row.parameters.length;
    const count = Math.min(n, pixels);
    for (let s = 0; s < count; s++) {
      stripes.push({
        top: Math.max(0, top + Math.floor((s * pixels) / count)),
        bottom: Math.min(height, top + Math.floor(((s + 1) * pixels) / count)),
        parameters: row.parameters.slice(Math.floor((s * n) / count), Math.floor(((s + 1) * n) / count)),
      });
    }
  }
  return stripes.filter((stripe) => stripe.bottom > stripe.top);
}

/**
 * @param {Uint32Array} pixels pixels of the canvas
 * @param {Int32Array} first column of each pixel, -1 if there is none and the card shows
 * @param {number} ratio @param {Uint32Array} colors per severity
 * @returns {(severities: Uint16Array, top: number, bottom: number) => void}
 */
function _painter(pixels, first, ratio, colors) {
  const width = first.length;
  const ground = colors[0];
  const line = packRgb(parseHex(cssColor('--hatch')));
  const period = Math.max(4, Math.round(6 * ratio));
  return (severities, top, bottom) => {
    /** @type {number[]} */
    const hatched = [];
    /** @type {number[]} */
    const lined = [];
    for (let x = 0, at = top * width; x < width; x++, at++) {
      if (first[x] < 0) continue;
      pixels[at] = colors[severities[x]];
      if (pixels[at] === 0) hatched.push(x);
      else if (pixels[at] === ZERO_WEIGHT) lined.push(x);
    }
    for (let y = top + 1; y < bottom; y++) pixels.copyWithin(y * width, top * width, (top + 1) * width);
    for (const x of hatched) {
      for (let y = top; y < bottom; y++)
        pixels[y * width + x] = (x + y) % period < period / 3 ? line : ground;
    }
    for (const x of lined) {
      for (let y = top; y < bottom; y++)
        pixels[y * width + x] = (y - top) % period < period / 2 ? line : ground;
    }
  };
}
