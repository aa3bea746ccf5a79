/** Shapes that several modules share. Answers of the server follow http_api.md. */

export type Theme = 'light' | 'dark';
export type AxisKind = 'step' | 'relative' | 'wall';

export interface StatisticInfo { name: string; label: string; scale: 'log' | 'fraction' | 'cosine' | 'count'; description: string; }
export interface ParameterInfo { name: string; shape: number[]; dtype: string; elements: number; elements_read: number; group: number; kind?: string; }
export interface GroupInfo { optimizer: string; options: Record<string, boolean | number | string | null>; undefined: string[]; meanings: Record<string, string>; storage: Record<string, string>; healthy_ratios?: Record<string, [number, number]>; }
export interface Message { severity: 'warning' | 'error'; text: string; }
export interface RunInfo {
  run: string;
  name: string;
  last_step: number;
  last_wall_time: number;
  parameters: ParameterInfo[];
  groups: GroupInfo[];
  unoptimized: { name: string; shape: number[]; trainable: boolean; other_optimizer: string }[];
  statistics: string[];
  quantities: { name: string; signed: boolean }[];
  step_columns: string[];
  strip_columns: string[];
  /** Whether the gradient norm jumped, so that `gradient_norms` has an answer. */
  gradient_norms: boolean;
  scalars: { run: string; tag: string }[];
  messages: Message[];
}
export interface Summary {
  version: string;
  revision: string;
  runs: RunInfo[];
  statistics: StatisticInfo[];
  messages: Message[];
  /** Names of the rules behind `findings`; absent where the server has no such route. */
  rules?: string[];
}

/** `findings`: what a rule says about a run. */
export interface Finding {
  id: string;
  run: string;
  rule: string;
  severity: 'error' | 'warning' | 'info';
  title: string;
  /** What was seen and why it matters. */
  text: string;
  /** What to try, or "". */
  advice: string;
  /** Where the rule is known from, or "". */
  reference?: string;
  /** The rule whose finding explains this one. */
  consequence_of?: string | null;
  parameters: string[];
  /** Steps from the first to the last, and the one to look at. */
  from: number;
  to: number;
  at: number | null;
  /** What was compared with the threshold at that step; null where it is not finite. */
  value: number | null;
  threshold: number;
  /** The statistic, or column of every step, in which it is seen best, or "". */
  statistic: string;
  /** Whether value and threshold are values of the statistic, rather than derived from it. */
  as_recorded: boolean;
  /** What was compared with the threshold at some steps: pairs of a step and the worst value there. */
  course: [number, number | null][];
}

/** What a finding rests on, where charts draw it. */
export interface Evidence {
  finding: Finding;
  /** The statistic, or column of every step, that the rule looked at. */
  statistic: string;
  /** Indices of its parameters in the run. */
  parameters: ReadonlySet<number>;
  /** Its steps on the axis. */
  steps: Range;
  /** In units of the statistic; null where the rule compared something derived from it. */
  threshold: number | null;
}

/** `findings`: how far a learning rate is from the best one. */
export interface Needle {
  /** As "about 10× too low". */
  text: string;
  /** Learning rate over the best one; null where it cannot be told. */
  factor: number | null;
  /** The factor over time. */
  steps: number[];
  factors: (number | null)[];
}
export interface CompassReading extends Needle {
  /** Of exp_avg and the next gradient. */
  cosine: number | null;
  /** Between which factors four of five runs lay that read so. */
  likely: [number, number] | null;
}
export interface GainReading extends Needle {
  /** Change of the loss over what the gradient promised. */
  gain_ratio: number | null;
}
/** What was measured at learning rates of so many times the best one. */
export interface CompassCalibration {
  tasks: number;
  /** A cosine is the median of so many. */
  records: number;
  /** Within this factor of the best one is about right. */
  about: number;
  cosines: number[];
  factors: number[];
  /** The paths are sums of the ratio over so many of so many first steps. */
  first_steps: number;
  path_steps: number;
  paths: number[];
  path_factors: number[];
  /** A gain ratio is the median of so many. */
  gain_records: number;
  gain_ratios: number[];
  gain_factors: number[];
}
export interface Compass extends CompassReading {
  /** Null where the gain ratio was not recorded often enough. */
  gain: GainReading | null;
  modules: (CompassReading & { name: string })[];
  calibration: CompassCalibration;
}
export interface Diagnosis {
  /** The most severe first. */
  findings: Finding[];
  /** Null where the optimizer has no first moment, or nothing was recorded. */
  compass: Compass | null;
  /** Rules that could not be applied; null as long as nothing is known. */
  not_evaluated: { rule: string; title: string; reason: string }[] | null;
  /** How much less often than asked for records were made; '' where they are all there. */
  recording: string;
}

/** `states`: what the rules find in every run, as far as it is known. */
export interface RunState {
  run: string;
  worst: 'error' | 'warning' | 'info' | null;
  counts: Record<'error' | 'warning' | 'info', number>;
  /** Title of the first finding. */
  first: string | null;
  /** Whether nothing is known yet. */
  pending: boolean;
}
export interface RunStates { runs: RunState[]; /** Whether more is on its way: worth asking again. */ busy: boolean; }

