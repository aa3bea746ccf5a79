// @ts-check
/** What an open finding has changed, and how it is taken back; entries of the history. Pure. */

/** @typedef {import('./store.js').State} State */

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
