// @ts-check
/** The only module that fetches: requests, their cache, and answers in the shapes of types.d.ts. */
import { language } from '../host/language.js';
import { arrayOf, decodePacked, rowOf } from './packed.js';

/**
 * @typedef {import('../types.d.ts').Summary} Summary
 * @typedef {import('../types.d.ts').RunInfo} RunInfo
 * @typedef {import('../types.d.ts').Overview} Overview
 * @typedef {import('../types.d.ts').StepColumns} StepColumns
 * @typedef {import('../types.d.ts').Series} Series
 * @typedef {import('../types.d.ts').StepRows} StepRows
 * @typedef {import('../types.d.ts').ScalarSeries} ScalarSeries
 * @typedef {import('../types.d.ts').Hyperparameters} Hyperparameters
 * @typedef {import('../types.d.ts').Histograms} Histograms
 * @typedef {import('../types.d.ts').HistogramSeries} HistogramSeries
 * @typedef {ReturnType<typeof createApi>} Api
 * @typedef {string | number | string[]} QueryValue
 */

/** How severe a finding can be, the most severe first. */
export const SEVERITIES = /** @type {const} */ (['error', 'warning', 'info']);

/** An answer with an error status. The message is the server's own. */
export class ServerError extends Error {
  /** @param {string} message @param {number} status */
  constructor(message, status) {
    super(message);
    this.name = 'ServerError';
    this.status = status;
  }
}

// A parameter's answers are below 2 MB: keeping this many makes j and k instant. An overview of a thousand
// parameters is 4 MB, and its colours take half as much: the cached ones are bounded by size.
const CACHED_ANSWERS = 64;
const CACHED_BYTES = 64e6;

/**
 * @param {typeof fetch} [fetcher]
 */
export function createApi(fetcher = (...request) => fetch(...request)) {
  return { ..._jsonAnswers(fetcher), ..._packedAnswers(_cachedAnswers(fetcher)) };
}

/** Answers that are requested every time. @param {typeof fetch} fetcher */
function _jsonAnswers(fetcher) {
  return {
    /** @param {AbortSignal} [signal] @returns {Promise<Summary>} */
    async summary(signal) {
      return (await _get(fetcher, _url('summary', _said()), signal)).json();
    },
    /** @param {AbortSignal} [signal] @returns {Promise<string>} */
    async revision(signal) {
      return (await (await _get(fetcher, 'revision', signal)).json()).revision;
    },
    /** @param {string} run @param {AbortSignal} [signal] @returns {Promise<import('../types.d.ts').Diagnosis>} */
    async findings(run, signal) {
      const { findings, compass, not_evaluated, recording } = await (await _get(fetcher, _url('findings', { run, ..._said() }), signal)).json();
      findings.sort(
        (/** @type {import('../types.d.ts').Finding} */ a, /** @type {import('../types.d.ts').Finding} */ b) =>
          SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity),
      );
      return { findings, compass, not_evaluated, recording };
    },
    /** @param {AbortSignal} [signal] @returns {Promise<import('../types.d.ts').RunStates>} */
    async states(signal) {
      return (await _get(fetcher, _url('states', _said()), signal)).json();
    },
    /** @param {string[]} run two or more @param {AbortSignal} [signal] @returns {Promise<import('../types.d.ts').Comparison>} */
    async compare(run, signal) {
      return (await _get(fetcher, _url('compare', { run, ..._said() }), signal)).json();
    },
    /**
     * The documents' text about a rule or a statistic.
     * @param {{rule: string} | {statistic: string}} what @param {AbortSignal} [signal]
     * @returns {Promise<import('../types.d.ts').Explanation>}
     */
    async explain(what, signal) {
      return (await _get(fetcher, _url('explain', { ...what, ..._said() }), signal)).json();
    },
  };
}

/**
 * Arrays about one run, each valid until the run's revision changes.
 * @param {ReturnType<typeof _cachedAnswers>} packed
 */
