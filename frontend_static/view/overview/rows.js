// @ts-check
/** The rows of the overview: module tree, heat map with its strips and axis, and the numbers at the step. */
import { drawContextStrip, isLoss } from '../../chart/context_strip.js';
import { spanOf } from '../../chart/evidence_marks.js';
import { drawOverview } from '../../chart/heatmap.js';
import { MARK_REACH, marksOfRows } from '../../chart/heatmap_marks.js';
import { undefinedFor, worstIn } from '../../chart/heatmap_values.js';
import { jumpNotes, marksOf } from '../../chart/jump_marks.js';
import { paragraph, plural, t } from '../../host/language.js';
import { nearestIndex } from '../../state/axis.js';
import { Canvas, StepLine, useAxisPointer } from '../hooks/plot.js';
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../ui.js';
import { WhatIs } from '../what_is.js';
import { Tree } from './module_tree.js';
import { AXIS_HEIGHT, isAbout } from './sizes.js';
import { StepAxis, StepTag } from './step_axis.js';
import { jumpTip, rowAt, tipAt, Tooltip } from './tooltip.js';
import { rowOfParameter } from './tree_rows.js';
import { AtStep } from './values_at_step.js';
import { evidenceMarks } from '../hooks/evidence.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../chart/heatmap_values.js').View} View
 * @typedef {import('../../types.d.ts').TreeRow} TreeRow
 * @typedef {import('./tooltip.js').TipContent} TipContent
 * @typedef {import('../../chart/context_strip.js').Strip} Strip
 */

/** @param {any} props see Overview */
export function Rows({ app, view, tree, open, order, rows, findings, linkCursor, crowded, visibleHeight, selected, strips, stripChoices, heights }) {
  const scroller = useRef(/** @type {HTMLElement | null} */ (null));
  const [scrollTop, setScrollTop] = useState(0);

  /** @type {number} */
  const top = heights.reduce((/** @type {number} */ sum, /** @type {number} */ height) => sum + height, 0);
  const total = rows.length ? rows[rows.length - 1].y + rows[0].height : 0;
  const offset = Math.min(scrollTop, Math.max(0, total - visibleHeight));
  /** @type {TreeRow[]} */
  const visible = rows.filter(
    (/** @type {TreeRow} */ row) => row.y + row.height > offset && row.y < offset + visibleHeight,
  );
  const selectedRow = rowOfParameter(rows, selected);
  // Folding keeps the selected tensor in view; a new ranking starts at its top and then stays.
  const place = order === 'model' ? `${selected} ${(selectedRow?.y ?? 0) / (selectedRow?.height ?? 1)}` : selected;
  useLayoutEffect(() => _scrollIntoView(scroller.current, selectedRow, visibleHeight), [place]);
  useLayoutEffect(() => {
    if (scroller.current && order !== 'model') scroller.current.scrollTop = 0;
  }, [order]);

  return html`<div
    class="overview-scroll"
    ref=${scroller}
    style="height:${top + visibleHeight + AXIS_HEIGHT}px"
    onScroll=${(/** @type {any} */ event) => setScrollTop(event.target.scrollTop)}
  >
    <div class="overview-grid" style="height:${top + total + AXIS_HEIGHT}px">
      <div class="tree-column">
        <div class="sticky-top" style="height:${top}px">
          <${StripLabels} app=${app} strips=${strips} choices=${stripChoices} heights=${heights} />
        </div>
        <${Tree} app=${app} tree=${tree} open=${open} rows=${rows} visible=${visible} selectedRow=${selectedRow} run=${view.run} findings=${findings} />
        <div class="sticky-bottom"></div>
      </div>
      <${Heat}
        app=${app}
        view=${view}
        sight=${{ rows, visible, offset, height: visibleHeight, top, total }}
        selectedRow=${selectedRow}
        strips=${strips}
        heights=${heights}
        linkCursor=${linkCursor}
        crowded=${crowded}
      />
      <${AtStep} cursor=${app.cursor} view=${view} strips=${strips} heights=${heights} rows=${visible} top=${top} total=${total} />
    </div>
  </div>`;
}

/**
 * @typedef {object} Sight which rows can be seen; all numbers are CSS pixels
 * @property {TreeRow[]} rows all of them
 * @property {TreeRow[]} visible those in sight
 * @property {number} offset how far the rows are scrolled
 * @property {number} height of what is in sight of them
 * @property {number} top height of the strips above them
 * @property {number} total height of all rows
 */

