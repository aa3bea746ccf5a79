"""Parameters that are added, frozen, shared or sparse, and optimizers that come and go."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo
from hooked_training import loss_of, make_model, take_step, watch
from recorded_run import read_run
from torch import nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.run_data import load_runs


def test_a_new_group_is_recorded_from_its_first_step_on(tmp_path: Path) -> None:
    old, new = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(9))
    optimizer = torch.optim.Adam([old])
    new.requires_grad_(False)
    with watch([("old", old), ("new", new)], optimizer, tmp_path, every_n_steps=1000) as debug:
        for step in range(1, 61):
            if step == 40:
                new.requires_grad_(True)
                optimizer.add_param_group({"params": [new]})
            old.grad = torch.full_like(old, 1.0 if step < 60 else 100.0)
            new.grad = torch.ones_like(new) if step >= 40 else None
            optimizer.step()
        assert debug.step == 60
    run = read_run(tmp_path)
    assert run.steps[39]["gradient_norm"] == pytest.approx(2)
    assert run.steps[40]["gradient_norm"] == pytest.approx(13**0.5)
    assert run.steps[41]["gradient_norm"] == pytest.approx(13**0.5)
    assert sorted(run.statistics) == [1, 2, 4, 8, 16, 32, 40]
    first, second = run.layouts.values()
    assert [p.name for p in first.parameters] == ["old"]
    assert [p.name for p in second.parameters] == ["old", "new"]
    # Of the jump at step 60, what is known of both parameters.
    assert sorted(run.gradient_norms) == list(range(40, 61))
    assert run.gradient_norms[40] == pytest.approx({"step": 40, "old": 2, "new": 3})


def test_a_frozen_parameter_of_the_optimizer_is_followed_when_it_is_unfrozen(
    tmp_path: Path,
) -> None:
    model = make_model()
    model[0].requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters())
    with watch(model, optimizer, tmp_path):
        for step in (1, 2, 3):
            if step == 3:
                model[0].requires_grad_(True)
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
    run = read_run(tmp_path)
    assert np.isnan(run.of(2, "0.weight")["gradient_rms"])
    assert run.of(2, "0.weight")["update_rms"] == 0
    assert run.of(3, "0.weight")["gradient_rms"] > 0
    assert run.of(3, "0.weight")["update_rms"] == pytest.approx(1e-3, rel=1e-2)
    assert np.isnan(run.of(3, "0.weight")["momentum_gradient_cosine"])  # its first step


def test_optimizers_that_take_turns_see_their_own_steps(tmp_path: Path) -> None:
    """As in a GAN: two optimizers, each stepping while the other's gradients are present."""
    model = make_model()
    optimizers = [torch.optim.AdamW(model[i].parameters(), lr=lr) for i, lr in ((0, 0.1), (2, 0.2))]
    folders = [tmp_path / "generator", tmp_path / "discriminator"]
    debugs = [watch(model, o, f) for o, f in zip(optimizers, folders, strict=True)]
    for turn in range(4):
        loss_of(model).backward()
        optimizers[turn % 2].step()
        if turn == 3:
            optimizers[0].step()
        optimizers[turn % 2].zero_grad()
    for debug in debugs:
        debug.close()
    first, second = map(read_run, folders)
    assert sorted(first.steps) == [1, 2, 3]
    assert sorted(second.steps) == [1, 2]
    assert {row["lr"] for row in first.steps.values()} == {0.1}
    assert {row["lr"] for row in second.steps.values()} == {0.2}
    # Parameters that one of them does not hold are held by the other, so there is no warning.
    assert {(u.name, u.other_optimizer) for u in first.layout.unoptimized} == {
        ("2.weight", "AdamW"),
        ("2.bias", "AdamW"),
    }
    assert [u.other_optimizer for u in second.layout.unoptimized] == ["AdamW", "AdamW"]


