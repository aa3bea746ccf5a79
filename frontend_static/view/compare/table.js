// @ts-check
/** Losses and settings of the compared runs, a column for each run. */
import { formatInteger, letters } from '../../chart/format.js';
import { plural, t } from '../../host/language.js';
import { inPieces } from '../run/pieces.js';
import { Swatch } from '../run/run_list.js';
import { html, icon, useRef } from '../ui.js';
import { nextSort } from './rows.js';

/**
 * @typedef {import('../../types.d.ts').Comparison} Comparison
 * @typedef {import('./rows.js').Row} Row
 * @typedef {import('./rows.js').Sort} Sort
 *
 * What a run is called and drawn as.
 * @typedef {object} Names
 * @property {(run: string) => string} nameOf
 * @property {(run: string) => number} indexOf in the list of runs, which decides the colour
 */

/** Of a column, CSS pixels; about the width of a letter. */
const [NARROWEST, WIDEST, LETTER] = [100, 260, 7.5];

/**
 * @param {object} props
 * @param {import('../ui.js').App} props.app
 * @param {import('../../types.d.ts').Theme} props.theme
 * @param {Comparison} props.comparison
 * @param {Row[]} props.rows
 * @param {number[]} props.order of the runs
 * @param {Sort} props.sort
 * @param {(sort: Sort) => void} props.onSort
 * @param {Names} props.names
 */
export function ComparisonTable({ app, theme, comparison, rows, order, sort, onSort, names }) {
  const scroller = useRef(/** @type {HTMLElement | null} */ (null));
  const leaveOut = (/** @type {string} */ run) => {
    app.actions.toggleRun(run);
    scroller.current?.focus(); // its button goes with it
  };
  const runs = order.map((i) => comparison.runs[i].run);
  const groups = /** @type {const} */ (['loss', 'setting']).map((kind) => rows.filter((row) => row.kind === kind));
  return html`<div class="compare-scroll" ref=${scroller} tabindex="0" role="region" aria-label=${t('Losses and settings of the runs')}>
    <table>
      <thead>
        <tr>
          <th scope="col"><span class="visually-hidden">${t('Setting')}</span></th>
          ${runs.map((run) => html`<${RunHead} key=${run} app=${app} run=${run} theme=${theme} names=${names} onLeaveOut=${leaveOut} />`)}
        </tr>
      </thead>
      ${groups.map(
        (group, i) =>
          group.length > 0 &&
          html`<tbody key=${i}>
            ${group.map((row) => html`<${RowOf} key=${row.key} row=${row} order=${order} runs=${runs} sort=${sort} onSort=${onSort} />`)}
          </tbody>`,
      )}
    </table>
  </div>`;
}

/**
 * @param {{app: import('../ui.js').App, run: string, theme: import('../../types.d.ts').Theme, names: Names, onLeaveOut: (run: string) => void}} props
 */
function RunHead({ app, run, theme, names, onLeaveOut }) {
  const name = names.nameOf(run);
  const leave = t('Leave {run} out', { run: name });
  return html`<th scope="col" style="min-width:${headWidth(name)}px">
    <span class="run-of">
      <${Swatch} index=${names.indexOf(run)} theme=${theme} />
      <button class="icon-button small" aria-label=${leave} title=${leave} onClick=${() => onLeaveOut(run)}>${icon('close')}</button>
    </span>
    <button class="run-link" title=${t('{run}: show in the overview', { run: name })} onClick=${() => app.actions.showRun(run)}><bdi>${inPieces(name)}</bdi></button>
  </th>`;
}

/** A name takes about three lines. @param {string} name @returns {number} CSS pixels */
export function headWidth(name) {
  return Math.round(Math.min(WIDEST, Math.max(NARROWEST, 28 + (letters(name) / 3) * LETTER)));
}

/** @param {{row: Row, order: number[], runs: string[], sort: Sort, onSort: (sort: Sort) => void}} props */
function RowOf({ row, order, runs, sort, onSort }) {
  const sorted = sort.key === row.key;
  const direction = sort.down ? 'descending' : 'ascending';
  return html`<tr data-row=${row.key}>
    <th scope="row" aria-sort=${sorted ? direction : undefined}>
      <button title=${t('Sort the runs by this')} onClick=${() => onSort(nextSort(sort, row.key))}>
        ${inPieces(row.label)}${sorted && icon(sort.down ? 'left' : 'right', 'sort-mark')}
      </button>
    </th>
    ${order.map((i, place) => html`<td key=${runs[place]} class=${row.cells[i].mark}>${row.cells[i].text}</td>`)}
  </tr>`;
}

/** The settings in which the runs do not differ, behind one line. @param {{same: Comparison['same']}} props */
export function SameSettings({ same }) {
  if (!same.length) return null;
  return html`<details class="same-settings">
    <summary>${plural(same.length, '{count} setting is the same in all runs', '{count} settings are the same in all runs', { count: formatInteger(same.length) })}</summary>
    <dl>${same.map(({ name, label, value }) => html`<div key=${name}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>
  </details>`;
}
