// @ts-check
/** The first card: every tensor at every step, under the module tree and the loss. */
import { drawLegend, drawRatioLegend } from '../chart/colormap.js';
import { drawContextStrip } from '../chart/context_strip.js';
import { formatAxis, formatInteger, formatNumber } from '../chart/format.js';
import { GRADIENT_STATISTIC, jumpSteps } from '../chart/gradient_jumps.js';
import { drawOverview, MARK_REACH, marksOfRows } from '../chart/overview_heatmap.js';
import { axisTicks } from '../chart/scales.js';
import { indexAtOrBefore, nearestIndex } from '../state/axis.js';
import { Canvas, pixelOf, StepLine, Tip, useAxisPointer, useMover, useWindowHeight } from './plot.js';
import { followAtRest, formatFactor, formatStatistic, ratioEmphasis, setText, stepAt } from './step_table.js';
import { allModules, anomalies, modulesAround, rankedRows, rowOfParameter, treeRows } from './tree_rows.js';
import { html, icon, Lazy, SaveMenu, severityMark, useEffect, useLayoutEffect, useMemo, useRef, useState } from './ui.js';

/**
 * @typedef {import('./ui.js').App} App
 * @typedef {import('../types.d.ts').TreeRow} TreeRow
 * @typedef {import('../types.d.ts').PlotArea} PlotArea
 * @typedef {import('../types.d.ts').Overview} OverviewData
 *
 * What the overview's run looks like on the shared axis.
 * @typedef {object} View
 * @property {import('../types.d.ts').RunInfo} run
 * @property {string} color of the run
 * @property {import('../types.d.ts').Theme} theme
 * @property {import('../types.d.ts').AxisKind} axis
 * @property {import('../types.d.ts').Range} range visible
 * @property {import('../types.d.ts').Range} whole
 * @property {number} start wall time of the run's first step
 * @property {number} x the same step on the axis
 * @property {OverviewData} overview
 * @property {Float64Array} xs axis value of every column
 * @property {number} step at the cursor: the pinned one, else the newest
 * @property {import('../types.d.ts').StatisticInfo} metric
 * @property {import('../chart/overview_heatmap.js').Colouring} colouring
 * @property {import('../types.d.ts').RunInfo | null} against the run that the heat map compares with
 * @property {import('../chart/gradient_jumps.js').Jump[]} jumps of single gradients, the strongest first
 *
 * @typedef {{name: string, label: string, x: Float64Array, y: ArrayLike<number>}} Strip
 */

const STRIP_HEIGHT = 30;
const AXIS_HEIGHT = 26;
const SMALLEST_ROW = 15;
const LARGEST_ROW = 24;
/** On a tall screen a row may be this share of it. */
const ROW_SHARE = 1 / 48;
/** Everything of the tab but the rows, with the parameter card at its smallest. */
const HEIGHT_AROUND_ROWS = 646;
const SMALLEST_HEIGHT = 210;
const SMALLEST_TABLE = 160;
/** About how wide the step tag is, in CSS pixels. */
const TAG_PADDING = 8;
const TAG_DIGIT = 5.2;
const TAG_GAP = 4;
/** A tooltip is a multiple of this wide, so that it rarely changes. */
const TIP_WIDTH = 160;
const TIP_LETTER = 6.7;
const HEIGHT_AROUND_FULL = 232;
const ORDERS = [
  { name: 'model', text: 'Model order' },
  { name: 'latest', text: 'Highest at step' },
  { name: 'anomaly', text: 'Most anomalous' },
];

/**
 * @param {object} props
 * @param {App} props.app
 * @param {import('../state/store.js').State} props.state
 * @param {View} props.view
 * @param {import('../types.d.ts').Finding[]} props.findings of this run
 * @param {import('./tree_rows.js').Module} props.tree of the tensors that pass the filter
 * @param {Float64Array | null} props.ranks what orders the rows, by parameter; null for the tree
 * @param {Set<string>} props.open
 * @param {number} props.selected index of the selected parameter
 * @param {Strip[]} props.strips chosen series and gradient norm
 * @param {{name: string, label: string}[]} props.stripChoices
 * @param {boolean} props.stale
 */
