// @ts-check
/** Used by all components: Preact, icons, the store and the server's answers as hooks. */
import { isAbort } from '../data/api.js';
import { askAgain } from '../data/live.js';
import { t } from '../host/language.js';
import { html, useEffect, useLayoutEffect, useRef, useState } from '../vendor/preact.js';

export { h, html, render, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../vendor/preact.js';

/**
 * The context of components, besides data.
 * @typedef {object} App
 * @property {import('../state/store.js').Store} store
 * @property {import('../state/actions.js').Actions} actions
 * @property {import('../state/store.js').Cursor} cursor
 * @property {import('../data/api.js').Api} api
 */

const ICONS = {
  search:
    'M10 3a7 7 0 1 0 4.2 12.6l4.6 4.6 1.4-1.4-4.6-4.6A7 7 0 0 0 10 3zm0 2a5 5 0 1 1 0 10 5 5 0 0 1 0-10z',
  check: 'M9 15.6 5.4 12 4 13.4l5 5L20 7.4 18.6 6z',
  left: 'M14.6 6 16 7.4 11.4 12l4.6 4.6-1.4 1.4-6-6z',
  right: 'M9.4 6 8 7.4l4.6 4.6L8 16.6 9.4 18l6-6z',
  down: 'M7.4 8.6 6 10l6 6 6-6-1.4-1.4-4.6 4.6z',
  up: 'M12 8l-6 6 1.4 1.4 4.6-4.6 4.6 4.6L18 14z',
  link: 'M7 7h4v2H7a3 3 0 0 0 0 6h4v2H7A5 5 0 0 1 7 7zm6 0h4a5 5 0 0 1 0 10h-4v-2h4a3 3 0 0 0 0-6h-4zm-5 4h8v2H8z',
  copy: 'M8 3h11a2 2 0 0 1 2 2v11h-2V5H8zM5 7h9a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V9c0-1.1.9-2 2-2zm0 2v10h9V9z',
  expand: 'M12 3 7.5 7.5 9 9l3-3 3 3 1.5-1.5zm0 18 4.5-4.5L15 15l-3 3-3-3-1.5 1.5z',
  collapse: 'M7.5 4.5 12 9l4.5-4.5L15 3l-3 3-3-3zm9 15L12 15l-4.5 4.5L9 21l3-3 3 3z',
  close: 'M6.4 5 5 6.4l5.6 5.6L5 17.6 6.4 19l5.6-5.6 5.6 5.6 1.4-1.4-5.6-5.6L19 6.4 17.6 5 12 10.6z',
  warning: 'M12 3 1.5 21h21zm-1 7h2v5h-2zm0 6.5h2v2h-2z',
  download: 'M19 9h-4V3H9v6H5l7 7 7-7zM5 18v2h14v-2H5z',
  settings:
    'M3 17v2h6v-2H3zM3 5v2h10V5H3zm10 16v-2h8v-2h-8v-2h-2v6h2zM7 9v2H3v2h4v2h2V9H7zm14 4v-2H11v2h10zm-6-4h2V7h4V5h-4V3h-2v6z',
  pin: 'M15 3v6l3 3v2h-5v6l-1 1-1-1v-6H6v-2l3-3V3H8V2h8v1z',
  full: 'M7 14H5v5h5v-2H7v-3zm-2-4h2V7h3V5H5v5zm12 7h-3v2h5v-5h-2v3zM14 5v2h3v3h2V5h-5z',
  small: 'M5 16h3v3h2v-5H5v2zm3-8H5v2h5V5H8v3zm6 11h2v-3h3v-2h-5v5zm2-11V5h-2v5h5V8h-3z',
  pause: 'M7 5h3v14H7zm7 0h3v14h-3z',
  play: 'M8 5v14l11-7z',
  what: 'M11 17h2v2h-2zm1-13a5 5 0 0 1 5 5c0 2.2-1.4 3.2-2.5 4.1-.9.7-1.5 1.3-1.5 2.4h-2c0-2 1.1-3 2.2-3.9 1-.8 1.8-1.4 1.8-2.6a3 3 0 0 0-6 0H7a5 5 0 0 1 5-5z',
  table: 'M3 4h18v16H3zm2 5v4h6V9zm8 0v4h6V9zm-8 6v3h6v-3zm8 0v3h6v-3z',
  beside: 'M4 5h4v14H4zm6 0h4v14h-4zm6 0h4v14h-4z',
  jump: 'M2 17h6.6L12 3l3.4 14H22v2h-8.2L12 11.4 10.2 19H2z',
  reference: 'M5 3h2v18H5zm3 1h11l-3 4 3 4H8z',
};

/** @param {keyof typeof ICONS} name @param {string} [className] */
export function icon(name, className = 'icon') {
  return html`<svg class=${className} viewBox="0 0 24 24" aria-hidden="true">
    <path d=${ICONS[name]} />
  </svg>`;
}

/**
 * A row of buttons, one of them pressed.
 * @param {{label: string, options: {name: string, text: string, title?: string}[], chosen: string, onChoose: (name: any) => void, small?: boolean}} props
 */
export function Choice({ label, options, chosen, onChoose, small }) {
  if (options.length === 0) return null;
  return html`<div class="choice ${small ? 'small' : ''}" role="group" aria-label=${label}>
    ${options.map(
      ({ name, text, title }) =>
        html`<button key=${name} title=${title} aria-pressed=${name === chosen} onClick=${() => onChoose(name)}>${text}</button>`,
    )}
  </div>`;
}

/**
 * A button that opens a list. It closes on Escape, on a click elsewhere, and when an item requests it.
 * @param {{label: string, text?: string, symbol?: keyof typeof ICONS, strong?: boolean, children?: any, closes?: boolean, class?: string, width?: number}} props
 *   `class` of what opens, which then lies above everything; `width` of it, CSS pixels
 */
export function Menu({ label, text, symbol, strong, children, closes = false, class: className, width = 240 }) {
  const [place, setPlace] = useState(/** @type {string | null} the list's style; null while it is closed */ (null));
  const root = useRef(/** @type {HTMLElement | null} */ (null));
  const toggle = () => {
    const box = /** @type {HTMLElement} */ (root.current).getBoundingClientRect();
    const left = box.left > window.innerWidth - width - 40 ? Math.max(8, Math.min(box.right, window.innerWidth - 8) - width) : box.left;
    const [above, below] = [box.top - 12, window.innerHeight - box.bottom - 12];
    const vertical =
      below < 260 && above > below
        ? `bottom:${window.innerHeight - box.top + 2}px;max-height:${above}px`
        : `top:${box.bottom + 2}px;max-height:${below}px`;
    setPlace(place ? null : `left:${left}px;${vertical}`);
  };
  useLeaving(root, place !== null, () => setPlace(null));
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== 'Escape' || !place) return;
    event.stopPropagation();
    setPlace(null);
    root.current?.querySelector('button')?.focus();
  };
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    if (place && className) list.current?.showPopover?.();
  }, [place]);
  return html`<span class="menu" ref=${root} onKeyDown=${onKey}>
    <button
      class=${symbol ? `icon-button ${symbol}` : `menu-button ${strong ? 'strong' : ''}`}
      aria-label=${symbol ? label : t('{name}: {value}', { name: label, value: text ?? '' })}
      title=${label}
      aria-expanded=${place !== null}
      aria-haspopup="true"
      onClick=${toggle}
    >
      ${symbol ? icon(symbol) : html`${text}${icon('down', 'menu-arrow')}`}
    </button>
    ${
      place &&
      html`<div
        class="menu-list ${className ?? ''}"
        ref=${list}
        popover=${className && 'manual'}
        role="group"
        aria-label=${label}
        style=${place}
        onClick=${() => closes && setPlace(null)}
      >
        ${children}
      </div>`
    }
  </span>`;
}

