// @ts-check
/** The learning-rate compass: how far the learning rate is from the best one, for the run and each block. */
import { formatInteger, formatNumber } from '../../chart/format.js';
import { paragraph, t } from '../../host/language.js';
import { html, icon, useState } from '../ui.js';
import { WhatIs } from '../what_is.js';

/**
 * @typedef {import('../../types.d.ts').Needle} Needle
 * @typedef {import('../../types.d.ts').CompassCalibration} CompassCalibration
 *
 * A learning rate over the best one, from the lowest to the highest that was calibrated.
 * @typedef {object} Scale
 * @property {number} low
 * @property {number} high
 * @property {[number, number]} about within them the learning rate is about right
 * @property {number[]} marks what was calibrated between the ends
 */

const longer = () => t('If gradients agree with exp_avg, steps could be longer.');
const shorter = () =>
  t('If the first updates moved the weights far while the loss rose, steps should be shorter.');
const roughly = () => t('This reading is rough, and concerns the training loss only.');
const blind = () =>
  t('Above the best learning rate the cosine carries no information: “too high” is read from the size of the first updates alone.');
const gainText = () =>
  t('The gain ratio is the share of the promised loss reduction that a step achieved on its own batch: it shows both too high and too low.');
const [WIDTH, HEIGHT] = [100, 24];

/** @param {{app: import('../ui.js').App, compass: import('../../types.d.ts').Compass}} props */
export function Compass({ app, compass }) {
  const [open, setOpen] = useState(false);
  const scale = scaleOf(compass.calibration);
  const what = basisOf(compass, scale);
  return html`<section class="compass" aria-label=${t('Learning-rate compass')}>
    <div class="compass-head">
      <button title=${paragraph([what, blind()])} aria-expanded=${open} onClick=${() => setOpen(!open)}>
        ${icon(open ? 'down' : 'right')}<span>${t('Learning rate: {reading}', { reading: compass.text })}</span>
      </button>
      <${WhatIs} app=${app} name=${t('Learning-rate compass')} topic="compass" />
      <${Gauge} label=${t('Learning rate of the run over the best one')} reading=${compass} scale=${scale} />
    </div>
    ${
      compass.gain &&
      html`<div class="compass-head compass-gain">
        <span title=${gainText()}>${t('By the gain ratio: {reading}', { reading: compass.gain.text })}</span>
        <${WhatIs} app=${app} name=${t('gain ratio')} statistic="gain_ratio" topic="gain" />
        <${Gauge} label=${t('Learning rate of the run over the best one, by the gain ratio')} reading=${compass.gain} scale=${scale} />
      </div>`
    }
    ${
      open &&
      html`<div class="compass-body" tabindex="0" role="group" aria-label=${t('Readings and their calibration')}>
        <${History} label=${historyOfRun} reading=${compass} scale=${scale} />
        <p class="compass-ends"><span>${_step(compass.steps[0])}</span><span>${_step(compass.steps[compass.steps.length - 1])}</span></p>
        ${
          compass.gain &&
          html`<p>${gainText()}</p>
            <${History} label=${historyByGain} reading=${compass.gain} scale=${scale} />`
        }
        <p>
          ${paragraph([
            compass.likely && t('{text}.', { text: errorBar(compass.likely) }),
            what,
            t('With little data, look at the validation loss first.'),
          ])}
        </p>
        <ul>
          ${compass.modules.map((reading) => html`<${Block} key=${reading.name} reading=${reading} scale=${scale} />`)}
        </ul>
        <${Calibration} calibration=${compass.calibration} />
        ${compass.gain && html`<${GainCalibration} calibration=${compass.calibration} />`}
      </div>`
    }
  </section>`;
}

const historyOfRun = (/** @type {string} */ history) => t('History of the run: {history}', { history });
const historyByGain = (/** @type {string} */ history) => t('History of the run by the gain ratio: {history}', { history });

