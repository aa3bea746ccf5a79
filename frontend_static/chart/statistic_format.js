// @ts-check
/** Values of a statistic, and their differences, as text. Pure. */
import { formatInteger, formatNumber, formatPercent } from './format.js';

/** @typedef {import('../types.d.ts').StatisticInfo} StatisticInfo */

/** @param {Pick<StatisticInfo, 'scale'>} statistic @param {number} value */
export function formatStatistic({ scale }, value) {
  if (scale === 'fraction') return formatPercent(value);
  return scale === 'count' ? formatInteger(value) : formatNumber(value);
}

/**
 * How a value differs from the reference's: a factor on logarithmic scales, else a difference.
 * @param {Pick<StatisticInfo, 'scale'>} statistic @param {number} value @param {number} reference
 * @returns {string} '×1.3', '+2.5 %', '' if there is nothing to say
 */
export function formatDifference({ scale }, value, reference) {
  if (!Number.isFinite(value) || !Number.isFinite(reference)) return '';
  if (scale === 'log') {
    if (value === reference) return '=';
    return reference > 0 ? formatFactor(value / reference) : '';
  }
  const difference = value - reference;
  if (difference === 0) return '=';
  const size = formatStatistic({ scale: scale === 'cosine' ? 'log' : scale }, Math.abs(difference));
  return `${difference > 0 ? '+' : '−'}${scale === 'fraction' ? size.replace(' %', ' pp') : size}`;
}

/** @param {number} factor 0 or positive @returns {string} '×1.3' or '÷2.1' */
export function formatFactor(factor) {
  if (factor === 0) return '×0';
  const size = Math.max(factor, 1 / factor);
  return `${factor >= 1 ? '×' : '÷'}${formatNumber(Number(size.toPrecision(size < 2 ? 3 : 2)))}`;
}
