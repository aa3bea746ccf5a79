// @ts-check
/** Connects charts to the page: redrawing on a change of data or size, the step line, tooltips, the mouse. */
import { shiftedRange, zoomedRange } from '../../state/axis.js';
import { html, useEffect, useLayoutEffect, useRef, useState } from '../ui.js';

/**
 * @typedef {import('../../types.d.ts').PlotArea} PlotArea
 * @typedef {import('../../types.d.ts').Range} Range
 * @typedef {import('../../state/store.js').Cursor} Cursor
 */

/**
 * Draws now, when `dependencies` change and when the element changes its size. An element without a size (the tab is
 * hidden) is left alone.
 * @template {HTMLElement} T
 * @param {{current: T | null}} element
 * @param {(element: T) => void} draw
 * @param {ReadonlyArray<unknown>} dependencies
 */
export function useDrawing(element, draw, dependencies) {
  const latest = useRef(draw);
  latest.current = draw;
  const redraw = () => {
    const target = element.current;
    if (target && target.clientWidth > 0 && target.clientHeight > 0) latest.current(target);
  };
  useLayoutEffect(redraw, dependencies);
  useEffect(() => {
    const observer = new ResizeObserver(redraw);
    observer.observe(/** @type {T} */ (element.current));
    return () => observer.disconnect();
  }, []);
}

/**
 * A canvas with a description for screen readers.
 * @param {object} props
 * @param {(canvas: HTMLCanvasElement) => void} props.draw
 * @param {ReadonlyArray<unknown>} props.dependencies
 * @param {string} props.label
 * @param {string} [props.class]
 */
export function Canvas({ draw, dependencies, label, class: className }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  useDrawing(canvas, draw, dependencies);
  return html`<canvas ref=${canvas} class=${className} role="img" aria-label=${label}></canvas>`;
}

/** @param {Range} range @param {PlotArea} area @param {number} x @returns {number | null} pixels; null outside */
export function pixelOf(range, area, x) {
  const unit = (x - range.from) / (range.to - range.from);
  return unit >= -1e-9 && unit <= 1 + 1e-9 ? area.left + unit * area.width : null;
}

/** How far an overlay can be moved. A power of two: every pixel is an exact share of it. */
const REACH = 16384;

/**
 * Moves an overlay to CSS pixels within its parent. The time of a paused animation sets the position: Chromium then
 * only moves the layer of this element, while a new `transform` in its style makes it check every layer of the page
 * again.
 * @param {{current: HTMLElement | null}} element
 * @returns {(x: number, y?: number) => void} for effects
 */
export function useMover(element) {
  const across = useRef(/** @type {Animation | null} */ (null));
  const down = useRef(/** @type {Animation | null} */ (null));
  const paused = (/** @type {PropertyIndexedKeyframes} */ keyframes) => {
    const target = /** @type {HTMLElement} */ (element.current);
    const animation = target.animate(keyframes, { duration: REACH, fill: 'both' });
    animation.pause();
    return animation;
  };
  useLayoutEffect(
    () => () => {
      across.current?.cancel();
      down.current?.cancel();
    },
    [],
  );
  return (x, y) => {
    across.current ??= paused({ transform: ['none', `translateX(${REACH}px)`] });
    across.current.currentTime = Math.round(x);
    if (y === undefined) return;
    down.current ??= paused({ translate: ['none', `0 ${REACH}px`] });
    down.current.currentTime = Math.round(y);
  };
}

/**
 * The dashed line at the step cursor. It follows the cursor without rendering.
 * @param {{cursor: Cursor, range: Range, area: PlotArea | null}} props
 */
export function StepLine({ cursor, range, area }) {
  const line = useRef(/** @type {HTMLElement | null} */ (null));
  const move = useMover(line);
  useLayoutEffect(() =>
    cursor.subscribe((x) => {
      const element = /** @type {HTMLElement} */ (line.current);
      const pixel = x === null || !area ? null : pixelOf(range, area, x);
      element.hidden = pixel === null;
      if (pixel !== null) move(pixel);
    }),
  );
  const style = area ? `top:${area.top}px;height:${area.height}px` : '';
  return html`<div ref=${line} class="cursor" style=${style} hidden></div>`;
}

/** Between the pointer and a tooltip. */
const TIP_GAP = 14;