/** The reading of one block. @param {{reading: import('../../types.d.ts').Compass['modules'][0], scale: Scale}} props */
function Block({ reading, scale }) {
  const { name, text } = reading;
  const label = t('Learning rate of {module} over the best one', { module: name });
  const historyLabel = (/** @type {string} */ history) => t('History of {module}: {history}', { module: name, history });
  return html`<li>
    <b title=${name}>${name}</b><span>${text}</span>
    <${Gauge} label=${label} reading=${reading} scale=${scale} />
    <${History} label=${historyLabel} reading=${reading} scale=${scale} />
  </li>`;
}

/** What a reading goes by. @param {Pick<Needle, 'factor'>} reading @param {Scale} scale */
export function basisOf({ factor }, { about: [low, high] }) {
  const basis = [factor !== null && factor >= high ? '' : longer(), factor !== null && factor <= low ? '' : shorter()];
  return paragraph([...basis, roughly()]);
}

/**
 * A pointer on the scale, with its error bar; neither where nothing can be told.
 * @param {{label: string, reading: Needle & Partial<import('../../types.d.ts').CompassReading>, scale: Scale}} props
 */
function Gauge({ label, reading, scale }) {
  const { factor, text, likely } = reading;
  if (factor === null) return html`<span></span>`; // the text beside it says why
  const [from, to] = scale.about.map((edge) => 100 * placeOf(edge, scale));
  const meter = {
    role: 'meter',
    'aria-label': label,
    'aria-valuemin': scale.low,
    'aria-valuemax': scale.high,
    'aria-valuenow': factor,
    'aria-valuetext': text,
  };
  const bar = likely && likely.map((end) => 100 * placeOf(end, scale));
  const title = paragraph([
    t('{text}.', { text }),
    likely && t('{text}.', { text: errorBar(likely) }),
    t('Left: {low}; right: {high}', { low: timesBest(scale.low), high: timesBest(scale.high) }),
  ]);
  return html`<span class="gauge" title=${title} ...${meter}>
    <i class="about" style="left:${from}%;width:${to - from}%"></i>
    ${scale.marks.map((mark) => html`<i key=${mark} class="notch" style="left:${100 * placeOf(mark, scale)}%"></i>`)}
    ${bar && html`<i class="likely" style="left:${bar[0]}%;width:${bar[1] - bar[0]}%"></i>`}
    <i class="pointer" style="left:${100 * placeOf(factor, scale)}%"></i>
  </span>`;
}

/** @param {[number, number]} likely @returns {string} between which distances runs were that read so */
export function errorBar([low, high]) {
  return t('Four of five runs with this reading were at {low} to {high}', { low: timesBest(low), high: timesBest(high) });
}

/** @param {{label: (history: string) => string, reading: Needle, scale: Scale}} props */
function History({ label, reading, scale }) {
  const words = describeHistory(reading);
  if (!words) return html`<span></span>`;
  const [top, bottom] = [scale.about[1], scale.about[0]].map((edge) => (1 - placeOf(edge, scale)) * HEIGHT);
  return html`<svg class="compass-history" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label=${label(words)}>
    <title>${words}</title>
    <rect x="0" y=${top} width=${WIDTH} height=${bottom - top} />
    <path d=${historyPath(reading, scale, WIDTH, HEIGHT)} />
  </svg>`;
}

/** What a reading rests on, and what it cannot see. @param {{calibration: CompassCalibration}} props */
function Calibration({ calibration }) {
  const { tasks, records, about, cosines, factors, first_steps, path_steps, paths, path_factors } = calibration;
  return html`<p>
      ${paragraph([
        t('“Too low” is read from the cosine of exp_avg and the next gradient: the median of the last {records} records, where records within 5 steps count as one.', { records }),
        blind(),
        t('The first updates are those up to {steps} steps after the warm-up: a learning rate that became too high later can still read “about right”.', { steps: first_steps }),
      ])}
    </p>
    <p>
      ${paragraph([
        t('Records count after the warm-up and the first steps, while the learning rate is above half of its peak. At least {records} are needed.', { records }),
        t('There is no reading without a cosine, if the gradient has become small relative to √v̂ (training is done, not slow), or if the size of the updates or the growth of the weights contradicts the cosine: with small batches it is near 0 at any learning rate.'),
        t('There is also no reading next to a finding that explains more or says the opposite.'),
        t('“About right” is within a factor of {about} of the best learning rate.', { about }),
      ])}
    </p>
    <${Measured} caption=${t('Median cosine over {tasks} tasks', { tasks })} values=${cosines} factors=${factors} />
    <${Measured}
      caption=${t('Largest sum of update / weight over {steps} of the first steps, median over {tasks} tasks', { steps: path_steps, tasks })}
      values=${paths}
      factors=${path_factors}
    />`;
}

