"""What the callback records of a training loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorded_run import read_run
from small_training import make, train
from torch import Tensor, nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback


def test_what_is_recorded_can_be_read_by_tensorboard(tmp_path: Path) -> None:
    model, optimizer = make()
    with AdamDebugCallback(
        model, optimizer, log_dir=tmp_path, every_n_steps=5, on_error="raise"
    ) as debug:
        losses = train(model, optimizer, 12, debug)
    run = read_run(tmp_path)
    assert sorted(run.statistics) == [1, 2, 4, 5, 8, 10]
    assert sorted(run.histograms) == sorted(run.hyperparameters) == sorted(run.statistics)
    layout = run.layout
    assert [p.name for p in layout.parameters] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert [p.shape for p in layout.parameters] == [(5, 6), (5,), (2, 5), (2,)]
    assert layout.statistics == tuple(s.name for s in schema.STATISTICS)
    (group,) = layout.groups
    assert group.optimizer == "AdamW"
    assert group.undefined == ()
    assert group.options["amsgrad"] is False
    assert group.options["decoupled_weight_decay"] is True
    # One row for every step, with what was recorded for it.
    assert sorted(run.steps) == list(range(1, 13))
    assert [run.steps[s]["loss"] for s in range(1, 13)] == pytest.approx(losses, rel=1e-6)
    assert {run.steps[s]["batch"] for s in range(1, 13)} == {8}
    assert all(0 < run.steps[s]["callback_milliseconds"] < 1e4 for s in range(1, 13))
    times = [run.steps[s]["wall_time"] for s in range(1, 13)]
    assert times == sorted(times)


def test_a_few_numbers_are_mirrored_as_ordinary_scalars(tmp_path: Path) -> None:
    model, optimizer = make()
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, on_error="raise"):
        train(model, optimizer, 2)
    run = read_run(tmp_path)
    ratios = [run.of(2, p.name)["update_to_weight_ratio"] for p in run.layout.parameters]
    expected = {
        "adam_debug/update_to_weight_ratio_median": np.median(ratios),
        "adam_debug/update_to_weight_ratio_largest": max(ratios),
        "adam_debug/gradient_norm": run.steps[2]["gradient_norm"],
        "adam_debug/lr/group0": 1e-2,
    }
    assert {tag: steps[2] for tag, steps in run.scalars.items()} == pytest.approx(expected)


def test_the_mirror_and_the_gradient_norm_can_be_turned_off(tmp_path: Path) -> None:
    model, optimizer = make()
    with AdamDebugCallback(
        model,
        optimizer,
        log_dir=tmp_path,
        mirror_scalars=False,
        gradient_norm=False,
        on_error="raise",
    ):
        train(model, optimizer, 3)
    run = read_run(tmp_path)
    assert run.scalars == {}
    assert all(np.isnan(run.steps[step]["gradient_norm"]) for step in (1, 2, 3))
    assert run.of(1, "0.weight")["gradient_rms"] > 0


def test_the_file_of_a_summary_writer_can_be_shared(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    model, optimizer = make()
    with SummaryWriter(str(tmp_path / schema.RUN_FOLDER)) as writer:
        writer.add_scalar("loss", 1.0, 1)
        with AdamDebugCallback(model, optimizer, writer=writer, on_error="raise"):
            train(model, optimizer, 2)
        writer.add_scalar("loss", 0.5, 2)
    run = read_run(tmp_path)
    assert sorted(run.statistics) == [1, 2]


def test_a_second_record_of_a_step_counts_and_the_last_step_is_kept(tmp_path: Path) -> None:
    model, optimizer = make()
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, on_error="raise") as debug:
        running = torch.zeros(())
        for step in range(3):
            running += 1
            debug.record(running=-1.0)
            debug.record(running=running)
            if step > 0:
                debug.record(late=np.float32(step))
            train(model, optimizer, 1)
    run = read_run(tmp_path)
    assert [run.steps[s]["running"] for s in (1, 2, 3)] == [1, 2, 3]
    assert "late" not in run.steps[1]
    assert [run.steps[s]["late"] for s in (2, 3)] == [1, 2]


def test_several_parameter_groups_keep_the_optimizers_order(tmp_path: Path) -> None:
    model, _ = make()
    weights = [p for n, p in model.named_parameters() if "weight" in n]
    biases = [p for n, p in model.named_parameters() if "bias" in n]
    model[2].double()  # type: ignore[index, operator]  # of another precision, measured apart
    groups: list[dict[str, Any]] = [
        {"params": biases, "lr": 1.0, "amsgrad": True},
        {"params": weights},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.5)
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, on_error="raise"):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        optimizer.step()
    run = read_run(tmp_path)
    assert [(p.name, p.group, p.dtype) for p in run.layout.parameters] == [
        ("0.bias", 0, "float32"),
        ("2.bias", 0, "float64"),
        ("0.weight", 1, "float32"),
        ("2.weight", 1, "float64"),
    ]
    assert [g.options["amsgrad"] for g in run.layout.groups] == [True, False]
    assert run.hyperparameters[1]["lr"].tolist() == [1.0, 0.5]
    for name, parameter in model.named_parameters():
        update = (parameter.detach() - before[name]).square().mean().sqrt().item()
        assert run.of(1, name)["update_rms"] == pytest.approx(update, rel=1e-5)


def test_a_layout_says_to_which_module_a_parameter_belongs(tmp_path: Path) -> None:
    model, optimizer = make()
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path / "model", on_error="raise"):
        train(model, optimizer, 1)
    (layout,) = read_run(tmp_path / "model").layouts.values()
    assert {p.module for p in layout.parameters} == {"Linear"}
    with AdamDebugCallback(
        model.named_parameters(), optimizer, log_dir=tmp_path / "pairs", on_error="raise"
    ):
        train(model, optimizer, 1)
    (unknown,) = read_run(tmp_path / "pairs").layouts.values()
    assert {p.module for p in unknown.parameters} == {""}


def test_a_new_parameter_group_starts_a_new_layout(tmp_path: Path) -> None:
    model, optimizer = make()
    extra = nn.Parameter(torch.ones(3))
    named = [*model.named_parameters(), ("extra", extra)]
    extra.requires_grad_(False)
    with AdamDebugCallback(named, optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"):
        train(model, optimizer, 2)
        extra.requires_grad_(True)
        optimizer.add_param_group({"params": [extra], "lr": 0.1})
        extra.grad = torch.ones(3)
        extra_gradient = extra.grad
        for _ in range(2):
            extra.grad = extra_gradient
            train(model, optimizer, 1)
            extra.grad = None
    run = read_run(tmp_path)
    first, second = run.layouts.values()
    assert [u.name for u in first.unoptimized] == ["extra"]
    assert not first.unoptimized[0].trainable
    assert second.unoptimized == ()
    assert second.parameters[:4] == first.parameters
    assert second.parameters[4].name == "extra"
    assert [run.layout_at[s] for s in (1, 2, 3, 4)] == [first.id] * 2 + [second.id] * 2
    assert sorted(run.steps) == [1, 2, 3, 4]
    assert run.of(3, "0.weight")["update_rms"] > 0


def test_unfreezing_a_parameter_is_noticed(tmp_path: Path) -> None:
    model, _ = make()
    model[0].requires_grad_(False)  # type: ignore[index, operator]
    optimizer = torch.optim.Adam(model[2].parameters())  # type: ignore[index, union-attr]
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"):
        train(model, optimizer, 1)
        model[0].requires_grad_(True)  # type: ignore[index, operator]
        with pytest.warns(UserWarning, match=r"no parameter group.*0\.weight, 0\.bias"):
            train(model, optimizer, 1)
    frozen, unfrozen = read_run(tmp_path).layouts.values()
    assert [u.trainable for u in frozen.unoptimized] == [False, False]
    assert [u.trainable for u in unfrozen.unoptimized] == [True, True]


def test_moving_the_weights_to_other_memory_is_noticed(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(50_000))
    optimizer = torch.optim.Adam([weight], lr=0.5)
    with AdamDebugCallback(
        [("w", weight)], optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"
    ):
        for value in (1.0, 8.0):
            weight.data = torch.full_like(weight, value)
            weight.grad = torch.ones_like(weight)
            optimizer.step()
    run = read_run(tmp_path)
    assert run.of(2, "w")["weight_rms"] == pytest.approx(8)
    assert run.of(2, "w")["update_rms"] == pytest.approx(0.5, rel=1e-5)


def test_a_step_that_a_scaler_skips_is_not_counted(tmp_path: Path) -> None:
    for name, options in (("fused", {"fused": True}), ("loop", {"foreach": False})):
        model, _ = make()
        optimizer = torch.optim.Adam(model.parameters(), **options)  # type: ignore[arg-type]
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        with AdamDebugCallback(
            model, optimizer, log_dir=tmp_path / name, every_n_steps=1, on_error="raise"
        ):
            for step in range(4):
                optimizer.zero_grad()
                loss = model(torch.ones(8, 6)).square().mean() * (torch.inf if step == 1 else 1)
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
        run = read_run(tmp_path / name)
        assert sorted(run.steps) == [1, 2, 3]
        # Gradients are those that the step consumed, not the scaled ones.
        gradient = model[0].weight.grad.square().mean().sqrt().item()  # type: ignore[index, union-attr, operator]
        assert run.of(3, "0.weight")["gradient_rms"] == pytest.approx(gradient, rel=1e-5)
        assert run.of(3, "0.weight")["nonfinite_count"] == 0


def test_the_gradients_of_a_closure_are_the_ones_recorded(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.Adam([weight])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (weight * 3).sum()
        loss.backward()
        return loss

    with AdamDebugCallback([("w", weight)], optimizer, log_dir=tmp_path, on_error="raise"):
        optimizer.step(closure)  # type: ignore[arg-type]
    run = read_run(tmp_path)
    assert run.of(1, "w")["gradient_rms"] == pytest.approx(3)
    assert run.steps[1]["gradient_norm"] == pytest.approx(6)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch says so once a process
def test_sparse_gradients_are_read_as_dense_ones(tmp_path: Path) -> None:
    embedding = nn.Embedding(20, 3, sparse=True)
    optimizer = torch.optim.SparseAdam(embedding.parameters())
    with AdamDebugCallback(embedding, optimizer, log_dir=tmp_path, on_error="raise"):
        for _ in range(3):
            optimizer.zero_grad()
            embedding(torch.tensor([1, 1, 5])).sum().backward()
            optimizer.step()
    run = read_run(tmp_path)
    # Row 1 has gradient 2, row 5 has 1, the other 18 have none.
    assert run.of(2, "weight")["zero_gradient_fraction"] == pytest.approx(18 / 20)
    assert run.of(2, "weight")["gradient_rms"] == pytest.approx(np.sqrt(5 / 20))
    assert run.steps[3]["gradient_norm"] == pytest.approx(np.sqrt(15))


def test_empty_and_zero_dimensional_parameters_are_recorded(tmp_path: Path) -> None:
    parameters = {
        "empty": nn.Parameter(torch.ones(0, 3)),
        "scalar": nn.Parameter(torch.ones(())),
        "last": nn.Parameter(torch.ones(0)),
    }
    optimizer = torch.optim.Adam(parameters.values())
    with AdamDebugCallback(
        parameters.items(), optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"
    ):
        for _ in range(2):
            for parameter in parameters.values():
                parameter.grad = torch.ones_like(parameter)
            optimizer.step()
    run = read_run(tmp_path)
    for name in ("empty", "last"):
        row = run.of(2, name)
        assert row.pop("nonfinite_count") == row.pop("update_rms_standard_error") == 0
        assert np.isnan(list(row.values())).all()
        assert run.histograms[2][[p.name for p in run.layout.parameters].index(name)].sum() == 0
    assert run.of(2, "scalar")["update_to_weight_ratio"] == pytest.approx(1e-3, rel=2e-3)


def test_an_optimizer_of_unknown_formula_is_measured_and_says_what_is_missing(
    tmp_path: Path,
) -> None:
    class Unheard(torch.optim.Optimizer):
        """Stores a moment under a name that has another meaning elsewhere."""

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            for parameter in self.param_groups[0]["params"]:
                velocity = self.state[parameter].setdefault("exp_avg", torch.zeros_like(parameter))
                velocity.mul_(0.5).add_(parameter.grad)
                parameter.sub_(velocity, alpha=self.param_groups[0]["lr"])

    model, _ = make()
    optimizer = Unheard(model.parameters(), {"lr": 0.01, "momentum": 0.5})
    with pytest.warns(UserWarning, match="Unheard is not a known optimizer") as caught:
        debug = AdamDebugCallback(
            model, optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"
        )
    assert len(caught) == 1
    with debug:
        train(model, optimizer, 2)
    run = read_run(tmp_path)
    (group,) = run.layout.groups
    row = run.of(2, "0.weight")
    undefined = {name for name, value in row.items() if np.isnan(value)}
    # Without a loss; of two records; and without a step count.
    unknown = {"elasticity", "idle_row_fraction", "state_step"}
    assert undefined == set(group.undefined) & schema.STATISTIC_BY_NAME.keys() | unknown
    assert row["update_rms"] > 0
    velocity = optimizer.state[model[0].weight]["exp_avg"]  # type: ignore[index, union-attr]
    expected = schema.count_values(velocity.numpy(), schema.state_quantity("exp_avg"))
    assert run.histogram(2, "0.weight", "exp_avg (state)").tolist() == expected.tolist()
    assert run.histogram(2, "0.weight", "exp_avg").sum() == 0
    assert run.histogram(2, "0.weight", "update").sum() == 30
    assert run.hyperparameters[2]["lr"] == 0.01
    assert run.hyperparameters[2]["momentum"] == 0.5
    assert np.isnan(run.hyperparameters[2]["beta1"])


def test_two_optimizers_of_one_model_have_a_callback_each(tmp_path: Path) -> None:
    model, _ = make()
    for module in model:  # type: ignore[attr-defined]
        for parameter in module.parameters():
            parameter.grad = torch.ones_like(parameter)
    optimizers = [torch.optim.Adam(model[i].parameters()) for i in (0, 2)]  # type: ignore[index, union-attr]
    debugs = []
    for i, optimizer in enumerate(optimizers):
        # No warning about what the other optimizer holds.
        debugs.append(
            AdamDebugCallback(model, optimizer, log_dir=tmp_path / str(i), on_error="raise")
        )
    for optimizer in optimizers:
        optimizer.step()
    for debug in debugs:
        debug.close()
    names = [[p.name for p in read_run(tmp_path / str(i)).layout.parameters] for i in (0, 1)]
    assert names == [["0.weight", "0.bias"], ["2.weight", "2.bias"]]
