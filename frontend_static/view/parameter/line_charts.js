// @ts-check
/** What the line charts of a parameter draw: which statistics, on which scale, and the lines of all runs. */
import { formatRange } from '../../chart/format.js';
import { burstsOf, GRADIENT_STATISTIC, jumpsOf, jumpSteps } from '../../chart/gradient_jumps.js';
import { healthyRange } from '../../chart/healthy_range.js';
import { isRatio } from '../../chart/heatmap_values.js';
import { smooth } from '../../chart/line_chart.js';
import { t } from '../../host/language.js';
import { evidenceMarks } from '../hooks/evidence.js';
import { html } from '../ui.js';
import { undefinedStatistics } from './step_table.js';

/**
 * @typedef {import('../../chart/heatmap_values.js').View} View
 * @typedef {import('../../types.d.ts').RunSeries} RunSeries
 * @typedef {import('../../state/store.js').State} State
 * @typedef {import('../../types.d.ts').StatisticInfo} StatisticInfo
 * @typedef {import('../../chart/line_chart.js').Line} Line
 *
 * @typedef {RunSeries & {raw: Float32Array, y: ArrayLike<number>, unknown: Set<number>} & {steps?: Line['between'], peaks?: Line['peaks']}} Drawn
 */

const NONFINITE = 'nonfinite_count';

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

/**
 * A count is shown as it is: between 0 and 576 elements that are NaN there is no other number.
 * @param {Pick<StatisticInfo, 'scale'>} statistic @param {Pick<State, 'smoothing'>} state
 */
export function isSmoothed({ scale }, { smoothing }) {
  return smoothing > 0 && scale !== 'count';
}

/** @param {StatisticInfo} statistic @param {State} state @param {View} view @param {RunSeries[]} runs @param {string} parameter */
export function noteOn(statistic, state, view, runs, parameter) {
  const healthy = bandOf(statistic, view, parameter);
  const band = healthy && t('shaded: healthy, {range}', { range: formatRange(healthy) });
  const onLog = scaleOf(statistic, state) === 'log';
  const smoothed = isSmoothed(statistic, state) && onLog && t('smoothed on the log scale');
  const values = onLog ? runs.flatMap(({ series }) => series?.statistics[statistic.name] ?? []) : [];
  const zeros = values.some((series) => series.some((value) => value <= 0)) && t('▼ zero');
  return [onLog ? t('log scale') : t('linear scale'), zeros, band, smoothed].filter(Boolean).join(' · ');
}

/** @param {StatisticInfo} statistic @param {View} view @param {string} parameter @returns {[number, number] | null} */
function bandOf(statistic, { run, healthyRange: chosen }, parameter) {
  const index = run.parameters.findIndex(({ name }) => name === parameter);
  return isRatio(statistic) ? healthyRange(run, index, chosen) : null;
}

/** @param {{runs: RunSeries[], parameter: string, statistic: StatisticInfo}} props */
export function Absences({ runs, parameter, statistic }) {
  return runs.flatMap(({ run }) => {
    const { names, optimizer } = undefinedStatistics(run, parameter);
    return names.includes(statistic.name)
      ? [html`<small key=${run.run}>${t('{run}: not defined for {optimizer}', { run: run.name, optimizer })}</small>`]
      : [];
  });
}

/**
 * The lines of one statistic, smoothed where that is wanted.
 * @param {StatisticInfo} statistic @param {State} state @param {RunSeries[]} runs
 * @returns {Drawn[]}
 */
export function drawnOf(statistic, state, runs) {
  const onLog = scaleOf(statistic, state) === 'log';
  return runs.flatMap((entry) => {
    const raw = entry.series?.statistics[statistic.name];
    const missing = undefinedStatistics(entry.run, entry.series?.parameter ?? '').names;
    if (!raw || missing.includes(statistic.name)) return [];
    const y = isSmoothed(statistic, state) ? smooth(raw, state.smoothing, onLog) : raw;
    const unknown = unknownAmong(raw, statistic, entry.series);
    return [{ ...entry, raw, y, unknown, ...(statistic.name === GRADIENT_STATISTIC && stepsBetween(entry)) }];
  });
}

/**
 * Where a value is unknown, as without a gradient. It is stored as NaN, like a value that is not finite, but then the
 * parameter has numbers that are not.
 * @param {Float32Array} raw @param {StatisticInfo} statistic @param {RunSeries['series']} series
 * @returns {Set<number>}
 */
export function unknownAmong(raw, statistic, series) {
  const counts = statistic.name === NONFINITE ? undefined : series?.statistics[NONFINITE];
  const unknown = new Set();
  if (counts) for (let i = 0; i < raw.length; i++) if (Number.isNaN(raw[i]) && counts[i] === 0) unknown.add(i);
  return unknown;
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
      return Number.isFinite(jump.value) ? [{ x, y: jump.value, text: t('step {step}', { step: jumpSteps(jump) }) }] : [];
    }),
  };
}

/**
 * @param {StatisticInfo} statistic @param {State} state @param {View} view @param {Drawn[]} drawn @param {string} parameter
 * @returns {import('../../chart/line_chart.js').LineChart & {title: string}}
 */
export function chartOf(statistic, state, view, drawn, parameter) {
  const band = bandOf(statistic, view, parameter);
  return {
    title: statistic.label,
    axisKind: view.axis,
    range: view.range,
    lines: drawn.map(({ run, color, dash, xs, raw, y, unknown, steps, peaks }) => ({
      label: run.name,
      color,
      dash,
      x: xs,
      y,
      raw: y === raw ? undefined : raw,
      unknown,
      between: steps,
      peaks,
    })),
    scale: scaleOf(statistic, state),
    ignoreOutliers: state.ignoreOutliers,
    band: band ?? undefined,
    bandLabel: band ? t('healthy') : undefined,
    infinityIsUsual: isRatio(statistic), // the weight was 0
    evidence: view.evidence?.statistic === statistic.name ? evidenceMarks(view.evidence, statistic) : undefined,
  };
}
