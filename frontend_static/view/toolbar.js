// @ts-check
/** The bar above the cards: parameter filter, colour, axis, how fresh the data are, link, help. */
import { describeAge } from '../data/live.js';
import { hostAddress } from '../host/links.js';
import { compileFilter } from '../state/store.js';
import { copyText, html, icon, now, useEffect, useState } from './ui.js';

/**
 * @typedef {import('./ui.js').App} App
 * @typedef {import('../state/store.js').State} State
 */

const METRICS = [
  { name: 'update_to_weight_ratio', text: 'Update / weight' },
  { name: 'gradient_rms', text: 'Gradient' },
  { name: 'exp_avg_sq_root', text: '√v̂' },
  { name: 'normalized_update_rms', text: 'm̂ / (√v̂+ε)' },
];
const AXES = [
  { name: 'step', text: 'Step' },
  { name: 'relative', text: 'Relative' },
  { name: 'wall', text: 'Wall' },
];

/** @param {{app: App, state: State, statistics: string[], metric: string}} props */
export function Toolbar({ app, state, statistics, metric }) {
  const { actions } = app;
  const runs = state.summary?.runs ?? [];
  const newest = Math.max(...runs.map((run) => run.last_wall_time));
  return html`<div class="bar">
    <${FilterBox}
      class="tensor-filter"
      label="Filter tensors (regex)"
      value=${state.filter}
      onChange=${actions.filterTensors}
    />
    <${Choice}
      label="Colour by"
      options=${METRICS.filter(({ name }) => statistics.includes(name))}
      chosen=${metric}
      onChoose=${actions.colourBy}
    />
    <${Choice} label="Axis" options=${AXES} chosen=${state.axis} onChoose=${actions.setAxis} />
    ${runs.length > 0 && html`<${LiveMark} newest=${newest} />`}
    <${CopyButton} label="Copy link to this view" text=${hostAddress} symbol="link" />
    <button class="icon-button" aria-label="Keyboard and help" title="Help (?)" onClick=${() => actions.showHelp(true)}>?</button>
  </div>`;
}

/**
 * A field for a regular expression, which says when it is none.
 * @param {{label: string, value: string, onChange: (text: string) => void, class?: string}} props
 */
export function FilterBox({ label, value, onChange, class: className = '' }) {
  const { error } = compileFilter(value);
  return html`<label class="search ${className} ${error ? 'invalid' : ''}" title=${error}>
    ${icon('search')}
    <input
      type="text"
      spellcheck=${false}
      placeholder=${label}
      aria-label=${label}
      aria-invalid=${error !== null}
      value=${value}
      onInput=${(/** @type {any} */ event) => onChange(event.target.value)}
    />
    ${error && html`<span class="field-error" role="alert">Invalid regular expression</span>`}
    ${
      value &&
      html`<button class="icon-button small" aria-label="Clear the filter" onClick=${() => onChange('')}>
      ${icon('close')}
    </button>`
    }
  </label>`;
}

/**
 * Buttons of which one is pressed.
 * @param {{label: string, options: {name: string, text: string}[], chosen: string, onChoose: (name: any) => void}} props
 */
function Choice({ label, options, chosen, onChoose }) {
  if (options.length === 0) return null;
  return html`<span class="label">${label}</span>
    <div class="choice" role="group" aria-label=${label}>
      ${options.map(
        ({ name, text }) =>
          html`<button key=${name} aria-pressed=${name === chosen} onClick=${() => onChoose(name)}>${text}</button>`,
      )}
    </div>`;
}

/** @param {{newest: number}} props wall time of the newest data */
function LiveMark({ newest }) {
  const [time, setTime] = useState(now());
  useEffect(() => {
    const timer = setInterval(() => setTime(now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const { live, text } = describeAge(newest, Math.max(time, now()));
  const title = `Newest data: ${new Date(newest * 1000).toLocaleString()}`;
  return html`<span class="live ${live ? 'on' : ''}" title=${title}><i></i>${text}</span>`;
}

/**
 * @param {{label: string, text: () => string, symbol: 'link' | 'copy'}} props
 */
export function CopyButton({ label, text, symbol }) {
  const [outcome, setOutcome] = useState('');
  useEffect(() => {
    if (!outcome) return;
    const timer = setTimeout(() => setOutcome(''), 2000);
    return () => clearTimeout(timer);
  }, [outcome]);
  const copy = async () => setOutcome((await copyText(text())) ? 'Copied' : 'Not allowed to copy');
  return html`<button class="icon-button copy" aria-label=${label} title=${label} onClick=${copy}>
    ${icon(symbol)}<span class="copied" role="status">${outcome}</span>
  </button>`;
}
