"""The C kernel against torch's operations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import two_ways
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_parameters import parameters_of
from torch import Tensor, nn
from torch.optim import SGD, Adam, Adamax, AdamW, NAdam, Optimizer, RAdam, RMSprop
from two_ways import TwoWays, check_equal, set_gradients

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.measure.in_blocks import BlockReduction
from tb_adam_plugin.callback.measure.row_value_table import NAMES
from tb_adam_plugin.callback.native import loading
from tb_adam_plugin.callback.read.norms import GradientNorms

Make = Callable[[list[nn.Parameter]], Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "AdamW": lambda p: AdamW(p, lr=1e-3),
    "AdamW, fused": lambda p: AdamW(p, lr=1e-3, fused=True),
    "AdamW, no decay": lambda p: AdamW(p, lr=1e-2, weight_decay=0.0),
    "AdamW, large eps": lambda p: AdamW(p, lr=1e-3, eps=1e-3),
    "AdamW, eps 0": lambda p: AdamW(p, lr=1e-3, eps=0.0),
    "AdamW, lr 0": lambda p: AdamW(p, lr=0.0),
    "AdamW, no momentum": lambda p: AdamW(p, lr=1e-3, betas=(0.0, 0.9)),
    "AdamW, amsgrad": lambda p: AdamW(p, lr=1e-3, amsgrad=True),
    "Adam": lambda p: Adam(p, lr=1e-3),
    "Adam, everything": lambda p: Adam(p, lr=1e-3, amsgrad=True, maximize=True, weight_decay=0.1),
    "NAdam": lambda p: NAdam(p, lr=1e-3, weight_decay=0.1),
    "RAdam": lambda p: RAdam(p, lr=1e-3),
    "Adamax": lambda p: Adamax(p, lr=1e-3),
    "RMSprop": lambda p: RMSprop(p, lr=1e-3, weight_decay=0.1),
    "SGD": lambda p: SGD(p, lr=0.1),
    "SGD, momentum": lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "SGD, nesterov": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
}
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


def levels() -> range:
    """Indices of all instruction sets of this processor; just one if there is no kernel."""
    kernel = loading.find_kernel()
    return range(1 if kernel is None else len(kernel.LEVELS))


@every_optimizer
@pytest.mark.parametrize("most", [None, 16_384, 300])
def test_a_step_is_measured_as_by_torch(optimizer: str, most: int | None) -> None:
    parameters = parameters_of()
    ways = TwoWays(OPTIMIZERS[optimizer](parameters), most)
    for number in range(1, 4):
        set_gradients(parameters, number)
        if number == 3:
            parameters[5].grad = None
        check_equal(ways.step(number))
    assert ways.native._refusals == set()


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("most", [None, 300])
def test_every_instruction_set_measures_the_same(level: int, most: int | None) -> None:
    parameters = parameters_of()
    ways = TwoWays(AdamW(parameters, lr=1e-3, weight_decay=0.0), most, level)
    for number in range(1, 4):
        set_gradients(parameters, number)
        check_equal(ways.step(number))


def test_groups_with_other_settings() -> None:
    parameters = parameters_of()
    groups: list[dict[str, Any]] = [
        {"params": parameters[:4], "lr": 1e-2, "weight_decay": 0.0},
        {"params": parameters[4:], "lr": 1e-3, "weight_decay": 0.1, "eps": 1e-4},
    ]
    ways = TwoWays(Adam(groups, decoupled_weight_decay=True), 16_384)
    for number in range(1, 4):
        set_gradients(parameters, number)
        check_equal(ways.step(number))


def test_weights_that_lie_otherwise_in_memory() -> None:
    torch.manual_seed(0)
    parameters = [
        nn.Parameter(value)
        for value in (
            torch.randn(40, 30).t(),
            torch.randn(6, 5, 7).permute(1, 2, 0),
            torch.randn(64, 64, 3, 3).to(memory_format=torch.channels_last),
            torch.randn(20, 8, 3, 3).to(memory_format=torch.channels_last),
        )
    ]
    ways = TwoWays(AdamW(parameters, lr=1e-3), 2_000)
    for number in range(1, 4):
        set_gradients(parameters, number)
        check_equal(ways.step(number))
    assert ways.native._refusals == set()


# Where comparisons and sums are most at odds: signs of zero, subnormal numbers, what overflows when
# it is squared, what underflows, and what is not finite.
extreme = st.sampled_from(
    [0.0, -0.0, 1e-45, -1e-40, 1.1754944e-38, 3e-23, 1e-20, -1e-12, 0.8, 1.25, -1.0, 7.5, 4096.0,
     1e19, -3e38, 3.4028235e38, float("inf"), float("-inf"), float("nan")]
)  # fmt: skip
usual = st.floats(-10, 10, width=32)
some_shape = st.sampled_from([(), (0,), (1,), (3, 5), (16, 16), (257,), (1_030,)])
shapes = st.lists(some_shape, min_size=1, max_size=4)


def filled(shape: tuple[int, ...], values: list[float]) -> Tensor:
    tensor = torch.empty(shape).flatten()
    repeated = torch.tensor(values, dtype=torch.float32)
    tensor.copy_(repeated.repeat(-(-max(1, len(tensor)) // len(values)))[: len(tensor)])
    return tensor.view(shape)


@settings(max_examples=150)
@given(
    shapes=shapes,
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    weights=st.lists(st.one_of(usual, extreme), min_size=1, max_size=9),
    gradients=st.lists(st.one_of(usual, extreme), min_size=1, max_size=11),
    most=st.sampled_from([None, 256, 600]),
    level=st.sampled_from(list(levels())),
)
def test_any_values_are_counted_as_by_torch(
    shapes: list[tuple[int, ...]],
    optimizer: str,
    weights: list[float],
    gradients: list[float],
    most: int | None,
    level: int,
) -> None:
    parameters = [nn.Parameter(filled(shape, weights)) for shape in shapes]
    ways = TwoWays(OPTIMIZERS[optimizer](parameters), most, level)
    has_fma = level == len(levels()) - 1
    for number in (1, 2):
        for parameter in parameters:
            parameter.grad = filled(tuple(parameter.shape), gradients[number - 1 :] or [1.0])
        step = ways.step(number)
        by_torch, by_kernel = step.measured
        assert by_torch.counts is not None
        assert by_kernel.counts is not None
        if has_fma:  # else the direction of some optimizers is rounded once more
            np.testing.assert_array_equal(by_kernel.counts.dense(), by_torch.counts.dense())
        for name in NAMES:
            expected, found = (reduced.total[name] for reduced in step.reduced)
            if name.startswith("max") or (has_fma and name in two_ways.COUNTS):
                np.testing.assert_array_equal(found, expected, err_msg=name)
        for i in ("b²", "g²", "m²", "v"):
            expected, found = (reduced.total[i] for reduced in step.reduced)
            unlike = np.isfinite(expected) != np.isfinite(found)
            assert not unlike.any(), (i, expected, found)


def squares_in_both_ways(parameters: list[nn.Parameter]) -> tuple[Any, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(loading.VARIABLE, "0")
        by_torch = GradientNorms(parameters)
    assert by_torch._native is None
    by_kernel = GradientNorms(parameters)
    assert by_kernel._native is not None
    return by_torch.squares(), by_kernel.squares()


@pytest.mark.parametrize("without", [None, 0, 5])
def test_norms_are_those_of_torch(without: int | None) -> None:
    two_ways.kernel()
    parameters = parameters_of()
    set_gradients(parameters, 1)
    if without is not None:
        parameters[without].grad = None
    (expected, present), (found, present_too) = squares_in_both_ways(parameters)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert present == present_too


@pytest.mark.parametrize("value", [1e-30, 1e-22, 1e19, 1e25, 3e38])
def test_norms_beyond_the_range_of_squares_in_float32(value: float) -> None:
    two_ways.kernel()
    parameters = parameters_of(((3, 70_000), (5,)))
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, value)
    (expected, _), (found, _) = squares_in_both_ways(parameters)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(found, [210_000 * value**2, 5 * value**2], rtol=1e-6)


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_norms_that_are_not_finite(bad: float) -> None:
    two_ways.kernel()
    parameters = parameters_of(((300, 300), (5,)))
    set_gradients(parameters, 1)
    assert parameters[0].grad is not None
    parameters[0].grad[7, 7] = bad
    (expected, _), (found, _) = squares_in_both_ways(parameters)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))


@pytest.mark.parametrize("kind", ["sparse", "half", "with gaps", "on demand"])
def test_norms_of_other_gradients(kind: str) -> None:
    two_ways.kernel()
    parameters = parameters_of(((40, 30), (5,)))
    set_gradients(parameters, 1)
    gradient = parameters[0].grad
    assert gradient is not None
    if kind == "half":
        parameters[0].data = parameters[0].data.half()
        parameters[0].grad = gradient.half()
    elif kind == "with gaps":
        parameters[0].grad = torch.randn(40, 60)[:, ::2]
    elif kind == "on demand":
        parameters[0].grad = torch._neg_view(gradient)
    else:
        parameters[0].grad = gradient.to_sparse()
    (expected, _), (found, _) = squares_in_both_ways(parameters)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_tensor_without_memory_has_no_address() -> None:
    gone = torch.ones(3)
    gone.untyped_storage().resize_(0)
    assert loading.addresses_of([torch.ones(2), gone]) is None
    assert loading.addresses_of([torch.ones(0), torch.ones(2)]) is not None


def other_gradient(kind: str, parameter: nn.Parameter) -> Tensor:
    gradient = torch.randn(parameter.shape)
    if kind == "expanded":
        return torch.randn(1, 1).expand(parameter.shape)
    if kind == "transposed":
        return torch.randn(parameter.shape[::-1]).t()
    if kind == "with gaps":
        return torch.randn(len(parameter), 2 * parameter.shape[1])[:, ::2]
    if kind == "negated when read":
        return torch._neg_view(gradient)
    if kind == "sparse":
        gradient[1:] = 0
        return gradient.to_sparse(1)  # rows, as an embedding has it
    return gradient.as_subclass(Odd)


class Odd(Tensor):
    """A class of its own."""


@pytest.mark.parametrize(
    "kind", ["expanded", "transposed", "with gaps", "negated when read", "sparse", "subclass"]
)
@pytest.mark.parametrize("most", [None, 300])
def test_a_step_that_does_not_fit_is_measured_by_torch(kind: str, most: int | None) -> None:
    """And the next one that fits uses the kernel again."""
    parameters = parameters_of(((40, 30), (50,)))
    ways = TwoWays(SGD(parameters, lr=0.1), most)
    for number in range(1, 5):
        set_gradients(parameters, number)
        if number in (2, 3):
            parameters[0].grad = other_gradient(kind, parameters[0])
        seen = len(ways.native._refusals)
        step = ways.step(number)
        check_equal(step)
        by_torch, by_kernel = (reduced.total["b²"] for reduced in step.reduced)
        # A sparse gradient of a weight that is read whole is made dense for both.
        if number == 2 and (kind != "sparse" or most is not None):
            assert len(ways.native._refusals) == seen + 1
            np.testing.assert_array_equal(by_kernel, by_torch)


def test_moments_that_were_kept_are_handed_over() -> None:
    parameters = parameters_of(((40, 30), (50,)))
    ways = TwoWays(AdamW(parameters, lr=1e-3, amsgrad=True), 300)
    for number in range(1, 4):
        set_gradients(parameters, number)
        if number > 1:
            parameters[0].grad = other_gradient("transposed", parameters[0])
        check_equal(ways.step(number))
    assert ways.native._refusals


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64])
def test_other_types_of_weights_are_left_to_torch(dtype: torch.dtype, tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(3, dtype=dtype))
    with AdamDebugCallback([("w", weight)], AdamW([weight]), log_dir=tmp_path) as debug:
        (measurement,) = debug._parameters.records._measurements
        assert isinstance(measurement._reduction, BlockReduction)
