"""``adam-debug compare`` and the route ``compare``, on real trainings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from in_process import EXPERIMENT, PluginClient, files_of
from swept_runs import LRS, train
from tensorboard import errors

from tb_adam_plugin import cli
from tb_adam_plugin.languages.sentences import say
from tb_adam_plugin.reading.record_source import Experiment, UnreadableError
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.serving import comparisons
from tb_adam_plugin.serving.comparisons import Comparisons

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    for name, lr in LRS.items():
        train(folder / "lr" / name, lr)
    train(folder / "seeds" / "other", 1e-3, seed=1)
    return folder


def said(capsys: pytest.CaptureFixture[str], logs: Path, *arguments: str) -> str:
    assert cli.main(["compare", *arguments, "--logdir", str(logs), "--lang", "en"]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_a_sweep_says_which_value_won(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, logs, *(f"lr/{name}" for name in LRS))
    assert "lr 1e-4 1e-3 0.01" in found
    assert "The best lr is 0.01. It is the largest value tried: try a larger one." in found
    assert "lr/1e-2 is better than lr/1e-4 from" in found
    assert "step 1: update / weight of" in found


def test_two_seeds_are_not_told_apart(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, logs, "1e-3", "other")
    assert "initial weights RMS 0." in found
    assert "no difference beyond noise at the end." in found
    assert "no statistic differs by more than its own variation" in found


def test_without_names_all_runs_are_compared(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", "--logdir", str(logs), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["run"] for run in found["runs"]] == ["lr/1e-2", "lr/1e-3", "lr/1e-4", "seeds/other"]
    assert found["best"] == "lr/1e-2"
    assert found["sweep"]["edge"] == "largest"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["nowhere", "other"], "no run nowhere; runs: lr/1e-2"),
        (["other"], "comparing needs at least two runs"),
        (["other", "seeds/other"], "comparing needs at least two runs"),
    ],
)
def test_names_that_do_not_fit_are_refused(
    logs: Path, capsys: pytest.CaptureFixture[str], names: list[str], reason: str
) -> None:
    assert cli.main(["compare", *names, "--logdir", str(logs), "--lang", "en"]) == 2
    assert reason in capsys.readouterr().err


def test_a_name_that_may_be_several_runs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("a", "b"):
        train(tmp_path / folder / "run", 1e-3, steps=2)
    arguments = ["compare", "run", "a/run", "--logdir", str(tmp_path), "--lang", "en"]
    assert cli.main(arguments) == 2
    assert (
        "run is ambiguous, it matches a/run, b/run: give the full name" in capsys.readouterr().err
    )


def same_shape(example: Any, found: Any, where: str) -> None:
    if isinstance(example, dict):
        assert list(found) == list(example), where
        for key, value in example.items():
            same_shape(value, found[key], f"{where}.{key}")
    elif isinstance(example, list):
        assert isinstance(found, list), where
        assert bool(found) >= bool(example), where
        if example:
            same_shape(example[0], found[0], f"{where}[0]")
    elif example is not None and found is not None:
        kinds = (int, float) if isinstance(example, int | float) else type(example)
        assert isinstance(found, kinds), where


def test_the_route_answers_as_documented(logs: Path) -> None:
    text = (ROOT / "tb_adam_plugin" / "http_api.md").read_text("utf-8")
    example = json.loads(text.split("## `compare")[1].split("```json\n")[1].split("```")[0])
    client = PluginClient(logs, files=True)
    runs = [f"lr/{name}/adam_debug" for name in LRS]
    answer = client.get("compare", run=runs)
    assert answer.status_code == 200, answer.text
    found = json.loads(answer.data)
    same_shape(example, found, "compare")
    assert [run["run"] for run in found["runs"]] == runs
    (setting,) = found["settings"]
    assert (setting["name"], setting["numbers"]) == ("lr", [1e-4, 1e-3, 0.01])
    same = {setting["name"]: setting["value"] for setting in found["same"]}
    assert (same["optimizer"], same["eps"], same["steps"]) == ("AdamW", "1e-8", "200")
    assert "lr" not in same
    assert found["pairs"][0]["text"].startswith("lr/1e-2 is better than lr/1e-4 from ")
    assert client.get("compare", run=[*runs, "nowhere"]).status_code == 404
    assert client.get("compare", run=runs[0]).status_code == 400
    assert client.get("compare").status_code == 400
    assert client.get("compare", run=runs, lang="xx").status_code == 400


def test_a_comparison_is_kept_until_something_new_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("a", "b"):
        train(tmp_path / folder, 1e-3, steps=4)
    source: Any = files_of(tmp_path)
    kept = Comparisons(Store(source))
    runs = ("a/adam_debug", "b/adam_debug")
    first, ids, _ = kept.get(EXPERIMENT, runs)
    assert ids == dict(zip("ab", runs, strict=True))
    assert kept.get(EXPERIMENT, runs)[0] is first
    train(tmp_path / "a", 1e-3, steps=9)
    source._good_until = 0.0  # a listing is used for a moment
    assert kept.get(EXPERIMENT, runs)[0] is not first
    monkeypatch.setattr(comparisons, "_KEPT", 1)
    kept.get(EXPERIMENT, runs[::-1])
    assert len(kept._kept) == 1
    with pytest.raises(errors.InvalidArgumentError, match="2 to 50 runs, got 51"):
        kept.get(EXPERIMENT, ["a/adam_debug"] * 51)


def test_a_run_that_cannot_be_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in "abc":
        train(tmp_path / folder, 1e-3, steps=6)
    client = PluginClient(tmp_path, files=True)
    runs = [f"{name}/adam_debug" for name in "abc"]
    records = Store.records
    broken = {"b"}

    def fail_for_some(store: Store, experiment: Experiment, run: str) -> Any:
        if run[0] in broken:
            raise UnreadableError(say("An event file cannot be read: {error}", error="gone"))
        return records(store, experiment, run)

    monkeypatch.setattr(Store, "records", fail_for_some)
    found = json.loads(client.get("compare", run=runs, lang="zh").data)
    assert [run["run"] for run in found["runs"]] == ["a/adam_debug", "c/adam_debug"]
    (left_out,) = found["left_out"]
    assert left_out["run"] == "b/adam_debug"
    assert left_out["text"].startswith("无法读取")
    assert client.get("compare", run=runs[:2]).status_code == 503
    broken.clear()
    found = json.loads(client.get("compare", run=runs).data)
    assert (len(found["runs"]), found["left_out"]) == (3, [])
