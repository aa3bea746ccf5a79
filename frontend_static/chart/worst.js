// @ts-check
/**
 * Which value is the worst: for the colours of the heat map, for pixels that cover several cells, for folded
 * rows, for the table and for the order of the rows. Nothing else decides it. Pure.
 */
import { COMPARISON_DECADES, RATIO_DECADES } from './colormap.js';

/**
 * How values are read. ratio: update-to-weight, diverging from 1e-3. comparison: a run's value over another's,
 * diverging from 1. Of cosines and of differences, 0 is in the middle.
 * @typedef {import('../types.d.ts').StatisticInfo['scale'] | 'ratio' | 'comparison'} Kind
 */

/** Where values are told apart by decades, an exact zero counts as one decade off, as on the server. */
const ZERO_DECADES = 1;

/**
 * How bad a value is. NaN beats everything, and infinity comes next. Ratios count decades from their middle,
 * an exact 0 as one decade, so that it neither drowns among healthy values nor hides a spike, and infinity,
 * the ratio of an update to a weight that was 0, as well; cosines count their distance from 0; of other
 * statistics the largest is the worst.
 * @param {Kind} kind
 * @param {number} value
 * @returns {number} -900..1000, the higher the worse
 */
export function badness(kind, value) {
  if (Number.isNaN(value)) return 1e3;
  if (isBroken(kind, value)) return 950;
  if (value === Infinity) return ZERO_DECADES;
  if (kind === 'ratio' || kind === 'comparison') {
    const { middle } = kind === 'ratio' ? RATIO_DECADES : COMPARISON_DECADES;
    return value > 0 ? Math.min(Math.abs(Math.log10(value) - middle), 900) : ZERO_DECADES;
  }
  if (kind === 'cosine') return Math.min(Math.abs(value), 900);
  if (kind === 'fraction') return Math.max(-900, Math.min(value, 900));
  return value > 0 ? Math.min(Math.log10(value), 900) : -900;
}

/**
 * Whether a value is a fault whatever the others are: one that is not finite, but for the ratio to a weight
 * that was 0.
 * @param {Kind} kind
 * @param {number} value
 */
export function isBroken(kind, value) {
  return !Number.isFinite(value) && !(kind === 'ratio' && value === Infinity);
}

/**
 * @param {Kind} kind
 * @param {readonly number[]} candidates
 * @param {(candidate: number) => number | null} valueOf null where there is no value, which every other one beats
 * @returns {number} the candidate with the worst value, the first of several; -1 of none
 */
export function worstOf(kind, candidates, valueOf) {
  let worst = candidates[0] ?? -1;
  let most = -Infinity;
  for (const candidate of candidates) {
    const value = valueOf(candidate);
    const here = value === null ? -Infinity : badness(kind, value);
    if (here > most) [worst, most] = [candidate, here];
  }
  return worst;
}
