// @ts-check
/** The first card: every tensor at every step, under the module tree and the loss. */
import { formatInteger, formatNumber } from '../../chart/format.js';
import { drawColourScale, isLogarithmic } from '../../chart/heatmap_colours.js';
import { compares, greyText, hasZeroWeights, isRatio, undefinedFor } from '../../chart/heatmap_values.js';
import { marksOf } from '../../chart/jump_marks.js';
import { language, plural, t } from '../../host/language.js';
import { Canvas, useWindowHeight } from '../hooks/plot.js';
import { html, icon, Lazy, SaveMenu, useMemo } from '../ui.js';
import { WhatIs } from '../what_is.js';
import { Rows } from './rows.js';
import { AXIS_HEIGHT, rowHeightOf, rowsHeight, SMALLEST_TABLE, STRIP_HEIGHT, stripHeights } from './sizes.js';
import { allModules, rankedRows, treeRows } from './tree_rows.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../chart/heatmap_values.js').View} View
 * @typedef {import('../../chart/context_strip.js').Strip} Strip
 * @typedef {import('../../types.d.ts').TreeRow} TreeRow
 */

const orders = () => [
  { name: 'model', text: t('Model order') },
  { name: 'latest', text: t('Highest at step') },
  { name: 'anomaly', text: t('Most anomalous') },
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
  return html`<section class="card overview ${stale ? 'stale' : ''} ${full ? 'full' : ''} ${state.full && !full ? 'behind' : ''}" aria-label=${t('Overview')}>
    <${Head} app=${app} state=${state} view=${view} tree=${tree} open=${open} ranked=${ranks !== null} rows=${rows} strips=${strips} />
    ${
      nothingCompared &&
      html`<p class="hint">${_nothingCompared({ run: against.name, statistic: metric.label }, view)}</p>`
    }
    ${isThin(overview.total.steps, view.run.last_step) && html`<p class="hint thin">${_thinText(overview.total.steps, view.run.last_step)}</p>`}
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
  const counts = { count: formatInteger(tensors), total: formatInteger(run.parameters.length) };
  const shown = hidden
    ? t('{count} of {total} tensors', counts)
    : plural(tensors, '{count} tensor', '{count} tensors', counts);
  const { steps } = overview.total;
  const logged = plural(steps, '{count} logged step', '{count} logged steps', { count: formatInteger(steps) });
  const compared = against && `${compares(view) === 'ratio' ? '÷' : '−'} ${against.name}`;
  const zoomed = view.range.from > view.whole.from || view.range.to < view.whole.to;
  return html`<div class="card-head">
    <h2>${_sentenceCase(metric.label)}</h2>
    <${WhatIs} app=${app} name=${metric.label} statistic=${metric.name} topic=${against ? 'comparison' : undefined} />
    <span class="sub" title=${against ? t('{description}; compared with {run} at the same point of the axis', { description: metric.description, run: against.name }) : metric.description}>
      <bdi>${run.name}</bdi>${compared && ` ${compared}`} · ${shown} · ${logged}
    </span>
    ${
      zoomed &&
      html`<button class="link" title=${t('Zoomed in: show everything again (0, or double-click)')} onClick=${() => app.actions.zoom(null)}>
        ${t('Show all steps')}
      </button>`
    }
    <span class="grow"></span>
    <${Swatches} view=${view} />
    <${Legend} view=${view} />
    <${WhatIs} app=${app} name=${t('Colours and marks')} topic="colours" />
    <select
      class="plain-select order"
      aria-label=${t('Order of the rows')}
      title=${t('Order of the rows')}
      value=${state.order}
      onChange=${(/** @type {any} */ event) => app.actions.orderRows(event.target.value)}
    >
      ${orders().map(({ name, text }) => html`<option key=${name} value=${name} selected=${name === state.order}>${text}</option>`)}
    </select>
    <${Buttons} app=${app} state=${state} view=${view} tree=${tree} open=${open} ranked=${ranked} rows=${rows} strips=${strips} />
  </div>`;
}

/** What the colours leave out. @param {{view: View}} props */
function Swatches({ view }) {
  const { metric, overview } = view;
  const lacking = undefinedFor(view).size > 0;
  return html`<span class="swatches">
    ${isLogarithmic(view.colouring.kind) && html`<span><i class="sw-zero"></i>${isRatio(metric) ? t('no update') : t('zero')}</span>`}
    ${hasZeroWeights(overview) && html`<span title=${t('The weight was 0, like a bias at its first step: the ratio is not finite')}><i class="sw-zero-weight"></i>${t('weight was 0')}</span>`}
    <span><i class="sw-nan"></i>NaN${isRatio(metric) ? '' : ' / Inf'}</span>
    ${(overview.logged || lacking) && html`<span><i class="sw-none"></i>${greyText(view, lacking)}</span>`}
  </span>`;
}

/** The colour scale. @param {{view: View}} props */
function Legend({ view }) {
  const { theme, metric, colouring } = view;
  const draw = (/** @type {import('../../chart/frame.js').Surface} */ surface) => drawColourScale(surface, view);
  const { kind, scale } = colouring;
  const ends = { low: formatNumber(scale.low), high: formatNumber(scale.high) };
  const label =
    kind === 'ratio'
      ? t('Colour scale from {low} to {high}: blue below 1e-3, red above', ends)
      : kind === 'comparison'
        ? t('Colour scale from {low} to {high} times the reference: blue is less, red is more', ends)
        : t('Colour scale of {statistic}, from {low} to {high}', { statistic: metric.label, ...ends });
  return html`<${Canvas} class="legend" draw=${draw} dependencies=${[theme, colouring]} label=${label} />`;
}

/** @param {HeadProps} props */
function Buttons({ app, state, view, tree, open, ranked, rows, strips }) {
  const full = state.full === 'overview';
  const everything = allModules(tree);
  const allOpen = everything.size > 0 && [...everything].every((key) => open.has(key));
  const fold = allOpen ? t('Collapse all modules') : t('Expand all modules');
  return html`<button
    class="icon-button"
    aria-pressed=${state.overviewTable}
    aria-label=${t('Heat map as a table')}
    title=${state.overviewTable ? t('Show the heat map') : t('Show the numbers as a table')}
    onClick=${() => app.actions.showOverviewTable(!state.overviewTable)}
  >
    ${icon('table')}
  </button>
  <button
    class="icon-button"
    aria-label=${fold}
    title=${fold}
    disabled=${everything.size === 0 || ranked}
    onClick=${() => app.actions.openModules(allOpen ? new Set() : everything)}
  >
    ${icon(allOpen ? 'collapse' : 'expand')}
  </button>
  <${SaveMenu}
    label=${t('Save the heat map')}
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
    aria-label=${full ? t('Back to normal size') : t('Full size')}
    title=${full ? t('Back to normal size (Esc)') : t('Full size')}
    onClick=${() => app.actions.toggleFull('overview')}
  >
    ${icon(full ? 'small' : 'full')}
  </button>`;
}

/** Whether a map of a few wide columns is all that there is. @param {number} records @param {number} lastStep */
export function isThin(records, lastStep) {
  return records < 24 && lastStep >= 4 * records;
}

/** @param {number} records @param {number} lastStep */
function _thinText(records, lastStep) {
  const values = { records: formatInteger(records), steps: formatInteger(lastStep) };
  return t('Only {records} of {steps} steps are recorded. A smaller every_n_steps= shows what happens in between.', values);
}

/** @param {{app: App}} props */
function NoMatch({ app }) {
  return html`<div class="hint">
    ${t('No tensor matches this filter.')}${' '}
    <button class="link" onClick=${() => app.actions.filterTensors('')}>${t('Show all tensors')}</button>
  </div>`;
}

/** @param {{run: string, statistic: string}} values @param {View} view */
function _nothingCompared(values, { axis }) {
  return axis === 'step'
    ? t('{run} has no value of {statistic} at these steps. On another axis (step, relative, wall) the runs may line up.', values)
    : t('{run} has no value of {statistic} at these times. On another axis (step, relative, wall) the runs may line up.', values);
}

/** Names of variables, as exp_avg, stay as they are. @param {string} text */
function _sentenceCase(text) {
  return language() !== 'en' || /^\w*_/.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1);
}
