// @ts-check
/** The list of runs: which are shown and compared, how each is doing, sorted and filtered by that. */
import { runColor, runDash } from '../../chart/colormap.js';
import { formatInteger } from '../../chart/format.js';
import { SEVERITIES } from '../../data/api.js';
import { plural, t } from '../../host/language.js';
import { checkedRuns } from '../../state/store.js';
import { useFilter } from '../hooks/filter.js';
import { FilterBox } from '../toolbar.js';
import { html, icon, severityMark, useEffect, useRef } from '../ui.js';
import { WhatIs } from '../what_is.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../state/store.js').State} State
 * @typedef {import('../../types.d.ts').RunInfo} RunInfo
 * @typedef {import('../../types.d.ts').RunState} RunState
 * @typedef {ReadonlyMap<string, RunState>} States by run, as far as they are known
 */

/** @param {RunState | undefined} state @returns {boolean} whether an error or a warning was found */
export function isIll(state) {
  return Boolean(state && state.counts.error + state.counts.warning > 0);
}

/**
 * Runs in the order that was chosen; those of which nothing is known come last by severity.
 * @template {Pick<RunInfo, 'run' | 'last_wall_time'>} T
 * @param {T[]} runs as the server lists them, by name
 * @param {import('../../state/store.js').RunOrder} order @param {States} states
 * @returns {T[]}
 */
export function orderedRuns(runs, order, states) {
  if (order === 'name') return runs;
  if (order === 'newest') return [...runs].sort((a, b) => b.last_wall_time - a.last_wall_time);
  const count = (/** @type {T} */ { run }, /** @type {'error' | 'warning' | 'info'} */ severity) =>
    states.get(run)?.counts[severity] ?? -1;
  return [...runs].sort((a, b) => {
    for (const severity of SEVERITIES) {
      const difference = count(b, severity) - count(a, severity);
      if (difference) return difference;
    }
    return 0;
  });
}

/**
 * The runs that pass the filters, in their order. Leaving out healthy runs leaves the one that is shown.
 * @param {State} state @param {RunInfo | null} shown in the overview @param {States} states
 * @param {(name: string) => boolean} matches what is typed
 */
export function listedRuns({ summary, runOrder, illRuns }, shown, states, matches) {
  return orderedRuns(summary?.runs ?? [], runOrder, states).filter(
    (info) => matches(info.name) && (!illRuns || info === shown || isIll(states.get(info.run))),
  );
}

/** @param {{app: App, state: State, run: RunInfo | null, rule: string | null, states: States}} props `rule`: of the open finding */
export function Runs({ app, state, run, rule, states }) {
  const { actions } = app;
  const runs = state.summary?.runs ?? [];
  const { matches } = useFilter(
    state.runFilter,
    runs.map(({ name }) => name),
  );
  const listed = listedRuns(state, run, states, matches);
  const checked = new Set(checkedRuns(state));
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  useShownRunInSight(list, run, state.runOrder);
  const allChecked = listed.length > 0 && listed.every((info) => checked.has(info));
  const toggleAll = () =>
    actions.checkRuns(
      listed.map(({ run }) => run),
      !allChecked,
    );
  return html`<div class="bar">
      ${
        runs.length > 1 &&
        html`<${CheckBox} on=${allChecked} label=${t('Draw all listed runs in comparisons')} onToggle=${toggleAll} />`
      }
      <${FilterBox} label=${t('Filter runs (regex)')} value=${state.runFilter} onChange=${actions.filterRuns} />
      <${WhatIs} app=${app} name=${t('Runs')} topic="runs" />
    </div>
    ${runs.length > 1 && html`<${RunTools} app=${app} state=${state} runs=${runs} states=${states} />`}
    <div class="runs" role="group" aria-label=${t('Runs')} ref=${list} style="--runs:${listed.length}">
      ${listed.map(
        (info) => html`<${RunRow}
          key=${info.run}
          app=${app}
          info=${info}
          index=${runs.indexOf(info)}
          theme=${state.theme}
          state=${states.get(info.run)}
          checked=${checked.has(info)}
          shown=${info === run}
          reference=${runs.length > 1 ? state.reference === info.run : null}
          onShow=${() => actions.showRun(info.run, rule)}
        />`,
      )}
      ${runs.length > 0 && !listed.some((info) => !state.illRuns || isIll(states.get(info.run))) && html`<p class="hint">${_emptiness(state, runs, states)}</p>`}
    </div>`;
}

