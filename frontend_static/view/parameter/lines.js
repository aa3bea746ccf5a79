// @ts-check
/** The chart of one statistic: its lines, the step at the cursor, and what is under the pointer. */
import { isRatio } from '../../chart/heatmap_values.js';
import { drawLineChart } from '../../chart/line_chart.js';
import { t } from '../../host/language.js';
import { nearestIndex } from '../../state/axis.js';
import { Canvas, StepLine, useAxisPointer } from '../hooks/plot.js';
import { html, useMemo, useRef, useState } from '../ui.js';
import { WhatIs } from '../what_is.js';
import { Absences, chartOf, drawnOf } from './line_charts.js';
import { LineTooltip, tipAt } from './line_tooltip.js';
import { undefinedStatistics } from './step_table.js';

/**
 * @typedef {import('../../chart/heatmap_values.js').View} View
 * @typedef {import('../../types.d.ts').RunSeries} RunSeries
 * @typedef {import('../../state/store.js').State} State
 * @typedef {import('../../types.d.ts').StatisticInfo} StatisticInfo
 * @typedef {import('../../types.d.ts').PlotArea} PlotArea
 * @typedef {import('../../chart/scales.js').Scale} Scale
 * @typedef {import('./line_charts.js').Drawn} Drawn
 * @typedef {import('./line_tooltip.js').LineTip} LineTip
 */

/**
 * @param {{app: import('../ui.js').App, state: State, view: View, parameter: string, runs: RunSeries[], statistic: StatisticInfo, titled: boolean, last: boolean}} props
 */
export function Lines({ app, state, view, parameter, runs, statistic, titled, last }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const scale = useRef(/** @type {Scale | null} */ (null));
  const tip = useRef(/** @type {(content: LineTip | null) => void} */ (() => {}));
  const [area, setArea] = useState(/** @type {PlotArea | null} */ (null));
  const data = runs.map((entry) => entry.series?.statistics[statistic.name]);
  const identity = runs
    .map(({ run, color, series, between }) => `${run.run} ${color} ${series?.step.length} ${between?.xs.length}`)
    .join('\n');
  const drawn = useMemo(
    () => drawnOf(statistic, state, runs),
    [statistic, state.smoothing, state.lineScale, identity, ...padded(data)],
  );
  const chart = { ...chartOf(statistic, state, view, drawn, parameter), withoutSteps: !last };
  const draw = (/** @type {HTMLCanvasElement} */ canvas) => {
    const result = drawLineChart(canvas, chart);
    scale.current = result.scale;
    setArea((before) => (before && sameArea(before, result.area) ? before : result.area));
  };
  useAxisPointer(box, {
    area,
    range: view.range,
    onHover(x, event) {
      if (state.linkCursor || x === null) app.cursor.hover(x === null ? null : nearestStep(x, view, drawn));
      tip.current(
        x === null || !area || !scale.current
          ? null
          : tipAt(event, x, { drawn, area, scale: scale.current, state, view, box: box.current }),
      );
    },
    onClick: (x) => app.actions.pinStep(pinnedStep(x, view, drawn)),
    onZoom: app.actions.zoom,
    onView: app.actions.zoom,
    whole: view.whole,
  });
  const names = runs.map(({ run }) => run.name).join(', ');
  const { ignoreOutliers } = state;
  return html`<div class="plot lines-plot" ref=${box}>
    <${Canvas}
      draw=${draw}
      dependencies=${[drawn, view.range, view.axis, view.theme, chart.scale, last, ignoreOutliers, chart.band, view.evidence]}
      label=${t('{statistic} of {parameter} over time, of {runs}; the table has the numbers at the step', { statistic: statistic.label, parameter, runs: names })}
    />
    ${titled && html`<div class="plot-title">${statistic.label}<${WhatIs} app=${app} name=${statistic.label} statistic=${statistic.name} topic=${isRatio(statistic) ? 'shared' : undefined} /><${Absences} runs=${runs} parameter=${parameter} statistic=${statistic} /></div>`}
    ${drawn.length === 0 && html`<div class="plot-note">${emptiness(runs, parameter, statistic)}</div>`}
    <${StepLine} cursor=${app.cursor} range=${view.range} area=${area} />
    <div class="zoom-span" hidden></div>
    <${LineTooltip} register=${tip} statistic=${statistic} state=${state} />
  </div>`;
}

/**
 * The column of the heat map at an axis value, or a step between two of them that a line shows.
 * @param {number} x @param {View} view @param {Drawn[]} drawn
 */
function nearestStep(x, { xs }, drawn) {
  let nearest = xs[nearestIndex(xs, x)];
  for (const { steps = [] } of drawn) {
    for (const { x: between } of steps) {
      const other = between[nearestIndex(between, x)];
      if (Math.abs(other - x) < Math.abs(nearest - x)) nearest = other;
    }
  }
  return nearest;
}

/** @param {number} x @param {View} view @param {Drawn[]} drawn */
function pinnedStep(x, view, drawn) {
  const at = nearestStep(x, view, drawn);
  const column = nearestIndex(view.xs, at);
  if (view.xs[column] === at) return view.overview.last_step[column];
  const found = drawn.find(({ between }) => between?.xs.includes(at))?.between;
  return found ? found.norms.last_step[found.xs.indexOf(at)] : view.overview.last_step[column];
}

/** @param {RunSeries[]} runs @param {string} parameter @param {StatisticInfo} statistic */
function emptiness(runs, parameter, statistic) {
  if (!runs.length) return t('No run is checked.');
  if (!runs.some(({ series }) => series)) return '';
  const lacking = runs.find(({ run }) => undefinedStatistics(run, parameter).names.includes(statistic.name));
  return lacking
    ? t('Not defined for {optimizer}.', { optimizer: undefinedStatistics(lacking.run, parameter).optimizer })
    : t('No checked run has logged this.');
}

/** Effects want as many dependencies at every rendering. @param {unknown[]} items */
function padded(items) {
  return Array.from({ length: 32 }, (_, i) => items[i]);
}

/** @param {PlotArea} a @param {PlotArea} b */
export function sameArea(a, b) {
  return a.left === b.left && a.top === b.top && a.width === b.width && a.height === b.height;
}
