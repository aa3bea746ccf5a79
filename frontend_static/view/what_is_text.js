// @ts-check
/**
 * The explanations behind the question marks: the documents' texts on statistics, and ours on pictures, marks and
 * gauges.
 */
import { formatRange } from '../chart/format.js';
import { language, t } from '../host/language.js';
import { overviewRun } from '../state/store.js';
import { Markdown } from './run/markdown.js';
import { html, useAnswer } from './ui.js';

/**
 * @typedef {'colours' | 'comparison' | 'shared' | 'compass' | 'gain' | 'quantity' | 'strip' | 'scalar' | 'findings' | 'runs' | 'runs_compared' | 'optimizer'} Topic
 */

/** @param {{app: import('./ui.js').App, title: string, statistic?: string, topic?: Topic, detail?: string}} props */
export function WhatIsText({ app, title, statistic, topic, detail }) {
  const subject = statistic ? `${statistic} ${language()}` : null;
  const { value, error } = useAnswer(subject, '', (signal) => app.api.explain({ statistic: statistic ?? '' }, signal));
  const state = app.store.get();
  const known = state.summary?.statistics.find(({ name }) => name === statistic);
  const texts = topic ? textsOf(topic, detail ?? '') : [];
  return html`<div class="what-is-text" tabindex="0">
    <p class="what-is-title">${title}</p>
    ${texts.map((text) => html`<p key=${text}>${text}</p>`)}
    ${statistic === 'update_to_weight_ratio' && html`<${HealthyRanges} run=${overviewRun(state)} />`}
    ${!value && known && html`<p>${known.description}</p>`}
    ${value?.sections.map(
      ({ heading, markdown }, i) => html`<section key=${i} class="markdown">
        ${heading && html`<p class="what-is-heading">${heading}</p>`}
        <${Markdown} text=${markdown} />
      </section>`,
    )}
    ${subject && !value && !error && html`<p role="status">${t('Loading …')}</p>`}
  </div>`;
}

/**
 * The healthy ranges of the run's optimizer, by kind of tensor. @param {{run: import('../types.d.ts').RunInfo |
 * null}} props
 */
function HealthyRanges({ run }) {
  const ranges = Object.entries(run?.groups[0]?.healthy_ratios ?? {});
  if (!ranges.length) return null;
  const names = { matrix: t('matrices'), embedding: t('embeddings'), gain: t('gains of norm layers'), bias: t('biases') };
  return html`<p>${t('Healthy for this optimizer:')}</p>
    <ul>
      ${ranges.map(([kind, range]) => html`<li key=${kind}>${names[/** @type {keyof typeof names} */ (kind)] ?? kind}: ${formatRange(range)}</li>`)}
    </ul>`;
}

/**
 * @param {Topic} topic @param {string} detail
 * @returns {string[]} paragraphs
 */
export function textsOf(topic, detail) {
  const texts = {
    colours: () => [
      t('Update / weight: neutral is 1e-3, blue is smaller, red is larger. Other statistics: the stronger the colour, the higher the value.'),
      t('Hatched: exactly zero, so nothing was updated. Striped: the weight was 0, so the ratio has no value. Magenta: NaN or infinity. Grey: not recorded.'),
      t('When cells overlap, the worst one is shown, so a single bad step never disappears.'),
      t('Narrow frames: the gradient of this tensor jumped at that step, by the factor beside it, or became NaN or infinite.'),
      t('Coloured frames: the steps and tensors of the finding that is open. Symbols beside names: the worst finding about that tensor.'),
    ],
    comparison: () => [t('Each value divided by that of the reference run at the same point of the axis. Neutral: equal. Red: larger. Blue: smaller.')],
    shared: () => [
      t('The shaded band is where 9 in 10 tensors of healthy trainings lie, for this kind of tensor. Outside it, look closer; inside it, something may still be wrong.'),
    ],
    compass: () => [
      t('Your learning rate over the best one, estimated from the recorded steps. The pointer in the green zone: about right. Left of it: too low; right: too high.'),
      t('The thin bar shows where four of five test runs with this reading actually were. It concerns the training loss only.'),
    ],
    gain: () => [
      t('The gain ratio is how much of the promised loss reduction a step delivered. Near 1, steps are short; far below 0.7, they overshoot.'),
    ],
    runs_compared: () => [
      t('One column per run, the lowest loss first. Click the name of a row to sort by it. Grey: the same as in the best run. Only what the callback records is compared: not the batch size, the data or the model code.'),
      t('A run is better if its loss is lower by more than the noise of the loss and by more than seeds usually make. Add runs that differ only in their seed, and their spread is used instead.'),
      t('Runs differ in a statistic from the first step on at which its values in a tensor differ by more than they vary from record to record. Click one to see both runs there.'),
      t('A sweep is three or more values of one setting. If the best one is the smallest or largest that was tried, the optimum may lie beyond it.'),
    ],
    quantity: () => [
      quantityText(detail),
      t('Ridgeline: one curve per step, newest in front. Density: one column per step, darker where more elements lie. Bands: percentiles over time. Single: one step. Table: the numbers.'),
    ],
    strip: () => [
      t('This strip has the same steps as the heat map below. It shows every step, not only the recorded ones; the number at its end is the value at the chosen step.'),
    ],
    scalar: () => [
      t('A scalar that you logged to TensorBoard yourself. It has the same steps as the heat map below; the number at its end is the value at the chosen step.'),
    ],
    findings: () => [
      t('Each finding is a rule that held for long enough in this run. Octagon: an error, fix it. Triangle: a warning. Circle: a question that only you can answer.'),
      t('Causes come before their consequences. The bar below a finding shows at which steps of the run it held.'),
      t('Click one to jump to the steps, tensors and statistic behind it; “Why?” has the condition, the numbers and the source.'),
    ],
    runs: () => [
      t('Click a run to show it. The box chooses which runs are drawn in comparisons, at first eight of them; its colour is that of the run’s lines. The flag makes a run the reference that others are compared with.'),
      t('Symbols and numbers: the worst severity found in the run, and how many findings of each. A jagged line: the gradient norm jumped, or was NaN or infinite.'),
    ],
    optimizer: () => [
      t('One row per parameter group, with the settings at the chosen step: lr is the learning rate, β₁ and β₂ the decay rates of the moments, ε the term in the denominator, decay the weight decay.'),
      t('“Over time” shows how they changed, and which tensors each group has.'),
    ],
  };
  return texts[topic]().filter(Boolean);
}

/** @param {string} quantity quantity of a histogram @returns {string} '' if there is nothing to say */
export function quantityText(quantity) {
  const texts = new Map([
    ['update', t('What the step changed in each weight, weight decay included. Healthy: symmetric around 0. A pile at 0 means weights that do not move; two peaks mean that all updates have the same size.')],
    ['gradient', t('The gradient as the optimizer used it, after unscaling and clipping. Healthy: symmetric around 0 and slowly changing. All at 0: nothing arrives here.')],
    ['exp_avg', t('The running mean of gradients (first moment, m). Healthy: narrower than the gradient.')],
    ['exp_avg_sq', t('The running mean of squared gradients (second moment, v). Below ε², the step no longer adapts; a part at 0 has had no gradient yet, or underflowed.')],
    ['weight', t('The weights after the step. Healthy: changing slowly.')],
  ]);
  return texts.get(quantity) ?? '';
}
