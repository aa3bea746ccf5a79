// @ts-check
/** Which views the browser's Back and Forward return to. Pure. */

/**
 * @typedef {import('./store.js').State} State
 * @typedef {import('../host/links.js').Link} Link
 */

/** After moving through tensors with keys, Back returns to the starting point. */
const ON_THE_WAY_MILLISECONDS = 1000;

/**
 * @param {(state: State) => Link} linkOf
 * @param {() => number} [now] milliseconds
 */
export function createHistory(linkOf, now = () => performance.now()) {
  let visits = 0;
  let time = -Infinity;
  /** @type {Link} */
  let last = {};
  return {
    /**
     * Whether a view differs from the last one, and the user navigated to it.
     * @param {State} state after a change; called for every one
     */
    isNewEntry(state) {
      const [before, link] = [last, linkOf(state)];
      last = link;
      if (state.visits === visits) return false;
      visits = state.visits;
      const others = /** @type {const} */ (['run', 'finding', 'metric', 'all', 'compare']);
      const isWay = others.every((key) => before[key] === link[key]) && now() - time < ON_THE_WAY_MILLISECONDS;
      time = now();
      return !isWay;
    },
  };
}