/**
 * A tooltip beside the pointer, above all cards. Its size depends only on its number of rows, so new numbers neither
 * move its neighbours nor cause a layout of the page.
 * @param {{pointer: {x: number, y: number}, width: number, rows: number, class?: string, children?: any}} props
 */
export function Tip({ pointer, width, rows, class: className = '', children }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const height = useRef(0);
  const move = useMover(box);
  useLayoutEffect(() => box.current?.showPopover?.(), []);
  useLayoutEffect(() => {
    height.current = box.current?.offsetHeight ?? 0;
  }, [rows]);
  useLayoutEffect(() => {
    const { x, y } = pointer;
    const left = x > window.innerWidth - width - 2 * TIP_GAP ? x - width - TIP_GAP : x + TIP_GAP;
    const above = y > window.innerHeight - height.current - 2 * TIP_GAP;
    move(Math.max(0, left), Math.max(0, above ? y - height.current - TIP_GAP : y + TIP_GAP));
  });
  return html`<div ref=${box} class="tip ${className}" popover="manual" style="width:${width}px;--rows:${rows}">${children}</div>`;
}

const CLICK_PIXELS = 4;

/**
 * @typedef {object} AxisPointerOptions read anew at every event
 * @property {PlotArea | null} area in pixels of the element
 * @property {Range} range
 * @property {(x: number | null, event: PointerEvent) => void} onHover null on leaving
 * @property {(x: number, event: PointerEvent) => void} onClick
 * @property {(range: Range | null) => void} onZoom null on a double click
 * @property {(range: Range) => void} [onView] the wheel zooms around the pointer; with Alt or Shift a drag moves the view
 * @property {Range} [whole] limits of the view
 * @property {() => boolean} [wheelIsFree] whether the wheel zooms without Alt or Ctrl, because there is nothing to scroll
 */

/**
 * Hover, click, drag to zoom and double click on an element with the shared axis.
 * @param {{current: HTMLElement | null}} element positioned; a child `.zoom-span` shows the drag
 * @param {AxisPointerOptions} options
 */
export function useAxisPointer(element, options) {
  const latest = useRef(options);
  latest.current = options;
  useEffect(() => {
    const target = /** @type {HTMLElement} */ (element.current);
    const drag = _drags(target, latest);
    const moves = _onceAFrame(drag.follow);
    const leave = (/** @type {PointerEvent} */ event) => {
      moves.drop();
      latest.current.onHover(null, event);
    };
    /** @type {[string, any][]} */
    const listeners = [
      ['pointermove', moves.next],
      ['pointerleave', leave],
      ['pointerdown', drag.start],
      ['pointerup', drag.end],
      ['pointercancel', drag.cancel],
      ['dblclick', () => latest.current.onZoom(null)],
      ['wheel', (/** @type {WheelEvent} */ event) => _turnWheel(event, target, latest.current)],
    ];
    for (const [type, listener] of listeners) target.addEventListener(type, listener, { passive: false });
    return () => {
      moves.cancel();
      for (const [type, listener] of listeners) target.removeEventListener(type, listener);
    };
  }, []);
}

/**
 * Tracks the pointer while it is up, and handles drags: they zoom, or move the view.
 * @param {HTMLElement} target
 * @param {{current: AxisPointerOptions}} latest
 */
function _drags(target, latest) {
  const span = /** @type {HTMLElement | null} */ (target.querySelector('.zoom-span'));
  /** @type {number | null} */
  let dragFrom = null;
  /** @type {{pixel: number, range: Range} | null} */
  let moved = null;
  const axisValue = (/** @type {number} */ at) => _axisValueAt(at, latest.current);
  const hideSpan = () => {
    if (span) span.hidden = true;
  };
  return {
    start(/** @type {PointerEvent} */ event) {
      if (event.button !== 0) return;
      const at = _pixelUnder(event, target, latest.current);
      if (latest.current.onView && (event.altKey || event.shiftKey)) moved = { pixel: at, range: latest.current.range };
      else dragFrom = at;
      target.setPointerCapture(event.pointerId);
    },
    follow(/** @type {PointerEvent} */ event) {
      const at = _pixelUnder(event, target, latest.current);
      if (moved) return _moveView(moved.range, moved.pixel - at, latest.current);
      if (dragFrom !== null && span) _showSpan(span, dragFrom, at);
      latest.current.onHover(axisValue(at), event);
    },
    end(/** @type {PointerEvent} */ event) {
      moved = null;
      if (dragFrom === null) return;
      const [from, to] = [dragFrom, _pixelUnder(event, target, latest.current)];
      dragFrom = null;
      hideSpan();
      const [a, b] = [axisValue(Math.min(from, to)), axisValue(Math.max(from, to))];
      if (a === null || b === null) return;
      if (Math.abs(to - from) < CLICK_PIXELS) latest.current.onClick(b, event);
      else latest.current.onZoom({ from: a, to: b });
    },
    cancel() {
      dragFrom = moved = null;
      hideSpan();
    },
  };
}

