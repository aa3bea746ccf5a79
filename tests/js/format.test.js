import assert from 'node:assert/strict';
import test from 'node:test';

import {
  formatAxis,
  formatDuration,
  formatInteger,
  formatNumber,
  formatPercent,
  powerOfTen,
} from '../../frontend_static/chart/format.js';

/** @param {(value: number) => string} format @param {[number, string][]} table */
const cases = (format, table) =>
  table.forEach(([input, output]) => assert.equal(format(input), output, `${input}`));

test('numbers have four digits in the middle and three with an exponent elsewhere', () => {
  cases(formatNumber, [
    [0, '0'],
    [-0, '0'],
    [0.0329, '0.0329'],
    [1 / 3, '0.3333'],
    [12.3456, '12.35'],
    [-4.5, '-4.5'],
    [1e-3, '0.001'],
    [9.9999e-4, '0.001'],
    [1.2e-5, '1.2e-5'],
    [1e-5, '1e-5'],
    [3.29e-12, '3.29e-12'],
    [9999.4, '9999'],
    [9999.9, '1e4'],
    [1e10, '1e10'],
    [-123456, '-1.23e5'],
    [NaN, 'NaN'],
    [Infinity, '∞'],
    [-Infinity, '-∞'],
  ]);
});

test('a percentage never rounds something to nothing', () => {
  cases(formatPercent, [
    [0, '0 %'],
    [1, '100 %'],
    [0.5, '50 %'],
    [1e-6, '<0.1 %'],
    [0.9999999, '>99.9 %'],
    [0.1234, '12.3 %'],
    [NaN, 'NaN'],
  ]);
});

test('whole numbers are grouped', () => {
  cases(formatInteger, [
    [0, '0'],
    [3650, '3,650'],
    [1234567, '1,234,567'],
    [NaN, 'NaN'],
  ]);
});

test('powers of ten are written with superscripts', () => {
  cases(powerOfTen, [
    [-3, '10⁻³'],
    [0, '1'],
    [1, '10'],
    [12, '10¹²'],
  ]);
});

test('durations name at most two units', () => {
  cases(formatDuration, [
    [0, '0 s'],
    [0.05, '0.05 s'],
    [4.2, '4.2 s'],
    [59.97, '1 min'],
    [60, '1 min'],
    [185, '3 min 5 s'],
    [3599.8, '1 h'],
    [4800, '1 h 20 min'],
    [86399, '1 d'],
    [183600, '2 d 3 h'],
    [-90, '-1 min 30 s'],
    [NaN, 'NaN'],
  ]);
});

test('an axis value is written as its axis counts', () => {
  assert.equal(formatAxis(3650, 'step'), '3,650');
  assert.equal(formatAxis(90, 'relative'), '1 min 30 s');
  assert.match(formatAxis(1767225600, 'wall'), /^202[56]-\d\d-\d\d \d\d:\d\d:\d\d$/);
});
