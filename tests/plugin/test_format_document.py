"""The program in docs/format.md, which does not use this package, writes a run for the tab."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from in_process import PluginClient

from tb_adam_plugin import schema
from tb_adam_plugin.run_data import load_runs
from tb_adam_plugin.schema.content import read_content

DOCUMENT = (Path(__file__).parents[2] / "docs/format.md").read_text(encoding="utf-8")
RUN = "other_language/adam_debug"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    exec(compile(program, "docs/format.md", "exec"), {})
    return tmp_path / "runs"


def weights() -> list[np.ndarray]:
    """The program's gradient descent: each step leaves four fifths of a weight."""
    return [np.array([1.0, -2.0, 0.5]) * 0.8**step for step in range(6)]


def test_the_plugin_reads_what_the_program_wrote(folder: Path) -> None:
    plugin = PluginClient(folder)
    (run,) = plugin.json("summary")["runs"]
    assert (run["name"], run["last_step"]) == ("other_language", 5)
    assert run["parameters"][0]["name"] == "dense.kernel"

    header, arrays = plugin.packed("series", run=RUN, parameter="dense.kernel")
    values = dict(zip(header["statistics"], arrays["values"], strict=True))
    root_mean_squares = [np.sqrt(np.mean(w**2)) for w in weights()[:5]]
    np.testing.assert_allclose(values["weight_rms"], root_mean_squares, rtol=1e-6)
    np.testing.assert_allclose(values["update_to_weight_ratio"], 0.2, rtol=1e-6)

    header, arrays = plugin.packed("steps", run=RUN)
    rows = dict(zip(header["columns"], arrays["values"], strict=True))
    np.testing.assert_allclose(rows["loss"], [np.sum(w**2) for w in weights()[:5]])


def test_its_histograms_are_those_of_the_weights(folder: Path) -> None:
    (run,) = load_runs(folder)
    found = run.histograms("weight", "dense.kernel")
    weight = schema.QUANTITIES[3]
    expected = [schema.count_values(w, weight) for w in weights()[1:]]
    np.testing.assert_array_equal(found.counts[:, 0], expected)
    assert found.step.tolist() == [1, 2, 3, 4, 5]


def test_the_tables_name_what_the_format_has() -> None:
    tags = set(re.findall(r"^\| `adam_debug/(\w+)/", DOCUMENT, re.MULTILINE))
    assert tags == set(get_args(schema.Kind))
    fields = DOCUMENT.split("## The layout")[1].split("## Histograms")[0]
    listed = re.findall(r"^\| `(\w+)` \|", fields, re.MULTILINE)
    row = schema.Parameter("w", (), "float32", 1, 0, "Linear")
    held = schema.Unoptimized("v", (), True, "SGD")
    group = schema.Group("AdamW", {}, replaced={"lr": (1e-4, 3e-3)})
    layout = schema.Layout((row,), (group,), (), (), (held,))
    assert sorted(listed) == sorted(read_content(layout.content()))
