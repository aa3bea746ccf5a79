// @ts-check
/** The requests about a run that follow from the state. */
import { runRevision } from '../data/api.js';
import { metricOf, overviewRun, referenceRun } from './store.js';

/**
 * @typedef {import('./store.js').State} State
 * @typedef {import('../types.d.ts').RunInfo} RunInfo
 * @typedef {import('../types.d.ts').Summary} Summary
 */

/** Largest number of steps in an answer about many parameters: about what a screen can show. */
export const COLUMNS = 1024;

/**
 * The whole of a run for the heat map.
 * @param {State} state @param {Summary} summary @param {RunInfo} run
 */
export function overviewQuestion(state, summary, run) {
  const against = comparedRun(state);
  const revision = revisionOf(state, summary, run);
  return {
    query: overviewQuery(state, run),
    revision: against ? `${revision} ${revisionOf(state, summary, against)}` : revision,
  };
}

/** @param {State} state @param {RunInfo} run */
export function overviewQuery(state, run) {
  const against = comparedRun(state);
  return {
    run: run.run,
    statistic: metricOf(state, run).name,
    columns: COLUMNS,
    ...(state.crowded !== 'worst' && { crowded: state.crowded }),
    ...(against && { against: against.run, axis: state.axis }),
  };
}

/** @param {State} state @returns {RunInfo | null} the run that the heat map compares with */
export function comparedRun(state) {
  const reference = referenceRun(state);
  return state.against && reference !== overviewRun(state) ? reference : null;
}

/**
 * @param {State} state @param {Summary} summary @param {RunInfo} run @returns {string} changes when answers about it
 * become outdated
 */
export function revisionOf(state, summary, run) {
  return `${runRevision(summary, run, Date.now() / 1000)} ${state.attempt}`;
}
