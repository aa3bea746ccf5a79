// @ts-check
/** One histogram panel: a quantity of the parameter over time, or at one step. */
import { drawBands } from '../../chart/bands.js';
import { drawDensity } from '../../chart/density.js';
import { formatInteger } from '../../chart/format.js';
import { epsilonMark, histogramsWithin, sharedScale } from '../../chart/histogram.js';
import { drawRidgeline } from '../../chart/ridgeline.js';
import { drawSingleHistogram } from '../../chart/single_histogram.js';
import { plural, t } from '../../host/language.js';
import { axisValues, indexAtOrBefore, nearestIndex } from '../../state/axis.js';
import { panelKind } from '../../state/store.js';
import { StepLine, useAxisPointer, useDrawing } from '../hooks/plot.js';
import { html, Lazy, SaveMenu, useMemo, useRef, useState } from '../ui.js';
import { sameArea } from './lines.js';

/**
 * @typedef {import('../ui.js').App} App
 * @typedef {import('../../types.d.ts').PlotArea} PlotArea
 * @typedef {import('../../types.d.ts').HistogramSeries} HistogramSeries
 * @typedef {import('../../types.d.ts').HistogramRun} HistogramRun
 * @typedef {import('../../state/store.js').PanelKind} PanelKind
 * @typedef {ReturnType<typeof drawRidgeline>} Ridgeline
 * @typedef {import('../../chart/scales.js').Scale} Scale
 * @typedef {import('../../chart/frame.js').Surface} Surface
 * @typedef {import('../../chart/heatmap_values.js').View} View
 * @typedef {import('../../state/store.js').State} State
 * @typedef {import('../../types.d.ts').ParameterInfo} ParameterInfo
 * @typedef {{kind: PanelKind, label: string, note: string, path: string}} Kind
 * @typedef {import('../../chart/histogram.js').Mark} Mark
 * @typedef {{kind: Kind, scale: Scale | null, mark: Mark | null}} Look how all runs of a panel are drawn
 */

/** @returns {Kind[]} */
const kinds = () => [
  {
    kind: 'ridgeline',
    label: t('Ridgeline'),
    note: t('newest in front'),
    path: 'M0 5c3 0 3-4 5-4s2 4 9 4M0 9c5 0 5-5 8-5s2 5 6 5',
  },
  { kind: 'density', label: t('Density'), note: t('share of elements'), path: 'M1 1h4v3H1zM9 1h4v3H9zM5 5h4v4H5z' },
  {
    kind: 'bands',
    label: t('Percentile bands'),
    note: t('±½σ, ±1σ, ±1½σ, min–max'),
    path: 'M0 2c4-2 9 2 14 0M0 5c4-2 9 2 14 0M0 8c4-2 9 2 14 0',
  },
  {
    kind: 'single',
    label: t('Single step'),
    note: t('share of elements'),
    path: 'M1.5 9V6M4.5 9V3.5M7.5 9V1M10.5 9V4M13 9V7',
  },
  { kind: 'table', label: t('Table'), note: t('percentiles by step'), path: 'M1 1h12v8H1zM1 4h12M5 1v8' },
];

/** @param {PanelKind} wanted @returns {Kind} */
function kindOf(wanted) {
  const all = kinds();
  return all.find(({ kind }) => kind === wanted) ?? all[0];
}

const NO_MARK = { mark: null, note: '' };

/**
 * @param {object} props
 * @param {App} props.app
 * @param {number} props.index of the panel
 * @param {import('../../state/store.js').Panel} props.panel
 * @param {State} props.state
 * @param {View} props.view
 * @param {ParameterInfo} props.parameter
 * @param {string[]} props.quantities to choose from
 * @param {HistogramRun[]} props.runs the overview's first
 * @param {number | null} props.epsilon of the parameter's group
 */
export function HistogramPanel(props) {
  const { app, index, panel, state, view, parameter, quantities, runs, epsilon } = props;
  const drawn = runs.flatMap((entry) => entry.histogram ?? []);
  const scale = useMemo(
    () => (drawn.length ? sharedScale(drawn, state.histogramAxis, state.linearBelow) : null),
    [state.histogramAxis, state.linearBelow, ...Array.from({ length: 32 }, (_, i) => drawn[i])],
  );
  const ofRoot = panel.quantity === 'exp_avg_sq' && scale;
  const { mark, note: beyond } = ofRoot ? epsilonMark(view.run.groups[parameter.group], epsilon, scale) : NO_MARK;
  const kind = kindOf(panelKind(panel, state));
  const change = (/** @type {Partial<import('../../state/store.js').Panel>} */ patch) =>
    app.actions.changePanel(index, patch);
  const notes = [..._notesOn(runs[0].histogram, panel.quantity, kind, view, parameter), beyond];
  const note = runs[0].histogram ? notes.filter(Boolean).join(' · ') : '';
  const look = { kind, scale, mark };
  return html`<section class="panel" aria-label=${t('Histograms of {quantity}', { quantity: panel.quantity })}>
    <h3>
      <${QuantityChoice} quantities=${quantities} chosen=${panel.quantity} onChoose=${(/** @type {string} */ quantity) => change({ quantity })} />
      <small title=${note}>${note}</small>
      <${KindChoice} chosen=${kind} onChoose=${(/** @type {PanelKind} */ chosen) => change({ kind: chosen })} />
      ${scale && html`<${SaveHistograms} view=${view} parameter=${parameter} quantity=${panel.quantity} runs=${runs} look=${look} />`}
    </h3>
    <div class="plots">
      ${runs.map(
        (entry) => html`<${PlotOfRun} key=${entry.run.run} app=${app} state=${state} view=${view} entry=${entry} look=${look} named=${runs.length > 1} />`,
      )}
    </div>
  </section>`;
}