export function Overview({ app, state, view, findings, tree, ranks, open, selected, strips, stripChoices, stale }) {
  const { run, overview, metric, against } = view;
  const full = state.full === 'overview';
  const windowHeight = useWindowHeight();
  const available = rowsHeight(windowHeight, full);
  const unit = useMemo(() => (ranks ? rankedRows(tree, ranks, 1) : treeRows(tree, open, 1)), [tree, open, ranks]);
  const rowHeight = Math.max(
    SMALLEST_ROW,
    Math.min(
      Math.max(LARGEST_ROW, Math.floor(windowHeight * ROW_SHARE)),
      Math.floor(available / Math.max(1, unit.length)),
    ),
  );
  const rows = useMemo(
    () => unit.map((row) => ({ ...row, y: row.y * rowHeight, height: rowHeight })),
    [unit, rowHeight],
  );
  const visibleHeight = Math.min(Math.floor(available / rowHeight), rows.length) * rowHeight;
  const everything = allModules(tree);
  const allOpen = everything.size > 0 && [...everything].every((key) => open.has(key));
  const tensors = tree.parameters.length;
  const hidden = run.parameters.length - tensors;
  const lacking = undefinedFor(view).size > 0;
  const compared = against && `${_compares(view) === 'ratio' ? '÷' : '−'} ${against.name}`;
  const zoomed = view.range.from > view.whole.from || view.range.to < view.whole.to;
  const nothingCompared = against && overview.logged && !overview.logged.some(Boolean);
  return html`<section class="card overview ${stale ? 'stale' : ''} ${full ? 'full' : ''} ${state.full && !full ? 'behind' : ''}" aria-label="Overview">
    <div class="card-head">
      <h2>${_sentenceCase(metric.label)}</h2>
      <span class="sub" title=${`${metric.description}${against ? `; compared with ${against.name} at the same point of the axis` : ''}`}>
        ${formatInteger(tensors)} ${hidden ? `of ${formatInteger(run.parameters.length)} ` : ''}tensor${tensors === 1 && !hidden ? '' : 's'} ·
        ${' '}${formatInteger(overview.total.steps)} logged step${overview.total.steps === 1 ? '' : 's'} · ${run.name} ${compared}
      </span>
      ${
        zoomed &&
        html`<button class="link" title="Zoomed in: show everything again (0, or double click)" onClick=${() => app.actions.zoom(null)}>
          Show all steps
        </button>`
      }
      <span class="grow"></span>
      <span class="swatches">
        ${_hatches(view) && html`<span><i class="sw-zero"></i>${_isRatio(metric) ? 'no update' : 'zero'}</span>`}
        ${_hasZeroWeights(overview) && html`<span title="An update of a weight that was 0, as a bias at its first step, has no finite ratio to it"><i class="sw-zero-weight"></i>weight was 0</span>`}
        <span><i class="sw-nan"></i>NaN${_isRatio(metric) ? '' : ' / Inf'}</span>
        ${(overview.logged || lacking) && html`<span><i class="sw-none"></i>${_greyText(view, lacking)}</span>`}
      </span>
      <${Legend} view=${view} />
      <select
        class="plain-select order"
        aria-label="Order of the rows"
        title="Order of the rows"
        value=${state.order}
        onChange=${(/** @type {any} */ event) => app.actions.orderRows(event.target.value)}
      >
        ${ORDERS.map(({ name, text }) => html`<option key=${name} value=${name} selected=${name === state.order}>${text}</option>`)}
      </select>
      <button
        class="icon-button"
        aria-pressed=${state.overviewTable}
        aria-label="Heat map as a table"
        title=${state.overviewTable ? 'Show the heat map' : 'Show the numbers as a table'}
        onClick=${() => app.actions.showOverviewTable(!state.overviewTable)}
      >
        ${icon('table')}
      </button>
      <button
        class="icon-button"
        aria-label=${allOpen ? 'Fold all modules' : 'Open all modules'}
        title=${allOpen ? 'Fold all modules' : 'Open all modules'}
        disabled=${everything.size === 0 || ranks !== null}
        onClick=${() => app.actions.openModules(allOpen ? new Set() : everything)}
      >
        ${icon(allOpen ? 'collapse' : 'expand')}
      </button>
      <${SaveMenu}
        label="Save the heat map"
        name=${`${run.name} ${metric.name}`}
        figure=${async () => {
          const { overviewFigure } = await import('../data/figures.js');
          return overviewFigure({ view, rows, strips, undefinedFor: undefinedFor(view), marks: marksOf(view), crowded: state.crowded });
        }}
        table=${async () => (await import('../data/tables.js')).overviewTable(view, rows)}
      />
      <button
        class="icon-button"
        aria-pressed=${full}
        aria-label=${full ? 'Back to normal size' : 'Full size'}
        title=${full ? 'Back to normal size (Esc)' : 'Full size'}
        onClick=${() => app.actions.toggleFull('overview')}
      >
        ${icon(full ? 'small' : 'full')}
      </button>
    </div>
    ${
      nothingCompared &&
      html`<p class="hint">
        ${against.name} has no value of ${metric.label} at these ${view.axis === 'step' ? 'steps' : 'times'}:
        another axis (step, relative, wall) may line the runs up.
      </p>`
    }
    ${
      tensors === 0
        ? html`<${NoMatch} app=${app} />`
        : state.overviewTable
          ? html`<${Lazy}
          load=${() => import('./picture_tables.js')}
          name="OverviewTable"
          app=${app}
          view=${view}
          parameters=${ranks ? rows.flatMap((row) => row.parameters) : tree.parameters}
          height=${Math.max(SMALLEST_TABLE, visibleHeight + strips.length * STRIP_HEIGHT + AXIS_HEIGHT)}
        />`
          : html`<${Rows}
          app=${app}
          view=${view}
          tree=${tree}
          open=${open}
          rows=${rows}
          findings=${findings}
          order=${state.order}
          linkCursor=${state.linkCursor}
          crowded=${state.crowded}
          visibleHeight=${visibleHeight}
          selected=${selected}
          strips=${strips}
          stripChoices=${stripChoices}
        />`
    }
  </section>`;
}