/**
 * The heat map with its strips and axis, and what follows the pointer over them.
 * @param {object} props
 * @param {App} props.app
 * @param {View} props.view
 * @param {Sight} props.sight
 * @param {TreeRow | undefined} props.selectedRow
 * @param {Strip[]} props.strips
 * @param {number[]} props.heights of the strips
 * @param {boolean} props.linkCursor
 * @param {import('../../state/store.js').Crowded} props.crowded
 */
function Heat({ app, view, sight, selectedRow, strips, heights, linkCursor, crowded }) {
  const { overview, range } = view;
  const { rows, offset, height, top } = sight;
  const layer = useRef(/** @type {HTMLElement | null} */ (null));
  const tip = useRef(/** @type {(content: TipContent | null) => void} */ (() => {}));
  const width = useWidth(layer);
  const area = { left: 0, top: 0, width, height: top + height };
  const drawn = sight.visible.filter((row) => !row.open).map((row) => ({ ...row, y: row.y - offset }));
  const marks = useMemo(() => marksOf(view), [view.jumps, view.axis, view.start, overview.statistic, view.against]);
  const placed = useMemo(() => marksOfRows(drawn, marks, range, width), [marks, range, width, rows, offset]);
  useCellPointer(layer, { app, view, sight, placed, area, linkCursor, tip });

  const draw = (/** @type {HTMLCanvasElement} */ canvas) => {
    const { xs, theme, colouring } = view;
    drawOverview(canvas, { rows: drawn, overview, xs, range, theme, colouring, undefinedFor: undefinedFor(view), marks, crowded });
  };
  const drawing = [overview, view.xs, range, view.theme, view.colouring, rows, offset, height, width, marks, crowded];
  const notes = useMemo(() => jumpNotes(view), [marks]);
  return html`<div class="heat" ref=${layer} style="height:${top + height + AXIS_HEIGHT}px">
    <${Strips} view=${view} strips=${strips} heights=${heights} width=${width} notes=${notes} />
    <div class="heat-rows" style="height:${height}px">
      <${Canvas}
        draw=${draw}
        dependencies=${drawing}
        label=${_heatLabel(view, drawn.length, marks.length)}
      />
      ${
        selectedRow &&
        html`<div class="row-box" style="top:${selectedRow.y - offset}px;height:${selectedRow.height}px"></div>`
      }
      <${EvidenceFrames} view=${view} rows=${drawn} width=${width} />
    </div>
    <${StepAxis} view=${view} width=${width} />
    <${StepLine} cursor=${app.cursor} range=${range} area=${area} />
    <${StepTag} cursor=${app.cursor} view=${view} area=${area} />
    <div class="zoom-span" hidden></div>
    <${Tooltip} register=${tip} />
  </div>`;
}

/**
 * Shows what is under the pointer, and selects it on a click.
 * @param {{current: HTMLElement | null}} layer
 * @param {object} heat
 * @param {App} heat.app
 * @param {View} heat.view
 * @param {Sight} heat.sight
 * @param {ReturnType<typeof marksOfRows<ReturnType<typeof marksOf>[0]>>} heat.placed marks of the rows in sight
 * @param {import('../../types.d.ts').PlotArea} heat.area
 * @param {boolean} heat.linkCursor
 * @param {{current: (content: TipContent | null) => void}} heat.tip
 */
function useCellPointer(layer, { app, view, sight, placed, area, linkCursor, tip }) {
  const { overview, xs, range, run } = view;
  const { rows, offset, top, total } = sight;
  const markUnder = (/** @type {PointerEvent} */ event) => {
    const box = /** @type {HTMLElement} */ (layer.current).getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top - top];
    return placed.find(
      ({ row, pixel }) => y >= row.y && y < row.y + row.height && Math.abs(x - pixel) <= MARK_REACH + 1,
    )?.mark;
  };

  const hover = (/** @type {number | null} */ x, /** @type {PointerEvent} */ event) => {
    const column = x === null ? -1 : nearestIndex(xs, x);
    const mark = x === null ? undefined : markUnder(event);
    if (linkCursor || x === null) app.cursor.hover(x === null ? null : (mark?.x ?? xs[column]));
    tip.current(
      x === null
        ? null
        : mark
          ? jumpTip(event, mark, view)
          : tipAt(event, column, { view, rows, offset, top, layer: layer.current }),
    );
  };
  const click = (/** @type {number} */ x, /** @type {PointerEvent} */ event) => {
    const mark = markUnder(event);
    if (mark) return app.actions.selectCell(mark.name, mark.jump.step);
    const step = overview.last_step[nearestIndex(xs, x)];
    const y = event.clientY - /** @type {HTMLElement} */ (layer.current).getBoundingClientRect().top;
    const row = y < top ? undefined : rowAt(rows, y - top + offset);
    if (row) app.actions.selectCell(run.parameters[worstIn(view, row, nearestIndex(xs, x))].name, step);
    else app.actions.pinStep(step);
  };
  useAxisPointer(layer, {
    area,
    range,
    onHover: hover,
    onClick: click,
    onZoom: app.actions.zoom,
    onView: app.actions.zoom,
    whole: view.whole,
    wheelIsFree: () => total <= area.height - top,
  });
}