function _packedAnswers(packed) {
  return {
    /**
     * @param {{run: string, statistic: string, columns: number, from?: number, to?: number, against?: string, axis?: string}} query
     * @param {string} revision revision of the run
     * @param {AbortSignal} [signal]
     */
    overview: (query, revision, signal) => packed('overview', query, revision, signal, _overview),
    /**
     * @param {{run: string, parameter?: string, columns: number}} query all parameters unless one is named
     * @param {string} revision revision of the run
     * @param {AbortSignal} [signal]
     */
    gradientNorms: (query, revision, signal) =>
      packed('gradient_norms', query, revision, signal, _gradientNorms),
    /** @param {string} run @param {string} parameter @param {string} revision @param {AbortSignal} [signal] */
    series: (run, parameter, revision, signal) =>
      packed('series', { run, parameter }, revision, signal, _series),
    /** @param {string} run @param {string} revision @param {AbortSignal} [signal] */
    steps: (run, revision, signal) => packed('steps', { run }, revision, signal, _steps),
    /** @param {string} run @param {string} tag @param {string} revision @param {AbortSignal} [signal] */
    scalar: (run, tag, revision, signal) =>
      packed('scalar', { run, tag }, revision, signal, (answer) => _scalar(answer, run, tag)),
    /** @param {string} run @param {string} revision @param {AbortSignal} [signal] */
    hyperparameters: (run, revision, signal) =>
      packed('hyperparameters', { run }, revision, signal, _hyperparameters),
    /**
     * @param {{run: string, parameter: string, quantity: string[], columns: number}} query
     * @param {string} revision
     * @param {AbortSignal} [signal]
     */
    histograms: (query, revision, signal) => packed('histograms', query, revision, signal, _histograms),
  };
}

/**
 * Requests packed answers: known ones are cached, and only extended by their new steps.
 * @param {typeof fetch} fetcher
 */
function _cachedAnswers(fetcher) {
  const fetchPacked = async (/** @type {string} */ url, /** @type {AbortSignal | undefined} */ signal) =>
    decodePacked(await (await _get(fetcher, url, signal)).arrayBuffer());
  /** @type {AnswerCache<import('./packed.js').Packed>} */
  const cache = new AnswerCache(async (url, signal, known) => {
    // New steps of the reference run change the comparison's earlier steps.
    const grows = known?.header.total && !known.header.against;
    if (known && grows) {
      const { append, lastStep } = await import('./growth.js');
      const since = lastStep(known);
      if (since === null) return fetchPacked(url, signal);
      const tail = await fetchPacked(`${url}&since=${since}`, signal);
      const columns = Number(new URLSearchParams(url.slice(url.indexOf('?'))).get('columns')) || undefined;
      const grown = append(known, tail, columns);
      if (grown) return grown;
    }
    return fetchPacked(url, signal);
  }, CACHED_ANSWERS, CACHED_BYTES, sizeOf);
  /**
   * @template T
   * @param {string} route
   * @param {Record<string, QueryValue | undefined>} query
   * @param {string} revision
   * @param {AbortSignal | undefined} signal
   * @param {(packed: import('./packed.js').Packed) => T} convert
   */
  const packed = async (route, query, revision, signal, convert) =>
    convert(await cache.get(_url(route, query), revision, signal));
  return packed;
}

/**
 * Answers by URL. A newer revision of a run replaces its answer; requests for the same answer share one
 * connection.
 * @template T
 */
export class AnswerCache {
  /**
   * @param {(url: string, signal: AbortSignal | undefined, known: T | null) => Promise<T>} load receives the
   *   answer to an earlier revision, if there is one
   * @param {number} capacity number of answers to keep; the least recently used goes first
   * @param {number} [bytes] total size to keep
   * @param {(answer: T) => number} [sizeOf] size of an answer in bytes
   */
  constructor(load, capacity, bytes = Infinity, sizeOf = () => 0) {
    this._load = load;
    this._capacity = capacity;
    this._bytes = bytes;
    this._sizeOf = sizeOf;
    /** @type {Map<string, {revision: string, answer: Promise<T>, value: T | null}>} */
    this._entries = new Map();
  }

