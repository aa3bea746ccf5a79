"""A tensor is read at its current place, in its current layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kept_tensors import MOST
from recorded_run import read_run
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback


def statistics(folder: Path) -> list[tuple[int, Any]]:
    recorded = read_run(folder)
    return sorted((step, table.tolist()) for step, table in recorded.statistics.items())


LAYOUTS: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "transposed": lambda buffer, step: (
        buffer[: 60 * 80].view(60, 80) if step % 2 else buffer[: 60 * 80].view(80, 60).T
    ),
    "with gaps": lambda buffer, step: buffer[: 60 * 80 * (1 + step % 2)].view(60, -1)[
        :, :: 1 + step % 2
    ],
    "expanded": lambda buffer, step: (
        buffer[:80].expand(60, 80) if step % 2 else buffer[: 60 * 80].view(60, 80)
    ),
    "moving": lambda buffer, step: buffer[step * 3 : step * 3 + 60 * 80].view(60, 80),
}


@pytest.mark.parametrize("most", [MOST, 1_000_000])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("what", ["gradient", "state", "weight"])
def test_a_tensor_that_lies_otherwise_at_its_address_is_read_right(
    what: str, layout: str, most: int, tmp_path: Path
) -> None:
    if what != "gradient" and layout == "expanded":
        pytest.skip("a step cannot write to it")
    found = []
    for in_one_buffer in (False, True):
        generator = torch.Generator().manual_seed(1)
        weight = nn.Parameter(torch.randn(60, 80, generator=generator))
        optimizer = torch.optim.AdamW([weight], lr=1e-2, foreach=False)
        buffer = torch.zeros(2 * 60 * 80 + 100)
        folder = tmp_path / str(in_one_buffer)
        debug = AdamDebugCallback(
            [("w", weight)],
            optimizer,
            log_dir=folder,
            every_n_steps=1,
            max_sampled_elements=most,
            on_error="raise",
        )
        for step in range(5):
            values = torch.randn(60, 80, generator=generator)
            if layout == "expanded" and step % 2:
                values = values[:1].expand(60, 80).clone()
            now = LAYOUTS[layout](buffer, step) if in_one_buffer else None
            if what == "gradient":
                place = values if now is None else now
                if now is not None:
                    rows = 1 if layout == "expanded" and step % 2 else 60
                    now[:rows].copy_(values[:rows])
                weight.grad = place
            else:
                weight.grad = values
            if what == "state" and step and now is not None:
                state = optimizer.state[weight]
                old = state["exp_avg"].clone()
                state["exp_avg"] = now.copy_(old)
            if what == "weight" and now is not None:
                old = weight.data.clone()
                weight.data = now.copy_(old)
            optimizer.step()
        debug.close()
        found.append(statistics(folder))
    for (_, expected), (_, here) in zip(*found, strict=True):
        # Tensors with gaps are summed in another order.
        np.testing.assert_allclose(here, expected, rtol=2e-5, atol=1e-12)


def test_a_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    weights = [nn.Parameter(torch.randn(60, 80)) for _ in range(2)]
    optimizer = torch.optim.AdamW(weights, foreach=False)
    debug = AdamDebugCallback(
        [("v", weights[0]), ("w", weights[1])],
        optimizer,
        log_dir=tmp_path,
        every_n_steps=1,
        max_sampled_elements=MOST,
    )
    measurement = debug._parameters.records._measurements[0]
    with pytest.raises(RuntimeError, match=r"parameter w: a tensor of shape \(80, 60\)"):
        measurement.panel.read(
            measurement.panel.blocks[0], "weight", [weights[0].data, weights[1].data.T]
        )
    debug.close()
