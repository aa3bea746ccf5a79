"""Files that are replaced, rewritten, truncated and removed while being read: no wrong number.

Each answer reflects the old or the new files, or reports that they cannot be read, and the next
answer is right.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from damaged_runs import file_head
from event_files import START, event, make_layout, step_tensors
from in_process import PluginClient

from tb_adam_plugin.event_files.windowed_file import WindowedFile
from tb_adam_plugin.reading import file_source

LAYOUT = make_layout()
NAME = "events.out.tfevents.1000.host"
RUN = "run/adam_debug"
ROUTES = (
    "steps?run={run}",
    "overview?run={run}&columns=4096&statistic=update_rms",
    "series?run={run}&parameter=conv1.bias",
    "hyperparameters?run={run}",
    "histograms?run={run}&parameter=conv1.weight&quantity=exp_avg",
    "findings?run={run}",
)
Answers = dict[str, tuple[int, bytes]]


def content(seed: int, steps: int, start: float = START) -> bytes:
    """A file; those of other seeds have the same sizes, steps and times, and other numbers."""
    events = [
        event(t, step_tensors(LAYOUT, t, seed=seed, histograms=t % 5 == 0, loss=float(seed)),
              start + t)
        for t in range(1, steps + 1)
    ]  # fmt: skip
    return file_head(marked=seed % 2 == 0) + b"".join(events)


CONTENTS = [content(seed, steps) for seed in range(4) for steps in (6, 11, 20)]


def ask(client: PluginClient) -> Answers:
    answers = {}
    for route in ROUTES:
        answer = client.open(route.format(run=quote(RUN)))
        answers[route] = answer.status_code, answer.data
    return answers


def truth(folder: Path) -> Answers:
    return ask(PluginClient(folder, files=True))


class Files:
    """A run's folder, and what may happen to it."""

    def __init__(self, folder: Path, source: random.Random) -> None:
        self.folder, self.source = folder, source
        self.path = folder / RUN / NAME
        self.path.parent.mkdir(parents=True)
        self.path.write_bytes(CONTENTS[0])

    def happen(self, what: str) -> None:
        time.sleep(0.02)  # file systems tell times in steps of milliseconds
        self.path.parent.mkdir(parents=True, exist_ok=True)
        old = self.path.read_bytes() if self.path.exists() else b""
        new = self.source.choice(CONTENTS)
        if what == "replaced":
            other = self.path.with_name("other")
            other.write_bytes(new)
            os.replace(other, self.path)
        elif what == "rewritten":
            with self.path.open("r+b" if old else "wb") as file:
                file.truncate(self.source.choice((0, len(new))))
                file.write(new)
        elif what == "cut":
            os.truncate(self.path, self.source.randrange(len(old) + 1)) if old else None
        elif what == "grown":
            whole = next((c for c in CONTENTS if c.startswith(old) and len(c) > len(old)), old)
            with self.path.open("ab") as file:
                file.write(whole[len(old) : len(old) + self.source.randrange(1, 9000)])
        elif what == "deleted":
            self.path.unlink(missing_ok=True)
        elif what == "renamed":
            shutil.rmtree(self.folder / "renamed", ignore_errors=True)
            (self.folder / "run").rename(self.folder / "renamed")
        elif what == "one more":
            later = self.path.with_name(f"events.out.tfevents.{self.source.randrange(1001, 1003)}")
            later.write_bytes(new)


HAPPENINGS = (
    "replaced",
    "rewritten",
    "rewritten",
    "cut",
    "grown",
    "deleted",
    "renamed",
    "one more",
)


def check(found: Answers, *states: Answers) -> None:
    """Each answer is that of one state, or says that there is none."""
    for route, (code, data) in found.items():
        if code == 200:
            assert any(data == state[route][1] for state in states if state[route][0] == 200), route
        else:
            assert code in (404, 503), (route, data)
            assert data


@pytest.mark.parametrize("seed", range(25))
def test_the_next_answer_is_right(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_source, "_REUSE", 0)
    source = random.Random(seed)
    files = Files(tmp_path, source)
    client = PluginClient(tmp_path, files=True)
    for what in source.choices(HAPPENINGS, k=8):
        files.happen(what)
        assert client.get("summary").status_code == 200
        found, expected = ask(client), truth(tmp_path)
        assert {r: a if a[0] == 200 else a[0] for r, a in found.items()} == {
            r: a if a[0] == 200 else a[0] for r, a in expected.items()
        }, what


@pytest.mark.parametrize("seed", range(25))
def test_what_happens_after_the_listing_makes_no_wrong_number(tmp_path: Path, seed: int) -> None:
    source = random.Random(100 + seed)
    files = Files(tmp_path, source)
    client = PluginClient(tmp_path, files=True)
    for what in source.choices(HAPPENINGS, k=6):
        _source(client)._good_until = 0.0
        client.get("summary")
        before = truth(tmp_path)
        files.happen(what)
        _source(client)._good_until = np.inf  # the listing is from before
        check(ask(client), before, truth(tmp_path))
    _source(client)._good_until = 0.0
    assert client.get("summary").status_code == 200
    check(ask(client), truth(tmp_path))


