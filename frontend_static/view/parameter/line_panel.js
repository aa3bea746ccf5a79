// @ts-check
/** The parameter's statistics over time: a chart for each chosen one, a line for each checked run. */
import { formatAxis, formatInteger } from '../../chart/format.js';
import { yToPixel } from '../../chart/frame.js';
import { burstsOf, GRADIENT_STATISTIC, jumpsOf, jumpSteps } from '../../chart/gradient_jumps.js';
import { isRatio } from '../../chart/heatmap_values.js';
import { drawLineChart, smooth } from '../../chart/line_chart.js';
import { formatStatistic } from '../../chart/statistic_format.js';
import { nearestIndex } from '../../state/axis.js';
import { Canvas, StepLine, Tip, useAxisPointer } from '../hooks/plot.js';
import { Choice, html, Menu, SaveMenu, useMemo, useRef, useState } from '../ui.js';
import { undefinedStatistics } from './step_table.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../chart/heatmap_values.js').View} View
 * @typedef {import('../../types.d.ts').RunSeries} RunSeries
 * @typedef {import('../../state/store.js').State} State
 * @typedef {import('../../types.d.ts').PlotArea} PlotArea
 * @typedef {import('../../types.d.ts').StatisticInfo} StatisticInfo
 * @typedef {import('../../chart/scales.js').Scale} Scale
 * @typedef {import('../../chart/line_chart.js').Line} Line
 *
 * @typedef {RunSeries & {raw: Float32Array, y: ArrayLike<number>} & {steps?: Line['between'], peaks?: Line['peaks']}} Drawn
 */

const SCALES = [
  { name: 'auto', text: 'Auto' },
  { name: 'log', text: 'Log' },
  { name: 'linear', text: 'Linear' },
];
const SMALLEST_CHART = 104;
const MOST_TIPS = 12;
/** Widths within the tooltip: of a column, and what the dot and the name of the run take besides. */
const TIP_COLUMN = 72;
const TIP_RUN = 170;

/**
 * @param {object} props
 * @param {App} props.app
 * @param {State} props.state
 * @param {View} props.view
 * @param {string} props.parameter
 * @param {RunSeries[]} props.runs
 * @param {StatisticInfo[]} props.statistics to choose from
 */
export function LinePanel({ app, state, view, parameter, runs, statistics }) {
  const chosen = chosenStatistics(state.lineStatistics, statistics);
  if (!chosen.length) return html`<div class="panel wide hint">No statistics were logged.</div>`;
  const single = chosen.length === 1 ? chosen[0] : null;
  return html`<section class="panel wide lines" aria-label="Statistics over time" style="min-height:${22 + chosen.length * SMALLEST_CHART}px">
    <h3>
      <${Menu} label="Statistics" text=${single ? single.label : `${chosen.length} statistics`} strong=${true}>
        ${statistics.map(
          ({ name, label, description }) => html`<label key=${name} class="menu-item" title=${description}>
            <input
              type="checkbox"
              checked=${chosen.some((other) => other.name === name)}
              onChange=${() => app.actions.toggleStatistic(name)}
            />
            ${label}
          </label>`,
        )}
      </${Menu}>
      <small>${single ? noteOn(single, state, runs) : ''}</small>
      ${single && html`<${Absences} runs=${runs} parameter=${parameter} statistic=${single} />`}
      <span class="grow"></span>
      <${Choice}
        small=${true}
        label="Value axis"
        options=${SCALES}
        chosen=${state.lineScale}
        onChoose=${(/** @type {State['lineScale']} */ scale) => app.actions.prefer('lineScale', scale)}
      />
      <${SaveMenu}
        label="Save the lines"
        name=${`${parameter} lines`}
        figure=${async () => {
          const { lineFigure } = await import('../../save/figures.js');
          return lineFigure({ view, parameter, charts: chosen.map((s) => chartOf(s, state, view, drawnOf(s, state, runs))) });
        }}
        table=${async () => (await import('../../save/tables.js')).seriesTable({ parameter, runs, statistics: chosen })}
      />
    </h3>
    ${chosen.map(
      (statistic, i) => html`<${Lines}
        key=${statistic.name}
        app=${app}
        state=${state}
        view=${view}
        parameter=${parameter}
        runs=${runs}
        statistic=${statistic}
        titled=${!single}
        last=${i === chosen.length - 1}
      />`,
    )}
  </section>`;
}

/**
 * Those of the wanted statistics that exist; if none of them does, the first that does.
 * @param {string[]} wanted
 * @param {StatisticInfo[]} statistics
 */
export function chosenStatistics(wanted, statistics) {
  const chosen = statistics.filter(({ name }) => wanted.includes(name));
  return chosen.length ? chosen : statistics.slice(0, 1);
}

