// @ts-check
/** Numbers, times and axis values as text, the same everywhere in the tab. */

import { t } from '../host/language.js';

/** @typedef {import('../types.d.ts').AxisKind} AxisKind */

const SUPERSCRIPTS = '⁰¹²³⁴⁵⁶⁷⁸⁹';
const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * A measured value: four significant digits from 1e-3 to 1e4, else three with an exponent.
 * @param {number} value
 * @returns {string} '0.0329', '1.2e-5', '0', 'NaN', '∞', '-∞'
 */
export function formatNumber(value) {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '-∞';
  if (value === 0) return '0';
  const rounded = Number(value.toPrecision(4));
  const size = Math.abs(rounded);
  if (size >= 1e-3 && size < 1e4) return String(rounded);
  return value
    .toExponential(2)
    .replace(/\.?0+e/, 'e')
    .replace('e+', 'e');
}

/** @param {[number, number]} range @returns {string} '3e-4 to 4e-2' */
export function formatRange(range) {
  const [low, high] = range.map((value) => Number(value.toPrecision(3)).toExponential().replace('e+', 'e'));
  return t('{low} to {high}', { low, high });
}

/**
 * A fraction as a percentage; never '0 %' for more than nothing, or '100 %' for less than all.
 * @param {number} fraction 0..1
 */
export function formatPercent(fraction) {
  if (!Number.isFinite(fraction)) return formatNumber(fraction);
  const percent = 100 * fraction;
  if (percent > 0 && percent < 0.1) return '<0.1 %';
  if (percent < 100 && percent > 99.9) return '>99.9 %';
  return `${Number(percent.toFixed(1))} %`;
}

const INTEGERS = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** @param {number} n a whole number @returns {string} with thousands separated: '3,650' */
export function formatInteger(n) {
  return Number.isFinite(n) ? INTEGERS.format(Math.round(n)) : formatNumber(n);
}

/**
 * A position on the horizontal axis shared by all charts.
 * @param {number} value optimizer step, seconds since the start, or seconds since the epoch
 * @param {AxisKind} axisKind
 */
export function formatAxis(value, axisKind) {
  if (axisKind === 'step') return formatInteger(value);
  return axisKind === 'relative' ? formatDuration(value) : formatWallTime(value);
}

/** @param {number} exponent @returns {string} '10⁻³'; '1' for 0 */
export function powerOfTen(exponent) {
  if (exponent === 0) return '1';
  if (exponent === 1) return '10';
  const digits = [...String(Math.abs(exponent))].map((digit) => SUPERSCRIPTS[Number(digit)]);
  return `10${exponent < 0 ? '⁻' : ''}${digits.join('')}`;
}

/**
 * @param {number} seconds
 * @returns {string} at most two units: '4.2 s', '3 min 5 s', '1 h 20 min', '2 d 3 h'
 */
export function formatDuration(seconds) {
  if (!Number.isFinite(seconds)) return formatNumber(seconds);
  const sign = seconds < 0 ? '-' : '';
  const size = Math.abs(seconds);
  if (size < 59.95) return `${sign}${Number(size.toFixed(size < 10 ? 2 : 1))} s`;
  const [unit, name, smaller, smallerName] = _largestUnit(Math.round(size));
  const total = Math.round(size / smaller);
  const whole = Math.floor((total * smaller) / unit);
  const rest = Math.round((total * smaller - whole * unit) / smaller);
  return `${sign}${whole} ${name}${rest ? ` ${rest} ${smallerName}` : ''}`;
}

/** @param {number} epochSeconds @returns {string} local date and time: '2026-11-24 05:20:55' */
export function formatWallTime(epochSeconds) {
  if (!Number.isFinite(epochSeconds)) return formatNumber(epochSeconds);
  const time = new Date(epochSeconds * 1000);
  const date = [time.getFullYear(), time.getMonth() + 1, time.getDate()].map(_twoDigits).join('-');
  return `${date} ${formatClock(time)}`;
}

/** @param {Date} time @returns {string} '05:20:55', local */
export function formatClock(time) {
  return [time.getHours(), time.getMinutes(), time.getSeconds()].map(_twoDigits).join(':');
}

/** @param {string} text @returns {number} approximate width in Latin letters: Chinese characters count twice */
export function letters(text) {
  return text.length + (text.match(/[\u2e80-\uffef]/g)?.length ?? 0);
}

/** @param {number} n */
function _twoDigits(n) {
  return String(n).padStart(2, '0');
}

/** @param {number} seconds @returns {[number, string, number, string]} */
function _largestUnit(seconds) {
  // Compared after rounding to the smaller unit, so 59 min 59.9 s becomes 1 h.
  if (seconds < HOUR) return [MINUTE, 'min', 1, 's'];
  if (Math.round(seconds / MINUTE) * MINUTE < DAY) return [HOUR, 'h', MINUTE, 'min'];
  return [DAY, 'd', HOUR, 'h'];
}
