"""idle_row_fraction against the gradients themselves, for every way of measuring."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from recorded_run import read_run
from stand_in_device import stand_in
from torch import Tensor, nn

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Flags
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.attach.watched_parameters import Watched
from tb_adam_plugin.callback.measure import row_ages
from tb_adam_plugin.callback.measure.gpu import single_pass
from tb_adam_plugin.callback.measure.measurement import Measurement
from tb_adam_plugin.callback.measure.native_pass import NativePass
from tb_adam_plugin.callback.measure.row_ages import RowAges
from tb_adam_plugin.callback.native import loading
from tb_adam_plugin.callback.optimizer_state.registry import adapter_for
from tb_adam_plugin.callback.read import gradient_sums

PARAMETERS = {
    "matrix": torch.ones(30, 17),
    "filter": torch.ones(24, 3, 3, 3),
    "channels last": torch.ones(24, 16, 3, 3).to(memory_format=torch.channels_last),
    "transposed": torch.ones(40, 30).t(),
    "with gaps": torch.ones(20, 64)[:, ::2],
    "one row": torch.ones(1, 9),
    "vector": torch.ones(33),
    "scalar": torch.ones(()),
    "empty": torch.ones(0, 4),
    "embedding": torch.ones(300, 96),
    "many short rows": torch.ones(3000, 8),
    "few long rows": torch.ones(3, 70_000),
    "large transposed": torch.ones(200, 100).t(),
    "large vector": torch.ones(20_000),
}
# The matrix has no gradient at these steps.
WITHOUT = range(50, 60)


def gradients(step: int) -> dict[str, Tensor]:
    """Rows of four kinds: never, always, occasionally, until step 40."""
    random = np.random.default_rng(step)
    made = {}
    for name, like in PARAMETERS.items():
        gradient = torch.empty_like(like).fill_(1e-3)
        if like.dim() > 1 and len(like) > 1:
            kind = torch.arange(len(like)) % 4
            seldom = torch.from_numpy(random.random(len(like)) < 0.03)
            gradient[(kind == 0) | ((kind == 2) & ~seldom)] = 0
            if step > 40:
                gradient[kind == 3] = 0
        made[name] = gradient
    made["matrix"] = made["matrix"] if step not in WITHOUT else None  # type: ignore[assignment]
    return made


def expected(seen: Sequence[tuple[int, Flags | None]]) -> float:
    """Return the share by definition.

    Args:
        seen: Step and which rows have a gradient, of each record; None without any gradient.
    """
    step, now = seen[-1]
    if now is None or seen[0][0] > step - 64 + 1:
        return float("nan")
    records = max(16, sum(s > step - 64 for s, _ in seen))
    of_parameter = [rows for _, rows in seen if rows is not None][-records:]
    if len(of_parameter) < records:
        return float("nan")
    return float(np.mean(~np.any(of_parameter, axis=0)))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("native", ["1", "0"])
@pytest.mark.parametrize("every", [1, 7])
def test_idle_rows_are_those_without_gradient_at_all_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, native: str, exact: bool
) -> None:
    monkeypatch.setenv(loading.VARIABLE, native)
    parameters = {name: nn.Parameter(like.detach()) for name, like in PARAMETERS.items()}
    optimizer = torch.optim.SGD(parameters.values(), lr=1e-3)
    options: dict[str, Any] = {"every_n_steps": every, "on_error": "raise", "exact": exact}
    with AdamDebugCallback(parameters.items(), optimizer, log_dir=tmp_path, **options):
        for step in range(1, 140):
            for name, gradient in gradients(step).items():
                parameters[name].grad = gradient
            optimizer.step()
    run = read_run(tmp_path)
    seen: dict[str, list[tuple[int, Flags | None]]] = {name: [] for name in PARAMETERS}
    found: dict[str, list[float]] = {name: [] for name in PARAMETERS}
    for step in sorted(run.statistics):
        for name, gradient in gradients(step).items():
            rows = None
            if gradient is not None and PARAMETERS[name].dim() > 1 and gradient.numel():
                rows = (gradient != 0).flatten(1).any(1).numpy()
            seen[name].append((step, rows))
            share = run.of(step, name)["idle_row_fraction"]
            assert share == pytest.approx(expected(seen[name]), abs=1e-7, nan_ok=True), (name, step)
            found[name].append(share)
    # What the reference says varies, and is known at some records and at others not.
    for name in ("matrix", "embedding", "channels last", "transposed", "many short rows"):
        assert np.nanmin(found[name]) < np.nanmax(found[name]), name
    assert np.isnan(found["embedding"]).any()
    for name in ("vector", "scalar", "empty", "large vector"):
        assert np.isnan(found[name]).all()


class Overwriting(torch.optim.Optimizer):
    """An unknown optimizer: it writes into the gradients."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(parameter.grad, alpha=group["lr"])
                parameter.grad.fill_(1.0)


