// @ts-check
/** The checked runs compared: their settings and losses, what can be said about them, and where they differ first. */
import { formatInteger } from '../../chart/format.js';
import { plural, t } from '../../host/language.js';
import { hostAddress } from '../../host/links.js';
import { checkedRuns } from '../../state/store.js';
import { useComparison } from '../hooks/comparison.js';
import { CopyButton, ErrorBanner, html, icon, useEffect, useRef, useState } from '../ui.js';
import { WhatIs } from '../what_is.js';
import { orderOf, rowsOf } from './rows.js';
import { ComparisonTable, SameSettings } from './table.js';
import { comparisonCsv, comparisonMarkdown } from './texts.js';
import { Verdicts } from './verdicts.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../state/store.js').State} State
 * @typedef {import('../../types.d.ts').Summary} Summary
 * @typedef {import('../../types.d.ts').Comparison} ComparisonAnswer
 * @typedef {import('./rows.js').Sort} Sort
 */

/** The server compares no more at once. */
const MOST_RUNS = 50;
/** As in the sheets of style/layout. */
const TELEPHONE = '(max-width: 640px)';

/** @param {{app: App, state: State, summary: Summary}} props */
export function Comparison({ app, state, summary }) {
  const card = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    // On a telephone it is below the runs, and grows when the answer comes.
    card.current?.scrollIntoView({ block: matchMedia(TELEPHONE).matches ? 'start' : 'nearest' });
    return () => {
      // Whoever leaves it by keys goes on where it was opened.
      const isWithin = card.current?.contains(document.activeElement);
      if (isWithin) /** @type {HTMLElement | null} */ (document.querySelector('.compare-runs'))?.focus();
    };
  }, []);
  const checked = checkedRuns(state);
  const runs = checked.slice(0, MOST_RUNS);
  const { value, error: said, stale } = useComparison(app, state, summary, runs);
  const error = stale ? null : said; // else it is about other runs
  const ids = new Set(runs.map(({ run }) => run));
  const kept = value && runs.length > 1 ? without(value, (run) => !ids.has(run)) : null;
  const [sort, setSort] = useState({ key: '', down: false });
  return html`<section class="card compare ${stale && kept ? 'stale' : ''}" ref=${card} aria-label=${t('Comparison of runs')}>
    <${Head} app=${app} summary=${summary} count=${runs.length} comparison=${stale ? null : kept} sort=${sort} />
    <p class="about compare-status" role="status">${_status(state, checked.length, Boolean(value) && !stale, error)}</p>
    <${ErrorBanner} text=${error} />
    ${error && !kept && html`<p class="about">${t('These runs could not be compared. If one of them cannot be read, uncheck it to compare the others.')}</p>`}
    ${kept && html`<${Body} app=${app} state=${state} summary=${summary} comparison=${kept} sort=${sort} onSort=${setSort} />`}
  </section>`;
}

/**
 * A run that is not compared any more goes at once; what is said of all of them follows with the next answer.
 * @param {ComparisonAnswer} comparison @param {(run: string) => boolean} isGone
 * @returns {ComparisonAnswer | null} null where fewer than two are left
 */
export function without(comparison, isGone) {
  const left = Array.from(comparison.runs.keys()).filter((i) => !isGone(comparison.runs[i].run));
  if (left.length === comparison.runs.length) return comparison;
  if (left.length < 2) return null;
  const settings = comparison.settings.map((setting) => ({
    ...setting,
    values: left.map((i) => setting.values[i]),
    numbers: left.map((i) => setting.numbers[i]),
    same_as: left.map((i) => setting.same_as[i]),
  }));
  const pairs = comparison.pairs.filter(({ run, against }) => !isGone(run) && !isGone(against));
  return { ...comparison, settings, pairs, runs: left.map((i) => comparison.runs[i]), sweep: null };
}

