/* What the kernel is told, and what it answers: addresses and sizes, written by measure/native_pass.py.

   Every array belongs to the caller. Nothing is kept between calls. */
#ifndef ADAM_DEBUG_KERNEL_H
#define ADAM_DEBUG_KERNEL_H

#include <stdint.h>

/* Of what the calls are told and answer; the same as in loading.py, which refuses any other. */
#define INTERFACE 4

#define ROW 256       /* elements of a row; callback/read/rows.py */
#define LINE 16       /* elements of a line of a sampled tensor; the same */
#define BINS 512      /* tb_adam_plugin/schema/quantities.py, as the next three */
#define COUNTS (BINS + 5)
#define BITMAP ((COUNTS + 7) / 8)
#define MANTISSA_BITS 21 /* those below the two that make a bin */
#define TINY 1e-37f   /* callback/measure/row_value_table.py, as the next three */
#define LEAST_BEFORE 1e-6f
#define LEAST_NEAR_ONE_SQUARED ((float)(0.8 * 0.8))
#define MOST_NEAR_ONE_SQUARED ((float)(1.25 * 1.25))
#define MOST_QUANTITIES 6

/* The row values in the order of callback/measure/row_value_table.py: symbol and name. */
#define ROW_VALUES(X)                                                                          \
  X(B2, "b\xc2\xb2") X(D2, "d\xc2\xb2") X(DB, "d\xc2\xb7" "b") X(G2, "g\xc2\xb2")              \
  X(G4, "g\xe2\x81\xb4") X(MAX_D, "max|d|") X(MAX_W, "max|w|") X(MAX_G, "max|g|")              \
  X(ZERO_W, "w=0") X(ZERO_G, "g=0") X(ZERO_D, "d=0") X(E2, "g'\xc2\xb2") X(M2, "m\xc2\xb2")    \
  X(ME, "m\xc2\xb7g'") X(V, "v") X(MAX_M, "max|m|") X(MAX_V, "max v") X(ZERO_M, "m=0")         \
  X(ZERO_V, "v=0") X(BELOW_EPS, "s<\xce\xb5") X(BELOW_10_EPS, "s<10\xce\xb5")                  \
  X(SIGNAL, "m\xcc\x82\xc2\xb2/v\xcc\x82") X(RMS_T, "(g'/max(s,\xce\xb5))\xc2\xb2")            \
  X(V_BEFORE, "v before") X(TINY_V, "v<tiny, g\xe2\x89\xa0" "0") X(FROZEN, "v frozen")         \
  X(FLICKER, "(ln v\xcc\x82/v\xcc\x82 before)\xc2\xb2") X(COMPARED, "v before\xe2\x89\xa0" "0") \
  X(N2, "n\xc2\xb2") X(NEAR_ONE, "n\xe2\x89\x88\xc2\xb1" "1") X(ZERO_N, "n=0")                 \
  X(R2, "r\xc2\xb2") X(ERROR_R2, "(d-r)\xc2\xb2") X(WANTED, "r\xe2\x89\xa0" "0")               \
  X(LOST, "r\xe2\x89\xa0" "0, d=0") X(ERROR_M2, "(m-exact)\xc2\xb2")                           \
  X(EXACT_M2, "exact m\xc2\xb2") X(ERROR_V2, "(v-exact)\xc2\xb2") X(EXACT_V2, "exact v\xc2\xb2")

#define AS_INDEX(symbol, name) symbol,
enum { ROW_VALUES(AS_INDEX) VALUES };
#undef AS_INDEX

/* Numbers of the formula for each parameter, float32: those of callback/optimizer_state/
   coefficients.py in their order, then the smallest normal number that exp_avg_sq is stored with. */
