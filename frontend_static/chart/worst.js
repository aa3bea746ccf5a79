// @ts-check
/**
 * Which value is the worst: for the colours of the heat map, for pixels that cover several cells, for folded
 * rows, for the table and for the order of the rows. This is the only definition. Pure.
 */
import { COMPARISON_DECADES, RATIO_DECADES } from './colormap.js';

/**
 * The kind of a statistic's values. ratio: update-to-weight, diverging from 1e-3. comparison: a run's value over
 * another's, diverging from 1. For cosines and differences, 0 is in the middle.
 * @typedef {import('../types.d.ts').StatisticInfo['scale'] | 'ratio' | 'comparison'} Kind
 */

/** Where values are compared by decades, an exact zero counts as one decade off, as on the server. */
const ZERO_DECADES = 1;

/**
 * How bad a value is. NaN is worst, then infinity. Ratios count decades from their middle, an exact 0 as one
 * decade, which makes it stand out among healthy values without hiding a spike, and infinity, the ratio of an
 * update to a weight that was 0, likewise; cosines count their distance from 0; for other statistics, the
 * largest value is the worst.
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
 * Whether a value is a fault regardless of the others: one that is not finite, except for the ratio to a weight
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
 * @param {(candidate: number) => number | null} valueOf null if there is no value, which is better than any other
 * @returns {number} the candidate with the worst value, the first of several; -1 if there are none
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
