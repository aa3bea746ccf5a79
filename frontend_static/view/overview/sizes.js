// @ts-check
/** How high the parts of the overview are, in CSS pixels. Pure. */
import { columnStrip } from '../../state/store.js';

export const STRIP_HEIGHT = 30;
/** A strip that shows what the open finding rests on, is to be read. */
const EVIDENCE_STRIP_HEIGHT = 96;
export const AXIS_HEIGHT = 26;
export const SMALLEST_TABLE = 160;
const SMALLEST_ROW = 15;
const LARGEST_ROW = 24;
/** On a tall screen a row may be this share of it. */
const ROW_SHARE = 1 / 48;
const SMALLEST_HEIGHT = 210;
/** Everything of the tab but the rows, with the parameter card at its smallest. */
const HEIGHT_AROUND_ROWS = 646;
/** The same where there is one card. */
const HEIGHT_AROUND_FULL = 232;

/**
 * @param {{name: string}[]} strips @param {{statistic: string} | null | undefined} evidence of the open finding
 * @returns {number[]} the height of each strip
 */
export function stripHeights(strips, evidence) {
  return strips.map((strip) => (evidence && isAbout(strip, evidence) ? EVIDENCE_STRIP_HEIGHT : STRIP_HEIGHT));
}

/** @param {{name: string}} strip @param {{statistic: string}} evidence */
export function isAbout({ name }, { statistic }) {
  return name === statistic || name === columnStrip(statistic);
}

/** Height for the rows, so that both cards fit on one screen. @param {number} height @param {boolean} full whether there is one card */
export function rowsHeight(height, full) {
  if (full) return Math.max(SMALLEST_HEIGHT, height - HEIGHT_AROUND_FULL);
  const spare = height - HEIGHT_AROUND_ROWS;
  const fair = spare > 300 ? 300 + (spare - 300) / 2 : spare; // a tall screen serves both cards
  return Math.max(SMALLEST_HEIGHT, Math.floor(fair));
}

/**
 * @param {number} windowHeight
 * @param {number} available height for all rows
 * @param {number} rows how many
 */
export function rowHeightOf(windowHeight, available, rows) {
  const largest = Math.max(LARGEST_ROW, Math.floor(windowHeight * ROW_SHARE));
  return Math.max(SMALLEST_ROW, Math.min(largest, Math.floor(available / Math.max(1, rows))));
}
