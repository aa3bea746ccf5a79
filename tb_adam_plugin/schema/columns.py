"""Names of columns, and of what a histograms tag holds."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from tb_adam_plugin.schema.content import VERSION, FormatError, canonical, read_content, short_hash


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of a matrix's columns."""

    names: tuple[str, ...]

    def content(self) -> bytes:
        """Return the names as canonical JSON."""
        return _described(self.names)[0]

    @property
    def id(self) -> str:
        """A hash of the content."""
        return _described(self.names)[1]

    @staticmethod
    def from_content(content: bytes) -> Columns:
        """Read the names from the content of a tag.

        Raises:
            NewerVersionError: If a newer version wrote it.
            FormatError: If there are no names in it.
        """
        names = read_content(content).get("columns")
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise FormatError("the content has no columns")
        return Columns(tuple(names))


@functools.lru_cache(maxsize=8)  # a record has two of them, the same ones each time
def _described(names: tuple[str, ...]) -> tuple[bytes, str]:
    """Content and id of some columns."""
    content = canonical({"version": VERSION, "columns": list(names)})
    return content, short_hash(content)


HYPERPARAMETERS = Columns(("lr", "beta1", "beta2", "eps", "weight_decay"))

# One row for every optimizer step. Scalars that the user records follow these columns by name.
#   wall_time              seconds since the epoch, at the end of the step
#   gradient_norm          L2 norm over all parameters, 0 where none has a gradient; NaN when
#                          switched off
#   lr                     of the first parameter group, as this step used it
#   callback_milliseconds  what the callback cost this step, the writing of the step before included
#   dropped_records        records given up so far because the disk did not keep up
#   skipped_steps          steps so far that a gradient scaler made the optimizer leave out
#   every_n_steps          interval of the records, which max_overhead may have lengthened
STEP_COLUMNS = (
    "step",
    "wall_time",
    "gradient_norm",
    "lr",
    "callback_milliseconds",
    "dropped_records",
    "skipped_steps",
    "every_n_steps",
)
# Names that users give to what they record, and that mean something to the rules. A surrogate loss
# is no measure of how far training has come: that of PPO, say, or of one half of a GAN.
LOSS = "loss"
SURROGATE_LOSS = "surrogate_loss"
# Columns that are there where there is something to record, among the user's.
#   gain_ratio             change of the loss on the same batch over Σ g·Δw, at recorded steps
#   stale_gradient_ratio   norm of what .grad still held over that of the gradient that came, of one
#                          parameter; the smallest since the step before
#   leftover_gradient_ratio
#                          of the same parameter, where gradients are added up: the same of what the
#                          backward pass of another optimizer's loss left; 0 where nothing was
#   gradient_rescaling     of the same parameter, at recorded steps: norm of the gradient that was
#                          used over that of what backward left: what clipping and unscaling did
#   loss_is_nan            in runs that have had one: 1 where a recorded loss is NaN, be it a
#                          surrogate, 0 where none is, NaN where there is none
#   saved_batch            in runs that have saved one: the step whose batch was saved at this one,
#                          in the file :func:`.folders.batch_file`; else NaN
#   wanted_every_n_steps   what every_n_steps would be without max_overhead
#   max_overhead           largest share of the training time that recording may take
#   gradient_norm_every_n_steps
#                          where gradient_norm is known at multiples of this and at records alone
#   expected_total_steps   how many steps the run will have, as the user said
OPTIONAL_STEP_COLUMNS = (
    "gain_ratio",
    "stale_gradient_ratio",
    "leftover_gradient_ratio",
    "gradient_rescaling",
    "loss_is_nan",
    "saved_batch",
    "wanted_every_n_steps",
    "max_overhead",
    "gradient_norm_every_n_steps",
    "expected_total_steps",
)
# Columns that are no curve of the training: what rows are placed by, the norm, which has a curve of
# its own, and what the callback says of itself.
UNCHARTED_STEP_COLUMNS = (
    "step",
    "wall_time",
    "gradient_norm",
    "callback_milliseconds",
    "dropped_records",
    "every_n_steps",
    "loss_is_nan",
    "saved_batch",
    "wanted_every_n_steps",
    "max_overhead",
    "gradient_norm_every_n_steps",
    "expected_total_steps",
)


@dataclass(frozen=True, slots=True)
class HistogramSource:
    """Which parameters a histograms tag belongs to, for readers that see no layout."""

    parameters: tuple[str, ...]
    quantities: tuple[str, ...]

    def content(self) -> bytes:
        """Return the fields as canonical JSON."""
        return canonical(
            {
                "version": VERSION,
                "parameters": list(self.parameters),
                "quantities": list(self.quantities),
            }
        )
