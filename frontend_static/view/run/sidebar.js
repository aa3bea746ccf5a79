// @ts-check
/** The left column: which runs are shown, what was found in them, and what the optimizer does. */
import { formatInteger, formatNumber } from '../../chart/format.js';
import { plural, t } from '../../host/language.js';
import { indexAtOrBefore } from '../../state/axis.js';
import { html, icon, Lazy } from '../ui.js';
import { WhatIs } from '../what_is.js';
import { Runs } from './run_list.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../state/store.js').State} State
 * @typedef {import('../../types.d.ts').RunInfo} RunInfo
 * @typedef {import('../../types.d.ts').Hyperparameters} Hyperparameters
 */

/**
 * @param {object} props
 * @param {App} props.app
 * @param {State} props.state
 * @param {RunInfo | null} props.run the overview's
 * @param {Hyperparameters | null} props.hyperparameters of that run
 * @param {number | null} props.step at the cursor
 * @param {import('../../types.d.ts').Finding[]} props.findings
 * @param {import('../../types.d.ts').Diagnosis['not_evaluated']} props.skipped
 * @param {import('../../types.d.ts').Compass | null} props.compass
 * @param {ReadonlyMap<string, import('../../types.d.ts').RunState>} props.states of the runs, as far as they are known
 */
export function Sidebar({ app, state, run, hyperparameters, step, findings, skipped, compass, states }) {
  const finding = findings.find(({ id }) => id === state.finding) ?? null;
  const rule = finding?.rule ?? null;
  return html`<aside class="side" aria-label=${t('Runs and optimizer')}>
    <${Runs} app=${app} state=${state} run=${run} rule=${rule} states=${states} />
    ${
      run &&
      findings.length > 0 &&
      html`<${Lazy} load=${() => import('./findings.js')} name="Findings" app=${app} state=${state} run=${run} findings=${findings} />`
    }
    ${skipped && findings.length === 0 && html`<${NothingFound} app=${app} rules=${state.summary?.rules?.length ?? 0} skipped=${skipped} />`}
    ${skipped && skipped.length > 0 && html`<${NotEvaluated} skipped=${skipped} />`}
    ${compass && html`<${Lazy} load=${() => import('./compass.js')} name="Compass" app=${app} compass=${compass} />`}
    ${run && html`<${Optimizer} app=${app} open=${state.optimizer} finding=${finding} run=${run} hyperparameters=${hyperparameters} step=${step} />`}
    <div class="keys" aria-hidden="true">
      <span><kbd>/</kbd> ${t('filter')}</span><span><kbd>j</kbd> <kbd>k</kbd> ${t('tensor')}</span>
      <span><kbd>←</kbd> <kbd>→</kbd> ${t('step')}</span>
      ${findings.length > 0 ? html`<span><kbd>n</kbd> ${t('finding')}</span>` : html`<span><kbd>o</kbd> ${t('collapse')}</span>`}
      <span><kbd>?</kbd>${findings.length > 0 ? '' : html` ${t('help')}`}</span>
    </div>
  </aside>`;
}

/** @param {{app: App, rules: number, skipped: {title: string, reason: string}[]}} props */
function NothingFound({ app, rules, skipped }) {
  const reasons = skipped.map(({ title, reason }) => `${title}: ${reason}`);
  const title = skipped.length ? [t('Could not be applied:'), ...reasons].join('\n') : undefined;
  const text = skipped.length
    ? t('none ({applied} of {rules} rules checked)', { applied: rules - skipped.length, rules })
    : plural(rules, 'none ({rules} rule checked)', 'none ({rules} rules checked)', { rules });
  return html`<section class="no-findings section" aria-label=${t('Findings')}>
    ${t('Findings')}<${WhatIs} app=${app} name=${t('Findings')} topic="findings" /><span class="grow"></span><span class="sub" title=${title}>${text}</span>
  </section>`;
}

/** @param {{skipped: {rule: string, title: string, reason: string}[]}} props */
function NotEvaluated({ skipped }) {
  const count = formatInteger(skipped.length);
  return html`<details class="not-evaluated">
    <summary>${plural(skipped.length, '{count} rule not evaluated', '{count} rules not evaluated', { count })}</summary>
    <ul>${skipped.map(({ rule, title, reason }) => html`<li key=${rule}>${title} · ${reason}</li>`)}</ul>
  </details>`;
}

/**
 * @param {object} props
 * @param {App} props.app
 * @param {boolean} props.open
 * @param {import('../../types.d.ts').Finding | null} props.finding the open one: tensors it is about are unfolded
 * @param {RunInfo} props.run
 * @param {Hyperparameters | null} props.hyperparameters
 * @param {number | null} props.step
 */
