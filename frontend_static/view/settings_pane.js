// @ts-check
/** The settings, in TensorBoard's order and wording where it has them, too. Kept in this browser. */
import { defaultPreferences, isValidPreference } from '../state/store.js';
import { html, icon, useEffect, useState } from './ui.js';

/**
 * @typedef {import('./ui.js').App} App
 * @typedef {import('../state/store.js').State} State
 * @typedef {{name: string | number, text: string}} Option
 */

const AXES = [
  { name: 'step', text: 'Step' },
  { name: 'relative', text: 'Relative' },
  { name: 'wall', text: 'Wall' },
];
const TOOLTIPS = [
  { name: 'default', text: 'Default' },
  { name: 'descending', text: 'Descending' },
  { name: 'ascending', text: 'Ascending' },
  { name: 'nearest', text: 'Nearest Pixel' },
];
const ORDERS = [
  { name: 'model', text: 'Module tree' },
  { name: 'latest', text: 'Highest at step' },
  { name: 'anomaly', text: 'Most anomalous' },
];
const SCALES = [
  { name: 'auto', text: 'As suits the statistic' },
  { name: 'log', text: 'Logarithmic' },
  { name: 'linear', text: 'Linear' },
];
const VALUE_AXES = [
  { name: 'log', text: 'Signed log' },
  { name: 'linear', text: 'Linear' },
];
const POLLS = [
  { name: 2, text: '2 s' },
  { name: 5, text: '5 s' },
  { name: 15, text: '15 s' },
  { name: 30, text: '30 s' },
  { name: 60, text: '60 s' },
];

/** @param {{app: App, state: State, statistics: import('../types.d.ts').StatisticInfo[], metric: string}} props */
export function SettingsPane({ app, state, statistics, metric }) {
  const { actions } = app;
  const metrics = statistics.map(({ name, label }) => ({ name, text: label }));
  return html`<aside class="settings" aria-label="Settings">
    <div class="section">
      Settings<span class="grow"></span>
      <button class="icon-button" aria-label="Close settings" onClick=${() => actions.showSettings(false)}>${icon('close')}</button>
    </div>
    <section>
      <h4>General</h4>
      <${Select} label="Horizontal Axis" options=${AXES} value=${state.axis} onChange=${actions.setAxis} />
      <label class="field">
        <span>Smoothing</span>
        <span class="slider">
          <input
            type="range"
            min="0"
            max="0.99"
            step="0.01"
            value=${state.smoothing}
            onInput=${(/** @type {any} */ event) => actions.prefer('smoothing', Number(event.target.value))}
          />
          <output>${state.smoothing.toFixed(2)}</output>
        </span>
      </label>
      <${Check} app=${app} state=${state} name="linkCursor" label="Link the step cursor across charts" />
      <${Check} app=${app} state=${state} name="ignoreOutliers" label="Ignore outliers in chart scaling" />
      <${Select}
        label="Tooltip sorting method"
        options=${TOOLTIPS}
        value=${state.tooltipOrder}
        onChange=${(/** @type {State['tooltipOrder']} */ order) => actions.prefer('tooltipOrder', order)}
      />
      <${Select}
        label="Value axis of lines"
        options=${SCALES}
        value=${state.lineScale}
        onChange=${(/** @type {State['lineScale']} */ scale) => actions.prefer('lineScale', scale)}
      />
    </section>
    <section>
      <h4>Overview</h4>
      <${Select} label="Colour by" options=${metrics} value=${metric} onChange=${actions.colourBy} />
      <${Pair} app=${app} state=${state} name="healthyBand" label="Healthy band of update / weight" />
      <${Pair} app=${app} state=${state} name="colourRange" label="Colour range of update / weight" />
      <${Select} label="Row order" options=${ORDERS} value=${state.order} onChange=${actions.orderRows} />
      <p class="sub">A pixel that covers several cells shows the one furthest from usual.</p>
    </section>
    <section>
      <h4>Distributions</h4>
      <${Select}
        label="Value axis of signed quantities"
        options=${VALUE_AXES}
        value=${state.histogramAxis}
        onChange=${(/** @type {State['histogramAxis']} */ axis) => actions.prefer('histogramAxis', axis)}
      />
    </section>
    <section>
      <h4>Refresh</h4>
      <${Check} app=${app} state=${state} name="followReload" label="Follow TensorBoard’s reload" />
      <label class="tick">
        <input
          type="checkbox"
          checked=${state.pollSeconds > 0}
          onChange=${(/** @type {any} */ event) =>
            actions.prefer('pollSeconds', event.target.checked ? defaultPreferences().pollSeconds : 0)}
        />
        Look for new data while the tab is open
      </label>
      ${
        state.pollSeconds > 0 &&
        html`<${Select}
          label="Every"
          options=${POLLS}
          value=${state.pollSeconds}
          onChange=${(/** @type {string} */ seconds) => actions.prefer('pollSeconds', Number(seconds))}
        />`
      }
    </section>
    <section>
      <button class="link" onClick=${actions.forgetPreferences}>Reset to defaults</button>
      <p class="sub">Kept in this browser, never in a link. Axis, colour and order are part of the link.</p>
    </section>
  </aside>`;
}

