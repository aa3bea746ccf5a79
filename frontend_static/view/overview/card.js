// @ts-check
/** The first card: every tensor at every step, under the module tree and the loss. */
import { formatInteger, formatNumber } from '../../chart/format.js';
import { drawColourScale, isLogarithmic } from '../../chart/heatmap_colours.js';
import { compares, greyText, hasZeroWeights, isRatio, undefinedFor } from '../../chart/heatmap_values.js';
import { marksOf } from '../../chart/jump_marks.js';
import { Canvas, useWindowHeight } from '../hooks/plot.js';
import { html, icon, Lazy, SaveMenu, useMemo } from '../ui.js';
import { Rows } from './rows.js';
import { AXIS_HEIGHT, rowHeightOf, rowsHeight, SMALLEST_TABLE, STRIP_HEIGHT, stripHeights } from './sizes.js';
import { allModules, rankedRows, treeRows } from './tree_rows.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../chart/heatmap_values.js').View} View
 * @typedef {import('../../chart/context_strip.js').Strip} Strip
 * @typedef {import('../../types.d.ts').TreeRow} TreeRow
 */

const ORDERS = [
  { name: 'model', text: 'Model order' },
  { name: 'latest', text: 'Highest at step' },
  { name: 'anomaly', text: 'Most anomalous' },
];

/**
 * @param {object} props
 * @param {App} props.app
 * @param {import('../../state/store.js').State} props.state
 * @param {View} props.view
 * @param {import('../../types.d.ts').Finding[]} props.findings of this run
 * @param {import('./tree_rows.js').Module} props.tree of the tensors that pass the filter
 * @param {Float64Array | null} props.ranks what orders the rows, by parameter; null for the tree
 * @param {Set<string>} props.open
 * @param {number} props.selected index of the selected parameter
 * @param {Strip[]} props.strips chosen series and gradient norm
 * @param {{name: string, label: string}[]} props.stripChoices
 * @param {boolean} props.stale
 */
export function Overview({ app, state, view, findings, tree, ranks, open, selected, strips, stripChoices, stale }) {
  const { overview, metric, against } = view;
  const full = state.full === 'overview';
  const windowHeight = useWindowHeight();
  const heights = stripHeights(strips, view.evidence);
  const top = heights.reduce((sum, height) => sum + height, 0);
  const available = rowsHeight(windowHeight - (top - strips.length * STRIP_HEIGHT), full);
  const unit = useMemo(() => (ranks ? rankedRows(tree, ranks, 1) : treeRows(tree, open, 1)), [tree, open, ranks]);
  const rowHeight = rowHeightOf(windowHeight, available, unit.length);
  const rows = useMemo(
    () => unit.map((row) => ({ ...row, y: row.y * rowHeight, height: rowHeight })),
    [unit, rowHeight],
  );
  const visibleHeight = Math.min(Math.floor(available / rowHeight), rows.length) * rowHeight;
  const nothingCompared = against && overview.logged && !overview.logged.some(Boolean);
  return html`<section class="card overview ${stale ? 'stale' : ''} ${full ? 'full' : ''} ${state.full && !full ? 'behind' : ''}" aria-label="Overview">
    <${Head} app=${app} state=${state} view=${view} tree=${tree} open=${open} ranked=${ranks !== null} rows=${rows} strips=${strips} />
    ${
      nothingCompared &&
      html`<p class="hint">
        ${against.name} has no value of ${metric.label} at these ${view.axis === 'step' ? 'steps' : 'times'}:
        another axis (step, relative, wall) may line the runs up.
      </p>`
    }
    ${
      tree.parameters.length === 0
        ? html`<${NoMatch} app=${app} />`
        : state.overviewTable
          ? html`<${Lazy}
          load=${() => import('./table.js')}
          name="OverviewTable"
          app=${app}
          view=${view}
          parameters=${ranks ? rows.flatMap((row) => row.parameters) : tree.parameters}
          height=${Math.max(SMALLEST_TABLE, visibleHeight + top + AXIS_HEIGHT)}
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
          heights=${heights}
        />`
    }
  </section>`;
}

