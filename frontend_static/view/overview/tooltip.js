// @ts-check
/** What the heat map says about the cell under the pointer. */
import { formatAxis, formatInteger, formatNumber, formatRange, letters } from '../../chart/format.js';
import { jumpSteps } from '../../chart/gradient_jumps.js';
import { healthyRange } from '../../chart/healthy_range.js';
import { valueAt, valueText, worstIn } from '../../chart/heatmap_values.js';
import { formatFactor } from '../../chart/statistic_format.js';
import { t } from '../../host/language.js';
import { Tip } from '../hooks/plot.js';
import { html, useState } from '../ui.js';

/**
 * @typedef {import('../../chart/heatmap_values.js').View} View
 * @typedef {import('../../types.d.ts').TreeRow} TreeRow
 */

/** A tooltip is a multiple of this wide, so that it rarely changes. */
const TIP_WIDTH = 160;
const TIP_LETTER = 6.7;

/**
 * @typedef {{pointer: {x: number, y: number}, title: string, lines: [string, string][]}} TipContent
 * @param {{register: {current: (content: TipContent | null) => void}}} props
 */
export function Tooltip({ register }) {
  const [tip, setTip] = useState(/** @type {TipContent | null} */ (null));
  register.current = setTip;
  if (!tip) return null;
  const longest = Math.max(letters(tip.title), ...tip.lines.map(([name, value]) => letters(name) + letters(value) + 3));
  const wanted = TIP_WIDTH * Math.ceil((longest * TIP_LETTER) / TIP_WIDTH);
  const width = Math.min(wanted, window.innerWidth);
  return html`<${Tip} pointer=${tip.pointer} width=${width} rows=${1 + tip.lines.length}>
    <b>${tip.title}</b>
    ${tip.lines.map(([name, value], i) => html`<p key=${i}><span>${name}</span><span>${value}</span></p>`)}
  </${Tip}>`;
}

/**
 * @param {PointerEvent} event
 * @param {number} column
 * @param {{view: View, rows: TreeRow[], offset: number, top: number, layer: HTMLElement | null}} at
 * @returns {TipContent | null}
 */
export function tipAt(event, column, { view, rows, offset, top, layer }) {
  const box = /** @type {HTMLElement} */ (layer).getBoundingClientRect();
  const y = event.clientY - box.top;
  const row = y < top ? undefined : rowAt(rows, y - top + offset);
  if (!row) return null;
  const { overview, metric, run } = view;
  const [first, last] = [overview.first_step[column], overview.last_step[column]];
  const steps = first === last ? formatInteger(last) : `${formatInteger(first)}–${formatInteger(last)}`;
  const parameter = worstIn(view, row, column);
  const value = valueAt(view, parameter, column);
  /** @type {[string, string][]} */
  const lines = [[first === last ? t('step') : t('steps (the most extreme)'), steps]];
  if (view.axis !== 'step') lines.push([t('time'), formatAxis(view.xs[column], view.axis)]);
  lines.push([
    view.against ? t('{statistic}, compared with {run}', { statistic: metric.label, run: view.against.name }) : metric.label,
    valueText(view, parameter, value),
  ]);
  const healthy = view.colouring.kind === 'ratio' && healthyRange(run, parameter, view.healthyRange);
  if (healthy) lines.push([_healthyFor(run.parameters[parameter]), formatRange(healthy)]);
  if (row.kind === 'module') {
    const count = row.parameters.length;
    lines.push([t('most extreme of {count} tensors', { count }), row.key]);
  }
  const name = run.parameters[parameter].name;
  return { pointer: event, title: name, lines };
}

/** @param {PointerEvent} event @param {ReturnType<typeof import('../../chart/jump_marks.js').marksOf>[0]} mark @param {View} view @returns {TipContent} */
export function jumpTip(event, { jump, name, x }, view) {
  /** @type {[string, string][]} */
  const lines = [[t('step'), jumpSteps(jump)]];
  if (view.axis !== 'step') lines.push([t('time'), formatAxis(x, view.axis)]);
  lines.push([t('gradient RMS of this tensor alone'), formatNumber(jump.value)]);
  if (Number.isFinite(jump.factor)) lines.push([t('relative to the steps around it'), formatFactor(jump.factor)]);
  return { pointer: event, title: name, lines };
}

/** @param {import('../../types.d.ts').ParameterInfo} parameter */
function _healthyFor({ kind }) {
  /** @type {Record<string, string>} */
  const texts = {
    matrix: t('healthy for a matrix'),
    embedding: t('healthy for an embedding'),
    gain: t('healthy for a gain'),
    bias: t('healthy for a bias'),
  };
  return texts[kind ?? ''] ?? t('healthy for this tensor');
}

/** @param {TreeRow[]} rows @param {number} y @returns {TreeRow | undefined} the row that shows data there */
export function rowAt(rows, y) {
  const row = rows.length ? rows[Math.floor(y / rows[0].height)] : undefined;
  return row && !row.open ? row : undefined;
}
