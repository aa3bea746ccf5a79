"""The Triton kernel against torch's operations, without a GPU.

In Triton's interpreter, on CPU tensors: row values, histograms, statistics and the number of
launches. And compiled for GPUs, which the interpreter does not do. Its speed is not measured.
"""

from __future__ import annotations

import ast
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import single_pass_trials
from single_pass_cases import QUANTITIES, SHAPES, TRIALS, Step

from tb_adam_plugin import schema
from tb_adam_plugin.callback.measure.row_value_table import NAMES, OVER_ALL, POSITION
from tb_adam_plugin.callback.measure.sampling_error import SQUARES
from tb_adam_plugin.callback.optimizer_state.coefficients import COEFFICIENTS

pytest.importorskip("triton")

Array = npt.NDArray[Any]
LAUNCHES = ["to device", "keep", "zero_", "to device", "reduce", "to host"]
OF_SAMPLED = [
    "to device", "keep", "totals", "zero_", "to device", "reduce", "totals", "to host"
]  # fmt: skip
KERNELS = {"keep", "reduce", "totals"}
LAYOUT = "a tensor that is sampled lies otherwise in memory than its weight"
REFUSED = {
    "RMSprop, momentum": "the optimizer has further tensors",
    "Adadelta": "the optimizer has a formula of its own",
    "sampled, RMSprop, momentum": "the optimizer has further tensors",
}
# From the second step on.
REFUSED_LATER = {"sampled, another layout": LAYOUT, "sampled, bfloat16, another layout": LAYOUT}
SAMPLED = [name for name, trial in TRIALS.items() if trial.max_sampled is not None]
FITTING = [name for name in TRIALS if name not in REFUSED and name not in REFUSED_LATER]
# Sums of differences of nearly equal numbers, with what these are the rounding errors of.
ROUNDING = {"(d-r)²": "r²", "(m-exact)²": "exact m²", "(v-exact)²": "exact v²"}
# Sums whose terms may cancel, with what bounds them.
PRODUCTS = {"d·b": ("d²", "b²"), "m·g'": ("m²", "g'²")}
COUNTS = {name for name in NAMES if any(sign in name for sign in "=≠≈<")} | {"v frozen"}


def start(folder: Path, code: str, **environment: str) -> None:
    """Run Python in a separate process, with the same import path."""
    path = os.pathsep.join([str(Path(__file__).parents[1] / "helpers"), *filter(None, sys.path)])
    changed = {"PYTHONPATH": path, "TRITON_CACHE_DIR": str(folder), **environment}
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **changed}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Step]]:
    """All trials, run in Triton's interpreter."""
    folder = tmp_path_factory.mktemp("interpreted")
    results = folder / "results"
    start(
        folder,
        "import pathlib, single_pass_trials\n"
        f"single_pass_trials.main(pathlib.Path({str(results)!r}))",
        TRITON_INTERPRET="1",
    )
    found: dict[str, list[Step]] = pickle.loads(results.read_bytes())
    return found


@pytest.mark.parametrize("name", FITTING)
def test_row_values_are_those_of_torch(trials: dict[str, list[Step]], name: str) -> None:
    for step in trials[name]:
        assert step.refusal is None
        expected, found = (
            without_padding(dict(reduced.total), reduced.padding, reduced.numbers)
            for reduced in step.reduced
        )
        for value in NAMES:
            with np.errstate(all="ignore"):
                a, b, tolerance = comparable(value, expected, found)
            np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance / 10, err_msg=value)


def comparable(
    value: str, expected: dict[str, Array], found: dict[str, Array]
) -> tuple[Array, Array, float]:
    """Return a row value of both in units of what it is exact to, and how exact it has to be."""
    a, b = expected[value], found[value]
    if value in COUNTS or value.startswith("max"):
        return a, b, 0.0
    if value == "g⁴":  # in the units of different rows, and compared with the end results
        return a, a, 0.0
    if value in ROUNDING:
        a, b, scale = np.sqrt(a), np.sqrt(b), np.sqrt(expected[ROUNDING[value]])
    elif value in PRODUCTS:
        first, second = (expected[name] for name in PRODUCTS[value])
        scale = np.sqrt(first) * np.sqrt(second)
    else:
        scale = a
    scale = np.where((scale > 0) & np.isfinite(scale), scale, 1)
    return a / scale, b / scale, 1e-5


