"""A full disk, and a log folder that becomes read-only: training continues without torn records."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import EXPERIMENT, provider_of
from recorded_run import read_run
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.run_data import load_runs

Fill = Callable[[bool], None]


@contextlib.contextmanager
def small_file_system(folder: Path) -> Iterator[tuple[Path, Fill]]:
    """A file system of its own in memory, and what fills it or makes room."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    filler = folder / "filler"

    def fill(full: bool) -> None:
        filler.unlink(missing_ok=True)
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while full:
                file.write(bytes(100))

    try:
        yield folder, fill
    finally:
        subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def limited_file_size(folder: Path) -> Iterator[tuple[Path, Fill]]:
    """A limit of the size of files, in the middle of a record, as a quota sets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(full: bool) -> None:
        (file,) = (folder / schema.RUN_FOLDER).iterdir()
        limit = file.stat().st_size + 500 if full else soft
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))

    try:
        yield folder, fill
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def make(seed: int = 0) -> tuple[Any, Any]:
    torch.manual_seed(seed)
    model = torch.nn.Linear(64, 8)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2)


def train(model: Any, optimizer: Any, steps: range) -> None:
    for step in steps:
        inputs = torch.randn(4, 64, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("disk", [small_file_system, limited_file_size])
def test_a_disk_that_is_full_for_a_while_costs_its_records_alone(tmp_path: Path, disk: Any) -> None:
    model, optimizer = make()
    with disk(tmp_path) as (folder, fill):
        debug = AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=1)
        train(model, optimizer, range(1, 6))
        # The first steps on a full disk may still fit into the page that the file ends in.
        fill(True)
        with pytest.warns(UserWarning, match="cannot write the event file") as caught:
            train(model, optimizer, range(6, 14))
        fill(False)
        train(model, optimizer, range(14, 21))
        debug.close()
        assert len(caught) == 1

        recorded = read_run(folder)
        lost = set(range(1, 21)) - set(recorded.statistics)
        assert lost == set(range(min(lost), 14))
        assert len(lost) >= 5
        assert recorded.steps[20]["dropped_records"] == len(lost)
        for path in (folder / schema.RUN_FOLDER).iterdir():
            size = sum(len(data) + 16 for data in RawEventFileLoader(str(path)).Load())
            assert size == path.stat().st_size, "a torn record"
        for store in (Store(provider_of(folder)), load_runs(folder)[0]._store):
            rows = store.steps(EXPERIMENT, schema.RUN_FOLDER)
            assert set(rows.step.astype(int).tolist()) == set(recorded.statistics)

    alone, its_optimizer = make()
    train(alone, its_optimizer, range(1, 21))
    for one, other in zip(model.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_folder_that_is_made_read_only_is_written_until_the_end(tmp_path: Path) -> None:
    """The file is open; only the next start is refused, with the path."""
    script = """
        import os, sys, stat, warnings
        from pathlib import Path
        import torch
        from tb_adam_plugin.callback import AdamDebugCallback
        folder = Path(sys.argv[1])
        weight = torch.nn.Parameter(torch.ones(30))
        optimizer = torch.optim.Adam([weight])

        def train(steps):
            for _ in range(steps):
                weight.grad = torch.ones(30)
                optimizer.step()

        warnings.simplefilter("error")
        debug = AdamDebugCallback([("w", weight)], optimizer, log_dir=folder, every_n_steps=1)
        train(3)
        run = folder / "adam_debug"
        for path in (*run.iterdir(), run):
            path.chmod(stat.S_IRUSR | stat.S_IXUSR)
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)
            os.chown(run, 65534, 65534)
            os.seteuid(65534)
        train(3)
        debug.close()
        try:
            AdamDebugCallback([("w", weight)], optimizer, log_dir=folder)
        except OSError as error:
            assert str(run) in str(error), error
            print("refused")
    """
    # Another user must be able to come to the folder.
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o111)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "refused\n", "")
    assert sorted(read_run(tmp_path).steps) == [1, 2, 3, 4, 5, 6]


def test_a_file_that_shrinks_while_it_is_read_ends_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a writer does that meets a full disk; a file mapped into memory would end the process."""
    model, optimizer = make()
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, every_n_steps=1):
        train(model, optimizer, range(1, 400))
    (path,) = (tmp_path / schema.RUN_FOLDER).iterdir()
    whole = path.stat()
    os.truncate(path, whole.st_size // 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before, now = iter([whole]), os.fstat  # what it was when reading began
        monkeypatch.setattr(os, "fstat", lambda file: next(before, None) or now(file))
        (run,) = load_runs(tmp_path)
        steps = run.steps
    assert steps.tolist() == list(range(1, len(steps) + 1))
    assert 100 < len(steps) < 300
