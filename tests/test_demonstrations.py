"""The demonstrations: each fault is the first that is found, and its fix leaves nothing to find."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from tb_adam_plugin import cli
from tb_adam_plugin.callback import demonstrations
from tb_adam_plugin.callback.demonstrations import DEMONSTRATIONS, Demonstration, Settings
from tb_adam_plugin.run_data import Run, load_runs

GALLERY = Path(__file__).parents[1] / "docs" / "gallery"
NOT_IN_OPTIMIZER = "ignore:.*no parameter group of the optimizer holds:UserWarning"


def only_run(folder: Path) -> Run:
    (run,) = load_runs(folder)
    return run


@pytest.mark.filterwarnings(NOT_IN_OPTIMIZER)
@pytest.mark.parametrize("demonstration", DEMONSTRATIONS, ids=lambda d: d.name)
def test_the_fault_is_found_first_and_the_fix_helps(
    tmp_path: Path, demonstration: Demonstration
) -> None:
    with_fault, with_fix = demonstrations.train_both(demonstration, tmp_path)
    first = only_run(tmp_path / "fault").findings()[0]
    assert first.rule == demonstration.rule
    assert first.consequence_of is None
    left = only_run(tmp_path / "fixed").findings()
    assert [finding.rule for finding in left if finding.severity != "info"] == []
    assert with_fix < 0.95 * with_fault


def test_training_leaves_random_numbers_and_threads_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected, threads = torch.rand(4), torch.get_num_threads()
    torch.manual_seed(3)
    demonstrations.train(Settings(lr=1e-4), tmp_path)
    assert torch.rand(4).tolist() == expected.tolist()
    assert torch.get_num_threads() == threads


def test_the_gallery_shows_every_demonstration() -> None:
    page = (GALLERY / "README.md").read_text(encoding="utf-8")
    pictures = {path.stem for path in GALLERY.glob("*.png")}
    assert pictures == {demonstration.name for demonstration in DEMONSTRATIONS}
    for demonstration in DEMONSTRATIONS:
        assert f"\n## {demonstration.title}\n" in page
        assert f"({demonstration.name}.png)" in page
        assert f"The fix: {demonstration.change}." in page


def test_the_command_says_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = next(d for d in DEMONSTRATIONS if d.name == "learning_rate_too_high")
    monkeypatch.setattr(demonstrations, "DEMONSTRATIONS", (chosen,))
    folder = tmp_path / "new" / "folder"
    assert cli.main(["demo", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "Learning rate too high" in said
    assert chosen.change in said
    assert f"tensorboard --logdir {folder}" in said
    assert {run.name for run in load_runs(folder)} == {
        f"{chosen.name}/{kind}" for kind in ("fault", "fixed")
    }

    assert cli.main(["demo", str(folder)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_without_torch_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tb_adam_plugin.callback.demonstrations", None)
    assert cli.main(["demo", str(tmp_path)]) == 2
    assert "need torch" in capsys.readouterr().err