/**
 * @param {HistogramSeries | null} histogram of the overview's run
 * @param {string} quantity
 * @param {Kind} kind
 * @param {View} view
 * @param {ParameterInfo} parameter
 * @returns {(string | false | undefined)[]}
 */
function _notesOn(histogram, quantity, kind, view, parameter) {
  const single = histogram && kind.kind === 'single' ? indexAtOrBefore(histogram.step, view.step) : -1;
  return [
    kind.note,
    view.run.groups[parameter.group]?.meanings[quantity],
    single >= 0 && t('step {step}', { step: formatInteger(histogram?.step[single] ?? 0) }),
    parameter.elements_read < parameter.elements && t('of the sample'),
  ];
}

/** @param {{quantities: string[], chosen: string, onChoose: (quantity: string) => void}} props */
function QuantityChoice({ quantities, chosen, onChoose }) {
  return html`<select
    class="plain-select strong"
    aria-label=${t('Quantity')}
    value=${chosen}
    onChange=${(/** @type {any} */ event) => onChoose(event.target.value)}
  >
    ${_withCurrent(quantities, chosen).map(
      (name) => html`<option key=${name} value=${name} selected=${name === chosen}>${name}</option>`,
    )}
  </select>`;
}

/** @param {{chosen: Kind, onChoose: (kind: PanelKind) => void}} props */
function KindChoice({ chosen, onChoose }) {
  return html`<span class="kinds" role="group" aria-label=${t('Chart type')}>
    ${kinds().map(
      (choice) => html`<button
        key=${choice.kind}
        aria-pressed=${choice.kind === chosen.kind}
        aria-label=${choice.label}
        title=${choice.label}
        onClick=${() => onChoose(choice.kind)}
      >
        <svg viewBox="0 0 14 10" aria-hidden="true"><path d=${choice.path} /></svg>
      </button>`,
    )}
  </span>`;
}

/** @param {{view: View, parameter: ParameterInfo, quantity: string, runs: HistogramRun[], look: Look}} props */
function SaveHistograms({ view, parameter, quantity, runs, look }) {
  const figure = async () => {
    const { histogramFigure } = await import('../../save/figures.js');
    const { kind, label } = look.kind.kind === 'table' ? kindOf('bands') : look.kind; // a table has no picture
    const { scale, mark } = look;
    const draw = (/** @type {HistogramRun} */ { histogram, color, start }) => (/** @type {Surface} */ surface) => {
      if (histogram && scale) drawHistogram(surface, kind, { color, start, histogram, view, scale, mark });
    };
    return histogramFigure({ runs: runs.filter(({ histogram }) => histogram), parameter, quantity, kind: label, draw });
  };
  return html`<${SaveMenu}
    label=${t('Save the histograms of {quantity}', { quantity })}
    name=${`${parameter.name} ${quantity}`}
    figure=${figure}
    table=${async () => (await import('../../save/tables.js')).histogramTable(runs)}
  />`;
}

/** @param {{app: App, state: State, view: View, entry: HistogramRun, look: Look, named: boolean}} props `named`: whether the run is one of several */
function PlotOfRun({ app, state, view, entry, look, named }) {
  const { run, color, histogram, absence } = entry;
  const { kind, scale, mark } = look;
  return html`<div class="plot-of-run">
    ${named && html`<p class="plot-run"><i style="background:${color}"></i><span><bdi>${run.name}</bdi></span></p>`}
    ${
      histogram && scale
        ? kind.kind === 'table'
          ? html`<${Lazy} load=${() => import('./histogram_table.js')} name="HistogramTable" app=${app} histogram=${histogram} step=${view.step} />`
          : html`<${HistogramPlot}
            key=${kind.kind}
            app=${app}
            kind=${kind}
            state=${state}
            view=${view}
            entry=${entry}
            histogram=${histogram}
            scale=${scale}
            mark=${mark}
            named=${named}
          />`
        : html`<div class="plot hint">${absence ?? ''}</div>`
    }
  </div>`;
}

/**
 * @param {object} props
 * @param {App} props.app
 * @param {Kind} props.kind
 * @param {State} props.state
 * @param {View} props.view
 * @param {HistogramRun} props.entry
 * @param {HistogramSeries} props.histogram of it
 * @param {Scale} props.scale
 * @param {Mark | null} props.mark
 * @param {boolean} props.named whether the run is one of several
 */
