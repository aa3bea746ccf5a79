// @ts-check
/**
 * Colour scales and run colours. Colours are packed as a little-endian pixel: 0xAABBGGRR.
 *
 * The scale of the update-to-weight ratio diverges from exactly 1e-3. Light: "vik" of Fabio Crameri's
 * Scientific colour maps; dark: a counterpart built outwards from the colour of the card.
 */
import { t } from '../host/language.js';
import { cssColor, FONT_FAMILY, prepareCanvas } from './frame.js';
import { formatNumber } from './format.js';

/** @typedef {import('../types.d.ts').Theme} Theme */
/** @typedef {[number, number, number]} Rgb 0..255 */
/** @typedef {[number, number, number]} OkLab */

/**
 * log10 of the values at the ends and in the middle of a diverging colour scale.
 * @typedef {{low: number, middle: number, high: number}} Decades
 */

/** For the update-to-weight ratio. @type {Decades} */
export const RATIO_DECADES = { low: -6, middle: -3, high: -0.5 };
/** For the ratio of two runs' values: equal is in the middle. @type {Decades} */
export const COMPARISON_DECADES = { low: -1.5, middle: 0, high: 1.5 };

const RATIO_STOPS = {
  light: _parseStops(
    '001261 021f69 022b71 023779 034481 055189 0c5e92 1c6d9c 307da6 488db2 619ebd 7aaec8 94bed2 adcddd c6dbe6 dee6e9 ece5e0 ' +
      'eedbd0 e9ccba e3bca5 dcac90 d69d7c cf8e68 c98056 c37243 bd6431 b3531f a5400f 942f06 832106 741506 670a07 590008',
  ),
  dark: _parseStops(
    'c9e9ff 93ccf7 62acdf 3f8ac0 31699a 2f4c6b 2f3b49 303234 45362f 6b3f2b 9b4a28 c85f33 ea8150 fba97b ffd6b8',
  ),
};
const SEQUENTIAL_STOPS = {
  light: _parseStops('eff6f3 bfe0d4 7fc0ab 3f9a85 12705f 00413a'),
  dark: _parseStops('2f3432 28524a 2b7d6e 4cab97 8ed8c5 dffaf1'),
};

/** Seven hues as in TensorBoard's own palette, and seven more; each at least 3:1 to the card of its theme. */
export const RUN_COLORS = {
  light: [
    ...['#0c9bb0', '#425066', '#e52592', '#b87d00', '#9334e6', '#5d8a2c', '#d9640a'],
    ...['#1558c0', '#8c1c3f', '#00695c', '#cc2b2b', '#7c83db', '#6b4530', '#8f8f00'],
  ],
  dark: [
    ...['#12b5cb', '#9aa4af', '#f2509f', '#f9ab00', '#b97cf5', '#7cb342', '#f08030'],
    ...['#5b9bf5', '#f5b5c8', '#2fa58a', '#f0605a', '#c4c8ff', '#c29a84', '#e2dc5a'],
  ],
};
// Four patterns and fourteen colours: no two of the first 28 runs look alike.
const DASHES = [
  [7, 3],
  [2, 2.5],
  [9, 3, 2, 3],
  [4, 2.5],
];

/** @param {number} index index of the run @param {Theme} theme @returns {string} '#rrggbb' */
export function runColor(index, theme) {
  const colors = RUN_COLORS[theme];
  return colors[index % colors.length];
}

/**
 * @param {number} index index of the run
 * @returns {number[] | undefined} dash pattern in CSS pixels; the first three runs are solid
 */
export function runDash(index) {
  return index < 3 ? undefined : DASHES[(index - 3) % DASHES.length];
}

/**
 * @param {number} log10Ratio
 * @param {Decades} [decades]
 * @returns {number} 0..1; the middle is exactly 0.5, although the arms may span unequal decades
 */
export function ratioPosition(log10Ratio, { low, middle, high } = RATIO_DECADES) {
  const distance = log10Ratio - middle;
  const arm = distance < 0 ? distance / (middle - low) : distance / (high - middle);
  return 0.5 + 0.5 * Math.max(-1, Math.min(1, arm));
}

/** @param {Theme} theme @returns {Uint32Array} 512 colours, low to high */
export function ratioColors(theme) {
  return _ramp(RATIO_STOPS[theme], 512);
}

/** @param {Theme} theme @returns {Uint32Array} 256 colours from the card outwards */
export function sequentialColors(theme) {
  return _ramp(SEQUENTIAL_STOPS[theme], 256);
}

/**
 * Card → run → the run's deep (light theme) or bright (dark theme) end, even in lightness: everything is
 * visible and the run keeps its hue.
 * @param {string} surfaceHex @param {string} runHex @param {Theme} theme
 * @returns {Uint32Array} 256 colours
 */
export function densityColors(surfaceHex, runHex, theme) {
  const [surface, run] = [parseHex(surfaceHex), parseHex(runHex)];
  const end = theme === 'dark' ? mix(run, [255, 255, 255], 0.72) : mix(run, [0, 0, 0], 0.55);
  return Uint32Array.from({ length: 256 }, (_, i) => {
    const share = i / 255;
    return packRgb(share < 0.6 ? mix(surface, run, share / 0.6) : mix(run, end, (share - 0.6) / 0.4));
  });
}

