// @ts-check
/** A comparison of runs as Markdown, for a report, and as CSV, for a spreadsheet. Pure. */
import { t } from '../../host/language.js';
import { toCsv } from '../../save/tables.js';
import { asPlain } from '../run/findings.js';
import { notesOf } from './rows.js';

/**
 * @typedef {import('../../types.d.ts').Comparison} Comparison
 * @typedef {import('./rows.js').Row} Row
 * @typedef {(run: string) => string} NameOf
 */

/**
 * What is shown: a table with a column for each run, and the sentences below it.
 * @param {Comparison} comparison @param {Row[]} rows @param {number[]} order of the runs @param {NameOf} nameOf
 * @param {string} address of the view
 */
export function comparisonMarkdown(comparison, rows, order, nameOf, address) {
  const { runs, same, sweep, pairs, text } = comparison;
  const line = (/** @type {string[]} */ cells) => `| ${cells.map((cell) => asPlain(cell)).join(' | ')} |`;
  const verdicts = pairs.flatMap((pair) => [pair.text, ...pair.partings.map((parting) => parting.text)]).filter(Boolean);
  const notes = notesOf(comparison).map((note) => `${note.runs.map(nameOf).join(', ')}: ${note.note}`);
  return [
    line(['', ...order.map((i) => nameOf(runs[i].run))]),
    `|---|${order.map(() => '---:|').join('')}`,
    ...rows.map(({ label, cells }) => line([label, ...order.map((i) => cells[i].text)])),
    '',
    ...(same.length ? [`${t('The same in all runs:')} ${same.map(({ label, value }) => asPlain(`${label} ${value}`)).join(', ')}`, ''] : []),
    ...(sweep ? [asPlain(sweep.text), ''] : []),
    ...[...notes, text, ...verdicts].map((sentence) => `- ${asPlain(sentence)}`),
    '',
    `[${t('Open in TensorBoard')}](${address.replace(/[()]/g, (c) => (c === '(' ? '%28' : '%29'))})`,
    '',
  ].join('\n');
}

/**
 * One line for each run: its losses, then every recorded setting, as a number where it is one.
 * @param {Comparison} comparison @param {number[]} order of the runs @param {NameOf} nameOf
 */
export function comparisonCsv({ runs, settings, same }, order, nameOf) {
  const losses = /** @type {const} */ (['last_step', 'final_loss', 'common_loss', 'not_finite_from']);
  return toCsv([
    ['run', ...losses, ...settings.map(({ name }) => name), ...same.map(({ name }) => name)],
    ...order.map((i) => [
      nameOf(runs[i].run),
      ...losses.map((name) => runs[i][name] ?? ''),
      ...settings.map(({ numbers, values }) => numbers[i] ?? values[i]),
      ...same.map(({ value }) => value),
    ]),
  ]);
}
