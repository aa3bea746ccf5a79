"""The statistics, read back from the event file, against an independent Adam in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_adam
import torch
from adam_numbers import (
    DECAYS,
    FIRST,
    IMPLEMENTATIONS,
    ROUNDED,
    SECOND,
    SHAPES,
    STEPS,
    check,
    compare,
    loss_of,
    make_gradients,
    make_optimizer,
    make_parameters,
    train,
)
from recorded_run import read_run
from reference_adam import Hyperparameters, run_adam
from torch import Tensor, nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.measure.parameter_sums import add_up
from tb_adam_plugin.callback.measure.row_value_table import ROW_VALUES


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_statistics_equal_an_independent_adam(
    tmp_path: Path, amsgrad: bool, maximize: bool, decay: str, implementation: str
) -> None:
    first, second = (
        replace(h, amsgrad=amsgrad, maximize=maximize, **DECAYS[decay]) for h in (FIRST, SECOND)
    )
    parameters, gradients = make_parameters(), make_gradients()
    optimizer = make_optimizer(parameters, first, second, **IMPLEMENTATIONS[implementation])
    weights = train(tmp_path, parameters, optimizer, gradients)
    check(read_run(tmp_path), weights, gradients, (first, second), tolerance=1e-4)


@pytest.mark.parametrize("implementation", ["for-loop", "fused"])
def test_lr_and_betas_may_be_tensors(tmp_path: Path, implementation: str) -> None:
    def number(value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float64)

    options = IMPLEMENTATIONS[implementation]
    parameters, gradients = make_parameters(), make_gradients()
    optimizer = make_optimizer(parameters, FIRST, SECOND, float, **options)
    for group in optimizer.param_groups:
        group["lr"] = number(group["lr"])
        if implementation == "for-loop":  # the fused kernel takes no tensors for betas
            group["betas"] = tuple(number(beta) for beta in group["betas"])
    weights = train(tmp_path, parameters, optimizer, gradients)
    run = read_run(tmp_path)
    check(run, weights, gradients, (FIRST, SECOND), tolerance=1e-4)
    assert run.hyperparameters[3]["lr"].tolist() == [FIRST.lr, SECOND.lr]
    assert run.hyperparameters[3]["beta2"].tolist() == [FIRST.beta2, SECOND.beta2]


@pytest.mark.parametrize("decay", DECAYS)
def test_float64_parameters_are_measured_in_float64(tmp_path: Path, decay: str) -> None:
    first, second = (
        replace(h, amsgrad=True, maximize=True, **DECAYS[decay]) for h in (FIRST, SECOND)
    )
    parameters, gradients = make_parameters(torch.float64), make_gradients()
    optimizer = make_optimizer(parameters, first, second)
    weights = train(tmp_path, parameters, optimizer, gradients)
    check(read_run(tmp_path), weights, gradients, (first, second), tolerance=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_update_is_what_really_changed(tmp_path: Path, dtype: torch.dtype) -> None:
    parameters, gradients = make_parameters(dtype), make_gradients()
    optimizer = make_optimizer(parameters, replace(FIRST, lr=1e-4, eps=1e-4), SECOND)
    weights = train(tmp_path, parameters, optimizer, gradients)
    run = read_run(tmp_path)
    for name in SHAPES:
        for step in range(1, STEPS + 1):
            before, after = weights[name][step - 1], weights[name][step]
            recorded = run.of(step, name)
            assert recorded["update_rms"] == pytest.approx(reference_adam.rms(after - before))
            assert recorded["weight_rms"] == pytest.approx(reference_adam.rms(before))
            assert recorded["unchanged_fraction"] == pytest.approx(np.mean(after == before))
    assert run.of(STEPS, "matrix")["unchanged_fraction"] > 0.3, "the test has no lost update"


def test_the_parts_of_a_large_parameter_that_are_exact_are(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    # Not a multiple of a line, with a constant magnitude that one float32 accumulator adds up
    # wrongly.
    weight = nn.Parameter(0.1 + 1e-3 * torch.rand(1_500_003, generator=generator))
    optimizer = torch.optim.Adam([weight], lr=1e-3)
    before = weight.detach().double().numpy().copy()
    with AdamDebugCallback(
        [("weight", weight)], optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"
    ):
        weight.grad = torch.randn(weight.shape, generator=generator).add_(3)
        optimizer.step()
    recorded = read_run(tmp_path).of(1, "weight")
    state = {name: value.double().numpy() for name, value in optimizer.state[weight].items()}
    gradient = weight.grad.double().numpy()
    expected = {
        "weight_rms": reference_adam.rms(before),
        "gradient_rms": reference_adam.rms(gradient),
        "exp_avg_rms": reference_adam.rms(state["exp_avg"] / 0.1),
        "exp_avg_sq_root": np.sqrt(np.mean(state["exp_avg_sq"] / (1 - 0.999))),
        "nonfinite_count": 0,
    }
    for name, value in expected.items():
        assert recorded[name] == pytest.approx(value, rel=1e-5), name


def test_not_finite_elements_are_counted_exactly_wherever_they_are(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(300_001))
    small = nn.Parameter(torch.ones(7))
    optimizer = torch.optim.Adam([weight, small], lr=1e-3)
    with AdamDebugCallback(
        [("weight", weight), ("small", small)],
        optimizer,
        log_dir=tmp_path,
        every_n_steps=1,
        on_error="raise",
    ) as debug:
        for bad in ([], [5, 250_000]):
            weight.grad, small.grad = torch.ones_like(weight), torch.ones_like(small)
            weight.grad[bad] = torch.tensor([torch.nan, torch.inf])[: len(bad)]
            small.grad[len(bad) :] = -1
            optimizer.step()
        assert debug.step == 2
    run = read_run(tmp_path)
    assert run.of(1, "weight")["nonfinite_count"] == 0
    # Both elements of the gradient, of exp_avg, of exp_avg_sq and of the weight.
    assert run.of(2, "weight")["nonfinite_count"] == 8
    assert run.of(2, "small")["nonfinite_count"] == 0


def test_values_beyond_the_squares_of_float32_keep_their_size(tmp_path: Path) -> None:
    tiny, huge = nn.Parameter(torch.ones(500)), nn.Parameter(torch.ones(500))
    optimizer = torch.optim.Adam([tiny, huge], lr=1e-3)
    with AdamDebugCallback(
        [("tiny", tiny), ("huge", huge)], optimizer, log_dir=tmp_path, on_error="raise"
    ):
        tiny.grad, huge.grad = torch.full_like(tiny, 1e-25), torch.full_like(huge, 1e25)
        optimizer.step()
    run = read_run(tmp_path)
    assert run.of(1, "tiny")["gradient_rms"] == pytest.approx(1e-25, rel=1e-5)
    assert run.of(1, "tiny")["exp_avg_rms"] == pytest.approx(1e-25, rel=1e-5)
    assert run.of(1, "huge")["gradient_rms"] == pytest.approx(1e25, rel=1e-5)
    assert run.of(1, "huge")["exp_avg_sq_root"] == np.inf  # the optimizer's own overflow
    assert run.of(1, "huge")["nonfinite_count"] == 500


@pytest.mark.parametrize(("beta2", "is_known"), [(0.0, False), (1e-9, False), (0.9, True)])
def test_what_a_second_moment_was_is_not_known_where_nothing_of_it_is_left(
    tmp_path: Path, beta2: float, is_known: bool
) -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.ones(500))
    optimizer = torch.optim.Adam([weight], betas=(0.9, beta2))
    with AdamDebugCallback([("w", weight)], optimizer, log_dir=tmp_path, every_n_steps=1):
        for _ in range(20):
            weight.grad = torch.randn(500)
            optimizer.step()
    surprise = [read_run(tmp_path).of(step, "w")["gradient_surprise"] for step in range(2, 21)]
    if is_known:
        assert surprise == pytest.approx(np.ones(19), rel=0.3)
    else:
        assert np.isnan(surprise).all()


def test_a_zero_weight_that_moves_has_an_infinite_ratio(tmp_path: Path) -> None:
    zero, resting, diverged = (nn.Parameter(torch.full((5,), w)) for w in (0.0, 0.0, 1.0))
    optimizer = torch.optim.Adam([zero, resting, diverged], lr=1e-3)
    names = [("zero", zero), ("resting", resting), ("diverged", diverged)]
    with AdamDebugCallback(names, optimizer, log_dir=tmp_path, on_error="raise"):
        zero.grad, resting.grad = torch.ones(5), torch.zeros(5)
        diverged.grad = torch.full((5,), torch.nan)
        optimizer.step()
    run = read_run(tmp_path)
    assert run.of(1, "zero")["update_to_weight_ratio"] == np.inf
    assert run.of(1, "resting")["update_to_weight_ratio"] == 0
    assert np.isnan(run.of(1, "diverged")["update_to_weight_ratio"])


def test_a_parameter_without_a_gradient_has_a_measured_update_of_zero(tmp_path: Path) -> None:
    used, resting, never = (nn.Parameter(torch.ones(400)) for _ in range(3))
    optimizer = torch.optim.AdamW([used, resting, never], lr=1e-3)
    names = [("used", used), ("resting", resting), ("never", never)]
    with AdamDebugCallback(names, optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"):
        for gradient in (torch.ones(400), None):
            used.grad, resting.grad = torch.ones(400), gradient
            optimizer.step()
    run = read_run(tmp_path)
    row = run.of(2, "resting")
    assert row["update_rms"] == 0
    assert row["unchanged_fraction"] == 1
    assert row["exp_avg_rms"] == pytest.approx(1)  # still its state after one step
    others = {"rms_t", "elasticity", "dead_row_fraction", "second_moment_flicker"}
    of_gradient = [name for name in row if "gradient" in name or name in others]
    assert len(of_gradient) == 11
    assert all(np.isnan(row[name]) for name in of_gradient)
    assert run.histogram(2, "resting", "gradient").sum() == 0
    assert run.histogram(2, "resting", "exp_avg").sum() == 400
    assert np.isnan(run.of(2, "never")["exp_avg_rms"])
    assert run.histogram(2, "never", "exp_avg").sum() == 0
    assert run.of(2, "never")["update_rms"] == 0


@pytest.mark.parametrize("native", ["0", "1"])
def test_what_never_had_a_gradient_has_no_more_counts_than_elements(
    native: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NAdam's numbers are in the state: without a state they are computed from nothing."""
    monkeypatch.setenv("ADAM_DEBUG_NATIVE", native)
    trained, never = nn.Linear(4, 10), nn.Linear(4, 10)
    model = nn.ModuleDict({"trained": trained, "never": never})
    optimizer = torch.optim.NAdam(model.parameters())
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, normalized_update=True):
        for _ in range(2):
            optimizer.zero_grad()
            trained(torch.randn(3, 4)).square().sum().backward()
            optimizer.step()
    run = read_run(tmp_path)
    counts = run.histogram(2, "never.bias", "normalized_update")
    assert counts.min() >= 0
    assert counts.sum() <= 10


