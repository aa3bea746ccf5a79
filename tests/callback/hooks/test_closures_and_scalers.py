"""Steps with closures, gradient scalers, accumulation and schedulers around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
from hooked_training import Weights, loss_of, make_model, rms, watch
from recorded_run import RecordedRun, read_run
from torch import Tensor, nn

from tb_adam_plugin.callback.probes import uncounted_steps
from tb_adam_plugin.run_data import load_runs


@pytest.mark.filterwarnings("ignore:Adam Debug. LBFGS")
def test_a_step_that_calls_its_closure_often_is_one_step(tmp_path: Path) -> None:
    model = make_model()
    data = torch.randn(16, 6)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        loss: Tensor = (model(data) - 1).square().mean()
        loss.backward()
        return loss

    weights = Weights(model)
    for step in (1, 2, 3):
        with watch(model, optimizer, tmp_path / str(step), initial_step=step - 1):
            optimizer.step(closure)  # type: ignore[arg-type]
        run = read_run(tmp_path / str(step))
        assert sorted(run.steps) == [step]
        weights.check_update(run, step)
        gradient = rms(model[0].weight.grad)  # type: ignore[arg-type]
        assert run.of(step, "0.weight")["gradient_rms"] == pytest.approx(gradient, rel=1e-5)
    assert calls > 6


@pytest.mark.parametrize("scaled", [False, True])
def test_a_trainer_that_runs_backward_in_the_closure(tmp_path: Path, scaled: bool) -> None:
    """Lightning calls ``optimizer.step(closure=closure)``; with a scaler it calls both in turn."""
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, enabled=scaled)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model)
        scaler.scale(loss).backward()
        return loss

    weights = Weights(model)
    for step in (1, 2, 3):
        with watch(model, optimizer, tmp_path / str(step)):
            if scaled:
                closure()
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 0.01)
                scaler.step(optimizer)
                scaler.update()
            else:
                optimizer.step(closure=closure)  # type: ignore[arg-type]
        run = read_run(tmp_path / str(step))
        assert sorted(run.steps) == [step]
        weights.check_update(run, step)
        gradients = [p.grad.norm() for p in model.parameters() if p.grad is not None]
        norm = torch.stack(gradients).norm().item()
        assert run.steps[step]["gradient_norm"] == pytest.approx(norm, rel=1e-5)


def train_with_scaler(
    folder: Path, skipped: set[int], steps: int, read_step: bool = True, **options: Any
) -> tuple[RecordedRun, list[int], list[float]]:
    """Train one weight with a fused optimizer; in some iterations the gradient is infinite.

    Returns:
        The run; ``debug.step`` after each iteration; the gradient norm of each step taken.
    """
    weight = nn.Parameter(torch.ones(6))
    optimizer = torch.optim.Adam([weight], fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=10_000)
    counts, norms = [], []
    with watch([("w", weight)], optimizer, folder, **options) as debug:
        for iteration in range(1, steps + 1):
            optimizer.zero_grad()
            factor = torch.inf if iteration in skipped else iteration
            debug.record(iteration=iteration)
            scaler.scale((weight * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            if iteration not in skipped:
                norms.append(iteration * 6**0.5)
            if read_step:
                counts.append(debug.step)
    return read_run(folder), counts, norms


def test_steps_that_a_fused_optimizer_skips_are_counted_as_such(tmp_path: Path) -> None:
    # Step 3 waits to be written while another one is skipped.
    run, counts, norms = train_with_scaler(tmp_path, {1, 4, 6}, 8, every_n_steps=25)
    assert counts == [0, 1, 2, 2, 3, 3, 4, 5]
    assert [run.steps[s]["skipped_steps"] for s in (1, 2, 3, 4, 5)] == [1, 1, 2, 3, 3]
    assert [run.steps[s]["gradient_norm"] for s in (1, 2, 3, 4, 5)] == pytest.approx(norms)
    assert [run.steps[s]["iteration"] for s in (1, 2, 3, 4, 5)] == [2, 3, 5, 7, 8]
    # The hooks see scaled gradients before the step; the step consumed the others.
    assert run.of(4, "w")["gradient_rms"] == pytest.approx(7)


def test_steps_that_are_all_skipped_are_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="has skipped 25 steps in a row") as warned:
        train_with_scaler(tmp_path, set(range(1, 60)), 60)
    assert len(warned) == 1


def test_the_loss_scale_tells_what_an_optimizer_skips_that_is_not_fused(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(6))
    optimizer = torch.optim.Adam([weight], fused=False)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60, growth_interval=10_000)
    with watch([("w", weight)], optimizer, tmp_path) as debug:
        for iteration in range(1, 161):
            optimizer.zero_grad()
            factor = torch.inf if iteration > 80 and iteration % 2 else 1
            debug.record(loss_scale=scaler.get_scale())
            scaler.scale((weight * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
    (run,) = load_runs(tmp_path)
    (finding,) = (f for f in run.findings() if f.rule == "steps_skipped")
    assert finding.value == pytest.approx(40 / 90)


def test_steps_that_only_the_device_knows_to_be_skipped_are_renumbered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uncounted_steps, "is_on_host", lambda flag: False)
    # Of these, 9 and 35 fall on steps that are due: then the device is read.
    skips = {2, 8, 9, 35, 41}
    run, counts, norms = train_with_scaler(tmp_path, skips, 60, every_n_steps=25)
    taken = range(1, 56)
    iterations = [i for i in range(1, 61) if i not in skips]
    assert sorted(run.steps) == list(taken)
    assert [run.steps[s]["gradient_norm"] for s in taken] == pytest.approx(norms)
    assert [run.steps[s]["iteration"] for s in taken] == iterations
    skipped = [0] + [1] * 5 + [3] * 25 + [4] * 5 + [5] * 19
    assert [run.steps[s]["skipped_steps"] for s in taken] == skipped
    # Data recorded for step 8 is written as step 7, and the next step is 8 after all.
    assert counts[10 - 1 : 12] == [7, 8, 9]
    assert sorted(run.statistics) == [1, 2, 4, 7, 8, 16, 25, 32, 49, 50]
    for step in run.statistics:
        expected = iterations[step - 1]
        assert run.of(step, "w")["gradient_rms"] == pytest.approx(expected)
    # A rejected gradient does not count as a jump.
    assert run.gradient_norms == {}


def test_the_norms_around_a_jump_are_numbered_like_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uncounted_steps, "is_on_host", lambda flag: False)
    weight = nn.Parameter(torch.ones(6))
    optimizer = torch.optim.Adam([weight], fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=10_000)
    norms = []
    with watch([("w", weight)], optimizer, tmp_path, every_n_steps=1000) as debug:
        for iteration in range(1, 131):
            optimizer.zero_grad()
            value = 1 + iteration / 1000 + (50 if iteration == 130 else 0)
            skip = iteration in (34, 36, 90, 100)  # before, and within, the kept steps
            scaler.scale((weight * (torch.inf if skip else value)).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            if not skip:
                norms.append(value * 6**0.5)
            if iteration == 95:
                debug.flush()  # from here on the numbers so far are final
        assert debug.step == len(norms) == 126
    run = read_run(tmp_path)
    assert sorted(run.gradient_norms) == list(range(64, 127))  # and one that was skipped
    for step, by_name in run.gradient_norms.items():
        assert by_name["w"] == pytest.approx(norms[step - 1]), step


def test_accumulated_gradients_are_one_step(tmp_path: Path) -> None:
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with watch(model, optimizer, tmp_path):
        for batch in range(1, 7):
            (loss_of(model) / 3).backward()
            if batch % 3 == 0:
                accumulated = rms(model[0].weight.grad)  # type: ignore[arg-type]
                optimizer.step()
                optimizer.zero_grad()
    run = read_run(tmp_path)
    assert sorted(run.steps) == [1, 2]
    assert run.of(2, "0.weight")["gradient_rms"] == pytest.approx(accumulated, rel=1e-5)


@pytest.mark.parametrize("scheduler_first", [False, True])
def test_a_scheduler_wraps_step_before_or_after_the_callback(
    tmp_path: Path, scheduler_first: bool
) -> None:
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)

    def schedule() -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    scheduler = schedule() if scheduler_first else None
    with watch(model, optimizer, tmp_path):
        scheduler = scheduler or schedule()
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
            scheduler.step()
    run = read_run(tmp_path)
    assert sorted(run.steps) == [1, 2, 3]
    # Each step's own learning rate, not the one that the scheduler has set since.
    assert [run.steps[s]["lr"] for s in (1, 2, 3)] == [0.1, 0.05, 0.025]
    assert run.hyperparameters[2]["lr"].tolist() == [0.05]
