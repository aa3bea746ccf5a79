// @ts-check
/** What a comparison of runs says: which did better from which step on, and where statistics differ first. */
import { formatInteger } from '../../chart/format.js';
import { plural, t } from '../../host/language.js';
import { Swatch } from '../run/run_list.js';
import { html, icon } from '../ui.js';
import { notesOf } from './rows.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../types.d.ts').ComparedPair} ComparedPair
 * @typedef {import('../../types.d.ts').Comparison} Comparison
 * @typedef {import('../../types.d.ts').Parting} Parting
 * @typedef {import('./table.js').Names} Names
 */

/** So many names of tensors are listed. */
const MOST_NAMES = 200;

/** @param {{app: App, theme: import('../../types.d.ts').Theme, comparison: Comparison, names: Names}} props */
export function Verdicts({ app, theme, comparison, names }) {
  const { pairs, text } = comparison;
  const looked = pairs.filter(({ parted }) => parted);
  const rest = pairs.filter(({ parted }) => !parted);
  const list = (/** @type {ComparedPair[]} */ some) => html`<ul class="pairs">
    ${some.map((pair) => html`<${Pair} key=${pair.against} app=${app} theme=${theme} pair=${pair} names=${names} isOnly=${pairs.length === 1} />`)}
  </ul>`;
  return html`<div class="verdicts">
    <h3>${t('Which run did better, and where statistics differ first')}</h3>
    <p class="about">${text}</p>
    ${notesOf(comparison).map(({ note, runs }) => html`<p key=${note} class="about">${t('{name}: {value}', { name: runs.map(names.nameOf).join(t(', ')), value: note })}</p>`)}
    ${comparison.left_out.map((left) => html`<p key=${left.run} class="about">${t('{run} is left out. {reason}', { run: names.nameOf(left.run), reason: left.text })}</p>`)}
    ${list(looked)}
    ${
      rest.length > 0 &&
      html`<details>
        <summary>${plural(rest.length, '{count} more run', '{count} more runs', { count: formatInteger(rest.length) })}</summary>
        ${list(rest)}
        <p class="about">${rest[0].partings_text}</p>
      </details>`
    }
  </div>`;
}

/**
 * @param {object} props
 * @param {App} props.app
 * @param {import('../../types.d.ts').Theme} props.theme
 * @param {ComparedPair} props.pair
 * @param {Names} props.names
 * @param {boolean} props.isOnly whether no other pair is compared
 */
function Pair({ app, theme, pair, names, isOnly }) {
  const { run, against, partings } = pair;
  const both = { run: names.nameOf(run), other: names.nameOf(against) };
  return html`<li>
    <p class="verdict">
      <${Swatch} index=${names.indexOf(run)} theme=${theme} /><${Swatch} index=${names.indexOf(against)} theme=${theme} />
      <span>${pair.text || t('{run} and {other}', both)}</span>
      ${
        !isOnly &&
        html`<button class="link" aria-label=${t('Compare only these two: {run} and {other}', both)} onClick=${() => _compareOnly(app, [run, against])}>
          ${t('Compare only these two')}
        </button>`
      }
    </p>
    ${partings.length > 0 && html`<p class="about">${t('Statistics differ first at:')}</p>`}
    ${
      partings.length > 0 &&
      html`<ul class="partings">
        ${partings.map((parting) => html`<${PartingOf} key=${parting.statistic} app=${app} pair=${pair} parting=${parting} />`)}
      </ul>`
    }
    ${pair.parted && !partings.length && html`<p class="about">${pair.partings_text}</p>`}
  </li>`;
}

/** @param {{app: App, pair: ComparedPair, parting: Parting}} props */
function PartingOf({ app, pair, parting }) {
  const { step, statistic, parameters, text } = parting;
  const show = (/** @type {string} */ parameter) =>
    app.actions.showParting({ run: pair.run, against: pair.against, statistic, parameter, step });
  const others = parameters.slice(1, MOST_NAMES);
  const left = parameters.length - 1 - others.length;
  return html`<li>
    <button class="parting" title=${t('Show this statistic at this step in both runs')} onClick=${() => show(parameters[0])}>
      <span>${text}</span>${icon('right', 'parting-mark')}
    </button>
    ${
      others.length > 0 &&
      html`<details>
        <summary>${plural(others.length + left, '{count} more tensor', '{count} more tensors', { count: formatInteger(others.length + left) })}</summary>
        <ul class="tensors">
          ${others.map((name) => html`<li key=${name}><button class="link" onClick=${() => show(name)}>${name}</button></li>`)}
          ${left > 0 && html`<li>${t('and {more} more', { more: formatInteger(left) })}</li>`}
        </ul>
      </details>`
    }
  </li>`;
}

/** The button goes with the other runs: the heading above is what is read next. @param {App} app @param {string[]} runs */
function _compareOnly(app, runs) {
  app.actions.compareOnly(runs);
  document.querySelector(/** @type {'h2'} */ ('.compare h2'))?.focus();
}