function Optimizer({ app, open, finding, run, hyperparameters, step }) {
  const names = [...new Set(run.groups.map((group) => group.optimizer))].join(', ');
  const elements = run.parameters.reduce((sum, parameter) => sum + parameter.elements, 0);
  const frozen = run.unoptimized.filter((parameter) => !parameter.trainable);
  const isMeant = (/** @type {{name: string}[]} */ infos) => infos.some(({ name }) => finding?.parameters.includes(name));
  const forgotten = run.unoptimized.filter((parameter) => parameter.trainable && !parameter.other_optimizer);
  return html`<section class="optimizer" aria-label=${t('Optimizer')}>
    <div class="section">
      ${t('Optimizer')}<${WhatIs} app=${app} name=${t('Optimizer')} topic="optimizer" /><span class="grow"></span><span class="sub">${t('{optimizer} · {count} parameters', { optimizer: names, count: formatCount(elements) })}</span>
      <button class="link" aria-pressed=${open} onClick=${() => app.actions.showOptimizer(!open)}>${open ? t('Close') : t('Over time')}</button>
    </div>
    <div class="groups">
      <table>
        <thead>
          <tr><th>${t('group')}</th><th>lr</th><th>β₁, β₂</th><th>ε</th><th>${t('decay')}</th><th>${t('tensors')}</th></tr>
        </thead>
        <tbody>
          ${run.groups.map((group, index) => {
            const at = hyperparametersAt(hyperparameters, index, step);
            const tensors = run.parameters.filter((parameter) => parameter.group === index).length;
            return html`<tr key=${index} title=${`${group.optimizer} ${describeOptions(group.options)}`}>
              <td>${index}</td>
              <td>${at.lr}</td>
              <td>${[at.beta1, at.beta2].filter((text) => text !== '—').join(', ') || '—'}</td>
              <td>${at.eps}</td>
              <td>${at.weight_decay}</td>
              <td>${formatInteger(tensors)}</td>
            </tr>`;
          })}
        </tbody>
      </table>
    </div>
    ${
      forgotten.length > 0 &&
      html`<details class="unoptimized" open=${isMeant(forgotten)}>
      <summary class="warning">${icon('warning', 'mark')}${plural(forgotten.length, '{count} trainable tensor in no group', '{count} trainable tensors in no group', { count: formatInteger(forgotten.length) })}</summary>
      <${NameList} names=${forgotten.map(({ name }) => name)} />
    </details>`
    }
    ${
      frozen.length > 0 &&
      html`<details class="unoptimized" open=${isMeant(frozen)}>
      <summary>${plural(frozen.length, '{count} tensor frozen', '{count} tensors frozen', { count: formatInteger(frozen.length) })}</summary>
      <${NameList} names=${frozen.map(({ name }) => name)} />
    </details>`
    }
  </section>`;
}

/** @param {{names: string[]}} props */
function NameList({ names }) {
  return html`<ul>${names.slice(0, 200).map((name) => html`<li key=${name}>${name}</li>`)}
    ${names.length > 200 && html`<li>${t('and {more} more', { more: formatInteger(names.length - 200) })}</li>`}</ul>`;
}

/**
 * @param {Hyperparameters | null} hyperparameters
 * @param {number} group
 * @param {number | null} step null for the newest
 * @returns {Record<'lr' | 'beta1' | 'beta2' | 'eps' | 'weight_decay', string>} as text; '—' where there is none
 */
export function hyperparametersAt(hyperparameters, group, step) {
  const at = (/** @type {string} */ column) => {
    const value = hyperparameterAt(hyperparameters, group, column, step);
    // Of a schedule three digits say enough; a beta of 0.9995 needs all of its digits.
    return Number.isNaN(value) ? '—' : formatSetting(column === 'lr' ? Number(value.toPrecision(3)) : value);
  };
  return {
    lr: at('lr'),
    beta1: at('beta1'),
    beta2: at('beta2'),
    eps: at('eps'),
    weight_decay: at('weight_decay'),
  };
}

/**
 * @param {Hyperparameters | null} hyperparameters
 * @param {number} group
 * @param {string} column
 * @param {number | null} step
 * @returns {number} NaN where there is none
 */
export function hyperparameterAt(hyperparameters, group, column, step) {
  const series = hyperparameters?.values[group]?.[hyperparameters.columns.indexOf(column)];
  if (!hyperparameters || !series?.length) return NaN;
  const index = step === null ? series.length - 1 : indexAtOrBefore(hyperparameters.step, step);
  return series[Math.max(0, index)];
}

/** A setting as one would type it: 0.001, 6e-4, 1e-8. @param {number} value */
export function formatSetting(value) {
  const text = formatNumber(value);
  const exponential = value.toExponential().replace('e+', 'e');
  return value !== 0 && Number.isFinite(value) && exponential.length < text.length ? exponential : text;
}

/** @param {Record<string, boolean | number | string | null>} options @returns {string} 'amsgrad=false, foreach=true' */
export function describeOptions(options) {
  return Object.entries(options)
    .map(([name, value]) => `${name}=${value}`)
    .join(', ');
}

/** @param {number} count @returns {string} '11.2 M' */
function formatCount(count) {
  const units = /** @type {[number, string][]} */ ([
    [1e9, ' G'],
    [1e6, ' M'],
    [1e4, ' k'],
  ]);
  for (const [size, unit] of units) {
    if (count >= size) return `${(count / (size === 1e4 ? 1e3 : size)).toFixed(1)}${unit}`;
  }
  return formatInteger(count);
}
