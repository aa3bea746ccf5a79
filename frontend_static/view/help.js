// @ts-check
/** What is said at length: what to do when there is nothing to show, and the help. */
import { CopyButton, html, icon, useEffect, useRef } from './ui.js';

/** @typedef {import('./ui.js').App} App */

const SNIPPET = `from tb_adam_plugin.callback import AdamDebugCallback

debug = AdamDebugCallback(model, optimizer, log_dir="runs/exp1")

for batch in loader:      # the training loop stays as it is
    ...
    optimizer.step()

debug.close()`;

/** Nothing has been logged: what to add to the training script. */
export function NoData() {
  return html`<div class="empty">
    <h2>No Adam Debug data in this log folder yet</h2>
    <p>
      Add the callback to the script that trains. It watches the optimizer and logs its statistics; the
      tab shows them as soon as TensorBoard has read them.
    </p>
    <div class="snippet">
      <pre><code>${SNIPPET}</code></pre>
      <${CopyButton} label="Copy the code" text=${() => SNIPPET} symbol="copy" />
    </div>
    <p>Then point TensorBoard at the folder above: <code>tensorboard --logdir runs</code></p>
  </div>`;
}

const KEYS = [
  ['/', 'filter tensors'],
  ['j  k', 'next, previous tensor'],
  ['←  →', 'previous, next logged step; with Shift ten at a time'],
  ['+  -  0', 'zoom in and out at the pinned step, show everything'],
  ['n  p', 'next, previous finding'],
  ['o', 'fold or open the module around the tensor'],
  ['Esc', 'take back, one at a time: full size, settings, zoom, filter, finding, pinned step'],
  ['?', 'this help'],
];

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
      aria-label="Help"
      tabindex="-1"
      ref=${dialog}
      onClick=${(/** @type {Event} */ event) => event.stopPropagation()}
    >
      <div class="card-head">
        <h2>Help</h2>
        <span class="grow"></span>
        <button class="icon-button" aria-label="Close" onClick=${close}>${icon('close')}</button>
      </div>
      <dl>
        ${KEYS.map(([key, text]) => html`<dt key=${key}><kbd>${key}</kbd></dt><dd>${text}</dd>`)}
        <dt>Mouse</dt>
        <dd>
          Click a cell to select its tensor and pin the step. Drag across any chart to zoom, double click to see
          everything again. Alt + wheel zooms around the pointer (the wheel alone where there is nothing to
          scroll); Alt or Shift + drag moves along.
        </dd>
        <dt>Marks</dt>
        <dd>
          A frame on a row is a step at which the tensor’s own gradient jumped, with by how much, also between
          records; the gradient norm above the map, and findings, are of all gradients together. Click it to see that step; the table of the heat map lists all.
        </dd>
        <dt>Runs</dt>
        <dd>
          The box draws a run in comparisons; the name shows it in the overview and the histograms; the flag
          makes it the reference that others are compared with. Boxes and
          colours are this tab's own: TensorBoard does not tell plugins which runs it has selected.
        </dd>
      </dl>
    </div>
  </div>`;
}