/**
 * @param {object} props
 * @param {App} props.app
 * @param {RunInfo} props.info
 * @param {number} props.index in the list of the server, which decides the colour
 * @param {import('../../types.d.ts').Theme} props.theme
 * @param {RunState | undefined} props.state if it is known
 * @param {boolean} props.checked whether comparisons draw it
 * @param {boolean} props.shown whether the overview shows it
 * @param {boolean | null} props.reference whether others are compared with it; null where there are no others
 * @param {() => void} props.onShow
 */
function RunRow({ app, info, index, theme, state, checked, shown, reference, onShow }) {
  const { actions } = app;
  return html`<div class="run ${checked ? '' : 'off'}">
    <${CheckBox}
      on=${checked}
      label=${t('Draw {run} in comparisons', { run: info.name })}
      onToggle=${() => actions.toggleRun(info.run)}
    />
    <button
      class="name"
      title=${t('{run}: show in the overview', { run: info.name })}
      aria-pressed=${shown}
      onClick=${onShow}
    >
      <bdi>${info.name}</bdi>
    </button>
    <${StateMark} state=${state} />
    ${info.gradient_norms && html`<span class="jumped" role="img" aria-label=${t('The gradient norm jumped or was not finite')} title=${t('The gradient norm jumped or was not finite: marks in the heat map show where')}>${icon('jump', 'flag')}</span>`}
    ${shown && html`<span class="primary" title=${t('The overview and the histograms show this run')}>${t('OVERVIEW')}</span>`}
    ${
      reference !== null &&
      html`<button
        class="reference ${reference ? 'on' : ''}"
        aria-pressed=${reference}
        aria-label=${t('Compare with {run}', { run: info.name })}
        title=${reference ? t('Reference for the other runs') : t('Compare others with this run')}
        onClick=${() => actions.referTo(info.run)}
      >
        ${icon('reference', 'flag')}
      </button>`
    }
    <span class="step" title=${t('Newest step')}>${formatInteger(info.last_step)}</span>
    <${Swatch} index=${index} theme=${theme} />
  </div>`;
}

/** What the rules found in a run: its errors and warnings, else that there are questions. @param {{state: RunState | undefined}} props */
function StateMark({ state }) {
  if (!state?.worst) return null;
  const shown = isIll(state) ? /** @type {const} */ (['error', 'warning']) : /** @type {const} */ (['info']);
  const text = describeState(state);
  return html`<span class="run-state" role="img" aria-label=${text} title=${text}>
    ${shown.map(
      (severity) =>
        state.counts[severity] > 0 && html`<span key=${severity} aria-hidden="true">${severityMark(severity)}${state.counts[severity]}</span>`,
    )}
  </span>`;
}

/** @param {RunState} state @returns {string} '1 error, 2 warnings: Learning rate too high' */
export function describeState({ counts, first }) {
  const parts = [
    counts.error && plural(counts.error, '{count} error', '{count} errors'),
    counts.warning && plural(counts.warning, '{count} warning', '{count} warnings'),
    counts.info && plural(counts.info, '{count} question', '{count} questions'),
  ].filter(Boolean);
  const list = parts.join(t(', '));
  return first ? t('{counts}: {title}', { counts: list, title: first }) : list;
}

/** The line of a run as charts draw it. @param {{index: number, theme: import('../../types.d.ts').Theme}} props */
export function Swatch({ index, theme }) {
  return html`<svg class="dot" viewBox="0 0 22 14" aria-hidden="true">
    <line x1="1" x2="21" y1="7" y2="7" stroke=${runColor(index, theme)} stroke-width="3.5" stroke-dasharray=${runDash(index)?.join(' ')} />
  </svg>`;
}

