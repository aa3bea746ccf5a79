"""Names of scalars that are too long: not recorded, one warning, and nothing else is lost."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.run_data import load_runs


def test_a_long_name_fills_no_disk(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    longest = "y" * schema.LONGEST_SCALAR_NAME
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with AdamDebugCallback(model, optimizer, log_dir=tmp_path) as debug:
            for step in range(60):
                optimizer.zero_grad()
                model(torch.ones(3)).sum().backward()
                debug.record(**{"x" * 20_000 + str(step): 1.0, longest: step, "loss": 1.0})
                optimizer.step()
    (said,) = [str(one.message) for one in caught if "record()" in str(one.message)]
    assert "a name of 20,001 characters, 'xxx" in said
    assert "more than 200 are not recorded" in said
    assert len(said) < 500
    names = load_runs(tmp_path)[0].every_step().names
    assert {longest, "loss"} <= set(names)
    assert max(map(len, names)) == schema.LONGEST_SCALAR_NAME
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 2_000_000
