// @ts-check
/** The data of the runs: the server's answers on the shared axis, as hooks. */
import { runColor, runDash } from '../../chart/colormap.js';
import { GRADIENT_STATISTIC, jumpsOf, withStepsBetween } from '../../chart/gradient_jumps.js';
import { t } from '../../host/language.js';
import { axisValueOfStep, axisValues, clampRange, stepsWithin, wholeRange } from '../../state/axis.js';
import { COLUMNS, overviewQuery, overviewQuestion, revisionOf } from '../../state/questions.js';
import { columnStrip } from '../../state/store.js';
import { useAnswer, useEffect, useMemo, useState } from '../ui.js';

/**
 * @typedef {import('../ui.js').App} AppContext
 * @typedef {import('../../state/store.js').State} State
 * @typedef {import('../../types.d.ts').RunInfo} RunInfo
 * @typedef {import('../../types.d.ts').Summary} Summary
 * @typedef {import('../../types.d.ts').StepRows} StepRows
 * @typedef {import('../../types.d.ts').Overview} Overview
 *
 * The shared axis, as the overview's run defines it.
 * @typedef {NonNullable<ReturnType<typeof useAxis>>} Axis
 */

const NO_VALUES = new Float64Array(0);
/** A continuing zoom, as with the wheel, only asks the server once it rests. */
const RESTING_MILLISECONDS = 150;

/** @param {AppContext} app @param {State} state @param {Summary} summary @param {RunInfo} run */
export function useRunData({ api }, state, summary, run) {
  const revision = revisionOf(state, summary, run);
  const picture = overviewQuestion(state, summary, run);
  return {
    overview: useAnswer(JSON.stringify(picture.query), picture.revision, (signal) =>
      api.overview(picture.query, picture.revision, signal),
    ),
    steps: useAnswer(run.run, revision, (signal) => api.steps(run.run, revision, signal)),
    hyperparameters: useAnswer(run.run, revision, (signal) => api.hyperparameters(run.run, revision, signal)),
    norms: useAnswer(run.gradient_norms ? run.run : null, revision, (signal) =>
      api.gradientNorms({ run: run.run, columns: COLUMNS }, revision, signal),
    ),
  };
}

/**
 * Series of one parameter for all runs that have it, and its histograms: for the overview's run first, then for the
 * others if wanted.
 * @param {AppContext} app @param {State} state @param {Summary} summary
 * @param {RunInfo} run @param {RunInfo[]} runs @param {string} name
 */
export function useParameterData({ api }, state, summary, run, runs, name) {
  const holders = runs.filter((info) => info.parameters.some((parameter) => parameter.name === name));
  const revisions = holders.map((info) => revisionOf(state, summary, info));
  const series = useAnswer(
    JSON.stringify([name, holders.map((info) => info.run)]),
    revisions.join('\n'),
    (signal) => Promise.all(holders.map((info, i) => api.series(info.run, name, revisions[i], signal))),
  );
  const jumped = holders.filter((info) => info.gradient_norms);
  const norms = useAnswer(
    jumped.length ? JSON.stringify([name, jumped.map((info) => info.run)]) : null,
    jumped.map((info) => revisionOf(state, summary, info)).join('\n'),
    (signal) =>
      Promise.all(
        jumped.map((info) =>
          api.gradientNorms(
            { run: info.run, parameter: name, columns: COLUMNS },
            revisionOf(state, summary, info),
            signal,
          ),
        ),
      ),
  );
  const others = state.allRuns ? holders.filter((info) => info !== run) : [];
  const questions = [run, ...others].flatMap((info) => {
    const logged = info.quantities.map((quantity) => quantity.name);
    const wanted = [...new Set(state.panels.map(({ quantity }) => quantity))]
      .filter((q) => logged.includes(q))
      .sort();
    const query = { run: info.run, parameter: name, quantity: wanted, columns: 256 };
    return wanted.length ? [{ query, revision: revisionOf(state, summary, info) }] : [];
  });
  const histograms = useAnswer(
    questions.length ? JSON.stringify(questions.map(({ query }) => query)) : null,
    questions.map(({ revision }) => revision).join('\n'),
    (signal) => Promise.all(questions.map(({ query, revision }) => api.histograms(query, revision, signal))),
  );
  return { series, norms, histograms };
}

/**
 * What the norms of single steps add to the heat map, if they belong to its run: steps between the records if it
 * shows gradients, and the jumps of single gradients.
 * @param {import('../../types.d.ts').GradientNorms | null} norms
 * @param {RunInfo} run
 * @param {Overview | null} overview
 * @returns {{shown: Overview | null, jumps: import('../../chart/gradient_jumps.js').Jump[]}}
 */