/** @param {{calibration: CompassCalibration}} props */
function GainCalibration({ calibration: { tasks, gain_records, gain_ratios, gain_factors } }) {
  return html`<${Measured} caption=${t('Median gain ratio of {records} records, over {tasks} tasks', { records: gain_records, tasks })} values=${gain_ratios} factors=${gain_factors} />`;
}

/** @param {{caption: string, values: number[], factors: number[]}} props */
function Measured({ caption, values, factors }) {
  return html`<table>
    <caption>${caption}</caption>
    <tbody>
      ${values.map((value, i) => html`<tr key=${value}><th scope="row">${timesBest(factors[i])}</th><td>${value}</td></tr>`)}
    </tbody>
  </table>`;
}

/** @param {number | undefined} step */
function _step(step) {
  return step === undefined ? '' : t('step {step}', { step: formatInteger(step) });
}

/** @param {CompassCalibration} calibration @returns {Scale} */
export function scaleOf({ factors, path_factors, about }) {
  const known = [...new Set([...factors, ...path_factors])].sort((a, b) => a - b);
  return {
    low: known[0],
    high: known[known.length - 1],
    about: [1 / about, about],
    marks: known.slice(1, -1),
  };
}

/** @param {number} factor @param {Scale} scale @returns {number} 0 at the lowest to 1 at the highest, logarithmic */
export function placeOf(factor, { low, high }) {
  return Math.min(1, Math.max(0, Math.log(factor / low) / Math.log(high / low)));
}

/**
 * The history as an SVG path, the highest factor on top. Where nothing can be told the line is broken.
 * @param {Needle} reading @param {Scale} scale @param {number} width @param {number} height
 */
export function historyPath({ steps, factors }, scale, width, height) {
  const [first, last] = [steps[0], steps[steps.length - 1]];
  const parts = factors.map((factor, i) => {
    if (factor === null) return '';
    const x = last > first ? ((steps[i] - first) / (last - first)) * width : width / 2;
    const y = (1 - placeOf(factor, scale)) * height;
    const starts = i === 0 || factors[i - 1] === null;
    const point = `${x.toFixed(1)} ${y.toFixed(1)}`;
    // A point without neighbours becomes a dot: lines have round ends.
    return starts ? `M${point}h0` : `L${point}`;
  });
  return parts.join('');
}

/** @param {Needle} reading @returns {string} the history in words; '' where there is none */
export function describeHistory({ steps, factors }) {
  const told = factors.flatMap((factor, i) => (factor === null ? [] : [{ factor, step: steps[i] }]));
  if (!told.length) return '';
  const [first, last] = [told[0], told[told.length - 1]];
  const [factor, step] = [timesBest(first.factor), formatInteger(first.step)];
  if (first === last) return t('{factor} at step {step}', { factor, step });
  const end = { lastFactor: timesBest(last.factor), lastStep: formatInteger(last.step) };
  return t('{factor} at step {step}, {lastFactor} at step {lastStep}', { factor, step, ...end });
}

/** @param {number} factor @returns {string} '1/30 of the best', '3× the best', 'the best' */
export function timesBest(factor) {
  const off = Number(Math.max(factor, 1 / factor).toPrecision(2));
  if (off === 1) return t('the best');
  const values = { factor: formatNumber(off) };
  return factor < 1 ? t('1/{factor} of the best', values) : t('{factor}× the best', values);
}
