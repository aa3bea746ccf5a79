// @ts-check
/** Which views the browser's Back and Forward stop at. Pure. */

/**
 * @typedef {import('./store.js').State} State
 * @typedef {import('../host/links.js').Link} Link
 */

/** Whoever moves through tensors by keys comes back to where the way began. */
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
     * Whether a view is another than the last one, and was gone to by the user.
     * @param {State} state after a change; asked for every one
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
