// @ts-check
/** Statistics in groups, and found by what one types. Pure. */
import { t } from '../../host/language.js';

/** @typedef {import('../../types.d.ts').StatisticInfo} StatisticInfo */

/** By the beginning of the name, the first that fits; the rest is about gradients. */
const MOMENTS = /^(?:exp_avg|second_moment|epsilon|zero_second_moment|signal_to_noise|momentum_gradient|gradient_exp_avg)/;
const UPDATE = /^(?:update|normalized_update|rms_t|unchanged|lost_update)/;
const WEIGHT = /^(?:weight|zero_weight)/;
const GRADIENT = /^(?:gradient|elasticity|zero_gradient|dead_row|idle_row)/;

/**
 * @param {StatisticInfo[]} statistics
 * @returns {{title: string, members: StatisticInfo[]}[]} without empty groups; each keeps its order
 */
export function groupedStatistics(statistics) {
  const groups = [
    { title: t('Update'), pattern: UPDATE },
    { title: t('Weight'), pattern: WEIGHT },
    { title: t('Moments'), pattern: MOMENTS },
    { title: t('Gradient'), pattern: GRADIENT },
    { title: t('State'), pattern: /(?:)/ },
  ];
  const groupOf = (/** @type {StatisticInfo} */ { name }) => groups.findIndex(({ pattern }) => pattern.test(name));
  return groups
    .map(({ title }, i) => ({ title, members: statistics.filter((statistic) => groupOf(statistic) === i) }))
    .filter(({ members }) => members.length);
}

/**
 * Those in whose name, label or description every word occurs.
 * @param {StatisticInfo[]} statistics @param {string} text
 */
export function searchedStatistics(statistics, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return statistics.filter(({ name, label, description }) => {
    const all = `${name} ${label} ${description}`.toLowerCase();
    return words.every((word) => all.includes(word));
  });
}
