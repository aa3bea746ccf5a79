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
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tb_adam_plugin import schema

from ...memory.to_host import copy_to_host, to_device
from ...optimizer_state.base import OptimizerState
from ...optimizer_state.coefficients import COEFFICIENTS, StepTable
from ...optimizer_state.group_settings import GroupSettings
from ...optimizer_state.parameter_state import ParameterState, Source
from ...read.norms import has_no_gaps
from ...read.panel import Panel
from .. import row_values

# A test adds "cpu", which Triton's interpreter runs on.
DEVICES = ("cuda",)

_MOST_ELEMENTS = 2**31 - 1  # the kernel computes in int32 within a tensor
_NUMPY = {torch.float32: np.float32, torch.int32: np.int32, torch.uint8: np.uint8}
_KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}

Values = npt.NDArray[np.float64]
Sources = Sequence[Source | None]
_Result = TypeVar("_Result")


class Reduced(NamedTuple):
    """What of ``K`` parameters is on the host after a step, whoever has reduced it.

    Attributes:
        rows: ``[len(row_values.ROW_VALUES), rows]``. A row is whatever part of a parameter.
        first_rows: Index of each parameter's first row, int64 ``[K]``.
        row_elements: Elements of each row that are no padding, int64 ``[rows]``.
        padding: How many elements of the parameter's rows are none of its own, int64 ``[K]``.
        total: From :func:`..row_values.add_up`.
        exact: Sums over all elements of the parameters that are sampled, by row value.
        numbers: Step counts, then the coefficients, float64 ``[1 + len(COEFFICIENTS), K]``.
        dead_row_fraction: See :class:`..row_values.ParameterSums`, ``[K]``.
        counts: Of all quantities, or None.
    """

    rows: npt.NDArray[np.floating[Any]]
    first_rows: npt.NDArray[np.int64]
    row_elements: npt.NDArray[np.int64]
    padding: npt.NDArray[np.int64]
    total: Mapping[str, Values]
    exact: Mapping[str, Values]
    numbers: Values
    dead_row_fraction: Values
    counts: schema.SparseHistograms | None


class _UnfitError(Exception):
    """A step is not for the kernel."""