/** @param {StatisticInfo} statistic @param {Pick<State, 'lineScale'>} state @returns {'log' | 'linear'} */
export function scaleOf({ scale }, { lineScale }) {
  if (scale === 'cosine' || lineScale === 'linear') return 'linear';
  return lineScale === 'log' || scale === 'log' ? 'log' : 'linear';
}

/** @param {StatisticInfo} statistic @param {State} state @param {RunSeries[]} runs */
function noteOn(statistic, state, runs) {
  const [low, high] = state.healthyBand;
  const band = isRatio(statistic) && `shaded: healthy, ${exponential(low)} to ${exponential(high)}`;
  const onLog = scaleOf(statistic, state) === 'log';
  const smoothed = state.smoothing > 0 && onLog && 'smoothed as logarithms';
  const values = onLog ? runs.flatMap(({ series }) => series?.statistics[statistic.name] ?? []) : [];
  const zeros = values.some((series) => series.some((value) => value <= 0)) && '▼ zero';
  return [onLog ? 'log scale' : 'linear scale', zeros, band, smoothed].filter(Boolean).join(' · ');
}

const exponential = (/** @type {number} */ value) => value.toExponential().replace('e+', 'e');

/** @param {{runs: RunSeries[], parameter: string, statistic: StatisticInfo}} props */
function Absences({ runs, parameter, statistic }) {
  return runs.flatMap(({ run }) => {
    const { names, optimizer } = undefinedStatistics(run, parameter);
    return names.includes(statistic.name)
      ? [html`<small key=${run.run}>${run.name}: not defined for ${optimizer}</small>`]
      : [];
  });
}

/**
 * The lines of one statistic, smoothed where that is wanted.
 * @param {StatisticInfo} statistic @param {State} state @param {RunSeries[]} runs
 * @returns {Drawn[]}
 */
function drawnOf(statistic, state, runs) {
  const onLog = scaleOf(statistic, state) === 'log';
  return runs.flatMap((entry) => {
    const raw = entry.series?.statistics[statistic.name];
    const missing = undefinedStatistics(entry.run, entry.series?.parameter ?? '').names;
    if (!raw || missing.includes(statistic.name)) return [];
    const y = state.smoothing > 0 ? smooth(raw, state.smoothing, onLog) : raw;
    return [{ ...entry, raw, y, ...(statistic.name === GRADIENT_STATISTIC && stepsBetween(entry)) }];
  });
}

/**
 * The steps around a jump, a stretch for each jump, and the highest of them.
 * @param {RunSeries} entry
 * @returns {Pick<Drawn, 'steps' | 'peaks'>}
 */
function stepsBetween({ between }) {
  if (!between) return {};
  const { norms, xs } = between;
  return {
    steps: burstsOf(norms).map(({ first, end }) => ({
      x: xs.subarray(first, end),
      y: norms.values.subarray(first, end),
    })),
    peaks: jumpsOf(norms).flatMap((jump) => {
      const x = xs[norms.last_step.indexOf(jump.step)];
      return Number.isFinite(jump.value) ? [{ x, y: jump.value, text: `step ${jumpSteps(jump)}` }] : [];
    }),
  };
}

/**
 * @param {StatisticInfo} statistic @param {State} state @param {View} view @param {Drawn[]} drawn
 * @returns {import('../../chart/line_chart.js').LineChart & {title: string}}
 */
function chartOf(statistic, state, view, drawn) {
  const ratio = isRatio(statistic);
  return {
    title: statistic.label,
    axisKind: view.axis,
    range: view.range,
    lines: drawn.map(({ run, color, dash, xs, raw, y, steps, peaks }) => ({
      label: run.name,
      color,
      dash,
      x: xs,
      y,
      raw: y === raw ? undefined : raw,
      between: steps,
      peaks,
    })),
    scale: scaleOf(statistic, state),
    ignoreOutliers: state.ignoreOutliers,
    band: ratio ? state.healthyBand : undefined,
    bandLabel: ratio ? 'healthy' : undefined,
    middle: ratio ? 1e-3 : undefined,
    infinityIsUsual: ratio, // the weight was 0
  };
}

/**
 * @param {{app: App, state: State, view: View, parameter: string, runs: RunSeries[], statistic: StatisticInfo, titled: boolean, last: boolean}} props
 */