  /**
   * @param {string} url
   * @param {string} revision
   * @param {AbortSignal} [signal]
   * @returns {Promise<T>}
   */
  async get(url, revision, signal) {
    const known = this._entries.get(url);
    if (known && known.revision === revision) {
      this._entries.delete(url);
      this._entries.set(url, known);
      try {
        return await known.answer;
      } catch (error) {
        // The first requester has given up; this one has not.
        if (!isAbort(error) || signal?.aborted) throw error;
      }
    }
    return this._start(url, revision, signal);
  }

  /** @param {string} url @param {string} revision @param {AbortSignal | undefined} signal */
  _start(url, revision, signal) {
    const known = this._entries.get(url)?.value ?? null;
    /** @type {{revision: string, answer: Promise<T>, value: T | null}} */
    const entry = { revision, answer: this._load(url, signal, known), value: null };
    this._entries.delete(url);
    this._entries.set(url, entry);
    entry.answer.then(
      (value) => {
        entry.value = value;
        this._forget();
      },
      () => {
        if (this._entries.get(url) !== entry) return;
        // The known answer can still be extended when the server answers again.
        if (known) this._entries.set(url, { revision: '', answer: Promise.resolve(known), value: known });
        else this._entries.delete(url);
      },
    );
    this._forget();
    return entry.answer;
  }

  /** Drops the least recently used answers, but never the newest. */
  _forget() {
    let bytes = 0;
    for (const { value } of this._entries.values()) bytes += value ? this._sizeOf(value) : 0;
    for (const [url, { value }] of this._entries) {
      const full = this._entries.size > this._capacity || bytes > this._bytes;
      if (!full || this._entries.size === 1) break;
      this._entries.delete(url);
      bytes -= value ? this._sizeOf(value) : 0;
    }
  }
}

/** @param {import('./packed.js').Packed} packed @returns {number} bytes */
function sizeOf({ arrays }) {
  return [...arrays.values()].reduce((sum, { data }) => sum + data.byteLength, 0);
}

/** @param {unknown} error @returns {boolean} whether a request was cancelled */
export function isAbort(error) {
  return error instanceof Error && error.name === 'AbortError';
}

/**
 * A key that changes when answers about a run become outdated. A run that has stopped growing keeps its own
 * revision while others grow.
 * @param {Summary} summary
 * @param {RunInfo} run
 * @param {number} now seconds since the epoch
 */
export function runRevision(summary, run, now) {
  const settled = now - run.last_wall_time > 600;
  return settled ? JSON.stringify([run.last_step, run.last_wall_time, run.scalars.length]) : summary.revision;
}

/** @param {string} route @param {Record<string, QueryValue | undefined>} query */
function _url(route, query) {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value === undefined) continue;
    for (const item of Array.isArray(value) ? value : [value]) search.append(key, String(item));
  }
  return search.size ? `${route}?${search}` : route;
}

/** The language of an answer with texts; empty for English. @returns {{lang?: string}} */
function _said() {
  return language() === 'en' ? {} : { lang: language() };
}

/** @param {typeof fetch} fetcher @param {string} url @param {AbortSignal | undefined} signal */
async function _get(fetcher, url, signal) {
  const response = await fetcher(url, { signal });
  if (!response.ok) {
    const text = (await response.text()).trim();
    const readable = text && !text.startsWith('<');
    throw new ServerError(readable ? text : `${response.status} ${response.statusText}`, response.status);
  }
  return response;
}

/** @param {import('./packed.js').Packed} packed @returns {Overview} */
function _overview(packed) {
  const { run, statistic, against, total } = packed.header;
  return { run, statistic, against, total, ..._stepColumns(packed) };
}

