"""The C kernel against torch's operations for tensors stored in half precision."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import two_ways
from half_precision import HALVES, SHAPES, TYPES, Types, every_level, levels, parameters_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, Adamax, AdamW, NAdam, Optimizer, RAdam, RMSprop
from two_ways import TwoWays, check_equal, set_gradients

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.measure.native_pass import NativePass
from tb_adam_plugin.callback.measure.row_value_table import NAMES
from tb_adam_plugin.callback.native import loading

Make = Callable[[list[nn.Parameter]], Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "AdamW": lambda p: AdamW(p, lr=1e-3),
    "AdamW, fused": lambda p: AdamW(p, lr=1e-3, fused=True),
    # Else some weights grow so far that torch's sums of their squares are off by 1e-5.
    "AdamW, no decay": lambda p: AdamW(p, 1e-2, betas=(0.9, 0.95), eps=1e-4, weight_decay=0.0),
    "AdamW, amsgrad": lambda p: AdamW(p, lr=1e-3, amsgrad=True),
    "Adam": lambda p: Adam(p, lr=1e-3, eps=1e-4, betas=(0.5, 0.997)),
    "Adam, everything": lambda p: Adam(p, lr=1e-3, amsgrad=True, maximize=True, weight_decay=0.1),
    "NAdam": lambda p: NAdam(p, lr=1e-3, weight_decay=0.1),
    "RAdam": lambda p: RAdam(p, lr=1e-3),
    "Adamax": lambda p: Adamax(p, lr=1e-3),
    "Adagrad": lambda p: Adagrad(p, lr=1e-2),
    "RMSprop": lambda p: RMSprop(p, lr=1e-3, alpha=0.9985, weight_decay=0.1, maximize=True),
    "SGD": lambda p: SGD(p, lr=0.1, weight_decay=0.1),
    "SGD, nesterov": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
}
FIRST = ("exp_avg", "momentum_buffer")
SECOND = ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "exp_inf", "sum")
every_kind_of_types = pytest.mark.parametrize("types", TYPES)


def set_half_gradients(parameters: list[nn.Parameter], seed: int) -> None:
    """Gradients of the types of the weights: some rows and some elements are zero."""
    wide = [nn.Parameter(parameter.detach().float()) for parameter in parameters]
    set_gradients(wide, seed)
    for parameter, of in zip(parameters, wide, strict=True):
        assert of.grad is not None
        parameter.grad = of.grad.to(parameter.dtype)


def set_state_types(optimizer: Optimizer, types: list[Types] | None) -> None:
    """Store each parameter's moments in other types; None for that of the weight."""
    for i, parameter in enumerate(itertools.chain(*(g["params"] for g in optimizer.param_groups))):
        state = optimizer.state[parameter]
        of_first, of_second = types[i][1:] if types else (parameter.dtype,) * 2
        for keys, dtype in ((FIRST, of_first), (SECOND, of_second)):
            for key in keys:
                if state.get(key) is not None:
                    state[key] = state[key].to(dtype)


def step(ways: TwoWays, number: int, types: list[Types]) -> two_ways.Step:
    """Take a step like an optimizer that stores its moments in types of its own."""

    def take() -> None:
        set_state_types(ways.optimizer, None)  # in which torch's optimizers compute
        ways.optimizer.step()
        set_state_types(ways.optimizer, types)

    forget(ways)
    set_state_types(ways.optimizer, types)  # of one that makes its state before the first step
    return ways.step(number, take)


def forget(ways: TwoWays) -> None:
    """Clear what torch's operations leave as it was where there is nothing to compare."""
    for way in (ways.by_torch, ways.by_kernel):
        way._in_blocks._rows.zero_()


# --- torch's operations are what it is compared with ----------------------------------------------


@every_kind_of_types
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("most", [None, 300])
def test_a_step_in_half_precision_is_measured_as_by_torch(
    types: str, optimizer: str, most: int | None
) -> None:
    parameters = parameters_of(TYPES[types])
    ways = TwoWays(OPTIMIZERS[optimizer](parameters), most)
    for number in range(1, 4):
        set_half_gradients(parameters, number)
        if number == 3:
            parameters[5].grad = None
        check_equal(step(ways, number, [TYPES[types]] * len(parameters)))
    assert ways.native._refusals == set()


@every_level
@every_kind_of_types
def test_every_instruction_set_measures_half_precision_alike(types: str, level: int) -> None:
    # Of few elements exp_avg may all but cancel, which needs the fused addition to be exact.
    parameters = parameters_of(TYPES[types], SHAPES[3:])
    # A decay by which some elements of exp_avg_sq are frozen: see below.
    for most in (None, 16_384):
        optimizer = AdamW(parameters, lr=1e-3, weight_decay=0.0, betas=(0.9, 0.997))
        ways = TwoWays(optimizer, most, level)
        for number in (1, 2):
            set_half_gradients(parameters, number)
            check_equal(step(ways, number, [TYPES[types]] * len(parameters)))


