// @ts-check
/** Longer texts: what to do if there is nothing to show, and the help. */
import { paragraph, t } from '../host/language.js';
import { CopyButton, html, icon, useEffect, useRef } from './ui.js';

/** @typedef {import('./ui.js').App} App */

const SNIPPET = `from tb_adam_plugin.callback import AdamDebugCallback

debug = AdamDebugCallback(model, optimizer, log_dir="runs/exp1")

for batch in loader:         # your training loop
    ...
    debug.record(loss=loss)  # optional: drawn above the heat map, and read by the rules
    optimizer.step()

debug.close()`;

/** Nothing has been logged: what to add to the training script. */
export function NoData() {
  return html`<div class="empty">
    <h2>${t('No Adam Debug data in this log folder yet')}</h2>
    <p>
      ${t('Add the callback to your training script. It watches the optimizer and logs its statistics; they appear here as soon as TensorBoard has read them.')}
    </p>
    <div class="snippet">
      <pre><code>${SNIPPET}</code></pre>
      <${CopyButton} label=${t('Copy the code')} text=${() => SNIPPET} symbol="copy" />
    </div>
    <p>${t('Then point TensorBoard at the folder above:')}${' '}<code>tensorboard --logdir runs</code></p>
  </div>`;
}

/** @returns {[string, string][]} keys and what they do */
const keys = () => [
  ['/', t('filter tensors')],
  ['j  k', t('next, previous tensor')],
  ['←  →', t('previous, next logged step; with Shift ten at a time')],
  ['+  -  0', t('zoom in and out at the pinned step, show everything')],
  ['n  p', t('next, previous finding')],
  ['c', t('compare the checked runs')],
  ['o', t('collapse or expand the module around the tensor')],
  ['Esc', t('undo, one at a time: full size, settings, the list of all findings or the comparison, zoom, finding (back to where it was opened), filter, pinned step')],
  ['?', t('this help')],
];

/** Explains the mouse, the marks and the runs. */
function About() {
  return html`<dt>${t('Mouse')}</dt>
    <dd>
      ${paragraph([
        t('Click a cell to select its tensor and pin the step. Drag across any chart to zoom, double-click to see everything again.'),
        t('Alt + wheel zooms around the pointer (the wheel alone where there is nothing to scroll); Alt or Shift + drag pans.'),
      ])}
    </dd>
    <dt>${t('Marks')}</dt>
    <dd>
      ${paragraph([
        t('A frame on a row marks a step, recorded or not, at which this tensor’s own gradient jumped, with the factor, or became NaN or infinite.'),
        t('The gradient norm above the map, and the findings, cover all gradients together.'),
        t('Click a mark to see that step; the table of the heat map lists all marks.'),
      ])}
    </dd>
    <dt>${t('Runs')}</dt>
    <dd>
      ${paragraph([
        t('The checkbox includes a run in comparisons; the name shows it in the overview and the histograms; the flag makes it the reference for the others.'),
        t('Checkboxes and colours apply to this tab only: TensorBoard does not tell plugins which runs are selected.'),
      ])}
    </dd>`;
}

/** @param {{app: App}} props */
export function Help({ app }) {
  const dialog = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    dialog.current?.focus();
    return () => before?.focus();
  }, []);
  const close = () => app.actions.showHelp(false);
  return html`<div class="backdrop" onClick=${close}>
    <div
      class="dialog"
      role="dialog"
      aria-modal="true"
      aria-label=${t('Help')}
      tabindex="-1"
      ref=${dialog}
      onClick=${(/** @type {Event} */ event) => event.stopPropagation()}
    >
      <div class="card-head">
        <h2>${t('Help')}</h2>
        <span class="grow"></span>
        <button class="icon-button" aria-label=${t('Close')} onClick=${close}>${icon('close')}</button>
      </div>
      <dl>
        ${keys().map(([key, text]) => html`<dt key=${key}><kbd>${key}</kbd></dt><dd>${text}</dd>`)}
        <${About} />
      </dl>
    </div>
  </div>`;
}
