"""Update-to-weight ratios of healthy trainings, by kind of tensor and optimizer family.

``benchmarks/healthy_ranges.py`` measures :data:`RANGES`. Rules, the tab and the command line use
them, and a test keeps docs/how-to-read.md in agreement.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from tb_adam_plugin.schema import Group, Parameter

from .over_time import median_of_all
from .recorded_run import RecordedRun, is_embedding

Kind = Literal["matrix", "embedding", "gain", "bias"]
Family = Literal["adaptive", "SGD"]
Range = tuple[float, float]

# From 851 healthy trainings: each tensor's median ratio after the first tenth of the steps, each
# training with the same weight. 5th to 95th percentile, the widest of three laboratories, rounded
# outwards to one digit. They are wide: a ratio within the range is not necessarily the best.
RANGES: Mapping[Family, Mapping[Kind, Range]] = {
    "adaptive": {
        "matrix": (2e-4, 4e-2),
        "embedding": (3e-4, 4e-2),
        "gain": (4e-5, 4e-3),
        "bias": (6e-4, 7e-2),
    },
    "SGD": {
        "matrix": (1e-4, 6e-2),
        "embedding": (8e-6, 2e-2),
        "gain": (1e-5, 4e-3),
        "bias": (8e-5, 0.1),
    },
}
_SGD = ("SGD", "ASGD", "Lars")
# Parts of a name that identify a vector as a gain, if the module is unknown.
_NORM_NAME = re.compile(r"(^|[._])(ln|bn|gn)(_?[a-z0-9])?([._]|$)|norm", re.IGNORECASE)
# Share of the records, at the end of a run, that are summarized.
_LAST_SHARE = 0.25


class TypicalRatio(NamedTuple):
    """How large the updates of one kind of tensors are at the end of a run.

    kind: The kind of tensors.
    ratio: Median over these of the median update-to-weight ratio over the last quarter of steps.
    healthy: The range of healthy trainings.
    """

    kind: Kind
    ratio: float
    healthy: Range


def kind_of(parameter: Parameter) -> Kind | None:
    """Return the kind of a tensor; None for a vector that is neither a gain nor a bias."""
    if is_embedding(parameter):
        return "embedding"
    if len(parameter.shape) >= 2:
        return "matrix"
    if is_gain(parameter):
        return "gain"
    return "bias" if "bias" in parameter.name.rsplit(".", 1)[-1] else None


def is_gain(parameter: Parameter) -> bool:
    """Whether a parameter multiplies the output of a normalization layer."""
    if len(parameter.shape) != 1 or parameter.name.rsplit(".", 1)[-1] in ("bias", "beta"):
        return False
    if parameter.module:
        return "norm" in parameter.module.lower()
    return _NORM_NAME.search(parameter.name) is not None


def family_of(group: Group) -> Family:
    """Return the family that a group's optimizer belongs to."""
    return "SGD" if group.optimizer in _SGD else "adaptive"


def ranges_of(group: Group) -> Mapping[Kind, Range]:
    """Return the healthy ranges of a group's optimizer, by kind of tensor."""
    return RANGES[family_of(group)]


def healthy_matrices(run: RecordedRun) -> Range:
    """Return the range for a run's matrices, by the optimizer of most of them."""
    return ranges_of(run.groups[run.main_group])["matrix"]


def typical_ratios(run: RecordedRun) -> tuple[TypicalRatio, ...]:
    """Summarize the update-to-weight ratios at the end of a run, by kind.

    Tensors that do not move, or whose ratio is unknown, are left out, and so are kinds without any
    other.
    """
    ratios = run.statistics.get("update_to_weight_ratio")
    if ratios is None or not run.step.size:
        return ()
    last = np.asarray(ratios[run.step > run.step[-1] * (1 - _LAST_SHARE)], np.float64)
    found: dict[tuple[Kind, Range], list[float]] = {}
    for parameter, values in zip(run.parameters, last.T, strict=True):
        kind = kind_of(parameter)
        known = values[np.isfinite(values) & (values > 0)]
        if kind and known.size:
            healthy = ranges_of(run.groups[parameter.group])[kind]
            found.setdefault((kind, healthy), []).append(median_of_all(known))
    return tuple(
        TypicalRatio(kind, median_of_all(np.array(medians)), healthy)
        for (kind, healthy), medians in found.items()
    )
