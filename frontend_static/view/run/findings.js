// @ts-check
/** What the rules found in a run: severity, what, where, when, why and what to try. */
import { formatInteger } from '../../chart/format.js';
import { SEVERITIES } from '../../data/api.js';
import { hostAddress } from '../../host/links.js';
import { CopyButton, html, severityMark, useEffect, useRef } from '../ui.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../types.d.ts').Finding} Finding
 */

const MOST_NAMES = 6;

/** @param {{app: App, state: import('../../state/store.js').State, run: import('../../types.d.ts').RunInfo, findings: Finding[]}} props */
export function Findings({ app, state, run, findings }) {
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: 'nearest' });
  }, [state.finding]);
  return html`<section class="findings-panel" aria-label="Findings">
    <div class="section">
      Findings<span class="grow"></span>
      ${SEVERITIES.map((severity) => {
        const count = findings.filter((finding) => finding.severity === severity).length;
        return count > 0 && html`<span key=${severity} class="severity-count">${severityMark(severity)}${count}</span>`;
      })}
    </div>
    <div class="findings" role="listbox" aria-label="Findings, most severe first" ref=${list}>
      ${findings.map(
        (finding, i) => html`<${Item}
          key=${finding.id}
          app=${app}
          finding=${finding}
          last=${run.last_step}
          selected=${finding.id === state.finding}
          explained=${i === 0 && state.finding === null && finding.severity !== 'info'}
        />`,
      )}
    </div>
  </section>`;
}

/**
 * @param {object} props
 * @param {App} props.app
 * @param {Finding} props.finding
 * @param {number} props.last step of the run
 * @param {boolean} props.selected
 * @param {boolean} props.explained without being selected: the worst one says at first sight what to do
 */
function Item({ app, finding, last, selected, explained }) {
  const { severity, title, text, advice, parameters, from, to } = finding;
  const select = () => app.actions.selectFinding(finding);
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    if (/** @type {HTMLElement} */ (event.target).closest('button')) return;
    event.preventDefault();
    select();
  };
  const share = (/** @type {number} */ step) => 100 * Math.min(1, step / Math.max(1, last));
  const when = from === to ? `step ${formatInteger(from)}` : `steps ${formatInteger(from)}–${formatInteger(to)}`;
  return html`<div
    class="finding ${selected ? 'selected' : ''}"
    role="option"
    tabindex="0"
    aria-selected=${selected}
    onClick=${select}
    onKeyDown=${onKey}
  >
    ${severityMark(severity)}
    <b>${title}</b>
    <span class="place">
      <span class="where" title=${_names(parameters)}>${_names(parameters)}</span><small>${when}</small>
    </span>
    ${
      (selected || explained) &&
      html`<p>${text}</p>
        ${advice && html`<p class="advice">${advice}</p>`}`
    }
    ${
      selected &&
      html`<p class="finding-actions" onClick=${(/** @type {Event} */ event) => event.stopPropagation()}>
          <${CopyButton} label="Copy link" text=${hostAddress} symbol="link" />
          <${CopyButton} label="Copy as Markdown" text=${() => toMarkdown(finding, hostAddress())} symbol="copy" />
        </p>`
    }
    <span class="when ${severity}">
      <i style="left:${share(from)}%;width:${share(to) - share(from)}%"></i>
    </span>
  </div>`;
}

/** @param {string[]} names */
function _names(names) {
  const more = names.length - MOST_NAMES;
  return names.slice(0, MOST_NAMES).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

/** @param {Finding} finding @param {string} address of the view */
export function toMarkdown({ severity, title, text, advice, parameters, from, to, run }, address) {
  const names = parameters.map(_code).join(', ');
  const lines = [
    `**${severity}: ${_plain(title)}**`,
    '',
    `- run: ${_code(run)}`,
    ...(names ? [`- where: ${names}`] : []),
    `- when: ${from === to ? `step ${from}` : `steps ${from} to ${to}`}`,
    `- why: ${_plain(text)}`,
    ...(advice ? [`- try: ${_plain(advice)}`] : []),
    '',
    `[Open in TensorBoard](${address.replace(/[()]/g, (c) => (c === '(' ? '%28' : '%29'))})`,
  ];
  return `${lines.join('\n')}\n`;
}

/** A name as code, whatever is in it: the fence is longer than any row of backticks inside. @param {string} name */
function _code(name) {
  const text = name.replace(/\s+/g, ' ');
  const longest = Math.max(0, ...(text.match(/`+/g) ?? []).map(({ length }) => length));
  if (!longest) return `\`${text}\``;
  const fence = '`'.repeat(longest + 1);
  return `${fence} ${text} ${fence}`;
}

/** A sentence, in which nothing is Markdown or HTML. @param {string} text */
function _plain(text) {
  return text.replace(/\s+/g, ' ').replace(/[\\`*_[\]<>~|]/g, '\\$&');
}
