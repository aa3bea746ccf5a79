// @ts-check
/** Decodes packed answers: arrays behind a JSON header, viewed in place and never copied. */

/**
 * @typedef {Float32Array | Float64Array | Uint32Array | Uint8Array} TypedArray
 * @typedef {object} Packed
 * @property {Record<string, any>} header the answer's own fields
 * @property {Map<string, {data: TypedArray, shape: number[]}>} arrays by name
 */

const MAGIC = 'ADBG';
const TYPES = {
  float32: Float32Array,
  float64: Float64Array,
  uint32: Uint32Array,
  uint8: Uint8Array,
};

/**
 * @param {ArrayBuffer} buffer a whole answer
 * @returns {Packed} views into `buffer`
 * @throws {Error} if the answer is not packed, ends early or names an unknown dtype
 */
export function decodePacked(buffer) {
  const start = new Uint8Array(buffer, 0, Math.min(4, buffer.byteLength));
  if (buffer.byteLength < 8 || String.fromCharCode(...start) !== MAGIC) {
    throw new Error(`Not a packed answer: ${buffer.byteLength} bytes without the mark ${MAGIC}.`);
  }
  const length = new DataView(buffer).getUint32(4, true);
  if (8 + length > buffer.byteLength) throw new Error('The answer ends within its header.');
  const { arrays: entries, ...header } = JSON.parse(
    new TextDecoder().decode(new Uint8Array(buffer, 8, length)),
  );
  /** @type {Packed['arrays']} */
  const arrays = new Map();
  for (const entry of entries) arrays.set(entry.name, _view(buffer, entry));
  return { header, arrays };
}

/**
 * One array of an answer, checked to have the expected type.
 * @template {TypedArray} T
 * @param {Packed} packed
 * @param {string} name
 * @param {new (...args: any[]) => T} Type
 * @returns {{data: T, shape: number[]}}
 */
export function arrayOf(packed, name, Type) {
  const array = packed.arrays.get(name);
  if (!array) throw new Error(`The answer has no array ${name}.`);
  if (!(array.data instanceof Type)) throw new Error(`The array ${name} is not a ${Type.name}.`);
  return /** @type {{data: T, shape: number[]}} */ (array);
}

/**
 * Row `index` of a matrix as a view.
 * @template {TypedArray} T
 * @param {{data: T, shape: number[]}} matrix
 * @param {number} index
 * @returns {T}
 */
export function rowOf(matrix, index) {
  const width = matrix.shape[matrix.shape.length - 1];
  return /** @type {T} */ (matrix.data.subarray(index * width, (index + 1) * width));
}

/**
 * @param {ArrayBuffer} buffer
 * @param {{name: string, dtype: string, shape: number[], offset: number}} entry
 */
function _view(buffer, { name, dtype, shape, offset }) {
  const Type = TYPES[/** @type {keyof typeof TYPES} */ (dtype)];
  if (!Type) throw new Error(`The array ${name} has the unknown type ${dtype}.`);
  const size = shape.reduce((product, n) => product * n, 1);
  if (offset + size * Type.BYTES_PER_ELEMENT > buffer.byteLength) {
    throw new Error(`The answer ends within the array ${name}.`);
  }
  return { data: new Type(buffer, offset, size), shape };
}
