// @ts-check
/** Draws the evidence of the open finding into charts: its steps, and the threshold of its rule. */
import { cssColor, drawLabelGround, FONT } from './frame.js';

/**
 * @typedef {import('../types.d.ts').PlotArea} PlotArea
 * @typedef {import('../types.d.ts').Range} Range
 *
 * The marks in a chart.
 * @typedef {object} EvidenceMarks
 * @property {Range} steps on the axis
 * @property {{value: number, text: string} | null} threshold
 */

/** Keeps a single step visible. */
const NARROWEST = 6;
const LABEL_HEIGHT = 13;

/**
 * Position of steps within an area, in CSS pixels.
 * @param {Range} steps @param {Range} range visible @param {Pick<PlotArea, 'left' | 'width'>} area
 * @returns {{left: number, width: number} | null} null if they are out of sight
 */
export function spanOf(steps, range, { left, width }) {
  if (steps.to < range.from || steps.from > range.to || !(range.to > range.from)) return null;
  const at = (/** @type {number} */ x) => (width * (x - range.from)) / (range.to - range.from);
  const [from, to] = [Math.max(0, at(steps.from)), Math.min(width, at(steps.to))];
  if (to - from >= NARROWEST) return { left: left + from, width: to - from };
  const start = Math.max(0, Math.min(width - NARROWEST, (from + to - NARROWEST) / 2));
  return { left: left + start, width: NARROWEST };
}

/**
 * Draws the steps of the finding, behind the lines.
 * @param {CanvasRenderingContext2D} context @param {PlotArea} area @param {Range} range @param {Range} steps
 */
export function drawEvidenceSteps(context, area, range, steps) {
  const span = spanOf(steps, range, area);
  if (!span) return;
  context.fillStyle = cssColor('--evidence');
  context.fillRect(span.left, area.top, span.width, area.height);
}

/**
 * Draws the threshold and its value, above the lines.
 * @param {CanvasRenderingContext2D} context @param {PlotArea} area
 * @param {number} y pixels @param {string} text
 */
export function drawThreshold(context, area, y, text) {
  if (!(y >= area.top - 1 && y <= area.top + area.height + 1)) return;
  context.save();
  context.strokeStyle = cssColor('--critical');
  context.lineWidth = 1.2;
  context.setLineDash([5, 3]);
  context.beginPath();
  context.moveTo(area.left, y);
  context.lineTo(area.left + area.width, y);
  context.stroke();
  context.font = FONT;
  context.textAlign = 'left';
  context.textBaseline = 'bottom';
  const above = y - area.top > LABEL_HEIGHT + 2;
  const top = above ? y - LABEL_HEIGHT - 1 : y + 2;
  const left = area.left + 6;
  drawLabelGround(context, left, top, context.measureText(text).width, LABEL_HEIGHT);
  context.fillStyle = cssColor('--critical');
  context.fillText(text, left, top + LABEL_HEIGHT - 1);
  context.restore();
}
