// @ts-check
/** Tables of what pictures show: for those who do not see them, and for exact numbers. */
import { formatInteger, formatNumber, formatPercent } from '../chart/format.js';
import { jumpSteps } from '../chart/gradient_jumps.js';
import { percentilesOf, specialCounts } from '../chart/histogram.js';
import { nearestIndex } from '../state/axis.js';
import { extremity, valueAt, valueText } from './overview.js';
import { formatFactor } from './step_table.js';
import { html } from './ui.js';

/**
 * @typedef {import('./ui.js').App} App
 * @typedef {import('./overview.js').View} View
 * @typedef {import('../types.d.ts').HistogramSeries} HistogramSeries
 */

/** This many histograms are enough to read; the file has all. */
const ROWS = 40;
/** Minimum, −1σ, median, +1σ and maximum of a normal distribution. */
const FRACTIONS = [0, 0.1587, 0.5, 0.8413, 1];

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
  return html`<div class="table-scroll picture-table" style="height:${height}px" tabindex="0" role="region" aria-label="The heat map as a table">
    ${
      shown.length > 0 &&
      html`<table class="step" aria-label="Jumps of the gradient">
        <thead>
          <tr><th scope="col">Gradient jumped in</th><th scope="col">at step</th><th scope="col">gradient RMS</th><th scope="col">of the usual</th></tr>
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
    <table class="step" aria-label=${`${metric.label} of ${run.name}`}>
      <thead>
        <tr>
          <th scope="col">Tensor</th>
          <th scope="col">at step ${formatInteger(overview.last_step[column])}</th>
          <th scope="col">lowest</th><th scope="col">highest</th>
          <th scope="col">furthest from usual at step</th><th scope="col">first NaN at step</th>
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
  const { xs, range } = view;
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
    const here = extremity(view, value);
    if (here > rank) [found.furthest, rank] = [column, here];
    if (view.colouring.kind === 'ratio' && value === Infinity) continue; // the weight was 0
    found.lowest = Math.min(found.lowest ?? Infinity, value);
    found.highest = Math.max(found.highest ?? -Infinity, value);
  }
  return found;
}

/**
 * Histograms as percentiles, a row for each step.
 * @param {{app: App, histogram: HistogramSeries, step: number}} props step at the cursor; its row is among those shown
 */
export function HistogramTable({ app, histogram, step }) {
  const rows = _spread(histogram.step, step);
  return html`<div class="plot table-scroll picture-table" tabindex="0" role="region" aria-label=${`Percentiles of ${histogram.quantity}`}>
    <table class="step" aria-label=${`Percentiles of ${histogram.quantity} by step`}>
      <thead>
        <tr>
          <th scope="col">step</th><th scope="col">min</th><th scope="col">−1σ</th><th scope="col">median</th>
          <th scope="col">+1σ</th><th scope="col">max</th><th scope="col">exactly 0</th><th scope="col">NaN or ∞</th>
        </tr>
      </thead>
      <tbody>
        ${rows.map((row) => {
          const { elements, zeros, nonFinite } = specialCounts(histogram, row);
          return html`<tr key=${row}>
            <th scope="row">
              <button class="link" onClick=${() => app.actions.pinStep(histogram.step[row])}>${formatInteger(histogram.step[row])}</button>
            </th>
            ${[...percentilesOf(histogram, row, FRACTIONS)].map((value, i) => html`<td key=${i}>${elements ? formatNumber(value) : '—'}</td>`)}
            <td>${elements ? formatPercent(zeros / elements) : '—'}</td>
            <td class=${nonFinite ? 'hot' : ''}>${formatInteger(nonFinite)}</td>
          </tr>`;
        })}
      </tbody>
    </table>
  </div>`;
}

/** @param {Float64Array} steps @param {number} at @returns {number[]} indices, evenly spread, the nearest to `at` among them */
function _spread(steps, at) {
  const count = Math.min(ROWS, steps.length);
  const rows = new Set(
    Array.from({ length: count }, (_, i) => Math.round((i * (steps.length - 1)) / Math.max(1, count - 1))),
  );
  rows.add(nearestIndex(steps, at));
  return [...rows].sort((a, b) => a - b);
}
