// @ts-check
/** Jumps of single gradients as marks on the heat map, and on the strip above it. */
import { t } from '../host/language.js';
import { formatNumber } from './format.js';
import { GRADIENT_STATISTIC, jumpSteps } from './gradient_jumps.js';
import { formatFactor } from './statistic_format.js';

/** @typedef {import('./heatmap_values.js').View} View */

/**
 * Marks of the jumps, in the colour of the gradient if the heat map shows gradients.
 * @param {View} view
 */
export function marksOf(view) {
  const shows = view.overview.statistic === GRADIENT_STATISTIC && !view.against;
  return view.jumps.map((jump) => ({
    jump,
    parameter: jump.parameter,
    name: view.run.parameters[jump.parameter].name,
    x: _axisOf(view, jump),
    // A finding refers to the norm of all gradients, which rises by a different factor from each of them.
    text: t('own gradient {size}', { size: Number.isFinite(jump.factor) ? formatFactor(jump.factor) : formatNumber(jump.value) }),
    value: shows ? jump.value : undefined,
  }));
}

/** The steps of the jumps, for the strip above. @param {View} view @returns {{x: number, text: string}[]} */
export function jumpNotes(view) {
  /** @type {Map<number, {x: number, text: string}>} */
  const notes = new Map();
  for (const jump of view.jumps) {
    if (!notes.has(jump.step)) notes.set(jump.step, { x: _axisOf(view, jump), text: t('step {step}', { step: jumpSteps(jump) }) });
  }
  return [...notes.values()];
}

/** @param {View} view @param {import('./gradient_jumps.js').Jump} jump @returns {number} its position on the axis */
function _axisOf({ axis, start }, { step, wallTime }) {
  return axis === 'step' ? step : axis === 'wall' ? wallTime : wallTime - start;
}
