"""Rounding losses, against independent computations on real half-precision tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from recorded_run import RecordedRun, read_run
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback

Array = npt.NDArray[np.float64]
BETA1, BETA2, EPS = 0.9, 0.99, 1e-4


@dataclass
class Snapshot:
    """One parameter around one step, in float64."""

    before: Array
    after: Array
    gradient: Array
    exp_avg_before: Array
    exp_avg: Array
    exp_avg_sq_before: Array
    exp_avg_sq: Array


class MixedAdamW(torch.optim.AdamW):
    """AdamW that keeps its moments in a type of its own, as a for-loop."""

    def __init__(self, parameters: Any, dtype: torch.dtype, **options: Any) -> None:
        super().__init__(parameters, **options)
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["step"] = torch.zeros(())
                    state["exp_avg"] = torch.zeros_like(weight, dtype=self._dtype)
                    state["exp_avg_sq"] = torch.zeros_like(weight, dtype=self._dtype)
                state["step"] += 1
                t, (beta1, beta2) = state["step"].item(), group["betas"]
                # In float32, and rounded when it is stored, as the fused kernel does.
                m = state["exp_avg"].float().lerp(weight.grad.float(), 1 - beta1)
                v = state["exp_avg_sq"].float() * beta2 + (1 - beta2) * weight.grad.float() ** 2
                state["exp_avg"].copy_(m)
                state["exp_avg_sq"].copy_(v)
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                root = (v / (1 - beta2**t)).sqrt() + group["eps"]
                weight.sub_(group["lr"] / (1 - beta1**t) * m / root)


def as_array(tensor: Tensor) -> Array:
    # A copy: a step changes the tensor in place.
    array: Array = tensor.detach().double().numpy().copy()
    return array


def train(
    folder: Path,
    weight: nn.Parameter,
    optimizer: torch.optim.Optimizer,
    gradients: list[Tensor],
    second: str = "exp_avg_sq",
) -> tuple[RecordedRun, list[Snapshot]]:
    snapshots = []
    debug = AdamDebugCallback(
        [("w", weight)], optimizer, log_dir=folder, every_n_steps=1, on_error="raise"
    )
    zeros = np.zeros(weight.shape)

    def moments() -> tuple[Array, Array]:
        state: Mapping[str, Tensor] = optimizer.state[weight]
        return (as_array(state["exp_avg"]), as_array(state[second])) if state else (zeros, zeros)

    with debug:
        for gradient in gradients:
            before, (m_before, v_before) = as_array(weight), moments()
            weight.grad = gradient.to(weight.dtype)
            optimizer.step()
            m, v = moments()
            snapshots.append(
                Snapshot(before, as_array(weight), as_array(weight.grad), m_before, m, v_before, v)
            )
    return read_run(folder), snapshots


def make_weight(dtype: torch.dtype, elements: int = 5000) -> nn.Parameter:
    generator = torch.Generator().manual_seed(1)
    size = 10 ** (torch.rand(elements, generator=generator) * 4 - 3)
    return nn.Parameter((torch.randn(elements, generator=generator) * size).to(dtype))


def make_gradients(steps: int, elements: int = 5000, scale: float = 1.0) -> list[Tensor]:
    """Over four decades; a tenth of them zero."""
    generator = torch.Generator().manual_seed(2)
    size = scale * 10 ** (torch.rand(elements, generator=generator) * 4 - 4)
    return [
        (torch.randn(elements, generator=generator) + 0.3) * size
        * (torch.rand(elements, generator=generator) > 0.1)
        for _ in range(steps)
    ]  # fmt: skip


def norm(x: Array) -> float:
    return float(np.sqrt(np.sum(x**2)))


def requested_update(s: Snapshot, step: int, lr: float, weight_decay: float) -> Array:
    m_hat = s.exp_avg / (1 - BETA1**step)
    v_hat = s.exp_avg_sq / (1 - BETA2**step)
    requested: Array = -lr * (m_hat / (np.sqrt(v_hat) + EPS) + weight_decay * s.before)
    return requested


@pytest.mark.parametrize("implementation", [{"foreach": False}, {"foreach": True}, {"fused": True}])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_part_of_the_update_that_rounding_lost(
    tmp_path: Path, dtype: torch.dtype, implementation: dict[str, Any]
) -> None:
    lr, weight_decay = 1e-3, 0.1
    weight = make_weight(dtype)
    optimizer = torch.optim.AdamW(
        [weight], lr=lr, betas=(BETA1, BETA2), eps=EPS, weight_decay=weight_decay, **implementation
    )
    run, snapshots = train(tmp_path, weight, optimizer, make_gradients(4))
    for step, s in enumerate(snapshots, 1):
        requested = requested_update(s, step, lr, weight_decay)
        applied = s.after - s.before
        wanted = requested != 0
        lost = np.mean(applied[wanted] == 0)
        error = norm(applied - requested) / norm(requested)
        row = run.of(step, "w")
        assert row["lost_update_fraction"] == pytest.approx(lost, abs=1e-7)
        assert row["update_rounding_error"] == pytest.approx(error, rel=1e-3, abs=1e-5)
        slope = np.sum(applied * requested) / np.sum(requested**2)
        assert row["update_slope"] == pytest.approx(slope, rel=1e-5)
        at_least = {torch.float32: 0, torch.float16: 0.1, torch.bfloat16: 0.3}[dtype]
        assert lost >= at_least
        assert (error > 0.02) == (dtype != torch.float32)


def test_a_tiny_update_is_lost_in_every_element(tmp_path: Path) -> None:
    """Half an ulp of a bfloat16 number is at least 2^-9 of it; these updates are 2^-10 and less."""
    weight = nn.Parameter(torch.linspace(1, 2, 333).bfloat16())
    optimizer = torch.optim.Adam([weight], lr=2**-10, betas=(BETA1, BETA2))
    # An element without a gradient requests nothing, and so loses nothing.
    gradient = (torch.arange(333) % 3 == 0).float()
    run, snapshots = train(tmp_path, weight, optimizer, [gradient] * 3)
    for step in (1, 2, 3):
        assert np.array_equal(snapshots[step - 1].before, snapshots[step - 1].after)
        row = run.of(step, "w")
        assert row["lost_update_fraction"] == row["unchanged_fraction"] == 1
        assert row["update_rounding_error"] == pytest.approx(1, rel=1e-3)
        assert row["update_rms"] == 0
        assert row["update_slope"] == pytest.approx(0, abs=1e-6)
        # What was asked for is not small at all.
        assert row["normalized_update_rms"] == pytest.approx((1 / 3) ** 0.5, rel=2e-2)


def test_an_update_that_nothing_asked_for_is_not_lost(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(10, dtype=torch.bfloat16))
    optimizer = torch.optim.Adam([weight], lr=0.1)
    gradient = torch.tensor([1.0] * 2 + [0.0] * 8)
    run, _ = train(tmp_path, weight, optimizer, [gradient, gradient])
    for step in (1, 2):
        assert run.of(step, "w")["unchanged_fraction"] == pytest.approx(0.8)
        assert run.of(step, "w")["lost_update_fraction"] == 0
    still = nn.Parameter(torch.ones(10, dtype=torch.bfloat16))
    optimizer = torch.optim.Adam([still], lr=0.1)
    run, _ = train(tmp_path / "still", still, optimizer, [torch.zeros(10)] * 2)
    assert np.isnan(run.of(2, "w")["lost_update_fraction"])
    assert np.isnan(run.of(2, "w")["update_rounding_error"])
    assert np.isnan(run.of(2, "w")["second_moment_frozen_fraction"])  # no element has one
    assert np.isnan(run.of(2, "w")["second_moment_underflow_fraction"])


@pytest.mark.parametrize(
    ("beta2", "frozen"), [(0.999, 1.0), (0.9985, 1.0), (0.99, 0.0), (0.95, 0.0)]
)
def test_a_second_moment_in_bfloat16_is_frozen_by_its_decay_rate(
    tmp_path: Path, beta2: float, frozen: float
) -> None:
    """From below 2^-9 on, 1 - beta2 of a number is less than half an ulp of every one."""
    weight = make_weight(torch.bfloat16)
    optimizer = torch.optim.AdamW([weight], betas=(BETA1, beta2))
    gradients = make_gradients(3)
    gradients.append(torch.zeros_like(gradients[0]))
    run, snapshots = train(tmp_path, weight, optimizer, gradients)
    for step, s in enumerate(snapshots, 1):
        assert run.of(step, "w")["second_moment_frozen_fraction"] == frozen
        zeros = np.mean(s.exp_avg_sq == 0)
        assert run.of(step, "w")["zero_second_moment_fraction"] == pytest.approx(zeros)
    # It is true: without a gradient v stays as it is, or shrinks.
    some = snapshots[3].exp_avg_sq_before > 0
    unchanged = np.mean((snapshots[3].exp_avg_sq == snapshots[3].exp_avg_sq_before)[some])
    assert unchanged == frozen


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_elements_whose_second_moment_is_frozen_are_counted(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    # For this decay rate some are: it lies between the smallest and the largest half ulp.
    beta2 = 1 - (0.003 if dtype == torch.bfloat16 else 0.0003)
    weight = make_weight(dtype)
    optimizer = torch.optim.AdamW([weight], betas=(BETA1, beta2), eps=1e-4)
    run, snapshots = train(tmp_path, weight, optimizer, make_gradients(3, scale=10.0))
    for step, s in enumerate(snapshots, 1):
        some = s.exp_avg_sq > 0
        v = torch.from_numpy(s.exp_avg_sq[some])
        decayed = (v.float() * np.float32(beta2)).to(dtype).double()
        expected = (decayed == v).double().mean().item()
        assert 0.2 < expected < 0.9
        row = run.of(step, "w")
        assert row["second_moment_frozen_fraction"] == pytest.approx(expected, abs=1e-7)


def test_a_second_moment_in_float32_is_frozen_by_no_usual_decay_rate(tmp_path: Path) -> None:
    for beta2, expected in ((0.999, 0.0), (1 - 2.0**-22, 0.0), (1 - 2.0**-25, float("nan"))):
        weight = make_weight(torch.float32)
        optimizer = torch.optim.AdamW([weight], betas=(BETA1, beta2))
        run, _ = train(tmp_path / str(beta2), weight, optimizer, make_gradients(2))
        row = run.of(2, "w")
        assert row["second_moment_frozen_fraction"] == pytest.approx(expected, nan_ok=True)


def test_whether_a_second_moment_in_eight_bits_is_frozen_is_not_known(tmp_path: Path) -> None:
    weight = make_weight(torch.float32)
    optimizer = MixedAdamW([weight], torch.float8_e5m2, betas=(BETA1, 0.9))
    run, _ = train(tmp_path, weight, optimizer, make_gradients(3))
    assert np.isnan(run.of(3, "w")["second_moment_frozen_fraction"])
    assert run.of(3, "w")["exp_avg_sq_rounding_error"] > 0


@pytest.mark.parametrize(
    ("dtype", "scale"), [(torch.float16, 1.0), (torch.float32, 1e-16), (torch.bfloat16, 1e-16)]
)
def test_a_second_moment_that_underflows(tmp_path: Path, dtype: torch.dtype, scale: float) -> None:
    """Subnormal ones count as well as zeros, of elements that have a gradient."""
    weight = make_weight(dtype)
    # The fused kernel survives where the others divide by zero.
    optimizer = torch.optim.AdamW([weight], betas=(BETA1, BETA2), eps=1e-8, fused=True)
    run, snapshots = train(tmp_path, weight, optimizer, make_gradients(3, scale=scale))
    tiny = torch.finfo(dtype).tiny
    for step, s in enumerate(snapshots, 1):
        has_gradient = s.gradient != 0
        expected = np.mean(s.exp_avg_sq[has_gradient] < tiny)
        assert 0.1 < expected < 0.95
        row = run.of(step, "w")
        assert row["second_moment_underflow_fraction"] == pytest.approx(expected, abs=1e-7)


ROUNDED_TYPES = [
    (torch.bfloat16, torch.bfloat16),
    (torch.float16, torch.float16),
    (torch.float32, torch.bfloat16),
    (torch.float32, torch.float16),
]


@pytest.mark.parametrize(("weights", "moments"), ROUNDED_TYPES)
def test_what_the_moments_lose_when_they_are_stored(
    tmp_path: Path, weights: torch.dtype, moments: torch.dtype
) -> None:
    weight = make_weight(weights)
    options: dict[str, Any] = {"lr": 1e-3, "betas": (BETA1, BETA2), "eps": EPS}
    optimizer: torch.optim.Optimizer = (
        torch.optim.AdamW([weight], **options, foreach=False)
        if weights == moments
        else MixedAdamW([weight], moments, **options)
    )
    run, snapshots = train(tmp_path, weight, optimizer, make_gradients(4))
    assert run.layouts[run.layout_at[4]].groups[0].storage == {
        "exp_avg": str(moments).removeprefix("torch."),
        "exp_avg_sq": str(moments).removeprefix("torch."),
    }
    assert optimizer.state[weight]["exp_avg"].dtype == moments
    for name in ("exp_avg_rounding_error", "exp_avg_sq_rounding_error"):
        assert np.isnan(run.of(1, "w")[name])  # there was nothing before
    for step, s in enumerate(snapshots, 1):
        if step == 1:
            continue
        m = BETA1 * s.exp_avg_before + (1 - BETA1) * s.gradient
        v = BETA2 * s.exp_avg_sq_before + (1 - BETA2) * s.gradient**2
        expected = {
            "exp_avg_rounding_error": norm(s.exp_avg - m) / norm(m),
            "exp_avg_sq_rounding_error": norm(s.exp_avg_sq - v) / norm(v),
        }
        row = run.of(step, "w")
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-3)
        ulp = torch.finfo(moments).eps
        assert all(0.05 * ulp < error < 2 * ulp for error in expected.values()), expected


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("decoupled", [False, True])
def test_the_exact_moment_has_the_gradients_sign_and_weight_decay(
    tmp_path: Path, maximize: bool, decoupled: bool
) -> None:
    weight = make_weight(torch.bfloat16)
    kind: Any = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = kind(
        [weight], betas=(BETA1, BETA2), weight_decay=0.3, maximize=maximize, foreach=False
    )
    run, snapshots = train(tmp_path, weight, optimizer, make_gradients(3))
    s = snapshots[2]
    g = (-s.gradient if maximize else s.gradient) + (0 if decoupled else 0.3) * s.before
    m = BETA1 * s.exp_avg_before + (1 - BETA1) * g
    row = run.of(3, "w")
    # torch rounds the sum of gradient and weight decay, too, which is a loss as well.
    expected = norm(s.exp_avg - m) / norm(m)
    assert expected < 0.01
    assert row["exp_avg_rounding_error"] == pytest.approx(expected, rel=1e-3)


def test_a_maximum_is_not_rounded(tmp_path: Path) -> None:
    """Under amsgrad exp_avg_sq is the largest average so far, which is not expected to decay."""
    weight = make_weight(torch.bfloat16)
    optimizer = torch.optim.AdamW([weight], amsgrad=True)
    run, _ = train(tmp_path, weight, optimizer, make_gradients(3), second="max_exp_avg_sq")
    row = run.of(3, "w")
    assert np.isnan(row["exp_avg_sq_rounding_error"])
    assert row["second_moment_frozen_fraction"] == 0
    assert row["exp_avg_rounding_error"] > 0


def test_nothing_is_rounded_in_float32(tmp_path: Path) -> None:
    weight = make_weight(torch.float32)
    optimizer = torch.optim.AdamW([weight])
    run, _ = train(tmp_path, weight, optimizer, make_gradients(3))
    row = run.of(3, "w")
    assert np.isnan(row["exp_avg_rounding_error"])
    assert np.isnan(row["exp_avg_sq_rounding_error"])
    assert row["lost_update_fraction"] < 0.01


def test_types_may_differ_between_the_parameters_of_one_optimizer(tmp_path: Path) -> None:
    """Each parameter is judged by the type of its own state."""
    weights = {
        name: nn.Parameter(make_weight(dtype).detach()[:900].clone())
        for name, dtype in (
            ("single", torch.float32),
            ("brain", torch.bfloat16),
            ("half", torch.float16),
        )
    }
    optimizer = torch.optim.AdamW(weights.values(), eps=1e-4, foreach=False)
    debug = AdamDebugCallback(
        weights.items(), optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"
    )
    with debug:
        for gradient in make_gradients(3, elements=900):
            for weight in weights.values():
                weight.grad = gradient.to(weight.dtype)
            optimizer.step()
    run = read_run(tmp_path)
    rows = {name: run.of(3, name) for name in weights}
    frozen = {name: row["second_moment_frozen_fraction"] for name, row in rows.items()}
    assert frozen["single"] == 0
    assert frozen["brain"] == 1
    v = optimizer.state[weights["half"]]["exp_avg_sq"]
    v = v[v != 0]
    assert frozen["half"] == pytest.approx((v * 0.999 == v).double().mean().item(), abs=1e-7)
    assert [np.isnan(row["exp_avg_rounding_error"]) for row in rows.values()] == [
        True,
        False,
        False,
    ]
    assert rows["brain"]["exp_avg_rounding_error"] > 4 * rows["half"]["exp_avg_rounding_error"]
    assert (
        run.layouts[run.layout_at[3]].groups[0].storage["exp_avg"] == "bfloat16, float16, float32"
    )
