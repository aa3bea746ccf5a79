// @ts-check
/** How many columns of the step table fit, whole, into its width, and how many rows into its height. Pure. */

/** Of the names of the statistics, CSS pixels. */
const NAMES = { least: 116, most: 170 };
/** A number of ten digits; with the step that it is of beside it; with a difference beside it. */
const WIDTHS = { number: 88, step: 104, difference: 148 };
export const HEAD_HEIGHT = 32;
const ROW_HEIGHT = 20;
/** Where the difference stands below its number. */
const STACKED_HEIGHT = 33;

/**
 * @typedef {object} Fit
 * @property {number} shown columns that are in sight at once
 * @property {number} names width of the names
 * @property {number} column width of a column
 * @property {boolean} stacked whether differences stand below the numbers
 * @property {boolean} brief whether steps beside the numbers are left out
 * @property {number} row height of a row
 * @property {number} height of the head and as many whole rows as fit
 */

/**
 * What stands beside numbers makes room for a second column, where there is one.
 * @param {{width: number, height: number}} room of the table
 * @param {number} columns @param {keyof typeof WIDTHS} content of the columns
 * @returns {Fit}
 */
export function fitColumns({ width, height }, columns, content) {
  const room = Math.max(0, width - NAMES.least);
  const isTight = Math.floor(room / WIDTHS[content]) < Math.min(columns, 2);
  const needed = isTight ? WIDTHS.number : WIDTHS[content];
  const shown = Math.max(1, Math.min(columns, Math.floor(room / needed)));
  const spare = Math.max(0, room - shown * needed);
  const names = Math.min(NAMES.most, NAMES.least + Math.floor(spare / (shown + 1)));
  const column = Math.max(WIDTHS.number, Math.floor((width - names) / shown));
  const stacked = isTight && content === 'difference';
  const row = stacked ? STACKED_HEIGHT : ROW_HEIGHT;
  const rows = Math.max(1, Math.floor((height - HEAD_HEIGHT) / row));
  const all = { shown, names: Math.max(NAMES.least, width - shown * column), column, row };
  return { ...all, stacked, brief: isTight && content === 'step', height: HEAD_HEIGHT + rows * row };
}

/**
 * The first column in sight.
 * @param {number} scrolled CSS pixels @param {Fit} fit @param {number} columns
 */
export function firstColumn(scrolled, { column, shown }, columns) {
  return Math.max(0, Math.min(columns - shown, Math.round(scrolled / column)));
}