def test_parameters_of_several_types_are_measured_together() -> None:
    kinds = list(TYPES.values())
    parameters = [p for kind in kinds for p in parameters_of(kind, ((40, 30), (50, 90), (7,)))]
    types = [kind for kind in kinds for _ in range(3)]
    ways = TwoWays(AdamW(parameters, lr=1e-3), 600)
    for number in range(1, 4):
        set_half_gradients(parameters, number)
        for parameter in parameters[number::4]:
            parameter.grad = None
        check_equal(step(ways, number, types))
    assert ways.native._refusals == set()


def test_a_state_that_changes_its_type_while_training() -> None:
    parameters = parameters_of(TYPES["float32 by bfloat16"], ((40, 30), (50,)))
    ways = TwoWays(AdamW(parameters, lr=1e-3), 300)
    for number, name in enumerate(TYPES, 1):
        set_half_gradients(parameters, number)
        check_equal(step(ways, number, [TYPES[name]] * len(parameters)))
    assert ways.native._refusals == set()


def test_weights_in_half_precision_that_lie_otherwise_in_memory() -> None:
    torch.manual_seed(0)
    values = (
        torch.randn(40, 30).t(),
        torch.randn(64, 64, 3, 3).to(memory_format=torch.channels_last),
        torch.randn(33)[1:],  # at no address that is a multiple of 4
    )
    parameters = [nn.Parameter(value.to(dtype)) for value in values for dtype in HALVES]
    parameters[-1].data = torch.randn(34).half()[1:]
    assert parameters[-1].data_ptr() % 4
    ways = TwoWays(AdamW(parameters, lr=1e-3), 2_000)
    for number in range(1, 4):
        set_half_gradients(parameters, number)
        for parameter in parameters:
            like = torch.empty_strided(parameter.shape, parameter.stride(), dtype=parameter.dtype)
            assert parameter.grad is not None
            parameter.grad = like.copy_(parameter.grad)
        check_equal(ways.step(number))
    assert ways.native._refusals == set()


# Where comparisons and sums are most at odds: signs of zero, subnormal numbers of each type, those
# at its ends, what overflows when it is squared, what underflows, and what is not finite.
extreme = st.sampled_from(
    [0.0, -0.0, 1e-45, -1e-40, 1.1754944e-38, 3e-23, 1e-20, 5.96e-8, -6e-7, 6.1e-5, 6.104e-5,
     -1e-12, 0.8, 1.25, -1.0, 7.5, 4096.0, 65_504.0, -65_519.0, 1e19, -3e38, 3.39e38,
     float("inf"), float("-inf"), float("nan")]
)  # fmt: skip
usual = st.floats(-10, 10, width=32)
some_shape = st.sampled_from([(), (0,), (1,), (3, 5), (16, 16), (257,), (1_030,), (5, 150)])
some_type = st.sampled_from(loading.TYPES)


