// @ts-check
/** Where charts draw the evidence of the open finding. */
import { formatStatistic } from '../../chart/statistic_format.js';
import { t } from '../../host/language.js';
import { useMemo } from '../ui.js';
import { axisValueOf } from './run_data.js';

/**
 * @typedef {import('../../types.d.ts').Evidence} Evidence
 * @typedef {import('../../types.d.ts').Finding} Finding
 * @typedef {import('../../types.d.ts').Overview} Overview
 * @typedef {import('../../types.d.ts').StepRows} StepRows
 */

/**
 * @param {Finding | null} finding the open one
 * @param {import('../../types.d.ts').RunInfo} run
 * @param {Overview | null} overview of the whole run
 * @param {StepRows | null} rows of that run
 * @param {import('./run_data.js').Axis | null} axis
 * @param {import('../../types.d.ts').AxisKind} kind kind of the axis
 * @returns {Evidence | null}
 */
export function useEvidence(finding, run, overview, rows, axis, kind) {
  const columns = rows?.run === run.run ? rows.columns : null;
  const start = axis?.start;
  return useMemo(() => {
    if (!finding || finding.run !== run.run || !overview || start === undefined) return null;
    const place = (/** @type {number} */ step) => axisValueOf(step, kind, start, overview, columns);
    const parameters = new Set(finding.parameters.flatMap((name) => _indexOf(run, name)));
    return {
      finding,
      parameters,
      statistic: finding.statistic,
      steps: { from: place(finding.from), to: place(finding.to) },
      threshold: finding.as_recorded ? finding.threshold : null,
    };
  }, [finding, run, overview, columns, start, kind]);
}

/**
 * The marks in charts of its statistic.
 * @param {Evidence} evidence @param {Pick<import('../../types.d.ts').StatisticInfo, 'scale'>} statistic
 * @returns {import('../../chart/evidence_marks.js').EvidenceMarks}
 */
export function evidenceMarks({ steps, threshold }, statistic) {
  const text = threshold === null ? '' : t('threshold {value}', { value: formatStatistic(statistic, threshold) });
  return { steps, threshold: threshold === null ? null : { value: threshold, text } };
}

/** @param {import('../../types.d.ts').RunInfo} run @param {string} name */
function _indexOf(run, name) {
  const index = run.parameters.findIndex((parameter) => parameter.name === name);
  return index < 0 ? [] : [index];
}
