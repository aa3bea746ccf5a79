"""The route ``states``: the state of every run, determined slowly in the background."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from event_files import event, make_layout, step_tensors, write_events
from generated_logs import write_run
from generated_runs import Run
from in_process import EXPERIMENT, PluginClient, files_of

from tb_adam_plugin.diagnosis.diagnose import Diagnosis, diagnose
from tb_adam_plugin.diagnosis.rules.registry import RULES
from tb_adam_plugin.reading.record_source import UnreadableError
from tb_adam_plugin.reading.run_for_rules import recorded_run
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.run_data import load_runs
from tb_adam_plugin.serving import findings_cache, run_states
from tb_adam_plugin.serving.findings_cache import FindingsCache
from tb_adam_plugin.serving.run_states import RunState, RunStates
from tb_adam_plugin.serving.traffic import Traffic

ROOT = Path(__file__).parents[2]
RUNS = ("spiked", "broken", "plain")
LAYOUT = make_layout()


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    write_run(folder / "spiked", Run(steps=160, spike_at=150))
    write_run(folder / "broken", Run(architecture="cnn", steps=160, nan_at=120))
    write_run(folder / "plain", Run(steps=160))
    return folder


class Clock:
    """Shows the time that it is set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """States of a folder, and what was looked at for them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = Store(files_of(folder))
        self.findings = FindingsCache(self.store)
        self.traffic, self.clock = Traffic(), Clock()
        self.states = RunStates(self.store, self.findings, self.traffic, self.clock)
        self.looked_at: list[str] = []

        def watched(run: Any, *args: Any, **options: Any) -> Diagnosis:
            self.looked_at.append(run.name)
            return diagnose(run, *args, **options)

        monkeypatch.setattr(run_states, "diagnose", watched)

    def settled(self, *wanted: str) -> dict[str, RunState | None]:
        """Ask until nothing is looked at any more."""
        for _ in self.tries():
            found, busy = self.states.get(EXPERIMENT, wanted)
            if not busy:
                return found
        raise AssertionError

    def tries(self) -> Iterator[None]:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            yield
            time.sleep(0.01)


@pytest.fixture
def watched(logs: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(logs, monkeypatch)


def test_the_first_answer_comes_before_anything_was_looked_at(watched: Watched) -> None:
    with watched.traffic:  # as while the route answers
        found, busy = watched.states.get(EXPERIMENT)
        assert busy
        assert found == dict.fromkeys(f"{run}/adam_debug" for run in RUNS)
    assert None not in watched.settled().values()


def test_states_are_those_of_the_findings(watched: Watched, logs: Path) -> None:
    found = watched.settled()
    assert len(found) == 3
    for run in load_runs(logs):
        state, findings = found[f"{run.name}/adam_debug"], run.findings()
        assert state is not None
        severities = [finding.severity for finding in findings]
        assert state.counts == {s: severities.count(s) for s in ("error", "warning", "info")}
        assert state.first == (findings[0].title if findings else "")
        assert state.worst == (
            min(severities, key=("error", "warning", "info").index, default=None)
        )
    assert found["broken/adam_debug"].worst == "error"  # type: ignore[union-attr]


def test_nothing_is_looked_at_again_while_nothing_changes(watched: Watched) -> None:
    first = watched.settled()
    watched.clock.now += 1e6
    assert watched.settled() == first
    assert sorted(watched.looked_at) == sorted(RUNS)
    assert watched.states._thread is None


def test_a_diagnosis_that_is_kept_is_not_made_again(watched: Watched) -> None:
    kept = watched.findings.get(EXPERIMENT, "spiked/adam_debug")
    state = watched.settled()["spiked/adam_debug"]
    assert state is not None
    assert sum(state.counts.values()) == len(kept.findings)
    assert sorted(watched.looked_at) == ["broken", "plain"]


def grow(folder: Path, *steps: int) -> None:
    write_events(folder / "adam_debug", [event(t, step_tensors(LAYOUT, t)) for t in steps])


def test_a_run_that_grows_is_looked_at_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in ("a", "b"):
        grow(tmp_path / run, 1, 2)
    watched = Watched(tmp_path, monkeypatch)
    watched.settled()
    grow(tmp_path / "a", 3)
    watched.store._source._good_until = 0.0  # type: ignore[attr-defined]  # a listing is reused
    before = watched.settled()
    assert before["a/adam_debug"] is not None  # what it was
    watched.clock.now += run_states.LEAST_PAUSE - 0.1
    watched.settled()
    assert sorted(watched.looked_at) == ["a", "b"]
    watched.clock.now += 0.2
    watched.settled()
    assert sorted(watched.looked_at) == ["a", "a", "b"]


def test_the_newest_runs_are_first_and_the_rest_waits_to_be_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in range(5):
        grow(tmp_path / f"run{place}", 10 * place + 1)
    monkeypatch.setattr(run_states, "MOST_RUNS", 2)
    watched = Watched(tmp_path, monkeypatch)
    found = watched.settled()
    assert list(found) == [f"run{place}/adam_debug" for place in (4, 3, 2, 1, 0)]
    assert watched.looked_at == ["run4", "run3"]
    assert [run for run, state in found.items() if state is None] == list(found)[2:]
    watched.settled("run0/adam_debug")
    assert watched.looked_at == ["run4", "run3", "run0"]
    assert watched.settled()["run0/adam_debug"] is not None  # and stays known


def test_runs_that_are_gone_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in ("a", "b"):
        grow(tmp_path / run, 1)
    watched = Watched(tmp_path, monkeypatch)
    watched.settled()
    for path in sorted((tmp_path / "b").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    watched.store._source._good_until = 0.0  # type: ignore[attr-defined]
    assert list(watched.settled()) == ["a/adam_debug"]
    assert list(watched.states._known) == ["a/adam_debug"]


def test_requests_go_first(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_states, "_LONGEST_WAIT", 60.0)
    with watched.traffic:
        watched.states.get(EXPERIMENT)
        time.sleep(0.3)
        assert watched.looked_at == []
    watched.settled()
    assert sorted(watched.looked_at) == sorted(RUNS)


def test_requests_without_end_do_not_stop_it(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_states, "_LONGEST_WAIT", 0.001)
    with watched.traffic:
        assert None not in watched.settled().values()


def test_reading_and_rules_wait_for_requests(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[bool] = []

    def wait_until_quiet(_: float) -> bool:
        waited.append(True)
        return True

    monkeypatch.setattr(watched.traffic, "wait_until_quiet", wait_until_quiet)
    watched.settled(f"{RUNS[0]}/adam_debug")
    assert len(waited) > len(RULES)


def test_a_diagnosis_in_the_background_makes_way_for_one_that_is_asked_for(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once would take twice the memory."""
    begun, asked, over = threading.Event(), threading.Event(), threading.Event()
    given_up: list[str] = []

    def in_background(run: Any, *args: Any, **options: Any) -> Diagnosis:
        assert not begun.is_set() or over.is_set()  # once given up, it waits
        begun.set()
        assert asked.wait(30)
        try:
            return diagnose(run, *args, **options)
        except Exception:
            given_up.append(run.name)
            raise

    def on_request(*args: Any, **options: Any) -> Diagnosis:
        asked.set()
        found = diagnose(*args, **options)
        for _ in watched.tries():
            if given_up:
                break
        over.set()
        return found

    monkeypatch.setattr(run_states, "diagnose", in_background)
    monkeypatch.setattr(findings_cache, "diagnose", on_request)
    watched.states.get(EXPERIMENT)
    assert begun.wait(30)
    watched.findings.get(EXPERIMENT, f"{RUNS[0]}/adam_debug")
    found = watched.settled()
    assert None not in found.values()
    assert len(given_up) == 1