/**
 * Only the newest move of a frame counts; everything it moves is painted together.
 * @param {(event: PointerEvent) => void} follow
 */
function _onceAFrame(follow) {
  /** @type {PointerEvent | null} */
  let newest = null;
  let waiting = 0;
  return {
    next(/** @type {PointerEvent} */ event) {
      newest = event;
      waiting ||= requestAnimationFrame(() => {
        waiting = 0;
        if (newest) follow(newest);
      });
    },
    /** Drops a pending move. */
    drop() {
      newest = null;
    },
    cancel: () => cancelAnimationFrame(waiting),
  };
}

/** @param {WheelEvent} event @param {HTMLElement} target @param {AxisPointerOptions} options */
function _turnWheel(event, target, { area, range, whole, onView, wheelIsFree }) {
  if (!onView || !whole || !area) return;
  const zooms = event.altKey || event.ctrlKey || event.metaKey;
  const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
  if (!zooms && !sideways && !wheelIsFree?.()) return;
  event.preventDefault();
  const pixels = (event.deltaMode === 1 ? 16 : 1) * (event.deltaY || event.deltaX);
  const inside = event.clientX - target.getBoundingClientRect().left - area.left;
  const unit = Math.min(1, Math.max(0, inside / area.width));
  if (sideways && !zooms) {
    const by = (event.deltaX || event.deltaY) / area.width;
    onView(shiftedRange(range, by * (range.to - range.from), whole));
  } else onView(zoomedRange(range, unit, Math.exp(Math.max(-1, Math.min(1, pixels / 400))), whole));
}

/** @param {Range} range where the drag began @param {number} pixels @param {AxisPointerOptions} options */
function _moveView(range, pixels, { area, whole, onView }) {
  const shift = (pixels / (area?.width ?? 1)) * (range.to - range.from);
  if (whole) onView?.(shiftedRange(range, shift, whole));
}

/** @param {HTMLElement} span @param {number} from pixels @param {number} to */
function _showSpan(span, from, to) {
  span.hidden = Math.abs(to - from) < CLICK_PIXELS;
  span.style.left = `${Math.min(from, to)}px`;
  span.style.width = `${Math.abs(to - from)}px`;
}

/**
 * @param {PointerEvent} event @param {HTMLElement} target @param {AxisPointerOptions} options
 * @returns {number} pixels of the element, within the area
 */
function _pixelUnder(event, target, { area }) {
  const inside = event.clientX - target.getBoundingClientRect().left;
  return area ? Math.min(area.left + area.width, Math.max(area.left, inside)) : inside;
}

/** @param {number} pixel @param {AxisPointerOptions} options */
function _axisValueAt(pixel, { area, range }) {
  return area ? range.from + ((pixel - area.left) / area.width) * (range.to - range.from) : null;
}

/** Height of the bar above, if it takes one line. */
const BAR_HEIGHT = 46;

/** @returns {number} height of the frame in CSS pixels, less additional lines of the bar above; updated on changes */
export function useWindowHeight() {
  const [height, setHeight] = useState(_heightBelowBar);
  useEffect(() => {
    const update = () => window.innerHeight > 0 && setHeight(_heightBelowBar());
    const observer = new ResizeObserver(update);
    const bar = document.querySelector('.main > .bar');
    if (bar) observer.observe(bar);
    window.addEventListener('resize', update);
    return () => {
      observer.disconnect();
      window.removeEventListener('resize', update);
    };
  }, []);
  return height;
}

function _heightBelowBar() {
  const bar = document.querySelector('.main > .bar')?.getBoundingClientRect().height ?? BAR_HEIGHT;
  return window.innerHeight - Math.max(0, Math.round(bar - BAR_HEIGHT));
}
