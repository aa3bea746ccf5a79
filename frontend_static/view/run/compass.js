// @ts-check
/** The learning-rate compass: how far the learning rate is from the best one, for the run and each block. */
import { formatInteger, formatNumber } from '../../chart/format.js';
import { html, icon, useState } from '../ui.js';

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

const LONGER = 'Gradients that agree with exp_avg say that steps could be longer.';
const SHORTER = 'First updates that moved the weights far, while the loss rose, say that steps should be shorter.';
const ROUGHLY = 'Roughly, and about the training loss only.';
const BLIND =
  'Above the best learning rate the cosine says nothing: “too high” is read from the size of the first updates alone.';
const GAIN =
  'The gain ratio is how much of what the gradient promised a step has kept, on its own batch: it sees both sides.';
const [WIDTH, HEIGHT] = [100, 24];

/** @param {{compass: import('../../types.d.ts').Compass}} props */
export function Compass({ compass }) {
  const [open, setOpen] = useState(false);
  const scale = scaleOf(compass.calibration);
  const what = basisOf(compass, scale);
  return html`<section class="compass" aria-label="Learning-rate compass">
    <div class="compass-head">
      <button title=${`${what} ${BLIND}`} aria-expanded=${open} onClick=${() => setOpen(!open)}>
        ${icon(open ? 'down' : 'right')}<span>Learning rate: ${compass.text}</span>
      </button>
      <${Gauge} name="the run" reading=${compass} scale=${scale} />
    </div>
    ${
      compass.gain &&
      html`<div class="compass-head compass-gain">
        <span title=${GAIN}>By the gain ratio: ${compass.gain.text}</span>
        <${Gauge} name="the run by the gain ratio" reading=${compass.gain} scale=${scale} />
      </div>`
    }
    ${
      open &&
      html`<div class="compass-body" tabindex="0" role="group" aria-label="Readings and their calibration">
        <${History} name="the run" reading=${compass} scale=${scale} />
        <p class="compass-ends"><span>${_step(compass.steps[0])}</span><span>${_step(compass.steps[compass.steps.length - 1])}</span></p>
        ${
          compass.gain &&
          html`<p>${GAIN}</p>
            <${History} name="the run by the gain ratio" reading=${compass.gain} scale=${scale} />`
        }
        <p>${compass.likely && `${errorBar(compass.likely)}. `}${what} On small data judge by the validation loss first.</p>
        <ul>
          ${compass.modules.map(
            (reading) => html`<li key=${reading.name}>
              <b title=${reading.name}>${reading.name}</b><span>${reading.text}</span>
              <${Gauge} name=${reading.name} reading=${reading} scale=${scale} />
              <${History} name=${reading.name} reading=${reading} scale=${scale} />
            </li>`,
          )}
        </ul>
        <${Calibration} calibration=${compass.calibration} />
        ${compass.gain && html`<${GainCalibration} calibration=${compass.calibration} />`}
      </div>`
    }
  </section>`;
}

/** What a reading goes by. @param {Pick<Needle, 'factor'>} reading @param {Scale} scale */
export function basisOf({ factor }, { about: [low, high] }) {
  const basis = [factor !== null && factor >= high ? [] : [LONGER], factor !== null && factor <= low ? [] : [SHORTER]];
  return [...basis.flat(), ROUGHLY].join(' ');
}

/**
 * A pointer on the scale, with its error bar; neither where nothing can be told.
 * @param {{name: string, reading: Needle & Partial<import('../../types.d.ts').CompassReading>, scale: Scale}} props
 */
