"""All elements of a device's parameters in one pass: how a GPU is measured.

In :mod:`..measurement` an operation of torch serves a block of rows, and on a GPU its launch costs
more than its work. Here a table of addresses, sizes and coefficients is sent to the device, and one
Triton kernel reads every tensor once, in its own type. A recorded step is then at most six launches
and copies, whatever the number of tensors: before the step the table, and the copy of the weights;
after it the table again, clearing the results, the kernel, and the copy to the host, which is all
that is waited for.

An optimizer fits whose update is the plain formula of :mod:`...optimizer_state.base` on plain
tensors. For any other one, and if Triton fails, :class:`SinglePass` says so and hands back what it
kept. Two things take more launches: a tensor that lies otherwise in memory than its weight is
copied first. And where the optimizer counts its steps on the device (``fused``, ``capturable``),
the coefficients are made with the expected counts; the kernel returns the true ones, and if they
differ, it runs once more.

Written without a GPU: tested in Triton's interpreter, compiled for several GPUs, never timed.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tb_adam_plugin import schema

from ...memory.to_host import copy_to_host
from ...optimizer_state.base import OptimizerState
from ...optimizer_state.coefficients import COEFFICIENTS, StepTable
from ...optimizer_state.group_settings import GroupSettings
from ...optimizer_state.parameter_state import ParameterState
from ...read.panel import Panel
from ..parameter_sums import Values, add_up
from ..reduced import Reduced
from ..row_value_table import NAMES, POSITION, TINY, ZEROS
from ..tensors import Sources, StepTensors, moments, present
from . import kernel_layout
from .tensor_table import KINDS, TensorTable, UnfitError, is_on_device

# A test adds "cpu", which Triton's interpreter runs on.
DEVICES = ("cuda",)

_MOST_ELEMENTS = 2**31 - 1  # the kernel computes in int32 within a tensor
_NUMPY = {torch.float32: np.float32, torch.int32: np.int32, torch.uint8: np.uint8}

_Result = TypeVar("_Result")


class SinglePass:
    """Keeps what a step changes, and measures it afterwards.

    Attributes:
        refusal: Why nothing is measured here any more, or None.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        state: OptimizerState,
        quantities: Sequence[schema.Quantity],
        kernels: ModuleType,
    ) -> None:
        """Lay out the chunks.

        Args:
            parameters: On one device, none of them float64.
            state: Of their optimizer.
            quantities: Those to make histograms of.
            kernels: :mod:`.kernels`.
        """
        self._state = state
        self._quantities = quantities
        self._kernels = kernels
        self._device = parameters[0].device
        self._table = TensorTable(parameters)
        self._results: Tensor | None = None
        self._known_steps: tuple[int, Values] | None = None
        self._weights: Sequence[Tensor] = ()
        self._moments: dict[str, list[Tensor | None]] = {}
        self.refusal: str | None = None

    @property
    def kept(self) -> tuple[Sequence[Tensor], Mapping[str, Sources]]:
        """Copies of the weights, and of the moments that were to be kept, by quantity."""
        return self._weights, self._moments

    def keep(self, weights: Sequence[Tensor], moments: Mapping[str, Sources]) -> bool:
        """Copy the weights, and some moments, as they are now; does not wait for the device.

        Args:
            weights: The parameters.
            moments: By "exp_avg" and "exp_avg_sq", one a parameter.

        Returns:
            Whether :meth:`reduce` can be asked about the step; if not, see :attr:`refusal`.
        """
        return self._contained(lambda: self._keep(weights, moments)) is not None

    def reduce(self, step: StepTensors) -> Reduced | None:
        """Measure the step since :meth:`keep`. Waits for the device once.

        Returns:
            None if the step has to be measured in another way, from what was :attr:`kept`;
            :attr:`refusal` says why.
        """
        return self._contained(lambda: self._reduce(step))

    def _contained(self, function: Callable[[], _Result]) -> _Result | None:
        """Return what a function does, or None, with a reason, if it cannot."""
        is_cuda = self._device.type == "cuda"
        try:
            with torch.cuda.device(self._device) if is_cuda else contextlib.nullcontext():
                return function()
        except UnfitError as reason:
            self.refusal = str(reason)
        except (MemoryError, torch.cuda.OutOfMemoryError):
            raise  # then less is read, and not here
        except Exception as error:
            self.refusal = f"{type(error).__name__}: {error}"
            logging.getLogger(__name__).warning(
                "Adam Debug: the Triton kernel failed and is left alone from now on (%s)",
                self.refusal,
            )
        return None

    def _keep(self, weights: Sequence[Tensor], moments: Mapping[str, Sources]) -> bool:
        if not self._state.follows_formula():
            raise UnfitError("the optimizer has a formula of its own")
        table = self._table
        table.clear()
        copied = [table.place("weight", weights)]
        self._weights = [table.memory_for("before", i, w) for i, w in enumerate(weights)]
        table.place("before", self._weights)
        self._moments = {}
        for quantity, sources in moments.items():
            placed = table.place(quantity, sources)
            copied.append(placed)
            target = f"{quantity}_before"
            self._moments[quantity] = [
                None if tensor is None else table.memory_for(target, i, tensor)
                for i, tensor in enumerate(placed)
            ]
            table.place(target, self._moments[quantity])
        sent, _ = table.send()
        self._kernels.keep[(table.chunks,)](
            table.chunk_parameter, sent, table.parameters, num_warps=kernel_layout.WARPS
        )
        return True

    def _reduce(self, step: StepTensors) -> Reduced:
        # Copies that had to be made live until the kernel has run.
        placed = self._place(step)
        counts = [0.0 if s is None else s.step for s in step.states]
        on_device = np.array([is_on_device(count) for count in counts])
        self._table.place_counts(counts)
        has_gradient = present(step.gradients)
        steps = self._expected_steps(counts, on_device, has_gradient, step.step)
        for _ in range(2):
            numbers = self._formula(step.groups, step.states, steps, step.stored.smallest_normal)
            values, histograms, read, alive = self._run(step.with_histograms)
            expected, steps = steps, np.where(on_device, read, steps)
            if np.array_equal(expected[on_device], steps[on_device]):
                break
        del placed
        self._known_steps = (step.step, steps)
        # Not known, where the kernel does not compute what torch's operations do.
        values[[POSITION[name] for name in NAMES if name not in self._kernels.WRITTEN]] = np.nan
        total = add_up(values, self._table.first_chunks)
        return Reduced(
            rows=values,
            first_rows=self._table.first_chunks,
            row_elements=self._table.chunk_elements,
            padding=self._table.padding,
            total=total,
            exact={},
            numbers=numbers,
            dead_row_fraction=self._dead_rows(alive, has_gradient),
            counts=self._with_zeros(histograms, total) if step.with_histograms else None,
        )

    def _place(self, step: StepTensors) -> list[list[Tensor | None]]:
        """Put the tensors of a step into the table; return what lies where it says."""
        states = [state for state in step.states if state is not None]
        if step.others or step.masks:
            raise UnfitError("the optimizer has further tensors")
        if any(is_on_device(number) for state in states for number in state.numbers.values()):
            raise UnfitError("the optimizer has further numbers on the device")
        table = self._table
        placed = [table.place("weight", step.weights), table.place("gradient", step.gradients)]
        for quantity in ("exp_avg", "exp_avg_sq"):
            now = table.place(quantity, moments(step.states, quantity))
            for kept, tensor in zip(self._moments.get(quantity, ()), now, strict=False):
                if kept is not None and (tensor is None or tensor.dtype != kept.dtype):
                    raise UnfitError("the step changed in what type the state is stored")
            placed.append(now)
        return placed

    def _expected_steps(
        self,
        counts: Sequence[Tensor | float],
        on_device: npt.NDArray[np.bool_],
        has_gradient: npt.NDArray[np.bool_],
        step: int,
    ) -> Values:
        """Return the step counts, guessed where the device would have to be waited for."""
        guess = np.full(len(counts), float(step))
        if self._known_steps is not None:
            last, known = self._known_steps
            guess = known + (step - last) * has_gradient
        on_host = [0.0 if is_on_device(count) else float(count) for count in counts]
        return np.where(on_device, guess, on_host)

    def _formula(
        self,
        groups: Sequence[GroupSettings],
        states: Sequence[ParameterState | None],
        steps: Values,
        smallest_normal: Values,
    ) -> Values:
        """Fill in the numbers; return the step counts and the coefficients."""
        found = self._state.coefficients(StepTable(groups, states, torch.from_numpy(steps)))
        columns = [getattr(found, name).numpy() for name in COEFFICIENTS]
        with np.errstate(over="ignore"):
            self._table.numbers[:] = [*columns, smallest_normal]
        constant = self._table.numbers[COEFFICIENTS.index("denominator_constant")]
        np.maximum(constant, np.float32(TINY), out=constant)
        return np.stack([steps, *columns])

    def _run(self, with_histograms: bool) -> list[npt.NDArray[Any]]:
        """Run the kernel; return row values, counts, step counts and which rows have a gradient."""
        table = self._table
        quantities = len(self._quantities) * with_histograms
        shapes: list[tuple[torch.dtype, tuple[int, ...]]] = [
            (torch.float32, (kernel_layout.VALUES, table.chunks)),
            (
                torch.int32,
                (quantities, table.parameters, kernel_layout.COUNTS),
            ),
            (torch.float32, (table.parameters,)),
            (torch.uint8, (int(table.rows.sum()),)),
        ]
        sizes = [math.prod(shape) * dtype.itemsize for dtype, shape in shapes]
        ends = list(itertools.accumulate(sizes, initial=0))
        if self._results is None or len(self._results) < ends[-1]:
            self._results = torch.empty(ends[-1], dtype=torch.uint8, device=self._device)
        memory = self._results[: ends[-1]].zero_()
        values, counts, steps, alive = (
            memory[start:end].view(dtype)
            for (dtype, _), (start, end) in zip(shapes, itertools.pairwise(ends), strict=True)
        )
        sent, numbers = table.send()
        self._kernels.reduce[(table.chunks,)](
            table.chunk_parameter,
            sent,
            numbers,
            values,
            counts,
            alive,
            steps,
            table.parameters,
            table.chunks,
            **self._settings(with_histograms),
            num_warps=kernel_layout.WARPS,
        )
        arrived = copy_to_host(memory)
        return [
            arrived[start:end].view(_NUMPY[dtype]).reshape(shape)
            for (dtype, shape), (start, end) in zip(shapes, itertools.pairwise(ends), strict=True)
        ]

    def _settings(self, with_histograms: bool) -> dict[str, Any]:
        """What the kernel is compiled for."""
        numbers = dict(zip(COEFFICIENTS, self._table.numbers, strict=False))
        has = {name: bool(self._table.row(name).any()) for name in kernel_layout.TABLE}
        counted = {quantity.name: i for i, quantity in enumerate(self._quantities)}
        if not with_histograms:
            counted = {}
        is_plain = (numbers["gradient_sign"] == 1) & (numbers["coupled_weight_decay"] == 0)
        return {
            "WEIGHT": self._table.kind("weight"),
            "GRADIENT": self._table.kind("gradient"),
            "EXP_AVG": self._table.kind("exp_avg"),
            "EXP_AVG_SQ": self._table.kind("exp_avg_sq"),
            "HAS_EXP_AVG": has["exp_avg"],
            "HAS_EXP_AVG_SQ": has["exp_avg_sq"],
            # Wanted ones without elements yet are zeros, and compared as such.
            "HAS_EXP_AVG_BEFORE": "exp_avg" in self._moments,
            "HAS_EXP_AVG_SQ_BEFORE": "exp_avg_sq" in self._moments,
            "SQUARES_EXP_AVG_SQ": self._state.exp_avg_sq_is_root,
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

    def _dead_rows(
        self, alive: npt.NDArray[np.uint8], has_gradient: npt.NDArray[np.bool_]
    ) -> Values:
        """Return the share of rows without gradient; see :class:`..dead_rows.DeadRows`."""
        rows = self._table.rows
        owners = np.repeat(np.arange(len(rows)), rows)
        found = np.bincount(owners[alive > 0], minlength=len(rows))
        known = has_gradient & (rows > 0)
        return np.where(known, 1 - found / np.maximum(rows, 1), np.nan)

    def _with_zeros(
        self, counts: npt.NDArray[np.int32], total: Mapping[str, Values]
    ) -> schema.SparseHistograms:
        """Complete the histograms; return them by parameter."""
        is_update_known = np.full(self._table.parameters, self._state.update_is_known)
        for q, quantity in enumerate(self._quantities):
            counts[q, :, schema.BINS] = total[ZEROS[quantity.name]] - self._table.padding
            if quantity.name in ("weight", "gradient", "exp_avg", "exp_avg_sq"):
                counts[q, self._table.row(quantity.name) == 0] = 0
            elif quantity.name == "normalized_update":
                counts[q, ~is_update_known] = 0
        return schema.SparseHistograms.of(counts.transpose(1, 0, 2))


def for_parameters(
    parameters: Sequence[Tensor],
    state: OptimizerState,
    panel: Panel,
    quantities: Sequence[schema.Quantity],
) -> SinglePass | None:
    """Return what measures some parameters of one device, or None if they are not for a kernel.

    Args:
        parameters: On one device.
        state: Of their optimizer.
        panel: What is read of them: this reads all of it.
        quantities: Those to make histograms of.
    """
    if parameters[0].device.type not in DEVICES or panel.sampled:
        return None
    if any(p.dtype not in KINDS or p.numel() > _MOST_ELEMENTS for p in parameters):
        return None
    try:
        kernels = importlib.import_module(f"{__package__}.kernels")
    except Exception as error:  # not installed, or not one that fits
        logging.getLogger(__name__).info("Adam Debug: no Triton kernel: %s", str(error))
        return None
    return SinglePass(parameters, state, quantities, kernels)
