// @ts-check
/** The state of every run by the rules: requested until the server has diagnosed all. */
import { isTabVisible } from '../../data/live.js';
import { useEffect, useState } from '../ui.js';

/** @typedef {import('../../types.d.ts').RunState} RunState */

const AGAIN_MILLISECONDS = 1500;
/** Interval between requests while runs grow. */
const LATER_MILLISECONDS = 20_000;

/** @type {ReadonlyMap<string, RunState>} */
const NOTHING_KNOWN = new Map();

/**
 * @param {import('../ui.js').App} app
 * @param {import('../../types.d.ts').Summary} summary
 * @param {boolean} wanted false while other answers are more urgent
 * @returns {ReadonlyMap<string, RunState>} by run; runs without any known state are missing
 */
export function useRunStates({ api }, summary, wanted) {
  const [states, setStates] = useState(NOTHING_KNOWN);
  const isAsked = wanted && summary.runs.length > 1 && Boolean(summary.rules?.length);
  const revision = summary.revision;
  useEffect(() => {
    if (!isAsked) return;
    const controller = new AbortController();
    /** @type {any} */
    let timer = null;
    const wait = (/** @type {number} */ milliseconds) => {
      timer = setTimeout(ask, milliseconds);
    };
    const ask = async () => {
      if (!isTabVisible()) return wait(AGAIN_MILLISECONDS);
      try {
        const { runs, busy } = await api.states(controller.signal);
        if (controller.signal.aborted) return;
        setStates(new Map(runs.filter(({ pending }) => !pending).map((state) => [state.run, state])));
        if (busy) wait(AGAIN_MILLISECONDS);
      } catch {
        // An older server lacks this route, and a lost connection is reported elsewhere.
      }
    };
    ask();
    // A run that has grown is diagnosed again a while later.
    const late = setTimeout(ask, LATER_MILLISECONDS);
    return () => {
      controller.abort();
      clearTimeout(timer);
      clearTimeout(late);
    };
  }, [isAsked, revision]);
  return states;
}
