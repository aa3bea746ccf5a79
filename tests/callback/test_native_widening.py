"""How the C kernel widens every number in half precision, and the norms of such gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import two_ways
from half_precision import HALVES, TYPES, every_level, parameters_of
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from two_ways import TwoWays

from tb_adam_plugin.callback.native import loading
from tb_adam_plugin.callback.read.norms import GradientNorms

# --- every number there is ----------------------------------------------------------------------


def every_number(dtype: torch.dtype) -> Tensor:
    """All of a type's 65,536 numbers, in 256 rows."""
    bits = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16)
    return bits.view(dtype).view(256, 256)


@every_level
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("length", [256, 37])  # no multiple of what is widened at once
@pytest.mark.parametrize("flushes", [False, True])
def test_every_number_is_widened_exactly(
    dtype: torch.dtype, level: int, length: int, flushes: bool
) -> None:
    numbers = every_number(dtype)
    parameters = [nn.Parameter(part) for part in numbers.flatten().split(length)]
    ways = TwoWays(SGD(parameters, lr=0.1), None, level)
    expected = numbers.float().numpy()
    torch.set_flush_denormal(flushes)
    try:
        assert ways.native.keep(parameters, {})
    finally:
        torch.set_flush_denormal(False)
    rows = ways.by_kernel.panel.rows_before().numpy()
    found = np.concatenate([row[:length] for row in rows])[: numbers.numel()].reshape(256, 256)
    is_nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), is_nan)
    same_bits = found.view(np.int32) == expected.view(np.int32)
    assert same_bits[~is_nan].all()


@every_level
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(
    "beta2", [0.0, 0.5, 0.9, 0.95, 0.997, 0.9985, 0.999, 0.9997, 0.99999, 1.0, 1.5, float("nan")]
)
def test_which_numbers_are_frozen(dtype: torch.dtype, level: int, beta2: float) -> None:
    """Of every number that exp_avg_sq may be, as torch rounds: also where that overflows."""
    numbers = every_number(dtype)
    parameters = [nn.Parameter(torch.ones(256, dtype=dtype)) for _ in numbers]
    optimizer = AdamW(parameters)
    optimizer.param_groups[0]["betas"] = 0.9, beta2
    ways = TwoWays(optimizer, None, level)

    def take() -> None:
        for parameter, row in zip(parameters, numbers, strict=True):
            optimizer.state[parameter] = {
                "step": torch.tensor(1.0), "exp_avg": torch.ones_like(row), "exp_avg_sq": row,
            }  # fmt: skip

    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    by_torch, by_kernel = ways.step(1, take).reduced
    wide = numbers.float()
    is_frozen = ((wide * torch.tensor(beta2)).to(dtype) == wide) & (wide != 0)
    expected = is_frozen.sum(1).numpy()
    np.testing.assert_array_equal(by_kernel.total["v frozen"], expected)
    np.testing.assert_array_equal(by_torch.total["v frozen"], expected)
    for name in ("v<tiny, g≠0", "v=0", "max v"):
        np.testing.assert_array_equal(by_kernel.total[name], by_torch.total[name])
    assert ways.native._refusals == set()


# --- norms of gradients -------------------------------------------------------------------------


@every_level
@pytest.mark.parametrize("scale", [1e-7, 1e-3, 1.0, 1e4, 1e19])
def test_norms_of_gradients_in_half_precision(level: int, scale: float) -> None:
    two_ways.kernel()
    shapes = ((), (0, 4), (7,), (511,), (513,), (2_048,), (2_049,), (3, 70_001), (300, 300))
    parameters = [p for kind in TYPES.values() for p in parameters_of(kind, shapes)]
    for parameter in parameters:
        parameter.grad = (parameter.detach() * scale).clone()
    parameters[3].grad = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(loading.VARIABLE, "0")
        by_torch = GradientNorms(parameters)
    by_kernel = GradientNorms(parameters)
    assert by_torch._native is None
    assert by_kernel._native is not None
    by_kernel._native._level = level
    (expected, present), (found, present_too) = by_torch.squares(), by_kernel.squares()
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # torch adds up more in float32
    assert present == present_too
    exact = [0.0 if p.grad is None else p.grad.double().square().sum().item() for p in parameters]
    np.testing.assert_allclose(found, exact, rtol=5e-6)
    assert by_kernel._native.squares([p.grad for p in parameters]) is not None