/** @param {{current: HTMLElement | null}} root @param {boolean} isOpen @param {() => void} close where one looks or clicks elsewhere */
function useLeaving(root, isOpen, close) {
  useEffect(() => {
    if (!isOpen) return;
    const within = (/** @type {Event} */ event) => root.current?.contains(/** @type {Node} */ (event.target));
    const leave = (/** @type {Event} */ event) => within(event) || close();
    document.addEventListener('pointerdown', leave);
    document.addEventListener('focusin', leave);
    window.addEventListener('blur', leave);
    return () => {
      document.removeEventListener('pointerdown', leave);
      document.removeEventListener('focusin', leave);
      window.removeEventListener('blur', leave);
    };
  }, [isOpen]);
}

/**
 * Saves a chart as a picture and its data as a table. The code for it is loaded on the first click.
 * @param {{label: string, name: string, figure: () => Promise<import('../save/figure.js').Figure>, table: () => Promise<string>}} props
 */
export function SaveMenu({ label, name, figure, table }) {
  const save = async (/** @type {'png' | 'svg' | 'csv'} */ kind) => {
    const files = await import('../save/figure.js');
    if (kind === 'csv') files.saveText(`${name}.csv`, 'text/csv', await table());
    else if (kind === 'svg') files.saveText(`${name}.svg`, 'image/svg+xml', files.toSvg(await figure()));
    else await files.savePng(`${name}.png`, await figure());
  };
  return html`<${Menu} label=${label} symbol="download" closes=${true}>
    <button class="menu-item" onClick=${() => save('png')}>${t('PNG picture')}</button>
    <button class="menu-item" onClick=${() => save('svg')}>${t('SVG drawing')}</button>
    <button class="menu-item" onClick=${() => save('csv')}>${t('CSV of what is shown')}</button>
  </${Menu}>`;
}

/**
 * A component that is loaded when first shown, because rarely needed code should not slow down every visit.
 * @param {{load: () => Promise<any>, name: string, [prop: string]: any}} props `name` of the module's export
 */
