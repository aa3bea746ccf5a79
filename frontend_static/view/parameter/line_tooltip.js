// @ts-check
/** What the lines say at the step under the pointer, a row for each run. */
import { formatAxis, formatInteger } from '../../chart/format.js';
import { yToPixel } from '../../chart/frame.js';
import { formatStatistic } from '../../chart/statistic_format.js';
import { t } from '../../host/language.js';
import { nearestIndex } from '../../state/axis.js';
import { Tip } from '../hooks/plot.js';
import { html, useState } from '../ui.js';
import { isSmoothed } from './line_charts.js';

/**
 * @typedef {import('../../chart/heatmap_values.js').View} View
 * @typedef {import('../../state/store.js').State} State
 * @typedef {import('../../types.d.ts').PlotArea} PlotArea
 * @typedef {import('../../types.d.ts').StatisticInfo} StatisticInfo
 * @typedef {import('../../chart/scales.js').Scale} Scale
 * @typedef {import('./line_charts.js').Drawn} Drawn
 *
 * @typedef {{run: string, color: string, smoothed: number, value: number, x: number, step: number, wall: number, start: number, distance: number, isKnown: boolean}} TipRow
 * @typedef {{pointer: {x: number, y: number}, rows: TipRow[], more: number}} LineTip
 */

const MOST_TIPS = 12;
/** Widths within the tooltip: of a column, and what the dot and the name of the run take besides. */
const TIP_COLUMN = 72;
const TIP_RUN = 170;

/**
 * @param {PointerEvent} event @param {number} x
 * @param {{drawn: Drawn[], area: PlotArea, scale: Scale, state: State, view: View, box: HTMLElement | null}} at
 * @returns {LineTip | null}
 */
export function tipAt(event, x, { drawn, area, scale, state, view, box }) {
  const y = event.clientY - /** @type {HTMLElement} */ (box).getBoundingClientRect().top;
  const rows = drawn.flatMap(({ run, color, series, xs, raw, y: smoothed, unknown, start, steps, between }) => {
    if (!series || !xs.length || x < xs[0] - 1e-9 || xs[xs.length - 1] < view.range.from) return [];
    const i = nearestIndex(xs, x);
    if (steps?.length && between) {
      const j = nearestIndex(between.xs, x);
      const value = between.norms.values[j];
      if (Math.abs(between.xs[j] - x) < Math.abs(xs[i] - x))
        return [
          {
            run: run.name,
            color,
            smoothed: value,
            value,
            x: between.xs[j],
            step: between.norms.last_step[j],
            wall: between.norms.wall_time[j],
            start,
            distance: Math.abs(yToPixel(area, scale, value) - y),
            isKnown: true,
          },
        ];
    }
    return [
      {
        run: run.name,
        color,
        smoothed: smoothed[i],
        value: raw[i],
        x: xs[i],
        step: series.step[i],
        wall: series.wall_time[i],
        start,
        distance: Math.abs(yToPixel(area, scale, smoothed[i]) - y),
        isKnown: !unknown.has(i),
      },
    ];
  });
  if (!rows.length) return null;
  orderTips(rows, state.tooltipOrder);
  return { pointer: event, rows: rows.slice(0, MOST_TIPS), more: rows.length - MOST_TIPS };
}

/** @param {TipRow[]} rows sorted in place @param {State['tooltipOrder']} order */
export function orderTips(rows, order) {
  if (order === 'default') return;
  const key = (/** @type {TipRow} */ row) => {
    const rank = order === 'nearest' ? row.distance : order === 'ascending' ? row.smoothed : -row.smoothed;
    return Number.isNaN(rank) ? Infinity : rank;
  };
  rows.sort((a, b) => key(a) - key(b) || 0);
}

/** @param {{register: {current: (content: LineTip | null) => void}, statistic: StatisticInfo, state: State}} props */
export function LineTooltip({ register, statistic, state }) {
  const [tip, setTip] = useState(/** @type {LineTip | null} */ (null));
  register.current = setTip;
  if (!tip) return null;
  const nearest = state.tooltipOrder === 'nearest' && tip.rows.length > 1;
  const smoothed = isSmoothed(statistic, state);
  const names = [t('Run'), ...(smoothed ? [t('Smoothed')] : []), t('Value'), t('Step'), t('Time'), t('Relative')];
  const more = tip.more > 0;
  return html`<${Tip} class="lines-tip" pointer=${tip.pointer} width=${names.length * TIP_COLUMN + TIP_RUN} rows=${1 + tip.rows.length + Number(more)}>
    <table>
      <thead>
        <tr><th></th>${names.map((name) => html`<th key=${name}>${name}</th>`)}</tr>
      </thead>
      <tbody>
        ${tip.rows.map(
          (row, i) => html`<tr key=${row.run} class=${nearest && i === 0 ? 'nearest' : ''}>
            <td><i style="background:${row.color}"></i></td>
            <td><bdi>${row.run}</bdi></td>
            ${smoothed && html`<td>${row.isKnown ? formatStatistic(statistic, row.smoothed) : ''}</td>`}
            <td>${row.isKnown ? formatStatistic(statistic, row.value) : t('no value')}</td>
            <td>${formatInteger(row.step)}</td>
            <td>${formatAxis(row.wall, 'wall')}</td>
            <td>${formatAxis(row.wall - row.start, 'relative')}</td>
          </tr>`,
        )}
      </tbody>
    </table>
    ${more && html`<p>${t('and {count} more', { count: tip.more })}</p>`}
  </${Tip}>`;
}