def test_traffic_counts_requests() -> None:
    traffic = Traffic()
    assert traffic.wait_until_quiet(0)
    with traffic:
        with traffic:
            assert not traffic.wait_until_quiet(0)
        assert not traffic.wait_until_quiet(0)
        waiting = threading.Thread(target=traffic.wait_until_quiet, args=(60,))
        waiting.start()
    waiting.join(10)
    assert not waiting.is_alive()
    with pytest.raises(ValueError, match="x"), traffic:
        raise ValueError("x")
    assert traffic.wait_until_quiet(0)


@pytest.mark.parametrize("error", [UnreadableError("no"), ZeroDivisionError()])
def test_a_run_that_cannot_be_read_holds_nobody_up(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:

    def fails(store: Any, experiment: Any, run: str, make_way: Any) -> Any:
        if run.startswith("broken"):
            raise error
        return recorded_run(store, experiment, run, make_way)

    monkeypatch.setattr(run_states, "recorded_run", fails)
    found = watched.settled()
    assert found["broken/adam_debug"] == run_states.NOTHING_FOUND
    assert sorted(watched.looked_at) == ["plain", "spiked"]


@pytest.fixture
def client(logs: Path) -> PluginClient:
    return PluginClient(logs, files=True)


def test_the_route_answers_as_documented(client: PluginClient) -> None:
    text = (ROOT / "tb_adam_plugin" / "http_api.md").read_text("utf-8")
    example = json.loads(text.split("## `states")[1].split("```json\n")[1].split("```")[0])
    answer = client.json("states")
    assert answer["runs"]
    end = time.monotonic() + 60
    while answer["busy"] and time.monotonic() < end:
        time.sleep(0.02)
        answer = client.json("states")
    assert list(answer) == list(example)
    for run in answer["runs"]:
        assert list(run) == list(example["runs"][0])
        assert list(run["counts"]) == list(example["runs"][0]["counts"])
        assert run["pending"] is False
    by_run = {run["run"]: run for run in answer["runs"]}
    broken = by_run["broken/adam_debug"]
    assert (broken["worst"], broken["counts"]["error"] > 0) == ("error", True)
    assert broken["first"]
    of_findings = json.loads(client.get("findings", run="broken/adam_debug").data)["findings"]
    assert broken["first"] == of_findings[0]["title"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"run": ["plain/adam_debug", "spiked/adam_debug"], "lang": "zh"}, 200),
        ({"run": "nowhere"}, 404),
        ({"run": ""}, 400),
        ({"lang": "xx"}, 400),
        ({"runs": "a"}, 400),
    ],
)
def test_queries_are_read_strictly(
    client: PluginClient, query: dict[str, str | int | list[str]], code: int
) -> None:
    assert client.get("states", **query).status_code == code
