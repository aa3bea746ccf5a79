// @ts-check
/** Histograms as a table: for those who do not see pictures, and for exact numbers. */
import { formatInteger, formatNumber, formatPercent } from '../../chart/format.js';
import { percentilesOf, specialCounts } from '../../chart/histogram.js';
import { t } from '../../host/language.js';
import { nearestIndex } from '../../state/axis.js';
import { html } from '../ui.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../types.d.ts').HistogramSeries} HistogramSeries
 */

/** This many histograms are enough to read; the file has all. */
const ROWS = 40;
/** Minimum, −1σ, median, +1σ and maximum of a normal distribution. */
const FRACTIONS = [0, 0.1587, 0.5, 0.8413, 1];

/**
 * Histograms as percentiles, a row for each step.
 * @param {{app: App, histogram: HistogramSeries, step: number}} props step at the cursor; its row is among those shown
 */
export function HistogramTable({ app, histogram, step }) {
  const rows = _spread(histogram.step, step);
  return html`<div class="plot table-scroll picture-table" tabindex="0" role="region" aria-label=${t('Percentiles of {quantity}', { quantity: histogram.quantity })}>
    <table class="step" aria-label=${t('Percentiles of {quantity} by step', { quantity: histogram.quantity })}>
      <thead>
        <tr>
          <th scope="col">${t('step')}</th><th scope="col">${t('min')}</th><th scope="col">−1σ</th><th scope="col">${t('median')}</th>
          <th scope="col">+1σ</th><th scope="col">${t('max')}</th><th scope="col">${t('exactly 0')}</th><th scope="col">${t('NaN or ∞')}</th>
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