def test_an_optimizer_that_is_made_later_is_found_at_the_first_record(tmp_path: Path) -> None:
    model = make_model()
    model[2].bias.requires_grad_(False)
    optimizer = torch.optim.Adam(model[0].parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that no step changes what the other will hold
        debug = watch(model, optimizer, tmp_path)
        other = torch.optim.SGD(model[2].parameters(), lr=0.1)
        loss_of(model).backward()
        optimizer.step()
    other.step()
    debug.close()
    held = {u.name: u.other_optimizer for u in read_run(tmp_path).layout.unoptimized}
    assert held == {"2.weight": "SGD", "2.bias": "SGD"}


def test_what_another_optimizer_trains_is_not_asked_about_while_it_is_frozen(
    tmp_path: Path,
) -> None:
    """A discriminator, while the generator takes its step."""
    model = make_model()
    generator = torch.optim.Adam(model[0].parameters())
    discriminator = torch.optim.Adam(model[2].parameters())
    with watch(model, generator, tmp_path):
        for _ in range(12):
            for optimizer, learns in ((generator, False), (discriminator, True)):
                model[2].requires_grad_(learns)
                optimizer.zero_grad()
                loss_of(model).backward()
                optimizer.step()
    (run,) = load_runs(tmp_path)
    assert not {"frozen", "not_in_optimizer"} & {finding.rule for finding in run.findings()}


def test_an_optimizer_that_was_replaced_holds_nothing_unless_it_steps(tmp_path: Path) -> None:
    model = make_model()
    replaced = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer = torch.optim.Adam(model[0].parameters())
    said = pytest.warns(
        UserWarning, match=r"in no parameter group: 2\.weight, 2\.bias\. The optimizer will not"
    )
    with said, watch(model, optimizer, tmp_path / "first"):
        optimizer.step()
    loss_of(model).backward()
    replaced.step()
    with watch(model, optimizer, tmp_path / "second"):
        optimizer.step()
    held = read_run(tmp_path / "second").layout.unoptimized
    assert [u.other_optimizer for u in held] == ["SGD", "SGD"]


def test_an_optimizer_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    model = make_model()
    torch.optim.SGD(model.parameters(), lr=0.1)
    gc.collect()
    optimizer = torch.optim.Adam(model[0].parameters())
    said = pytest.warns(
        UserWarning, match=r"in no parameter group: 2\.weight, 2\.bias\. The optimizer will not"
    )
    with said, watch(model, optimizer, tmp_path):
        optimizer.step()


def test_tied_weights_are_one_parameter(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Embedding(7, 3), nn.Linear(3, 7, bias=False))
    model[1].weight = model[0].weight
    optimizer = torch.optim.AdamW(model.parameters())
    with watch(model, optimizer, tmp_path):
        model(torch.tensor([1, 2])).sum().backward()
        optimizer.step()
    run = read_run(tmp_path)
    assert [p.name for p in run.layout.parameters] == ["0.weight"]
    (gradient,) = [p.grad for p in model.parameters() if p.grad is not None]
    norm = gradient.norm().item()
    assert run.steps[1]["gradient_norm"] == pytest.approx(norm, rel=1e-6)


class Still(torch.optim.Adam):
    """Takes any gradient, because it reads none."""

    def step(self, closure: Any = None) -> Any:
        return None


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_parameters_are_left_out_but_count_for_the_norm(
    tmp_path: Path, layout: torch.layout
) -> None:
    dense = nn.Parameter(torch.ones(4))
    sparse = nn.Parameter(torch.eye(3).to_sparse(layout=layout))
    optimizer = Still([dense, sparse])
    with pytest.warns(UserWarning, match=r"only dense floating-point.*not sparse"):
        debug = watch([("dense", dense), ("sparse", sparse)], optimizer, tmp_path)
    with debug:
        dense.grad = torch.ones(4)
        sparse.grad = (torch.eye(3) * 2).to_sparse(layout=layout)
        optimizer.step()
    run = read_run(tmp_path)
    assert [p.name for p in run.layout.parameters] == ["dense"]
    assert run.steps[1]["gradient_norm"] == pytest.approx((4 + 12) ** 0.5)


def test_what_a_step_without_a_gradient_cannot_say_is_nan(tmp_path: Path) -> None:
    weights = {
        "single": nn.Parameter(torch.ones(40)),
        "half": nn.Parameter(torch.ones(40, dtype=torch.bfloat16)),
        "other": nn.Parameter(torch.ones(40)),
    }
    optimizer = torch.optim.AdamW(weights.values(), weight_decay=0.1)
    with watch(weights.items(), optimizer, tmp_path):
        for step in range(1, 5):
            for weight in weights.values():
                weight.grad = torch.full_like(weight, 0.1 * step)
            if step == 3:
                weights["single"].grad = weights["half"].grad = None
            if step == 4:
                for weight in weights.values():
                    weight.grad = None
            optimizer.step()
    run = read_run(tmp_path)
    needs_gradient = {
        "gradient_rms", "gradient_absmax", "gradient_surprise", "rms_t", "lost_update_fraction",
        "update_rounding_error", "update_slope", "normalized_update_rms", "weight_decay_ratio",
        "momentum_gradient_cosine", "gradient_exp_avg_cosine", "zero_gradient_fraction",
        "exp_avg_rounding_error", "exp_avg_sq_rounding_error", "second_moment_underflow_fraction",
    }  # fmt: skip
    assert needs_gradient <= schema.STATISTIC_BY_NAME.keys()
    for name in ("single", "half"):
        row = run.of(3, name)
        assert {key for key in needs_gradient if not np.isnan(row[key])} == set()
        assert row["unchanged_fraction"] == 1
        assert row["exp_avg_rms"] > 0
        assert run.histogram(3, name, "gradient").sum() == 0
    assert run.of(2, "half")["exp_avg_rounding_error"] > 0
    assert run.of(3, "other")["lost_update_fraction"] == 0
    # And without any gradient the norm is 0, on recorded steps and on others.
    assert run.steps[4]["gradient_norm"] == 0


def test_without_any_gradient_the_norm_is_zero(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.Adam([weight])
    with watch([("w", weight)], optimizer, tmp_path, every_n_steps=4):
        take_step(weight, optimizer)
        weight.grad = None
        for _ in range(4):
            optimizer.step()
    run = read_run(tmp_path)
    assert run.steps[1]["gradient_norm"] == 2
    assert all(run.steps[s]["gradient_norm"] == 0 for s in (2, 3, 4, 5))


def test_a_state_of_another_type_than_the_weights_is_named(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(40, dtype=torch.bfloat16))

    class Wide(torch.optim.AdamW):
        """Keeps moments in float64."""

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                for parameter in group["params"]:
                    state = self.state[parameter]
                    if not state:
                        state["step"] = torch.zeros(())
                        state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.float64)
                        state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.float64)
                    state["step"] += 1
                    gradient = parameter.grad.double()
                    state["exp_avg"].lerp_(gradient, 0.1)
                    state["exp_avg_sq"].lerp_(gradient.square(), 0.001)

    optimizer = Wide([weight])
    with watch([("w", weight)], optimizer, tmp_path):
        for _ in range(2):
            take_step(weight, optimizer, 0.5)
    run = read_run(tmp_path)
    assert run.layout.groups[0].storage == {"exp_avg": "float64", "exp_avg_sq": "float64"}
    assert run.of(2, "w")["exp_avg_rms"] == pytest.approx(0.5)
    assert run.of(2, "w")["exp_avg_sq_root"] == pytest.approx(0.5)
    assert np.isnan(run.of(2, "w")["exp_avg_rounding_error"])  # it is not rounded


def test_parameters_without_memory_are_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = make_model()
    optimizer = torch.optim.AdamW(model.parameters())
    with pytest.raises(ValueError, match=r"0\.weight is on the meta device: materialise the model"):
        watch(model, optimizer, tmp_path)
    assert not (tmp_path / schema.RUN_FOLDER).exists()


def test_the_norm_of_gradients_that_a_step_overwrites_is_that_before_it(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, nesterov=True, foreach=True)
    with AdamDebugCallback(
        [("w", weight)], optimizer, log_dir=tmp_path, every_n_steps=1000, on_error="raise"
    ):
        for _ in range(6):
            weight.grad = torch.ones(4)
            optimizer.step()
    rows = read_run(tmp_path).steps
    assert [rows[step]["gradient_norm"] for step in range(1, 7)] == [2.0] * 6
