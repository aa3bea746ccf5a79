// @ts-check
/** A comparison of runs as the rows of a table, and the order of its columns. Pure. */
import { formatInteger, formatNumber } from '../../chart/format.js';
import { t } from '../../host/language.js';

/**
 * @typedef {import('../../types.d.ts').ComparedRun} ComparedRun
 * @typedef {import('../../types.d.ts').ComparedSetting} ComparedSetting
 * @typedef {import('../../types.d.ts').Comparison} Comparison
 *
 * @typedef {object} Cell
 * @property {string} text
 * @property {number | null} number what it is sorted by; null where there is none
 * @property {'' | 'best' | 'bad' | 'same'} mark same: as in the best run
 *
 * @typedef {object} Row
 * @property {string} key
 * @property {string} label
 * @property {'loss' | 'setting'} kind
 * @property {Cell[]} cells one for each run, in the order of the answer
 *
 * @typedef {{key: string, down: boolean}} Sort of the columns by a row; key '' is by loss
 */

const NONE = '–';
/** A lead that begins in this part of the common steps has been there from the start, as the sentences say. */
const AT_FIRST = 20;
const COLLATOR = new Intl.Collator('en', { numeric: true });

/** @param {Comparison} comparison @returns {Row[]} losses first, then the settings that differ */
export function rowsOf(comparison) {
  const { runs, settings, common_step } = comparison;
  const isCommon = runs.some(({ common_loss, final_loss }) => common_loss !== null && common_loss !== final_loss);
  const hasLoss = runs.some((run) => run.final_loss !== null || run.not_finite_from !== null);
  return [
    ...(comparison.best ? [_verdicts(comparison)] : []),
    ...(hasLoss ? [_losses(comparison, 'final_loss', t('final loss'))] : []),
    ...(isCommon ? [_losses(comparison, 'common_loss', t('loss up to step {step}', { step: formatInteger(common_step ?? 0) }))] : []),
    ...settings.map((setting) => _setting(comparison, setting)),
  ];
}

/**
 * The order of the columns: by loss, the lowest first, or by a row; what is not known comes last.
 * @param {Comparison} comparison @param {Row[]} rows @param {Sort} sort
 * @returns {number[]} indices of the runs
 */
export function orderOf({ runs }, rows, { key, down }) {
  const row = rows.find((one) => one.key === key);
  const all = Array.from(runs.keys());
  if (!row) return all.sort((a, b) => _ascending(_loss(runs[a]), _loss(runs[b])));
  const isNumeric = row.cells.some(({ number }) => number !== null);
  const sign = down ? -1 : 1;
  return all.sort((a, b) => {
    const [one, other] = [row.cells[a], row.cells[b]];
    if (isNumeric) return _ascending(one.number, other.number, sign);
    return sign * COLLATOR.compare(one.text, other.text);
  });
}

/** What a click on a row's name does: ascending, descending, by loss again. @param {Sort} sort @param {string} key @returns {Sort} */
export function nextSort(sort, key) {
  if (sort.key !== key) return { key, down: false };
  return sort.down ? { key: '', down: false } : { key, down: true };
}

/** Why runs have no loss to compare, the runs with the same reason together. @param {Comparison} comparison @returns {{note: string, runs: string[]}[]} */
export function notesOf({ runs }) {
  /** @type {Map<string, string[]>} */
  const notes = new Map();
  for (const { run, note } of runs) if (note) notes.set(note, [...(notes.get(note) ?? []), run]);
  return [...notes].map(([note, named]) => ({ note, runs: named }));
}

/** @param {Comparison} comparison @returns {Row} */
function _verdicts({ runs, pairs, best, common_step }) {
  const cells = runs.map((run) => {
    if (run.run === best) return _cell(t('best'), run.common_loss, 'best');
    const pair = pairs.find(({ against }) => against === run.run);
    if (!pair?.text) return _cell(NONE, null);
    const { better, from } = pair;
    if (better === null || from === null) return _cell(t('within noise'), run.common_loss);
    const step = formatInteger(from);
    if (better !== best) return _cell(t('better from step {step}', { step }), run.common_loss);
    if (from === run.not_finite_from) return _cell(t('not finite from step {step}', { step }), null, 'bad');
    const isAtFirst = from <= (common_step ?? 0) / AT_FIRST;
    return _cell(isAtFirst ? t('worse from the start') : t('worse from step {step}', { step }), run.common_loss);
  });
  return { key: 'verdict', label: t('against the best'), kind: 'loss', cells };
}

/** @param {Comparison} comparison @param {'final_loss' | 'common_loss'} name @param {string} label @returns {Row} */
function _losses({ runs, best }, name, label) {
  const cells = runs.map((run) => {
    const value = run[name];
    if (value !== null) return _cell(formatNumber(value), value, run.run === best ? 'best' : '');
    return run.not_finite_from === null ? _cell(NONE, null) : _cell(t('not finite'), null, 'bad');
  });
  return { key: name, label, kind: 'loss', cells };
}

/** @param {Comparison} comparison @param {ComparedSetting} setting @returns {Row} */
function _setting({ runs, best }, { name, label, values, numbers, same_as }) {
  const base = runs.findIndex(({ run }) => run === best);
  const cells = values.map((text, i) => {
    const isSame = base >= 0 && i !== base && same_as[i] === same_as[base];
    return _cell(text || NONE, numbers[i] ?? null, isSame ? 'same' : '');
  });
  return { key: `setting ${name}`, label, kind: 'setting', cells };
}

/** @param {string} text @param {number | null} number @param {Cell['mark']} [mark] @returns {Cell} */
function _cell(text, number, mark = '') {
  return { text, number, mark };
}

/** @param {ComparedRun} run */
function _loss({ common_loss, final_loss }) {
  return common_loss ?? final_loss;
}

/** @param {number | null} a @param {number | null} b @param {1 | -1} [sign] */
function _ascending(a, b, sign = 1) {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  return sign * (a - b);
}