/** @param {any} props see Overview */
function Rows({ app, view, tree, open, order, rows, findings, linkCursor, crowded, visibleHeight, selected, strips, stripChoices }) {
  const { overview, xs, range, run } = view;
  const scroller = useRef(/** @type {HTMLElement | null} */ (null));
  const layer = useRef(/** @type {HTMLElement | null} */ (null));
  const tip = useRef(/** @type {(content: TipContent | null) => void} */ (() => {}));
  const [scrollTop, setScrollTop] = useState(0);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = /** @type {HTMLElement} */ (layer.current);
    const observer = new ResizeObserver(() => element.clientWidth && setWidth(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  const top = strips.length * STRIP_HEIGHT;
  const height = top + visibleHeight + AXIS_HEIGHT;
  const total = rows.length ? rows[rows.length - 1].y + rows[0].height : 0;
  const offset = Math.min(scrollTop, Math.max(0, total - visibleHeight));
  /** @type {TreeRow[]} */
  const visible = rows.filter(
    (/** @type {TreeRow} */ row) => row.y + row.height > offset && row.y < offset + visibleHeight,
  );
  const drawn = visible.filter((row) => !row.open).map((row) => ({ ...row, y: row.y - offset }));
  const area = { left: 0, top: 0, width, height: top + visibleHeight };
  const selectedRow = rowOfParameter(rows, selected);
  // Folding keeps the selected tensor in view; a new ranking starts at its top and then stays.
  const place = order === 'model' ? `${selected} ${(selectedRow?.y ?? 0) / (selectedRow?.height ?? 1)}` : selected;
  useLayoutEffect(() => _scrollIntoView(scroller.current, selectedRow, visibleHeight), [place]);
  useLayoutEffect(() => {
    if (scroller.current && order !== 'model') scroller.current.scrollTop = 0;
  }, [order]);

  const marks = useMemo(() => marksOf(view), [view.jumps, view.axis, view.start, overview.statistic, view.against]);
  const placed = useMemo(() => marksOfRows(drawn, marks, range, width), [marks, range, width, rows, offset]);
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
          ? _jumpTip(event, mark, view)
          : _tipAt(event, column, { view, rows, offset, top, layer: layer.current }),
    );
  };
  const click = (/** @type {number} */ x, /** @type {PointerEvent} */ event) => {
    const mark = markUnder(event);
    if (mark) return app.actions.selectCell(mark.name, mark.jump.step);
    const step = overview.last_step[nearestIndex(xs, x)];
    const y = event.clientY - /** @type {HTMLElement} */ (layer.current).getBoundingClientRect().top;
    const row = y < top ? undefined : _rowAt(rows, y - top + offset);
    if (row) app.actions.selectCell(run.parameters[_worst(view, row, nearestIndex(xs, x))].name, step);
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
    wheelIsFree: () => total <= visibleHeight,
  });

  const draw = (/** @type {HTMLCanvasElement} */ canvas) =>
    drawOverview(canvas, {
      rows: drawn,
      overview,
      xs,
      range,
      theme: view.theme,
      colouring: view.colouring,
      undefinedFor: undefinedFor(view),
      marks,
      crowded,
    });
  const drawing = [overview, xs, range, view.theme, view.colouring, rows, offset, visibleHeight, width, marks, crowded];
  const notes = useMemo(() => jumpNotes(view), [marks]);
  return html`<div
    class="overview-scroll"
    ref=${scroller}
    style="height:${height}px"
    onScroll=${(/** @type {any} */ event) => setScrollTop(event.target.scrollTop)}
  >
    <div class="overview-grid" style="height:${top + total + AXIS_HEIGHT}px">
      <div class="tree-column">
        <div class="sticky-top" style="height:${top}px">
          ${strips.map(
            (/** @type {Strip} */ strip, /** @type {number} */ i) => html`<div key=${i} class="strip-label">
              ${
                i === 0 && stripChoices.length > 1
                  ? html`<${StripChoice} app=${app} choices=${stripChoices} chosen=${strip.name} />`
                  : strip.label
              }
            </div>`,
          )}
        </div>
        <${Tree} app=${app} tree=${tree} open=${open} rows=${rows} visible=${visible} selectedRow=${selectedRow} run=${run} findings=${findings} />
        <div class="sticky-bottom"></div>
      </div>
      <div class="heat" ref=${layer} style="height:${height}px">
        ${strips.map(
          (
            /** @type {Strip} */ strip,
            /** @type {number} */ i,
          ) => html`<div key=${i} class="strip" style="height:${STRIP_HEIGHT}px">
            <${Canvas}
              draw=${(/** @type {HTMLCanvasElement} */ canvas) =>
                drawContextStrip(canvas, {
                  x: strip.x,
                  y: strip.y,
                  range,
                  color: view.color,
                  log: strip.name === 'gradient_norm',
                  notes: strip.name === 'gradient_norm' ? notes : [],
                })}
              dependencies=${[strip.x, strip.y, range, view.color, view.theme, width, notes]}
              label=${`${strip.label} over the same steps`}
            />
          </div>`,
        )}
        <div class="heat-rows" style="height:${visibleHeight}px">
          <${Canvas}
            draw=${draw}
            dependencies=${drawing}
            label=${`Heat map of ${view.metric.label}: ${drawn.length} rows by ${overview.columns} steps. The column beside it has the numbers at the step.${marks.length ? ` Marked are ${marks.length} jumps of gradients, which its table lists.` : ''}`}
          />
          ${
            selectedRow &&
            html`<div class="row-box" style="top:${selectedRow.y - offset}px;height:${selectedRow.height}px"></div>`
          }
        </div>
        <${StepAxis} view=${view} width=${width} />
        <${StepLine} cursor=${app.cursor} range=${range} area=${area} />
        <${StepTag} cursor=${app.cursor} view=${view} area=${area} />
        <div class="zoom-span" hidden></div>
        <${Tooltip} register=${tip} />
      </div>
      <${AtStep} cursor=${app.cursor} view=${view} strips=${strips} rows=${visible} top=${top} total=${total} />
    </div>
  </div>`;
}