/**
 * How the list is sorted, whether healthy runs are left out, and the ways to all findings and to the comparison.
 * @param {{app: App, state: State, runs: RunInfo[], states: States}} props
 */
function RunTools({ app, state, runs, states }) {
  const compared = checkedRuns(state).length;
  const compare = html`<button
    class="link compare-runs"
    aria-pressed=${state.compare}
    disabled=${compared < 2 && !state.compare}
    title=${compared < 2 ? t('Check two or more runs to compare them') : t('Settings, losses and statistics of the checked runs (c)')}
    onClick=${() => app.actions.showComparison(!state.compare)}
  >
    ${t('Compare')} <b>${formatInteger(compared)}</b>
  </button>`;
  if (!state.summary?.rules?.length) return html`<div class="run-tools"><span class="grow"></span>${compare}</div>`;
  const ill = runs.filter(({ run }) => isIll(states.get(run))).length;
  const orders = [
    { name: 'name', text: t('Name') },
    { name: 'severity', text: t('Severity') },
    { name: 'newest', text: t('Newest') },
  ];
  return html`<div class="run-tools">
    <select
      class="plain-select"
      aria-label=${t('Order of the runs')}
      title=${t('Order of the runs')}
      value=${state.runOrder}
      onChange=${(/** @type {any} */ event) => app.actions.prefer('runOrder', event.target.value)}
    >
      ${orders.map(({ name, text }) => html`<option key=${name} value=${name} selected=${name === state.runOrder}>${text}</option>`)}
    </select>
    <button
      class="only-ill"
      aria-pressed=${state.illRuns}
      title=${t('List only the runs with errors or warnings, and the one in the overview')}
      onClick=${() => app.actions.listIllRuns(!state.illRuns)}
    >
      ${t('With problems')} ${states.size > 0 && html`<b>${formatInteger(ill)}</b>`}
    </button>
    <span class="grow"></span>
    <button class="link" aria-pressed=${state.all} onClick=${() => app.actions.showAllFindings(!state.all)}>${t('All findings')}</button>
    ${compare}
  </div>`;
}

/** Why no run is listed. @param {State} state @param {RunInfo[]} runs @param {States} states */
function _emptiness(state, runs, states) {
  if (!state.illRuns || runs.some(({ run }) => isIll(states.get(run)))) return t('No run matches this filter.');
  const unknown = runs.length - states.size;
  return unknown > 0
    ? plural(unknown, '{count} run still to be checked', '{count} runs still to be checked', { count: formatInteger(unknown) })
    : t('No run has errors or warnings.');
}

/**
 * Scrolls the list to the overview's run when that changes, and to the top when the order does.
 * @param {{current: HTMLElement | null}} list @param {RunInfo | null} run @param {string} order
 */
function useShownRunInSight(list, run, order) {
  const sortedFor = useRef({ run: run?.run, order });
  useEffect(() => {
    const element = /** @type {HTMLElement} */ (list.current);
    const before = sortedFor.current;
    sortedFor.current = { run: run?.run, order };
    if (before.order !== order && before.run === run?.run) {
      element.scrollTop = 0; // who sorts wants to see what comes first
      return;
    }
    const show = () => {
      const name = element.querySelector('.name[aria-pressed="true"]');
      if (!name) return;
      // The list alone: the column that it lies in stays where it is.
      const [row, box] = [name.getBoundingClientRect(), element.getBoundingClientRect()];
      element.scrollTop += Math.min(0, row.top - box.top) + Math.max(0, row.bottom - box.bottom);
    };
    const observer = new ResizeObserver(show); // findings that come later take room from the list
    observer.observe(element);
    return () => observer.disconnect();
  }, [run?.run, order]);
}

/** @param {{on: boolean, label: string, onToggle: () => void}} props */
function CheckBox({ on, label, onToggle }) {
  return html`<button
    class="check ${on ? '' : 'no'}"
    role="checkbox"
    aria-checked=${on}
    aria-label=${label}
    title=${label}
    onClick=${onToggle}
  >
    ${on && icon('check', '')}
  </button>`;
}

