"""Memory of a step on a GPU, and the lines of sampled parameters passed to the kernels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from tb_adam_plugin.callback.measure.gpu import kernel_layout
from tb_adam_plugin.callback.measure.gpu.sampled_parts import SampledParts
from tb_adam_plugin.callback.measure.gpu.step_memory import KeptElements, Results
from tb_adam_plugin.callback.measure.gpu.tensor_table import TensorTable
from tb_adam_plugin.callback.read.panel import Panel

CPU = torch.device("cpu")


def panel_of(parameters: list[Tensor], most: int | None) -> Panel:
    names = [f"p{i}" for i in range(len(parameters))]
    return Panel(parameters, names, torch.float32, most)


def test_what_is_kept_lies_side_by_side_and_is_let_go_of() -> None:
    kept = KeptElements(np.array([5, 0, 3]), CPU)
    weights: list[Tensor | None] = [torch.ones(5), torch.ones(0), torch.ones(3).bfloat16()]
    kept.begin({"before": weights, "exp_avg_before": [None, None, torch.ones(3)]})
    before, first = kept.addresses("before"), kept.addresses("exp_avg_before")
    assert (before % 16 == before[0] % 16).all()
    assert before[2] - before[0] == 32  # 20 bytes, and 12 that make a multiple of 16
    assert first[:2].tolist() == [0, 0]
    assert first[2] - before[2] == 16
    found = kept.elements("before")
    assert [None if t is None else (len(t), t.dtype) for t in found] == [
        (5, torch.float32), (0, torch.float32), (3, torch.bfloat16),
    ]  # fmt: skip
    assert [t.data_ptr() for t in found if t is not None and len(t)] == [before[0], before[2]]
    assert kept.elements("exp_avg_before")[:2] == [None, None]
    assert kept.dtypes("exp_avg_before") == [None, None, torch.float32]
    kept.free()
    assert kept._memory is None
    assert kept.dtypes("before") == [torch.float32, torch.float32, torch.bfloat16]
    kept.begin({"before": weights})
    assert kept.dtypes("exp_avg_before") == ()  # not that of an earlier step


def test_sums_made_before_a_step_outlive_what_is_cleared_after_it() -> None:
    results = Results(parameters=3, chunks=2, whole_chunks=5, squares=7, rows=9, counts=1)
    parts = results.on_device(CPU)
    for part in parts.values():
        assert part.data_ptr() % 16 == parts["totals"].data_ptr() % 16
        part.fill_(1)
    results.clear()
    found = results.arrays(results.packed(True).numpy())
    assert (found.pop("totals") == 1).all()
    assert all(not array.any() for array in found.values())
    assert found["values"].shape == (kernel_layout.VALUES, 2)
    assert found["counts"].shape == (1, 3, kernel_layout.COUNTS)
    assert found["alive"].shape == (9,)
    without = results.arrays(results.packed(False).numpy())
    assert set(without) == {"totals", "values", "steps", "squares", "alive"}
    assert results.on_device(CPU)["values"].data_ptr() == parts["values"].data_ptr()


def test_the_kernels_read_the_lines_of_the_panel() -> None:
    parameters: list[Tensor] = [
        nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(300, 17)),
        nn.Parameter(torch.zeros(64, 64)), nn.Parameter(torch.zeros(17, 300)),
    ]  # fmt: skip
    panel = panel_of(parameters, 512)
    sampled = SampledParts(panel, CPU)
    assert sampled.indices == [1, 2, 3]
    assert sampled.first_lines[0] == -1
    for i in sampled.indices:
        lines = panel.lines[i]
        assert lines is not None
        first = sampled.first_lines[i]
        assert sampled.lines[first : first + len(lines)].tolist() == lines.tolist()
    assert len(sampled.lines) == 3 * 32 + 1
    assert sampled.rows == 2 + 2 + 2
    assert sampled.first_squares.tolist() == [0, 0, 2, 4]


def test_sums_of_chunks_are_added_up_in_double_precision() -> None:
    whole = kernel_layout.WHOLE_CHUNK
    parameters: list[Tensor] = [
        torch.empty(0), torch.empty(2 * whole + 1, device="meta"), torch.empty(17, device="meta"),
    ]  # fmt: skip
    sampled = SampledParts(panel_of(parameters, 16), CPU)
    assert sampled.chunk_parameter.tolist() == [1, 1, 1, 2]
    assert sampled.first_chunks.tolist() == [0, 3]
    sums = np.array([1e8, 1, 1, 3], np.float32)
    assert sampled.added_up(sums).tolist() == [1e8 + 2, 3]


def test_four_at_a_time_are_read_only_where_all_begin_so() -> None:
    memory = torch.zeros(4000)
    for size, first, is_aligned in ((1000, 0, True), (1002, 0, False), (1000, 1, False)):
        parameter = memory[first : first + size]
        table = TensorTable([parameter, torch.zeros(3)], panel_of([parameter, torch.zeros(3)], 64))
        table.place("weight", [parameter, memory[1:4]])  # the second one is read whole
        assert table.is_aligned("weight") == is_aligned