class SinglePass:
    """Keeps what a step changes, and measures it afterwards.

    Attributes:
        weights: As they were at the last :meth:`keep`, one a parameter.
        moments: Likewise those that were to be kept, by quantity.
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
        self._parameters = len(parameters)
        self._shapes = [parameter.shape for parameter in parameters]
        self._state = state
        self._quantities = quantities
        self._kernels = kernels
        self._device = parameters[0].device
        # Strides of a tensor that can be gone through in the order of memory.
        self._strides = [
            p.stride() if has_no_gaps(p) else torch.empty(p.shape, device="meta").stride()
            for p in parameters
        ]
        elements = np.array([p.numel() for p in parameters], np.int64)
        chunks = np.maximum(1, -(-elements // kernels.CHUNK))
        self._first_chunks = np.cumsum(chunks) - chunks
        self._chunks = int(chunks.sum())
        owners = np.repeat(np.arange(len(parameters), dtype=np.int32), chunks)
        self._chunk_parameter = torch.from_numpy(owners).to(self._device)
        position = np.arange(self._chunks) - self._first_chunks[owners]
        left = elements[owners] - position * kernels.CHUNK
        self._chunk_elements = np.clip(left, 0, kernels.CHUNK)
        # Zeros that the last tile of a chunk reads beyond its end.
        self._padding = np.add.reduceat(-self._chunk_elements % kernels.TILE, self._first_chunks)
        has_rows = [p.dim() > 1 and p.numel() > 0 for p in parameters]
        rows = [len(p) if has else 0 for p, has in zip(parameters, has_rows, strict=True)]
        self._rows = np.array(rows, np.int64)
        self._first_rows = np.cumsum(self._rows) - self._rows
        self._table = np.zeros((len(kernels.TABLE), len(parameters)), np.int64)
        self._numbers = np.zeros((len(kernels.NUMBERS), len(parameters)), np.float32)
        for name, values in (
            ("elements", elements),
            ("first_chunk", self._first_chunks),
            ("rows", self._rows),
            ("first_row", self._first_rows),
            (
                "row_stride",
                [s[0] if has else 1 for s, has in zip(self._strides, has_rows, strict=True)],
            ),
        ):
            self._row(name)[:] = values
        self._results: Tensor | None = None
        self._memory: dict[tuple[str, int], Tensor] = {}
        self._known_steps: tuple[int, Values] | None = None
        self.weights: Sequence[Tensor] = ()
        self.moments: dict[str, list[Tensor | None]] = {}
        self.refusal: str | None = None

    def keep(self, weights: Sequence[Tensor], moments: Mapping[str, Sources]) -> bool:
        """Copy the weights, and some moments, as they are now; does not wait for the device.

        Args:
            weights: The parameters.
            moments: By "exp_avg" and "exp_avg_sq", one a parameter.

        Returns:
            Whether :meth:`reduce` can be asked about the step; if not, see :attr:`refusal`.
        """
        return self._contained(lambda: self._keep(weights, moments)) is not None

    def reduce(
        self,
        weights: Sequence[Tensor],
        gradients: Sources,
        states: Sequence[ParameterState | None],
        groups: Sequence[GroupSettings],
        smallest_normal: Values,
        others: Sequence[str],
        with_histograms: bool,
        step: int,
    ) -> Reduced | None:
        """Measure the step since :meth:`keep`. Waits for the device once.

        Args:
            weights: The parameters.
            gradients: As the step consumed them, one a parameter.
            states: Of the parameters, after the step.
            groups: Of each parameter.
            smallest_normal: See :class:`...optimizer_state.storage.StoredState`.
            others: Keys of further state tensors that have histograms, too.
            with_histograms: Whether to count them.
            step: Number of the step.

        Returns:
            None if the step has to be measured in another way, from :attr:`weights` and
            :attr:`moments`; :attr:`refusal` says why.
        """
        return self._contained(
            lambda: self._reduce(
                weights, gradients, states, groups, smallest_normal, others, with_histograms, step
            )
        )

    def _contained(self, function: Callable[[], _Result]) -> _Result | None:
        """Return what a function does, or None, with a reason, if it cannot."""
        is_cuda = self._device.type == "cuda"
        try:
            with torch.cuda.device(self._device) if is_cuda else contextlib.nullcontext():
                return function()
        except _UnfitError as reason:
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
            raise _UnfitError("the optimizer has a formula of its own")
        self._table[: self._kernels.TABLE.index("elements")] = 0
        copied = [self._place("weight", weights)]
        self.weights = [self._memory_for("before", i, w) for i, w in enumerate(weights)]
        self._place("before", self.weights)
        self.moments = {}
        for quantity, sources in moments.items():
            placed = self._place(quantity, sources)
            copied.append(placed)
            target = f"{quantity}_before"
            self.moments[quantity] = [
                None if tensor is None else self._memory_for(target, i, tensor)
                for i, tensor in enumerate(placed)
            ]
            self._place(target, self.moments[quantity])
        table, _ = self._send()
        self._kernels.keep[(self._chunks,)](
            self._chunk_parameter, table, self._parameters, num_warps=self._kernels.WARPS
        )
        return True

    def _reduce(
        self,
        weights: Sequence[Tensor],
        gradients: Sources,
        states: Sequence[ParameterState | None],
        groups: Sequence[GroupSettings],
        smallest_normal: Values,
        others: Sequence[str],
        with_histograms: bool,
        step: int,
    ) -> Reduced:
        known = [state for state in states if state is not None]
        if others or any(state.masks for state in known):
            raise _UnfitError("the optimizer has further tensors")
        if any(_is_on_device(number) for state in known for number in state.numbers.values()):
            raise _UnfitError("the optimizer has further numbers on the device")
        # Copies that had to be made live until the kernel has run.
        placed = [self._place("weight", weights), self._place("gradient", gradients)]
        for quantity in ("exp_avg", "exp_avg_sq"):
            now = self._place(
                quantity, [None if s is None else getattr(s, quantity) for s in states]
            )
            for kept, tensor in zip(self.moments.get(quantity, ()), now, strict=False):
                if kept is not None and (tensor is None or tensor.dtype != kept.dtype):
                    raise _UnfitError("the step changed in what type the state is stored")
            placed.append(now)
        counts = [0.0 if s is None else s.step for s in states]
        on_device = np.array([_is_on_device(count) for count in counts])
        self._row("step")[:] = [self._address_of_count(count) for count in counts]
        has_gradient = np.array([gradient is not None for gradient in gradients])
        steps = self._expected_steps(counts, on_device, has_gradient, step)
        for _ in range(2):
            numbers = self._formula(groups, states, steps, smallest_normal)
            values, histograms, read, alive = self._run(with_histograms)
            expected, steps = steps, np.where(on_device, read, steps)
            if np.array_equal(expected[on_device], steps[on_device]):
                break
        self._known_steps = (step, steps)
        total = row_values.add_up(values, self._first_chunks)
        return Reduced(
            rows=values,
            first_rows=self._first_chunks,
            row_elements=self._chunk_elements,
            padding=self._padding,
            total=total,
            exact={},
            numbers=numbers,
            dead_row_fraction=self._dead_rows(alive, has_gradient),
            counts=self._with_zeros(histograms, total) if with_histograms else None,
        )

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
        on_host = [0.0 if _is_on_device(count) else float(count) for count in counts]
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
            self._numbers[:] = [*columns, smallest_normal]
        constant = self._numbers[COEFFICIENTS.index("denominator_constant")]
        np.maximum(constant, np.float32(row_values.TINY), out=constant)
        return np.stack([steps, *columns])

    def _run(self, with_histograms: bool) -> list[npt.NDArray[Any]]:
        """Run the kernel; return row values, counts, step counts and which rows have a gradient."""
        kernels, parameters = self._kernels, self._parameters
        shapes: list[tuple[torch.dtype, tuple[int, ...]]] = [
            (torch.float32, (kernels.VALUES, self._chunks)),
            (torch.int32, (len(self._quantities) * with_histograms, parameters, kernels.COUNTS)),
            (torch.float32, (parameters,)),
            (torch.uint8, (int(self._rows.sum()),)),
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
        table, numbers = self._send()
        kernels.reduce[(self._chunks,)](
            self._chunk_parameter,
            table,
            numbers,
            values,
            counts,
            alive,
            steps,
            parameters,
            self._chunks,
            **self._settings(with_histograms),
            num_warps=kernels.WARPS,
        )
        arrived = copy_to_host(memory)
        return [
            arrived[start:end].view(_NUMPY[dtype]).reshape(shape)
            for (dtype, shape), (start, end) in zip(shapes, itertools.pairwise(ends), strict=True)
        ]

    def _settings(self, with_histograms: bool) -> dict[str, Any]:
        """What the kernel is compiled for."""
        numbers = dict(zip(COEFFICIENTS, self._numbers, strict=False))
        has = {name: bool(self._row(name).any()) for name in self._kernels.TABLE}
        counted = {quantity.name: i for i, quantity in enumerate(self._quantities)}
        if not with_histograms:
            counted = {}
        is_plain = (numbers["gradient_sign"] == 1) & (numbers["coupled_weight_decay"] == 0)
        return {
            "WEIGHT": self._kind("weight"),
            "GRADIENT": self._kind("gradient"),
            "EXP_AVG": self._kind("exp_avg"),
            "EXP_AVG_SQ": self._kind("exp_avg_sq"),
            "HAS_EXP_AVG": has["exp_avg"],
            "HAS_EXP_AVG_SQ": has["exp_avg_sq"],
            # Wanted ones of which none has elements yet are zeros, and compared as such.
            "HAS_EXP_AVG_BEFORE": "exp_avg" in self.moments,
            "HAS_EXP_AVG_SQ_BEFORE": "exp_avg_sq" in self.moments,
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

    def _kind(self, name: str) -> int:
        """In what type all tensors of a name are stored, or that they differ."""
        kinds = set(self._row(f"{name}_kind")[self._row(name) != 0].tolist())
        kind: int = self._kernels.FLOAT32 if not kinds else self._kernels.MIXED
        return kinds.pop() if len(kinds) == 1 else kind

    def _dead_rows(
        self, alive: npt.NDArray[np.uint8], has_gradient: npt.NDArray[np.bool_]
    ) -> Values:
        """Return the share of rows without gradient; see :class:`..dead_rows.DeadRows`."""
        owners = np.repeat(np.arange(len(self._rows)), self._rows)
        found = np.bincount(owners[alive > 0], minlength=len(self._rows))
        known = has_gradient & (self._rows > 0)
        return np.where(known, 1 - found / np.maximum(self._rows, 1), np.nan)

    def _with_zeros(
        self, counts: npt.NDArray[np.int32], total: Mapping[str, Values]
    ) -> schema.SparseHistograms:
        """Complete the histograms; return them by parameter."""
        is_update_known = np.full(len(self._shapes), self._state.update_is_known)
        for q, quantity in enumerate(self._quantities):
            counts[q, :, schema.BINS] = total[row_values.ZEROS[quantity.name]] - self._padding
            if quantity.name in ("weight", "gradient", "exp_avg", "exp_avg_sq"):
                counts[q, self._row(quantity.name) == 0] = 0
            elif quantity.name == "normalized_update":
                counts[q, ~is_update_known] = 0
        return schema.SparseHistograms.of(counts.transpose(1, 0, 2))

    def _place(self, name: str, sources: Sources) -> list[Tensor | None]:
        """Put the addresses of some tensors into the table; return what has them."""
        tensors = [
            None if source is None else self._in_order(name, i, source)
            for i, source in enumerate(sources)
        ]
        self._row(name)[:] = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
        if f"{name}_kind" in self._kernels.TABLE:
            kinds = [0 if tensor is None else _KINDS[tensor.dtype] for tensor in tensors]
            self._row(f"{name}_kind")[:] = kinds
        return tensors

    def _in_order(self, name: str, index: int, source: Source) -> Tensor:
        """Return a tensor whose elements lie in the order in which its parameter is read."""
        if not isinstance(source, Tensor) or type(source) not in (Tensor, nn.Parameter):
            raise _UnfitError("a tensor is made on demand, or of a class of its own")
        if source.layout != torch.strided or source.dtype not in _KINDS:
            raise _UnfitError(f"a tensor is {source.layout} of {source.dtype}")
        if source.device != self._device or source.shape != self._shapes[index]:
            raise _UnfitError("a tensor is not where its parameter is, or of another shape")
        strides = self._strides[index]
        if source.stride() == strides:
            return source
        return self._memory_for(f"{name} in order", index, source).copy_(source)

    def _memory_for(self, name: str, index: int, like: Tensor) -> Tensor:
        """Return memory for the elements of a tensor; the same one at every step."""
        memory = self._memory.get((name, index))
        if memory is None or memory.dtype != like.dtype:
            memory = torch.empty_strided(
                like.shape, self._strides[index], dtype=like.dtype, device=self._device
            )
            self._memory[name, index] = memory
        return memory

    def _address_of_count(self, count: Tensor | float) -> int:
        if not _is_on_device(count):
            return 0
        assert isinstance(count, Tensor)
        if count.dtype != torch.float32 or count.numel() != 1 or count.device != self._device:
            raise _UnfitError("steps are counted on another device, or not in float32")
        return count.data_ptr()

    def _send(self) -> tuple[Tensor, Tensor]:
        """Send the table and the numbers to the device, as one copy."""
        packed = np.concatenate(
            [self._table.view(np.uint8).reshape(-1), self._numbers.view(np.uint8).reshape(-1)]
        )
        sent = to_device(packed, self._device)
        end = self._table.nbytes
        return sent[:end].view(torch.int64), sent[end:].view(torch.float32)

    def _row(self, name: str) -> npt.NDArray[np.int64]:
        row: npt.NDArray[np.int64] = self._table[self._kernels.TABLE.index(name)]
        return row


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
    if any(p.dtype not in _KINDS or p.numel() > _MOST_ELEMENTS for p in parameters):
        return None
    try:
        kernels = importlib.import_module(f"{__package__}.kernels")
    except Exception as error:  # not installed, or not one that fits
        logging.getLogger(__name__).info("Adam Debug: no Triton kernel: %s", str(error))
        return None
    return SinglePass(parameters, state, quantities, kernels)


def _is_on_device(number: object) -> bool:
    return isinstance(number, Tensor) and number.device.type != "cpu"
