// @ts-check
/** What the rows are ordered by, where it is not the order of the model. */
import { isLogarithmic } from '../../chart/heatmap_colours.js';
import { undefinedFor, valueAt } from '../../chart/heatmap_values.js';
import { isBroken } from '../../chart/worst.js';
import { indexAtOrBefore, nearestIndex } from '../../state/axis.js';
import { useMemo } from '../ui.js';

/**
 * @typedef {import('../../chart/heatmap_values.js').View} View
 * @typedef {import('../../chart/worst.js').Kind} Kind
 */

/** A median of this many values, evenly spread, is as good as one of all, and quick while zooming. */
const MEDIAN_OF = 255;
/** The least spread of changes among parameters: decades, or units of a linear scale. */
const SMALLEST_SPREAD = { log: 0.02, linear: 1e-3 };

/**
 * What the rows are ordered by; null for the order of the model.
 * @param {import('../../state/store.js').State} state
 * @param {View | null} view
 * @returns {Float64Array | null} by parameter
 */
export function useRanks({ order }, view) {
  const at = view && order === 'latest' ? nearestIndex(view.xs, view.x) : -1;
  return useMemo(() => {
    if (order === 'model' || !view) return null;
    const { overview, xs, range, colouring } = view;
    const leftOut = undefinedFor(view);
    if (order === 'anomaly') {
      const first = Math.max(0, indexAtOrBefore(xs, range.from));
      return anomalies(overview, { first, last: Math.max(first, indexAtOrBefore(xs, range.to)) }, colouring.kind, leftOut);
    }
    return Float64Array.from({ length: overview.parameters }, (_, parameter) => {
      const value = leftOut.has(parameter) ? null : valueAt(view, parameter, at);
      return value === null ? -Infinity : Number.isNaN(value) ? Infinity : value;
    });
  }, [order, view?.overview, view?.metric, order === 'anomaly' ? view?.range : at]);
}

/**
 * How much each parameter stands out: its change from one column to the next that is furthest from what
 * the others do there, in units of how far they are apart. So neither level nor drift, nor the first
 * steps, when everything moves, are anomalies; a spike of one parameter is.
 * @param {Pick<import('../../types.d.ts').Overview, 'parameters' | 'columns' | 'values' | 'logged'>} overview
 * @param {{first: number, last: number}} columns visible, inclusive
 * @param {Kind} kind
 * @param {ReadonlySet<number>} [leftOut] parameters that do not have the statistic
 * @returns {Float64Array} by parameter; Infinity where a value is broken, -1 where there is none
 */
export function anomalies({ parameters, columns, values, logged }, { first, last }, kind, leftOut) {
  const onLog = isLogarithmic(kind);
  const ranks = new Float64Array(parameters).fill(-1);
  const before = new Float64Array(parameters).fill(NaN);
  const change = new Float64Array(parameters);
  for (let column = first; column <= last; column++) {
    for (let parameter = 0; parameter < parameters; parameter++) {
      const at = parameter * columns + column;
      const known = !leftOut?.has(parameter) && (!logged || logged[at]);
      const value = known ? values[at] : NaN;
      if (known && isBroken(kind, value)) ranks[parameter] = Infinity;
      const now = !Number.isFinite(value) ? NaN : !onLog ? value : value > 0 ? Math.log10(value) : NaN;
      if (!Number.isNaN(now)) ranks[parameter] = Math.max(ranks[parameter], 0);
      change[parameter] = now - before[parameter];
      before[parameter] = now;
    }
    const usual = _median(parameters, (parameter) => change[parameter]);
    const spread = _median(parameters, (parameter) => Math.abs(change[parameter] - usual));
    const unit = spread + (onLog ? SMALLEST_SPREAD.log : SMALLEST_SPREAD.linear);
    for (let parameter = 0; parameter < parameters; parameter++) {
      const distance = Math.abs(change[parameter] - usual) / unit;
      if (distance > ranks[parameter]) ranks[parameter] = distance;
    }
  }
  return ranks;
}

/** @param {number} count @param {(index: number) => number} valueAt @returns {number} of the finite values */
function _median(count, valueAt) {
  const values = new Float64Array(Math.min(count, MEDIAN_OF));
  let n = 0;
  for (let k = 0; k < values.length; k++) {
    const value = valueAt(Math.floor((k * count) / values.length));
    if (Number.isFinite(value)) values[n++] = value;
  }
  return n ? values.subarray(0, n).sort()[n >> 1] : NaN;
}
