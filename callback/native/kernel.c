/* A recorded step of many parameters in one pass over their elements, and norms of whole tensors.

   For parameters, gradients and moments in float32, bfloat16 or float16 on the CPU, of optimizers
   that follow the formula of callback/optimizer_state/base.py. What is computed is said in callback/measure/
   row_value_table.py; callback/measure/native_pass.py calls this, and torch's operations are what it
   is compared with. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define HAS_LEVELS 1
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "kernel.h"

#if defined(_MSC_VER)
#define RESTRICT __restrict
#define NOT_INLINE __declspec(noinline)
#define ALIGNED __declspec(align(64))
#define OMP(...)
#else
#define RESTRICT restrict
#define NOT_INLINE __attribute__((noinline))
#define ALIGNED __attribute__((aligned(64)))
#define AS_TEXT(...) #__VA_ARGS__
#define PRAGMA(...) _Pragma(AS_TEXT(__VA_ARGS__))
#define OMP(...) PRAGMA(omp __VA_ARGS__)
#endif

/* A stretch of a tensor that is added up in float32; the stretches in float64. */
#define STRETCH 2048
/* The same of a tensor that is widened first: four of them lie in the fastest memory. */
#define WIDENED 512
/* Numbers that stand side by side are often equal, and one counter would wait for itself. Of few
   elements one is enough: clearing the others and adding them up would take longer. */
#define COUNTERS 4
#define FEW_ELEMENTS 1024
#define PLACES (COUNTS + 3)

typedef int32_t table_t[COUNTERS][PLACES];

/* --- shared by all instruction sets --- */

/* Elements as they are stored: `type` is one of TYPES. */
struct tensor {
  const void *at;
  int64_t type;
};

struct lines {
  const int64_t *chosen; /* ascending; NULL where all elements are read */
  int64_t count;
};

/* What is known of the rows of a parameter along its first dimension. */
struct rows {
  uint8_t *ages; /* in records, 0 for a row with a gradient; NULL where they are not kept */
  int64_t alive; /* how many have a gradient */
};

static inline void note_row(struct rows *rows, int64_t row, int has_gradient) {
  rows->alive += has_gradient;
  if (!rows->ages) return;
  const int age = rows->ages[row];
  rows->ages[row] = (uint8_t)(has_gradient ? 0 : age + (age < 255));
}

/* Index of the first chosen line that does not begin before an element. */
static int64_t first_line(const struct lines *lines, int64_t element) {
  int64_t low = 0, high = lines->chosen ? lines->count : 0;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    if (lines->chosen[middle] * LINE < element) low = middle + 1;
    else high = middle;
  }
  return low;
}

static inline void put_larger(double *value, float x) {
  if (*value == *value && !(x <= *value)) *value = x; /* NaN is put, and stays */
}

static void start_totals(double *t, int64_t flags) {
  for (int i = 0; i < VALUES; i++) t[i] = 0;
  if (flags & HAS_EXP_AVG_SQ) t[MAX_V] = -DBL_MAX; /* the others are magnitudes */
}

static void start_tables(table_t *tables, int64_t quantities, int is_small) {
  for (int64_t q = 0; q < quantities; q++)
    memset(tables[q], 0, is_small ? sizeof tables[q][0] : sizeof tables[q]);
}

static inline void tally(const uint16_t *RESTRICT places, int64_t n, table_t table, int is_small) {
  int64_t i = 0;
  for (; !is_small && i + COUNTERS <= n; i += COUNTERS) {
    uint64_t four;
    memcpy(&four, places + i, 8);
    table[0][four & 0xffff]++;
    table[1][four >> 16 & 0xffff]++;
    table[2][four >> 32 & 0xffff]++;
    table[3][four >> 48]++;
  }
  for (; i < n; i++) table[0][places[i]]++;
}