/** @param {{app: App, tree: import('./tree_rows.js').Module, open: Set<string>, rows: TreeRow[], visible: TreeRow[], selectedRow: TreeRow | undefined, run: View['run'], findings: import('../types.d.ts').Finding[]}} props */
function Tree({ app, open, rows, visible, selectedRow, run, findings }) {
  const [active, setActive] = useState(/** @type {string | null} */ (null));
  const toggle = (/** @type {TreeRow} */ row) => app.actions.openModules(_toggled(open, row.key));
  const choose = (/** @type {TreeRow} */ row) =>
    row.kind === 'module' ? toggle(row) : app.actions.selectTensor(run.parameters[row.parameters[0]].name);
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const at = rows.findIndex((row) => row.key === (active ?? selectedRow?.key));
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      const row = rows[Math.min(rows.length - 1, Math.max(0, at + (event.key === 'ArrowDown' ? 1 : -1)))];
      setActive(row.key);
      if (row.kind === 'tensor') choose(row);
    } else if ((event.key === 'Enter' || event.key === ' ') && at >= 0) choose(rows[at]);
    else return;
    event.preventDefault();
  };
  const total = rows.length ? rows[rows.length - 1].y + rows[0].height : 0;
  const severities = useMemo(() => _severestOf(findings), [findings]);
  return html`<div
    class="tree"
    role="tree"
    tabindex="0"
    aria-label="Tensors by module"
    aria-activedescendant=${_rowId(active ?? selectedRow?.key ?? '')}
    style="height:${total}px"
    onKeyDown=${onKey}
    onBlur=${() => setActive(null)}
  >
    ${visible.map(
      (row) => html`<div
        key=${row.key}
        id=${_rowId(row.key)}
        class="tree-row ${row === selectedRow ? 'selected' : ''} ${row.key === active ? 'active' : ''}"
        role="treeitem"
        aria-level=${row.depth + 1}
        aria-selected=${row === selectedRow}
        aria-expanded=${row.kind === 'module' ? row.open : undefined}
        title=${row.key}
        style="top:${row.y}px;height:${row.height}px;padding-left:${7 + row.depth * 13}px"
        onClick=${() => choose(row)}
      >
        ${row.kind === 'module' ? icon(row.open ? 'down' : 'right', 'chevron') : html`<span class="chevron"></span>`}
        <span class="row-name"><bdi>${row.label}</bdi></span>
        ${row.kind === 'module' && html`<span class="count">${row.parameters.length}</span>`}
        ${!row.open && _markOf(row, run, severities)}
      </div>`,
    )}
  </div>`;
}

