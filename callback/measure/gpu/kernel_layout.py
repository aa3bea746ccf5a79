"""How the work of a kernel is cut up, and what is in the tables that it gets: plain numbers."""

from __future__ import annotations

from tb_adam_plugin import schema

from ...optimizer_state.coefficients import COEFFICIENTS
from ..row_value_table import NAMES

TILE = 512
TILES = 64
CHUNK = TILE * TILES
WARPS = 8

# Rows of the table of a step, int64 [len(TABLE), parameters]. Addresses of tensors in the order of
# the parameter's memory, 0 for none; then in what type they are stored; then the shape.
TABLE = (
    "weight", "before", "gradient", "exp_avg", "exp_avg_sq", "exp_avg_before", "exp_avg_sq_before",
    "step",
    "weight_kind", "gradient_kind", "exp_avg_kind", "exp_avg_sq_kind",
    "elements", "first_chunk", "row_stride", "rows", "first_row",
)  # fmt: skip
# Rows of its numbers, float32 [len(NUMBERS), parameters].
NUMBERS = (*COEFFICIENTS, "smallest_normal")
FLOAT32, BFLOAT16, FLOAT16 = 0, 1, 2
# Several types among the parameters: each program looks up its own.
MIXED = 3
VALUES = len(NAMES)
COUNTS = schema.BINS + len(schema.SPECIAL)
