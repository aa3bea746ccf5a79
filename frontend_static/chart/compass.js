// @ts-check
/** Where the readings of the learning-rate compass lie on its scale, and how they moved. */
import { formatInteger, formatNumber } from './format.js';

/**
 * @typedef {import('../types.d.ts').CompassReading} CompassReading
 * @typedef {import('../types.d.ts').CompassCalibration} CompassCalibration
 *
 * A learning rate over the best one, from the lowest to the highest that was calibrated.
 * @typedef {object} Scale
 * @property {number} low
 * @property {number} high
 * @property {[number, number]} about within them the learning rate is about right
 * @property {number[]} marks what was calibrated between the ends
 */

/** @param {CompassCalibration} calibration @returns {Scale} */
export function scaleOf({ factors, ratio_factors, about }) {
  const known = [...new Set([...factors, ...ratio_factors])].sort((a, b) => a - b);
  return {
    low: known[0],
    high: known[known.length - 1],
    about: [1 / about, about],
    marks: known.slice(1, -1),
  };
}

/** @param {number} factor @param {Scale} scale @returns {number} 0 at the lowest to 1 at the highest, logarithmic */
export function placeOf(factor, { low, high }) {
  return Math.min(1, Math.max(0, Math.log(factor / low) / Math.log(high / low)));
}

/**
 * The history as an SVG path, the highest factor on top. Where nothing can be told the line is broken.
 * @param {CompassReading} reading @param {Scale} scale @param {number} width @param {number} height
 */
export function historyPath({ steps, factors }, scale, width, height) {
  const [first, last] = [steps[0], steps[steps.length - 1]];
  const parts = factors.map((factor, i) => {
    if (factor === null) return '';
    const x = last > first ? ((steps[i] - first) / (last - first)) * width : width / 2;
    const y = (1 - placeOf(factor, scale)) * height;
    const starts = i === 0 || factors[i - 1] === null;
    const point = `${x.toFixed(1)} ${y.toFixed(1)}`;
    // A point without neighbours becomes a dot: lines have round ends.
    return starts ? `M${point}h0` : `L${point}`;
  });
  return parts.join('');
}

/** @param {CompassReading} reading @returns {string} the history in words; '' where there is none */
export function describeHistory({ steps, factors }) {
  const told = factors.flatMap((factor, i) => (factor === null ? [] : [{ factor, step: steps[i] }]));
  if (!told.length) return '';
  const [first, last] = [told[0], told[told.length - 1]];
  const at = (/** @type {{factor: number, step: number}} */ { factor, step }) =>
    `${timesBest(factor)} at step ${formatInteger(step)}`;
  return first === last ? at(first) : `${at(first)}, ${at(last)}`;
}

/** @param {number} factor @returns {string} '1/30 of the best', '3× the best', 'the best' */
export function timesBest(factor) {
  const off = Number(Math.max(factor, 1 / factor).toPrecision(2));
  if (off === 1) return 'the best';
  return factor < 1 ? `1/${formatNumber(off)} of the best` : `${formatNumber(off)}× the best`;
}
