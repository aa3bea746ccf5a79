// @ts-check
/** The settings, in TensorBoard's order and wording where it has them, too. Stored in this browser. */
import { chosenLanguage, t } from '../host/language.js';
import { defaultPreferences, isValidPreference } from '../state/store.js';
import { html, icon, useEffect, useState } from './ui.js';

/**
 * @typedef {import('./ui.js').App} App
 * @typedef {import('../state/store.js').State} State
 * @typedef {{name: string | number, text: string}} Option
 */

const axes = () => [
  { name: 'step', text: t('Step') },
  { name: 'relative', text: t('Relative') },
  { name: 'wall', text: t('Wall') },
];
const tooltips = () => [
  { name: 'default', text: t('Default') },
  { name: 'descending', text: t('Descending') },
  { name: 'ascending', text: t('Ascending') },
  { name: 'nearest', text: t('Nearest pixel') },
];
const orders = () => [
  { name: 'model', text: t('Module tree') },
  { name: 'latest', text: t('Highest at step') },
  { name: 'anomaly', text: t('Most anomalous') },
];
const scales = () => [
  { name: 'auto', text: t('Automatic') },
  { name: 'log', text: t('Logarithmic') },
  { name: 'linear', text: t('Linear') },
];
const crowded = () => [
  { name: 'worst', text: t('the most unusual one') },
  { name: 'latest', text: t('the latest') },
  { name: 'mean', text: t('the mean') },
];
const charts = () => [
  { name: 'quantity', text: t('By quantity') },
  { name: 'ridgeline', text: t('Ridgeline') },
  { name: 'density', text: t('Density') },
  { name: 'bands', text: t('Percentile bands') },
  { name: 'single', text: t('Single step') },
  { name: 'table', text: t('Table') },
];
/** Range of powers of ten for the end of a signed axis' linear part; below the first it is automatic. */
const LINEAR_BELOW = { first: -12, last: 0 };
const valueAxes = () => [
  { name: 'log', text: t('Signed log') },
  { name: 'linear', text: t('Linear') },
];
const pairRule = (/** @type {'colourRange' | 'healthyRange'} */ name) =>
  name === 'colourRange'
    ? t('The first must be below 1e-3, the second above.')
    : t('Two positive numbers, the smaller first. Leave both empty for the range of each kind of tensor.');
const polls = () => [2, 5, 15, 30, 60].map((count) => ({ name: count, text: t('{count} s', { count }) }));
/** Languages are listed under their own names. */
const languages = () => [
  { name: '', text: t('Automatic') },
  { name: 'en', text: 'English' },
  { name: 'zh', text: '中文' },
];

/** @param {{app: App, state: State, statistics: import('../types.d.ts').StatisticInfo[], metric: string}} props */
export function SettingsPane({ app, state, statistics, metric }) {
  const { actions } = app;
  return html`<aside class="settings" aria-label=${t('Settings')}>
    <div class="section">
      ${t('Settings')}<span class="grow"></span>
      <button class="icon-button" aria-label=${t('Close settings')} onClick=${() => actions.showSettings(false)}>${icon('close')}</button>
    </div>
    <${General} app=${app} state=${state} />
    <${Overview} app=${app} state=${state} statistics=${statistics} metric=${metric} />
    <${Distributions} app=${app} state=${state} />
    <${Refresh} app=${app} state=${state} />
    <section>
      <button class="link" onClick=${actions.forgetPreferences}>${t('Reset to defaults')}</button>
      <p class="sub">${t('Settings stay in this browser. Links carry only axis, colour and order.')}</p>
    </section>
  </aside>`;
}

/** @param {{app: App, state: State}} props */
function General({ app, state }) {
  const { actions } = app;
  return html`<section>
    <h4>${t('General')}</h4>
    <${Select} id="language" label=${t('Language')} options=${languages()} value=${chosenLanguage()} onChange=${actions.speakLanguage} />
    <${Select} label=${t('Horizontal axis')} options=${axes()} value=${state.axis} onChange=${actions.setAxis} />
    <label class="field">
      <span>${t('Smoothing')}</span>
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
    <${Check} app=${app} state=${state} name="linkCursor" label=${t('Link the step cursor across charts')} />
    <${Check} app=${app} state=${state} name="ignoreOutliers" label=${t('Ignore outliers in chart scaling')} />
    <${Select}
      label=${t('Tooltip sorting method')}
      options=${tooltips()}
      value=${state.tooltipOrder}
      onChange=${(/** @type {State['tooltipOrder']} */ order) => actions.prefer('tooltipOrder', order)}
    />
    <${Select}
      label=${t('Value axis of lines')}
      options=${scales()}
      value=${state.lineScale}
      onChange=${(/** @type {State['lineScale']} */ scale) => actions.prefer('lineScale', scale)}
    />
  </section>`;
}