/** `compare`: the loss of one of the runs. */
export interface ComparedRun {
  run: string;
  last_step: number;
  /** Null where it is not finite, or not known. */
  final_loss: number | null;
  /** Up to the last step that all runs have. */
  common_loss: number | null;
  not_finite_from: number | null;
  note: string;
}
/** A setting in which runs differ. */
export interface ComparedSetting {
  name: string;
  label: string;
  /** Of each run. */
  values: string[];
  numbers: (number | null)[];
  /** Index of the first run with the same. */
  same_as: number[];
}
/** A statistic in which two runs part. */
export interface Parting { step: number; statistic: string; /** The most different first. */ parameters: string[]; values: (number | null)[]; text: string; }
/** The best run beside another one. */
export interface ComparedPair {
  run: string;
  against: string;
  /** Which is ahead to the end, and from which step on; null where there is no difference beyond noise. */
  better: string | null;
  from: number | null;
  text: string;
  /** Whether statistics were compared. */
  parted: boolean;
  partings: Parting[];
  partings_text: string;
}
export interface Comparison {
  runs: ComparedRun[];
  /** Runs that cannot be read now, and why. */
  left_out: { run: string; text: string }[];
  settings: ComparedSetting[];
  same: { name: string; label: string; value: string }[];
  /** The last step that all runs with a loss have. */
  common_step: number | null;
  text: string;
  best: string | null;
  pairs: ComparedPair[];
  sweep: { setting: string; values: string[]; losses: (number | null)[]; best: string; as_good: string[]; edge: string | null; text: string } | null;
}

/** `explain`: what the documents say about a rule or a statistic. */
export interface Explanation { title: string; sections: { heading: string; markdown: string }[]; }

/** How many steps an answer is about, and the latest wall time among them. */
export interface Extent { steps: number; wall_time: number; }

/** Parameters × columns; a column covers the steps first_step..last_step. */
export interface StepColumns {
  parameters: number;
  columns: number;
  values: Float32Array;
  first_step: Float64Array;
  last_step: Float64Array;
  wall_time: Float64Array;
  /** 0 where nothing was logged; absent where everything was. */
  logged?: Uint8Array;
}

/** `overview` */
export interface Overview extends StepColumns {
  run: string;
  statistic: string;
  /** The run that the values are compared with. */
  against: string | null;
  /** Of the steps asked for, those that were thinned out among them. */
  total: Extent;
}

/** `gradient_norms`: gradient RMS at the steps around a jump, of all parameters or of one. */
export interface GradientNorms extends StepColumns { run: string; parameter: string | null; }

/** `series`: one parameter, all statistics. */
export interface Series { run: string; parameter: string; step: Float64Array; wall_time: Float64Array; statistics: Record<string, Float32Array>; }

/** `steps`: one value per optimizer step and column. */
export interface StepRows { run: string; columns: Record<string, Float64Array>; }

export interface ScalarSeries { run: string; tag: string; step: Float64Array; wall_time: Float64Array; value: Float32Array; }
export interface Hyperparameters { run: string; columns: string[]; groups: number; step: Float64Array; wall_time: Float64Array; /** [group][column] over steps */ values: Float64Array[][]; }

/** One quantity of `histograms`: row-major [steps, bins]. */
export interface HistogramSeries {
  quantity: string;
  signed: boolean;
  step: Float64Array;
  wall_time: Float64Array;
  counts: Uint32Array;
  /** bins + 1 ascending edges */
  edges: Float64Array;
  /** [steps, 5]: zeros, subnormal numbers, -infinity, +infinity, NaN */
  special: Uint32Array;
  bins: number;
}
export interface Histograms { run: string; parameter: string; elements: number; elements_read: number; total: Extent; quantities: Record<string, HistogramSeries>; }

/** One run's series of a parameter on the shared axis. */
export interface RunSeries {
  run: RunInfo;
  color: string;
  dash?: number[];
  /** Null where the run has no such parameter. */
  series: Series | null;
  /** Wall time of the run's first step. */
  start: number;
  /** Axis value of every logged step. */
  xs: Float64Array;
  /** Gradient RMS of single steps around a jump, and where they lie on the axis. */
  between: { norms: GradientNorms; xs: Float64Array } | null;
}

/** One run's histograms of a quantity. */
export interface HistogramRun {
  run: RunInfo;
  color: string;
  /** Wall time of the run's first step. */
  start: number;
  histogram: HistogramSeries | null;
  /** Why there is none, where that is known. */
  absence: string | null;
}

/** Where a chart put its data, in CSS pixels of its canvas, so that overlays (the step cursor) need no redraw. */
export interface PlotArea { left: number; top: number; width: number; height: number; }

/** The horizontal axis all charts of the tab share: a value (step, seconds, epoch seconds) per logged step. */
export interface Range { from: number; to: number; }

/** A row of the overview: one tensor, or a collapsed module (one stripe per tensor). */
export interface TreeRow { key: string; label: string; depth: number; kind: 'module' | 'tensor'; open: boolean; parameters: number[]; y: number; height: number; }
