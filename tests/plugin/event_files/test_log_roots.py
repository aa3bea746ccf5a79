"""Run names and files equal TensorBoard's, for any folder structure."""

from __future__ import annotations

import json
import ntpath
import os
import random
import urllib.parse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from event_files import scalar_event, write_events, write_run
from in_process import PluginClient
from tensorboard.backend.event_processing import data_ingester, plugin_event_multiplexer
from tensorboard_process import running_tensorboard, wait_until

from tb_adam_plugin.event_files import log_roots
from tb_adam_plugin.event_files.log_roots import LogRoots

FILE = "events.out.tfevents.1.host"


def flags(logdir: str = "", logdir_spec: str = "", grpc_data_provider: str = "") -> Any:
    return SimpleNamespace(
        logdir=logdir, logdir_spec=logdir_spec, grpc_data_provider=grpc_data_provider
    )


def names_of_tensorboard(roots: dict[str, str | None]) -> set[str]:
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    for path, name in roots.items():
        multiplexer.AddRunsFromDirectory(path, name)
    return set(multiplexer.Runs())


def make_folders(source: random.Random, root: Path) -> None:
    """Make folders with files of all kinds, and links without a circle."""
    folders = [root]
    for _ in range(source.randrange(1, 12)):
        name = source.choice(
            ("a", "b c", "é", "adam_debug", "adam_debug_2_rank3", ".hidden", "x,y", "tfevents",
             "a:b", "%20", "events.out.tfevents.folder")
        )  # fmt: skip
        folders.append(source.choice(folders) / name)
        folders[-1].mkdir(parents=True, exist_ok=True)
    for folder in set(folders):
        for name in source.sample((FILE, "other.tfevents", "x.txt", "events.out.2"), 2):
            if source.random() < 0.5 and not (folder / name).exists():
                (folder / name).write_bytes(b"")
    beside = root.parent / f"{root.name} beside"
    (beside / "inner").mkdir(parents=True)
    (beside / "inner" / FILE).write_bytes(b"")
    (source.choice(folders) / "linked").symlink_to(beside, target_is_directory=True)
    (source.choice(folders) / "tfevents.link").symlink_to(beside / "inner" / FILE)
    (source.choice(folders) / "tfevents.nothing").symlink_to(root / "nowhere")


@pytest.mark.parametrize("seed", range(40))
def test_runs_are_called_as_tensorboard_calls_them(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    root = tmp_path / "root"
    make_folders(source, root)
    found = LogRoots.of_folder(root).event_files()
    # TensorBoard takes a link that leads nowhere for a file, and its folder for an empty run.
    empty = {
        os.path.relpath(f, root) for f, _, files in os.walk(root) if "tfevents.nothing" in files
    }
    assert names_of_tensorboard({str(root): None}) - empty == found.keys() - empty
    for files in found.values():
        assert files == sorted(files)
        assert all("tfevents" in os.path.basename(file) for file in files)


@pytest.mark.parametrize("seed", range(20))
def test_specified_runs_are_called_as_tensorboard_calls_them(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = random.Random(seed)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    parts = []
    for number in range(source.randrange(1, 4)):
        folder = tmp_path / f"root{number}"
        for name in source.sample(("", "a", "b/adam_debug", "root1"), 2):
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / FILE).write_bytes(b"")
        written = source.choice((f"~/root{number}", str(folder), f"root{number}", f"{folder}/"))
        parts.append(source.choice(("", "named:", f"n{number}:", "é x:")) + written)
    specification = ",".join(parts)
    found = LogRoots.of_flags(flags(logdir_spec=specification))
    assert found is not None
    expected = names_of_tensorboard(data_ingester._parse_event_files_spec(specification))
    assert found.event_files().keys() == expected


@pytest.mark.parametrize(
    "given",
    [
        flags(),
        flags("gs://bucket/runs"),
        flags("s3://bucket/runs"),
        flags(logdir_spec="a:gs://bucket/runs,b:/here"),
        flags(logdir_spec="/here,hdfs://there/runs"),
        flags("/here", grpc_data_provider="localhost:1"),
        SimpleNamespace(),
    ],
)
def test_what_is_not_on_this_machine_is_left_to_tensorboard(given: Any) -> None:
    assert LogRoots.of_flags(given) is None


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_events(tmp_path / "runs" / "a", [])
    for logdir in ("~/runs", "~/runs/", "~/runs/."):
        found = LogRoots.of_flags(flags(logdir))
        assert found is not None
        assert found.event_files().keys() == {"a"}


def test_circles_of_links_end(tmp_path: Path) -> None:
    write_events(tmp_path / "a" / "b", [])
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    (tmp_path / "a" / "tfevents.self").symlink_to(tmp_path / "a" / "tfevents.self")
    (tmp_path / "a" / "other").symlink_to(tmp_path / "a" / "b", target_is_directory=True)
    found = LogRoots.of_folder(tmp_path).event_files()
    assert found.keys() == {"a/b", "a/other"}


def test_a_link_that_leads_nowhere_takes_nothing_along(tmp_path: Path) -> None:
    write_run(tmp_path / "run" / "adam_debug", range(1, 3))
    for name in ("self", "tfevents.self"):
        link = tmp_path / "run" / "adam_debug" / name
        link.symlink_to(link)
    assert LogRoots.of_folder(tmp_path).event_files().keys() == {"run/adam_debug"}
    (run,) = PluginClient(tmp_path, files=True).json("summary")["runs"]
    assert run["run"] == "run/adam_debug"


def test_a_folder_that_cannot_be_read_has_no_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "a", range(1, 3))
    write_run(tmp_path / "b", range(1, 3))
    scandir = os.scandir

    def denied(path: Any) -> Any:
        if os.path.basename(path) == "a":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    (run,) = PluginClient(tmp_path, files=True).json("summary")["runs"]
    assert run["run"] == "b"


