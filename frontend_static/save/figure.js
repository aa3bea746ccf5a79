// @ts-check
/** Saves charts as files: a figure is redrawn on its own sheet, as PNG or SVG. */
import { cssColor, FONT_FAMILY } from '../chart/frame.js';
import { escapeXml, SvgContext } from './svg_context.js';

/**
 * @typedef {import('../chart/frame.js').Surface} Surface
 *
 * @typedef {object} Part a chart and its place
 * @property {number} x CSS pixels
 * @property {number} y
 * @property {number} width
 * @property {number} height
 * @property {(surface: Surface) => void} draw
 *
 * @typedef {object} Figure
 * @property {number} width CSS pixels
 * @property {number} height
 * @property {string} title
 * @property {string} subtitle
 * @property {{color: string, label: string}[]} legend
 * @property {Part[]} parts below y = HEAD
 */

/** Height of the title and the legend. */
export const HEAD = 46;
const PADDING = 14;

/** @param {string} name @param {Figure} figure */
export async function savePng(name, figure) {
  const ratio = window.devicePixelRatio || 1;
  const sheet = document.createElement('canvas');
  sheet.width = Math.round(figure.width * ratio);
  sheet.height = Math.round(figure.height * ratio);
  const context = /** @type {CanvasRenderingContext2D} */ (sheet.getContext('2d'));
  context.scale(ratio, ratio);
  _drawHead(context, figure);
  for (const { x, y, width, height, draw } of figure.parts) {
    const canvas = document.createElement('canvas');
    draw(_surface(canvas, width, height));
    context.drawImage(canvas, x, y, width, height);
  }
  const blob = await new Promise((resolve) => sheet.toBlob(resolve, 'image/png'));
  if (blob) _save(name, blob);
}

/** @param {Figure} figure @returns {string} a complete SVG document */
export function toSvg(figure) {
  const measuring = /** @type {CanvasRenderingContext2D} */ (document.createElement('canvas').getContext('2d'));
  const head = new SvgContext({ width: figure.width, height: HEAD }, measuring);
  _drawHead(/** @type {any} */ (head), figure);
  const parts = figure.parts.map(({ x, y, width, height, draw }) => {
    /** @type {SvgContext | null} */
    let context = null;
    draw({
      clientWidth: width,
      clientHeight: height,
      width: 0,
      height: 0,
      getContext() {
        const ratio = window.devicePixelRatio || 1;
        context = new SvgContext({ width: width * ratio, height: height * ratio }, measuring);
        return /** @type {any} */ (context);
      },
    });
    const markup = /** @type {SvgContext | null} */ (context)?.markup() ?? '';
    return `<svg x="${x}" y="${y}" width="${width}" height="${height}" overflow="visible">\n${markup}\n</svg>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${figure.width}" height="${figure.height}" viewBox="0 0 ${figure.width} ${figure.height}">`,
    `<title>${escapeXml(`${figure.title}, ${figure.subtitle}`)}</title>`,
    head.markup(),
    ...parts,
    '</svg>',
  ].join('\n');
}

/** @param {string} name @param {string} type @param {string} text */
export function saveText(name, type, text) {
  _save(name, new Blob([text], { type: `${type};charset=utf-8` }));
}

/** @param {CanvasRenderingContext2D} context @param {Figure} figure */
function _drawHead(context, { width, height, title, subtitle, legend }) {
  context.fillStyle = cssColor('--surface');
  context.fillRect(0, 0, width, height);
  context.textAlign = 'left';
  context.textBaseline = 'middle';
  context.font = `500 14px ${FONT_FAMILY}`;
  context.fillStyle = cssColor('--text');
  context.fillText(title, PADDING, 16);
  const after = PADDING + context.measureText(title).width + 12;
  context.font = `11px ${FONT_FAMILY}`;
  context.fillStyle = cssColor('--text-2');
  context.fillText(subtitle, after, 17);
  let left = PADDING;
  for (const { color, label } of legend) {
    context.fillStyle = color;
    context.fillRect(left, 33, 14, 3);
    context.fillStyle = cssColor('--text-2');
    context.fillText(label, left + 19, 35);
    left += 19 + context.measureText(label).width + 16;
  }
}

/**
 * Gives a size to a canvas that is not part of the page.
 * @param {HTMLCanvasElement} canvas @param {number} clientWidth @param {number} clientHeight
 * @returns {Surface}
 */
function _surface(canvas, clientWidth, clientHeight) {
  return {
    clientWidth,
    clientHeight,
    get width() {
      return canvas.width;
    },
    set width(value) {
      canvas.width = value;
    },
    get height() {
      return canvas.height;
    },
    set height(value) {
      canvas.height = value;
    },
    getContext: () => canvas.getContext('2d'),
  };
}

/** @param {string} name @param {Blob} blob */
function _save(name, blob) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[\\/:*?"<>|\s]+/g, '_');
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
