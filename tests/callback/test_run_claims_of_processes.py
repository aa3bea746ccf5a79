"""Two processes in one folder: each has a separate part, and a dead one releases its place."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from claimed_runs import IN_USE, LOCKS, Trained, no_warning, run_python, said

from tb_adam_plugin.callback.write import run_claims
from tb_adam_plugin.callback.write.run_claims import RunClaim
from tb_adam_plugin.run_data import load_runs


@LOCKS
def test_two_processes_in_one_folder_are_two_runs(tmp_path: Path) -> None:
    script = """
    trained = Trained(3, log_dir=folder)
    trained.train(5)
    print("trained", flush=True)
    input()
    trained.train(2)
    trained.debug.close()
    """
    with run_python(script, tmp_path) as other:
        assert said(other) == "trained"
        with pytest.warns(UserWarning, match="is in use by another process"):
            trained = Trained(5, log_dir=tmp_path)
        trained.train(4)
        assert other.communicate("\n", timeout=60) == ("", "")
        assert other.returncode == 0
    trained.train(3)
    trained.debug.close()
    first, second = load_runs(tmp_path)
    assert (first.name, first.parameters[0].shape) == (".", (3, 4))
    assert first.steps.tolist() == list(range(1, 8))
    trained.check(second, ". (2)")
    assert not list(tmp_path.rglob("*.lock"))
    with no_warning():  # both are closed
        Trained(5, log_dir=tmp_path).debug.close()


@LOCKS
def test_a_killed_process_leaves_its_place_though_its_child_lives(tmp_path: Path) -> None:
    script = """
    trained = Trained(3, log_dir=folder)
    trained.train(5)
    child = os.fork()
    if not child:
        time.sleep(600)
    print(child, flush=True)
    time.sleep(600)
    """
    with run_python(script, tmp_path) as other:
        child = int(said(other))
        try:
            with pytest.warns(UserWarning, match="another process"):
                Trained(3, log_dir=tmp_path).debug.close()
            other.kill()
            other.wait(60)
            os.kill(child, 0)  # it lives
            with no_warning():
                trained = Trained(5, log_dir=tmp_path)
            trained.train(3)
            trained.debug.close()
        finally:
            os.kill(child, signal.SIGKILL)
    (run,) = load_runs(tmp_path)
    trained.check(run, ".")


@LOCKS
def test_a_worker_of_a_data_loader_neither_takes_nor_frees_a_place(tmp_path: Path) -> None:
    script = """
    trained = Trained(3, log_dir=folder)
    trained.train(1)
    if not os.fork():
        with no_warning():
            trained.debug.close()
        del trained
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            own = Trained(5, log_dir=folder)  # it trains, too
        own.train(2)
        own.debug.close()
        print(len(caught), "another process" in str(caught[0].message), flush=True)
        os._exit(0)
    os.wait()
    again = RunClaim(folder, None)
    print(again.number, flush=True)
    again.release()
    trained.train(2)
    print("ready", flush=True)
    input()
    """
    with run_python(script, tmp_path) as other:
        assert said(other) == "1 True"
        assert said(other) == "2"
        assert said(other) == "ready"
        claim = RunClaim(tmp_path, None)
        assert claim.number == 2
        other.communicate("\n", timeout=60)
        claim.settle()
        assert claim.number == 1
        claim.release()
    first, second = load_runs(tmp_path)
    assert (first.name, first.parameters[0].shape) == (".", (3, 4))
    assert (second.name, second.parameters[0].shape) == (". (2)", (5, 4))


@LOCKS
def test_a_disk_without_locks_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.lockf", refuse)
    with no_warning():
        one = Trained(3, log_dir=tmp_path)
    with pytest.warns(UserWarning, match=IN_USE):
        other = Trained(3, log_dir=tmp_path)
    one.train(1)
    other.train(2)
    one.debug.close()
    other.debug.close()
    first, second = load_runs(tmp_path)
    one.check(first, ".")
    other.check(second, ". (2)")


@LOCKS
def test_a_disk_that_refuses_all_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fcntl.lockf", refuse)
    claims = [RunClaim(tmp_path, None) for _ in range(2)]
    assert [claim.number for claim in claims] == [1, 2]
    for claim in claims:
        claim.release()


def test_a_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_claims, "fcntl", None)
    claims = [RunClaim(tmp_path, None) for _ in range(2)]
    assert [claim.number for claim in claims] == [1, 2]
    assert not list(tmp_path.iterdir())
    for claim in claims:
        claim.release()


@LOCKS
def test_many_processes_that_begin_and_end_at_once(tmp_path: Path) -> None:
    """Each number is held by one process at a time, though the file is deleted again and again."""
    script = """
    for _ in range(200):
        claim = RunClaim(folder, None)
        mark = folder / f"held{claim.number}"
        with open(mark, "x"):  # nobody else has it
            pass
        mark.unlink()
        claim.release()
    """
    processes = [run_python(script, tmp_path) for _ in range(4)]
    for process in processes:
        with process:
            assert process.communicate(timeout=120) == ("", "")
            assert process.returncode == 0
    assert not list(tmp_path.iterdir())


def test_stages_of_a_pipeline_have_a_place_each(tmp_path: Path) -> None:
    folders = ["adam_debug", "adam_debug_rank1", "adam_debug", "adam_debug_rank1"]
    claims = [RunClaim(tmp_path, None, folder) for folder in folders]
    assert [claim.number for claim in claims] == [1, 1, 2, 2]
    for claim in claims:
        claim.open().close()
        claim.release()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "adam_debug", "adam_debug_2", "adam_debug_2_rank1", "adam_debug_rank1",
    ]  # fmt: skip
