// @ts-check
/** The bar above the cards: parameter filter, colour, axis, age of the data, link, help. */
import { describeAge } from '../data/live.js';
import { t } from '../host/language.js';
import { hostAddress } from '../host/links.js';
import { useProblem } from './hooks/filter.js';
import { groupedStatistics } from './parameter/statistic_groups.js';
import { Choice, CopyButton, html, icon, now, useEffect, useState } from './ui.js';

/**
 * @typedef {import('./ui.js').App} App
 * @typedef {import('../state/store.js').State} State
 */

/** The most used statistics have a button; the others are in the list beside them. */
const metrics = () => [
  { name: 'update_to_weight_ratio', text: t('Update / weight') },
  { name: 'gradient_rms', text: t('Gradient') },
  { name: 'exp_avg_sq_root', text: '√v̂' },
  { name: 'normalized_update_rms', text: 'm̂ / √v̂' },
];
const axes = () => [
  { name: 'step', text: t('Step') },
  { name: 'relative', text: t('Relative'), title: t('Time since the first step of each run') },
  { name: 'wall', text: t('Wall'), title: t('Wall-clock time') },
];

/**
 * @param {object} props
 * @param {App} props.app
 * @param {State} props.state
 * @param {import('../types.d.ts').StatisticInfo[]} props.statistics of the overview's run
 * @param {string} props.metric
 * @param {import('../types.d.ts').RunInfo | null} props.reference
 */
export function Toolbar({ app, state, statistics, metric, reference }) {
  const { actions } = app;
  const runs = state.summary?.runs ?? [];
  const newest = Math.max(...runs.map((run) => run.last_wall_time));
  return html`<div class="bar">
    <${FilterBox}
      class="tensor-filter"
      label=${t('Filter tensors (regex)')}
      value=${state.filter}
      onChange=${actions.filterTensors}
    />
    <${ColourBy} app=${app} statistics=${statistics} metric=${metric} />
    ${
      reference &&
      html`<button
        class="toggle"
        aria-pressed=${state.against}
        title=${t('Colour by the ratio to {run} at the same point of the axis', { run: reference.name })}
        onClick=${() => actions.colourAgainst(!state.against)}
      >
        ÷ <span class="toggle-name">${reference.name}</span>
      </button>`
    }
    <span class="label">${t('Axis')}</span>
    <${Choice} label=${t('Axis')} options=${axes()} chosen=${state.axis} onChoose=${actions.setAxis} />
    ${runs.length > 0 && html`<${LiveMark} app=${app} newest=${newest} paused=${state.paused} />`}
    <${CopyButton} label=${t('Copy link to this view')} text=${hostAddress} symbol="link" />
    <button class="icon-button" aria-label=${t('Keyboard and help')} title=${t('Help (?)')} onClick=${() => actions.showHelp(true)}>?</button>
    <button
      class="settings-button"
      aria-pressed=${state.settings}
      aria-label=${t('Settings')}
      title=${t('Settings')}
      onClick=${() => actions.showSettings(!state.settings)}
    >
      ${icon('settings')}<span>${t('Settings')}</span>
    </button>
  </div>`;
}

/**
 * The statistic shown in the heat map: buttons, and a list of the others.
 * @param {{app: App, statistics: import('../types.d.ts').StatisticInfo[], metric: string}} props
 */
function ColourBy({ app, statistics, metric }) {
  const { colourBy } = app.actions;
  const most = metrics();
  const buttons = most.flatMap((choice) => {
    const statistic = statistics.find(({ name }) => name === choice.name);
    return statistic ? [{ ...choice, title: statistic.description }] : [];
  });
  const others = statistics.filter(({ name }) => !most.some((choice) => choice.name === name));
  const other = others.find(({ name }) => name === metric);
  return html`${buttons.length > 0 && html`<span class="label">${t('Colour by')}</span>`}
    <div class="joined">
      <${Choice} label=${t('Colour by')} options=${buttons} chosen=${metric} onChoose=${colourBy} />
      ${
        others.length > 0 &&
        html`<select
          class="other-metric ${other ? 'chosen' : ''}"
          aria-label=${t('Colour by another statistic')}
          title=${other?.description ?? t('Colour by another statistic')}
          value=${other?.name ?? ''}
          onChange=${(/** @type {any} */ event) => event.target.value && colourBy(event.target.value)}
        >
          <option value="" selected=${!other}>${t('More …')}</option>
          ${groupedStatistics(others).map(
            ({ title, members }) => html`<optgroup key=${title} label=${title}>
              ${members.map(({ name, label }) => html`<option key=${name} value=${name} selected=${name === metric}>${label}</option>`)}
            </optgroup>`,
          )}
        </select>`
      }
    </div>`;
}

/**
 * A field for a regular expression, which says what is wrong with it.
 * @param {{label: string, value: string, onChange: (text: string) => void, class?: string}} props
 */
export function FilterBox({ label, value, onChange, class: className = '' }) {
  const { problem, detail } = useProblem(value);
  const said = problem === 'invalid' ? t('Invalid regular expression') : t('Takes too long, so it is matched as plain text');
  return html`<label class="search ${className} ${problem ? 'invalid' : ''}" title=${detail || null}>
    ${icon('search')}
    <input
      type="text"
      spellcheck=${false}
      placeholder=${label}
      aria-label=${label}
      aria-invalid=${problem !== ''}
      value=${value}
      onInput=${(/** @type {any} */ event) => onChange(event.target.value)}
    />
    ${problem && html`<span class="field-error" role="alert">${said}</span>`}
    ${
      value &&
      html`<button class="icon-button small" aria-label=${t('Clear the filter')} onClick=${() => onChange('')}>
      ${icon('close')}
    </button>`
    }
  </label>`;
}

/** @param {{app: App, newest: number, paused: boolean}} props newest: wall time of the newest data */
function LiveMark({ app, newest, paused }) {
  const [time, setTime] = useState(now());
  useEffect(() => {
    const timer = setInterval(() => setTime(now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const { live, text } = describeAge(newest, Math.max(time, now()), paused);
  const title = t('Newest data: {time}', { time: new Date(newest * 1000).toLocaleString() });
  const press = paused ? t('Resume') : t('Pause: keep what is shown');
  return html`<span class="live ${live ? 'on' : ''}" title=${title}><i></i>${text}</span>
    <button
      class="icon-button"
      aria-pressed=${paused}
      aria-label=${press}
      title=${press}
      onClick=${() => {
        app.actions.pause(!paused);
        if (paused) app.actions.refresh();
      }}
    >
      ${icon(paused ? 'play' : 'pause')}
    </button>`;
}