export function Lazy({ load, name, ...props }) {
  // A component is a function, which the hook would call for the initial state.
  const [component, setComponent] = useState(/** @type {() => any} */ (() => _loaded.get(name) ?? null));
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    if (component) return;
    load().then(
      (module) => {
        _loaded.set(name, module[name]);
        setComponent(() => module[name]);
      },
      () => setFailed(true),
    );
  }, []);
  if (failed) return html`<p class="hint" role="alert">${t('This part could not be loaded. Reload the page.')}</p>`;
  return component && html`<${component} ...${props} />`;
}

/** @type {Map<string, any>} */
const _loaded = new Map();

/** @param {import('../state/store.js').Store} store @returns {import('../state/store.js').State} */
export function useStore(store) {
  const [state, setState] = useState(store.get());
  useEffect(() => {
    setState(store.get());
    return store.subscribe(setState);
  }, [store]);
  return state;
}

/**
 * @template T
 * @typedef {object} Answer
 * @property {T | null} value the newest valid answer; the previous one stays until the next arrives
 * @property {string | null} error why there is no answer about the subject
 * @property {boolean} stale whether `value` is about an earlier subject
 */

/**
 * Loads the data of a component. A new revision of the same subject replaces the value without a gap; a new subject
 * marks it stale until the answer arrives. Outdated requests are cancelled.
 * @template T
 * @param {string | null} subject subject of the request; null requests nothing
 * @param {string} revision
 * @param {(signal: AbortSignal) => Promise<T>} load
 * @returns {Answer<T>}
 */
export function useAnswer(subject, revision, load) {
  const [state, setState] = useState({
    subject: /** @type {string | null} */ (null),
    value: /** @type {T | null} */ (null),
    error: /** @type {string | null} */ (null),
  });
  useEffect(() => {
    if (subject === null) return;
    const controller = new AbortController();
    const { signal } = controller;
    const isOfRuns = revision !== ''; // which come and go
    (isOfRuns ? askAgain(load, signal) : load(signal)).then(
      (value) => signal.aborted || setState({ subject, value, error: null }),
      (error) => {
        if (signal.aborted || isAbort(error)) return;
        const message = error instanceof Error ? error.message : String(error);
        setState((before) => ({
          subject,
          value: before.subject === subject ? before.value : null,
          error: message,
        }));
      },
    );
    return () => controller.abort();
  }, [subject, revision]);
  if (subject === null) return { value: null, error: null, stale: false };
  return { value: state.value, error: state.error, stale: state.subject !== subject };
}

/** @param {{text: string | null}} props */
export function ErrorBanner({ text }) {
  return text ? html`<${Banner} severity="error" text=${text} />` : null;
}

/** @param {{severity: 'warning' | 'error', text: string}} props */
export function Banner({ severity, text }) {
  return html`<div class="banner ${severity}" role=${severity === 'error' ? 'alert' : 'status'}>
    ${icon('warning', 'mark')}<span>${text}</span>
  </div>`;
}

/**
 * @param {{label: string, text: () => string, symbol: 'link' | 'copy'}} props
 */
export function CopyButton({ label, text, symbol }) {
  const [outcome, setOutcome] = useState('');
  useEffect(() => {
    if (!outcome) return;
    const timer = setTimeout(() => setOutcome(''), 2000);
    return () => clearTimeout(timer);
  }, [outcome]);
  const copy = async () => setOutcome((await copyText(text())) ? t('Copied') : t('The browser does not allow copying'));
  return html`<button class="icon-button copy" aria-label=${label} title=${label} onClick=${copy}>
    ${icon(symbol)}<span class="copied" role="status">${outcome}</span>
  </button>`;
}

/** Severity as shape and colour. @param {'error' | 'warning' | 'info'} severity */
export function severityMark(severity) {
  const shapes = {
    error: html`<path fill="currentColor" d="M6.3 1h7.4L19 6.3v7.4L13.7 19H6.3L1 13.7V6.3z" /><path class="sign" d="M7 7l6 6m0-6l-6 6" />`,
    warning: html`<path fill="currentColor" d="M10 1.5 19.5 18H.5z" /><path class="sign" d="M10 7.5v5m0 1.6v2" />`,
    info: html`<circle fill="currentColor" cx="10" cy="10" r="9" /><path class="sign" d="M10 9v6m0-10v2" />`,
  };
  const names = { error: t('error'), warning: t('warning'), info: t('note') };
  return html`<svg class="severity ${severity}" viewBox="0 0 20 20" role="img" aria-label=${names[severity]}>${shapes[severity]}</svg>`;
}

/** Wall clock in seconds since the epoch. */
export const now = () => Date.now() / 1000;

/** @param {string} text is copied to the clipboard @returns {Promise<boolean>} whether that worked */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return _copyThroughSelection(text); // the clipboard API is missing on plain http
  }
}

/** @param {string} text */
function _copyThroughSelection(text) {
  const area = document.createElement('textarea');
  area.value = text;
  area.style.position = 'fixed';
  area.style.opacity = '0';
  document.body.append(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  return copied;
}
