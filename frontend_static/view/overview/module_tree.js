// @ts-check
/** The names of the rows, as a tree of modules that open and fold. */
import { SEVERITIES } from '../../data/api.js';
import { t } from '../../host/language.js';
import { html, icon, severityMark, useMemo, useState } from '../ui.js';
import { modulesAround } from './tree_rows.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../types.d.ts').RunInfo} RunInfo
 * @typedef {import('../../types.d.ts').TreeRow} TreeRow
 */

/** @param {{app: App, tree: import('./tree_rows.js').Module, open: Set<string>, rows: TreeRow[], visible: TreeRow[], selectedRow: TreeRow | undefined, run: RunInfo, findings: import('../../types.d.ts').Finding[]}} props */
export function Tree({ app, open, rows, visible, selectedRow, run, findings }) {
  const [active, setActive] = useState(/** @type {string | null} */ (null));
  const toggle = (/** @type {TreeRow} */ row) => app.actions.openModules(_toggled(open, row.key));
  const choose = (/** @type {TreeRow} */ row) =>
    row.kind === 'module' ? toggle(row) : app.actions.selectTensor(run.parameters[row.parameters[0]].name);
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const at = rows.findIndex((row) => row.key === (active ?? selectedRow?.key));
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      const row = rows[Math.min(rows.length - 1, Math.max(0, at + (event.key === 'ArrowDown' ? 1 : -1)))];
      setActive(row.key);
      if (row.kind === 'tensor') choose(row);
    } else if ((event.key === 'Enter' || event.key === ' ') && at >= 0) choose(rows[at]);
    else return;
    event.preventDefault();
  };
  const total = rows.length ? rows[rows.length - 1].y + rows[0].height : 0;
  const severities = useMemo(() => _severestOf(findings), [findings]);
  return html`<div
    class="tree"
    role="tree"
    tabindex="0"
    aria-label=${t('Tensors by module')}
    aria-activedescendant=${_rowId(active ?? selectedRow?.key ?? '')}
    style="height:${total}px"
    onKeyDown=${onKey}
    onBlur=${() => setActive(null)}
  >
    ${visible.map(
      (row) => html`<div
        key=${row.key}
        id=${_rowId(row.key)}
        class="tree-row ${row === selectedRow ? 'selected' : ''} ${row.key === active ? 'active' : ''}"
        role="treeitem"
        aria-level=${row.depth + 1}
        aria-selected=${row === selectedRow}
        aria-expanded=${row.kind === 'module' ? row.open : undefined}
        title=${row.key}
        style="top:${row.y}px;height:${row.height}px;padding-left:${7 + row.depth * 13}px"
        onClick=${() => choose(row)}
      >
        ${row.kind === 'module' ? icon(row.open ? 'down' : 'right', 'chevron') : html`<span class="chevron"></span>`}
        <span class="row-name"><bdi>${row.label}</bdi></span>
        ${row.kind === 'module' && html`<span class="count">${row.parameters.length}</span>`}
        ${!row.open && _markOf(row, run, severities)}
      </div>`,
    )}
  </div>`;
}

/** @param {import('../../types.d.ts').Finding[]} findings @returns {Map<string, 'error' | 'warning' | 'info'>} by parameter name */
function _severestOf(findings) {
  /** @type {Map<string, 'error' | 'warning' | 'info'>} */
  const found = new Map();
  for (const severity of [...SEVERITIES].reverse()) {
    for (const finding of findings) {
      if (finding.severity === severity) for (const name of finding.parameters) found.set(name, severity);
    }
  }
  return found;
}

/** @param {TreeRow} row @param {RunInfo} run @param {Map<string, 'error' | 'warning' | 'info'>} severities */
function _markOf(row, run, severities) {
  if (!severities.size) return null;
  const here = new Set(row.parameters.map((parameter) => severities.get(run.parameters[parameter].name)));
  const severest = SEVERITIES.find((severity) => here.has(severity));
  return severest && html`<span class="row-mark">${severityMark(severest)}</span>`;
}

/**
 * What `o` does: folds the innermost open module around a tensor, or opens the outermost folded one.
 * @param {import('./tree_rows.js').Module} tree
 * @param {Set<string>} open
 * @param {number} parameter
 * @returns {Set<string>}
 */
export function toggleAround(tree, open, parameter) {
  const around = modulesAround(tree, parameter);
  const folded = around.find((key) => !open.has(key));
  const key = folded ?? around[around.length - 1];
  return key === undefined ? open : _toggled(open, key);
}

/** @param {Set<string>} open @param {string} key */
function _toggled(open, key) {
  const next = new Set(open);
  if (!next.delete(key)) next.add(key);
  return next;
}

/** @param {string} key */
function _rowId(key) {
  return `row-${key}`;
}