/** @param {{app: App, summary: Summary, count: number, comparison: ComparisonAnswer | null, sort: Sort}} props */
function Head({ app, summary, count, comparison, sort }) {
  const title = t('Comparison of runs');
  const { nameOf } = namesIn(summary);
  const texts = (/** @type {ComparisonAnswer} */ of) => {
    const rows = rowsOf(of);
    return { rows, order: orderOf(of, rows, sort) };
  };
  const markdown = (/** @type {ComparisonAnswer} */ of) => {
    const { rows, order } = texts(of);
    return comparisonMarkdown(of, rows, order, nameOf, hostAddress());
  };
  const save = async (/** @type {ComparisonAnswer} */ of) => {
    const { saveText } = await import('../../save/figure.js');
    saveText('comparison.csv', 'text/csv', comparisonCsv(of, texts(of).order, nameOf));
  };
  return html`<div class="card-head">
    <h2 tabindex="-1">${title}</h2>
    <${WhatIs} app=${app} name=${title} topic="runs_compared" />
    <span class="sub">${plural(count, '{count} run', '{count} runs', { count: formatInteger(count) })}</span>
    <span class="grow"></span>
    ${comparison && html`<${CopyButton} label=${t('Copy as Markdown')} text=${() => markdown(comparison)} symbol="copy" />`}
    ${
      comparison &&
      html`<button class="icon-button" aria-label=${t('Save as CSV')} title=${t('Save as CSV')} onClick=${() => save(comparison)}>${icon('download')}</button>`
    }
    <button class="icon-button" aria-label=${t('Close')} title=${t('Close (Esc)')} onClick=${() => app.actions.showComparison(false)}>
      ${icon('close')}
    </button>
  </div>`;
}

/** @param {{app: App, state: State, summary: Summary, comparison: ComparisonAnswer, sort: Sort, onSort: (sort: Sort) => void}} props */
function Body({ app, state, summary, comparison, sort, onSort }) {
  const rows = rowsOf(comparison);
  const names = namesIn(summary);
  const order = orderOf(comparison, rows, sort);
  return html`<div class="compare-body">
    <div class="compare-settings">
      ${comparison.sweep && html`<p class="sweep">${comparison.sweep.text}</p>`}
      ${comparison.settings.length === 0 && html`<p class="about">${t('No setting that is recorded differs.')}</p>`}
      ${
        rows.length > 0 &&
        html`<${ComparisonTable} app=${app} theme=${state.theme} comparison=${comparison} rows=${rows} order=${order} sort=${sort} onSort=${onSort} names=${names} />`
      }
      <${SameSettings} same=${comparison.same} />
    </div>
    <${Verdicts} app=${app} theme=${state.theme} comparison=${comparison} names=${names} />
  </div>`;
}

/** @param {Summary} summary @returns {import('./table.js').Names} */
export function namesIn({ runs }) {
  const indices = new Map(runs.map(({ run }, index) => [run, index]));
  return {
    nameOf: (run) => runs[indices.get(run) ?? -1]?.name ?? run,
    indexOf: (run) => indices.get(run) ?? 0,
  };
}

/**
 * What is to be said before there is anything to see, or of what is not seen.
 * @param {State} state @param {number} checked how many runs are checked @param {boolean} isHere whether the answer is
 * @param {string | null} error
 * @returns {string} '' for nothing
 */
function _status({ checked: chosen, summary }, checked, isHere, error) {
  const known = new Set(summary?.runs.map(({ run }) => run));
  const gone = [...(chosen ?? [])].filter((run) => !known.has(run));
  const count = formatInteger(gone.length);
  const names = gone.join(t(', '));
  const texts = [
    gone.length > 0 && plural(gone.length, '{count} checked run is not in the log folder: {names}.', '{count} checked runs are not in the log folder: {names}.', { count, names }),
    checked < 2 && t('Check two or more runs in the list to compare them.'),
    checked > MOST_RUNS && t('{checked} runs are checked; the first {most} are compared.', { checked: formatInteger(checked), most: MOST_RUNS }),
    checked > 1 && !isHere && !error && t('Comparing {count} runs …', { count: formatInteger(Math.min(checked, MOST_RUNS)) }),
  ];
  return texts.filter(Boolean).join(' ');
}
