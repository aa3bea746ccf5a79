"""How a kernel's work is divided, and the layout of the tables passed to it: plain numbers."""

from __future__ import annotations

from tb_adam_plugin import schema

from ...optimizer_state.coefficients import COEFFICIENTS
from ..row_value_table import NAMES, OVER_ALL

TILE = 512
TILES = 64
CHUNK = TILE * TILES
# One element of a tile per thread. The sums of a lane stay in registers from tile to tile: up to
# 191 with two elements per thread (8 warps), so a multiprocessor has room for one block of 8 warps;
# up to 120 with one element, and the one block has 16 warps. More than 128 would spill.
WARPS = TILE // 32
MOST_REGISTERS = 65_536 // (32 * WARPS)
# Sums alone need few registers; each thread reads four neighbours at a time.
WHOLE_TILE = 2048
WHOLE_CHUNK = WHOLE_TILE * 32
WHOLE_WARPS = 8

# Rows of a step's table, int64 [len(TABLE), parameters]. First the addresses of tensors in the
# parameter's memory order, 0 for none; tensors from before the step hold only the elements that are
# read. Then the types they are stored in. Then the shape: number of elements read, the parameter's
# first chunk, its rows along the first dimension. For a sampled parameter, the first of its lines
# (else -1), where the squares of its rows of ROW elements go, its number of elements and the first
# of their chunks.
TABLE = (
    "weight", "before", "gradient", "exp_avg", "exp_avg_sq", "exp_avg_before", "exp_avg_sq_before",
    "step",
    "weight_kind", "gradient_kind", "exp_avg_kind", "exp_avg_sq_kind",
    "elements", "first_chunk", "row_stride", "rows", "first_row",
    "first_line", "first_square", "whole", "first_whole_chunk",
)  # fmt: skip
# Rows of the table's numbers, float32 [len(NUMBERS), parameters].
NUMBERS = (*COEFFICIENTS, "smallest_normal")
FLOAT32, BFLOAT16, FLOAT16 = 0, 1, 2
# The parameters have several types: each program looks up its own.
MIXED = 3
VALUES = len(NAMES)
# The sums over all elements of a sampled parameter, in the order of the results.
TOTALS = tuple(OVER_ALL)
COUNTS = schema.BINS + len(schema.SPECIAL)
