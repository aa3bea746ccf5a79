"""An embedding in a frozen model, with only some rows to be trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.run_data import load_runs

ROWS, NEW, STEPS = 60, 7, 80


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(ROWS, 16)
        self.mid, self.head = nn.Linear(16, 64), nn.Linear(64, ROWS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(torch.relu(self.mid(self.table(x))))
        return found


def severities(
    folder: Path, weight_decay: float, *, in_turn: bool = False, frozen: bool = True
) -> list[str]:
    """Return the severity of the finding.

    Args:
        folder: Folder of the run.
        weight_decay: AdamW's weight decay.
        in_turn: Whether each row is used occasionally, rather than one always.
        frozen: Whether nothing else is trained.
    """
    torch.manual_seed(0)
    model = Model()
    table = model.table.weight
    model.requires_grad_(not frozen)
    table.requires_grad_(True)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=weight_decay)
    others = torch.arange(ROWS) != NEW
    before = table.detach().clone()
    with AdamDebugCallback(model, optimizer, log_dir=folder, total_steps=STEPS) as debug:
        for t in range(STEPS):
            x = torch.arange(4) + 4 * t if in_turn else torch.randint(ROWS, (32,))
            x = x.remainder(ROWS)
            x[0] = x[0] if in_turn else NEW
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), x)
            loss.backward()  # type: ignore[no-untyped-call]
            assert table.grad is not None
            if not in_turn:
                table.grad[others] = 0
            debug.record(loss=loss)
            optimizer.step()
    moved = (table - before)[others].norm()
    assert in_turn or bool(moved > 0) == bool(weight_decay)
    (run,) = load_runs(folder)
    return [f.severity for f in run.findings() if f.rule == "idle_rows_decay"]


def test_rows_that_were_to_stay_and_shrink_are_named(tmp_path: Path) -> None:
    assert severities(tmp_path, 0.2) == ["warning"]


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_without_decay_that_counts_nothing_is_said(weight_decay: float, tmp_path: Path) -> None:
    assert severities(tmp_path, weight_decay) == []


def test_rows_that_take_turns_are_a_question_at_most(tmp_path: Path) -> None:
    assert "warning" not in severities(tmp_path / "frozen", 0.2, in_turn=True)
    assert severities(tmp_path / "trained", 0.2, in_turn=True, frozen=False) == []