/** @param {{current: HTMLElement | null}} layer @returns {number} how wide it is, CSS pixels */
function useWidth(layer) {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = /** @type {HTMLElement} */ (layer.current);
    const observer = new ResizeObserver(() => element.clientWidth && setWidth(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return width;
}

/**
 * Frames the steps of the open finding in the rows of its tensors.
 * @param {{view: View, rows: TreeRow[], width: number}} props `rows` in sight
 */
function EvidenceFrames({ view: { evidence, range }, rows, width }) {
  const span = evidence && width ? spanOf(evidence.steps, range, { left: 0, width }) : null;
  if (!evidence || !span) return null;
  return rows
    .filter((row) => row.parameters.some((parameter) => evidence.parameters.has(parameter)))
    .map(
      (row) =>
        html`<div
          key=${row.key}
          class="evidence-frame ${evidence.finding.severity}"
          style="left:${span.left}px;width:${span.width}px;top:${row.y}px;height:${row.height - 1}px"
        ></div>`,
    );
}

/** @param {{view: View, strips: Strip[], heights: number[], width: number, notes: ReturnType<typeof jumpNotes>}} props */
function Strips({ view, strips, heights, width, notes }) {
  const { range, evidence } = view;
  const marks = evidence ? evidenceMarks(evidence, { scale: 'log' }) : null;
  return strips.map(
    (strip, i) => html`<div key=${i} class="strip" style="height:${heights[i]}px">
      <${Canvas}
        draw=${(/** @type {HTMLCanvasElement} */ canvas) =>
          drawContextStrip(canvas, {
            x: strip.x,
            y: strip.y,
            range,
            color: view.color,
            log: strip.name === 'gradient_norm',
            cut: isLoss(strip.name),
            notes: strip.name === 'gradient_norm' ? notes : [],
            evidence: evidence && isAbout(strip, evidence) ? marks : null,
          })}
        dependencies=${[strip.x, strip.y, range, view.color, view.theme, width, notes, evidence]}
        label=${t('{series} over the same steps', { series: strip.label })}
      />
    </div>`,
  );
}

/** @param {{app: App, strips: Strip[], choices: {name: string, label: string}[], heights: number[]}} props */
function StripLabels({ app, strips, choices, heights }) {
  return strips.map(
    (strip, i) => html`<div key=${i} class="strip-label" style="height:${heights[i]}px">
      ${
        i === 0 && choices.length > 1
          ? html`<${StripChoice} app=${app} choices=${choices} chosen=${strip.name} />`
          : strip.label
      }
      ${
        strip.name.startsWith('tag ')
          ? html`<${WhatIs} app=${app} name=${strip.label} topic="scalar" />`
          : html`<${WhatIs} app=${app} name=${strip.label} statistic=${strip.name.replace('column ', '')} topic="strip" />`
      }
    </div>`,
  );
}

/** @param {{app: App, choices: {name: string, label: string}[], chosen: string}} props */
function StripChoice({ app, choices, chosen }) {
  return html`<select
    class="plain-select"
    aria-label=${t('Series above the heat map')}
    value=${chosen}
    onChange=${(/** @type {any} */ event) => app.actions.chooseStrip(event.target.value)}
  >
    ${choices.map(({ name, label }) => html`<option key=${name} value=${name} selected=${name === chosen}>${label}</option>`)}
  </select>`;
}

/** @param {View} view @param {number} rows @param {number} marks @returns {string} */
function _heatLabel({ metric, overview }, rows, marks) {
  return paragraph([
    t('Heat map of {statistic}: {rows} rows by {columns} steps.', { statistic: metric.label, rows, columns: overview.columns }),
    t('The column beside it has the numbers at the step.'),
    marks > 0 &&
      plural(marks, '{count} gradient jump is marked; the table lists it.', '{count} gradient jumps are marked; the table lists them.'),
  ]);
}

/** @param {HTMLElement | null} scroller @param {TreeRow | undefined} row @param {number} visibleHeight */
function _scrollIntoView(scroller, row, visibleHeight) {
  if (!scroller || !row) return;
  if (row.y < scroller.scrollTop) scroller.scrollTop = row.y;
  const below = row.y + row.height - visibleHeight;
  if (below > scroller.scrollTop) scroller.scrollTop = below;
}
