"""How many user-chosen names a run may have.

The callback stops at these numbers or warns about them, and readers show no more. So a name that
changes at every step neither fills a disk nor makes an answer too large to send.
"""

from __future__ import annotations

from tb_adam_plugin.schema.columns import (
    LOSS,
    OPTIONAL_STEP_COLUMNS,
    STEP_COLUMNS,
    SURROGATE_LOSS,
)

# Scalars that the user records at every step. The rows of all steps form a table with a column for
# each of them, even if it is rarely recorded; 200 curves are too many to look at.
MOST_SCALARS = 200
# Characters per name: all names are written again with each new one.
LONGEST_SCALAR_NAME = 200
# Sets of parameters with their names, shapes and types. Unfreezing a model layer by layer creates
# one per layer; a model that differs at every record creates one per record.
MOST_LAYOUTS = 100

# Columns that a limit never removes: ours, and the user's columns that the rules read.
LASTING_COLUMNS = frozenset(
    (
        *STEP_COLUMNS,
        *OPTIONAL_STEP_COLUMNS,
        LOSS,
        SURROGATE_LOSS,
        "gradient_norm_before_clip",
        "loss_scale",
    )
)