def without_padding(total: dict[str, Array], padding: Array, numbers: Array) -> dict[str, Array]:
    """Take off the counts what the zeros beyond the last element are counted as."""
    eps = numbers[1 + COEFFICIENTS.index("eps")]
    for name in ("w=0", "g=0", "d=0", "m=0", "v=0", "n=0"):
        total[name] = total[name] - padding * (total[name] > 0)
    for name in ("s<ε", "s<10ε"):
        total[name] = total[name] - padding * (eps > 0) * (total[name] > 0)
    return total


@pytest.mark.parametrize("name", TRIALS)
def test_histograms_are_those_of_torch(trials: dict[str, list[Step]], name: str) -> None:
    counted = 0
    for step in trials[name]:
        sparse = [measured.counts for measured in step.measured]
        if None in sparse:
            assert sparse == [None, None]
            continue
        expected, found = (counts.dense() for counts in sparse if counts is not None)
        counted += int(expected.sum())
        for q, quantity in enumerate(QUANTITIES):
            np.testing.assert_array_equal(found[:, q], expected[:, q], err_msg=quantity.name)
    assert counted > 1000


@pytest.mark.parametrize("name", TRIALS)
def test_statistics_are_those_of_torch(trials: dict[str, list[Step]], name: str) -> None:
    known = 0
    for step in trials[name]:
        expected, found = step.measured
        for i, statistic in enumerate(schema.STATISTICS):
            a, b = expected.statistics[:, i], found.statistics[:, i]
            known += int(np.isfinite(a).sum())
            absolute = 3e-7 if statistic.name.endswith("rounding_error") else 2e-6
            if statistic.name == "update_rms_standard_error":
                absolute = 1e-5  # between two RMS, each exact to that
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=absolute, err_msg=statistic.name)
        np.testing.assert_allclose(found.squared_gradients, expected.squared_gradients, rtol=1e-5)
        np.testing.assert_array_equal(found.has_gradient, expected.has_gradient)
    assert known > 40


@pytest.mark.parametrize("name", FITTING)
def test_a_step_is_eight_launches_at_most_whatever_the_number_of_tensors(
    trials: dict[str, list[Step]], name: str
) -> None:
    for number, step in enumerate(trials[name], 1):
        more = list(OF_SAMPLED if name in SAMPLED else LAUNCHES)
        if name == "SGD, nesterov":  # overwrites the gradients, so the callback copies them
            more = ["clone"] * len(SHAPES) + more
        if name == "several layouts":  # a weight with gaps, twice, and four gradients
            more[:0] = ["copy_"]
            more[3:3] = ["copy_"] * 5
        if name == "steps unlike the expected ones" and number == 1:
            more += LAUNCHES[2:]
        launches = step.launches
        if not TRIALS[name].counts_on_device:  # elsewhere this would wait for the device
            launches = [launch for launch in launches if launch != "_local_scalar_dense"]
        # Afterwards what is not finite is counted, tensor by tensor.
        assert launches[: len(more) if "extreme values" in name else None] == more


def test_a_record_of_a_transformer_is_four_kernels_and_four_other_operations(
    trials: dict[str, list[Step]],
) -> None:
    name = "sampled, a transformer"
    assert len(TRIALS[name].parameters()) == 28
    for step in trials[name]:
        launches = [launch for launch in step.launches if launch != "_local_scalar_dense"]
        assert len([launch for launch in launches if launch in KERNELS]) == 4
        assert len([launch for launch in launches if launch not in KERNELS]) == 4


@pytest.mark.parametrize("name", REFUSED)
def test_an_optimizer_that_does_not_fit_is_measured_all_the_same(
    trials: dict[str, list[Step]], name: str
) -> None:
    for step in trials[name]:
        assert step.refusal == REFUSED[name]
        for value in NAMES:
            expected, found = (reduced.total[value] for reduced in step.reduced)
            np.testing.assert_array_equal(found, expected, err_msg=value)


@pytest.mark.parametrize("name", REFUSED_LATER)
def test_what_was_kept_of_sampled_parameters_is_taken_over(
    trials: dict[str, list[Step]], name: str
) -> None:
    first, second = trials[name]
    assert first.refusal is None
    assert second.refusal == REFUSED_LATER[name]
    for value in NAMES:
        expected, found = (reduced.total[value] for reduced in second.reduced)
        np.testing.assert_array_equal(found, expected, err_msg=value)
    by_torch, by_kernel = (reduced.exact for reduced in second.reduced)
    np.testing.assert_allclose(by_kernel["b²"], by_torch["b²"], rtol=1e-5)
    assert min(by_torch["b²"]) > 100