/** @param {import('./packed.js').Packed} packed @returns {import('../types.d.ts').GradientNorms} */
function _gradientNorms(packed) {
  const { run, parameter } = packed.header;
  return { run, parameter, ..._stepColumns(packed) };
}

/** @param {import('./packed.js').Packed} packed @returns {StepColumns} */
function _stepColumns(packed) {
  const values = arrayOf(packed, 'values', Float32Array);
  return {
    parameters: values.shape[0],
    columns: values.shape[1],
    values: values.data,
    first_step: arrayOf(packed, 'first_step', Float64Array).data,
    last_step: arrayOf(packed, 'last_step', Float64Array).data,
    wall_time: arrayOf(packed, 'wall_time', Float64Array).data,
    logged: packed.arrays.has('logged') ? arrayOf(packed, 'logged', Uint8Array).data : undefined,
  };
}

/** @param {import('./packed.js').Packed} packed @returns {Series} */
function _series(packed) {
  const values = arrayOf(packed, 'values', Float32Array);
  /** @type {string[]} */
  const names = packed.header.statistics;
  return {
    run: packed.header.run,
    parameter: packed.header.parameter,
    step: arrayOf(packed, 'step', Float64Array).data,
    wall_time: arrayOf(packed, 'wall_time', Float64Array).data,
    statistics: Object.fromEntries(names.map((name, i) => [name, rowOf(values, i)])),
  };
}

/** @param {import('./packed.js').Packed} packed @returns {StepRows} */
function _steps(packed) {
  const values = arrayOf(packed, 'values', Float64Array);
  /** @type {string[]} */
  const names = packed.header.columns;
  return {
    run: packed.header.run,
    columns: Object.fromEntries(names.map((name, i) => [name, rowOf(values, i)])),
  };
}

/** @param {import('./packed.js').Packed} packed @param {string} run @param {string} tag @returns {ScalarSeries} */
function _scalar(packed, run, tag) {
  return {
    run,
    tag,
    step: arrayOf(packed, 'step', Float64Array).data,
    wall_time: arrayOf(packed, 'wall_time', Float64Array).data,
    value: arrayOf(packed, 'value', Float32Array).data,
  };
}

/** @param {import('./packed.js').Packed} packed @returns {Hyperparameters} */
function _hyperparameters(packed) {
  const values = arrayOf(packed, 'values', Float64Array);
  const [groups, columns, steps] = values.shape;
  return {
    run: packed.header.run,
    columns: packed.header.columns,
    groups,
    step: arrayOf(packed, 'step', Float64Array).data,
    wall_time: arrayOf(packed, 'wall_time', Float64Array).data,
    values: Array.from({ length: groups }, (_, group) =>
      Array.from({ length: columns }, (_, column) => {
        const start = (group * columns + column) * steps;
        return values.data.subarray(start, start + steps);
      }),
    ),
  };
}

/** @param {import('./packed.js').Packed} packed @returns {Histograms} */
function _histograms(packed) {
  const { header } = packed;
  const step = arrayOf(packed, 'step', Float64Array).data;
  const wall_time = arrayOf(packed, 'wall_time', Float64Array).data;
  /** @type {Record<string, HistogramSeries>} */
  const quantities = {};
  for (const { name, signed } of header.quantities) {
    const counts = arrayOf(packed, `${name}/counts`, Uint32Array);
    quantities[name] = {
      quantity: name,
      signed,
      step,
      wall_time,
      counts: counts.data,
      edges: arrayOf(packed, `${name}/edges`, Float64Array).data,
      special: arrayOf(packed, `${name}/special`, Uint32Array).data,
      bins: counts.shape[1],
    };
  }
  return {
    run: header.run,
    parameter: header.parameter,
    elements: header.elements,
    elements_read: header.elements_read,
    total: header.total,
    quantities,
  };
}