def test_names_have_the_separator_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""On Windows TensorBoard calls runs ``a\adam_debug``."""
    monkeypatch.setattr(os, "path", ntpath)
    monkeypatch.setattr(
        log_roots,
        "_folders_with_files",
        lambda root: [(root, [root + "\\f"]), (root + "\\a\\adam_debug", [root + "\\a\\f"])],
    )
    roots = LogRoots({"C:\\runs": "", "D:\\more": "named"})
    assert set(roots.event_files()) == {
        ".", "a\\adam_debug", "named\\.", "named\\a\\adam_debug",
    }  # fmt: skip


def test_a_letter_is_a_drive_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "path", ntpath)
    specified = log_roots._parse_specification("C:\\runs,named:D:\\more")
    assert [name for name in specified.values()] == ["", "named"]
    assert [path[:2] for path in specified] == ["C:", "D:"]


# --- in a real TensorBoard -----------------------------------------------------------------------


def listed_by_both(url_of: Any) -> tuple[set[str], dict[str, Any]]:
    names = set(json.loads(url_of.get("data/runs").body))
    summary: dict[str, Any] = json.loads(url_of.ask("summary").body)
    return names, summary


def ask_for_everything(tensorboard: Any, run: dict[str, Any]) -> None:
    name = urllib.parse.quote(run["run"])
    for route in ("steps", "overview", "hyperparameters", "findings"):
        answer = tensorboard.ask(f"{route}?run={name}")
        assert answer.status == 200, answer.text


@pytest.mark.parametrize("arguments", [("--load_fast=true", "--path_prefix=/below/it"),
                                       ("--load_fast=false",)])  # fmt: skip
def test_names_of_runs_in_a_real_tensorboard(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    logs = tmp_path / "logs"
    for name in ("a/adam_debug", "a", "deep/er/run", "pipe/adam_debug", "pipe/adam_debug_rank1"):
        write_run(logs / name, range(1, 4))
    write_run(tmp_path / "elsewhere" / "adam_debug", range(1, 4))
    (logs / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with running_tensorboard(logs, *arguments) as tensorboard:

        def all_are_there() -> dict[str, Any] | None:
            names, summary = listed_by_both(tensorboard)
            return summary if len(names) == 6 and len(summary["runs"]) == 5 else None

        summary = wait_until(all_are_there, "all runs", 30)
        names, _ = listed_by_both(tensorboard)
        assert {run["run"] for run in summary["runs"]} <= names
        assert names == {
            "a/adam_debug", "a", "deep/er/run", "pipe/adam_debug", "pipe/adam_debug_rank1",
            "linked/adam_debug",
        }  # fmt: skip
        for run in summary["runs"]:
            ask_for_everything(tensorboard, run)
        write_run(logs / "later" / "adam_debug", range(1, 4))
        wait_until(lambda: "later" in tensorboard.ask("summary").text, "the new run", 30)


def test_the_loss_beside_a_run_of_a_specified_folder(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        write_run(folder / "adam_debug", range(1, 21))
        write_events(folder, (scalar_event(t, {"loss/train": 1 / t}) for t in range(1, 21)), "2")
    specification = f"--logdir_spec=named:{first},{second}"
    with running_tensorboard(tmp_path, "--logdir=", specification) as tensorboard:

        def with_scalars() -> list[dict[str, Any]] | None:
            _, summary = listed_by_both(tensorboard)
            runs: list[dict[str, Any]] = summary["runs"]
            return runs if len(runs) == 2 and all(run["scalars"] for run in runs) else None

        runs = wait_until(with_scalars, "the loss beside both runs", 30)
        assert {run["run"] for run in runs} == {"named/adam_debug", "adam_debug"}
        for run in runs:
            ask_for_everything(tensorboard, run)
            (scalar,) = run["scalars"]
            name, tag = map(urllib.parse.quote, (scalar["run"], scalar["tag"]))
            assert tensorboard.ask(f"scalar?run={name}&tag={tag}").status == 200
