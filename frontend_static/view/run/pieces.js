// @ts-check
/** Long names in lines: a line ends where a name has parts. */
import { html } from '../ui.js';

/** Names, which a line may end only where their parts do. @param {string} names @param {number} [whole] */
export function inPieces(names, whole) {
  return piecesOf(names, whole).map((piece, i) => html`${i > 0 && html`<wbr />`}${piece}`);
}

/**
 * @param {string} names @param {number} [whole] names up to this length stay in one piece
 * @returns {string[]} each with the sign behind it that parts it from the next
 */
export function piecesOf(names, whole = 0) {
  const words = names.match(/[^ ]* |[^ ]+$/g) ?? [];
  return words.flatMap((word) => (word.length <= whole ? word : (word.match(/[^/_.-]*[/_.-]+|[^/_.-]+$/g) ?? word)));
}