/** @param {{label: string, options: Option[], value: string | number, onChange: (name: any) => void}} props */
function Select({ label, options, value, onChange }) {
  return html`<label class="field">
    <span>${label}</span>
    <select value=${value} onChange=${(/** @type {any} */ event) => onChange(event.target.value)}>
      ${options.map(({ name, text }) => html`<option key=${name} value=${name} selected=${name === value}>${text}</option>`)}
    </select>
  </label>`;
}

/** @param {{app: App, state: State, name: 'linkCursor' | 'ignoreOutliers' | 'followReload', label: string}} props */
function Check({ app, state, name, label }) {
  return html`<label class="tick">
    <input
      type="checkbox"
      checked=${state[name]}
      onChange=${(/** @type {any} */ event) => app.actions.prefer(name, event.target.checked)}
    />
    ${label}
  </label>`;
}

/** Two positive numbers, the smaller first. @param {{app: App, state: State, name: 'healthyBand' | 'colourRange', label: string}} props */
function Pair({ app, state, name, label }) {
  const [texts, setTexts] = useState(state[name].map(_short));
  useEffect(() => setTexts(state[name].map(_short)), [state[name]]);
  const wanted = /** @type {[number, number]} */ (texts.map((text) => (text.trim() === '' ? NaN : Number(text))));
  const valid = isValidPreference(name, wanted);
  const change = (/** @type {number} */ end, /** @type {string} */ text) => {
    const next = texts.map((before, i) => (i === end ? text : before));
    setTexts(next);
    const values = /** @type {[number, number]} */ (next.map((each) => (each.trim() === '' ? NaN : Number(each))));
    if (isValidPreference(name, values)) app.actions.prefer(name, values);
  };
  const field = (/** @type {number} */ end, /** @type {string} */ which) => html`<input
    type="text"
    inputmode="decimal"
    aria-label=${`${label}, ${which}`}
    aria-invalid=${!valid}
    value=${texts[end]}
    onChange=${(/** @type {any} */ event) => change(end, event.target.value)}
  />`;
  const rule = name === 'colourRange' ? 'The first must lie below 1e-3, the second above.' : 'Two positive numbers, the smaller first.';
  return html`<div class="field" role="group" aria-label=${label}>
    <span>${label}</span>
    <span class="pair">${field(0, 'from')} to ${field(1, 'to')}</span>
    ${!valid && html`<span class="field-error" role="alert">${rule}</span>`}
  </div>`;
}

/** @param {number} value */
function _short(value) {
  return Number(value.toPrecision(3)).toExponential().replace('e+', 'e');
}