function Gauge({ name, reading, scale }) {
  const { factor, text, likely } = reading;
  if (factor === null) return html`<span></span>`; // the text beside it says why
  const [from, to] = scale.about.map((edge) => 100 * placeOf(edge, scale));
  const meter = {
    role: 'meter',
    'aria-label': `Learning rate of ${name} over the best one`,
    'aria-valuemin': scale.low,
    'aria-valuemax': scale.high,
    'aria-valuenow': factor,
    'aria-valuetext': text,
  };
  const bar = likely && likely.map((end) => 100 * placeOf(end, scale));
  const title = `${text}${likely ? `; ${errorBar(likely)}` : ''}. Left: ${timesBest(scale.low)}; right: ${timesBest(scale.high)}`;
  return html`<span class="gauge" title=${title} ...${meter}>
    <i class="about" style="left:${from}%;width:${to - from}%"></i>
    ${scale.marks.map((mark) => html`<i key=${mark} class="notch" style="left:${100 * placeOf(mark, scale)}%"></i>`)}
    ${bar && html`<i class="likely" style="left:${bar[0]}%;width:${bar[1] - bar[0]}%"></i>`}
    <i class="pointer" style="left:${100 * placeOf(factor, scale)}%"></i>
  </span>`;
}

/** @param {[number, number]} likely @returns {string} between which distances runs were that read so */
export function errorBar([low, high]) {
  return `Four of five runs that read so were at ${timesBest(low)} to ${timesBest(high)}`;
}

/** @param {{name: string, reading: Needle, scale: Scale}} props */
function History({ name, reading, scale }) {
  const words = describeHistory(reading);
  if (!words) return html`<span></span>`;
  const [top, bottom] = [scale.about[1], scale.about[0]].map((edge) => (1 - placeOf(edge, scale)) * HEIGHT);
  return html`<svg class="compass-history" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label=${`History of ${name}: ${words}`}>
    <title>${words}</title>
    <rect x="0" y=${top} width=${WIDTH} height=${bottom - top} />
    <path d=${historyPath(reading, scale, WIDTH, HEIGHT)} />
  </svg>`;
}

/** What a reading rests on, and what it cannot see. @param {{calibration: CompassCalibration}} props */
function Calibration({ calibration }) {
  const { tasks, records, about, cosines, factors, first_steps, path_steps, paths, path_factors } = calibration;
  return html`<p>
      Too low is read from the cosine of exp_avg and the next gradient, the median of the
      last ${records} records, of several within 5 steps as of one. ${BLIND} Those are the updates up to ${first_steps} steps after the warm-up: “about right”
      can be a learning rate that became too high later.
    </p>
    <p>
      Records count after the warm-up and the first steps, where the learning rate is above half of its peak; there have to be ${records}.
      It cannot be told where there is no cosine, where the gradient has become small beside √v̂ (training is done, not slow), and
      where the size of the updates or the growth of the weights does not bear the cosine out: of small batches it is near 0 at
      any learning rate. Beside a finding that says more, or the opposite, there is no reading. About right is within a factor of ${about} of the best one.
    </p>
    <${Measured} caption=${`Median cosine, over ${tasks} tasks`} values=${cosines} factors=${factors} />
    <${Measured} caption=${`Largest sum of update / weight over ${path_steps} of the first steps, median, likewise`} values=${paths} factors=${path_factors} />`;
}

/** @param {{calibration: CompassCalibration}} props */
function GainCalibration({ calibration: { tasks, gain_records, gain_ratios, gain_factors } }) {
  return html`<${Measured} caption=${`Median gain ratio of ${gain_records} records, over ${tasks} tasks`} values=${gain_ratios} factors=${gain_factors} />`;
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
  return step === undefined ? '' : `step ${formatInteger(step)}`;
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
  const at = (/** @type {{factor: number, step: number}} */ { factor, step }) =>
    `${timesBest(factor)} at step ${formatInteger(step)}`;
  return first === last ? at(first) : `${at(first)}, ${at(last)}`;
}

/** @param {number} factor @returns {string} '1/30 of the best', '3× the best', 'the best' */
export function timesBest(factor) {
  const off = Number(Math.max(factor, 1 / factor).toPrecision(2));
  if (off === 1) return 'the best';
  return factor < 1 ? `1/${formatNumber(off)} of the best` : `${formatNumber(off)}× the best`;
}