def filled(shape: tuple[int, ...], values: list[float], dtype: torch.dtype) -> Tensor:
    tensor = torch.empty(shape).flatten()
    repeated = torch.tensor(values, dtype=torch.float32)
    tensor.copy_(repeated.repeat(-(-max(1, len(tensor)) // len(values)))[: len(tensor)])
    return tensor.view(shape).to(dtype)


@settings(max_examples=200)
@given(
    kinds=st.lists(st.tuples(some_shape, some_type, some_type, some_type), min_size=1, max_size=4),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    weights=st.lists(st.one_of(usual, extreme), min_size=1, max_size=9),
    gradients=st.lists(st.one_of(usual, extreme), min_size=1, max_size=11),
    most=st.sampled_from([None, 256, 600]),
    level=st.sampled_from(list(levels())),
)
def test_any_values_in_half_precision_are_counted_as_by_torch(
    kinds: list[tuple[tuple[int, ...], torch.dtype, torch.dtype, torch.dtype]],
    optimizer: str,
    weights: list[float],
    gradients: list[float],
    most: int | None,
    level: int,
) -> None:
    parameters = [nn.Parameter(filled(shape, weights, dtype)) for shape, dtype, _, _ in kinds]
    types = [(weight, first, second) for _, weight, first, second in kinds]
    made = OPTIMIZERS["AdamW" if optimizer == "AdamW, fused" else optimizer](parameters)
    ways = TwoWays(made, most, level)
    has_fma = level == len(levels()) - 1
    for number in (1, 2, 3):
        for parameter in parameters:
            values = gradients[number - 1 :] or [1.0]
            parameter.grad = filled(tuple(parameter.shape), values, parameter.dtype)
        check_counted_alike(step(ways, number, types), has_fma)
    assert ways.native._refusals == set()


def check_counted_alike(found: two_ways.Step, has_fma: bool) -> None:
    """Check what does not depend on the order of summation, whatever the values are."""
    by_torch, by_kernel = found.measured
    assert by_torch.counts is not None
    assert by_kernel.counts is not None
    if has_fma:  # else the direction of some optimizers is rounded once more
        np.testing.assert_array_equal(by_kernel.counts.dense(), by_torch.counts.dense())
    for name in NAMES:
        expected, got = (reduced.total[name] for reduced in found.reduced)
        is_count = name in two_ways.COUNTS and (has_fma or name == "v frozen")
        if is_count or name.startswith("max"):
            np.testing.assert_array_equal(got, expected, err_msg=name)
        elif has_fma and name in (*two_ways.ROUNDING, *two_ways.ROUNDING.values()):
            two_ways._check_sums(name, found.reduced)
    for name in ("b²", "g²", "m²", "v"):
        expected, got = (reduced.total[name] for reduced in found.reduced)
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected), err_msg=name)
    expected, got = (reduced.dead_row_fraction for reduced in found.reduced)
    np.testing.assert_array_equal(got, expected)


# --- what is left to torch ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["exp_avg in 8 bits", "exp_avg_sq in float64", "gradient"])
@pytest.mark.parametrize("most", [None, 300])
def test_moments_in_half_precision_are_handed_over(kind: str, most: int | None) -> None:
    """If a step turns out not to fit, torch's operations continue from the copies."""
    parameters = parameters_of(TYPES["bfloat16"], ((40, 30), (50,)))
    optimizer = AdamW(parameters, lr=1e-3)
    ways = TwoWays(optimizer, most)

    def take() -> None:
        set_state_types(optimizer, None)
        optimizer.step()
        state = optimizer.state[parameters[1]]
        if kind == "exp_avg in 8 bits":
            state["exp_avg"] = state["exp_avg"].to(torch.float8_e5m2)
        elif kind == "exp_avg_sq in float64":
            state["exp_avg_sq"] = state["exp_avg_sq"].double()

    for number in range(1, 6):
        set_half_gradients(parameters, number)
        if number in (2, 3) and kind == "gradient":
            parameters[0].grad = torch.randn(30, 40).bfloat16().t()
        forget(ways)
        found = ways.step(number, take if number in (2, 3) else None)
        if number == 3:
            set_state_types(optimizer, None)
        check_equal(found)
        if number in (2, 3):
            for name in NAMES:
                by_torch, by_kernel = (reduced.total[name] for reduced in found.reduced)
                np.testing.assert_array_equal(by_kernel, by_torch, err_msg=name)
        # No copies of moments remain after a step, whichever way measured it.
        assert not ways.native._before
    assert len(ways.native._refusals) == 1


def test_a_kernel_that_numbers_types_otherwise_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = two_ways.kernel()
    monkeypatch.setattr(kernel, "TYPES", ("float32", "float16", "bfloat16"))
    loading._loaded.cache_clear()
    try:
        assert loading.find_kernel() is None
    finally:
        monkeypatch.undo()
        loading._loaded.cache_clear()
    assert loading.find_kernel() is kernel


# --- training ------------------------------------------------------------------------------------


def trained(dtype: torch.dtype, folder: Path | None) -> list[Tensor]:
    """Train a little, recorded or not; return weights and moments."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 1)).to(dtype)
    optimizer = AdamW(model.parameters(), lr=1e-2, eps=1e-4)  # which float16 can hold

    def train() -> None:
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.randn(8, 20).to(dtype)).square().mean().backward()
            optimizer.step()

    if folder is None:
        train()
    else:
        with AdamDebugCallback(
            model, optimizer, log_dir=folder, every_n_steps=1, on_error="raise"
        ) as debug:
            train()
            (measurement,) = debug._parameters.records._measurements
            native = measurement._reduction
            assert isinstance(native, NativePass)
            assert native._refusals == set()
    keys = ("exp_avg", "exp_avg_sq")
    moments = [state[key] for state in optimizer.state.values() for key in keys]
    return [tensor.detach().clone() for tensor in (*model.parameters(), *moments)]


@pytest.mark.parametrize("dtype", HALVES)
def test_training_in_half_precision_is_the_same_with_the_kernel(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    two_ways.kernel()
    for with_callback, without in zip(trained(dtype, tmp_path), trained(dtype, None), strict=True):
        assert torch.isfinite(without).all()
        assert torch.equal(with_callback, without)