/** @param {{app: App, choices: {name: string, label: string}[], chosen: string}} props */
function StripChoice({ app, choices, chosen }) {
  return html`<select
    class="plain-select"
    aria-label="Series above the heat map"
    value=${chosen}
    onChange=${(/** @type {any} */ event) => app.actions.chooseStrip(event.target.value)}
  >
    ${choices.map(({ name, label }) => html`<option key=${name} value=${name} selected=${name === chosen}>${label}</option>`)}
  </select>`;
}

/** @param {{view: View}} props */
function Legend({ view }) {
  const { theme, metric, colouring } = view;
  const draw = (/** @type {import('../chart/frame.js').Surface} */ surface) => drawColourScale(surface, view);
  const { kind, scale } = colouring;
  const ends = `from ${formatNumber(scale.low)} to ${formatNumber(scale.high)}`;
  const label =
    kind === 'ratio'
      ? `Colour scale ${ends}: blue below 1e-3, red above it`
      : kind === 'comparison'
        ? `Colour scale ${ends} times the reference: blue is less, red is more`
        : `Colour scale of ${metric.label}, ${ends}`;
  return html`<${Canvas} class="legend" draw=${draw} dependencies=${[theme, colouring]} label=${label} />`;
}

/** @param {import('../chart/frame.js').Surface} surface @param {Pick<View, 'theme' | 'colouring'>} view */
export function drawColourScale(surface, { theme, colouring: { kind, scale, decades } }) {
  if (decades) drawRatioLegend(surface, theme, decades);
  else drawLegend(surface, theme, scale, { diverging: kind === 'cosine' });
}

/** @param {{view: View, width: number}} props */
function StepAxis({ view, width }) {
  const { range, axis } = view;
  const ticks = width ? axisTicks(range, axis, Math.max(2, Math.floor(width / 90))) : [];
  return html`<div class="x-axis" style="height:${AXIS_HEIGHT}px" aria-hidden="true">
    ${ticks.map(
      ({ unit, label }) => html`<i key=${`i${unit}`} style="left:${100 * unit}%"></i>
        <span key=${unit} class=${unit < 0.02 ? 'first' : unit > 0.98 ? 'last' : ''} style="left:${100 * unit}%">${label}</span>`,
    )}
  </div>`;
}

/** The pill on the axis that names the step at the cursor. @param {{cursor: App['cursor'], view: View, area: PlotArea}} props */
function StepTag({ cursor, view, area }) {
  const tag = useRef(/** @type {HTMLElement | null} */ (null));
  const move = useMover(tag);
  useLayoutEffect(() =>
    cursor.subscribe((x) => {
      const element = /** @type {HTMLElement} */ (tag.current);
      const pixel = x === null ? null : pixelOf(view.range, area, x);
      element.hidden = pixel === null;
      if (x === null || pixel === null) return _hideTicks(element, area.width, -1, -1);
      const step = stepAt(view, x);
      const time = view.axis === 'step' ? '' : ` · ${formatAxis(x, view.axis)}`;
      const text = `step ${formatInteger(step)}${time}`;
      setText(element, text);
      // A width of its own: no other text lays out the page, and none has to be asked for.
      const wide = 2 * TAG_PADDING + Math.ceil(TAG_DIGIT * text.length);
      element.style.width = `${wide}px`;
      const left = Math.max(0, Math.min(area.width - wide, pixel - wide / 2));
      move(left);
      _hideTicks(element, area.width, left, left + wide);
    }),
  );
  return html`<div ref=${tag} class="fob" style="top:${area.height + 4}px" hidden></div>`;
}

/**
 * Hides the labels of the axis that the step tag covers in part.
 * @param {HTMLElement} tag @param {number} width of the axis @param {number} from @param {number} to pixels that the tag covers
 */
function _hideTicks(tag, width, from, to) {
  for (const label of tag.parentElement?.querySelectorAll('.x-axis span') ?? []) {
    const { style, className } = /** @type {HTMLElement} */ (label);
    const size = TAG_DIGIT * (label.textContent ?? '').length;
    const at = (width * parseFloat(style.left)) / 100;
    const left = at - (className === 'first' ? 0 : className === 'last' ? size : size / 2);
    const covered = left < to + TAG_GAP && left + size > from - TAG_GAP && to > from;
    if (covered !== (style.visibility === 'hidden')) style.visibility = covered ? 'hidden' : '';
  }
}

/**
 * The numbers of all visible rows at the step cursor. Filled directly, when the cursor rests.
 * @param {{cursor: App['cursor'], view: View, strips: Strip[], rows: TreeRow[], top: number, total: number}} props
 */
