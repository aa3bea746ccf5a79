"""Launches the kernels for a table of tensors, and copies their results to the host."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tb_adam_plugin import schema

from ...memory.to_host import copy_to_host
from ...optimizer_state.base import OptimizerState
from ...optimizer_state.coefficients import COEFFICIENTS
from . import kernel_layout
from .step_memory import Results
from .tensor_table import TensorTable


class Kernels(NamedTuple):
    """The kernels to launch: see :mod:`.kernels` and :mod:`.kernel_totals`.

    Attributes:
        keep: Runs before a step.
        reduce: Runs after a step.
        totals: Runs before and after.
        written: Names of the row values that ``reduce`` writes.
    """

    keep: Any
    reduce: Any
    totals: Any
    written: AbstractSet[str]

    @staticmethod
    def loaded() -> Kernels:
        """Import the kernels, which requires Triton."""
        main = importlib.import_module(f"{__package__}.kernels")
        totals = importlib.import_module(f"{__package__}.kernel_totals")
        return Kernels(main.keep, main.reduce, totals.totals, main.WRITTEN)


class Launches:
    """The launches of one step, for any number of tensors.

    Attributes:
        written: Names of the computed row values.
    """

    def __init__(
        self,
        kernels: Kernels,
        table: TensorTable,
        state: OptimizerState,
        quantities: Sequence[schema.Quantity],
    ) -> None:
        """Lay out the results.

        Args:
            kernels: The kernels to launch.
            table: The table of tensors.
            state: The optimizer's adapter.
            quantities: Quantities to make histograms of.
        """
        self._kernels = kernels
        self._table = table
        self._state = state
        self._quantities = quantities
        self._results = Results(
            table.parameters,
            table.chunks,
            table.sampled.chunks,
            table.sampled.rows,
            int(table.rows.sum()),
            len(quantities),
        )
        self.written = kernels.written

    def before_step(self) -> None:
        """Make the copies that the table asks for, and sum the sampled weights."""
        table = self._table
        sent, _ = table.send()
        self._kernels.keep[(table.chunks,)](
            table.chunk_parameter,
            sent,
            table.sampled.lines,
            table.parameters,
            SAMPLED=table.sampled.chunks > 0,
            num_warps=kernel_layout.WARPS,
        )
        self._add_up_sampled(sent, is_before=True)

    def after_step(
        self, with_histograms: bool, compared: Collection[str]
    ) -> dict[str, npt.NDArray[Any]]:
        """Reduce the tensors of the table; wait, and return the results by name.

        Args:
            with_histograms: Whether to count histograms.
            compared: Moments that were copied before the step.
        """
        table, parts = self._table, self._results.on_device(self._table.device)
        self._results.clear()
        sent, numbers = table.send()
        self._kernels.reduce[(table.chunks,)](
            table.chunk_parameter,
            sent,
            table.sampled.lines,
            numbers,
            parts["values"],
            parts["squares"],
            parts["counts"],
            parts["alive"],
            parts["steps"],
            table.parameters,
            table.chunks,
            **self._settings(with_histograms, compared),
            num_warps=kernel_layout.WARPS,
        )
        self._add_up_sampled(sent, is_before=False)
        return self._results.arrays(copy_to_host(self._results.packed(with_histograms)))

    def sums_before_step(self) -> npt.NDArray[np.float32]:
        """Return Σb² of the chunks of sampled weights. Waits for the device."""
        self._results.on_device(self._table.device)
        arrived = self._results.arrays(copy_to_host(self._results.packed(False)))
        sums: npt.NDArray[np.float32] = arrived["totals"][kernel_layout.TOTALS.index("before")]
        return sums

    def _add_up_sampled(self, sent: Tensor, is_before: bool) -> None:
        """Sum over all elements of the sampled parameters, if any.

        Args:
            sent: The table, on the device.
            is_before: Whether this is before the step.
        """
        sampled = self._table.sampled
        if not sampled.chunks:
            return
        parts = self._results.on_device(self._table.device)
        read = ("weight",) if is_before else ("gradient", "exp_avg", "exp_avg_sq")
        self._kernels.totals[(sampled.chunks,)](
            sampled.chunk_parameter,
            sent,
            parts["totals"],
            parts["alive"],
            self._table.parameters,
            sampled.chunks,
            IS_BEFORE=is_before,
            ALIGNED=self._table.is_aligned(*read),
            **self._tensors(),
            num_warps=kernel_layout.WHOLE_WARPS,
        )

    def _tensors(self) -> Mapping[str, Any]:
        """Compile-time settings shared by the two kernels that read the state."""
        table = self._table
        return {
            "WEIGHT": table.kind("weight"),
            "GRADIENT": table.kind("gradient"),
            "EXP_AVG": table.kind("exp_avg"),
            "EXP_AVG_SQ": table.kind("exp_avg_sq"),
            "HAS_EXP_AVG": bool(table.row("exp_avg").any()),
            "HAS_EXP_AVG_SQ": bool(table.row("exp_avg_sq").any()),
            "SQUARES_EXP_AVG_SQ": self._state.exp_avg_sq_is_root,
        }

    def _settings(self, with_histograms: bool, compared: Collection[str]) -> dict[str, Any]:
        """Compile-time settings of the reducing kernel."""
        numbers = dict(zip(COEFFICIENTS, self._table.numbers, strict=False))
        counted = {quantity.name: i for i, quantity in enumerate(self._quantities)}
        if not with_histograms:
            counted = {}
        is_plain = (numbers["gradient_sign"] == 1) & (numbers["coupled_weight_decay"] == 0)
        return {
            **self._tensors(),
            "SAMPLED": self._table.sampled.chunks > 0,
            # Wanted moments that have no elements yet are zeros, and are compared as such.
            "HAS_EXP_AVG_BEFORE": "exp_avg" in compared,
            "HAS_EXP_AVG_SQ_BEFORE": "exp_avg_sq" in compared,
            "PLAIN_GRADIENT": bool(is_plain.all()),
            "HAS_WEIGHT_DECAY": bool((numbers["weight_decay"] != 0).any()),
            "KNOWS_UPDATE": self._state.update_is_known,
            "COUNT_EXP_AVG": counted.get("exp_avg", -1),
            "COUNT_EXP_AVG_SQ": counted.get("exp_avg_sq", -1),
            "COUNT_UPDATE": counted.get("update", -1),
            "COUNT_WEIGHT": counted.get("weight", -1),
            "COUNT_GRADIENT": counted.get("gradient", -1),
            "COUNT_NORMALIZED": counted.get("normalized_update", -1),
        }
