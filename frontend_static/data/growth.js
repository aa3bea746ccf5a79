// @ts-check
/** Answers that grow: for a growing run, only the new steps are fetched and appended. Pure. */

/**
 * @typedef {import('./packed.js').Packed} Packed
 * @typedef {{data: import('./packed.js').TypedArray, shape: number[]}} PackedArray
 */

/** An answer may grow to this many times the requested size before it is thinned again. */
const ROOM = 1.5;

/**
 * @param {Packed} answer
 * @returns {number | null} its last step; null if it has none and everything must be fetched
 */
export function lastStep({ header, arrays }) {
  const steps = arrays.get('last_step') ?? arrays.get('step') ?? _stepColumn(header, arrays);
  return steps?.data.length ? steps.data[steps.data.length - 1] : null;
}

/**
 * @param {Packed} known
 * @param {Packed} tail the steps after the last one of `known`
 * @param {number} [columns] largest number of requested steps
 * @returns {Packed | null} both joined; null if `known` is outdated, or has grown too large
 */
export function append(known, tail, columns = Infinity) {
  if (!_continues(known.header, tail.header)) return null;
  const names = new Set([...known.arrays.keys(), ...tail.arrays.keys()]);
  /** @type {Packed['arrays']} */
  const arrays = new Map();
  for (const name of names) {
    if (name.endsWith('/edges')) continue;
    const joined = name.endsWith('/counts')
      ? _joinBins(name, known.arrays, tail.arrays, arrays)
      : _join(_present(name, known.arrays), _present(name, tail.arrays), _axis(name, known.arrays));
    if (!joined) return null;
    arrays.set(name, joined);
  }
  const size = (arrays.get('last_step') ?? arrays.get('step'))?.data.length ?? 0;
  const { earlier: _, ...header } = tail.header;
  return size > ROOM * columns ? null : { header: { ...header, earlier: known.header.earlier }, arrays };
}

/** @param {Record<string, any>} known @param {Record<string, any>} tail */
function _continues(known, tail) {
  const rest = (/** @type {Record<string, any>} */ header) =>
    JSON.stringify({ ...header, earlier: null, total: null });
  return JSON.stringify(known.total) === JSON.stringify(tail.earlier) && rest(known) === rest(tail);
}

/** @param {Record<string, any>} header @param {Packed['arrays']} arrays @returns {PackedArray | null} */
function _stepColumn({ columns }, arrays) {
  const values = arrays.get('values');
  const row = Array.isArray(columns) && values?.shape.length === 2 ? columns.indexOf('step') : -1;
  if (!values || row < 0) return null;
  const steps = values.shape[1];
  return { data: values.data.subarray(row * steps, (row + 1) * steps), shape: [steps] };
}

/**
 * An array of an answer; the mask is missing if everything was logged.
 * @param {string} name @param {Packed['arrays']} arrays @returns {PackedArray | undefined}
 */
function _present(name, arrays) {
  const found = arrays.get(name);
  const values = arrays.get('values');
  if (found || name !== 'logged' || !values) return found;
  return { data: new Uint8Array(values.data.length).fill(1), shape: values.shape };
}

/** @param {string} name @param {Packed['arrays']} arrays @returns {number} the axis of steps */
function _axis(name, arrays) {
  if (name !== 'values' && name !== 'logged') return 0;
  return (arrays.get('values')?.shape.length ?? 1) - 1;
}

/**
 * @param {PackedArray | undefined} a @param {PackedArray | undefined} b @param {number} axis
 * @returns {PackedArray | null} null if the other dimensions differ
 */
function _join(a, b, axis) {
  if (!a || !b || a.shape.length !== b.shape.length) return null;
  if (a.shape.some((size, i) => i !== axis && size !== b.shape[i])) return null;
  const product = (/** @type {number[]} */ sizes) => sizes.reduce((p, n) => p * n, 1);
  const [rows, inner] = [product(a.shape.slice(0, axis)), product(a.shape.slice(axis + 1))];
  const [na, nb] = [a.shape[axis] * inner, b.shape[axis] * inner];
  const Type = /** @type {any} */ (a.data.constructor);
  const data = new Type(rows * (na + nb));
  for (let row = 0; row < rows; row++) {
    data.set(a.data.subarray(row * na, (row + 1) * na), row * (na + nb));
    data.set(b.data.subarray(row * nb, (row + 1) * nb), row * (na + nb) + na);
  }
  return { data, shape: a.shape.map((size, i) => (i === axis ? size + b.shape[i] : size)) };
}

/**
 * Histograms are cut to the bins in use, which may differ in the tail.
 * @param {string} name name of the counts
 * @param {Packed['arrays']} known @param {Packed['arrays']} tail
 * @param {Packed['arrays']} result receives the edges
 * @returns {PackedArray | null} null if bins between the two are unknown
 */
function _joinBins(name, known, tail, result) {
  const edgesName = name.replace(/counts$/, 'edges');
  const parts = [known, tail].map((arrays) => ({ counts: arrays.get(name), edges: arrays.get(edgesName) }));
  if (parts.some(({ counts, edges }) => !counts || !edges)) return null;
  const used = parts.filter(({ counts }) => (counts?.shape[1] ?? 0) > 0);
  const all = [...new Set(used.flatMap(({ edges }) => [...(edges?.data ?? [])]))].sort((a, b) => a - b);
  const [first, second] = used.map(({ edges }) => /** @type {Float64Array} */ (edges?.data));
  if (second && (first[0] > second[second.length - 1] || second[0] > first[first.length - 1])) return null;
  const edges = used.length ? all : [...(parts[0].edges?.data ?? [])];
  const bins = Math.max(0, edges.length - 1);
  const widened = parts.map(({ counts, edges: own }) => {
    const { data, shape } = /** @type {PackedArray} */ (counts);
    const wide = new Uint32Array(shape[0] * bins);
    const offset = edges.indexOf(own?.data[0] ?? NaN);
    for (let row = 0; row < shape[0] && shape[1]; row++)
      wide.set(data.subarray(row * shape[1], (row + 1) * shape[1]), row * bins + offset);
    return { data: wide, shape: [shape[0], bins] };
  });
  result.set(edgesName, { data: Float64Array.from(edges), shape: [edges.length] });
  return _join(widened[0], widened[1], 0);
}