function AtStep({ cursor, view, strips, rows, top, total }) {
  const column = useRef(/** @type {HTMLElement | null} */ (null));
  const shown = rows.filter((row) => !row.open);
  useLayoutEffect(() =>
    followAtRest(cursor, (x) => {
      const element = /** @type {HTMLElement} */ (column.current);
      const index = nearestIndex(view.xs, x);
      const outside = x < view.xs[0] || x > view.xs[view.xs.length - 1]; // pinned beyond the zoom
      element.querySelectorAll('.row-value').forEach((cell, i) => {
        const value = outside ? null : valueAt(view, _worst(view, shown[i], index), index);
        const [text, className] = _describe(view, shown[i], value);
        setText(cell, text);
        const name = `row-value ${className}`;
        if (cell.className !== name) cell.className = name;
      });
      element.querySelectorAll('.strip-value').forEach((cell, i) => {
        const at = indexAtOrBefore(strips[i].x, x);
        setText(cell, at < 0 ? '' : formatNumber(strips[i].y[at]));
      });
    }),
  );
  return html`<div class="at" ref=${column}>
    <div class="sticky-top" style="height:${top}px">
      ${strips.map((_, i) => html`<div key=${i} class="strip-value"></div>`)}
    </div>
    <div class="at-rows" style="height:${total}px">
      ${shown.map(
        (row) =>
          html`<span key=${row.key} class="row-value" style="top:${row.y}px;height:${row.height}px;line-height:${row.height}px"></span>`,
      )}
    </div>
    <div class="sticky-bottom">at step</div>
  </div>`;
}

/**
 * @typedef {{pointer: {x: number, y: number}, title: string, lines: [string, string][]}} TipContent
 * @param {{register: {current: (content: TipContent | null) => void}}} props
 */
function Tooltip({ register }) {
  const [tip, setTip] = useState(/** @type {TipContent | null} */ (null));
  register.current = setTip;
  if (!tip) return null;
  const longest = Math.max(tip.title.length, ...tip.lines.map(([name, value]) => name.length + value.length + 3));
  const wanted = TIP_WIDTH * Math.ceil((longest * TIP_LETTER) / TIP_WIDTH);
  const width = Math.min(wanted, window.innerWidth);
  return html`<${Tip} pointer=${tip.pointer} width=${width} rows=${1 + tip.lines.length}>
    <b>${tip.title}</b>
    ${tip.lines.map(([name, value], i) => html`<p key=${i}><span>${name}</span><span>${value}</span></p>`)}
  </${Tip}>`;
}

/** @param {{app: App}} props */
function NoMatch({ app }) {
  return html`<div class="hint">
    No tensor matches this filter.
    <button class="link" onClick=${() => app.actions.filterTensors('')}>Show all tensors</button>
  </div>`;
}

/**
 * @param {PointerEvent} event
 * @param {number} column
 * @param {{view: View, rows: TreeRow[], offset: number, top: number, layer: HTMLElement | null}} at
 * @returns {TipContent | null}
 */
function _tipAt(event, column, { view, rows, offset, top, layer }) {
  const box = /** @type {HTMLElement} */ (layer).getBoundingClientRect();
  const y = event.clientY - box.top;
  const row = y < top ? undefined : _rowAt(rows, y - top + offset);
  if (!row) return null;
  const { overview, metric, run } = view;
  const [first, last] = [overview.first_step[column], overview.last_step[column]];
  const steps = first === last ? formatInteger(last) : `${formatInteger(first)}–${formatInteger(last)}`;
  const parameter = _worst(view, row, column);
  const value = valueAt(view, parameter, column);
  /** @type {[string, string][]} */
  const lines = [[first === last ? 'step' : 'steps (their extreme)', steps]];
  if (view.axis !== 'step') lines.push(['time', formatAxis(view.xs[column], view.axis)]);
  lines.push([
    view.against ? `${metric.label}, compared with ${view.against.name}` : metric.label,
    valueText(view, parameter, value),
  ]);
  if (view.colouring.kind === 'ratio' && value !== null && value > 0 && Number.isFinite(value))
    lines.push(['compared with 1e-3', _times(value / 1e-3)]);
  if (row.kind === 'module') lines.push([`extreme of ${row.parameters.length} tensors`, row.key]);
  const name = run.parameters[parameter].name;
  return { pointer: event, title: name, lines };
}

/** @param {View} view @param {import('../chart/gradient_jumps.js').Jump} jump @returns {number} where it lies on the axis */
function _axisOf({ axis, start }, { step, wallTime }) {
  return axis === 'step' ? step : axis === 'wall' ? wallTime : wallTime - start;
}

/**
 * Marks of the jumps; where the heat map shows gradients, in the colour of the gradient.
 * @param {View} view
 */
export function marksOf(view) {
  const shows = view.overview.statistic === GRADIENT_STATISTIC && !view.against;
  return view.jumps.map((jump) => ({
    jump,
    parameter: jump.parameter,
    name: view.run.parameters[jump.parameter].name,
    x: _axisOf(view, jump),
    text: Number.isFinite(jump.factor) ? `gradient ${formatFactor(jump.factor)}` : `gradient ${formatNumber(jump.value)}`,
    value: shows ? jump.value : undefined,
  }));
}

