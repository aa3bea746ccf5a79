"""The documents' examples work: their Python runs, their diffs are as small as claimed."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from tb_adam_plugin.callback import AdamDebugCallback

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for folder, pattern in ((".", "*.md"), ("docs", "**/*.md"), ("tb_adam_plugin", "*.md"))
    for path in (ROOT / folder).glob(pattern)
)


def code_blocks(language: str) -> list[Any]:
    return [*_code_blocks(language)]


def _code_blocks(language: str) -> Iterator[Any]:
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT).as_posix()
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text[: match.start()].count("\n") + 1
            yield pytest.param(match[1], id=f"{name}:{line}")


class Classifier(nn.Module):
    """Returns its loss, as the models of transformers do."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": cross_entropy(self.layers(images), labels)}


def lightning_module(model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
    methods = {
        "training_step": lambda self, batch, index: cross_entropy(self.model(batch[0]), batch[1]),
        "configure_optimizers": lambda self: optimizer,
    }
    base = importlib.import_module("lightning.pytorch").LightningModule
    kind: Any = type("Module", (base,), methods)
    module = kind()
    module.model = model
    return module


def names_in(code: CodeType) -> set[str]:
    """Names that a program uses, its functions included."""
    functions = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(names_in, functions))


def made_for(used: set[str]) -> dict[str, Any]:
    """Make what a document takes for granted: a model, its optimizer, data."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    optimizer = torch.optim.Adam(model.parameters())
    images, labels = torch.randn(12, 3, 2, 2), torch.tensor([0, 1] * 6)
    made: dict[str, Callable[[], Any]] = {
        "AdamDebugCallback": lambda: AdamDebugCallback,
        "batches": lambda: DataLoader(TensorDataset(images, labels), batch_size=4),
        "classifier": lambda: Classifier(model),
        "cross_entropy": lambda: cross_entropy,
        "device": lambda: "cpu",
        "examples": lambda: [
            {"images": image, "labels": label} for image, label in zip(images, labels, strict=True)
        ],
        "model": lambda: model,
        "module": lambda: lightning_module(model, optimizer),
        "optimizer": lambda: optimizer,
        "torch": lambda: torch,
    }
    return {name: make() for name, make in made.items() if name in used}


# What frameworks tell their users, and torch those that have no accelerator.
@pytest.mark.filterwarnings(r"ignore:::(lightning|pytorch_lightning|transformers|accelerate)\b.*")
@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true:UserWarning")
@pytest.mark.parametrize("block", code_blocks("python"))
def test_python_blocks_record_a_run(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = compile(block, "a document", "exec")
    used = names_in(code)
    names = made_for(used)
    if "init_process_group" in used:  # as torchrun starts a single process
        launched = {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}
        for name, value in launched.items():
            monkeypatch.setenv(name, str(value))
    exec(code, names)
    if "batches" in names and "debug" in names:
        assert names["debug"].step == len(names["batches"])
        names["debug"].close()
    event_files = list(tmp_path.rglob("events.out.tfevents.*"))
    records = [path for path in event_files if b"adam_debug/statistics/" in path.read_bytes()]
    assert records
    for folder in re.findall(r'log_dir="(runs/\w+)"', block):
        assert sum(tmp_path / folder in path.parents for path in records) == 1


@pytest.mark.parametrize("block", code_blocks("diff"))
def test_diffs_add_at_most_three_lines(block: str) -> None:
    changed = [line for line in block.splitlines() if line[:1] in ("+", "-")]
    added = [line[1:].strip() for line in changed if line.startswith("+")]
    assert len(added) == len(changed) <= 3
    names: dict[str, Any] = {}
    (import_,) = [line for line in added if "import" in line]
    exec(import_, names)
    (imported,) = names.keys() - {"__builtins__"}
    assert any(f"{imported}(" in line for line in added)
