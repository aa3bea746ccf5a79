// @ts-check
/** A question mark that opens a short explanation, which is loaded on demand. */
import { t } from '../host/language.js';
import { html, Lazy, Menu } from './ui.js';

const WIDTH = 340;

/**
 * @param {object} props
 * @param {import('./ui.js').App} props.app
 * @param {string} props.name display name of the subject
 * @param {string} [props.statistic] statistic, or column of every step, that the documents explain
 * @param {import('./what_is_text.js').Topic} [props.topic] any other topic
 * @param {string} [props.detail] detail of the topic: a quantity
 */
export function WhatIs({ app, name, statistic, topic, detail }) {
  return html`<${Menu} label=${t('What is “{name}”?', { name })} symbol="what" class="what-is" width=${WIDTH}>
    <${Lazy} load=${() => import('./what_is_text.js')} name="WhatIsText" app=${app} title=${name} statistic=${statistic} topic=${topic} detail=${detail} />
  </${Menu}>`;
}
