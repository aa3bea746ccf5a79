"""Two callbacks of one process in one folder: each has a separate part, and a restart continues."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorboardX
from claimed_runs import IN_USE, LOCKS, Trained, no_warning
from fsspec.implementations.memory import MemoryFileSystem
from in_process import EXPERIMENT, provider_of
from torch.utils.tensorboard import SummaryWriter

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.write import run_claims
from tb_adam_plugin.callback.write.run_claims import RunClaim
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.run_data import load_runs


@pytest.mark.parametrize("width", [3, 5])  # of the second model: the same names and maybe shapes
def test_two_models_in_one_folder_are_two_runs(tmp_path: Path, width: int) -> None:
    generator = Trained(3, log_dir=tmp_path / "gan")
    with pytest.warns(UserWarning, match=IN_USE) as caught:
        critic = Trained(width, log_dir=tmp_path / "gan")
    assert len(caught) == 1
    assert repr(str(tmp_path / "gan" / "adam_debug_2")) in str(caught[0].message)
    for _ in range(4):
        critic.train(5)
        generator.train(1)
    generator.debug.close()
    critic.debug.close()
    first, second = load_runs(tmp_path)
    generator.check(first, "gan")
    critic.check(second, "gan (2)")
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize("writer_class", [SummaryWriter, tensorboardX.SummaryWriter])
def test_one_summary_writer_for_two_models(tmp_path: Path, writer_class: Any) -> None:
    writer = writer_class(str(tmp_path / "gan"))
    generator = Trained(3, writer=writer)
    with pytest.warns(UserWarning, match=IN_USE):
        critic = Trained(3, writer=writer)
    for step in range(4):
        generator.train(1)
        critic.train(2)
        writer.add_scalar("accuracy", 0.5, step)
    generator.debug.close()
    critic.debug.close()
    writer.close()
    first, second = load_runs(tmp_path)
    generator.check(first, "gan")
    critic.check(second, "gan (2)")
    # TensorBoard's own loader has the same, and both have the scalars beside them.
    store = Store(provider_of(tmp_path))
    runs = store.runs(EXPERIMENT).runs
    assert [(run.run, run.name) for run in runs] == [
        ("gan", "gan"), ("gan/adam_debug_2", "gan (2)"),
    ]  # fmt: skip
    for run, trained in zip(runs, (generator, critic), strict=True):
        assert ("gan", "accuracy") in run.scalars
        steps = store.steps(EXPERIMENT, run.run)
        losses = steps.values[steps.names.index("loss")]
        np.testing.assert_array_equal(losses, np.array(trained.losses, np.float32))


@pytest.mark.parametrize("shared_first", [True, False])
def test_a_writer_and_its_folder_as_log_dir(tmp_path: Path, shared_first: bool) -> None:
    with SummaryWriter(str(tmp_path / "gan")) as writer:
        places: list[dict[str, Any]] = [{"log_dir": tmp_path / "gan"}, {"writer": writer}]
        places = places[::-1] if shared_first else places
        one = Trained(3, **places[0])
        with pytest.warns(UserWarning, match=IN_USE):
            other = Trained(3, **places[1])
        one.train(3)
        other.train(5)
        one.debug.close()
        other.debug.close()
    first, second = load_runs(tmp_path)
    one.check(first, "gan")
    other.check(second, "gan (2)")


def test_a_folder_is_known_under_all_of_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    claims = [RunClaim(tmp_path / "run", None)]
    for name in ("run", "./run/", "link", "run/../run"):
        claims.append(RunClaim(name, None))
    with SummaryWriter(str(tmp_path / "run" / "adam_debug")) as writer:  # shown as "run", too
        claims.append(RunClaim(None, writer))
    assert [claim.number for claim in claims] == [1, 2, 3, 4, 5, 6]
    for claim in claims:
        claim.release()


def test_remote_folders_are_told_apart_in_one_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    one = Trained(3, log_dir="memory://bucket/gan")
    with pytest.warns(UserWarning, match="memory://bucket/gan/adam_debug_2"):
        other = Trained(3, log_dir="memory://bucket/gan/")
    one.train(2)
    other.train(2)
    one.debug.close()
    other.debug.close()
    folders = {path.rpartition("/")[0] for path in MemoryFileSystem.store}
    assert folders == {"/bucket/gan/adam_debug", "/bucket/gan/adam_debug_2"}


def test_records_that_are_replaced_are_spoken_of(tmp_path: Path) -> None:
    first = Trained(3, log_dir=tmp_path)
    first.train(4)
    first.debug.close()
    resumed = Trained(3, log_dir=tmp_path)
    resumed.optimizer.load_state_dict(first.optimizer.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed.train(2)
    resumed.debug.close()
    forgotten = Trained(3, log_dir=tmp_path)
    with pytest.warns(UserWarning, match="of an earlier training, which this one replaces") as told:
        forgotten.train(2)
    forgotten.debug.close()
    assert len(told) == 1
    assert str(tmp_path) in str(told[0].message)


@pytest.mark.parametrize("recorded", [True, False])
def test_records_that_are_replaced_beside_a_writers_own_are_spoken_of(
    tmp_path: Path, recorded: bool
) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("loss/train", 1.0, 1)
        if recorded:
            first = Trained(3, writer=writer)
            first.train(2)
            first.debug.close()
    with SummaryWriter(str(tmp_path), filename_suffix=".2") as writer:
        again = Trained(3, writer=writer)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            again.train(2)
        again.debug.close()
    texts = [str(warning.message) for warning in told]
    assert sum("of an earlier training, which this one replaces" in t for t in texts) == recorded


@LOCKS
def test_a_lock_file_that_others_delete_gives_no_place_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[bool] = []

    def deleted_at_first(*_: object) -> bool:
        looked_at.append(len(looked_at) >= 20)
        return looked_at[-1]

    monkeypatch.setattr(run_claims, "_is_file_at", deleted_at_first)
    claim = RunClaim(tmp_path, None)
    assert claim.number == 1
    assert claim._entry._lock is not None
    assert looked_at[-1]
    claim.release()


def test_a_closed_callback_gives_its_place_back(tmp_path: Path) -> None:
    with no_warning():
        for _ in range(3):
            trained = Trained(3, log_dir=tmp_path)
            trained.train(2)
            trained.debug.close()
            assert not list(tmp_path.rglob("*.lock"))
    (run,) = load_runs(tmp_path)
    trained.check(run, ".")


def test_a_callback_that_failed_to_begin_has_no_place(tmp_path: Path) -> None:
    (tmp_path / "adam_debug").write_text("in the way")
    for _ in range(2):
        with pytest.raises(OSError, match="found a file"):
            Trained(3, log_dir=tmp_path)
    (tmp_path / "adam_debug").unlink()
    with no_warning():
        Trained(3, log_dir=tmp_path).debug.close()
    assert [path.name for path in tmp_path.iterdir()] == ["adam_debug"]


def test_the_third_takes_the_first_place_that_is_free(tmp_path: Path) -> None:
    claims = [RunClaim(tmp_path, None) for _ in range(3)]
    claims[1].release()
    claims[1].release()
    claims.append(RunClaim(tmp_path, None))
    assert [claim.number for claim in claims] == [1, 2, 3, 2]
    claims[1].release()  # it has no place any more, and takes none from others
    claims.append(RunClaim(tmp_path, None))
    assert claims[-1].number == 4
    for claim in claims:
        claim.release()
    assert not list(tmp_path.iterdir())


def test_a_cell_that_is_run_again_goes_on_in_its_place(tmp_path: Path) -> None:
    with no_warning():
        for steps in (7, 3, 5):
            # The name is bound after the new callback is made: the old one still lives then.
            trained = Trained(3, log_dir=tmp_path)
            trained.train(steps)
    trained.debug.close()
    (run,) = load_runs(tmp_path)
    trained.check(run, ".")
    assert [path.name for path in tmp_path.iterdir()] == ["adam_debug"]


def test_one_that_lives_on_after_its_first_steps_keeps_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = Trained(3, log_dir="gan")
    one.train(4)
    with no_warning():
        other = Trained(3, log_dir="gan")  # as a cell that is run again, as far as one can see
    other.debug.flush()
    refused = "watched by another AdamDebugCallback, which writes to gan/adam_debug_2"
    with pytest.raises(ValueError, match=refused):
        AdamDebugCallback(other.model, other.optimizer, log_dir="elsewhere")
    monkeypatch.chdir("/")  # a relative log_dir stays where it was
    with pytest.warns(UserWarning, match=IN_USE):
        other.train(1)
    one.train(2)
    other.train(4)
    one.debug.close()
    other.debug.close()
    first, second = load_runs(tmp_path)
    one.check(first, "gan")
    other.check(second, "gan (2)")


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def gone() -> str:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("os.getcwd", gone)
    with no_warning():
        Trained(3, log_dir="run").debug.close()


def test_a_callback_nobody_has_any_more_gives_its_place_back(tmp_path: Path) -> None:
    def train() -> None:
        Trained(3, log_dir=tmp_path)  # without a step, and without close()

    train()
    with no_warning():
        Trained(3, log_dir=tmp_path).debug.close()


@pytest.mark.parametrize("whole", [True, False])
@LOCKS
def test_a_folder_that_was_deleted_and_made_anew_is_another_one(
    tmp_path: Path, whole: bool
) -> None:
    one = RunClaim(tmp_path / "run", None)
    if whole:
        shutil.rmtree(tmp_path / "run")
    else:  # or a new one has the number that the file system gave the old one
        next((tmp_path / "run").iterdir()).unlink()
    other = RunClaim(tmp_path / "run", None)
    assert other.number == 1
    one.release()
    third = RunClaim(tmp_path / "run", None)
    assert third.number == 2
    other.release()
    third.release()
