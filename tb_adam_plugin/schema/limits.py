"""How many names one run may have of what the user names.

The callback stops at these numbers or warns of them, and readers show no more, so that a name that
changes at every step neither fills a disk nor makes an answer too large to send.
"""

from __future__ import annotations

from tb_adam_plugin.schema.columns import (
    LOSS,
    OPTIONAL_STEP_COLUMNS,
    STEP_COLUMNS,
    SURROGATE_LOSS,
)

# Scalars that the user records at every step. The rows of all steps are a table with a column for
# each of them, however seldom it is given; nobody looks at 200 curves one by one.
MOST_SCALARS = 200
# Characters of one name: all names are written once more with each new one.
LONGEST_SCALAR_NAME = 200
# Sets of parameters with their names, shapes and types. Unfreezing a model layer by layer makes one
# for each layer; models that differ at every record make one a record.
MOST_LAYOUTS = 100

# Columns that a limit never leaves out: ours, and those of the user's that the rules read.
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
