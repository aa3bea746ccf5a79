// @ts-check
/** The evidence of a finding: which statistic shows it best, and what opening it changes. Pure. */
import { columnStrip } from './store.js';

/**
 * @typedef {import('../types.d.ts').Finding} Finding
 * @typedef {import('../types.d.ts').RunInfo} RunInfo
 * @typedef {import('./store.js').State} State
 */

/**
 * The statistic, or the series above the heat map, that shows a finding best; empty if the run lacks it.
 * @param {Finding} finding @param {RunInfo | undefined} run
 * @returns {{metric?: string, strip?: string}}
 */
export function shownIn({ statistic }, run) {
  if (run?.statistics.includes(statistic)) return { metric: statistic };
  return run?.strip_columns.includes(statistic) ? { strip: columnStrip(statistic) } : {};
}

/**
 * Whether a finding is about tensors that the optimizer does not update: they have no records.
 * @param {Pick<Finding, 'parameters'>} finding @param {Pick<RunInfo, 'parameters' | 'unoptimized'> | undefined} run
 */
export function lacksRecords({ parameters }, run) {
  if (!run || !parameters.length) return false;
  const hasRecord = (/** @type {string} */ name) => run.parameters.some((info) => info.name === name);
  const known = (/** @type {string} */ name) => run.unoptimized.some((info) => info.name === name);
  return !parameters.some(hasRecord) && parameters.some(known);
}

/**
 * The steps of a finding with some before and after; null if that is most of the run.
 * @param {Finding} finding @param {number} lastStep last step of its run
 * @returns {import('../types.d.ts').Range | null}
 */
export function rangeAround({ from, to }, lastStep) {
  const around = Math.max((to - from) / 2, lastStep / 20);
  const range = { from: Math.max(0, from - around), to: Math.min(lastStep, to + around) };
  return range.to - range.from < 0.8 * lastStep ? range : null;
}

/**
 * Another statistic colours the map; a line chart of the one before becomes one of it.
 * @param {State} state @param {string} metric
 * @returns {Pick<State, 'metric' | 'lineStatistics'>}
 */
export function colouredBy({ metric: before, lineStatistics }, metric) {
  if (!lineStatistics?.includes(before) || lineStatistics.includes(metric)) return { metric, lineStatistics };
  return { metric, lineStatistics: following(lineStatistics.map((name) => (name === before ? metric : name)), metric) };
}

const EVIDENT = /** @type {const} */ (['run', 'metric', 'strip', 'tensor', 'step', 'range', 'open', 'all', 'compare']);

/** What a finding changes. @param {State} state @returns {import('./store.js').Evident} */
export function evident({ run, metric, strip, tensor, step, range, open, all, compare }) {
  return { run, metric, strip, tensor, step, range, open, all, compare };
}

/**
 * What the user chooses while a finding is open stays when it is closed.
 * @param {State} state @param {...(typeof EVIDENT)[number]} chosen
 * @returns {Pick<State, 'beforeFinding'>}
 */
export function choosing({ beforeFinding }, ...chosen) {
  if (!beforeFinding) return { beforeFinding };
  const rest = EVIDENT.filter((name) => name in beforeFinding && !chosen.includes(name));
  return { beforeFinding: Object.fromEntries(rest.map((name) => [name, beforeFinding[name]])) };
}

/** The browser's Back leads from the next view to this one. @param {State} state */
export const visit = ({ visits }) => ({ visits: visits + 1 });

/** @param {State} state @returns {Partial<State>} without its finding */
export const closed = (state) => ({ finding: null, reopen: null, ...asBeforeFinding(state), ...visit(state) });

/** The view without the finding that is open. @param {State} state @returns {Partial<State>} */
export function asBeforeFinding(state) {
  const { beforeFinding } = state;
  if (!beforeFinding) return {};
  const { metric, ...rest } = beforeFinding;
  return { ...rest, ...(metric !== undefined && colouredBy(state, metric)), beforeFinding: null };
}

/** @param {string[]} charts @param {string} metric @returns {string[] | null} null where they follow the map */
export function following(charts, metric) {
  return charts.length === 1 && charts[0] === metric ? null : charts;
}
