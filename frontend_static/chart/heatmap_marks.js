// @ts-check
/** Marks on the heat map: frames around single steps, and their labels. */
import { t } from '../host/language.js';
import { formatInteger } from './format.js';
import { cssColor, FONT_FAMILY } from './frame.js';

/** @typedef {import('../types.d.ts').Range} Range */
/** @typedef {import('../types.d.ts').TreeRow} TreeRow */

/**
 * A mark on the row of a parameter.
 * @typedef {object} Mark
 * @property {number} parameter
 * @property {number} x axis position
 * @property {string} text
 * @property {string} name name of the parameter
 * @property {number} [value] value that fills the mark, coloured like the cells; empty by default
 */

/** Half the width of a mark in CSS pixels, which keeps a step without width visible and clickable. */
export const MARK_REACH = 4;
const LABELS = 24;
/** Up to this many marks of a step, all are labelled. */
const LABELS_OF_A_STEP = 8;
/** If everything jumps at once, a few labels suffice to show it. */
const FEW_LABELS = 3;
const LABEL_HEIGHT = 13;

/**
 * The marks of every row; of overlapping ones only the first.
 * @template {Pick<Mark, 'parameter' | 'x'>} T
 * @param {TreeRow[]} rows @param {T[]} marks @param {Range} range @param {number} width CSS pixels
 * @returns {{row: TreeRow, mark: T, pixel: number, others: number}[]} in the order of the marks; `others` are hidden behind it
 */
export function marksOfRows(rows, marks, range, width) {
  /** @type {Map<number, TreeRow>} */
  const rowOf = new Map();
  for (const row of rows) if (!row.open) for (const parameter of row.parameters) rowOf.set(parameter, row);
  /** @type {{row: TreeRow, mark: T, pixel: number, others: number}[]} */
  const placed = [];
  /** @type {Map<TreeRow, typeof placed>} */
  const inRow = new Map();
  for (const mark of marks) {
    const row = rowOf.get(mark.parameter);
    if (!row || mark.x < range.from || mark.x > range.to) continue;
    const pixel = range.to > range.from ? (width * (mark.x - range.from)) / (range.to - range.from) : width / 2;
    const here = inRow.get(row) ?? [];
    inRow.set(row, here);
    const covered = here.find((other) => Math.abs(other.pixel - pixel) < 2 * MARK_REACH);
    if (covered) covered.others += 1;
    else {
      const place = { row, mark, pixel, others: 0 };
      here.push(place);
      placed.push(place);
    }
  }
  return placed;
}

/**
 * Draws a frame around each marked step, and labels the first of them, on the side of the earlier steps.
 * @param {CanvasRenderingContext2D} context
 * @param {ReturnType<typeof marksOfRows<Mark>>} placed
 * @param {(value: number) => string} fillOf
 * @param {number} width CSS pixels
 */
export function drawMarks(context, placed, fillOf, width) {
  const [ink, ground] = [cssColor('--text'), cssColor('--surface')];
  context.font = `500 11px ${FONT_FAMILY}`;
  context.textBaseline = 'middle';
  context.textAlign = 'left';
  for (const { row, mark, pixel } of placed) {
    const [left, top] = [Math.round(pixel) - MARK_REACH, Math.round(row.y)];
    const height = Math.round(row.y + row.height) - top - 1;
    if (mark.value !== undefined) {
      context.fillStyle = fillOf(mark.value);
      context.fillRect(left, top, 2 * MARK_REACH, height);
    }
    _frame(context, left + 1, top + 1, 2 * MARK_REACH - 2, height - 2, ground);
    _frame(context, left, top, 2 * MARK_REACH, height, ink);
  }
  const widthOf = (/** @type {string} */ words) => context.measureText(words).width + 8;
  for (const { row, text, left, size } of labelsOfMarks(placed, widthOf, width)) {
    const top = Math.round(row.y + (row.height - 1 - LABEL_HEIGHT) / 2);
    context.fillStyle = ground;
    context.fillRect(left, top, size, LABEL_HEIGHT);
    context.fillStyle = ink;
    context.fillText(text, left + 4, top + LABEL_HEIGHT / 2 + 0.5);
  }
}

/**
 * Labels of the first marks: before the mark if there is room, else after it, and none where it would overlap
 * another label or mark of its row.
 * @param {ReturnType<typeof marksOfRows<Mark>>} placed
 * @param {(text: string) => number} widthOf width of a label, CSS pixels
 * @param {number} width width of the heat map
 * @returns {{row: TreeRow, text: string, left: number, size: number}[]}
 */
export function labelsOfMarks(placed, widthOf, width) {
  /** @type {Map<number, number>} */
  const written = new Map();
  /** @type {Map<number, number>} */
  const marksAt = new Map();
  for (const { mark } of placed) marksAt.set(mark.x, (marksAt.get(mark.x) ?? 0) + 1);
  /** @type {Map<TreeRow, [number, number][]>} */
  const taken = new Map();
  for (const { row, pixel } of placed)
    taken.set(row, [...(taken.get(row) ?? []), [pixel - MARK_REACH, pixel + MARK_REACH]]);
  const labels = [];
  for (const { row, mark, pixel, others } of placed) {
    const count = written.get(mark.x) ?? 0;
    const ofStep = marksAt.get(mark.x) ?? 0;
    const most = ofStep > LABELS_OF_A_STEP ? FEW_LABELS : ofStep;
    if (count === most) continue;
    const within = mark.name.startsWith(row.key) ? row.key.length + 1 : 0;
    const inner = row.kind === 'module' ? `${mark.name.slice(within)} ` : '';
    const end = others ? ` +${others}` : '';
    const isLast = most < ofStep && count === most - 1;
    const note = isLast ? t(' · first {shown} of {count}', { shown: most, count: formatInteger(ofStep) }) : '';
    const here = /** @type {[number, number][]} */ (taken.get(row));
    const label = [`${inner}${mark.text}${end}${note}`, `${mark.text}${end}${note}`, `${mark.text}${end}`]
      .flatMap((text) => {
        const size = widthOf(text);
        const [before, after] = [pixel - MARK_REACH - 2 - size, pixel + MARK_REACH + 2].map(Math.round);
        return [{ text, size, left: before }, { text, size, left: after }];
      })
      .filter(({ left, size }) => left >= 0 && left + size <= width)
      .find(({ left, size }) => !here.some(([from, to]) => left < to && left + size > from));
    if (!label) continue;
    here.push([label.left, label.left + label.size]);
    written.set(mark.x, count + 1);
    labels.push({ row, ...label });
    if (labels.length === LABELS) break;
  }
  return labels;
}

/** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} width @param {number} height @param {string} color */
function _frame(context, x, y, width, height, color) {
  context.strokeStyle = color;
  context.lineWidth = 1;
  context.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
}
