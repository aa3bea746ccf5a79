"""Two hundred clients while runs grow: every answer is right, and for the requested run."""

from __future__ import annotations

import json
import random
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_files import counts_of, event, make_layout, statistics_of, step_tensors, write_events
from in_process import PREFIX, PluginClient, unpack
from tensorboard.backend import application
from tensorboard.backend.experiment_id import WSGI_ENVIRON_KEY
from tensorboard_process import running_tensorboard, wait_until
from werkzeug.test import Client

CLIENTS = 200
RUNS = ("a", "b", "c")
LAYOUT = make_layout()
FIRST, LAST = 20, 60

Ask = Callable[[str], tuple[int, bytes]]


@pytest.fixture(autouse=True, params=[False, True], ids=["loader", "files"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask TensorBoard's loader, and the files."""
    monkeypatch.setattr(PluginClient, "reads_files", request.param)


def grow(folder: Path, steps: range) -> None:
    """Log steps of every run; each has numbers of its own."""
    for seed, run in enumerate(RUNS):
        tensors = (
            step_tensors(LAYOUT, t, seed=seed, histograms=True, loss=float(seed)) for t in steps
        )
        write_events(folder / run, (event(t, one) for t, one in zip(steps, tensors, strict=True)))


def check_answers(ask: Ask, seed: int, questions: int) -> int:
    """Ask at random; return how many steps the last answer was about."""
    source = random.Random(seed)
    steps = 0
    for _ in range(questions):
        number = source.randrange(len(RUNS))
        run = RUNS[number]
        route = source.choice(("overview", "series", "steps", "histograms", "summary"))
        if route == "summary":
            status, body = ask(route)
            assert status == 200, body
            assert {one["run"] for one in json.loads(body)["runs"]} == set(RUNS)
            continue
        query = {
            "overview": "&columns=4096&statistic=update_rms",
            "series": "&parameter=conv1.bias",
            "steps": "",
            "histograms": "&parameter=conv1.weight&quantity=exp_avg&columns=2000",
        }[route]
        status, body = ask(f"{route}?run={run}{query}")
        assert status == 200, body
        header, arrays = unpack(body)
        assert header["run"] == run
        values = arrays.get("values")
        if route == "overview":
            expected = [statistics_of(LAYOUT, int(t), number)[:, 1] for t in arrays["last_step"]]
            np.testing.assert_array_equal(values, np.array(expected).T)
            logged = arrays["last_step"]
        elif route == "series":
            expected = [statistics_of(LAYOUT, int(t), number)[1] for t in arrays["step"]]
            np.testing.assert_array_equal(values, np.array(expected).T)
            logged = arrays["step"]
        elif route == "steps":
            assert values is not None
            logged = values[0]
            assert set(values[header["columns"].index("loss")]) == {float(number)}
        else:
            logged = arrays["step"]
            in_all = sum(int(counts_of(LAYOUT, int(t))[0, 0].sum()) for t in logged)
            counted = arrays["exp_avg/counts"].sum() + arrays["exp_avg/special"].sum()
            assert int(counted) == in_all
        steps = logged.size
        # A run that grows is shown up to some step, without gaps.
        assert logged.tolist() == list(range(1, steps + 1))
        assert FIRST <= steps <= LAST
    return steps


def test_two_hundred_clients_in_process_while_runs_grow(tmp_path: Path) -> None:
    grow(tmp_path, range(1, FIRST + 1))
    client = PluginClient(tmp_path)
    served = application.TensorBoardWSGI([client.plugin])
    started = threading.Barrier(CLIENTS + 1)

    def ask(question: str) -> tuple[int, bytes]:
        answer = Client(served).get(PREFIX + question)
        return answer.status_code, answer.data

    def visit(seed: int) -> int:
        started.wait()
        return check_answers(ask, seed, 5)

    with ThreadPoolExecutor(CLIENTS) as pool:
        visits = [pool.submit(visit, seed) for seed in range(CLIENTS)]
        started.wait()
        for step in range(FIRST + 1, LAST + 1, 4):
            grow(tmp_path, range(step, step + 4))
            client.provider.reload()
        for visit_ in visits:
            visit_.result(300)
    wait_until(lambda: check_answers(ask, 1, 4) == LAST, "the last step")


def test_two_hundred_clients_of_a_real_tensorboard_while_runs_grow(tmp_path: Path) -> None:
    grow(tmp_path, range(1, FIRST + 1))
    with running_tensorboard(tmp_path) as tensorboard:

        def ask(question: str) -> tuple[int, bytes]:
            url = f"{tensorboard.url}data/plugin/adam_debug/{question}"
            with urllib.request.urlopen(url, timeout=300) as response:
                return response.status, response.read()

        def loaded() -> bool:
            runs = json.loads(ask("summary")[1])["runs"]
            return len(runs) == len(RUNS) and all(run["last_step"] >= FIRST for run in runs)

        wait_until(loaded, "the runs")
        before = memory_of(tensorboard.process_id)
        with ThreadPoolExecutor(CLIENTS) as pool:
            visits = [pool.submit(check_answers, ask, seed, 2) for seed in range(CLIENTS)]
            for step in range(FIRST + 1, LAST + 1, 8):
                grow(tmp_path, range(step, step + 8))
            for visit in visits:
                visit.result(600)
        wait_until(lambda: check_answers(ask, 1, 4) == LAST, "the last step")
        grown = memory_of(tensorboard.process_id) - before
        print(f"memory after {2 * CLIENTS} answers: {grown >> 20} MiB more")
        assert grown < 200 << 20
        assert "Traceback" not in tensorboard.log


def memory_of(process: int) -> int:
    """Resident bytes of a process."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])


def test_experiments_that_are_only_named_take_no_memory(tmp_path: Path) -> None:
    """A local TensorBoard ignores the experiment of an address, which may be anything."""
    grow(tmp_path, range(1, 4))
    client = PluginClient(tmp_path)
    served: Any = Client(application.TensorBoardWSGI([client.plugin]))
    events: Any = client.plugin._store._source
    for number in range(60):
        environ = {WSGI_ENVIRON_KEY: f"e{number}"}
        answer = served.get(PREFIX + "overview?run=a", environ_overrides=environ)
        assert answer.status_code == 200
    assert len(getattr(events, "_listings", ())) <= 16
    assert len({experiment for experiment, _ in events._notes}) <= 16
