// @ts-check
/** What the rules found in a run: severity, what, where, when, why and what to try. */
import { formatInteger } from '../../chart/format.js';
import { SEVERITIES } from '../../data/api.js';
import { t } from '../../host/language.js';
import { hostAddress } from '../../host/links.js';
import { lacksRecords } from '../../state/evidence.js';
import { CopyButton, html, icon, Lazy, severityMark, useEffect, useRef } from '../ui.js';
import { WhatIs } from '../what_is.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../types.d.ts').Finding} Finding
 */

const MOST_NAMES = 6;

/**
 * @param {object} props
 * @param {App} props.app
 * @param {import('../../state/store.js').State} props.state
 * @param {import('../../types.d.ts').RunInfo} props.run
 * @param {Finding[]} props.findings
 */
export function Findings({ app, state, run, findings }) {
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    list.current?.querySelector('[aria-current="true"]')?.scrollIntoView({ block: 'nearest' });
  }, [state.finding]);
  return html`<section class="findings-panel" aria-label=${t('Findings')}>
    <div class="section">
      ${t('Findings')}<${WhatIs} app=${app} name=${t('Findings')} topic="findings" /><span class="grow"></span>
      ${SEVERITIES.map((severity) => {
        const count = findings.filter((finding) => finding.severity === severity).length;
        return count > 0 && html`<span key=${severity} class="severity-count">${severityMark(severity)}${count}</span>`;
      })}
    </div>
    <div class="findings" role="list" aria-label=${t('Findings, most severe first')} ref=${list}>
      ${findings.map(
        (finding, i) => html`<${Item}
          key=${finding.id}
          app=${app}
          finding=${finding}
          run=${run}
          selected=${finding.id === state.finding}
          explained=${i === 0 && state.finding === null && finding.severity !== 'info'}
          statistics=${state.summary?.statistics ?? []}
          why=${state.why}
        />`,
      )}
    </div>
  </section>`;
}

/**
 * @param {object} props
 * @param {App} props.app
 * @param {Finding} props.finding
 * @param {import('../../types.d.ts').RunInfo} props.run
 * @param {boolean} props.selected
 * @param {boolean} props.explained without being selected: the worst one says at first sight what to do
 * @param {import('../../types.d.ts').StatisticInfo[]} props.statistics
 * @param {boolean} props.why whether the selected one says why
 */
function Item({ app, finding, run, selected, explained, statistics, why }) {
  const { severity, title, text, advice, parameters, from, to } = finding;
  const select = () => app.actions.selectFinding(finding);
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    if (/** @type {HTMLElement} */ (event.target).closest('button')) return;
    event.preventDefault();
    select();
  };
  const share = (/** @type {number} */ step) => 100 * Math.min(1, step / Math.max(1, run.last_step));
  return html`<div
    class="finding ${selected ? 'selected' : ''}"
    role="listitem"
    tabindex="0"
    aria-current=${selected}
    onClick=${select}
    onKeyDown=${onKey}
  >
    ${severityMark(severity)}
    <b>${title}</b>
    <span class="place">
      <span class="where" title=${namesOf(parameters)}>${namesOf(parameters)}</span><small>${whenOf(from, to)}</small>
    </span>
    ${
      (selected || explained) &&
      html`<p>${text}</p>
        ${advice && html`<p class="advice">${advice}</p>`}
        ${selected && lacksRecords(finding, run) && html`<p class="no-record">${t('Not in the heat map: this optimizer does not update these tensors, so nothing is recorded for them. They are listed under Optimizer.')}</p>`}`
    }
    ${
      selected &&
      html`<div onClick=${(/** @type {Event} */ event) => event.stopPropagation()}>
        <p class="finding-actions">
          <button class="link why-button" aria-expanded=${why} onClick=${() => app.actions.showWhy(!why)}>
            ${icon(why ? 'down' : 'right', 'menu-arrow')}${t('Why?')}
          </button>
          <span class="grow"></span>
          <${CopyButton} label=${t('Copy link')} text=${hostAddress} symbol="link" />
          <${CopyButton} label=${t('Copy as Markdown')} text=${() => toMarkdown(finding, hostAddress())} symbol="copy" />
          <button
            class="icon-button"
            aria-label=${t('Close this finding')}
            title=${t('Close: back to the view before (Esc)')}
            onClick=${app.actions.closeFinding}
          >
            ${icon('close')}
          </button>
        </p>
        ${
          why &&
          html`<${Lazy} load=${() => import('./why.js')} name="Why" app=${app} finding=${finding} statistics=${statistics} />`
        }
      </div>`
    }
    <span class="when ${severity}">
      <i style="left:${share(from)}%;width:${share(to) - share(from)}%"></i>
    </span>
  </div>`;
}

/** @param {string[]} names */
export function namesOf(names) {
  const more = names.length - MOST_NAMES;
  const shown = names.slice(0, MOST_NAMES).join(', ');
  return more > 0 ? t('{names} and {more} more', { names: shown, more }) : shown;
}

/** @param {number} from @param {number} to @returns {string} 'steps 150–155' */
export function whenOf(from, to) {
  return from === to
    ? t('step {step}', { step: formatInteger(from) })
    : t('steps {from}–{to}', { from: formatInteger(from), to: formatInteger(to) });
}

/** What a severity is called in a sentence. */
const _SEVERITY = { error: () => t('error'), warning: () => t('warning'), info: () => t('info') };

/** @param {Finding} finding @param {string} address of the view */
export function toMarkdown({ severity, title, text, advice, parameters, from, to, run }, address) {
  const names = parameters.map(asCode).join(', ');
  const lines = [
    `**${_SEVERITY[severity]()}: ${asPlain(title)}**`,
    '',
    t('- run: {run}', { run: asCode(run) }),
    ...(names ? [t('- where: {names}', { names })] : []),
    from === to ? t('- when: step {from}', { from }) : t('- when: steps {from} to {to}', { from, to }),
    t('- why: {text}', { text: asPlain(text) }),
    ...(advice ? [t('- try: {advice}', { advice: asPlain(advice) })] : []),
    '',
    `[${t('Open in TensorBoard')}](${address.replace(/[()]/g, (c) => (c === '(' ? '%28' : '%29'))})`,
  ];
  return `${lines.join('\n')}\n`;
}

/** A name as code, whatever is in it: the fence is longer than any row of backticks inside. @param {string} name */
export function asCode(name) {
  const text = name.replace(/\s+/g, ' ');
  const longest = Math.max(0, ...(text.match(/`+/g) ?? []).map(({ length }) => length));
  if (!longest) return `\`${text}\``;
  const fence = '`'.repeat(longest + 1);
  return `${fence} ${text} ${fence}`;
}

/** A sentence, in which nothing is Markdown or HTML. @param {string} text */
export function asPlain(text) {
  return text.replace(/\s+/g, ' ').replace(/[\\`*_[\]<>~|]/g, '\\$&');
}