def _source(client: PluginClient) -> Any:
    return client.plugin._store._source


@pytest.mark.parametrize("seed", range(40))
def test_what_happens_while_it_is_read_makes_no_wrong_number(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_source, "_REUSE", 0)
    source = random.Random(200 + seed)
    files = Files(tmp_path, source)
    client = PluginClient(tmp_path, files=True)
    if seed % 2:
        client.get("summary")
    before = truth(tmp_path)
    what = source.choice(HAPPENINGS)
    reads = source.choice((0, 1, 2, 3, 5, 8, 13))

    def interrupted(method: Callable[..., Any]) -> Callable[..., Any]:
        def read(*arguments: Any) -> Any:
            nonlocal reads
            reads -= 1
            if reads == -1:
                files.happen(what)
            return method(*arguments)

        return read

    monkeypatch.setattr(WindowedFile, "read", interrupted(WindowedFile.read))
    monkeypatch.setattr(WindowedFile, "read_into", interrupted(WindowedFile.read_into))
    found = ask(client)
    happened = reads < 0
    reads = -2
    after = truth(tmp_path)
    check(found, before, after)
    if happened:
        assert client.get("summary").status_code == 200
        check(ask(client), after)


def test_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_source, "_REUSE", 0)
    files = Files(tmp_path, random.Random(0))
    other = tmp_path / "other" / "adam_debug" / NAME
    other.parent.mkdir(parents=True)
    other.write_bytes(CONTENTS[1])
    opened = WindowedFile.__init__
    client = PluginClient(tmp_path, files=True)
    before = ask(client)

    def denied(self: WindowedFile, path: str, *arguments: Any) -> None:
        if path == str(files.path):
            raise PermissionError(13, "Permission denied", path)
        opened(self, path, *arguments)

    monkeypatch.setattr(WindowedFile, "__init__", denied)
    client.json("summary")
    found = ask(client)  # what was read already is known
    check(found, before)
    assert any(code == 503 and b"Permission denied" in data for code, data in found.values())
    for _ in range(2):
        summary = PluginClient(tmp_path, files=True).json("summary")
        assert [run["run"] for run in summary["runs"]] == ["other/adam_debug"]
        (message,) = summary["messages"]
        assert message["text"].startswith(f"Run {RUN}: ")
        assert message["text"].endswith(f"{NAME} cannot be read: Permission denied")
    monkeypatch.setattr(WindowedFile, "__init__", opened)
    client.json("summary")
    assert ask(client) == before
    summary = client.json("summary")
    assert not any(run["messages"] for run in summary["runs"])


def test_damaged_events_are_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_source, "_REUSE", 0)
    events = [event(t, step_tensors(LAYOUT, t)) for t in range(1, 11)]
    damaged = bytearray(events[4])
    damaged[len(damaged) // 2] ^= 1
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / NAME
    path.write_bytes(file_head(marked=True) + b"".join([*events[:4], bytes(damaged), *events[5:]]))
    client = PluginClient(tmp_path, files=True)
    _, arrays = client.packed("overview", run="run", statistic="update_rms", columns=4096)
    assert arrays["last_step"].tolist() == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    (message,) = client.json("summary")["runs"][0]["messages"]
    assert message["severity"] == "error"
    assert "1 damaged event was left out" in message["text"]
    assert NAME in message["text"]
    time.sleep(0.02)
    path.write_bytes(file_head(marked=True) + b"".join(events))
    client.json("summary")
    _, arrays = client.packed("overview", run="run", statistic="update_rms", columns=4096)
    assert arrays["last_step"].tolist() == list(range(1, 11))
    assert client.json("summary")["runs"][0]["messages"] == []


def test_a_length_that_does_not_match_its_checksum_ends_a_file(tmp_path: Path) -> None:
    events = [event(t, step_tensors(LAYOUT, t)) for t in range(1, 11)]
    damaged = bytearray(events[4])
    damaged[0] ^= 1
    folder = tmp_path / "run"
    folder.mkdir()
    written = file_head(marked=True) + b"".join([*events[:4], bytes(damaged), *events[5:]])
    (folder / NAME).write_bytes(written)
    client = PluginClient(tmp_path, files=True)
    _, arrays = client.packed("overview", run="run", statistic="update_rms", columns=4096)
    assert arrays["last_step"].tolist() == [1, 2, 3, 4]


def test_a_record_whose_bytes_come_after_its_size_is_read_when_they_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network file systems may show the size of a file before what was written."""
    monkeypatch.setattr(file_source, "_REUSE", 0)
    whole = content(0, 6)
    last = content(0, 5)
    path = tmp_path / RUN / NAME
    path.parent.mkdir(parents=True)
    # The head of the record is there, the rest of it is not.
    path.write_bytes(last + whole[len(last) : len(last) + 40] + bytes(len(whole) - len(last) - 40))
    client = PluginClient(tmp_path, files=True)
    client.get("summary")
    check(ask(client), truth(tmp_path))
    time.sleep(0.02)
    path.write_bytes(whole)
    assert json.loads(client.get("summary").data)["runs"][0]["last_step"] == 6
    check(ask(client), truth(tmp_path))
    assert all(code == 200 for code, _ in ask(client).values())
