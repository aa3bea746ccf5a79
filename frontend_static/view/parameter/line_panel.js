// @ts-check
/** The parameter's statistics over time: a chart for each chosen one, a line for each checked run. */
import { t } from '../../host/language.js';
import { Choice, html, Menu, SaveMenu } from '../ui.js';
import { Absences, chartOf, chosenStatistics, drawnOf, noteOn } from './line_charts.js';
import { Lines } from './lines.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../chart/heatmap_values.js').View} View
 * @typedef {import('../../types.d.ts').RunSeries} RunSeries
 * @typedef {import('../../state/store.js').State} State
 * @typedef {import('../../types.d.ts').StatisticInfo} StatisticInfo
 */

const scales = () => [
  { name: 'auto', text: t('Auto') },
  { name: 'log', text: t('Log') },
  { name: 'linear', text: t('Linear') },
];
const SMALLEST_CHART = 104;

/**
 * @param {object} props
 * @param {App} props.app
 * @param {State} props.state
 * @param {View} props.view
 * @param {string} props.parameter
 * @param {RunSeries[]} props.runs
 * @param {StatisticInfo[]} props.statistics to choose from
 */
export function LinePanel({ app, state, view, parameter, runs, statistics }) {
  const wanted = state.lineStatistics ?? [view.metric.name];
  const chosen = chosenStatistics(view.evidence ? [...wanted, view.evidence.statistic] : wanted, statistics);
  if (!chosen.length) return html`<div class="panel wide hint">${t('No statistics were logged.')}</div>`;
  const single = chosen.length === 1 ? chosen[0] : null;
  return html`<section class="panel wide lines" aria-label=${t('Statistics over time')} style="min-height:${22 + chosen.length * SMALLEST_CHART}px">
    <h3>
      <${Menu} label=${t('Statistics')} text=${single ? single.label : t('{count} statistics', { count: chosen.length })} strong=${true}>
        ${statistics.map(
          ({ name, label, description }) => html`<label key=${name} class="menu-item" title=${description}>
            <input
              type="checkbox"
              checked=${chosen.some((other) => other.name === name)}
              onChange=${() => app.actions.toggleStatistic(name)}
            />
            ${label}
          </label>`,
        )}
      </${Menu}>
      <small>${single ? noteOn(single, state, view, runs, parameter) : ''}</small>
      ${single && html`<${Absences} runs=${runs} parameter=${parameter} statistic=${single} />`}
      <span class="grow"></span>
      <${Choice}
        small=${true}
        label=${t('Value axis')}
        options=${scales()}
        chosen=${state.lineScale}
        onChoose=${(/** @type {State['lineScale']} */ scale) => app.actions.prefer('lineScale', scale)}
      />
      <${SaveMenu}
        label=${t('Save the lines')}
        name=${`${parameter} lines`}
        figure=${async () => {
          const { lineFigure } = await import('../../save/figures.js');
          return lineFigure({ view, parameter, charts: chosen.map((s) => chartOf(s, state, view, drawnOf(s, state, runs), parameter)) });
        }}
        table=${async () => (await import('../../save/tables.js')).seriesTable({ parameter, runs, statistics: chosen })}
      />
    </h3>
    ${chosen.map(
      (statistic, i) => html`<${Lines}
        key=${statistic.name}
        app=${app}
        state=${state}
        view=${view}
        parameter=${parameter}
        runs=${runs}
        statistic=${statistic}
        titled=${!single}
        last=${i === chosen.length - 1}
      />`,
    )}
  </section>`;
}
