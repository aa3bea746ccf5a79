"""A step reduced by the C kernel: how CPU parameters are measured, except float64.

One call makes a single pass over the elements read of every tensor, and one over all elements of a
sampled tensor; before the step, another call copies the weights. The results equal those of
:class:`.in_blocks.BlockReduction`, which also handles every step that the kernel does not fit. The
kernel supports plain tensors in float32, bfloat16 and float16, in any combination, with the memory
layout of their weight, and optimizers whose update is the plain formula of
:mod:`..optimizer_state.base`. Half precision is widened to float32 on reading.

Addresses are looked up at each call, and no tensor of the training is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Float64s

from ..memory import lasting
from ..native.loading import (
    Arguments,
    Kernel,
    address,
    addresses_of,
    find_kernel,
    has_more_threads_to_use,
)
from ..optimizer_state.base import OptimizerState
from ..optimizer_state.coefficients import COEFFICIENTS
from ..read.memory_order import has_no_gaps
from ..read.panel import Panel
from ..read.rows import ROW
from .in_blocks import BlockReduction
from .native_table import NativeTable, UnfitError
from .reduced import Reduced
from .row_value_table import NAMES, OVER_ALL, POSITION, TINY
from .tensors import Sources, StepTensors, present

_LOG = logging.getLogger(__name__)
_MOST_ELEMENTS = 2**31 - 1  # of a parameter that is read whole: counts are 4 bytes


class NativePass:
    """Keeps what a step changes, and measures it afterwards."""

    def __init__(
        self,
        parameters: Sequence[Tensor],
        state: OptimizerState,
        panel: Panel,
        quantities: Sequence[schema.Quantity],
        in_blocks: BlockReduction,
        kernel: Kernel,
        level: int | None = None,
    ) -> None:
        """Lay out the kernel's arguments.

        Args:
            parameters: Parameters of types that the kernel reads, on the CPU, without gaps in
                memory.
            state: The optimizer's adapter.
            panel: The elements read of the parameters.
            quantities: Quantities to make histograms of.
            in_blocks: Handles the steps that do not fit.
            kernel: The C module.
            level: Index of the instruction set; the best one by default.
        """
        self._state = state
        self._panel = panel
        self._quantities = quantities
        self._in_blocks = in_blocks
        self._kernel = kernel
        self._table = NativeTable(parameters, panel, in_blocks.row_ages, kernel)
        self._results = _Results(len(parameters), panel, quantities, kernel)
        self._arguments = Arguments(
            kernel.ARGUMENTS,
            level=len(kernel.LEVELS) - 1 if level is None else level,
            table=address(self._table.columns),
            ages=address(in_blocks.row_ages.ages),
            **self._results.addresses,
        )
        self._is_kept = False
        self._before: dict[str, Tensor] = {}  # rows of the moments that were kept
        self._refusals: set[str] = set()

    def keep(self, weights: Sequence[Tensor], moments: Mapping[str, Sources]) -> bool:
        """Keep weights and moments before the step, as rows; see :class:`.reduced.Reduction`."""
        self._is_kept = False
        try:
            self._keep(weights, moments)
        except UnfitError as reason:
            self._note(reason)
            return self._in_blocks.keep(weights, moments)
        self._is_kept = True
        return True

    def reduce(self, step: StepTensors) -> Reduced:
        """Reduce the step since :meth:`keep`; see :class:`.reduced.Reduction`."""
        if not self._is_kept:
            return self._in_blocks.reduce(step)
        before, self._before = self._before, {}
        try:
            return self._reduce(step, before)
        except UnfitError as reason:
            self._note(reason)
            self._panel.put_before(self._results.sums_of("before"))
            self._in_blocks.take_over(before)
            return self._in_blocks.reduce(step)

    def _note(self, reason: UnfitError) -> None:
        if str(reason) not in self._refusals:
            self._refusals.add(str(reason))
            _LOG.info("Adam Debug: torch's operations measure if %s", reason)

    def _keep(self, weights: Sequence[Tensor], moments: Mapping[str, Sources]) -> None:
        table = self._table
        table.place("weight", weights)
        table.clear("exp_avg_before", "exp_avg_sq_before")
        self._before, before = {}, {}
        for quantity, sources in moments.items():
            table.place(quantity, sources)
            before[quantity] = torch.zeros(
                (self._panel.rows, ROW), dtype=torch.float32, device="cpu"
            )
            table.place_rows(f"{quantity}_before", before[quantity])
        table.place_rows("before", self._panel.rows_before())
        self._arguments.put(flags=self._flags(exp_avg_sq_is_root=self._state.exp_avg_sq_is_root))
        self._kernel.keep(self._arguments.address, 0, table.parameters)
        self._before = before

    def _reduce(self, step: StepTensors, before: Mapping[str, Tensor]) -> Reduced:
        if step.others or step.masks:
            raise UnfitError("the optimizer has further tensors")
        table, results = self._table, self._results
        tensors = step.by_quantity
        for quantity in ("weight", "gradient", "exp_avg", "exp_avg_sq"):
            table.place(quantity, tensors[quantity])
        steps, coefficients = self._in_blocks.formula(step)
        if steps.device.type != "cpu":
            raise UnfitError("steps are counted on a device")
        numbers = np.stack(
            [steps.numpy(), *(getattr(coefficients, name).numpy() for name in COEFFICIENTS)]
        )
        plain, decays = results.put_numbers(numbers[1:], step.stored.smallest_normal)
        has_first, has_second = (
            bool(present(tensors[name]).any()) for name in ("exp_avg", "exp_avg_sq")
        )
        constants = coefficients.constants
        is_adam = (
            constants.get("numerator_gradient") == 0 and constants.get("denominator_root") == 1
        )
        flags = self._flags(
            plain_gradient=plain,
            has_exp_avg=has_first,
            has_exp_avg_sq=has_second,
            exp_avg_sq_is_root=self._state.exp_avg_sq_is_root,
            has_exp_avg_before="exp_avg" in before,
            has_exp_avg_sq_before="exp_avg_sq" in before,
            knows_update=self._state.update_is_known,
            is_adam=is_adam and has_first and has_second,
            has_weight_decay=decays,
            counts_direction=any(q.name == "normalized_update" for q in self._quantities),
        )
        ages = self._in_blocks.row_ages
        ages.begin(step.step, present(step.gradients))
        self._arguments.put(
            flags=flags, idle_from=ages.idle_from, **results.begin(step.with_histograms)
        )
        used = self._kernel.reduce(self._arguments.address, 0, table.parameters)
        panel = self._panel
        dead_rows, idle_rows = table.dead_rows(
            results.rows_that_are("alive"), results.rows_that_are("idle"), step.gradients
        )
        return Reduced(
            rows=results.rows,
            first_rows=panel.first_rows,
            row_elements=panel.row_elements,
            padding=results.padding,
            total=results.total(),
            exact={name: results.sums_of(quantity) for quantity, name in OVER_ALL.items()}
            if panel.sampled
            else {},
            numbers=numbers,
            dead_row_fraction=dead_rows,
            idle_row_fraction=idle_rows,
            counts=results.counts(used) if step.with_histograms else None,
        )

    def _flags(self, **flags: bool) -> int:
        return sum(
            flags[name] << bit for bit, name in enumerate(self._kernel.FLAGS) if name in flags
        )


class _Results:
    """Memory that the kernel writes to.

    Attributes:
        addresses: By name of the argument.
        rows: The row values needed row by row: Σd², Σg², Σg⁴ and Σm²; the others are only added
            up. ``[len(ROW_VALUES), rows]``.
        padding: Number of padding elements in each parameter's rows, int64 ``[K]``.
    """

    def __init__(
        self,
        parameters: int,
        panel: Panel,
        quantities: Sequence[schema.Quantity],
        kernel: Kernel,
    ) -> None:
        cpu = torch.device("cpu")
        self._sampled = panel.sampled
        self._sums = np.zeros((parameters, len(kernel.SUMS)))
        self._sum_of = dict(zip(kernel.SUMS, self._sums.T, strict=True))
        self._totals = np.zeros((parameters, len(NAMES)))
        self._numbers = np.zeros((parameters, len(COEFFICIENTS) + 1), np.float32)
        # Pages that are never written to take no memory.
        self.rows = lasting.zeros((len(NAMES), panel.rows), torch.float32, cpu).numpy()
        self.padding = np.add.reduceat(ROW - panel.row_elements, panel.first_rows)
        read = panel.elements_read
        most = int((read + self.padding)[panel.sampled].max(initial=0))
        self._scratch = lasting.zeros((4, most), torch.float32, cpu).numpy()
        self._histograms = np.array(
            [(kernel.QUANTITIES.index(q.name), q.signed, _first_code(q)) for q in quantities],
            np.int64,
        ).reshape(-1, 3)
        used = np.minimum(read, kernel.BITMAP * 8).sum() * len(quantities)
        narrow = read.max(initial=0) <= np.iinfo(np.int16).max
        dtype = torch.int16 if narrow else torch.int32
        self._counts = lasting.zeros((int(used) + 8,), dtype, cpu).numpy()
        self._bitmap_shape = (parameters, len(quantities), kernel.BITMAP)
        self._bitmaps: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._lengths: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.addresses = {
            "numbers": address(self._numbers),
            "totals": address(self._totals),
            "sums": address(self._sums),
            **{
                f"row_{name}": address(self.rows[POSITION[value]])
                for name, value in (("d2", "d²"), ("g2", "g²"), ("g4", "g⁴"), ("m2", "m²"))
            },
            "scratch": address(self._scratch),
            "most": most,
            "histograms": address(self._histograms),
            "counts": address(self._counts),
            "width": self._counts.itemsize,
        }

    def put_numbers(self, coefficients: Float64s, smallest_normal: Float64s) -> tuple[bool, bool]:
        """Put the formula's numbers where the kernel reads them.

        Args:
            coefficients: float64 ``[len(COEFFICIENTS), K]``.
            smallest_normal: Smallest normal number of the type that stores exp_avg_sq, float64
                ``[K]``.

        Returns:
            Whether g' is g for every parameter, and whether any has decoupled weight decay.
        """
        with np.errstate(over="ignore"):
            self._numbers[:, :-1] = coefficients.T
            self._numbers[:, -1] = smallest_normal
        constant = self._numbers[:, COEFFICIENTS.index("denominator_constant")]
        np.maximum(constant, np.float32(TINY), out=constant)
        sign, coupled, decoupled = (
            coefficients[COEFFICIENTS.index(name)]
            for name in ("gradient_sign", "coupled_weight_decay", "weight_decay")
        )
        is_plain = bool((sign == 1).all() and (coupled == 0).all())
        return is_plain, bool((decoupled != 0).any())

    def begin(self, with_histograms: bool) -> dict[str, int]:
        """Make room for a step's histograms; return the kernel arguments that locate them."""
        if not with_histograms or not len(self._histograms):
            return {"quantities": 0}
        # These are handed out, so each step needs new ones.
        self._bitmaps = np.zeros(self._bitmap_shape, np.uint8)
        self._lengths = np.zeros(self._bitmap_shape[0], np.int64)
        return {
            "quantities": len(self._histograms),
            "bitmaps": address(self._bitmaps),
            "lengths": address(self._lengths),
        }

    def rows_that_are(self, kind: str) -> Float64s:
        """Return how many rows of each parameter are "alive", or "idle", ``[K]``."""
        counts: Float64s = self._sum_of[f"{kind}_rows"]
        return counts

    def sums_of(self, quantity: str) -> Float64s:
        """Return a quantity's sums ``OVER_ALL`` elements of the sampled parameters."""
        sums: Float64s = self._sum_of[quantity][self._sampled]
        return sums

    def total(self) -> dict[str, Float64s]:
        """Return the row values added up, by name, as :func:`.parameter_sums.add_up` does."""
        return dict(zip(NAMES, self._totals.T.copy(), strict=True))

    def counts(self, used: int) -> schema.SparseHistograms:
        """Return the step's histograms, once after each :meth:`begin`."""
        return schema.SparseHistograms(self._bitmaps, self._counts[:used].copy(), self._lengths)


