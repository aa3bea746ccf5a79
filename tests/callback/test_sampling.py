"""The sample of a large parameter is representative of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from recorded_run import read_run
from torch import Tensor, nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.attach.watched_parameters import Watched
from tb_adam_plugin.callback.measure.measurement import Measurement
from tb_adam_plugin.callback.optimizer_state.registry import adapter_for
from tb_adam_plugin.callback.read.panel import Panel
from tb_adam_plugin.callback.read.rows import LINE, ROW

MOST = 4096


def sampled_indices(elements: int, most: int = MOST, name: str = "p") -> npt.NDArray[np.int64]:
    """Which elements of a parameter a panel reads, by reading the parameter's own indices."""
    parameter = torch.arange(elements, dtype=torch.float64)
    panel = Panel([parameter], [name], torch.float64, most)
    rows = [panel.read(block, "p", [parameter]).clone() for block in panel.blocks]
    read = torch.cat(rows).view(-1)[: int(panel.elements_read[0])]
    return read.long().numpy()


@pytest.mark.parametrize("elements", [4097, 5000, 8191, 12_345, 100_000, 1_000_003])
def test_a_sample_has_about_the_asked_size_and_no_element_twice(elements: int) -> None:
    indices = sampled_indices(elements)
    assert MOST - LINE < len(indices) <= MOST
    assert len(np.unique(indices)) == len(indices)
    assert indices.min() >= 0
    assert indices.max() < elements


def test_the_elements_after_the_last_full_line_can_be_sampled() -> None:
    elements = 4096 + 16 + 5  # nearly all lines are read, so the short last one is likely to be
    indices = sampled_indices(elements)
    assert indices.max() >= elements - 5


def test_every_part_of_a_parameter_is_equally_likely() -> None:
    elements = 1_000_003
    thousandth = sampled_indices(elements) * 100 // elements
    per_part = np.bincount(thousandth, minlength=100)
    assert per_part.min() >= MOST / 100 - 2 * LINE
    assert per_part.max() <= MOST / 100 + 2 * LINE


@pytest.mark.parametrize("period", [2, 3, 7, 9, 16, 64, 256, 512, 768, 1000])
def test_a_sample_does_not_alias_with_regular_structure(period: int) -> None:
    """Every phase of a period (a row, a channel, a kernel tap) gets its share of the sample."""
    indices = sampled_indices(1_048_576, 16_384)
    groups = min(period, 16)
    share = np.bincount(indices % period * groups // period, minlength=groups) / len(indices)
    whole = np.bincount(np.arange(period) * groups // period, minlength=groups) / period
    # 1,024 lines, each one draw at worst: four standard errors of a share.
    assert np.abs(share - whole).max() < 4 * np.sqrt(whole.max() * (1 - whole.max()) / 1024)


def test_the_same_elements_are_read_all_run_and_after_a_restart() -> None:
    assert sampled_indices(77_777).tolist() == sampled_indices(77_777).tolist()


def test_what_is_read_of_one_parameter_does_not_depend_on_the_others() -> None:
    parameters = [torch.arange(n, dtype=torch.float64) for n in (10, 50_000, 3)]
    panel = Panel(parameters, ["a", "b", "c"], torch.float64, MOST)
    (block,) = panel.blocks
    first = int(panel.first_rows[1]) * ROW
    read = panel.read(block, "p", parameters).view(-1)[first : first + MOST]
    assert read.long().tolist() == sampled_indices(50_000, name="b").tolist()


def test_padding_stays_zero_when_blocks_share_memory() -> None:
    sizes = [200_000, 7, 300, 500_001, 1]
    parameters = [torch.full((n,), float(i + 1)) for i, n in enumerate(sizes)]
    panel = Panel(parameters, list("abcde"), torch.float32, None)
    assert len(panel.blocks) > 1
    sums = np.zeros(len(sizes))
    for block in panel.blocks:
        rows = panel.read(block, "p", parameters)
        owners = block.row_parameter + block.first_parameter
        np.add.at(sums, owners, rows.sum(1).numpy())
    assert sums.tolist() == [n * (i + 1) for i, n in enumerate(sizes)]
    assert panel.elements_read.tolist() == sizes


@pytest.mark.parametrize("most", [MOST, None])
@pytest.mark.parametrize("kind", ["channels last", "transposed", "with gaps", "gradient differs"])
def test_memory_order_does_not_mix_up_elements(kind: str, most: int | None) -> None:
    """Weight, gradient and moments of one element go to one place, whatever their strides."""
    values = torch.arange(40 * 50 * 9, dtype=torch.float64).view(40, 50, 3, 3)
    parameter, other = {
        "channels last": (values.contiguous(memory_format=torch.channels_last),) * 2,
        "transposed": (values.transpose(0, 1), values.transpose(0, 1)),
        "with gaps": (torch.stack([values, values], -1)[..., 0],) * 2,
        "gradient differs": (values.contiguous(memory_format=torch.channels_last), values),
    }[kind]
    small = parameter[:3]
    panel = Panel([parameter, small], ["p", "q"], torch.float64, most)
    for block in panel.blocks:
        weight = panel.read(block, "weight", [parameter, small]).clone()
        gradient = panel.read(block, "gradient", [other, other[:3]])
        assert torch.equal(weight, gradient)
        assert weight.max() > 0


def test_estimates_of_a_large_parameter_are_as_close_as_they_say(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    rows = torch.rand(2000, 1, generator=generator) + 0.5  # rows of different size
    weight = nn.Parameter(torch.randn(2000, 500, generator=generator))
    optimizer = torch.optim.SGD([weight], lr=0.01)
    with AdamDebugCallback([("weight", weight)], optimizer, log_dir=tmp_path, on_error="raise"):
        before = weight.detach().clone()
        weight.grad = torch.randn(weight.shape, generator=generator) * rows
        optimizer.step()
    recorded = read_run(tmp_path).of(1, "weight")
    update = (weight.detach() - before).double()
    truth = float(update.square().mean().sqrt())
    error = recorded["update_rms_standard_error"]
    assert 0.001 < error < 0.02
    assert abs(recorded["update_rms"] / truth - 1) < 3 * error
    assert recorded["update_to_weight_ratio"] == pytest.approx(
        recorded["update_rms"] / recorded["weight_rms"], rel=1e-6
    )


def test_the_standard_error_is_that_of_many_samples() -> None:
    """Panels of shuffled copies of a parameter differ by what each of them estimates."""
    generator = torch.Generator().manual_seed(4)
    values = torch.randn(60_000, generator=generator).exp()
    estimates, errors = [], []
    for _ in range(60):
        shuffled = values[torch.randperm(len(values), generator=generator)]
        mean, error = _update_rms(shuffled)
        estimates.append(mean)
        errors.append(error)
    spread = np.std(estimates) / np.mean(estimates)
    assert np.mean(errors) == pytest.approx(spread, rel=0.4)


def _update_rms(update: Tensor) -> tuple[float, float]:
    weight = torch.zeros_like(update)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    measurement = Measurement([Watched("p", weight, 0)], adapter_for(optimizer), MOST)
    measurement.before_step()
    weight.add_(update)
    table = measurement.after_step(with_histograms=False).statistics
    names = [statistic.name for statistic in schema.STATISTICS]
    return (
        float(table[0, names.index("update_rms")]),
        float(table[0, names.index("update_rms_standard_error")]),
    )
