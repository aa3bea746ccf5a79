// @ts-check
/** A question mark beside what is shown. It opens a few sentences on it, which are loaded then. */
import { t } from '../host/language.js';
import { html, Lazy, Menu } from './ui.js';

const WIDTH = 340;

/**
 * @param {object} props
 * @param {import('./ui.js').App} props.app
 * @param {string} props.name of what is explained, as it is shown
 * @param {string} [props.statistic] or column of every step, that the documents explain
 * @param {import('./what_is_text.js').Topic} [props.topic] what else there is
 * @param {string} [props.detail] of the topic: a quantity
 */
export function WhatIs({ app, name, statistic, topic, detail }) {
  return html`<${Menu} label=${t('What is “{name}”?', { name })} symbol="what" class="what-is" width=${WIDTH}>
    <${Lazy} load=${() => import('./what_is_text.js')} name="WhatIsText" app=${app} title=${name} statistic=${statistic} topic=${topic} detail=${detail} />
  </${Menu}>`;
}