export function useJumps(norms, run, overview) {
  const ours = norms?.run === run.run && norms.parameters === run.parameters.length ? norms : null;
  const jumps = useMemo(() => (ours ? jumpsOf(ours) : NO_JUMPS), [ours]);
  const fills = ours && overview?.statistic === GRADIENT_STATISTIC && !overview.against;
  const shown = useMemo(() => (fills ? withStepsBetween(overview, ours) : overview), [overview, fills && ours]);
  return { shown, jumps };
}

/** @type {import('../../chart/gradient_jumps.js').Jump[]} */
const NO_JUMPS = [];

/** @type {import('../../types.d.ts').Diagnosis} */
const NO_DIAGNOSIS = { findings: [], compass: null, not_evaluated: null, recording: '' };

/**
 * The diagnosis of a run: findings, and the learning-rate compass.
 * @param {AppContext} app @param {State} state @param {Summary} summary @param {RunInfo} run
 */
export function useDiagnosis({ api }, state, summary, run) {
  const revision = revisionOf(state, summary, run);
  const subject = summary.rules?.length ? run.run : null;
  const answer = useAnswer(subject, revision, (signal) => api.findings(run.run, signal));
  return (!answer.stale && answer.value) || NO_DIAGNOSIS;
}

/**
 * Wall times of the runs' first steps; runs other than the overview's need them on the relative axis.
 * @param {AppContext} app @param {State} state @param {Summary} summary @param {RunInfo[]} runs @param {RunInfo} shown
 * @param {StepRows | null} steps steps of the run shown
 * @returns {Map<string, number>}
 */
export function useStarts({ api }, state, summary, runs, shown, steps) {
  const others = state.axis === 'relative' ? runs.filter((info) => info !== shown) : [];
  const revisions = others.map((info) => revisionOf(state, summary, info));
  const rows = useAnswer(
    others.length ? JSON.stringify(others.map((info) => info.run)) : null,
    revisions.join('\n'),
    (signal) => Promise.all(others.map((info, i) => api.steps(info.run, revisions[i], signal))),
  );
  return useMemo(() => {
    /** @type {Map<string, number>} */
    const starts = new Map();
    for (const one of [...(rows.value ?? []), ...(steps ? [steps] : [])]) {
      const first = one.columns.wall_time?.find((time) => !Number.isNaN(time));
      if (first !== undefined) starts.set(one.run, first);
    }
    return starts;
  }, [rows.value, steps]);
}

/**
 * The checked runs' series of one parameter on the shared axis.
 * @param {State} state @param {Summary} summary @param {RunInfo[]} runs @param {string} name
 * @param {(import('../../types.d.ts').Series | null)[] | null} series
 * @param {import('../../types.d.ts').GradientNorms[] | null} norms
 * @param {Map<string, number>} starts
 * @returns {import('../../types.d.ts').RunSeries[]}
 */
export function seriesOfRuns(state, summary, runs, name, series, norms, starts) {
  return runs.map((info) => {
    const found = series?.find((one) => one?.run === info.run && one.parameter === name) ?? null;
    const index = summary.runs.indexOf(info);
    const start = starts.get(info.run) ?? found?.wall_time[0] ?? 0;
    const between = norms?.find((one) => one.run === info.run && one.parameter === name) ?? null;
    return {
      run: info,
      color: runColor(index, state.theme),
      dash: runDash(index),
      series: found,
      start,
      xs: found ? axisValues(state.axis, found.step, found.wall_time, start) : NO_VALUES,
      between: between && {
        norms: between,
        xs: axisValues(state.axis, between.last_step, between.wall_time, start),
      },
    };
  });
}

/**
 * Positions of the run's columns on the axis, the visible range, and the pinned cursor.
 * @param {State} state @param {RunInfo} run @param {RunInfo[]} runs
 * @param {import('../../types.d.ts').Overview | null} overview of the whole run
 * @param {Map<string, number>} starts
 * @param {StepRows | null} rows of the overview's run
 */
export function useAxis(state, run, runs, overview, starts, rows) {
  return useMemo(() => {
    if (!overview) return null;
    const start = starts.get(run.run) ?? overview.wall_time[0];
    const xs = axisValues(state.axis, overview.last_step, overview.wall_time, start);
    const others = runs
      .filter((info) => info !== run)
      .flatMap((info) => {
        if (state.axis === 'step') return [[xs[0], info.last_step]];
        const otherStart = starts.get(info.run);
        const known = state.axis === 'relative' && otherStart !== undefined;
        return known ? [[0, info.last_wall_time - otherStart]] : [];
      });
    const whole = wholeRange(xs, others);
    const last = xs.length - 1;
    // A pinned step stays exact even within a column that covers several steps.
    const step = state.step === null ? overview.last_step[last] : state.step;
    const x = axisValueOf(step, state.axis, start, overview, rows?.run === run.run ? rows.columns : null);
    return { start, xs, whole, range: clampRange(state.range, whole) ?? whole, step, x };
  }, [
    state.axis,
    state.step,
    state.range,
    overview,
    runs.map((info) => `${info.run} ${info.last_step}`).join('\n'),
    starts,
    state.axis === 'step' ? null : rows,
  ]);
}

