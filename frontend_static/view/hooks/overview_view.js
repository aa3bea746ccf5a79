// @ts-check
/** The overview's view of its run: thinned and zoomed, compared, coloured, on the shared axis. */
import { runColor } from '../../chart/colormap.js';
import { colouringOf } from '../../chart/heatmap_colours.js';
import { axisValues } from '../../state/axis.js';
import { metricOf } from '../../state/store.js';
import { useLayoutEffect, useMemo } from '../ui.js';
import { useEvidence } from './evidence.js';
import { useAxis, useJumps, useZoomedOverview } from './run_data.js';

/** @typedef {import('../../types.d.ts').RunInfo} RunInfo */

/**
 * @param {import('../ui.js').App} app
 * @param {import('../../state/store.js').State} state
 * @param {import('../../types.d.ts').Summary} summary
 * @param {RunInfo} run
 * @param {object} loaded
 * @param {import('../../types.d.ts').StatisticInfo} loaded.metric
 * @param {RunInfo[]} loaded.runs the checked ones
 * @param {RunInfo | null} loaded.against the run that the heat map compares with
 * @param {ReturnType<typeof import('./run_data.js').useRunData>} loaded.data
 * @param {import('../../types.d.ts').Finding | null} loaded.finding the open one
 * @param {ReturnType<typeof import('./run_data.js').useStarts>} loaded.starts
 */
export function useOverviewView(app, state, summary, run, { metric, runs, against, data, starts, finding }) {
  const whole = data.overview.value;
  const usable =
    whole && whole.run === run.run && whole.against === (against?.run ?? null) && whole.columns > 0 ? whole : null;
  const axis = useAxis(state, run, runs, usable, starts, data.steps.value);
  const zoomed = useZoomedOverview(app, state, summary, run, usable, axis);
  const { shown, jumps } = useJumps(data.norms.value, run, zoomed ?? usable);
  const evidence = useEvidence(finding, run, usable, data.steps.value, axis, state.axis);
  const [lowest, highest] = state.colourRange;
  const colouring = useMemo(
    () => usable && colouringOf(usable, metric.scale, [lowest, highest]),
    [usable, metric.scale, lowest, highest],
  );
  const complete = axis && usable && shown && colouring;
  const view = complete
    ? {
        run,
        color: runColor(summary.runs.indexOf(run), state.theme),
        theme: state.theme,
        axis: state.axis,
        range: axis.range,
        whole: axis.whole,
        start: axis.start,
        overview: shown,
        xs: shown === usable ? axis.xs : axisValues(state.axis, shown.last_step, shown.wall_time, axis.start),
        step: axis.step,
        x: axis.x,
        // The heat map still shows the previous statistic until the answer arrives.
        metric: metricOf({ ...state, metric: usable.statistic }, run),
        colouring,
        against,
        healthyRange: state.healthyRange,
        jumps,
        evidence,
      }
    : null;
  useLayoutEffect(() => app.cursor.pin(axis ? axis.x : null), [axis?.x]);
  return { axis, shown, view };
}
