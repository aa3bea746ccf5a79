// @ts-check
/**
 * A drawing context that writes SVG: charts draw on it as on a canvas. It implements what the charts use, in CSS
 * pixels; the scaling to device pixels that `prepareCanvas` sets is ignored.
 */

/** @typedef {[string, string]} Attribute */

const STATE = [
  'fillStyle',
  'strokeStyle',
  'lineWidth',
  'lineJoin',
  'globalAlpha',
  'font',
  'textAlign',
  'textBaseline',
  '_dash',
  '_clip',
];
const ANCHORS = /** @type {Record<string, string>} */ ({ left: 'start', center: 'middle', right: 'end' });
const BASELINES = /** @type {Record<string, string>} */ ({
  top: 'hanging',
  middle: 'central',
  bottom: 'text-after-edge',
});

let clips = 0;

export class SvgContext {
  /**
   * @param {{width: number, height: number}} canvas device pixels
   * @param {CanvasRenderingContext2D} measuring a real context, for measuring text
   */
  constructor(canvas, measuring) {
    this.canvas = canvas;
    this._measuring = measuring;
    /** @type {string[]} */
    this._elements = [];
    /** @type {string[]} */
    this._path = [];
    /** @type {Record<string, any>[]} */
    this._saved = [];
    this.fillStyle = '#000';
    this.strokeStyle = '#000';
    this.lineWidth = 1;
    this.lineJoin = 'miter';
    this.globalAlpha = 1;
    this.font = '10px sans-serif';
    this.textAlign = 'left';
    this.textBaseline = 'alphabetic';
    this.imageSmoothingEnabled = true;
    /** @type {number[]} */
    this._dash = [];
    this._clip = '';
  }

  /** @returns {string} the elements drawn so far */
  markup() {
    return this._elements.join('\n');
  }

  setTransform() {}
  clearRect() {}

  save() {
    this._saved.push(Object.fromEntries(STATE.map((name) => [name, /** @type {any} */ (this)[name]])));
  }
  restore() {
    Object.assign(this, this._saved.pop());
  }

  beginPath() {
    this._path = [];
  }
  /** @param {number} x @param {number} y */
  moveTo(x, y) {
    this._path.push(`M${_n(x)} ${_n(y)}`);
  }
  /** @param {number} x @param {number} y */
  lineTo(x, y) {
    this._path.push(`${this._path.length ? 'L' : 'M'}${_n(x)} ${_n(y)}`);
  }
  closePath() {
    this._path.push('Z');
  }
  /** @param {number} x @param {number} y @param {number} width @param {number} height */
  rect(x, y, width, height) {
    this._path.push(`M${_n(x)} ${_n(y)}h${_n(width)}v${_n(height)}h${_n(-width)}Z`);
  }
  /** @param {number} x @param {number} y @param {number} width @param {number} height @param {number} radius */
  roundRect(x, y, width, height, radius) {
    const arc = (/** @type {number} */ dx, /** @type {number} */ dy) =>
      `a${_n(radius)} ${_n(radius)} 0 0 1 ${_n(dx)} ${_n(dy)}`;
    const [w, h] = [width - 2 * radius, height - 2 * radius];
    this._path.push(
      `M${_n(x + radius)} ${_n(y)}h${_n(w)}${arc(radius, radius)}v${_n(h)}${arc(-radius, radius)}` +
        `h${_n(-w)}${arc(-radius, -radius)}v${_n(-h)}${arc(radius, -radius)}Z`,
    );
  }
  /** @param {number[]} dash */
  setLineDash(dash) {
    this._dash = dash;
  }

  fill() {
    if (this._path.length) this._add('path', [['d', this._path.join('')], ...this._fill()]);
  }
  stroke() {
    if (!this._path.length) return;
    /** @type {Attribute[]} */
    const dash = this._dash.length ? [['stroke-dasharray', this._dash.join(' ')]] : [];
    this._add('path', [
      ['d', this._path.join('')],
      ['fill', 'none'],
      ['stroke', String(this.strokeStyle)],
      ['stroke-width', _n(this.lineWidth)],
      ['stroke-linejoin', this.lineJoin],
      ...dash,
      ...this._opacity(),
    ]);
  }
  clip() {
    const id = `clip${++clips}`;
    const inner = this._clip ? ` clip-path="url(#${this._clip})"` : '';
    this._elements.push(`<clipPath id="${id}"${inner}><path d="${this._path.join('')}"/></clipPath>`);
    this._clip = id;
  }