/**
 * The time of every step comes from the step rows, that of records from the overview.
 * @param {number} step @param {State['axis']} axis @param {number} start
 * @param {Overview} overview @param {StepRows['columns'] | null} rows
 */
export function axisValueOf(step, axis, start, overview, rows) {
  if (axis === 'step') return step;
  const timed = rows?.wall_time?.length && !rows.wall_time.some(Number.isNaN);
  const [steps, times] = timed ? [rows.step, rows.wall_time] : [overview.last_step, overview.wall_time];
  return axisValueOfStep(steps, axisValues(axis, steps, times, start), step);
}

/**
 * The visible part at full resolution, if the whole run was thinned to the screen.
 * @param {AppContext} app @param {State} state @param {Summary} summary @param {RunInfo} run
 * @param {Overview | null} whole
 * @param {Axis | null} axis
 */
export function useZoomedOverview({ api }, state, summary, run, whole, axis) {
  const thinned = whole && axis && axis.range !== axis.whole && whole.total.steps > whole.columns;
  const wanted = thinned ? stepsWithin(axis.range, axis.xs, whole.first_step, whole.last_step) : null;
  const part = useResting(wanted && JSON.stringify(wanted));
  const query = part && { ...overviewQuery(state, run), ...JSON.parse(part) };
  const revision = revisionOf(state, summary, run);
  const answer = useAnswer(query && JSON.stringify(query), revision, (signal) =>
    api.overview(query, revision, signal),
  );
  const covers = answer.value && part && part === JSON.stringify(wanted);
  return answer.stale || !covers || !answer.value?.columns ? null : answer.value;
}

/** @param {string | null} value @returns {string | null} the value, once it has been stable for a moment */
function useResting(value) {
  const [resting, setResting] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setResting(value), value === null ? 0 : RESTING_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [value]);
  return value === null ? null : resting;
}

/**
 * The series above the heat map: a loss, if one was recorded or written, and the gradient norm.
 * @param {AppContext} app @param {State} state @param {Summary} summary @param {RunInfo} run
 * @param {StepRows | null} steps @param {number} start
 */
export function useStrips({ api }, state, summary, run, steps, start) {
  const choices = useMemo(() => stripChoices(run), [run]);
  const chosen =
    choices.find(({ name }) => name === state.strip) ??
    choices.find(({ label }) => /loss/i.test(label)) ??
    null;
  const revision = `${revisionOf(state, summary, run)} ${summary.revision}`;
  const tag = chosen?.tag;
  const scalar = useAnswer(tag ? JSON.stringify([chosen.run, tag]) : null, revision, (signal) =>
    api.scalar(chosen?.run ?? '', tag ?? '', revision, signal),
  );
  const shown = useMemo(() => {
    /** @type {import('../../chart/context_strip.js').Strip[]} */
    const strips = [];
    const mine = steps?.run === run.run ? steps : null;
    const times = mine?.columns.wall_time ?? NO_VALUES;
    const xs = mine ? axisValues(state.axis, mine.columns.step, times, start) : NO_VALUES;
    if (chosen) {
      const { name, label, column } = chosen;
      const written = !scalar.stale && scalar.value;
      const x = written ? axisValues(state.axis, written.step, written.wall_time, start) : NO_VALUES;
      strips.push(
        column
          ? { name, label, x: xs, y: mine?.columns[column] ?? NO_VALUES }
          : { name, label, x, y: written ? written.value : NO_VALUES },
      );
    }
    if (mine?.columns.gradient_norm?.some((norm) => !Number.isNaN(norm)) ?? !mine) {
      strips.push({
        name: 'gradient_norm',
        label: t('gradient norm'),
        x: xs,
        y: mine?.columns.gradient_norm ?? NO_VALUES,
      });
    }
    return strips;
  }, [chosen, scalar.value, scalar.stale, steps, run.run, state.axis, start]);
  return { shown, choices };
}

/**
 * @param {RunInfo} run
 * @returns {{name: string, label: string, column?: string, run?: string, tag?: string}[]}
 */
function stripChoices(run) {
  const recorded = run.strip_columns.map((column) => ({ name: columnStrip(column), label: column, column }));
  const written = run.scalars.map((scalar) => ({ name: `tag ${scalar.tag}`, label: scalar.tag, ...scalar }));
  return [...recorded, ...written];
}