#define NUMBERS(X)                                                                             \
  X(GRADIENT_SIGN, "gradient_sign") X(COUPLED_WEIGHT_DECAY, "coupled_weight_decay")            \
  X(EXP_AVG_DECAY, "exp_avg_decay") X(EXP_AVG_WEIGHT, "exp_avg_weight")                        \
  X(EXP_AVG_SCALE, "exp_avg_scale") X(EXP_AVG_SQ_DECAY, "exp_avg_sq_decay")                    \
  X(EXP_AVG_SQ_WEIGHT, "exp_avg_sq_weight") X(EXP_AVG_SQ_SCALE, "exp_avg_sq_scale")            \
  X(EXP_AVG_SQ_SCALE_BEFORE, "exp_avg_sq_scale_before") X(EPS, "eps")                          \
  X(NUMERATOR_EXP_AVG, "numerator_exp_avg") X(NUMERATOR_GRADIENT, "numerator_gradient")        \
  X(DENOMINATOR_ROOT, "denominator_root") X(DENOMINATOR_CONSTANT, "denominator_constant")      \
  X(STEP_SIZE, "step_size") X(WEIGHT_DECAY, "weight_decay")

#define AS_INDEX(symbol, name) symbol,
enum { NUMBERS(AS_INDEX) SMALLEST_NORMAL, NUMBERS_OF_A_PARAMETER };
#undef AS_INDEX

/* The types that tensors may be stored in, each element widened to float32 when it is read. */
#define TYPES(X) X(FLOAT32, "float32") X(BFLOAT16, "bfloat16") X(FLOAT16, "float16")

#define AS_INDEX(symbol, name) symbol,
enum { TYPES(AS_INDEX) TYPES_KNOWN };
#undef AS_INDEX

/* What is known of each parameter, int64. Addresses are 0 where there is no tensor. */
#define COLUMNS(X)                                                                             \
  X(AT_WEIGHT, "weight") X(AT_GRADIENT, "gradient") X(AT_EXP_AVG, "exp_avg")                   \
  X(AT_EXP_AVG_SQ, "exp_avg_sq")                                                               \
  X(TYPE_OF_WEIGHT, "weight_type")     /* of the four in their order, one of TYPES */          \
  X(TYPE_OF_GRADIENT, "gradient_type") X(TYPE_OF_EXP_AVG, "exp_avg_type")                      \
  X(TYPE_OF_EXP_AVG_SQ, "exp_avg_sq_type")                                                     \
  X(AT_BEFORE, "before")               /* float32 rows of the weights before the step */       \
  X(AT_EXP_AVG_BEFORE, "exp_avg_before") /* likewise, or 0 */                                  \
  X(AT_EXP_AVG_SQ_BEFORE, "exp_avg_sq_before")                                                 \
  X(AT_LINES, "lines")                 /* int64 indices of those that are read; 0 for all */   \
  X(LINE_COUNT, "line_count") X(ELEMENTS, "elements") X(ELEMENTS_READ, "elements_read")        \
  X(FIRST_ROW, "first_row")            /* of the panel */                                      \
  X(DEAD_ROWS, "dead_rows")            /* how rows without gradient are told, as below */      \
  X(ROW_COUNT, "row_count")            /* along the first dimension */                           \
  X(FIRST_AGE, "first_age")            /* where the ages of these begin; -1 for none */

#define AS_INDEX(symbol, name) symbol,
enum { COLUMNS(AS_INDEX) COLUMNS_OF_A_PARAMETER };
#undef AS_INDEX

enum { NOT_LOOKED_AT, BY_ELEMENTS, BY_SQUARES };

/* Sums over all elements of a sampled parameter, its rows with a gradient, and those that are idle,
   float64. */
#define SUMS(X)                                                                                \
  X(ALL_B2, "before") X(ALL_G2, "gradient") X(ALL_M2, "exp_avg") X(ALL_V, "exp_avg_sq")        \
  X(ALIVE_ROWS, "alive_rows") X(IDLE_ROWS, "idle_rows")

