// @ts-check
/** Which update-to-weight ratios are usual for a tensor, and which need a look. Pure. */

/** @typedef {import('../types.d.ts').RunInfo} RunInfo */

// This many times above the range, a ratio is far too large rather than just worth a look.
const FAR = 5;

/**
 * @param {Pick<RunInfo, 'parameters' | 'groups'>} run
 * @param {number} parameter index of the tensor
 * @param {[number, number] | null} chosen the user's range for every tensor
 * @returns {[number, number] | null} the range of healthy trainings; null if none was measured for its kind
 */
export function healthyRange({ parameters, groups }, parameter, chosen) {
  const { kind, group } = parameters[parameter] ?? {};
  return chosen ?? groups[group ?? 0]?.healthy_ratios?.[kind ?? ''] ?? null;
}

/**
 * @param {number} ratio update / weight, Infinity if the weight was 0
 * @param {[number, number] | null} range
 * @returns {'' | 'warm' | 'hot'}
 */
export function ratioEmphasis(ratio, range) {
  if (ratio === Infinity) return '';
  if (!Number.isFinite(ratio)) return 'hot';
  if (!range || ratio <= 0) return '';
  const [low, high] = range;
  if (ratio > FAR * high) return 'hot';
  return ratio > high || ratio < low ? 'warm' : '';
}