/** The steps of the jumps, for the strip above. @param {View} view @returns {{x: number, text: string}[]} */
export function jumpNotes(view) {
  /** @type {Map<number, {x: number, text: string}>} */
  const notes = new Map();
  for (const jump of view.jumps) {
    if (!notes.has(jump.step)) notes.set(jump.step, { x: _axisOf(view, jump), text: `step ${jumpSteps(jump)}` });
  }
  return [...notes.values()];
}

/** @param {PointerEvent} event @param {ReturnType<typeof marksOf>[0]} mark @param {View} view @returns {TipContent} */
function _jumpTip(event, { jump, name, x }, view) {
  /** @type {[string, string][]} */
  const lines = [['step', jumpSteps(jump)]];
  if (view.axis !== 'step') lines.push(['time', formatAxis(x, view.axis)]);
  lines.push(['gradient RMS', formatNumber(jump.value)]);
  if (Number.isFinite(jump.factor)) lines.push(['compared with the steps around', formatFactor(jump.factor)]);
  return { pointer: event, title: name, lines };
}

/** @param {number} factor @returns {string} '33 × above' */
function _times(factor) {
  if (factor > 0.95 && factor < 1.05) return 'equal';
  return factor > 1
    ? `${formatNumber(Number(factor.toPrecision(2)))} × above`
    : `${formatNumber(Number((1 / factor).toPrecision(2)))} × below`;
}

/** @param {TreeRow[]} rows @param {number} y @returns {TreeRow | undefined} the row that shows data there */
function _rowAt(rows, y) {
  const row = rows.length ? rows[Math.floor(y / rows[0].height)] : undefined;
  return row && !row.open ? row : undefined;
}

/** The tensor of a row whose value at a column is the most extreme. @param {View} view @param {TreeRow} row @param {number} column */
function _worst(view, row, column) {
  let worst = row.parameters[0];
  let extreme = -Infinity;
  for (const parameter of row.parameters) {
    const value = valueAt(view, parameter, column);
    const rank = value === null ? -1 : extremity(view, value);
    if (rank > extreme) [worst, extreme] = [parameter, rank];
  }
  return worst;
}

/** @param {View} view @param {number} value @returns {number} the larger the more it stands out */
export function extremity({ colouring: { decades, kind } }, value) {
  if (kind === 'ratio' && value === Infinity) return 1;
  if (!Number.isFinite(value)) return Infinity;
  if (!decades) return Math.abs(value);
  return value === 0 ? 1 : Math.abs(Math.log10(value) - decades.middle);
}

/** @param {View} view @param {number} parameter @param {number} column @returns {number | null} null where nothing was logged */
export function valueAt({ overview }, parameter, column) {
  const at = parameter * overview.columns + column;
  return overview.logged && !overview.logged[at] ? null : overview.values[at];
}

/** @param {View} view @param {TreeRow} row @param {number | null} value @returns {[string, string]} text and class */
function _describe(view, row, value) {
  const text = valueText(view, row.parameters[0], value, true);
  if (value === null || text === '—') return [text, ''];
  if (view.colouring.kind === 'ratio') return [text, ratioEmphasis(value)];
  return [text, Number.isFinite(value) ? '' : 'hot'];
}

/** @param {View} view @param {number} parameter @param {number | null} value @param {boolean} [short] */
export function valueText(view, parameter, value, short = false) {
  if (value === null) return short ? '—' : view.against ? 'nothing to compare' : 'not logged';
  const group = view.run.groups[view.run.parameters[parameter].group];
  if (Number.isNaN(value) && group?.undefined.includes(view.metric.name)) {
    return short ? '—' : `not defined for ${group.optimizer}`;
  }
  if (!view.against && value === Infinity && _isRatio(view.metric)) return short ? 'w = 0' : 'weight was 0';
  if (!view.against) return formatStatistic(view.metric, value);
  if (view.colouring.kind === 'comparison') return Number.isFinite(value) ? formatFactor(value) : formatNumber(value);
  return `${value > 0 ? '+' : ''}${formatNumber(value)}`;
}

/** @param {View} view @returns {'ratio' | 'difference'} how the heat map compares runs */
function _compares({ colouring }) {
  return colouring.kind === 'comparison' ? 'ratio' : 'difference';
}

/** @param {View} view @param {boolean} lacking whether some optimizer does not have the statistic @returns {string} what grey means */
function _greyText({ against, overview }, lacking) {
  if (lacking) return overview.logged ? 'not defined or not logged' : 'not defined';
  return against ? 'nothing to compare' : 'not logged';
}