/* Puts the histograms of a parameter where they are asked for, without the empty bins. */
static void put_histograms(const struct arguments *a, int64_t parameter, table_t *tables,
    int is_small, const int64_t *zeros, const int *is_there, int64_t *used) {
  const struct histogram *histograms = (const struct histogram *)(intptr_t)a->histograms;
  uint8_t *bitmap = (uint8_t *)(intptr_t)a->bitmaps + parameter * a->quantities * BITMAP;
  const int64_t before = *used;
  int64_t end = before;
  for (int64_t q = 0; q < a->quantities; q++, bitmap += BITMAP) {
    int32_t counts[BITMAP * 8];
    int64_t which = histograms[q].which;
    if (!is_there[which]) continue;
    int32_t (*t)[PLACES] = tables[q];
    if (is_small) memcpy(counts, t[0], COUNTS * sizeof counts[0]);
    else for (int i = 0; i < COUNTS; i++) counts[i] = t[0][i] + t[1][i] + t[2][i] + t[3][i];
    for (int i = COUNTS; i < BITMAP * 8; i++) counts[i] = 0;
    counts[BINS] = (int32_t)zeros[which];
    counts[BINS + 1] -= (int32_t)zeros[which];
    for (int byte = 0; byte < BITMAP; byte++) {
      const int32_t *eight = counts + byte * 8;
      uint64_t any[4];
      memcpy(any, eight, sizeof any);
      if (!(any[0] | any[1] | any[2] | any[3])) continue;
      uint8_t bits = 0;
      for (int i = 0; i < 8; i++) {
        int32_t count = eight[i];
        if (a->width == 2) ((uint16_t *)(intptr_t)a->counts)[end] = (uint16_t)count;
        else ((uint32_t *)(intptr_t)a->counts)[end] = (uint32_t)count;
        end += count != 0;
        bits = (uint8_t)(bits << 1 | (count != 0));
      }
      bitmap[byte] = bits;
    }
  }
  *used = end;
  if (a->quantities) ((int64_t *)(intptr_t)a->lengths)[parameter] = end - before;
}

/* --- the arithmetic, once for each instruction set --- */

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#define F(name) name##_baseline
#if defined(__ARM_FEATURE_FMA)
#define MULTIPLY_ADD(x, y, z) __builtin_fmaf(x, y, z)
#else
#define MULTIPLY_ADD(x, y, z) ((x) * (y) + (z))
#endif
#include "body.inc"
#undef F
#undef MULTIPLY_ADD

#if defined(__aarch64__) || defined(_M_ARM64)
#define BASELINE "NEON"
#else
#define BASELINE "baseline"
#endif

#if defined(HAS_LEVELS)
#define MULTIPLY_ADD(x, y, z) __builtin_fmaf(x, y, z)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2")
#endif
#define F(name) name##_avx2
#define HALVES 8 /* numbers in float16 that are widened at once */
#define WIDEN_HALVES(x, out) \
  _mm256_storeu_ps(out, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x))))
#include "body.inc"
#undef F
#undef HALVES
#undef WIDEN_HALVES
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c,bmi,bmi2"))), \
    apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c,bmi,bmi2,prefer-vector-width=512")
#endif
#define F(name) name##_avx512
#define HALVES 16
#define WIDEN_HALVES(x, out) \
  _mm512_storeu_ps(out, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(x))))
#include "body.inc"
#undef F
#undef HALVES
#undef WIDEN_HALVES
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

static const char *const LEVELS[] = {BASELINE, "AVX2", "AVX-512"};

