// @ts-check
/** The charts' data as CSV: full precision, one header line, names of the wire format. Pure. */
import { GRADIENT_STATISTIC } from '../chart/gradient_jumps.js';

/**
 * @typedef {import('../types.d.ts').HistogramSeries} HistogramSeries
 * @typedef {import('../types.d.ts').Hyperparameters} Hyperparameters
 * @typedef {import('../types.d.ts').TreeRow} TreeRow
 * @typedef {import('../chart/heatmap_values.js').View} View
 */

/** @param {(string | number)[][]} rows the first is the header @returns {string} */
export function toCsv(rows) {
  return `${rows.map((row) => row.map(_field).join(',')).join('\r\n')}\r\n`;
}

/**
 * One line for each run and step, unsmoothed.
 * @param {object} lines
 * @param {string} lines.parameter
 * @param {import('../types.d.ts').RunSeries[]} lines.runs
 * @param {import('../types.d.ts').StatisticInfo[]} lines.statistics
 */
export function seriesTable({ parameter, runs, statistics }) {
  const names = statistics.map(({ name }) => name);
  const rows = runs.flatMap(({ run, series }) =>
    series
      ? Array.from(series.step, (step, i) => [
          run.name,
          parameter,
          step,
          series.wall_time[i],
          ...names.map((name) => series.statistics[name]?.[i] ?? ''),
        ])
      : [],
  );
  const between = names.includes(GRADIENT_STATISTIC) ? runs.flatMap((run) => _rowsBetween(run, parameter, names)) : [];
  rows.push(...between);
  return toCsv([['run', 'parameter', 'step', 'wall_time', ...names], ...rows]);
}

/**
 * Steps between records, for which only the gradient is known.
 * @param {import('../types.d.ts').RunSeries} run @param {string} parameter @param {string[]} names
 */
function _rowsBetween({ run, series, between }, parameter, names) {
  if (!between) return [];
  const recorded = new Set(series?.step);
  const { last_step, wall_time, values, logged } = between.norms;
  return Array.from(last_step.keys())
    .filter((i) => !recorded.has(last_step[i]) && (!logged || logged[i]))
    .map((i) => [
      run.name,
      parameter,
      last_step[i],
      wall_time[i],
      ...names.map((name) => (name === GRADIENT_STATISTIC ? values[i] : '')),
    ]);
}

/** One line for each run, step and non-empty bin. @param {import('../types.d.ts').HistogramRun[]} runs */
export function histogramTable(runs) {
  const rows = runs.flatMap(({ run, histogram }) => (histogram ? _binRows(run.name, histogram) : []));
  return toCsv([['run', 'quantity', 'step', 'from', 'to', 'count'], ...rows]);
}

/** @param {string} run @param {HistogramSeries} histogram */
function _binRows(run, { quantity, step, bins, counts, edges, special }) {
  const rows = Array.from(step, (at, i) => [
    ...Array.from({ length: bins }, (_, bin) => [run, quantity, at, edges[bin], edges[bin + 1], counts[i * bins + bin]]),
    ...['zero', 'subnormal', '-inf', 'inf', 'nan'].map((name, k) => [run, quantity, at, name, name, special[i * 5 + k]]),
  ]).flat();
  return rows.filter((row) => Number(row[5]) > 0);
}

/**
 * One line for each tensor of the rows, one column for each visible column of the heat map.
 * @param {Pick<View, 'overview' | 'xs' | 'range' | 'run' | 'metric' | 'against'>} view
 * @param {TreeRow[]} rows
 */
export function overviewTable({ overview, xs, range, run, metric, against }, rows) {
  const columns = Array.from(xs.keys()).filter((column) => xs[column] >= range.from && xs[column] <= range.to);
  const what = against ? `${metric.name} compared with ${against.name}` : metric.name;
  const steps = columns.map((column) => {
    const [first, last] = [overview.first_step[column], overview.last_step[column]];
    return first === last ? String(last) : `${first}-${last}`;
  });
  const shown = rows.filter((row) => !row.open).flatMap(({ parameters }) => parameters);
  return toCsv([
    ['run', 'statistic', 'parameter', ...steps],
    ...shown.map((parameter) => [
      run.name,
      what,
      run.parameters[parameter].name,
      ...columns.map((column) => {
        const cell = parameter * overview.columns + column;
        return overview.logged && !overview.logged[cell] ? '' : overview.values[cell];
      }),
    ]),
  ]);
}

/**
 * @param {import('../types.d.ts').RunInfo} run
 * @param {Hyperparameters} hyperparameters
 */
export function hyperparameterTable(run, { step, wall_time, columns, values }) {
  const rows = values.flatMap((group, index) =>
    Array.from(step, (at, i) => [
      run.name,
      index,
      run.groups[index].optimizer,
      at,
      wall_time[i],
      ...group.map((column) => (Number.isNaN(column[i]) ? '' : column[i])),
    ]),
  );
  return toCsv([['run', 'group', 'optimizer', 'step', 'wall_time', ...columns], ...rows]);
}

/**
 * An apostrophe keeps a spreadsheet from taking a name for a formula (OWASP, CSV Injection).
 * @param {string | number} value
 */
function _field(value) {
  const isFormula = typeof value === 'string' && /^[=+\-@\t\r]/.test(value) && value !== '-inf';
  const text = isFormula ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