#define AS_INDEX(symbol, name) symbol,
enum { SUMS(AS_INDEX) SUMS_OF_A_PARAMETER };
#undef AS_INDEX

/* What holds of the whole step: a bit each. */
#define FLAGS(X)                                                                               \
  X(0, PLAIN_GRADIENT, "plain_gradient")     /* g' is g */                                     \
  X(1, HAS_EXP_AVG, "has_exp_avg")           /* at least one parameter has it */               \
  X(2, HAS_EXP_AVG_SQ, "has_exp_avg_sq")                                                       \
  X(3, EXP_AVG_SQ_IS_ROOT, "exp_avg_sq_is_root")                                               \
  X(4, HAS_EXP_AVG_SQ_BEFORE, "has_exp_avg_sq_before") /* it was read before the step */       \
  X(5, KNOWS_UPDATE, "knows_update")                                                           \
  X(6, IS_ADAM, "is_adam")                   /* the direction is m / (s + constant) */         \
  X(7, HAS_WEIGHT_DECAY, "has_weight_decay") /* decoupled */                                   \
  X(8, COUNTS_DIRECTION, "counts_direction")                                                   \
  X(9, HAS_EXP_AVG_BEFORE, "has_exp_avg_before") /* it was read before the step */

#define AS_BIT(bit, symbol, name) symbol = 1 << bit,
enum { FLAGS(AS_BIT) NO_FLAG = 0 };
#undef AS_BIT

/* The quantities that have histograms, by what `which` of a histogram says. */
#define QUANTITIES(X)                                                                          \
  X(OF_EXP_AVG, "exp_avg") X(OF_EXP_AVG_SQ, "exp_avg_sq") X(OF_UPDATE, "update")               \
  X(OF_WEIGHT, "weight") X(OF_GRADIENT, "gradient") X(OF_DIRECTION, "normalized_update")

#define AS_INDEX(symbol, name) symbol,
enum { QUANTITIES(AS_INDEX) QUANTITIES_KNOWN };
#undef AS_INDEX

/* What a call is told, int64 each, in this order. */
#define ARGUMENTS(X)                                                                           \
  X(level, "level")           /* index of the instruction set */                               \
  X(flags, "flags")                                                                            \
  X(table, "table")           /* int64 [parameters, COLUMNS_OF_A_PARAMETER] */                 \
  X(numbers, "numbers")       /* float32 [parameters, NUMBERS_OF_A_PARAMETER] */               \
  X(totals, "totals")         /* float64 [parameters, VALUES]; written */                      \
  X(sums, "sums")             /* float64 [parameters, SUMS_OF_A_PARAMETER]; written */         \
  X(row_d2, "row_d2")         /* float32 [rows]: row values that are kept apart; written */    \
  X(row_g2, "row_g2") X(row_g4, "row_g4") X(row_m2, "row_m2")                                                     \
  X(scratch, "scratch")       /* float32 [4, most]: gathered lines */                          \
  X(most, "most")             /* elements of the largest sampled parameter's rows */           \
  X(quantities, "quantities") /* number of histograms of a parameter; 0 for none */            \
  X(histograms, "histograms") /* int64 [quantities, 3]: which, is signed, first code */        \
  X(bitmaps, "bitmaps")       /* uint8 [parameters, quantities, BITMAP], zero; written */      \
  X(counts, "counts")         /* integers of `width` bytes, those that are not 0; written */   \
  X(width, "width")           /* 2 or 4 */                                                     \
  X(lengths, "lengths")       /* int64 [parameters]: how many counts of each; written */       \
  X(ages, "ages")             /* uint8: records since each row had a gradient; written */      \
  X(idle_from, "idle_from")   /* the age from which a row is idle, 1 to 255 */

struct arguments {
#define AS_FIELD(symbol, name) int64_t symbol;
  ARGUMENTS(AS_FIELD)
#undef AS_FIELD
};

struct histogram {
  int64_t which, is_signed, first;
};

#endif
