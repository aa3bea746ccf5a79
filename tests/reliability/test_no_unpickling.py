"""What is in an event file is never unpickled nor run, whoever wrote it."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path
from typing import Any

import pytest
from event_files import event, make_layout, statistics_of, step_tensors, write_events, write_run
from in_process import PluginClient

from tb_adam_plugin.run_data import load_runs

PACKAGE = Path(__file__).parents[2] / "tb_adam_plugin"
OWN = [p for p in PACKAGE.rglob("*.py") if "callback" not in p.relative_to(PACKAGE).parts]
# Talks to processes that it has started itself, through their pipes.
UNPICKLES = {"event_files/first_look.py"}
RUNS_CODE = {"eval", "exec", "compile", "__import__"}


@pytest.mark.parametrize("path", OWN, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_nothing_that_reads_can_run_what_it_reads(path: Path) -> None:
    imported: set[str] = set()
    called: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called.add(node.func.id)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False
    assert not called & RUNS_CODE
    assert not imported & {"marshal", "shelve", "dill", "joblib", "yaml"}
    if path.relative_to(PACKAGE).as_posix() not in UNPICKLES:
        assert "pickle" not in imported


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_planted_pickles_are_bytes_like_others(tmp_path: Path) -> None:
    mark = tmp_path / "was here"
    planted = pickle.dumps(Planted(mark))
    pickle.loads(planted)
    assert mark.exists()
    mark.unlink()
    layout = make_layout(["a.weight", planted.decode("latin-1")])
    events = []
    for step in range(1, 9):
        tensors = step_tensors(layout, step)
        for tensor in tensors[:1]:
            tensor.tensor[:] = statistics_of(layout, step)
        events.append(event(step, tensors))
    write_events(tmp_path / "logs" / "crafted", events)
    write_run(tmp_path / "logs" / "run", range(1, 9), make_layout(), histograms=True)
    for path in (tmp_path / "logs").rglob("events*"):
        path.write_bytes(path.read_bytes() + planted)
    (tmp_path / "logs" / "events.out.tfevents.1.x").write_bytes(planted * 100)
    with pytest.warns(UserWarning, match="is damaged at byte"):
        runs = load_runs(tmp_path / "logs")
    assert {run.name for run in runs} >= {"run"}
    for run in runs:
        assert run.findings() is not None
    client = PluginClient(tmp_path / "logs", files=True)
    for route in ("summary", "revision", "states"):
        assert client.get(route).status_code == 200
    for run_id in ("run", "crafted"):
        assert client.get("findings", run=run_id).status_code == 200
        assert client.get("overview", run=run_id).status_code == 200
    assert not mark.exists()
