// @ts-check
/** What the user can do in the comparison of runs. */
import { asBeforeFinding, colouredBy, visit } from './before_finding.js';

/**
 * Where two runs part, as the comparison says it.
 * @typedef {object} PartingPlace
 * @property {string} run the best one, which the other is compared with
 * @property {string} against the other one
 * @property {string} statistic
 * @property {string} parameter
 * @property {number} step
 */

/** @param {import('./store.js').Store} store */
export function comparisonActions({ get, set }) {
  return {
    /** Compares the checked runs, or no longer. @param {boolean} compare */
    showComparison: (compare) => set({ compare, all: false, ...visit(get()) }),
    /** Checks these runs alone. @param {string[]} runs */
    compareOnly: (runs) => set({ checked: new Set(runs), compare: true, all: false, ...visit(get()) }),
    /**
     * Shows a tensor of two runs at the step at which they part in a statistic, the better run as the reference.
     * @param {PartingPlace} place
     */
    showParting({ run, against, statistic, parameter, step }) {
      const state = get();
      const { checked } = state;
      const before = { ...state, ...asBeforeFinding(state) };
      const coloured = colouredBy(before, statistic);
      const charts = coloured.lineStatistics;
      const isDrawn = !charts || charts.includes(statistic);
      set({
        ...asBeforeFinding(state),
        ...{ finding: null, reopen: null, all: false, compare: false, range: null, against: false },
        ...coloured,
        ...(!isDrawn && { lineStatistics: [...charts, statistic] }),
        ...{ run: against, reference: run, tensor: parameter, step, unfolded: parameter },
        ...(checked && { checked: new Set(checked).add(run).add(against) }),
        ...visit(state),
      });
    },
  };
}