/** @param {OverviewData} overview @returns {boolean} whether some updates were of weights that were 0 */
function _hasZeroWeights({ values, statistic, against }) {
  if (against || !_isRatio({ name: statistic })) return false;
  const known = zeroWeights.get(values) ?? values.includes(Infinity);
  zeroWeights.set(values, known);
  return known;
}

/** @type {WeakMap<Float32Array, boolean>} */
const zeroWeights = new WeakMap();

/** @param {View} view whether an exact zero has a look of its own */
function _hatches({ colouring }) {
  return colouring.decades !== undefined || colouring.kind === 'log';
}

/**
 * What the rows are ordered by; null for the order of the model.
 * @param {import('../state/store.js').State} state
 * @param {View | null} view
 * @returns {Float64Array | null} by parameter
 */
export function useRanks({ order }, view) {
  const at = view && order === 'latest' ? nearestIndex(view.xs, view.x) : -1;
  return useMemo(() => {
    if (order === 'model' || !view) return null;
    const { overview, xs, range, colouring, metric } = view;
    const leftOut = undefinedFor(view);
    if (order === 'anomaly') {
      const onLog = colouring.decades !== undefined || metric.scale === 'log';
      const first = Math.max(0, indexAtOrBefore(xs, range.from));
      return anomalies(overview, { first, last: Math.max(first, indexAtOrBefore(xs, range.to)) }, onLog, leftOut, _isRatio(metric));
    }
    return Float64Array.from({ length: overview.parameters }, (_, parameter) => {
      const value = leftOut.has(parameter) ? null : valueAt(view, parameter, at);
      return value === null ? -Infinity : Number.isNaN(value) ? Infinity : value;
    });
  }, [order, view?.overview, view?.metric, order === 'anomaly' ? view?.range : at]);
}

const SEVERITIES = /** @type {const} */ (['error', 'warning', 'info']);

/** @param {import('../types.d.ts').Finding[]} findings @returns {Map<string, 'error' | 'warning' | 'info'>} by parameter name */
function _severestOf(findings) {
  /** @type {Map<string, 'error' | 'warning' | 'info'>} */
  const found = new Map();
  for (const severity of [...SEVERITIES].reverse()) {
    for (const finding of findings) {
      if (finding.severity === severity) for (const name of finding.parameters) found.set(name, severity);
    }
  }
  return found;
}

/** @param {TreeRow} row @param {View['run']} run @param {Map<string, 'error' | 'warning' | 'info'>} severities */
function _markOf(row, run, severities) {
  if (!severities.size) return null;
  const here = new Set(row.parameters.map((parameter) => severities.get(run.parameters[parameter].name)));
  const severest = SEVERITIES.find((severity) => here.has(severity));
  return severest && html`<span class="row-mark">${severityMark(severest)}</span>`;
}

/** @param {View} view @returns {Set<number>} parameters whose optimizer does not have the statistic */
export function undefinedFor({ run, metric }) {
  const groups = run.groups.map((group) => group.undefined.includes(metric.name));
  return new Set(run.parameters.flatMap(({ group }, index) => (groups[group] ? [index] : [])));
}

/** @param {HTMLElement | null} scroller @param {TreeRow | undefined} row @param {number} visibleHeight */
function _scrollIntoView(scroller, row, visibleHeight) {
  if (!scroller || !row) return;
  if (row.y < scroller.scrollTop) scroller.scrollTop = row.y;
  const below = row.y + row.height - visibleHeight;
  if (below > scroller.scrollTop) scroller.scrollTop = below;
}

/** Height for the rows, so that both cards fit on one screen. @param {number} height @param {boolean} full whether there is one card */
function rowsHeight(height, full) {
  if (full) return Math.max(SMALLEST_HEIGHT, height - HEIGHT_AROUND_FULL);
  const spare = height - HEIGHT_AROUND_ROWS;
  const fair = spare > 300 ? 300 + (spare - 300) / 2 : spare; // a tall screen serves both cards
  return Math.max(SMALLEST_HEIGHT, Math.floor(fair));
}

/**
 * What `o` does: folds the innermost open module around a tensor, or opens the outermost folded one.
 * @param {import('./tree_rows.js').Module} tree
 * @param {Set<string>} open
 * @param {number} parameter
 * @returns {Set<string>}
 */
export function toggleAround(tree, open, parameter) {
  const around = modulesAround(tree, parameter);
  const folded = around.find((key) => !open.has(key));
  const key = folded ?? around[around.length - 1];
  return key === undefined ? open : _toggled(open, key);
}

/** @param {Set<string>} open @param {string} key */
function _toggled(open, key) {
  const next = new Set(open);
  if (!next.delete(key)) next.add(key);
  return next;
}

/** @param {{name: string}} metric */
function _isRatio(metric) {
  return metric.name === 'update_to_weight_ratio';
}

/** @param {string} key */
function _rowId(key) {
  return `row-${key}`;
}

/** @param {string} text */
function _sentenceCase(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