@pytest.mark.parametrize("name", SAMPLED)
def test_sums_over_all_elements_are_those_of_torch(
    trials: dict[str, list[Step]], name: str
) -> None:
    for step in trials[name]:
        expected, found = (reduced.exact for reduced in step.reduced)
        assert set(found) == set(expected) == set(OVER_ALL.values())
        for value in found:
            assert len(found[value]) >= 2
            np.testing.assert_allclose(found[value], expected[value], rtol=1e-5, err_msg=value)


@pytest.mark.parametrize("name", SAMPLED)
def test_rows_that_a_sampling_error_is_told_from_are_those_of_torch(
    trials: dict[str, list[Step]], name: str
) -> None:
    error = [statistic.name for statistic in schema.STATISTICS].index("update_rms_standard_error")
    for step in trials[name]:
        by_torch, by_kernel = (measured.statistics[:, error] for measured in step.measured)
        np.testing.assert_allclose(by_kernel, by_torch, rtol=1e-4, atol=1e-5)
        assert (by_torch > 0).any() or np.isnan(by_torch).any()
    # Of the last step, because a step reuses the memory of the one before.
    plain, kernel = step.reduced
    if name in REFUSED or name in REFUSED_LATER:
        assert kernel.sampled_squares is None  # both were reduced in blocks
        return
    assert kernel.sampled_squares is not None
    lengths = np.diff(np.append(plain.first_rows, plain.rows.shape[1]))
    is_sampled = np.repeat(by_torch != 0, lengths)  # what is read whole has no error
    of_rows = plain.rows[[POSITION[value] for value in SQUARES]][:, is_sampled]
    np.testing.assert_allclose(kernel.sampled_squares, of_rows, rtol=1e-5)


def test_a_short_last_line_is_read(trials: dict[str, list[Step]]) -> None:
    (plain, _) = trials["sampled"][0].reduced
    assert [int(n) % 16 for n in np.add.reduceat(plain.row_elements, plain.first_rows)][4] == 12


ONE_IS_MISSING = """
import numpy as np
import single_pass_trials

kernels = single_pass_trials.prepare()
kernels.written.remove("n²")
(step,) = single_pass_trials.run(single_pass_trials.TRIALS["SGD"], kernels)
assert step.refusal is None
by_torch, by_kernel = (reduced.total for reduced in step.reduced)
assert np.isfinite(by_torch["n²"]).all() and np.isnan(by_kernel["n²"]).all()
assert np.isfinite(by_kernel["r²"]).all()
"""


def test_a_row_value_that_the_kernel_lacks_is_not_known(tmp_path: Path) -> None:
    start(tmp_path, ONE_IS_MISSING, TRITON_INTERPRET="1")


def test_the_kernel_writes_every_row_value() -> None:
    from tb_adam_plugin.callback.measure.gpu import kernel_constants, kernels

    assert set(NAMES) == kernel_constants.WRITTEN
    positions = [int(where) for where in written_positions(kernels.__file__, kernel_constants)]
    assert sorted(positions) == list(range(len(NAMES)))


def written_positions(path: str, constants: Any) -> Iterator[Any]:
    """What the constants say that the kernel puts its results at."""
    for node in ast.walk(ast.parse(Path(path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "").startswith("put"):
            where = node.args[1]
            assert isinstance(where, ast.Name)
            yield getattr(constants, where.id).value


def test_a_kernel_that_fails_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    # Outside of the interpreter no kernel runs on the tensors of a CPU.
    with caplog.at_level(logging.WARNING):
        steps = single_pass_trials.run(TRIALS["AdamW"])
    for step in steps:
        assert step.refusal is not None
        assert "Error" in step.refusal
        expected, found = step.measured
        np.testing.assert_array_equal(found.statistics, expected.statistics)
    assert len(caplog.records) == 1
    assert "Triton kernel failed" in caplog.text


WITHOUT_TRITON = """
import sys
import torch
import tb_adam_plugin.callback
from tb_adam_plugin.callback.measure.gpu import single_pass
import single_pass_trials

assert "tb_adam_plugin.callback.measure.gpu.kernels" not in sys.modules
for name in [name for name in sys.modules if name.partition(".")[0] == "triton"]:
    del sys.modules[name]
sys.modules["triton"] = None  # as where it is not installed
weight = torch.nn.Parameter(torch.ones(3))
plain, kernel = single_pass_trials.make_measurements([weight], torch.optim.AdamW([weight]))
assert all(m._reduction is m._in_blocks for m in (plain, kernel))
"""


def test_nothing_needs_triton(tmp_path: Path) -> None:
    start(tmp_path, WITHOUT_TRITON)


def test_the_kernels_compile_for_gpus(tmp_path: Path) -> None:
    start(tmp_path, "import single_pass_compiled; single_pass_compiled.compile_for_gpus()")
