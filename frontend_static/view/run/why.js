// @ts-check
/** Why a rule fired: its condition in numbers, their course, the source, and what the documents say. */
import { formatInteger, formatNumber } from '../../chart/format.js';
import { formatStatistic } from '../../chart/statistic_format.js';
import { language, t } from '../../host/language.js';
import { html, useAnswer } from '../ui.js';
import { Markdown } from './markdown.js';

/**
 * @typedef {import('../../types.d.ts').Finding} Finding
 * @typedef {import('../../types.d.ts').StatisticInfo} StatisticInfo
 */

const [WIDTH, HEIGHT] = [100, 40];

/**
 * @param {object} props
 * @param {import('../ui.js').App} props.app
 * @param {Finding} props.finding
 * @param {StatisticInfo[]} props.statistics
 */
export function Why({ app, finding, statistics }) {
  const { rule, reference } = finding;
  const scale = finding.as_recorded ? statistics.find(({ name }) => name === finding.statistic) : undefined;
  const format = (/** @type {number} */ value) => (scale ? formatStatistic(scale, value) : formatNumber(value));
  const condition = conditionOf(finding, nameOf(finding.statistic, statistics), format);
  const { value: explained } = useAnswer(`${rule} ${language()}`, '', (signal) => app.api.explain({ rule }, signal));
  return html`<div class="why" role="group" aria-label=${t('Why this was found')}>
    ${condition && html`<p class="condition">${condition}</p>`}
    ${_varies(finding) && html`<${Course} finding=${finding} format=${format} />`}
    ${reference && !explained?.sections.some(({ markdown }) => markdown.includes(reference)) && html`<p>${t('Source: {reference}', { reference })}</p>`}
    ${explained?.sections.map(
      ({ heading, markdown }, i) => html`<section key=${i} class="markdown">
        ${heading && html`<h4>${heading}</h4>`}
        <${Markdown} text=${markdown} />
      </section>`,
    )}
  </div>`;
}

/** Whether there is a course to look at. @param {Finding} finding */
function _varies({ course }) {
  return course.length > 1 && course.some(([, value]) => value !== course[0][1]);
}

/** What a statistic, or a column of every step, is called. @param {string} name @param {StatisticInfo[]} statistics */
export function nameOf(name, statistics) {
  return statistics.find((statistic) => statistic.name === name)?.label ?? name.replace(/_/g, ' ');
}

/**
 * What the rule compared, in a sentence; '' where it compared no number.
 * @param {Pick<Finding, 'statistic' | 'value' | 'threshold' | 'as_recorded' | 'at' | 'from'>} finding
 * @param {string} name of the statistic @param {(value: number) => string} format
 */
export function conditionOf({ statistic, value, threshold, as_recorded, at, from }, name, format) {
  if (!statistic || threshold === null || threshold === undefined) return '';
  const step = formatInteger(at ?? from);
  if (value === null) return t('{name} is not finite at step {step}.', { step, name });
  const values = { name, step, value: format(value), threshold: format(threshold) };
  if (as_recorded) return t('{name} is {value} at step {step}; the threshold is {threshold}.', values);
  // Rules that only ask whether something holds compare 1 with 0, or with 1.
  if (value === 1 && (threshold === 0 || threshold === 1)) return '';
  if (threshold === 0) return t('The value computed from {name} is {value} at step {step}.', values);
  return t('The value computed from {name} is {value} at step {step}; the threshold is {threshold}.', values);
}

/**
 * What was compared over the steps of the finding, and the threshold.
 * @param {{finding: Finding, format: (value: number) => string}} props
 */
function Course({ finding, format }) {
  const { course, threshold } = finding;
  const scale = courseScale(course, threshold);
  const limit = scale.toY(threshold) * HEIGHT;
  const [first, last] = [course[0][0], course[course.length - 1][0]];
  const label = t('The compared value from step {first} to {last}, between {low} and {high}; the threshold is {threshold}', {
    ...{ first: formatInteger(first), last: formatInteger(last) },
    ...{ low: format(scale.low), high: format(scale.high), threshold: format(threshold) },
  });
  return html`<figure class="course">
    <span class="course-ends" aria-hidden="true"><span>${format(scale.high)}</span><span>${format(scale.low)}</span></span>
    <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label=${label}>
      <title>${label}</title>
      <line class="course-threshold" x1="0" x2=${WIDTH} y1=${limit} y2=${limit} />
      <path d=${coursePath(course, scale, WIDTH, HEIGHT)} />
    </svg>
    <span class="course-limit ${limit < HEIGHT / 3 ? 'below' : ''}" style="top:${(100 * limit) / HEIGHT}%" aria-hidden="true">
      ${t('threshold {value}', { value: format(threshold) })}
    </span>
    <figcaption aria-hidden="true"><span>${t('step {step}', { step: formatInteger(first) })}</span><span>${formatInteger(last)}</span></figcaption>
  </figure>`;
}

/**
 * The values and the threshold from the bottom to the top: logarithmic where they are positive and span decades.
 * @param {Finding['course']} course @param {number} threshold
 * @returns {{low: number, high: number, toY: (value: number) => number}} toY: 0 at the top to 1 at the bottom
 */
export function courseScale(course, threshold) {
  const values = [threshold, ...course.flatMap(([, value]) => (value !== null && Number.isFinite(value) ? [value] : []))];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const onLog = low > 0 && high > 20 * low;
  const place = onLog ? Math.log : (/** @type {number} */ value) => value;
  const [bottom, top] = [place(low), place(high)];
  return { low, high, toY: (value) => (top > bottom ? 1 - (place(value) - bottom) / (top - bottom) : 0.5) };
}

/**
 * The course as an SVG path, broken where it is not known.
 * @param {Finding['course']} course @param {ReturnType<typeof courseScale>} scale @param {number} width @param {number} height
 */
export function coursePath(course, { toY }, width, height) {
  const [first, last] = [course[0][0], course[course.length - 1][0]];
  let starts = true;
  const parts = course.map(([step, value]) => {
    if (value === null || !Number.isFinite(value)) {
      starts = true;
      return '';
    }
    const x = last > first ? ((step - first) / (last - first)) * width : width / 2;
    const point = `${x.toFixed(1)} ${(toY(value) * height).toFixed(1)}`;
    const part = starts ? `M${point}h0` : `L${point}`;
    starts = false;
    return part;
  });
  return parts.join('');
}
