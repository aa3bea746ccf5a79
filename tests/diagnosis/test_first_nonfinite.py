"""What became non-finite first, and where it began."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_runs import Change, changed, column, dtype, statistic
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedNorms, RecordedRun
from tb_adam_plugin.diagnosis.rule import Finding
from tb_adam_plugin.diagnosis.rules.nonfinite import NONFINITE
from tb_adam_plugin.run_data import load_runs

NAN = float("nan")
UPSTREAM = [
    "embedding.weight",
    *(f"layers.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")),
]


def nonfinite(*changes: Change) -> Finding:
    (finding,) = (f for f in diagnose(changed(*changes)).findings if f.rule == "nonfinite")
    return finding


def bad_gradients(at: int, value: float = NAN, of: list[str] | None = None) -> list[Change]:
    """Gradients of some tensors at a record; after it everything."""
    return [
        statistic("nonfinite_count", 9.0, of=of, from_step=at, to_step=at),
        statistic("gradient_rms", value, of=of, from_step=at, to_step=at),
        statistic("nonfinite_count", 9.0, from_step=at + 1),
        statistic("gradient_rms", NAN, from_step=at + 1),
        statistic("weight_rms", NAN, from_step=at + 1),
    ]


def rising_norm(to: float) -> Change:
    """A gradient norm that doubles every third step in the 20 steps before one."""
    return column("gradient_norm", lambda t: 2 ** (np.clip(t - to + 20, 0, 20) / 3))


@pytest.mark.parametrize("spikes", [0, 1])
@pytest.mark.parametrize(("factor", "grew"), [(1.0, False), (30.0, True)])
def test_only_a_norm_that_grew_before_asks_for_clipping(
    spikes: int, factor: float, grew: bool
) -> None:
    """Single large norms that also occurred before are not growth."""

    def norms(steps: Any) -> Any:
        usual = np.where(steps % 17 == 0, 1 + 9.0 * spikes, 1.0)
        return np.where((steps >= 195) & (steps < 200), factor, usual)

    nan = column("loss_is_nan", lambda t: np.where(t >= 200, 1.0, 0.0))
    lost = [column("loss", NAN, from_step=200), nan]
    finding = nonfinite(*bad_gradients(200), *lost, column("gradient_norm", norms))
    assert ("clip the gradient norm" in finding.advice) == grew


@pytest.mark.parametrize("at", [1, 200])
@pytest.mark.parametrize("value", [NAN, np.inf])
def test_gradients_are_first_where_loss_and_weights_are_finite(at: int, value: float) -> None:
    finding = nonfinite(*bad_gradients(at, value, UPSTREAM))
    assert finding.first_step == at
    # Of each group: weights and biases have one of their own.
    assert finding.parameters[:2] == ("layers.2.weight", "layers.2.bias")
    assert set(finding.parameters) == set(UPSTREAM)
    assert f"Gradients of 7 of 12 tensors are NaN or infinite at step {at}, while" in finding.text
    assert "and the weights are finite" in finding.text
    assert "layers.2.weight and layers.2.bias are the last of these" in finding.text
    assert "computed from layers.2.weight and layers.2.bias" in finding.advice
    assert "eps inside" in finding.advice
    assert "lr" not in finding.advice
    assert "float16" not in finding.advice
    half = nonfinite(*bad_gradients(at, value, UPSTREAM), dtype("float16", "float32"))
    assert "In float16 they overflow" in half.advice


def test_gradients_of_a_loss_that_has_blown_up_are_too_large() -> None:
    grown = column("loss", 1e6, from_step=190)
    changes = [*bad_gradients(200, np.inf, UPSTREAM), grown]
    beside = nonfinite(*changes)
    assert (beside.consequence_of, beside.advice) == (
        "loss_blowup",
        "Fix “Loss blew up” first.",
    )
    # What it advises by itself is the same direction of the learning rate, and said once.
    (finding,) = diagnose(changed(*changes), rules=[NONFINITE]).findings
    assert "Gradients of 7 of 12" in finding.text
    assert "First look at the 20 steps before step 200." in finding.advice
    assert "try lr 3e-4 instead of 1e-3" in finding.advice


def test_a_tensor_alone_has_it_from_nowhere_else() -> None:
    finding = nonfinite(*bad_gradients(200, NAN, ["layers.3.weight"]))
    assert "layers.3.weight is the only one: it began there" in finding.text
    assert (
        "computed from layers.3.weight alone, such as its norm, and at what writes"
        in finding.advice
    )


def test_gradients_of_all_tensors_are_first_where_the_loss_is_known_to_be_finite() -> None:
    everything = bad_gradients(200)
    assert "Gradients of 12 of 12" in nonfinite(*everything).text
    assert "head.weight" in nonfinite(*everything).advice
    without_loss = nonfinite(*everything, column("loss", NAN))
    assert without_loss.text.startswith("NaN or infinite values in")
    assert without_loss.advice.startswith("First look at the batch of step 200 and at the data:")
    risen = nonfinite(*everything, column("loss", NAN), rising_norm(200))
    assert "First look at the 20 steps before step 200. Then clip" in risen.advice
    some = nonfinite(*bad_gradients(200, NAN, UPSTREAM), column("loss", NAN))
    assert ", while the weights are finite." in some.text


@pytest.mark.parametrize("value", [NAN, np.inf])
def test_a_loss_is_first_where_it_is_not_finite_itself(value: float) -> None:
    is_nan = column("loss_is_nan", lambda t: np.where(t >= 200, np.isnan(value), 0.0))
    bad_loss = [column("loss", value, from_step=200), is_nan]
    finding = nonfinite(*bad_gradients(200), *bad_loss)
    kind = "NaN" if np.isnan(value) else "infinite"
    assert (
        f"The loss of step 200 is {kind}, while all weights are still finite; gradients "
        "are not finite either" in finding.text
    )
    assert finding.advice.startswith(
        "First look at the batch of step 200 and at the data: the gradient norm had not grown"
    )
    assert "debug.keep_batch(...) before optimizer.step() saves such a batch." in finding.advice
    assert "clip" not in finding.advice
    assert "lr" not in finding.advice
    risen = nonfinite(*bad_gradients(200), *bad_loss, rising_norm(200))
    assert "First look at the batch of step 200, and check the loss for a log" in risen.advice
    assert "Then clip the gradient norm to 1, and try lr 3e-4 instead of 1e-3" in risen.advice
    saved = column("saved_batch", 200.0, from_step=200, to_step=200)
    kept = nonfinite(*bad_gradients(200), *bad_loss, saved)
    assert "It is saved in " in kept.advice
    assert "keep_batch" not in kept.advice
    alone = nonfinite(*bad_loss)  # gradients are zero, say
    assert (alone.first_step, alone.parameters) == (200, ())
    assert f"is {kind}, while all weights are still finite. From" in alone.text
    first = nonfinite(column("loss", value), column("loss_is_nan", float(np.isnan(value))))
    assert first.advice.startswith("First look at the inputs, the initial weights")


def test_an_infinite_norm_needs_no_finite_one_before() -> None:
    assert nonfinite(column("gradient_norm", np.inf)).first_step == 1


def test_a_step_without_a_loss_has_none_that_is_nan() -> None:
    for run in (
        changed(column("loss", NAN, from_step=100)),
        changed(column("loss", NAN, from_step=100), column("loss_is_nan", NAN, from_step=100)),
        changed(column("loss_is_nan", 0.0)),
    ):
        assert "nonfinite" not in {finding.rule for finding in diagnose(run).findings}


def test_weights_are_first_where_a_step_begins_with_them() -> None:
    bad = [
        statistic("nonfinite_count", 9.0, of=["head.weight"], from_step=200),
        statistic("weight_rms", NAN, of=["head.weight"], from_step=200),
    ]
    finding = nonfinite(*bad)
    assert finding.text.startswith("The weights of head.weight are NaN or infinite when step 200")
    assert "begins: the previous step caused it." in finding.text
    assert "try lr 3e-4 instead of 1e-3" in finding.advice
    at_once = nonfinite(statistic("nonfinite_count", 9.0), statistic("weight_rms", NAN))
    assert "The step before" not in at_once.text


def norms_at(step: float, bad: list[str], without_gradient: list[str]) -> Change:
    def change(run: RecordedRun) -> RecordedRun:
        steps = np.arange(step - 20, step + 1)
        norms = np.ones((steps.size, len(run.names)))
        norms[-1, [run.names.index(name) for name in bad]] = NAN
        norms[:, [run.names.index(name) for name in without_gradient]] = NAN
        return replace(run, gradient_norms=RecordedNorms(steps, run.names, norms))

    return change


def test_between_records_the_norms_around_an_event_tell() -> None:
    unused = statistic("gradient_rms", NAN, of=["layers.4.bias"])
    norms = norms_at(205, UPSTREAM, ["layers.4.bias"])
    finding = nonfinite(column("gradient_norm", NAN, from_step=205), norms, unused)
    assert finding.first_step == 205
    assert "Gradients of 7 of 12 tensors are NaN or infinite at step 205, while the" in finding.text
    assert "weights are finite" not in finding.text  # which nobody has looked at
    unknown = nonfinite(column("gradient_norm", NAN, from_step=205))
    assert unknown.text.startswith("NaN or infinite values, first at step 205")


class Branched(nn.Module):
    """A branch that begins at zero, and the root of its squared norm."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.inp, self.branch = nn.Linear(8, 16), nn.Linear(16, 16, bias=False)
        self.out = nn.Linear(16, 4)
        nn.init.zeros_(self.branch.weight)

    def forward(self, x: Tensor) -> Any:
        h = torch.relu(self.inp(x))
        b = self.branch(h)
        return self.out(h + b + (b.pow(2).sum(-1, keepdim=True) + self.eps).sqrt())


