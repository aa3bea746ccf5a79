/** Counts values into bins of four an octave, as the server delivers them, by comparing with every edge. */

/**
 * @param {number[][]} steps the values at each step
 * @param {boolean} signed
 */
export function histogramOf(steps, signed) {
  const edges = edgesOf(signed, -40, 20);
  const bins = edges.length - 1;
  const counts = new Uint32Array(steps.length * bins);
  const special = new Uint32Array(steps.length * 5);
  steps.forEach((values, step) => {
    for (const value of values) {
      if (value === 0) special[step * 5]++;
      else if (value === -Infinity) special[step * 5 + 2]++;
      else if (value === Infinity) special[step * 5 + 3]++;
      else if (Number.isNaN(value)) special[step * 5 + 4]++;
      else counts[step * bins + binOf(edges, value)]++;
    }
  });
  const time = Float64Array.from(steps, (_, step) => step);
  return {
    quantity: 'x',
    signed,
    step: time,
    wall_time: time,
    counts,
    edges: Float64Array.from(edges),
    special,
    bins,
  };
}

/** The bin of a value; edges belong to the bin further from zero. @param {number[]} edges @param {number} value */
export function binOf(edges, value) {
  return value > 0
    ? edges.findLastIndex((edge) => edge <= value)
    : edges.findIndex((edge) => edge >= value) - 1;
}

/** @param {boolean} signed @param {number} lowest exponent @param {number} highest exponent */
function edgesOf(signed, lowest, highest) {
  const positive = [0];
  for (let e = lowest; e < highest; e++) {
    for (let quarter = 0; quarter < 4; quarter++) {
      if (e > lowest || quarter > 0) positive.push((1 + quarter / 4) * 2 ** e);
    }
  }
  positive.push(2 ** highest);
  return signed
    ? [
        ...positive
          .slice(1)
          .reverse()
          .map((edge) => -edge),
        ...positive,
      ]
    : positive;
}
