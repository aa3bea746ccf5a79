// @ts-check
/** Which statistics have a line chart: a list in groups, with a search. */
import { t } from '../../host/language.js';
import { html, useState } from '../ui.js';
import { groupedStatistics, searchedStatistics } from './statistic_groups.js';

/**
 * @param {object} props
 * @param {import('../ui.js').App} props.app
 * @param {import('../../types.d.ts').StatisticInfo[]} props.statistics
 * @param {import('../../types.d.ts').StatisticInfo[]} props.chosen
 */
export function StatisticMenu({ app, statistics, chosen }) {
  const [text, setText] = useState('');
  const groups = groupedStatistics(searchedStatistics(statistics, text));
  return html`<input
      class="menu-search"
      type="search"
      spellcheck=${false}
      placeholder=${t('Search statistics')}
      aria-label=${t('Search statistics')}
      value=${text}
      onInput=${(/** @type {any} */ event) => setText(event.target.value)}
    />
    ${groups.map(
      ({ title, members }) => html`<div key=${title} class="menu-group" role="group" aria-label=${title}>
        <span class="menu-title" aria-hidden="true">${title}</span>
        ${members.map(
          ({ name, label, description }) => html`<label key=${name} class="menu-item" title=${description}>
            <input
              type="checkbox"
              checked=${chosen.some((other) => other.name === name)}
              onChange=${() => app.actions.toggleStatistic(name)}
            />
            ${label}
          </label>`,
        )}
      </div>`,
    )}
    ${groups.length === 0 && html`<p class="hint">${t('No statistic matches.')}</p>`}`;
}
