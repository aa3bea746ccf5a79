// @ts-check
/** The keyboard shortcuts. */
import { indexAtOrBefore, zoomedRange } from '../state/axis.js';
import { checkedRuns } from '../state/store.js';
import { toggleAround } from './overview/module_tree.js';
import { rankedRows } from './overview/tree_rows.js';
import { useEffect, useRef } from './ui.js';

/**
 * @typedef {import('./ui.js').App} App
 *
 * @typedef {object} Moves effects of the keys
 * @property {(delta: number) => void} moveTensor
 * @property {(delta: number) => void} moveStep
 * @property {(delta: number) => void} moveFinding
 * @property {() => void} fold
 * @property {(factor: number) => void} zoomBy factor of the visible span; 0 shows everything
 */

/** Keys that move what a list in place of the cards hides: there they scroll. */
const OF_CARDS = new Set(['ArrowLeft', 'ArrowRight', 'j', 'k', 'o', '+', '=', '-', '0']);

/** @param {App} app @param {Moves} moves */
export function useKeyboard(app, moves) {
  const latest = useRef(moves);
  latest.current = moves;
  useEffect(() => {
    const listener = (/** @type {KeyboardEvent} */ event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const { moveTensor, moveStep, moveFinding, fold, zoomBy } = latest.current;
      const field = /** @type {HTMLElement} */ (event.target).closest?.('input, select, textarea');
      if (event.key === 'Escape') {
        if (field) /** @type {HTMLElement} */ (field).blur();
        else app.actions.escape();
        return;
      }
      const { all, compare } = app.store.get();
      if (field || ((all || compare) && OF_CARDS.has(event.key))) return;
      /** @type {Record<string, () => void>} */
      const keys = {
        ArrowLeft: () => moveStep(event.shiftKey ? -10 : -1),
        ArrowRight: () => moveStep(event.shiftKey ? 10 : 1),
        j: () => moveTensor(1),
        k: () => moveTensor(-1),
        o: fold,
        '+': () => zoomBy(0.5),
        '=': () => zoomBy(0.5),
        '-': () => zoomBy(2),
        0: () => zoomBy(0),
        n: () => moveFinding(1),
        p: () => moveFinding(-1),
        c: () => {
          const state = app.store.get();
          if (state.compare || checkedRuns(state).length > 1) app.actions.showComparison(!state.compare);
        },
        '/': () =>
          /** @type {HTMLElement | null} */ (document.querySelector('.tensor-filter input'))?.focus(),
        '?': () => app.actions.showHelp(!app.store.get().dialog),
      };
      const act = keys[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    };
    document.addEventListener('keydown', listener);
    return () => document.removeEventListener('keydown', listener);
  }, []);
}

/**
 * The effects of the keys in the current state.
 * @param {App} app
 * @param {import('../state/store.js').State} state
 * @param {object} here
 * @param {import('../types.d.ts').RunInfo} here.run
 * @param {import('../types.d.ts').ParameterInfo | null} here.parameter the selected one
 * @param {import('./overview/tree_rows.js').Module} here.tree
 * @param {Set<string>} here.open
 * @param {Float64Array | null} here.ranks ranks that order the rows
 * @param {import('../types.d.ts').Overview | null} here.shown
 * @param {import('../types.d.ts').Finding[]} here.findings
 * @param {ReturnType<typeof import('./hooks/run_data.js').useAxis>} here.axis
 * @returns {Moves}
 */
export function movesOf(app, state, { run, parameter, tree, open, ranks, shown, findings, axis }) {
  const moveTensor = (/** @type {number} */ delta) => {
    const order = ranks ? rankedRows(tree, ranks, 1).flatMap((row) => row.parameters) : tree.parameters;
    const at = order.indexOf(parameter ? run.parameters.indexOf(parameter) : -1);
    const next = order[Math.max(0, Math.min(order.length - 1, at + delta))];
    if (next !== undefined) app.actions.selectTensor(run.parameters[next].name);
  };
  const moveStep = (/** @type {number} */ delta) => {
    if (!shown) return;
    const steps = shown.last_step;
    const next = indexAtOrBefore(steps, state.step ?? Infinity) + delta;
    app.actions.pinStep(steps[Math.max(0, Math.min(steps.length - 1, next))]);
  };
  const moveFinding = (/** @type {number} */ delta) => {
    if (!findings.length) return;
    const at = findings.findIndex(({ id }) => id === state.finding);
    const next = at < 0 ? (delta > 0 ? 0 : findings.length - 1) : at + delta;
    app.actions.selectFinding(findings[Math.max(0, Math.min(findings.length - 1, next))]);
  };
  const fold = () => {
    if (parameter) app.actions.openModules(toggleAround(tree, open, run.parameters.indexOf(parameter)));
  };
  const zoomBy = (/** @type {number} */ factor) => {
    if (!axis) return;
    const { range, whole: all, x } = axis;
    const unit = Math.min(1, Math.max(0, (x - range.from) / (range.to - range.from)));
    app.actions.zoom(factor ? zoomedRange(range, unit, factor, all) : null);
  };
  return { moveTensor, moveStep, moveFinding, fold, zoomBy };
}