/** @param {{app: App, state: State, statistics: import('../types.d.ts').StatisticInfo[], metric: string}} props */
function Overview({ app, state, statistics, metric }) {
  const { actions } = app;
  const shown = statistics.map(({ name, label }) => ({ name, text: label }));
  return html`<section>
    <h4>${t('Overview')}</h4>
    <${Select} label=${t('Colour by')} options=${shown} value=${metric} onChange=${actions.colourBy} />
    <${Pair} app=${app} state=${state} name="healthyRange" label=${t('Healthy range of update / weight')} />
    <${Pair} app=${app} state=${state} name="colourRange" label=${t('Colour range of update / weight')} />
    <${Select}
      label=${t('When cells overlap, show')}
      options=${crowded()}
      value=${state.crowded}
      onChange=${(/** @type {State['crowded']} */ which) => actions.prefer('crowded', which)}
    />
    <${Select} label=${t('Row order')} options=${orders()} value=${state.order} onChange=${actions.orderRows} />
  </section>`;
}

/** @param {{app: App, state: State}} props */
function Distributions({ app, state }) {
  const { actions } = app;
  return html`<section>
    <h4>${t('Distributions')}</h4>
    <${Select} label=${t('Default chart')} options=${charts()} value=${state.defaultChart} onChange=${actions.chooseDefaultChart} />
    <${Select}
      label=${t('Value axis of signed quantities')}
      options=${valueAxes()}
      value=${state.histogramAxis}
      onChange=${(/** @type {State['histogramAxis']} */ axis) => actions.prefer('histogramAxis', axis)}
    />
    <${LinearBelow} app=${app} state=${state} />
    <${Check} app=${app} state=${state} name="allRuns" label=${t('Histograms of all checked runs, side by side')} />
  </section>`;
}

/** @param {{app: App, state: State}} props */
function Refresh({ app, state }) {
  const { actions } = app;
  return html`<section>
    <h4>${t('Refresh')}</h4>
    <${Check} app=${app} state=${state} name="followReload" label=${t('Follow TensorBoard’s reload')} />
    <label class="tick">
      <input
        type="checkbox"
        checked=${state.pollSeconds > 0}
        onChange=${(/** @type {any} */ event) =>
          actions.prefer('pollSeconds', event.target.checked ? defaultPreferences().pollSeconds : 0)}
      />
      ${t('Look for new data while the tab is open')}
    </label>
    ${
      state.pollSeconds > 0 &&
      html`<${Select}
        label=${t('Every')}
        options=${polls()}
        value=${state.pollSeconds}
        onChange=${(/** @type {string} */ seconds) => actions.prefer('pollSeconds', Number(seconds))}
      />`
    }
  </section>`;
}

/** @param {{id?: string, label: string, options: Option[], value: string | number, onChange: (name: any) => void}} props */
function Select({ id, label, options, value, onChange }) {
  return html`<label class="field">
    <span>${label}</span>
    <select id=${id} value=${value} onChange=${(/** @type {any} */ event) => onChange(event.target.value)}>
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
  const text = linearBelow === null ? t('Auto') : _short(linearBelow);
  const change = (/** @type {any} */ event) => {
    const exponent = Number(event.target.value);
    app.actions.prefer('linearBelow', exponent < first ? null : Number(`1e${exponent}`));
  };
  return html`<label class="field" title=${t('Values closer to zero than this are drawn on a linear scale')}>
    <span>${t('Linear below')}</span>
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
 * Two positive numbers, the smaller first; both fields are empty if the value is null.
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
  const field = (/** @type {number} */ end, /** @type {string} */ itsLabel) => html`<input
    type="text"
    inputmode="decimal"
    placeholder=${name === 'healthyRange' ? t('auto') : ''}
    aria-label=${itsLabel}
    aria-invalid=${!valid}
    value=${texts[end]}
    onChange=${(/** @type {any} */ event) => change(end, event.target.value)}
  />`;
  return html`<div class="field" role="group" aria-label=${label}>
    <span>${label}</span>
    <span class="pair">
      ${field(0, t('{setting}, from', { setting: label }))} ${t('to')} ${field(1, t('{setting}, to', { setting: label }))}
    </span>
    ${!valid && html`<span class="field-error" role="alert">${pairRule(name)}</span>`}
  </div>`;
}

/** @param {string[]} texts @returns {number[] | null} null if all are empty */
function _pairOf(texts) {
  if (texts.every((text) => text.trim() === '')) return null;
  return texts.map((text) => (text.trim() === '' ? NaN : Number(text)));
}

/** @param {number} value */
function _short(value) {
  return Number(value.toPrecision(3)).toExponential().replace('e+', 'e');
}
