"""All tensors of a device in one pass: how a GPU is measured.

In :mod:`..in_blocks`, each torch operation handles one block of rows, and on a GPU its launch takes
longer than its work. Here, a table of addresses, sizes and coefficients is sent to the device, and
one Triton kernel reads every tensor once, in its own type: all of it, or the lines of a sampled
parameter. A second kernel sums over all elements of the sampled ones. A recorded step takes at most
eight launches and copies, whatever the number of tensors: before the step the table, the copy of
the weights that are read, and their sums; after it the table again, clearing the results, the two
kernels, and the copy to the host, which is the only one waited for.

An optimizer fits if its update is the plain formula of :mod:`...optimizer_state.base` on plain
tensors, and if it leaves the gradients of sampled parameters unchanged. For any other, and if
Triton fails, :class:`SinglePass` reports it and hands over its copies. Two cases take more
launches. A tensor whose memory layout differs from its weight's is copied first, unless it is
sampled: then the step does not fit. And if the optimizer counts its steps on the device (``fused``,
``capturable``), the coefficients use the expected counts; the kernel returns the true ones, and if
they differ, it runs again.

Written without a GPU: tested in Triton's interpreter, compiled for several GPUs, never timed.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Flags, Float64s

from ...optimizer_state.base import OptimizerState
from ...optimizer_state.coefficients import COEFFICIENTS, StepTable
from ...optimizer_state.group_settings import GroupSettings
from ...optimizer_state.parameter_state import ParameterState
from ...read.panel import Panel
from ...read.rows import ROW
from ..in_blocks import BlockReduction
from ..parameter_sums import add_up
from ..reduced import Reduced
from ..row_value_table import NAMES, OVER_ALL, POSITION, TINY, ZEROS
from ..tensors import Sources, StepTensors, moments, present
from . import kernel_layout
from .launches import Kernels, Launches
from .step_memory import KeptElements
from .tensor_table import KINDS, TensorTable, UnfitError, is_on_device

# A test adds "cpu", on which Triton's interpreter runs.
DEVICES = ("cuda",)

_MOST_ELEMENTS = 2**31 - 1  # the kernels compute in int32 within a tensor

_Result = TypeVar("_Result")


class SinglePass:
    """Keeps what a step changes, and measures it afterwards.

    Attributes:
        refusal: Why it measures nothing any more, or None.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        state: OptimizerState,
        panel: Panel,
        quantities: Sequence[schema.Quantity],
        in_blocks: BlockReduction,
        kernels: Kernels,
    ) -> None:
        """Lay out the chunks.

        Args:
            parameters: Parameters on one device, none of them float64.
            state: The optimizer's adapter.
            panel: The elements read of the parameters.
            quantities: Quantities to make histograms of.
            in_blocks: Takes over if a step does not fit.
            kernels: The kernels to launch.
        """
        self._panel = panel
        self._in_blocks = in_blocks
        self._state = state
        self._quantities = quantities
        self._device = parameters[0].device
        self._table = table = TensorTable(parameters, panel)
        self._kept = KeptElements(table.elements, self._device)
        self._launches = Launches(kernels, table, state, quantities)
        self._known_steps: tuple[int, Float64s] | None = None
        self._compared: frozenset[str] = frozenset()  # moments copied before the step
        self.refusal: str | None = None

    def keep(self, weights: Sequence[Tensor], moments: Mapping[str, Sources]) -> bool:
        """Copy the weights, and some moments, as they are now; does not wait for the device.

        Args:
            weights: The parameters.
            moments: By "exp_avg" and "exp_avg_sq", one per parameter.

        Returns:
            Whether :meth:`reduce` can measure the step; if not, see :attr:`refusal`.
        """
        is_kept = self._contained(lambda: self._keep(weights, moments)) is not None
        if not is_kept:
            self._kept.free()
        return is_kept

    def reduce(self, step: StepTensors) -> Reduced | None:
        """Measure the step since :meth:`keep`. Waits for the device once.

        Returns:
            None if ``in_blocks`` has taken over; :attr:`refusal` says why.
        """
        reduced = self._contained(lambda: self._reduce(step))
        if reduced is None:
            self._hand_over()
        return reduced

    def _hand_over(self) -> None:
        """Let torch's operations continue from the copies. Waits for the device."""
        panel, first_rows = self._panel, (self._panel.first_rows * ROW).tolist()
        rows = {"before": panel.rows_before()}
        for quantity in self._compared:
            rows[f"{quantity}_before"] = torch.zeros_like(rows["before"])
        for name, of_name in rows.items():
            flat = of_name.view(-1)
            for first, kept in zip(first_rows, self._kept.elements(name), strict=True):
                if kept is not None:
                    flat[first : first + len(kept)].copy_(kept)
        panel.put_before(self._table.sampled.added_up(self._launches.sums_before_step()))
        self._kept.free()
        self._in_blocks.take_over(
            {q: self._in_blocks.second_moment(q, rows[f"{q}_before"]) for q in self._compared}
        )

    def _contained(self, function: Callable[[], _Result]) -> _Result | None:
        """Return a function's result, or None, with a reason, if it fails."""
        is_cuda = self._device.type == "cuda"
        try:
            with torch.cuda.device(self._device) if is_cuda else contextlib.nullcontext():
                return function()
        except UnfitError as reason:
            self.refusal = str(reason)
        except (MemoryError, torch.cuda.OutOfMemoryError):
            raise  # then less is read, but not here
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
        placed = {"before": table.place("weight", weights)}
        for quantity, sources in moments.items():
            placed[f"{quantity}_before"] = table.place(quantity, sources)
        self._compared = frozenset(moments)
        self._kept.begin(placed)
        for name in placed:
            table.place_addresses(name, self._kept.addresses(name))
        self._launches.before_step()
        return True

    def _reduce(self, step: StepTensors) -> Reduced:
        # Temporary copies must live until the kernel has run.
        placed = self._place(step)
        counts = [0.0 if s is None else s.step for s in step.states]
        on_device = np.array([is_on_device(count) for count in counts])
        self._table.place_counts(counts)
        has_gradient = present(step.gradients)
        steps = self._expected_steps(counts, on_device, has_gradient, step.step)
        for _ in range(2):
            numbers = self._formula(step.groups, step.states, steps, step.stored.smallest_normal)
            found = self._launches.after_step(step.with_histograms, self._compared)
            expected, steps = steps, np.where(on_device, found["steps"], steps)
            if np.array_equal(expected[on_device], steps[on_device]):
                break
        del placed
        self._kept.free()
        self._known_steps = (step.step, steps)
        values, sampled = found["values"], self._table.sampled
        # Unknown, because the kernel does not compute these as torch's operations do.
        values[[POSITION[name] for name in NAMES if name not in self._launches.written]] = np.nan
        total = add_up(values, self._table.first_chunks)
        dead_rows, idle_rows = self._dead_rows(found["alive"], has_gradient, step.step)
        with np.errstate(all="ignore"):  # inf - inf
            sums = {
                q: sampled.added_up(found["totals"][i]) for i, q in enumerate(kernel_layout.TOTALS)
            }
        return Reduced(
            rows=values,
            first_rows=self._table.first_chunks,
            row_elements=self._table.chunk_elements,
            padding=self._table.padding,
            total=total,
            exact={OVER_ALL[q]: sums[q] for q in kernel_layout.TOTALS if sampled.chunks},
            numbers=numbers,
            dead_row_fraction=dead_rows,
            idle_row_fraction=idle_rows,
            counts=self._with_zeros(found["counts"], total) if step.with_histograms else None,
            sampled_squares=found["squares"].T,
        )

    def _place(self, step: StepTensors) -> list[list[Tensor | None]]:
        """Put a step's tensors into the table; return the tensors it points to."""
        states = [state for state in step.states if state is not None]
        if step.others or step.masks:
            raise UnfitError("the optimizer has further tensors")
        if any(is_on_device(number) for state in states for number in state.numbers.values()):
            raise UnfitError("the optimizer has further numbers on the device")
        table = self._table
        placed = [table.place("weight", step.weights), table.place("gradient", step.gradients)]
        for quantity in ("exp_avg", "exp_avg_sq"):
            now = table.place(quantity, moments(step.states, quantity))
            kept = self._kept.dtypes(f"{quantity}_before")
            for dtype, tensor in zip(kept, now, strict=False):
                if dtype is not None and (tensor is None or tensor.dtype != dtype):
                    raise UnfitError("the step changed in what type the state is stored")
            placed.append(now)
        return placed

    def _expected_steps(
        self,
        counts: Sequence[Tensor | float],
        on_device: Flags,
        has_gradient: Flags,
        step: int,
    ) -> Float64s:
        """Return the step counts, predicted if reading them would wait for the device."""
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
        steps: Float64s,
        smallest_normal: Float64s,
    ) -> Float64s:
        """Fill in the numbers; return the step counts and the coefficients."""
        found = self._state.coefficients(StepTable(groups, states, torch.from_numpy(steps)))
        columns = [getattr(found, name).numpy() for name in COEFFICIENTS]
        with np.errstate(over="ignore"):
            self._table.numbers[:] = [*columns, smallest_normal]
        constant = self._table.numbers[COEFFICIENTS.index("denominator_constant")]
        np.maximum(constant, np.float32(TINY), out=constant)
        return np.stack([steps, *columns])

    def _dead_rows(
        self, alive: npt.NDArray[np.uint8], has_gradient: Flags, step: int
    ) -> tuple[Float64s, Float64s]:
        """Return the shares of rows without gradient; see :meth:`..dead_rows.DeadRows.fractions`.

        Row ages are kept on the host: which rows have a gradient arrives with the other results.
        """
        rows, ages = self._table.rows, self._in_blocks.row_ages
        ages.begin(step, has_gradient)
        ages.grow(has_gradient)
        first, here = self._table.row("first_row"), np.flatnonzero(rows)
        found = np.zeros(len(rows), np.int64)
        if len(here):
            found[here] = np.add.reduceat(alive, first[here], dtype=np.int64)
        if len(alive) == len(ages.ages):
            ages.ages *= alive == 0
        else:  # some parameters' rows are not followed
            for i in np.flatnonzero(ages.rows).tolist():
                ages.mark(i, 0, alive[first[i] : first[i] + rows[i]].view(np.bool_))
        known = has_gradient & (rows > 0)
        fractions = np.where(known, 1 - found / np.maximum(rows, 1), np.nan)
        return fractions, ages.idle_fractions(ages.idle())

    def _with_zeros(
        self, counts: npt.NDArray[np.int32], total: Mapping[str, Float64s]
    ) -> schema.SparseHistograms:
        """Complete the histograms with zeros; return them by parameter."""
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
    in_blocks: BlockReduction,
) -> SinglePass | None:
    """Return a measurement for parameters of one device, or None if the kernels do not fit them.

    Args:
        parameters: Parameters on one device.
        state: The optimizer's adapter.
        panel: The elements read of the parameters, chosen independently.
        quantities: Quantities to make histograms of.
        in_blocks: Takes over if a step does not fit.
    """
    if parameters[0].device.type not in DEVICES:
        return None
    if any(p.dtype not in KINDS or p.numel() > _MOST_ELEMENTS for p in parameters):
        return None
    try:
        kernels = Kernels.loaded()
    except Exception as error:  # Triton is missing, or its version does not fit
        logging.getLogger(__name__).info("Adam Debug: no Triton kernel: %s", str(error))
        return None
    return SinglePass(parameters, state, panel, quantities, in_blocks, kernels)