def for_parameters(
    parameters: Sequence[Tensor],
    state: OptimizerState,
    panel: Panel,
    quantities: Sequence[schema.Quantity],
    in_blocks: BlockReduction,
) -> NativePass | None:
    """Return a measurement for parameters of one device, or None if the kernel does not fit them.

    Args:
        parameters: Parameters on one device.
        state: The optimizer's adapter.
        panel: The elements read of the parameters, without parts of parameters.
        quantities: Quantities to make histograms of.
        in_blocks: Handles the steps that do not fit.
    """
    if (
        not state.follows_formula()
        or addresses_of(parameters) is None
        or not all(map(has_no_gaps, parameters))
    ):
        return None
    if panel.elements_read.max(initial=0) > _MOST_ELEMENTS:
        return None
    if has_more_threads_to_use(int(panel.elements.sum())):
        return None
    kernel = find_kernel()
    if kernel is None:
        return None
    if kernel.ROW_VALUES != NAMES or kernel.NUMBERS != COEFFICIENTS:
        _LOG.info("Adam Debug: the native kernel is out of date; reinstall the package")
        return None
    _LOG.info(
        "Adam Debug: the native kernel measures %d parameters (%s)",
        len(parameters),
        kernel.LEVELS[-1],
    )
    return NativePass(parameters, state, panel, quantities, in_blocks, kernel)


def _first_code(quantity: schema.Quantity) -> int:
    """Return the code of the smallest numbers that have their own bin."""
    return (quantity.lowest_exponent + 127) * schema.BINS_PER_OCTAVE
