// @ts-check
/** The comparison of the checked runs, as the server says it. */
import { revisionOf } from '../../state/questions.js';
import { useAnswer, useEffect, useRef, useState } from '../ui.js';

/** A comparison keeps the server busy: of runs that grow it is asked for again that much later. */
const AGAIN_MILLISECONDS = 15_000;

/**
 * @param {import('../ui.js').App} app @param {import('../../state/store.js').State} state
 * @param {import('../../types.d.ts').Summary} summary @param {import('../../types.d.ts').RunInfo[]} runs
 * @returns {import('../ui.js').Answer<import('../../types.d.ts').Comparison>} nothing for fewer than two runs
 */
export function useComparison({ api }, state, summary, runs) {
  const names = runs.map(({ run }) => run);
  const subject = names.length < 2 ? null : JSON.stringify(names);
  const newest = useRef('');
  newest.current = runs.map((info) => revisionOf(state, summary, info)).join('\n');
  const asked = useRef({ subject, revision: newest.current });
  if (asked.current.subject !== subject) asked.current = { subject, revision: newest.current };
  const waiting = useRef(/** @type {object | null} the question that is not answered yet */ (null));
  const [, askAgain] = useState(0);
  useEffect(() => {
    if (subject === null) return;
    const timer = setInterval(() => {
      if (waiting.current || asked.current.revision === newest.current) return;
      asked.current = { subject, revision: newest.current };
      askAgain((count) => count + 1);
    }, AGAIN_MILLISECONDS);
    return () => clearInterval(timer);
  }, [subject]);
  return useAnswer(subject, asked.current.revision, async (signal) => {
    const question = {};
    waiting.current = question;
    try {
      return await api.compare(names, signal);
    } finally {
      if (waiting.current === question) waiting.current = null;
    }
  });
}
