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
const CROWDED = [
  { name: 'worst', text: 'the one furthest from usual' },
  { name: 'latest', text: 'the latest' },
  { name: 'mean', text: 'the mean' },
];
const CHARTS = [
  { name: 'quantity', text: 'By quantity' },
  { name: 'ridgeline', text: 'Ridgeline' },
  { name: 'density', text: 'Density' },
  { name: 'bands', text: 'Percentile bands' },
  { name: 'single', text: 'Single step' },
  { name: 'table', text: 'Table' },
];
/** Powers of ten between which the linear part of a signed axis may end; below the first it is automatic. */
const LINEAR_BELOW = { first: -12, last: 0 };
const VALUE_AXES = [
  { name: 'log', text: 'Signed log' },
  { name: 'linear', text: 'Linear' },
];
const PAIR_RULES = {
  colourRange: 'The first must lie below 1e-3, the second above.',
  healthyRange: 'Two positive numbers, the smaller first; leave both empty for the range of each kind of tensor.',
};
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
  return html`<aside class="settings" aria-label="Settings">
    <div class="section">
      Settings<span class="grow"></span>
      <button class="icon-button" aria-label="Close settings" onClick=${() => actions.showSettings(false)}>${icon('close')}</button>
    </div>
    <${General} app=${app} state=${state} />
    <${Overview} app=${app} state=${state} statistics=${statistics} metric=${metric} />
    <${Distributions} app=${app} state=${state} />
    <${Refresh} app=${app} state=${state} />
    <section>
      <button class="link" onClick=${actions.forgetPreferences}>Reset to defaults</button>
      <p class="sub">Kept in this browser, never in a link. Axis, colour and order are part of the link.</p>
    </section>
  </aside>`;
}

/** @param {{app: App, state: State}} props */
function General({ app, state }) {
  const { actions } = app;
  return html`<section>
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
  </section>`;
}

/** @param {{app: App, state: State, statistics: import('../types.d.ts').StatisticInfo[], metric: string}} props */
function Overview({ app, state, statistics, metric }) {
  const { actions } = app;
  const metrics = statistics.map(({ name, label }) => ({ name, text: label }));
  return html`<section>
    <h4>Overview</h4>
    <${Select} label="Colour by" options=${metrics} value=${metric} onChange=${actions.colourBy} />
    <${Pair} app=${app} state=${state} name="healthyRange" label="Healthy range of update / weight" />
    <${Pair} app=${app} state=${state} name="colourRange" label="Colour range of update / weight" />
    <${Select}
      label="A pixel that covers several cells shows"
      options=${CROWDED}
      value=${state.crowded}
      onChange=${(/** @type {State['crowded']} */ crowded) => actions.prefer('crowded', crowded)}
    />
    <${Select} label="Row order" options=${ORDERS} value=${state.order} onChange=${actions.orderRows} />
  </section>`;
}

/** @param {{app: App, state: State}} props */
function Distributions({ app, state }) {
  const { actions } = app;
  return html`<section>
    <h4>Distributions</h4>
    <${Select} label="Default chart" options=${CHARTS} value=${state.defaultChart} onChange=${actions.chooseDefaultChart} />
    <${Select}
      label="Value axis of signed quantities"
      options=${VALUE_AXES}
      value=${state.histogramAxis}
      onChange=${(/** @type {State['histogramAxis']} */ axis) => actions.prefer('histogramAxis', axis)}
    />
    <${LinearBelow} app=${app} state=${state} />
    <${Check} app=${app} state=${state} name="allRuns" label="Histograms of all checked runs, side by side" />
  </section>`;
}

/** @param {{app: App, state: State}} props */
function Refresh({ app, state }) {
  const { actions } = app;
  return html`<section>
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
  </section>`;
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

/** @param {{app: App, state: State, name: 'linkCursor' | 'ignoreOutliers' | 'allRuns' | 'followReload', label: string}} props */
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

/** Where a signed logarithmic axis becomes linear. @param {{app: App, state: State}} props */
function LinearBelow({ app, state }) {
  const { first, last } = LINEAR_BELOW;
  const { linearBelow } = state;
  const text = linearBelow === null ? 'Auto' : _short(linearBelow);
  const change = (/** @type {any} */ event) => {
    const exponent = Number(event.target.value);
    app.actions.prefer('linearBelow', exponent < first ? null : Number(`1e${exponent}`));
  };
  return html`<label class="field" title="Values closer to zero than this are drawn on a linear scale">
    <span>Linear below</span>
    <span class="slider">
      <input
        type="range"
        min=${first - 1}
        max=${last}
        step="1"
        disabled=${state.histogramAxis === 'linear'}
        aria-valuetext=${text}
        value=${linearBelow === null ? first - 1 : Math.round(Math.log10(linearBelow))}
        onInput=${change}
      />
      <output>${text}</output>
    </span>
  </label>`;
}

/**
 * Two positive numbers, the smaller first; both fields are empty where the value is null.
 * @param {{app: App, state: State, name: 'healthyRange' | 'colourRange', label: string}} props
 */
function Pair({ app, state, name, label }) {
  const kept = (state[name] ?? [null, null]).map((value) => (value === null ? '' : _short(value)));
  const [texts, setTexts] = useState(kept);
  useEffect(() => setTexts(kept), [state[name]]);
  const valid = isValidPreference(name, _pairOf(texts));
  const change = (/** @type {number} */ end, /** @type {string} */ text) => {
    const next = texts.map((before, i) => (i === end ? text : before));
    setTexts(next);
    const values = _pairOf(next);
    if (isValidPreference(name, values)) app.actions.prefer(name, /** @type {[number, number]} */ (values));
  };
  const field = (/** @type {number} */ end, /** @type {string} */ which) => html`<input
    type="text"
    inputmode="decimal"
    placeholder=${name === 'healthyRange' ? 'auto' : ''}
    aria-label=${`${label}, ${which}`}
    aria-invalid=${!valid}
    value=${texts[end]}
    onChange=${(/** @type {any} */ event) => change(end, event.target.value)}
  />`;
  return html`<div class="field" role="group" aria-label=${label}>
    <span>${label}</span>
    <span class="pair">${field(0, 'from')} to ${field(1, 'to')}</span>
    ${!valid && html`<span class="field-error" role="alert">${PAIR_RULES[name]}</span>`}
  </div>`;
}

/** @param {string[]} texts @returns {number[] | null} null where all are empty */
function _pairOf(texts) {
  if (texts.every((text) => text.trim() === '')) return null;
  return texts.map((text) => (text.trim() === '' ? NaN : Number(text)));
}

/** @param {number} value */
function _short(value) {
  return Number(value.toPrecision(3)).toExponential().replace('e+', 'e');
}