function HistogramPlot({ app, kind, state, view, entry, histogram: whole, scale, mark, named }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const ridgeline = useRef(/** @type {Ridgeline | null} */ (null));
  const { linkCursor } = state;
  const [area, setArea] = useState(/** @type {PlotArea | null} */ (null));
  const { range, theme, axis } = view;
  const { run, color, start } = entry;
  const { histogram, xs } = shownBy(kind.kind, whole, view, start);
  const onSteps = kind.kind === 'density' || kind.kind === 'bands';
  const selected = onSteps ? null : indexAtOrBefore(xs, view.x);

  const draw = (/** @type {HTMLCanvasElement} */ target) => {
    const drawn = drawHistogram(target, kind.kind, { color, start, view, histogram: whole, scale, mark });
    if ('indexAt' in drawn) ridgeline.current = drawn;
    const next = 'indexAt' in drawn ? drawn.area : drawn;
    setArea((before) => (before && sameArea(before, next) ? before : next));
  };
  const look = [range, theme, axis, color, scale];
  useDrawing(canvas, draw, [whole, ...look, selected, mark?.value, kind.kind]);

  const isRidgeline = kind.kind === 'ridgeline';
  const indexUnder = (/** @type {PointerEvent} */ event) => {
    const top = /** @type {HTMLElement} */ (box.current).getBoundingClientRect().top;
    return ridgeline.current?.indexAt(event.clientY - top) ?? -1;
  };
  useAxisPointer(box, {
    area,
    range,
    onHover(x, event) {
      if (x === null) return app.cursor.hover(null);
      if (!linkCursor || kind.kind === 'single') return;
      const index = isRidgeline ? indexUnder(event) : nearestIndex(xs, x);
      app.cursor.hover(index < 0 ? null : xs[index]);
    },
    onClick(x, event) {
      if (kind.kind === 'single') return;
      const index = isRidgeline ? indexUnder(event) : nearestIndex(xs, x);
      if (index >= 0) app.actions.pinStep(histogram.step[index]);
    },
    // A drag across curves is no span of steps.
    onZoom: (span) => (!onSteps && span ? undefined : app.actions.zoom(span)),
    onView: onSteps ? app.actions.zoom : undefined,
    whole: view.whole,
  });
  const sentence = sentenceOf(kind, histogram, named ? run.name : '');
  return html`<div class="plot" ref=${box}>
    <canvas ref=${canvas} role="img" aria-label=${sentence}></canvas>
    ${onSteps && html`<${StepLine} cursor=${app.cursor} range=${range} area=${area} />`}
    <div class=${onSteps ? 'zoom-span' : ''} hidden></div>
  </div>`;
}

/** What a chart is, for those who do not see it. @param {Kind} kind @param {HistogramSeries} histogram @param {string} run '' where there is one alone */
function sentenceOf({ label }, { quantity, step }, run) {
  const values = { chart: label, quantity, count: step.length, run };
  return run
    ? plural(
        step.length,
        '{chart} of {quantity} over {count} logged histogram of {run}',
        '{chart} of {quantity} over {count} logged histograms of {run}',
        values,
      )
    : plural(
        step.length,
        '{chart} of {quantity} over {count} logged histogram',
        '{chart} of {quantity} over {count} logged histograms',
        values,
      );
}

/**
 * Curves one behind the other are those of the steps in sight; the other charts have these along an axis.
 * @param {PanelKind} kind @param {HistogramSeries} histogram @param {View} view @param {number} start
 * @returns {{histogram: HistogramSeries, xs: Float64Array}}
 */
function shownBy(kind, histogram, view, start) {
  const xs = axisValues(view.axis, histogram.step, histogram.wall_time, start);
  return kind === 'ridgeline' ? histogramsWithin(histogram, xs, view.range) : { histogram, xs };
}

/**
 * @param {Surface} surface
 * @param {PanelKind} kind
 * @param {object} chart
 * @param {View} chart.view
 * @param {HistogramSeries} chart.histogram
 * @param {string} chart.color
 * @param {number} chart.start wall time of the run's first step
 * @param {Scale} chart.scale
 * @param {Mark | null} chart.mark
 * @returns {PlotArea | Ridgeline}
 */
function drawHistogram(surface, kind, { view, histogram: whole, color, start, scale, mark: found }) {
  const { range, theme, axis: axisKind } = view;
  const { histogram, xs } = shownBy(kind, whole, view, start);
  const at = indexAtOrBefore(xs, view.x);
  const mark = found ?? undefined;
  if (kind === 'ridgeline') {
    const selected = at >= 0 && view.x <= range.to ? at : null; // of a step that is out of sight, none
    return drawRidgeline(surface, { histogram, xs, color, theme, selected, axisKind, scale });
  }
  if (kind === 'single')
    return drawSingleHistogram(surface, { histogram, selected: Math.max(0, at), color, scale, mark });
  const chart = { histogram, xs, range, color, theme, axisKind, scale, mark };
  return kind === 'density' ? drawDensity(surface, chart) : drawBands(surface, chart);
}

/** @param {string[]} names @param {string} current */
function _withCurrent(names, current) {
  return names.includes(current) ? names : [...names, current];
}
