"""dead_row_fraction against the gradients themselves, for every way of finding rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorded_run import read_run
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback

PARAMETERS = {
    "matrix": torch.ones(300, 17),
    "rows that end with a block of elements": torch.ones(4, 256),
    "column": torch.ones(500, 1),
    "filter": torch.ones(60, 3, 5, 5),
    "channels last": torch.ones(60, 16, 3, 3).to(memory_format=torch.channels_last),
    "transposed": torch.ones(40, 30).t(),
    "with gaps": torch.ones(20, 64)[:, ::2],
    "vector": torch.ones(333),
    "scalar": torch.ones(()),
    "empty": torch.ones(0, 4),
    "embedding": torch.ones(1500, 96),
    "many short rows": torch.ones(20_000, 8),
    "few long rows": torch.ones(3, 90_000),
    "large transposed": torch.ones(200, 700).t(),
    "large vector": torch.ones(20_000),
}


def gradients(step: int) -> dict[str, Tensor]:
    """Some rows are zero everywhere, others have a single element that is not."""
    generator = torch.Generator().manual_seed(step)
    made = {}
    for name, like in PARAMETERS.items():
        gradient = torch.randn(like.shape, generator=generator)
        if like.dim() > 1:
            kind = torch.randint(4, (len(like),), generator=generator)
            gradient[kind == 0] = 0
            gradient[kind == 1] = 0
            gradient.flatten(1)[kind == 1, -1:] = 1e-12
        elif like.dim():
            gradient[torch.rand(like.shape, generator=generator) < 0.3] = 0
        if "transposed" in name or name == "channels last":
            gradient = torch.empty_like(like).copy_(gradient)
        made[name] = gradient
    return made


@pytest.mark.parametrize("exact", [False, True])
def test_dead_rows_are_those_without_any_gradient(tmp_path: Path, exact: bool) -> None:
    parameters = {name: nn.Parameter(like.clone()) for name, like in PARAMETERS.items()}
    for name in ("transposed", "large transposed", "with gaps"):
        parameters[name] = nn.Parameter(PARAMETERS[name].detach())
    optimizer = torch.optim.Adam(parameters.values())
    options: dict[str, Any] = {"every_n_steps": 1, "on_error": "raise", "exact": exact}
    with AdamDebugCallback(parameters.items(), optimizer, log_dir=tmp_path, **options):
        for step in (1, 2, 3):
            for name, gradient in gradients(step).items():
                parameters[name].grad = None if (name, step) == ("matrix", 2) else gradient
            optimizer.step()
    run = read_run(tmp_path)
    sampled = {p.name for p in run.layout.parameters if p.elements_read < p.elements}
    assert len(sampled) == (0 if exact else 5)
    for step in (1, 2, 3):
        for name, gradient in gradients(step).items():
            found = run.of(step, name)["dead_row_fraction"]
            if name == "empty" or (name, step) == ("matrix", 2):
                assert np.isnan(found)
                continue
            rows = gradient.reshape(len(gradient) if gradient.dim() else 1, -1)
            expected = float((rows == 0).all(1).double().mean())
            if name == "large vector" and not exact:  # of its sample
                assert found == pytest.approx(expected, abs=0.02)
            else:
                assert found == pytest.approx(expected, abs=1e-7), (name, step)


def test_the_rows_of_a_sparse_gradient(tmp_path: Path) -> None:
    embedding = nn.Embedding(50, 4, sparse=True)
    optimizer = torch.optim.SparseAdam(embedding.parameters())
    with AdamDebugCallback(
        embedding, optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"
    ):
        embedding(torch.tensor([3, 7, 7])).sum().backward()
        optimizer.step()
    assert read_run(tmp_path).of(1, "weight")["dead_row_fraction"] == pytest.approx(48 / 50)