/**
 * @typedef {object} HeadProps
 * @property {App} app
 * @property {import('../../state/store.js').State} state
 * @property {View} view
 * @property {import('./tree_rows.js').Module} tree
 * @property {Set<string>} open
 * @property {boolean} ranked whether a rank orders the rows, in place of the tree
 * @property {TreeRow[]} rows
 * @property {Strip[]} strips
 */

/** @param {HeadProps} props */
function Head({ app, state, view, tree, open, ranked, rows, strips }) {
  const { run, overview, metric, against } = view;
  const tensors = tree.parameters.length;
  const hidden = run.parameters.length - tensors;
  const compared = against && `${compares(view) === 'ratio' ? '÷' : '−'} ${against.name}`;
  const zoomed = view.range.from > view.whole.from || view.range.to < view.whole.to;
  return html`<div class="card-head">
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
    <${Swatches} view=${view} />
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
    <${Buttons} app=${app} state=${state} view=${view} tree=${tree} open=${open} ranked=${ranked} rows=${rows} strips=${strips} />
  </div>`;
}

/** What the colours leave out. @param {{view: View}} props */
function Swatches({ view }) {
  const { metric, overview } = view;
  const lacking = undefinedFor(view).size > 0;
  return html`<span class="swatches">
    ${isLogarithmic(view.colouring.kind) && html`<span><i class="sw-zero"></i>${isRatio(metric) ? 'no update' : 'zero'}</span>`}
    ${hasZeroWeights(overview) && html`<span title="An update of a weight that was 0, as a bias at its first step, has no finite ratio to it"><i class="sw-zero-weight"></i>weight was 0</span>`}
    <span><i class="sw-nan"></i>NaN${isRatio(metric) ? '' : ' / Inf'}</span>
    ${(overview.logged || lacking) && html`<span><i class="sw-none"></i>${greyText(view, lacking)}</span>`}
  </span>`;
}

/** The colour scale. @param {{view: View}} props */
function Legend({ view }) {
  const { theme, metric, colouring } = view;
  const draw = (/** @type {import('../../chart/frame.js').Surface} */ surface) => drawColourScale(surface, view);
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

/** @param {HeadProps} props */
function Buttons({ app, state, view, tree, open, ranked, rows, strips }) {
  const full = state.full === 'overview';
  const everything = allModules(tree);
  const allOpen = everything.size > 0 && [...everything].every((key) => open.has(key));
  return html`<button
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
    disabled=${everything.size === 0 || ranked}
    onClick=${() => app.actions.openModules(allOpen ? new Set() : everything)}
  >
    ${icon(allOpen ? 'collapse' : 'expand')}
  </button>
  <${SaveMenu}
    label="Save the heat map"
    name=${`${view.run.name} ${view.metric.name}`}
    figure=${async () => {
      const { overviewFigure } = await import('../../save/figures.js');
      return overviewFigure({ view, rows, strips, undefinedFor: undefinedFor(view), marks: marksOf(view), crowded: state.crowded });
    }}
    table=${async () => (await import('../../save/tables.js')).overviewTable(view, rows)}
  />
  <button
    class="icon-button"
    aria-pressed=${full}
    aria-label=${full ? 'Back to normal size' : 'Full size'}
    title=${full ? 'Back to normal size (Esc)' : 'Full size'}
    onClick=${() => app.actions.toggleFull('overview')}
  >
    ${icon(full ? 'small' : 'full')}
  </button>`;
}

/** @param {{app: App}} props */
function NoMatch({ app }) {
  return html`<div class="hint">
    No tensor matches this filter.
    <button class="link" onClick=${() => app.actions.filterTensors('')}>Show all tensors</button>
  </div>`;
}

/** @param {string} text */
function _sentenceCase(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
