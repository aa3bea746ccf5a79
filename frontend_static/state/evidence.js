// @ts-check
/** The evidence of a finding: which statistic shows it best. Pure. */
import { columnStrip } from './store.js';

/**
 * @typedef {import('../types.d.ts').Finding} Finding
 * @typedef {import('../types.d.ts').RunInfo} RunInfo
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
