"""The stored bytes of every version of the format: current code writes the newest and reads all.

If these fail because the format was changed on purpose, see ``golden_format.py``.
"""

from __future__ import annotations

from pathlib import Path

import golden_format as golden
import numpy as np
import pytest
from event_files import write_events
from in_process import PluginClient

from tb_adam_plugin import schema
from tb_adam_plugin.schema import Columns, Layout

VERSIONS = range(1, schema.VERSION + 1)
every_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture(autouse=True, params=[False, True], ids=["loader", "files"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask TensorBoard's loader, and the files."""
    monkeypatch.setattr(PluginClient, "reads_files", request.param)


def test_every_version_is_stored() -> None:
    stored = sorted(path.name for path in golden.FOLDER.iterdir())
    assert stored == sorted(golden.path_of(version).name for version in VERSIONS)


def test_tags_contents_and_tensors_are_written_as_they_are_stored() -> None:
    stored, written = golden.read(schema.VERSION).tensors, golden.encode_tensors()
    assert [tagged.tag for tagged in written] == [tagged.tag for tagged in stored]
    for now, then in zip(written, stored, strict=True):
        assert now.content == then.content
        assert golden.unpacked(now) == golden.unpacked(then)
        if not now.tag.startswith("adam_debug/histograms/"):
            assert (now.tensor.dtype, now.tensor.shape) == (then.tensor.dtype, then.tensor.shape)


def test_a_record_of_an_event_file_is_written_as_it_is_stored() -> None:
    stored = golden.read(schema.VERSION)
    assert golden.encode_record(stored.tensors) == stored.record


@every_version
def test_stored_contents_are_read(version: int) -> None:
    statistics, hyperparameters, steps, *_ = golden.read(version).tensors
    layout = Layout.from_content(statistics.content)
    assert layout == golden.LAYOUT
    id_ = schema.short_hash(statistics.content)
    assert schema.parse_tag(statistics.tag) == ("statistics", id_, None)
    assert Columns.from_content(hyperparameters.content) == golden.HYPERPARAMETER_COLUMNS
    assert Columns.from_content(steps.content) == golden.STEP_COLUMNS


@every_version
def test_stored_blocks_are_read(version: int) -> None:
    blocks = golden.read(version).tensors[3:]
    assert len(blocks) == len(golden.LAYOUT.parameters)
    for tagged, expected in zip(blocks, golden.counts(), strict=True):
        decoded = schema.decode_histograms(tagged.tensor.tobytes(), len(golden.LAYOUT.quantities))
        np.testing.assert_array_equal(decoded, expected)


@every_version
def test_a_stored_record_is_served(version: int, tmp_path: Path) -> None:
    run = f"old/{schema.RUN_FOLDER}"
    write_events(tmp_path / run, [golden.read(version).record])
    plugin = PluginClient(tmp_path)

    header, arrays = plugin.packed("steps", run=run)
    assert header["columns"] == list(golden.STEP_COLUMNS.names)
    np.testing.assert_array_equal(arrays["values"], golden.STEPS.T)

    header, arrays = plugin.packed("hyperparameters", run=run)
    assert header["columns"] == list(golden.HYPERPARAMETER_COLUMNS.names)
    np.testing.assert_array_equal(arrays["values"][:, :, 0], golden.HYPERPARAMETERS)

    for row, parameter in enumerate(golden.LAYOUT.parameters):
        header, arrays = plugin.packed("series", run=run, parameter=parameter.name)
        assert header["statistics"] == list(golden.LAYOUT.statistics)
        assert arrays["step"].tolist() == [golden.STEP]
        assert arrays["wall_time"].tolist() == [golden.WALL_TIME]
        np.testing.assert_array_equal(arrays["values"][:, 0], golden.STATISTICS[row])
        for quantity, counts in zip(golden.LAYOUT.quantities, golden.counts()[row], strict=True):
            _, arrays = plugin.packed(
                "histograms", run=run, parameter=parameter.name, quantity=quantity.name
            )
            assert arrays[f"{quantity.name}/special"][0].tolist() == counts[schema.BINS :].tolist()
            served = arrays[f"{quantity.name}/counts"][0]
            edges = schema.bin_edges(quantity).tolist()
            for count, lower in zip(served, arrays[f"{quantity.name}/edges"], strict=False):
                assert count == counts[edges.index(lower)]
            assert served.sum() == counts[: schema.BINS].sum()