function Lines({ app, state, view, parameter, runs, statistic, titled, last }) {
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
  const chart = { ...chartOf(statistic, state, view, drawn), withoutSteps: !last };
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
  const { healthyBand, ignoreOutliers } = state;
  return html`<div class="plot lines-plot" ref=${box}>
    <${Canvas}
      draw=${draw}
      dependencies=${[drawn, view.range, view.axis, view.theme, chart.scale, last, ignoreOutliers, healthyBand]}
      label=${`${statistic.label} of ${parameter} over time, of ${names}; the table has the numbers at the step`}
    />
    ${titled && html`<div class="plot-title">${statistic.label}<${Absences} runs=${runs} parameter=${parameter} statistic=${statistic} /></div>`}
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
  if (!runs.length) return 'No run is checked.';
  if (!runs.some(({ series }) => series)) return '';
  const lacking = runs.find(({ run }) => undefinedStatistics(run, parameter).names.includes(statistic.name));
  return lacking
    ? `Not defined for ${undefinedStatistics(lacking.run, parameter).optimizer}.`
    : 'No checked run has logged this.';
}

/** Effects want as many dependencies at every rendering. @param {unknown[]} items */
function padded(items) {
  return Array.from({ length: 32 }, (_, i) => items[i]);
}

/** @param {PlotArea} a @param {PlotArea} b */
export function sameArea(a, b) {
  return a.left === b.left && a.top === b.top && a.width === b.width && a.height === b.height;
}

/**
 * @typedef {{run: string, color: string, smoothed: number, value: number, x: number, step: number, wall: number, start: number, distance: number}} TipRow
 * @typedef {{pointer: {x: number, y: number}, rows: TipRow[], more: number}} LineTip
 */

/**
 * @param {PointerEvent} event @param {number} x
 * @param {{drawn: Drawn[], area: PlotArea, scale: Scale, state: State, view: View, box: HTMLElement | null}} at
 * @returns {LineTip | null}
 */
function tipAt(event, x, { drawn, area, scale, state, view, box }) {
  const y = event.clientY - /** @type {HTMLElement} */ (box).getBoundingClientRect().top;
  const rows = drawn.flatMap(({ run, color, series, xs, raw, y: smoothed, start, steps, between }) => {
    if (!series || !xs.length || x < xs[0] - 1e-9 || xs[xs.length - 1] < view.range.from) return [];
    const i = nearestIndex(xs, x);
    if (steps?.length && between) {
      const j = nearestIndex(between.xs, x);
      const value = between.norms.values[j];
      if (Math.abs(between.xs[j] - x) < Math.abs(xs[i] - x))
        return [
          {
            run: run.name,
            color,
            smoothed: value,
            value,
            x: between.xs[j],
            step: between.norms.last_step[j],
            wall: between.norms.wall_time[j],
            start,
            distance: Math.abs(yToPixel(area, scale, value) - y),
          },
        ];
    }
    return [
      {
        run: run.name,
        color,
        smoothed: smoothed[i],
        value: raw[i],
        x: xs[i],
        step: series.step[i],
        wall: series.wall_time[i],
        start,
        distance: Math.abs(yToPixel(area, scale, smoothed[i]) - y),
      },
    ];
  });
  if (!rows.length) return null;
  orderTips(rows, state.tooltipOrder);
  return { pointer: event, rows: rows.slice(0, MOST_TIPS), more: rows.length - MOST_TIPS };
}

/** @param {TipRow[]} rows sorted in place @param {State['tooltipOrder']} order */
export function orderTips(rows, order) {
  if (order === 'default') return;
  const key = (/** @type {TipRow} */ row) => {
    const rank = order === 'nearest' ? row.distance : order === 'ascending' ? row.smoothed : -row.smoothed;
    return Number.isNaN(rank) ? Infinity : rank;
  };
  rows.sort((a, b) => key(a) - key(b) || 0);
}

/** @param {{register: {current: (content: LineTip | null) => void}, statistic: StatisticInfo, state: State}} props */
function LineTooltip({ register, statistic, state }) {
  const [tip, setTip] = useState(/** @type {LineTip | null} */ (null));
  register.current = setTip;
  if (!tip) return null;
  const nearest = state.tooltipOrder === 'nearest' && tip.rows.length > 1;
  const names = ['Run', ...(state.smoothing > 0 ? ['Smoothed'] : []), 'Value', 'Step', 'Time', 'Relative'];
  const more = tip.more > 0;
  return html`<${Tip} class="lines-tip" pointer=${tip.pointer} width=${names.length * TIP_COLUMN + TIP_RUN} rows=${1 + tip.rows.length + Number(more)}>
    <table>
      <thead>
        <tr><th></th>${names.map((name) => html`<th key=${name}>${name}</th>`)}</tr>
      </thead>
      <tbody>
        ${tip.rows.map(
          (row, i) => html`<tr key=${row.run} class=${nearest && i === 0 ? 'nearest' : ''}>
            <td><i style="background:${row.color}"></i></td>
            <td><bdi>${row.run}</bdi></td>
            ${state.smoothing > 0 && html`<td>${formatStatistic(statistic, row.smoothed)}</td>`}
            <td>${formatStatistic(statistic, row.value)}</td>
            <td>${formatInteger(row.step)}</td>
            <td>${formatAxis(row.wall, 'wall')}</td>
            <td>${formatAxis(row.wall - row.start, 'relative')}</td>
          </tr>`,
        )}
      </tbody>
    </table>
    ${more && html`<p>and ${tip.more} more</p>`}
  </${Tip}>`;
}
