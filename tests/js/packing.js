/** Packs arrays as the server does, for tests of what reads them. */

const MAGIC = 'ADBG';

/**
 * @param {Record<string, unknown>} header
 * @param {{name: string, dtype: string, shape: number[], data: ArrayBufferView}[]} arrays
 * @returns {ArrayBuffer}
 */
export function pack(header, arrays) {
  const offsets = (/** @type {number} */ start) => {
    let offset = start;
    return arrays.map(({ data }) => {
      const own = offset;
      offset += Math.ceil(data.byteLength / 8) * 8;
      return own;
    });
  };
  const encode = (/** @type {number} */ start) => {
    const entries = arrays.map(({ name, dtype, shape }, i) => ({
      name,
      dtype,
      shape,
      offset: offsets(start)[i],
    }));
    return JSON.stringify({ ...header, arrays: entries });
  };
  // The offsets count from the start of the answer, so the header must say its own length first.
  const start = Math.ceil((8 + new TextEncoder().encode(encode(1e9)).length) / 8) * 8;
  const text = new TextEncoder().encode(encode(start).padEnd(start - 8, ' '));
  const end = arrays.reduce((sum, { data }) => sum + Math.ceil(data.byteLength / 8) * 8, start);
  const buffer = new ArrayBuffer(end);
  const bytes = new Uint8Array(buffer);
  bytes.set(new TextEncoder().encode(MAGIC));
  new DataView(buffer).setUint32(4, text.length, true);
  bytes.set(text, 8);
  arrays.forEach(({ data }, i) => {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offsets(start)[i]);
  });
  return buffer;
}
