"""How the work of a kernel is cut up, and what is in the tables that it gets: plain numbers."""

from __future__ import annotations

from tb_adam_plugin import schema

from ...optimizer_state.coefficients import COEFFICIENTS
from ..row_value_table import NAMES, OVER_ALL

TILE = 512
TILES = 64
CHUNK = TILE * TILES
# One element of a tile for each thread. The sums of a lane stay in registers from tile to tile:
# with two elements a thread, which is 8 warps, up to 191 registers, so that a multiprocessor has
# room for one block of 8 warps; with one element up to 120, and the one block has 16. More than 128
# would spill.
WARPS = TILE // 32
MOST_REGISTERS = 65_536 // (32 * WARPS)
# What is only added up needs few registers, and reads four neighbours at a time.
WHOLE_TILE = 2048
WHOLE_CHUNK = WHOLE_TILE * 32
WHOLE_WARPS = 8

# Rows of the table of a step, int64 [len(TABLE), parameters]. Addresses of tensors in the order of
# the parameter's memory, 0 for none, where those before the step have only what is read; then in
# what type they are stored; then the shape: elements that are read, the first of each parameter's
# chunks, its rows along the first dimension. For one that is sampled the first of its lines, else
# -1, where the squares of its rows of ROW elements go, all of its elements and the first of their
# chunks.
TABLE = (
    "weight", "before", "gradient", "exp_avg", "exp_avg_sq", "exp_avg_before", "exp_avg_sq_before",
    "step",
    "weight_kind", "gradient_kind", "exp_avg_kind", "exp_avg_sq_kind",
    "elements", "first_chunk", "row_stride", "rows", "first_row",
    "first_line", "first_square", "whole", "first_whole_chunk",
)  # fmt: skip
# Rows of its numbers, float32 [len(NUMBERS), parameters].
NUMBERS = (*COEFFICIENTS, "smallest_normal")
FLOAT32, BFLOAT16, FLOAT16 = 0, 1, 2
# Several types among the parameters: each program looks up its own.
MIXED = 3
VALUES = len(NAMES)
# What is added up over all elements of a parameter that is sampled, in the order of the results.
TOTALS = tuple(OVER_ALL)
COUNTS = schema.BINS + len(schema.SPECIAL)