/* Whether numbers in float16 are widened by an instruction; not every compiler knows its name. */
static int has_f16c(void) {
  unsigned int a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static int best_level(void) {
  __builtin_cpu_init();
  if (!has_f16c() || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
      !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2"))
    return 0;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") ? 2 : 1;
}

#define CALL(level, function, ...)                      \
  do {                                                  \
    if ((level) == 2) function##_avx512(__VA_ARGS__);   \
    else if ((level) == 1) function##_avx2(__VA_ARGS__); \
    else function##_baseline(__VA_ARGS__);              \
  } while (0)
#else
static const char *const LEVELS[] = {BASELINE};

static int best_level(void) { return 0; }

#define CALL(level, function, ...) ((void)(level), function##_baseline(__VA_ARGS__))
#endif

/* --- the module --- */

/* Addresses come as numbers: buffers are not in the stable interface of Python 3.10. */
static const void *address(long long number) { return (const void *)(intptr_t)number; }

static PyObject *keep(PyObject *self, PyObject *values) {
  long long arguments, first, last;
  (void)self;
  if (!PyArg_ParseTuple(values, "LLL", &arguments, &first, &last)) return NULL;
  const struct arguments *a = address(arguments);
  Py_BEGIN_ALLOW_THREADS
  CALL(a->level, keep, a, first, last);
  Py_END_ALLOW_THREADS
  Py_RETURN_NONE;
}

static PyObject *reduce(PyObject *self, PyObject *values) {
  long long arguments, first, last;
  int64_t used = 0;
  (void)self;
  if (!PyArg_ParseTuple(values, "LLL", &arguments, &first, &last)) return NULL;
  const struct arguments *a = address(arguments);
  if (a->quantities < 0 || a->quantities > MOST_QUANTITIES) {
    PyErr_SetString(PyExc_ValueError, "too many histograms of a parameter");
    return NULL;
  }
  Py_BEGIN_ALLOW_THREADS
  CALL(a->level, reduce, a, first, last, &used);
  Py_END_ALLOW_THREADS
  return PyLong_FromLongLong(used);
}

static PyObject *squares(PyObject *self, PyObject *values) {
  long long level, addresses, types, elements, count, out;
  (void)self;
  if (!PyArg_ParseTuple(
          values, "LLLLLL", &level, &addresses, &types, &elements, &count, &out))
    return NULL;
  Py_BEGIN_ALLOW_THREADS
  CALL(level, squares, address(addresses), address(types), address(elements), count,
      (double *)(intptr_t)out);
  Py_END_ALLOW_THREADS
  Py_RETURN_NONE;
}

static PyMethodDef METHODS[] = {
    {"keep", keep, METH_VARARGS,
     "keep(arguments, first, last): copy what a step is about to change of some parameters."},
    {"reduce", reduce, METH_VARARGS,
     "reduce(arguments, first, last): reduce a step of some parameters; return how many counts "
     "were put."},
    {"squares", squares, METH_VARARGS,
     "squares(level, addresses, types, elements, count, out): sums of squares of whole tensors."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_kernel", "See kernel.h for what the calls are told.", -1, METHODS,
    NULL, NULL, NULL, NULL};

/* Adds a tuple of names, or fails. */
static int add_names(PyObject *module, const char *name, const char *const *names, int count) {
  PyObject *tuple = PyTuple_New(count);
  if (!tuple) return -1;
  for (int i = 0; i < count; i++) {
    PyObject *text = PyUnicode_FromString(names[i]);
    if (!text || PyTuple_SetItem(tuple, i, text) < 0) {
      Py_DECREF(tuple);
      return -1;
    }
  }
  int failed = PyModule_AddObjectRef(module, name, tuple);
  Py_DECREF(tuple);
  return failed;
}

#define AS_NAME(symbol, name) name,
#define AS_NAME_OF_BIT(bit, symbol, name) name,
#define ADD_NAMES(module, name, list, as)                                              \
  do {                                                                                 \
    static const char *const names[] = {list(as)};                                     \
    if (add_names(module, name, names, (int)(sizeof names / sizeof names[0])) < 0) goto failed; \
  } while (0)

PyMODINIT_FUNC PyInit__kernel(void) {
  PyObject *module = PyModule_Create(&MODULE);
  if (!module) return NULL;
  ADD_NAMES(module, "ROW_VALUES", ROW_VALUES, AS_NAME);
  ADD_NAMES(module, "NUMBERS", NUMBERS, AS_NAME);
  ADD_NAMES(module, "TYPES", TYPES, AS_NAME);
  ADD_NAMES(module, "COLUMNS", COLUMNS, AS_NAME);
  ADD_NAMES(module, "SUMS", SUMS, AS_NAME);
  ADD_NAMES(module, "FLAGS", FLAGS, AS_NAME_OF_BIT);
  ADD_NAMES(module, "QUANTITIES", QUANTITIES, AS_NAME);
  ADD_NAMES(module, "ARGUMENTS", ARGUMENTS, AS_NAME);
  if (add_names(module, "LEVELS", LEVELS, best_level() + 1) < 0) goto failed;
  if (PyModule_AddIntConstant(module, "BITMAP", BITMAP) < 0) goto failed;
  if (PyModule_AddIntConstant(module, "INTERFACE", INTERFACE) < 0) goto failed;
  return module;
failed:
  Py_DECREF(module);
  return NULL;
}