@pytest.mark.filterwarnings("ignore:Adam Debug. Overwriting is not a known optimizer")
@pytest.mark.parametrize("shape", [(30, 20), (300, 96), (3000, 8)])
def test_rows_of_gradients_that_the_step_overwrites(tmp_path: Path, shape: tuple[int, int]) -> None:
    parameter = nn.Parameter(torch.ones(shape))
    optimizer = Overwriting([parameter], {"lr": 1e-3})
    with AdamDebugCallback(
        [("p", parameter)], optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"
    ):
        for step in range(70):
            parameter.grad = torch.zeros(shape)
            parameter.grad[step % 5 :: 10] = 1
            optimizer.step()
    assert read_run(tmp_path).of(70, "p")["idle_row_fraction"] == pytest.approx(0.5)


@pytest.mark.parametrize("shape", [(50, 4), (3000, 8), (400, 96)])
def test_rows_of_sparse_gradients(tmp_path: Path, shape: tuple[int, int]) -> None:
    table = nn.Embedding(*shape, sparse=True)
    optimizer = torch.optim.SparseAdam(table.parameters())
    with AdamDebugCallback(table, optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"):
        for step in range(70):
            optimizer.zero_grad()
            rows = torch.arange(step % 5, shape[0] // 2, 5)
            table(torch.cat([rows, rows])).sum().backward()
            optimizer.step()
    assert read_run(tmp_path).of(70, "weight")["idle_row_fraction"] == pytest.approx(0.5)


def test_a_device_says_what_the_cpu_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_ages, "LEAST_STEPS", 3)
    monkeypatch.setattr(row_ages, "LEAST_RECORDS", 3)
    monkeypatch.setattr(single_pass, "DEVICES", ())
    monkeypatch.setattr(gradient_sums, "_MOST_SENT", 200)  # rows whose norms are sent
    monkeypatch.setenv(loading.VARIABLE, "0")
    of_cpu = shares_of_steps("cpu")
    with stand_in() as mode:
        of_device = shares_of_steps("cuda")
        waits = mode.waits
    assert not waits
    np.testing.assert_array_equal(of_device, of_cpu)
    assert np.nanmax(of_cpu) > np.nanmin(of_cpu)


def shares_of_steps(device: str) -> npt.NDArray[np.float32]:
    """Measure five steps; ``[steps, parameters]``."""
    shapes = ((64, 32), (17,), (300, 17), (40, 3, 3, 3), (100, 96), (400, 70), (7, 2050), (0, 4))
    parameters = [
        nn.Parameter(
            torch.ones(shape)
            .to(memory_format=torch.channels_last if len(shape) == 4 else torch.preserve_format)
            .to(device)
        )
        for shape in shapes
    ]
    optimizer = torch.optim.SGD(parameters, lr=1e-3, foreach=True)
    watched = [Watched(f"p{i}", p, 0) for i, p in enumerate(parameters)]
    measurement = Measurement(watched, adapter_for(optimizer), 1024)
    found = []
    names = [statistic.name for statistic in schema.STATISTICS]
    with torch.no_grad():
        for step in range(1, 6):
            for shape, parameter in zip(shapes, parameters, strict=True):
                gradient = torch.ones(shape)
                gradient[::3] = gradient[1 + step % 2 :: 6] = 0
                if step > 2:
                    gradient[2::6] = 0
                parameter.grad = gradient.to(device)
            measurement.before_step()
            measured = measurement.after_step(False, (), None, 0.5, step)
            found.append(measured.statistics[:, names.index("idle_row_fraction")])
    return np.array(found)


def aged(rows: Sequence[int]) -> RowAges:
    return RowAges(np.array(rows, np.int64))


def record(ages: RowAges, step: int, alive: Sequence[bool], has_gradient: bool = True) -> float:
    """Note the rows of the first of two parameters."""
    flags = np.array([has_gradient, True])
    ages.begin(step, flags)
    ages.grow(flags)
    if has_gradient:
        ages.mark(0, 0, np.array(alive))
    return float(ages.idle_fractions(ages.idle())[0])


def test_ages_start_again_where_steps_are_counted_anew_and_where_a_record_failed() -> None:
    ages = aged([2, 3])
    shares = [record(ages, step, [True, False]) for step in range(1, 80)]
    assert np.isnan(shares[:63]).all()
    assert shares[63:] == [0.5] * 16
    assert np.isnan(record(ages, 5, [True, False]))  # of a checkpoint that was loaded
    shares = [record(ages, step, [True, False]) for step in range(6, 70)]
    assert shares[-1] == 0.5
    ages.begin(70, np.array([True, True]))  # and nothing more
    assert np.isnan(record(ages, 71, [True, False]))


def test_records_without_a_gradient_are_none_of_a_parameter() -> None:
    ages = aged([2, 3])
    for step in range(1, 65):
        record(ages, step, [True, False], has_gradient=step % 2 == 0)
    assert np.isnan(record(ages, 66, [True, False]))  # 33 of 64 records
    shares = [record(ages, step, [step == 100, True]) for step in range(67, 200)]
    # The rows are idle 63 records later, as dense as these are.
    assert shares[100 - 67 + 63] == 0.0
    assert shares[100 - 67 + 64] == 0.5


def test_ages_do_not_run_over() -> None:
    ages = aged([1, 1])
    for step in range(1, 700):
        share = record(ages, step, [False])
    assert share == 1.0
    assert ages.ages.tolist() == [255, 255]


def test_rows_are_counted_in_pieces_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    ages = aged([0, 70, 0, 1, 500])
    ages.ages[:] = random.integers(0, 30, 571)
    at_once = ages.alive(), ages.idle()
    monkeypatch.setattr(row_ages, "_COUNTED_AT_ONCE", 64)
    in_pieces = ages.alive(), ages.idle()
    np.testing.assert_array_equal(in_pieces, at_once)
    assert at_once[1].tolist() == [0, *(int((a >= 16).sum()) for a in (
        ages.ages[:70], ages.ages[:0], ages.ages[70:71], ages.ages[71:]))]  # fmt: skip


def test_short_rows_of_large_parameters_are_left_out_where_they_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(row_ages, "_MOST_SHORT_ROWS", 500)
    shapes = [(400, 4), (100, 64), (400, 4), (90, 4), (7,)]
    ages = RowAges.of([torch.ones(shape) for shape in shapes], [0, 1, 2, 3])
    assert ages.rows.tolist() == [400, 100, 0, 90, 0]
    assert RowAges.of([torch.ones(shape) for shape in shapes], []).rows.tolist() == [
        400, 100, 400, 90, 0
    ]  # fmt: skip


@pytest.mark.parametrize("native", ["1", "0"])
def test_rows_that_are_left_out_still_have_a_share_at_each_record(
    monkeypatch: pytest.MonkeyPatch, native: str
) -> None:
    monkeypatch.setattr(row_ages, "_MOST_SHORT_ROWS", 0)
    monkeypatch.setenv(loading.VARIABLE, native)
    parameter = nn.Parameter(torch.ones(3000, 8))
    other = nn.Parameter(torch.ones(8, 8))
    optimizer = torch.optim.SGD([parameter, other], lr=1e-3)
    watched = [Watched("p", parameter, 0), Watched("q", other, 0)]
    measurement = Measurement(watched, adapter_for(optimizer), 1024)
    assert isinstance(measurement._reduction, NativePass) == (native == "1")
    names = [statistic.name for statistic in schema.STATISTICS]
    for step in range(1, 70):
        parameter.grad, other.grad = torch.zeros(3000, 8), torch.ones(8, 8)
        parameter.grad[::3] = 1
        other.grad[:2] = 0
        with torch.no_grad():
            measurement.before_step()
            found = copy.deepcopy(measurement.after_step(False, (), None, 0.5, step).statistics)
    assert found[:, names.index("dead_row_fraction")] == pytest.approx([2 / 3, 0.25])
    idle = found[:, names.index("idle_row_fraction")]
    assert np.isnan(idle[0])
    assert idle[1] == 0.25
