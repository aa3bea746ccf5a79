"""The demonstrations: each fault is the first finding, and its fix leaves none."""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tb_adam_plugin import cli
from tb_adam_plugin.callback.demo.demonstrations import DEMONSTRATIONS, THEMES, Demonstration
from tb_adam_plugin.callback.demo.training import Settings, train
from tb_adam_plugin.commands import demo
from tb_adam_plugin.diagnosis.rules.registry import RULES
from tb_adam_plugin.run_data import Run, load_runs

Trains = Callable[[Settings], tuple[float, Run]]
GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
NOT_IN_OPTIMIZER = "ignore:.*trainable parameters in no parameter group:UserWarning"


def only_run(folder: Path) -> Run:
    (run,) = load_runs(folder)
    return run


@pytest.fixture(scope="module")
def train_once(tmp_path_factory: pytest.TempPathFactory) -> Trains:
    """Return what trains with some settings and returns the loss at the end and the run."""

    @functools.cache  # many faults have the same fix
    def trained(settings: Settings) -> tuple[float, Run]:
        folder = tmp_path_factory.mktemp("run")
        return train(settings, folder), only_run(folder)

    return trained


@pytest.mark.filterwarnings(NOT_IN_OPTIMIZER)
@pytest.mark.parametrize("demonstration", DEMONSTRATIONS, ids=lambda d: d.name)
def test_the_fault_is_found_first_and_the_fix_helps(
    train_once: Trains, demonstration: Demonstration
) -> None:
    with_fault, faulty = train_once(demonstration.fault)
    with_fix, fixed = train_once(demonstration.fix)
    first = faulty.findings()[0]
    assert first.rule == demonstration.rule
    assert first.severity != "info" or first.rule == "lr_too_low"  # which only ever asks
    assert first.consequence_of is None
    assert [finding.rule for finding in fixed.findings() if finding.severity != "info"] == []
    assert math.isnan(with_fault) or with_fix < 0.95 * with_fault


def test_every_alarm_but_a_few_is_demonstrated() -> None:
    alarms = {rule.id for rule in RULES if rule.severity != "info"}
    shown = [demonstration.rule for demonstration in DEMONSTRATIONS]
    assert len(shown) == len(set(shown))
    # The effect of bfloat16 on weights is found before its effect on exp_avg_sq, and strong decay
    # before what weights forget because of it.
    assert alarms - set(shown) == {
        "clipped_before_unscaling", "frozen", "idle_rows_decay", "leftover_gradient",
        "lr_far_below_schedule", "lr_zero", "second_moment_frozen", "short_memory",
        "steps_skipped", "warmup_not_over", "weight_decay_overshoots", "weights_grow",
    }  # fmt: skip


def test_training_leaves_random_numbers_and_threads_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected, threads = torch.rand(4), torch.get_num_threads()
    torch.manual_seed(3)
    train(Settings(lr=1e-4), tmp_path)
    assert torch.rand(4).tolist() == expected.tolist()
    assert torch.get_num_threads() == threads


def test_the_gallery_shows_every_demonstration() -> None:
    page = (GALLERY / "README.md").read_text(encoding="utf-8")
    pictures = {path.stem for path in GALLERY.glob("*.png")}
    assert pictures == {demonstration.name for demonstration in DEMONSTRATIONS}
    assert re.findall("^## (.*)$", page, re.MULTILINE) == list(THEMES)
    titles = [demonstration.title for demonstration in DEMONSTRATIONS]
    assert re.findall("^### (.*)$", page, re.MULTILINE) == titles
    for demonstration in DEMONSTRATIONS:
        assert f"({demonstration.name}.png)" in page
        assert f"The fix: {demonstration.change}." in page


def test_the_command_says_what_was_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = next(d for d in DEMONSTRATIONS if d.name == "learning_rate_too_high")
    folder = tmp_path / "new" / "folder"
    assert cli.main(["demo", str(folder), chosen.name]) == 0
    said = capsys.readouterr().out
    assert "Learning rate too high" in said
    assert chosen.change in said
    assert f"tensorboard --logdir {folder}" in said
    assert {run.name for run in load_runs(folder)} == {
        f"{chosen.name}/{kind}" for kind in ("fault", "fixed")
    }

    assert cli.main(["demo", str(folder)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_the_command_shows_questions_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", "learning_rate_too_low", "--logdir", str(tmp_path)]) == 0
    assert "Is the learning rate too low?" in capsys.readouterr().out


def test_the_command_names_the_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = [line.split(maxsplit=1) for line in lines if line.startswith(" ")]
    assert named == [[d.name, d.title] for d in DEMONSTRATIONS]
    assert [line for line in lines if not line.startswith(" ")] == list(THEMES)

    folder = tmp_path / "new"
    assert cli.main(["demo", str(folder), named[0][0], "no_such_fault"]) == 2
    assert "unknown fault no_such_fault" in capsys.readouterr().err
    assert not folder.exists()


def test_without_a_name_the_command_trains_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[object, ...]] = []
    monkeypatch.setattr(demo, "_train_both", lambda *arguments: trained.append(arguments[1:]))
    assert cli.main(["demo", str(tmp_path)]) == 0
    assert trained == [(d, tmp_path / d.name) for d in DEMONSTRATIONS]


def test_without_torch_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tb_adam_plugin.callback.demo.demonstrations", None)
    assert cli.main(["demo", str(tmp_path)]) == 2
    assert "need torch" in capsys.readouterr().err
