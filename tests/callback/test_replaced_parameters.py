"""A model that gets other tensors after its optimizer is created."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_run import read_run
from torch import nn
from torch.nn.utils import parametrizations, prune

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.attach.replaced_parameters import FollowedModel, has_new_parameters
from tb_adam_plugin.run_data import load_runs

STEPS = 12


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.mid = nn.Embedding(20, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 20, bias=False)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(torch.relu(self.mid(self.table(x))))


Exchange = Callable[[Net, torch.optim.Optimizer], object]


def trained(folder: Path, exchange: Exchange, at: int, *, every_n_steps: int = 1) -> list[str]:
    """Train, replace something before a step, and return the callback's warnings."""
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        options: Any = {"every_n_steps": every_n_steps, "on_error": "raise"}
        with AdamDebugCallback(model, optimizer, log_dir=folder, **options):
            for t in range(1, STEPS + 1):
                if t == at:
                    exchange(model, optimizer)
                x = torch.randint(20, (16,))
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), x).backward()
                optimizer.step()
    return [str(w.message) for w in caught if "Adam Debug" in str(w.message)]


def exchange_table(model: Net, optimizer: torch.optim.Optimizer) -> None:
    old, model.table = model.table.weight, nn.Embedding(28, 8)
    with torch.no_grad():
        model.table.weight[:20] = old


def exchange_parameter(model: Net, optimizer: torch.optim.Optimizer) -> None:
    model.table.weight = nn.Parameter(model.table.weight.detach().clone())


def exchange_everything(model: Net, optimizer: torch.optim.Optimizer) -> None:
    for module in (model.table, model.mid, model.head):
        for name, parameter in list(module.named_parameters()):
            setattr(module, name, nn.Parameter(parameter.detach().clone()))


def exchange_and_add(model: Net, optimizer: torch.optim.Optimizer) -> None:
    exchange_table(model, optimizer)
    optimizer.add_param_group({"params": [model.table.weight]})


def exchange_in_group(model: Net, optimizer: torch.optim.Optimizer) -> None:
    old = model.table.weight
    exchange_table(model, optimizer)
    params = optimizer.param_groups[0]["params"]
    params[[p is old for p in params].index(True)] = model.table.weight


def exchange_for_another_optimizer(model: Net, optimizer: torch.optim.Optimizer) -> None:
    exchange_table(model, optimizer)
    model.other = torch.optim.SGD([model.table.weight], lr=0.1)  # type: ignore[assignment]


def freeze_new_one(model: Net, optimizer: torch.optim.Optimizer) -> None:
    exchange_table(model, optimizer)
    model.table.requires_grad_(False)


def tie(model: Net, optimizer: torch.optim.Optimizer) -> None:
    model.head.weight = model.table.weight


def parametrize(model: Net, optimizer: torch.optim.Optimizer) -> None:
    parametrizations.spectral_norm(model.mid)


def mask(model: Net, optimizer: torch.optim.Optimizer) -> None:
    prune.l1_unstructured(model.mid, "weight", 0.5)


class WithAdapter(nn.Module):
    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base.requires_grad_(False)
        self.lora_a, self.lora_b = nn.Linear(8, 2, bias=False), nn.Linear(2, 8, bias=False)

    def forward(self, x: torch.Tensor) -> Any:
        return self.base_layer(x) + self.lora_b(self.lora_a(x))


def inject_adapter(model: Net, optimizer: torch.optim.Optimizer) -> None:
    model.mid = WithAdapter(model.mid)  # type: ignore[assignment]
    new = [p for n, p in model.mid.named_parameters() if "lora" in n]
    optimizer.add_param_group({"params": new})


def compile_in_place(model: Net, optimizer: torch.optim.Optimizer) -> None:
    wrapped: Any = torch.compile(model.mid, backend="eager")
    model.wrapped = wrapped


def not_in_optimizer(folder: Path) -> list[Any]:
    (run,) = load_runs(folder)
    return [finding for finding in run.findings() if finding.rule == "not_in_optimizer"]


@pytest.mark.parametrize("at", [1, 6])
@pytest.mark.parametrize("exchange", [exchange_table, exchange_parameter])
def test_a_tensor_that_was_exchanged_is_named(exchange: Exchange, at: int, tmp_path: Path) -> None:
    (warning,) = trained(tmp_path, exchange, at)
    assert "table.weight was replaced" in warning
    (finding,) = not_in_optimizer(tmp_path)
    assert finding.parameters == ("table.weight",)
    assert finding.first_step == at
    assert "the optimizer still holds the old tensor" in finding.text
    (run,) = load_runs(tmp_path)
    assert "parameter_without_gradient" not in {found.rule for found in run.findings()}


def test_records_go_on_where_everything_was_exchanged(tmp_path: Path) -> None:
    (warning,) = trained(tmp_path, exchange_everything, 6)
    assert "table.weight, mid.weight, mid.bias, head.weight was replaced" in warning
    (finding,) = not_in_optimizer(tmp_path)
    assert len(finding.parameters) == 4
    assert max(read_run(tmp_path).statistics) == STEPS


def test_an_adapter_that_the_optimizer_does_not_hold_is_named(tmp_path: Path) -> None:
    def inject(model: Net, optimizer: torch.optim.Optimizer) -> None:
        model.mid = WithAdapter(model.mid)  # type: ignore[assignment]

    (warning,) = trained(tmp_path, inject, 6)
    assert "in no parameter group: mid.lora_a.weight, mid.lora_b.weight" in warning
    (finding,) = not_in_optimizer(tmp_path)
    assert finding.parameters == ("mid.lora_a.weight", "mid.lora_b.weight")


@pytest.mark.parametrize("at", [1, 6])
@pytest.mark.parametrize(
    "exchange",
    [
        exchange_and_add, exchange_in_group, exchange_for_another_optimizer, freeze_new_one, tie,
        parametrize, mask, inject_adapter, compile_in_place,
    ],
)  # fmt: skip
def test_what_the_optimizer_has_or_nobody_trains_is_not_named(
    exchange: Exchange, at: int, tmp_path: Path
) -> None:
    warned = trained(tmp_path, exchange, at)
    assert not [warning for warning in warned if "will not update" in warning]
    assert not not_in_optimizer(tmp_path)


def test_it_is_looked_for_at_records_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    look = FollowedModel.has_changed
    monkeypatch.setattr(FollowedModel, "has_changed", lambda m: looks.append(m) or look(m))  # type: ignore[func-returns-value]
    trained(tmp_path, lambda *_: None, 1, every_n_steps=4)
    assert len(looks) == 5  # at 1, 2, 4, 8 and 12


def test_a_model_that_always_has_new_ones_is_not_looked_at_for_ever() -> None:
    model = nn.Linear(3, 3)
    followed = FollowedModel(model, is_sharded=False)
    kept = list(model.parameters())
    followed.know(kept)
    assert not followed.has_changed()
    changes = []
    for _ in range(20):
        model.weight = nn.Parameter(torch.ones(3, 3))
        kept.append(model.weight)
        changes.append(followed.has_changed())
    assert changes == [True] * 8 + [False] * 12


def test_what_is_sharded_and_what_is_no_module_is_left_alone() -> None:
    assert not FollowedModel(nn.Linear(3, 3), is_sharded=True).has_changed()
    assert not FollowedModel([("w", nn.Parameter(torch.ones(3)))], is_sharded=False).has_changed()


def test_modules_that_hold_each_other_end() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].parent = model
    assert not has_new_parameters(model, set(map(id, model.parameters())))
    assert has_new_parameters(model, set())
    assert not has_new_parameters(model.requires_grad_(False), set())