  /** @param {number} x @param {number} y @param {number} width @param {number} height */
  fillRect(x, y, width, height) {
    this._add('rect', [..._box(x, y, width, height), ...this._fill()]);
  }
  /** @param {number} x @param {number} y @param {number} width @param {number} height */
  strokeRect(x, y, width, height) {
    this._add('rect', [
      ..._box(x, y, width, height),
      ['fill', 'none'],
      ['stroke', String(this.strokeStyle)],
      ['stroke-width', _n(this.lineWidth)],
    ]);
  }
  /** @param {string} text @param {number} x @param {number} y */
  fillText(text, x, y) {
    const [, weight, size, family] = /^(?:(\d+) )?([\d.]+px) (.*)$/.exec(this.font) ?? [, , '10px', 'sans-serif'];
    this._add(
      'text',
      [
        ['x', _n(x)],
        ['y', _n(y)],
        ['font-family', family],
        ['font-size', size],
        ...(weight ? [/** @type {Attribute} */ (['font-weight', weight])] : []),
        ['text-anchor', ANCHORS[this.textAlign] ?? 'start'],
        ['dominant-baseline', BASELINES[this.textBaseline] ?? 'auto'],
        ...this._fill(),
      ],
      text,
    );
  }
  /** @param {string} text */
  measureText(text) {
    this._measuring.font = this.font;
    return this._measuring.measureText(text);
  }

  /** @param {number} width @param {number} height */
  createImageData(width, height) {
    return new ImageData(width, height);
  }
  /** @param {ImageData} image @param {number} x @param {number} y device pixels */
  putImageData(image, x, y) {
    const ratio = window.devicePixelRatio || 1;
    this._image(_urlOf(image), x / ratio, y / ratio, image.width / ratio, image.height / ratio);
  }
  /** @param {OffscreenCanvas} sheet @param {number} x @param {number} y @param {number} width @param {number} height */
  drawImage(sheet, x, y, width, height) {
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (sheet.getContext('2d'));
    this._image(_urlOf(context.getImageData(0, 0, sheet.width, sheet.height)), x, y, width, height);
  }

  /** @param {string} url @param {number} x @param {number} y @param {number} width @param {number} height */
  _image(url, x, y, width, height) {
    this._add('image', [
      ..._box(x, y, width, height),
      ['preserveAspectRatio', 'none'],
      ['image-rendering', 'pixelated'],
      ['href', url],
    ]);
  }
  /** @returns {Attribute[]} */
  _fill() {
    return [['fill', String(this.fillStyle)], ...this._opacity()];
  }
  /** @returns {Attribute[]} */
  _opacity() {
    return this.globalAlpha < 1 ? [['opacity', _n(this.globalAlpha)]] : [];
  }
  /** @param {string} name @param {Attribute[]} attributes @param {string} [text] */
  _add(name, attributes, text = '') {
    const clipped = this._clip ? [/** @type {Attribute} */ (['clip-path', `url(#${this._clip})`])] : [];
    const written = [...attributes, ...clipped].map(([key, value]) => ` ${key}="${escapeXml(value)}"`).join('');
    this._elements.push(`<${name}${written}>${escapeXml(text)}</${name}>`);
  }
}

/** Characters that XML does not allow, even escaped, become U+FFFD. @param {string} text */
export function escapeXml(text) {
  const known = text.replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|\p{Surrogate}/gu, '\ufffd');
  return known.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c] ?? c);
}

/** @param {number} value */
function _n(value) {
  return String(Number(value.toFixed(2)));
}

/** @param {number} x @param {number} y @param {number} width @param {number} height @returns {Attribute[]} */
function _box(x, y, width, height) {
  return [
    ['x', _n(x)],
    ['y', _n(y)],
    ['width', _n(Math.max(0, width))],
    ['height', _n(Math.max(0, height))],
  ];
}

/** @param {ImageData} image @returns {string} a PNG as data URL */
function _urlOf(image) {
  const canvas = document.createElement('canvas');
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext('2d')?.putImageData(image, 0, 0);
  return canvas.toDataURL('image/png');
}
