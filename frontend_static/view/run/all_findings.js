// @ts-check
/** The findings of all runs in one table: which run, what, where, since when, what to try first. */
import { formatInteger } from '../../chart/format.js';
import { SEVERITIES } from '../../data/api.js';
import { plural, t } from '../../host/language.js';
import { revisionOf } from '../../state/questions.js';
import { html, icon, severityMark, useEffect, useRef, useState } from '../ui.js';
import { namesOf, whenOf } from './findings.js';
import { inPieces } from './pieces.js';
import { isIll, Swatch } from './run_list.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../state/store.js').State} State
 * @typedef {import('../../types.d.ts').Finding} Finding
 * @typedef {import('../../types.d.ts').RunInfo} RunInfo
 * @typedef {import('../../types.d.ts').Summary} Summary
 * @typedef {import('./run_list.js').States} States
 */

/** A name of a tensor that is longer may take two lines. */
const LONG_NAME = 36;
/** As in the other sheets of style/layout. */
const TELEPHONE = '(max-width: 640px)';

/**
 * @param {{app: App, state: State, summary: Summary, states: States}} props
 */
export function AllFindings({ app, state, summary, states }) {
  const [questions, setQuestions] = useState(false);
  const card = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    // On a telephone it is below the runs, and grows when the answers come.
    card.current?.scrollIntoView({ block: matchMedia(TELEPHONE).matches ? 'start' : 'nearest' });
  }, []);
  const { findings, left, failed } = useAllFindings(app, state, summary, states);
  const shown = findings.filter(({ severity }) => questions || severity !== 'info');
  const infos = findings.length - findings.filter(({ severity }) => severity !== 'info').length;
  const ill = new Set(findings.filter(({ severity }) => severity !== 'info').map(({ run }) => run)).size;
  return html`<section class="card all-findings" ref=${card} aria-label=${t('Findings of all runs')}>
    <div class="card-head">
      <h2>${t('Findings of all runs')}</h2>
      <span class="sub" role="status">
        ${t('{ill} of {runs} runs have errors or warnings', { ill: formatInteger(ill), runs: formatInteger(summary.runs.length) })}
        ${left > 0 && ` · ${plural(left, '{count} run still to be checked', '{count} runs still to be checked', { count: formatInteger(left) })}`}
        ${failed > 0 && ` · ${plural(failed, '{count} run could not be checked', '{count} runs could not be checked', { count: formatInteger(failed) })}`}
      </span>
      <span class="grow"></span>
      ${
        infos > 0 &&
        html`<label class="tick">
          <input type="checkbox" checked=${questions} onChange=${() => setQuestions(!questions)} />
          ${plural(infos, '{count} question', '{count} questions', { count: formatInteger(infos) })}
        </label>`
      }
      <button class="icon-button" aria-label=${t('Close')} title=${t('Close (Esc)')} onClick=${() => app.actions.showAllFindings(false)}>
        ${icon('close')}
      </button>
    </div>
    ${shown.length > 0 && html`<${Table} app=${app} state=${state} summary=${summary} findings=${shown} />`}
    ${shown.length === 0 && html`<p class="hint">${left > 0 ? t('Loading …') : t('No run has errors or warnings.')}</p>`}
  </section>`;
}

/** @param {{app: App, state: State, summary: Summary, findings: Finding[]}} props */
function Table({ app, state, summary, findings }) {
  return html`<div class="all-findings-scroll">
    <table>
      <thead>
        <tr>
          <th scope="col">${t('Run')}</th><th scope="col">${t('Finding')}</th><th scope="col">${t('Where')}</th>
          <th scope="col">${t('When')}</th><th scope="col">${t('What to try')}</th>
        </tr>
      </thead>
      <tbody>
        ${findings.map((finding) => {
          const { run, id, severity, title, parameters, from, to, advice } = finding;
          const index = summary.runs.findIndex((info) => info.run === run);
          return html`<tr key=${`${run} ${id}`} onClick=${() => app.actions.selectFinding(finding)}>
            <th scope="row"><span class="run-of"><${Swatch} index=${index} theme=${state.theme} /><bdi>${inPieces(summary.runs[index]?.name ?? run)}</bdi></span></th>
            <td class="what">
              <button onClick=${(/** @type {Event} */ event) => _open(event, app, finding)}>${severityMark(severity)}<span>${title}</span></button>
            </td>
            <td class="where" title=${parameters.join('\n')}>${inPieces(namesOf(parameters), LONG_NAME)}</td>
            <td class="since">${whenOf(from, to)}</td>
            <td class="advice">${advice}</td>
          </tr>`;
        })}
      </tbody>
    </table>
  </div>`;
}

/** @param {Event} event @param {App} app @param {Finding} finding */
function _open(event, app, finding) {
  event.stopPropagation(); // the row would do it once more
  app.actions.selectFinding(finding);
}

/**
 * The findings of the runs in which there are some, one run after the other; the most severe first.
 * @param {App} app @param {State} state @param {Summary} summary @param {States} states
 * @returns {{findings: Finding[], left: number, failed: number}} left: runs of which nothing is known yet
 */
function useAllFindings({ api }, state, summary, states) {
  const [known, setKnown] = useState(/** @type {Map<string, {revision: string, findings: Finding[] | null}>} */ (new Map()));
  const latest = useRef(known);
  latest.current = known;
  const isKnown = (/** @type {RunInfo} */ { run }) => states.has(run) || known.has(run);
  const wanted = summary.runs.filter((info) => states.get(info.run)?.worst || (states.size === 0 && !isKnown(info)));
  const next = wanted.map((info) => `${info.run} ${revisionOf(state, summary, info)}`).join('\n');
  useEffect(() => {
    const controller = new AbortController();
    const askAll = async () => {
      for (const info of [...wanted].sort((a, b) => Number(isIll(states.get(b.run))) - Number(isIll(states.get(a.run))))) {
        const revision = revisionOf(state, summary, info);
        if (latest.current.get(info.run)?.revision === revision) continue;
        const findings = await api.findings(info.run, controller.signal).then(
          (answer) => answer.findings,
          () => null,
        );
        if (controller.signal.aborted) return;
        latest.current = new Map(latest.current).set(info.run, { revision, findings });
        setKnown(latest.current);
      }
    };
    askAll();
    return () => controller.abort();
  }, [next]);
  const entries = summary.runs.flatMap(({ run }) => known.get(run) ?? []);
  const findings = entries.flatMap((entry) => entry.findings ?? []);
  const rank = (/** @type {Finding} */ { severity }) => SEVERITIES.indexOf(severity);
  return {
    findings: findings.sort((a, b) => rank(a) - rank(b)),
    left: summary.runs.filter((info) => !known.has(info.run) && (states.get(info.run)?.worst || !isKnown(info))).length,
    failed: entries.filter((entry) => !entry.findings).length,
  };
}