def trained(
    folder: Path, model: nn.Module, loss_of: Callable[[int, Tensor], Tensor]
) -> list[Finding]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=7) as debug:
        for t in range(1, 41):
            x = torch.randn(32, 8)
            optimizer.zero_grad()
            loss = loss_of(t, nn.functional.cross_entropy(model(x), x[:, :4].argmax(1)))
            loss.backward()  # type: ignore[no-untyped-call]
            debug.record(loss=loss)
            optimizer.step()
    (run,) = load_runs(folder)
    return [finding for finding in run.findings() if finding.rule == "nonfinite"]


def test_the_branch_of_a_root_at_zero_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (finding,) = trained(tmp_path / "faulty", Branched(0.0), lambda t, loss: loss)
    assert (finding.first_step, finding.parameters[0]) == (1, "branch.weight")
    assert "Gradients of 3 of 5 tensors" in finding.text
    assert "computed from branch.weight." in finding.advice
    assert not trained(tmp_path / "healthy", Branched(1e-8), lambda t, loss: loss)


def test_a_loss_that_is_nan_is_told_from_none(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (finding,) = trained(
        tmp_path, Branched(1e-8), lambda t, loss: loss + (math.nan if t > 17 else 0.0)
    )
    # A sum does not change the gradients, so nothing else is wrong.
    assert (finding.first_step, finding.last_step) == (18, 40)
    assert "The loss of step 18 is NaN, while all weights are still finite. From" in finding.text
