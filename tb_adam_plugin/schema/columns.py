"""Names of columns, and the content of a histograms tag."""

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
            FormatError: If it contains no names.
        """
        names = read_content(content).get("columns")
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise FormatError("the content has no columns")
        return Columns(tuple(names))


@functools.lru_cache(maxsize=8)  # a record uses two of them, the same ones each time
def _described(names: tuple[str, ...]) -> tuple[bytes, str]:
    """Content and id of some columns."""
    content = canonical({"version": VERSION, "columns": list(names)})
    return content, short_hash(content)


HYPERPARAMETERS = Columns(("lr", "beta1", "beta2", "eps", "weight_decay"))

# One row for every optimizer step. Scalars that the user records follow these columns by name.
#   wall_time              seconds since the epoch, at the end of the step
#   gradient_norm          L2 norm over all parameters, 0 if none has a gradient; NaN if disabled
#   lr                     of the first parameter group, as used by this step
#   callback_milliseconds  the callback's time for this step, including writing the previous step
#   dropped_records        records dropped so far because the disk did not keep up
#   skipped_steps          steps so far that a gradient scaler made the optimizer skip
#   every_n_steps          interval between records, which max_overhead may have lengthened
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
# Names of user scalars that the rules interpret. A surrogate loss, such as that of PPO or of one
# side of a GAN, does not measure the progress of training.
LOSS = "loss"
SURROGATE_LOSS = "surrogate_loss"
# Columns that only exist if there is something to record, among the user's.
#   gain_ratio             change of the loss on the same batch over Σ g·Δw, at recorded steps
#   stale_gradient_ratio   norm of what .grad still held over that of the new gradient, for one
#                          parameter; the smallest since the previous step
#   leftover_gradient_ratio
#                          the same for what the backward pass of another optimizer's loss left, if
#                          gradients are accumulated; 0 if there was nothing
#   gradient_rescaling     for the same parameter, at recorded steps: norm of the gradient used over
#                          that left by backward, i.e. the effect of clipping and unscaling
# loss_is_nan            in runs that have had one: 1 if a recorded loss, surrogate or not, is NaN,
#                          0 if none is, NaN if no loss is recorded
#   saved_batch            in runs that have saved one: the step whose batch was saved at this one,
#                          in the file :func:`.folders.batch_file`; else NaN
#   wanted_every_n_steps   every_n_steps without max_overhead
#   max_overhead           largest share of the training time that recording may take
#   gradient_norm_every_n_steps
#                          gradient_norm is known at multiples of this and at records
#   expected_total_steps   how many steps the run will take, as given by the user
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
# Columns that are not curves of the training: the axes, the norm, which has its own curve, and the
# callback's data about itself.
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
    """Identifies the parameters of a histograms tag, for readers that see no layout."""

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
