// @ts-check
/** Filters of the page, whose answers may come later. */
import { Filters } from '../filters.js';
import { useEffect, useMemo, useRef, useState } from '../ui.js';

const filters = new Filters(() => new Worker(new URL('../filter_worker.js', import.meta.url), { type: 'module' }));

/** @returns {number} how many answers have come */
function useAnswers() {
  const [count, setCount] = useState(0);
  useEffect(() => filters.subscribe(() => setCount((/** @type {number} */ before) => before + 1)), []);
  return count;
}

/**
 * What a filter keeps of some names; until that is known, what the filter before it kept. The same object
 * while nothing changes.
 * @param {string} text @param {readonly string[]} names
 * @returns {import('../filters.js').Filter}
 */
export function useFilter(text, names) {
  const answers = useAnswers();
  const filter = useMemo(() => filters.of(text, names), [text, names.join('\n'), answers]);
  const last = useRef(filter);
  if (filter.isKnown) last.current = filter;
  return last.current;
}

/** What is wrong with a filter. @param {string} text @returns {import('../filters.js').Filter} */
export function useProblem(text) {
  useAnswers();
  return filters.problemOf(text);
}
