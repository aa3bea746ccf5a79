// @ts-check
/** What the heat map shows as a table: for those who do not see it, and for exact numbers. */
import { formatInteger, formatNumber } from '../../chart/format.js';
import { jumpSteps } from '../../chart/gradient_jumps.js';
import { valueAt, valueText } from '../../chart/heatmap_values.js';
import { formatFactor } from '../../chart/statistic_format.js';
import { badness, isBroken } from '../../chart/worst.js';
import { t } from '../../host/language.js';
import { nearestIndex } from '../../state/axis.js';
import { html } from '../ui.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../chart/heatmap_values.js').View} View
 */

/**
 * The heat map as numbers: each tensor at the pinned step and over the visible steps, and the jumps of
 * gradients that are marked on it.
 * @param {{app: App, view: View, parameters: number[], height: number}} props parameters in the order of the rows
 */
export function OverviewTable({ app, view, parameters, height }) {
  const { run, metric, overview, jumps } = view;
  const column = nearestIndex(view.xs, view.x);
  const wanted = new Set(parameters);
  const shown = jumps.filter((jump) => wanted.has(jump.parameter));
  const name = (/** @type {number} */ parameter) => run.parameters[parameter].name;
  return html`<div class="table-scroll picture-table" style="height:${height}px" tabindex="0" role="region" aria-label=${t('The heat map as a table')}>
    ${
      shown.length > 0 &&
      html`<table class="step" aria-label=${t('Jumps of the gradient')}>
        <thead>
          <tr>
            <th scope="col">${t('Gradient jumped in')}</th><th scope="col">${t('at step')}</th>
            <th scope="col">${t('gradient RMS')}</th><th scope="col">${t('vs. usual')}</th>
          </tr>
        </thead>
        <tbody>
          ${shown.map(
            (jump) => html`<tr key=${`${jump.parameter} ${jump.step}`}>
              <th scope="row">
                <button class="link" onClick=${() => app.actions.selectCell(name(jump.parameter), jump.step)}>${name(jump.parameter)}</button>
              </th>
              <td>${jumpSteps(jump)}</td>
              <td>${formatNumber(jump.value)}</td>
              <td>${Number.isFinite(jump.factor) ? formatFactor(jump.factor) : '—'}</td>
            </tr>`,
          )}
        </tbody>
      </table>`
    }
    <table class="step" aria-label=${t('{statistic} of {run}', { statistic: metric.label, run: run.name })}>
      <thead>
        <tr>
          <th scope="col">${t('Tensor')}</th>
          <th scope="col">${t('at step {step}', { step: formatInteger(overview.last_step[column]) })}</th>
          <th scope="col">${t('lowest')}</th><th scope="col">${t('highest')}</th>
          <th scope="col">${t('most unusual step')}</th><th scope="col">${t('first NaN step')}</th>
        </tr>
      </thead>
      <tbody>
        ${parameters.map((parameter) => {
          const { lowest, highest, furthest, firstNaN } = _extremes(view, parameter);
          const text = (/** @type {number | null} */ value) => (value === null ? '—' : valueText(view, parameter, value));
          const step = (/** @type {number} */ at) => (at < 0 ? '—' : formatInteger(overview.last_step[at]));
          return html`<tr key=${parameter}>
            <th scope="row">
              <button class="link" onClick=${() => app.actions.selectTensor(name(parameter))}>${name(parameter)}</button>
            </th>
            <td>${valueText(view, parameter, valueAt(view, parameter, column))}</td>
            <td>${text(lowest)}</td><td>${text(highest)}</td><td>${step(furthest)}</td><td>${step(firstNaN)}</td>
          </tr>`;
        })}
      </tbody>
    </table>
  </div>`;
}

/** @param {View} view @param {number} parameter @returns {{lowest: number | null, highest: number | null, furthest: number, firstNaN: number}} */
function _extremes(view, parameter) {
  const { xs, range, colouring: { kind } } = view;
  /** @type {{lowest: number | null, highest: number | null, furthest: number, firstNaN: number}} */
  const found = { lowest: null, highest: null, furthest: -1, firstNaN: -1 };
  let rank = -Infinity;
  for (let column = 0; column < xs.length; column++) {
    const value = xs[column] < range.from || xs[column] > range.to ? null : valueAt(view, parameter, column);
    if (value === null) continue;
    if (Number.isNaN(value)) {
      if (found.firstNaN < 0) found.firstNaN = column;
      continue;
    }
    const here = badness(kind, value);
    if (here > rank) [found.furthest, rank] = [column, here];
    if (value === Infinity && !isBroken(kind, value)) continue; // the weight was 0
    found.lowest = Math.min(found.lowest ?? Infinity, value);
    found.highest = Math.max(found.highest ?? -Infinity, value);
  }
  return found;
}
