"""One step measured by torch's operations and by the C kernel, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from tb_adam_plugin import schema
from tb_adam_plugin.callback.attach.watched_parameters import Watched
from tb_adam_plugin.callback.measure.measurement import Measured, Measurement
from tb_adam_plugin.callback.measure.native_pass import NativePass
from tb_adam_plugin.callback.measure.reduced import Reduced
from tb_adam_plugin.callback.measure.row_value_table import NAMES
from tb_adam_plugin.callback.measure.tensors import StepTensors
from tb_adam_plugin.callback.native import loading
from tb_adam_plugin.callback.optimizer_state.registry import adapter_for

QUANTITIES = (*schema.QUANTITIES, *schema.OPTIONAL_QUANTITIES)
COUNTS = {name for name in NAMES if any(sign in name for sign in "=≠≈<")} | {"v frozen"}
# Sums whose terms may cancel, with their bounds.
PRODUCTS = {"d·b": ("d²", "b²"), "m·g'": ("m²", "g'²")}
# Sums of differences of nearly equal numbers, with the quantity whose rounding errors these are.
ROUNDING = {"(d-r)²": "r²", "(m-exact)²": "exact m²", "(v-exact)²": "exact v²"}


class Recording(Measurement):
    """Keeps what was reduced."""

    found: Reduced

    def _reduced(self, step: StepTensors) -> Reduced:
        self.found = super()._reduced(step)
        return self.found


class Step(NamedTuple):
    """The results of one step, by torch's operations and then by the kernel.

    Attributes:
        measured: The end results.
        reduced: The inputs of these.
    """

    measured: tuple[Measured, Measured]
    reduced: tuple[Reduced, Reduced]


def kernel() -> loading.Kernel:
    """Return the kernel, or skip the test."""
    found = loading.find_kernel()
    if found is None:
        pytest.skip("the native kernel was not built: there is no C compiler")
    return found


class TwoWays:
    """Measures the steps of an optimizer twice."""

    def __init__(
        self, optimizer: Optimizer, most: int | None = None, level: int | None = None
    ) -> None:
        """Look at the parameters.

        Args:
            optimizer: The optimizer that takes the steps.
            most: Largest number of elements to read of one parameter.
            level: Index of the instruction set; the best one by default.
        """
        kernel()
        self.optimizer = optimizer
        state = adapter_for(optimizer)
        watched = [
            Watched(f"p{g}.{i}", parameter, g)
            for g, group in enumerate(optimizer.param_groups)
            for i, parameter in enumerate(group["params"])
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(loading.VARIABLE, "0")
            self.by_torch = Recording(watched, state, most, QUANTITIES)
        assert not isinstance(self.by_torch._reduction, NativePass)
        self.by_kernel = Recording(watched, state, most, QUANTITIES)
        native = self.by_kernel._reduction
        assert isinstance(native, NativePass)
        self.native = native
        if level is not None:
            native._arguments.put(level=level)

    def step(self, number: int, take: Callable[[], object] | None = None) -> Step:
        """Take a step and measure it in both ways."""
        with torch.no_grad():
            self.by_torch.before_step()
            self.by_kernel.before_step()
            (take or self.optimizer.step)()
            states = self.by_torch.states()
            others = sorted({key for s in states.of if s is not None for key in s.others})
            measured = [
                way.after_step(True, others, states, 0.5, number)
                for way in (self.by_torch, self.by_kernel)
            ]
        return Step(
            (measured[0], measured[1]),
            (self.by_torch.found, self.by_kernel.found),
        )


def set_gradients(parameters: Sequence[nn.Parameter], seed: int) -> None:
    """Some rows and some elements are zero."""
    random = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        gradient = torch.randn(parameter.shape, generator=random) * 1e-3
        if gradient.dim() > 1:
            gradient[torch.rand(len(gradient), generator=random) < 0.4] = 0
        gradient[torch.rand(gradient.shape, generator=random) < 0.1] = 0
        parameter.grad = torch.empty_strided(parameter.shape, parameter.stride()).copy_(gradient)


def check_equal(step: Step) -> None:
    """Check that both results agree: counts exactly, sums up to rounding."""
    by_torch, by_kernel = step.reduced
    np.testing.assert_array_equal(by_kernel.padding, by_torch.padding)
    np.testing.assert_array_equal(by_kernel.numbers, by_torch.numbers)
    np.testing.assert_array_equal(by_kernel.dead_row_fraction, by_torch.dead_row_fraction)
    np.testing.assert_array_equal(by_kernel.idle_row_fraction, by_torch.idle_row_fraction)
    for name in NAMES:
        expected, found = by_torch.total[name], by_kernel.total[name]
        if name in COUNTS or name.startswith("max"):
            np.testing.assert_array_equal(found, expected, err_msg=name)
        else:
            _check_sums(name, step.reduced)
    assert by_kernel.exact.keys() == by_torch.exact.keys()
    for name, sums in by_torch.exact.items():
        np.testing.assert_allclose(by_kernel.exact[name], sums, rtol=1e-5, err_msg=name)
    _check_measured(*step.measured)


def _check_sums(name: str, reduced: tuple[Reduced, Reduced]) -> None:
    """Check a sum in units of its precision."""
    totals = reduced[0].total
    expected, found = (way.total[name] for way in reduced)
    with np.errstate(all="ignore"):
        if name == "g⁴":  # each row has its own unit, itself a rounded sum
            tolerance, scale = 1e-4, expected
        elif name in ROUNDING:
            # Rounding of the compared numbers, if only that differs.
            expected, found = np.sqrt(expected), np.sqrt(found)
            tolerance, scale = 2e-7, np.sqrt(totals[ROUNDING[name]])
            scale = np.maximum(scale, expected * 100)
        elif name in PRODUCTS:
            first, second = (np.sqrt(totals[of]) for of in PRODUCTS[name])
            tolerance, scale = 64 * 2**-24, first * second
        else:
            # Without wide registers, 64 numbers are added one after the other: 64 roundings.
            tolerance, scale = 64 * 2**-24, np.abs(expected)
        # Squares below this lose digits, in any order of summation.
        scale = np.where(np.isfinite(scale), np.maximum(scale, 1e-33), 1)
        unequal = ~(np.abs(found - expected) <= tolerance * scale)
        unequal &= ~((found == expected) | (np.isnan(found) & np.isnan(expected)))
    assert not unequal.any(), (name, expected[unequal], found[unequal])


def _check_measured(by_torch: Measured, by_kernel: Measured) -> None:
    assert by_torch.counts is not None
    assert by_kernel.counts is not None
    np.testing.assert_array_equal(by_kernel.counts.bitmaps, by_torch.counts.bitmaps)
    np.testing.assert_array_equal(by_kernel.counts.lengths, by_torch.counts.lengths)
    np.testing.assert_array_equal(by_kernel.counts.values, by_torch.counts.values)
    np.testing.assert_array_equal(by_kernel.has_gradient, by_torch.has_gradient)
    for i, statistic in enumerate(schema.STATISTICS):
        expected, found = by_torch.statistics[:, i], by_kernel.statistics[:, i]
        is_known = ~np.isnan(expected)
        np.testing.assert_array_equal(np.isnan(found), ~is_known, err_msg=statistic.name)
        absolute = 3e-7 if statistic.name.endswith("rounding_error") else 2e-6
        if statistic.name == "update_rms_standard_error":
            absolute = 1e-5  # between two RMS, each exact to that
        np.testing.assert_allclose(
            found, expected, rtol=1e-5, atol=absolute, err_msg=statistic.name
        )
