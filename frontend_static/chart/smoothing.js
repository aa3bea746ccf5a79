// @ts-check
/** TensorBoard's smoothing, so that a line looks here as it does in the Scalars tab. */

/**
 * Debiased exponential moving average: s ← w·s + (1 − w)·y, shown as s / (1 − wⁿ) after n values.
 *
 * @param {ArrayLike<number>} values NaN and infinity are gaps: they stay as they are and do not
 *   disturb what follows. On a logarithmic axis the same holds for values that are not positive.
 * @param {number} weight 0 (no smoothing) up to, but not including, 1
 * @param {boolean} [onLog] average log10 of the values, which is what a logarithmic axis shows
 * @returns {Float64Array}
 */
export function smooth(values, weight, onLog = false) {
  const w = Math.min(Math.max(weight, 0), 0.9999);
  if (w === 0) return Float64Array.from(values);
  const result = new Float64Array(values.length);
  let sum = 0;
  let debias = 0; // 1 − wⁿ
  for (let i = 0; i < values.length; i++) {
    const value = onLog ? Math.log10(values[i]) : values[i];
    if (!Number.isFinite(value)) {
      result[i] = values[i];
      continue;
    }
    sum = w * sum + (1 - w) * value;
    debias = w * debias + (1 - w);
    result[i] = onLog ? 10 ** (sum / debias) : sum / debias;
  }
  return result;
}