def test_exact_reads_every_element_of_a_parameter_of_any_size(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = {"large": (600_001,), "image": (64, 30, 3, 3), "small": (3,)}
    parameters = {n: nn.Parameter(torch.randn(s, generator=generator)) for n, s in shapes.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3, weight_decay=0.1)
    h = Hyperparameters(lr=1e-3, weight_decay=0.1, decoupled=True)
    before = {n: p.detach().double().numpy().copy() for n, p in parameters.items()}
    gradients: dict[str, list[np.ndarray[Any, Any]]] = {n: [] for n in shapes}
    with AdamDebugCallback(
        parameters.items(),
        optimizer,
        log_dir=tmp_path,
        exact=True,
        normalized_update=True,
        every_n_steps=1,
        on_error="raise",
    ) as debug:
        for step in (1, 2):
            debug.record(loss=torch.tensor(loss_of(step)))
            for name, parameter in parameters.items():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
                gradients[name].append(parameter.grad.double().numpy())
            optimizer.step()
    run = read_run(tmp_path)
    for row in run.layout.parameters:
        assert row.elements_read == row.elements
        ideal = run_adam(before[row.name], gradients[row.name], h)[1]
        recorded = run.of(2, row.name)
        compare(recorded, ideal, recorded.keys() - ROUNDED, 3e-4)
        assert (run.histogram(2, row.name, "gradient").sum()) == row.elements
        normalized = run.histogram(2, row.name, "normalized_update")
        m_hat, v_hat = ideal.exp_avg / (1 - 0.9**2), ideal.second / (1 - 0.999**2)
        expected = schema.count_values(
            m_hat / (np.sqrt(v_hat) + h.eps), schema.OPTIONAL_QUANTITIES[0]
        )
        # A value may round to the other side of an edge.
        assert normalized.sum() == row.elements
        assert np.abs(normalized - expected).sum() <= 2e-5 * row.elements
        expected = schema.count_values(gradients[row.name][1], schema.QUANTITIES[4])
        assert run.histogram(2, row.name, "gradient").tolist() == expected.tolist()


def test_hyperparameters_are_those_of_the_step_and_not_the_schedulers_next(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.AdamW([weight], lr=1.0, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.5)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    with AdamDebugCallback(
        [("weight", weight)], optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"
    ):
        for _ in range(3):
            weight.grad = torch.ones(4)
            optimizer.step()
            scheduler.step()
    run = read_run(tmp_path)
    assert [run.hyperparameters[step]["lr"][0] for step in (1, 2, 3)] == [1, 0.5, 0.25]
    assert [run.steps[step]["lr"] for step in (1, 2, 3)] == [1, 0.5, 0.25]
    settings = {name: column[0] for name, column in run.hyperparameters[3].items()}
    assert settings == {
        "lr": 0.25, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.5
    }  # fmt: skip
    assert run.scalars["adam_debug/lr/group0"] == {1: 1, 2: 0.5, 3: 0.25}


def test_a_learning_rate_that_is_a_tensor_is_that_of_each_step(tmp_path: Path) -> None:
    """Also where rows wait for a record while a schedule changes the tensor in place."""
    weight = nn.Parameter(torch.ones(4))
    lr = torch.tensor(1.0)
    optimizer = torch.optim.AdamW([weight], lr=lr)
    with AdamDebugCallback(
        [("weight", weight)], optimizer, log_dir=tmp_path, every_n_steps=100, on_error="raise"
    ):
        for _ in range(7):
            weight.grad = torch.ones(4)
            optimizer.step()
            lr.mul_(0.5)
    rows = read_run(tmp_path).steps
    assert [rows[step]["lr"] for step in range(1, 8)] == [0.5**k for k in range(7)]


def test_the_gradient_norm_of_every_step_is_over_all_parameters(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = [
        nn.Parameter(torch.zeros(shape, dtype=dtype))
        for shape, dtype in [
            ((3, 5), torch.float32), ((200_001,), torch.float32),
            ((), torch.float32), ((40,), torch.bfloat16), ((9,), torch.float64),
        ]
    ]  # fmt: skip
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    norms = []
    with AdamDebugCallback(
        [(f"p{i}", p) for i, p in enumerate(parameters)],
        optimizer,
        log_dir=tmp_path,
        every_n_steps=100,
        on_error="raise",
    ):
        for _ in range(6):
            for parameter in parameters:
                gradient = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.grad = gradient.to(parameter.dtype)
            squares = [p.grad.double().square().sum().item() for p in parameters]  # type: ignore
            norms.append(np.sqrt(sum(squares)))
            optimizer.step()
    rows = read_run(tmp_path).steps
    assert sorted(rows) == [1, 2, 3, 4, 5, 6]
    assert [rows[s]["gradient_norm"] for s in sorted(rows)] == pytest.approx(norms, rel=1e-6)


def test_sums_of_opposite_infinities_warn_nobody() -> None:
    rows = np.zeros((len(ROW_VALUES), 2), np.float32)
    rows[:, 0], rows[:, 1] = np.inf, -np.inf
    total = add_up(rows, np.array([0]))
    assert np.isnan(total["d·b"]).all()
    assert total["max|d|"].tolist() == [np.inf]
