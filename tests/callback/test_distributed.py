"""Training in several processes records the same as in one process.

Each number of processes is started once, because that takes seconds, and runs all its cases (see
``distributed_cases.py``). The order of summation differs there, so statistics are compared with a
tolerance of a few units of float32; counts of histograms are compared exactly.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import distributed_cases
import distributed_worker
import numpy as np
import pytest
import torch
from recorded_run import RecordedRun, read_run

from tb_adam_plugin.callback.native.loading import VARIABLE
from tb_adam_plugin.callback.ranks.ranks import MESSAGE_FIELDS
from tb_adam_plugin.run_data import load_runs

TOLERANCE = 2e-6
# Differences of large sums, which have fewer correct digits.
CANCELLING = {"momentum_gradient_cosine": 3e-4, "update_rms_standard_error": 1e-5}
# Residuals where update and request are equal apart from rounding.
ROUNDING = "update_rounding_error"

SHARDED = {
    2: {
        "fsdp2 adamw": "adamw",
        "fsdp2 foreach": "foreach",
        "fsdp2 fused": "fused",
        "fsdp2 sgd": "sgd",
        "fsdp2 given": "given",
        "fsdp2 bfloat16": "bfloat16",
        "fsdp2 jump": "jump",
        "tensor parallel": "given",
        "zero redundancy": "adamw",
        "flat": "adamw",
    },
    4: {
        "fsdp2 adamw": "adamw",
        "fsdp2 exact": "exact",
        "hybrid": "adamw",
        "both ways": "given",
        "tensor parallel": "given",
        "zero redundancy": "adamw",
        "flat": "adamw",
    },
}
CASES = [(ranks, case, alone) for ranks, of in SHARDED.items() for case, alone in of.items()]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Several threads sum gradients in another order than the processes, which have one each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Processes:
    """What the processes of one number left."""

    def __init__(self, ranks: int, folder: Path) -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            VARIABLE: "1",  # as the training that they are compared with
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
            "WORLD_SIZE": str(ranks),
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        script = str(Path(distributed_worker.__file__))
        running = [
            subprocess.Popen(
                [sys.executable, script, str(rank), str(ranks), str(folder)],
                env={**environment, "RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(ranks)
        ]
        try:
            said = [process.communicate(timeout=240)[0] for process in running]
        finally:
            for process in running:
                process.kill()
        codes = [process.returncode for process in running]
        assert codes == [0] * ranks, "\n".join(said)
        self.folder = folder
        self.found: list[dict[str, Any]] = [
            json.loads((folder / f"found{rank}.json").read_text()) for rank in range(ranks)
        ]

    def of_case(self, name: str) -> list[dict[str, Any]]:
        return [found[name] for found in self.found]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Processes]:
    known: dict[int, Processes] = {}

    def start(ranks: int) -> Processes:
        if ranks not in known:
            known[ranks] = Processes(ranks, tmp_path_factory.mktemp(f"ranks{ranks}"))
        return known[ranks]

    return start


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RecordedRun]:
    known: dict[tuple[str, str], RecordedRun] = {}

    def run(name: str, native: str = "1") -> RecordedRun:
        if (name, native) not in known:
            folder = tmp_path_factory.mktemp(name)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(VARIABLE, native)
                distributed_cases.TRAININGS[name].run_alone(folder)
            known[name, native] = read_run(folder)
        return known[name, native]

    return run


def assert_same_statistics(run: RecordedRun, alone: RecordedRun, without: set[str]) -> None:
    names = alone.layout.statistics
    for step in run.statistics:
        expected = alone.statistics[step]
        for column, name in enumerate(names):
            if name not in without:
                np.testing.assert_allclose(
                    run.statistics[step][:, column],
                    expected[:, column],
                    rtol=CANCELLING.get(name, TOLERANCE),
                    atol=1e-9,
                    err_msg=f"{name} at step {step}",
                )


@pytest.mark.parametrize(("ranks", "case", "training"), CASES)
def test_shards_record_what_a_single_process_records(
    processes: Callable[[int], Processes],
    alone: Callable[..., RecordedRun],
    ranks: int,
    case: str,
    training: str,
) -> None:
    of_all = processes(ranks)
    # Shards are measured by torch's operations; the kernel would sum in another order.
    run, expected = read_run(of_all.folder / case), alone(training, "0")
    assert [found["warnings"] for found in of_all.of_case(case)] == [[]] * ranks
    assert run.layout == expected.layout
    assert run.statistics.keys() == expected.statistics.keys()
    # The fused kernel rounds the last elements of a tensor differently, wherever it ends.
    assert_same_statistics(run, expected, {ROUNDING} if training == "fused" else set())
    assert run.histograms.keys() == expected.histograms.keys()
    for step, counts in expected.histograms.items():
        np.testing.assert_array_equal(run.histograms[step], counts)
    assert run.steps.keys() == expected.steps.keys()
    for step, row in expected.steps.items():
        for name in ("gradient_norm", "lr", "loss", "every_n_steps", "skipped_steps"):
            np.testing.assert_allclose(run.steps[step][name], row[name], rtol=TOLERANCE)
    assert run.gradient_norms.keys() == expected.gradient_norms.keys()
    for step, norms in expected.gradient_norms.items():
        assert run.gradient_norms[step].keys() == norms.keys()
        for name, norm in norms.items():
            np.testing.assert_allclose(run.gradient_norms[step][name], norm, rtol=TOLERANCE)
    for step, columns in expected.hyperparameters.items():
        for name, values in columns.items():
            np.testing.assert_array_equal(run.hyperparameters[step][name], values)


def test_the_cases_are_what_they_are_meant_to_be(
    processes: Callable[[int], Processes], alone: Callable[..., RecordedRun]
) -> None:
    given = alone("given")
    read = {p.name: (p.elements_read, p.elements) for p in given.layout.parameters}
    assert read["wide.weight"][0] < read["wide.weight"][1]
    assert 0 < given.of(1, "narrow.weight")["dead_row_fraction"] < 1
    assert 0 < alone("adamw").of(1, "wide.weight")["dead_row_fraction"] < 1
    last = given.of(max(given.statistics), "wide.weight")  # the same rows at each record
    assert last["idle_row_fraction"] == last["dead_row_fraction"] > 0
    jump = alone("jump")
    around = distributed_cases.JUMP
    assert {around, around + 1} <= jump.gradient_norms.keys() | jump.statistics.keys()
    assert around + 5 in jump.statistics
    assert around - 2 not in jump.statistics
    assert max(found["empty"] for found in processes(4).of_case("flat")) > 0
    assert sum(found["owned"] for found in processes(2).of_case("zero redundancy")) == 7


def test_two_collectives_a_record_and_one_a_step(
    processes: Callable[[int], Processes], alone: Callable[..., RecordedRun]
) -> None:
    steps = distributed_cases.STEPS
    records = len(alone("adamw").statistics)
    for found in processes(4).of_case("fsdp2 adamw"):
        assert found["collectives"] == steps + 2 * records + 2  # names and layout, once


@pytest.mark.parametrize("case", ["data parallel", "unwrapped"])
def test_one_rank_records_of_data_parallel_training(
    processes: Callable[[int], Processes], alone: Callable[..., RecordedRun], case: str
) -> None:
    of_two = processes(2)
    folder = of_two.folder / case
    assert [path.name for path in folder.iterdir()] == ["adam_debug"]
    assert len(list((folder / "adam_debug").iterdir())) == 1
    run, expected = read_run(folder), alone("adamw")
    assert run.layout == expected.layout
    for step, statistics in expected.statistics.items():
        np.testing.assert_array_equal(run.statistics[step], statistics)
        np.testing.assert_array_equal(run.histograms[step], expected.histograms[step])
    assert [found["warnings"] for found in of_two.of_case(case)] == [[], []]


def test_pipeline_stages_are_read_as_one_run(processes: Callable[[int], Processes]) -> None:
    of_two = processes(2)
    folder = of_two.folder / "pipeline"
    assert sorted(path.name for path in folder.iterdir()) == ["adam_debug", "adam_debug_rank1"]
    (run,) = [run for run in load_runs(of_two.folder) if run.name == "pipeline"]
    assert [p.name for p in run.parameters] == [
        "stage0.weight", "stage0.bias", "stage1.weight", "stage1.bias",
    ]  # fmt: skip
    assert run.steps.tolist() == [1, 2, 4, 5, 8, 10]
    assert np.isfinite(run.statistic("update_rms")).all()
    every = run.every_step()
    squares = np.zeros(distributed_cases.STEPS)
    for part in ("adam_debug", "adam_debug_rank1"):
        alone = read_run(folder, part)
        squares += [row["gradient_norm"] ** 2 for row in alone.steps.values()]
    norms = every.values[every.names.index("gradient_norm")]
    np.testing.assert_allclose(norms, np.sqrt(squares))


def test_training_of_shards_is_the_same_bit_by_bit(
    processes: Callable[[int], Processes],
) -> None:
    assert all(found["is_unchanged"] for found in processes(2).of_case("unchanged"))


@pytest.mark.parametrize(
    ("case", "reason", "outcome"),
    [
        ("failing state", "the adapter fails", "records are left out from now on"),
        ("failing read", "this one fails", "wide.weight is no longer recorded; the others are"),
        ("failing memory", "MemoryError", "fewer elements of each parameter are read"),
        ("failing options", "the options cannot be read", "records are left out from now on"),
    ],
)
def test_a_rank_that_fails_does_not_hang_the_others(
    processes: Callable[[int], Processes], case: str, reason: str, outcome: str
) -> None:
    """All of them disable the same part at the same step, and continue with the rest."""
    of_two = processes(2)
    others, failing = of_two.of_case(case)
    (of_others,), (of_failing,) = others["warnings"], failing["warnings"]
    assert reason in of_failing
    assert outcome in of_failing
    assert "another rank failed at step 4" in of_others
    assert outcome in of_others
    run = read_run(of_two.folder / case)
    assert list(run.steps) == list(range(1, 9))
    assert all(row["gradient_norm"] > 0 for row in run.steps.values())
    if "records are left out" in outcome:
        assert list(run.statistics) == [1, 2, 3]
    else:
        assert list(run.statistics) == [1, 2, 3, 5, 6, 7, 8]
        last = run.layouts[run.layout_at[8]]
        names = {p.name: p.elements_read for p in last.parameters}
        assert ("wide.weight" in names) == (case != "failing read")
        if case == "failing memory":
            assert names["wide.weight"] == 1024


def test_all_ranks_end_recording_with_one_that_cannot_go_on(
    processes: Callable[[int], Processes],
) -> None:
    of_two = processes(2)
    others, failing = of_two.of_case("failing schedule")
    assert "the schedule fails" in failing["warnings"][0]
    for found in (others, failing):
        assert "nothing more is recorded" in found["warnings"][-1]
        assert not found["enabled"]
    assert list(read_run(of_two.folder / "failing schedule").statistics) == [1, 2, 3]


def test_a_failure_ends_training_on_all_ranks_where_that_is_wanted(
    processes: Callable[[int], Processes],
) -> None:
    others, failing = processes(2).of_case("failing loudly")
    assert failing["raised"] == "the adapter fails"
    assert "another rank failed at step 4" in others["raised"]


def test_what_is_heard_later_leads_to_the_same(
    processes: Callable[[int], Processes], alone: Callable[..., RecordedRun]
) -> None:
    """As on a device, where nothing waits for the messages."""
    of_two = processes(2)
    run, expected = read_run(of_two.folder / "delayed"), alone("jump")
    assert [found["warnings"] for found in of_two.of_case("delayed")] == [[], []]
    jump = distributed_cases.JUMP
    early = [step for step in expected.statistics if step <= jump]
    assert list(run.statistics) == [*early, *range(jump + 5, jump + 17)]
    assert_same_statistics(run, expected, {"idle_row_fraction"})  # of other records
    assert run.steps.keys() == expected.steps.keys()
    for step, row in expected.steps.items():
        norm = run.steps[step]["gradient_norm"]
        np.testing.assert_allclose(norm, row["gradient_norm"], rtol=TOLERANCE)
    assert run.gradient_norms.keys() == expected.gradient_norms.keys()
    for found in of_two.of_case("failing later"):
        assert not found["enabled"]
        assert "nothing more is recorded" in found["warnings"][-1]
    assert list(read_run(of_two.folder / "failing later").statistics) == [1, 2, 3]


def test_all_ranks_follow_the_budget_of_the_first(processes: Callable[[int], Processes]) -> None:
    found = processes(2).of_case("over budget")
    assert [of["warnings"] for of in found] == [[], []]
    assert found[0]["stretch"] == found[1]["stretch"] > 1
    run = read_run(processes(2).folder / "over budget")
    assert list(run.statistics) == [1, 2, 4, 8]  # not 5 and 10
    assert run.steps[11]["every_n_steps"] == 5 * found[0]["stretch"]


def test_ranks_that_disagree_record_less_and_do_not_hang(
    processes: Callable[[int], Processes],
) -> None:
    of_two = processes(2)
    for found in of_two.of_case("different options"):
        (warning,) = found["warnings"]
        assert "the ranks were about to record different steps" in warning
        assert "records are left out" in warning
    run = read_run(of_two.folder / "different options")
    assert list(run.statistics) == [1, 2]  # at step 3 one of them alone was about to record
    assert list(run.steps) == list(range(1, 12))
    for found in of_two.of_case("different parameters"):
        assert "the ranks have different parameters" in found["warnings"][-1]


def test_a_full_disk_ends_recording_on_all_ranks(processes: Callable[[int], Processes]) -> None:
    writer, other = processes(2).of_case("full disk")
    assert not writer["enabled"]
    assert not other["enabled"]
    assert any("No space left" in warning for warning in writer["warnings"])
    assert "another rank failed at step 11" in other["warnings"][-1]


def test_a_destroyed_process_group_is_contained(processes: Callable[[int], Processes]) -> None:
    for found in processes(2).of_case("without group"):
        assert not found["enabled"]
        (warning,) = found["warnings"]
        assert "the process group was destroyed" in warning
    assert list(read_run(processes(2).folder / "without group").statistics) == [1, 2, 3]


def test_what_cannot_be_recorded_is_refused_with_a_reason(
    processes: Callable[[int], Processes],
) -> None:
    for found in processes(2).of_case("flattened"):
        flattened, closure = found["refusals"]
        assert "use_orig_params=True" in flattened
        assert "fully_shard" in flattened
        assert "loss_closure cannot be used in distributed training" in closure


def test_the_documented_program_records_one_run(processes: Callable[[int], Processes]) -> None:
    folder = processes(2).folder / "runs" / "sharded"
    assert [path.name for path in folder.iterdir()] == ["adam_debug"]
    run = read_run(folder)
    assert {1, 2, 4, 8} <= run.statistics.keys()
    assert [p.name for p in run.layout.parameters] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert [p.shape for p in run.layout.parameters] == [(128, 64), (128,), (4, 128), (4,)]


def test_the_page_says_what_a_step_costs(processes: Callable[[int], Processes]) -> None:
    page = (Path(__file__).parents[2] / "docs/distributed.md").read_text(encoding="utf-8")
    assert f"| {8 * len(MESSAGE_FIELDS)} + 24 P |" in page