/** @param {string} hex '#rrggbb' or '#rgb' @returns {Rgb} */
export function parseHex(hex) {
  const digits =
    hex.length === 4 ? [...hex.slice(1)].map((digit) => digit + digit) : (hex.slice(1).match(/../g) ?? []);
  if (!/^#([\da-f]{3}|[\da-f]{6})$/i.test(hex))
    throw new Error(`expected a colour like #12b5cb, got "${hex}"`);
  return /** @type {Rgb} */ (digits.map((pair) => parseInt(pair, 16)));
}

/** @param {Rgb} rgb @returns {number} */
export function packRgb([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** @param {number} packed @returns {Rgb} */
export function unpackRgb(packed) {
  return [packed & 255, (packed >>> 8) & 255, (packed >>> 16) & 255];
}

/** @param {Rgb | number} color @returns {string} 'rgb(18 181 203)' */
export function cssOf(color) {
  return `rgb(${(typeof color === 'number' ? unpackRgb(color) : color).join(' ')})`;
}

/**
 * Mix in OKLab, where equal parts look equal.
 * @param {Rgb} a
 * @param {Rgb} b
 * @param {number} share share of b
 * @returns {Rgb}
 */
export function mix(a, b, share) {
  const [from, to] = [toOkLab(a), toOkLab(b)];
  return _fromOkLab(/** @type {OkLab} */ (from.map((v, i) => v + (to[i] - v) * share)));
}

/** Björn Ottosson's OKLab. @param {Rgb} rgb @returns {OkLab} lightness 0..1, a, b */
export function toOkLab(rgb) {
  const [r, g, b] = rgb.map(_toLinear);
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

/**
 * The legend of a diverging scale: a bar with powers of ten under it, or factors for a comparison.
 * @param {import('./frame.js').Surface} canvas about 330 × 28 CSS pixels @param {Theme} theme @param {Decades} [decades]
 */
export function drawRatioLegend(canvas, theme, decades = RATIO_DECADES) {
  const { low, middle, high } = decades;
  const colors = ratioColors(theme);
  const first = Math.ceil(low - 1e-9);
  const exponents = Array.from({ length: Math.floor(high + 1e-9) - first + 1 }, (_, i) => first + i);
  const label = (/** @type {number} */ e) =>
    middle === 0 ? (e === 0 ? t('equal') : `${e < 0 ? '÷' : '×'}${10 ** Math.abs(e)}`) : `1e${e}`;
  _drawLegend(
    canvas,
    (unit) => colors[Math.round(ratioPosition(low + (high - low) * unit, decades) * (colors.length - 1))],
    exponents.map((e) => ({
      unit: (e - low) / (high - low),
      label: `${e === low ? '≤' : ''}${label(e)}`,
      strong: e === middle,
    })),
  );
}

/**
 * The legend of any other statistic.
 * @param {import('./frame.js').Surface} canvas @param {Theme} theme
 * @param {import('./scales.js').Scale} scale of the values
 * @param {{diverging?: boolean}} [options] diverging: the two-sided colours, for values around zero
 */
export function drawLegend(canvas, theme, scale, { diverging = false } = {}) {
  const colors = diverging ? ratioColors(theme) : sequentialColors(theme);
  const ticks = scale
    .ticks(5)
    .map(({ unit, value }) => ({ unit, label: formatNumber(value), strong: false }));
  _drawLegend(canvas, (unit) => colors[Math.round(unit * (colors.length - 1))], ticks);
}

/**
 * @param {import('./frame.js').Surface} canvas
 * @param {(unit: number) => number} colorAt packed
 * @param {{unit: number, label: string, strong: boolean}[]} ticks
 */
function _drawLegend(canvas, colorAt, ticks) {
  const { context, width } = prepareCanvas(canvas);
  const barHeight = 10;
  for (let x = 0; x < width; x++) {
    context.fillStyle = cssOf(colorAt(width > 1 ? x / (width - 1) : 0));
    context.fillRect(x, 0, 1, barHeight);
  }
  context.strokeStyle = cssColor('--border-strong');
  context.strokeRect(0.5, 0.5, width - 1, barHeight - 1);
  context.textBaseline = 'top';
  let free = -Infinity;
  for (const { unit, label, strong } of [...ticks].sort((a, b) => a.unit - b.unit)) {
    const x = Math.round(unit * (width - 1)) + 0.5;
    context.font = `${strong ? '500 ' : ''}11px ${FONT_FAMILY}`;
    context.strokeStyle = cssColor(strong ? '--text' : '--axis');
    context.beginPath();
    context.moveTo(x, strong ? 0 : barHeight);
    context.lineTo(x, barHeight + 3);
    context.stroke();
    const size = context.measureText(label).width;
    const left = Math.min(Math.max(0, x - size / 2), width - size);
    if (left < free) continue;
    free = left + size + 6;
    context.fillStyle = cssColor(strong ? '--text' : '--text-2');
    context.fillText(label, left, barHeight + 5);
  }
}

/** @param {string} text hex colours without '#', separated by spaces @returns {Rgb[]} */
function _parseStops(text) {
  return text.split(' ').map((hex) => parseHex(`#${hex}`));
}

/** @param {Rgb[]} stops evenly spaced @param {number} length @returns {Uint32Array} */
function _ramp(stops, length) {
  return Uint32Array.from({ length }, (_, i) => {
    const x = (i / (length - 1)) * (stops.length - 1);
    const k = Math.min(stops.length - 2, Math.floor(x));
    return packRgb(
      /** @type {Rgb} */ (stops[k].map((v, c) => Math.round(v + (stops[k + 1][c] - v) * (x - k)))),
    );
  });
}

/** @param {number} channel 0..255 of sRGB @returns {number} 0..1, linear */
function _toLinear(channel) {
  const c = channel / 255;
  return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
}

/** @param {number} c 0..1, linear @returns {number} 0..255 of sRGB */
function _fromLinear(c) {
  const v = c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055;
  return Math.round(255 * Math.min(1, Math.max(0, v)));
}

/** @param {OkLab} lab @returns {Rgb} */
function _fromOkLab([L, a, b]) {
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    _fromLinear(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    _fromLinear(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    _fromLinear(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}
