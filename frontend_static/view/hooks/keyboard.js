// @ts-check
/** What keys do. */
import { useEffect, useRef } from '../ui.js';

/**
 * @typedef {object} Moves what keys do
 * @property {(delta: number) => void} moveTensor
 * @property {(delta: number) => void} moveStep
 * @property {(delta: number) => void} moveFinding
 * @property {() => void} fold
 * @property {(factor: number) => void} zoomBy of the visible span; 0 shows everything
 */

/** @param {import('../ui.js').App} app @param {Moves} moves */
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
      if (field) return;
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
