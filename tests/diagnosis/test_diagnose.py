"""The engine: stretches, growing runs, and dirty data."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_runs.every_rule import PLANTED
from synthetic_runs import Change, changed, column, make_run, statistic

from tb_adam_plugin import schema
from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine import wording
from tb_adam_plugin.diagnosis.engine.over_time import median, recent_median
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedNorms, RecordedRun
from tb_adam_plugin.diagnosis.engine.rule import Condition, Persistence, worst_severity
from tb_adam_plugin.diagnosis.engine.signals import Signals
from tb_adam_plugin.diagnosis.engine.stretches import find_stretches
from tb_adam_plugin.diagnosis.engine.worst import worst_of_row, worst_point
from tb_adam_plugin.diagnosis.rules.registry import RULES, STATISTICS_NEEDED
from tb_adam_plugin.schema import Group

NONSENSE = re.compile(r"(?<![a-z])(nan|inf|infinite)(?![a-z])|-0(?![.\d])|\de\+", re.IGNORECASE)
# What is said of NaN itself.
MEANT = re.compile(
    "NaN or infinit[ey]|loss of step [-0-9,]+ is (NaN|infinite)|carries NaN|infinite derivative|"
    "times zero is NaN|a NaN in the (batch|data)"
)
NASTY = (math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, 1e-45, 1e38, 0.5)


# --- what is worst ------------------------------------------------------------------------------


def test_the_worst_point_is_the_first_largest_number_that_holds() -> None:
    value = np.array([[9.0, 2.0], [math.inf, 3.0], [3.0, math.nan]])
    holds = np.array([[False, True], [True, True], [True, True]])
    assert worst_point(holds, value) == (1, 1)
    assert worst_point(holds, value, lowest_is_worst=True) == (0, 1)


def test_what_is_no_number_is_worst_where_nothing_else_holds() -> None:
    value = np.array([1.0, math.inf, 2.0, math.nan])
    assert worst_point(np.array([False, True, False, True]), value) == (1,)
    assert worst_point(np.array([False, False, False, True]), value) == (3,)
    # Below a threshold infinity is the best there is, and still no number is worst.
    holds = np.array([False, True, False, True])
    assert worst_point(holds, value, lowest_is_worst=True) == (3,)


def test_the_worst_of_a_row_is_the_largest_that_is_known() -> None:
    rows = np.array([[1.0, math.nan, 3.0], [math.nan] * 3, [2.0, math.inf, 0.0]], np.float32)
    found = worst_of_row(rows)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [3.0, math.nan, math.inf])
    np.testing.assert_array_equal(worst_of_row(np.empty((2, 0))), [math.nan] * 2)


def test_the_worst_severity_is_that_of_an_error() -> None:
    assert worst_severity("info", "error", "warning") == "error"
    assert worst_severity("info", "warning") == "warning"
    assert worst_severity("info") == "info"


# --- a run that grows ---------------------------------------------------------------------------


def first_records(run: RecordedRun, records: int) -> RecordedRun:
    """The run as it was with this many records."""
    last = run.step[records - 1]
    known = run.every_step["step"] <= last
    return replace(
        run,
        step=run.step[:records],
        wall_time=run.wall_time[:records],
        statistics={n: v[:records] for n, v in run.statistics.items()},
        hyperparameters={n: v[:records] for n, v in run.hyperparameters.items()},
        every_step={n: v[known] for n, v in run.every_step.items()},
    )


@pytest.mark.parametrize("rule", PLANTED)
def test_a_run_that_grew_is_diagnosed_as_if_it_had_always_been_so_long(rule: str) -> None:
    run = changed(*PLANTED[rule])
    diagnosis = None
    for records in (1, 7, 20, 21, run.step.size):
        part = first_records(run, records)
        diagnosis = diagnose(part, diagnosis)
        assert diagnosis.findings == diagnose(part).findings
        assert diagnosis.not_evaluated == diagnose(part).not_evaluated


def test_steps_that_are_out_of_order_are_put_in_order() -> None:
    run = changed(*PLANTED["lr_jump"])
    order = np.argsort(-run.every_step["step"] % 7, kind="stable")
    mixed = replace(
        run,
        step=np.append(run.step[::-1], run.step[-1]),
        wall_time=np.append(run.wall_time[::-1], run.wall_time[-1]),
        statistics={n: np.append(v[::-1], v[-1:], axis=0) for n, v in run.statistics.items()},
        hyperparameters={
            n: np.append(v[::-1], v[-1:], axis=0) for n, v in run.hyperparameters.items()
        },
        every_step={n: v[order] for n, v in run.every_step.items()},
    )
    assert diagnose(mixed).findings == diagnose(run).findings != ()


def test_what_was_written_anew_is_computed_anew() -> None:
    healthy = make_run()
    earlier = diagnose(healthy)
    assert earlier.findings == ()
    # A restart writes the steps from 200 on again, later and otherwise.
    again = changed(statistic("dead_row_fraction", 1.0, of=["layers.0.weight"], from_step=200))
    later = replace(again, wall_time=np.where(again.step >= 200, 1, 0) + again.wall_time)
    assert diagnose(later, earlier).findings == diagnose(later).findings != ()


def test_another_model_is_computed_anew() -> None:
    run = changed(*PLANTED["dead_units"])
    renamed = replace(
        run, parameters=tuple(replace(p, name=f"model.{p.name}") for p in run.parameters)
    )
    assert diagnose(renamed, diagnose(run)).findings == diagnose(renamed).findings


# --- anything but clean -------------------------------------------------------------------------


@st.composite
def runs(draw: st.DrawFn) -> RecordedRun:
    """Runs with gaps, restarts, missing things, unknown optimizers and bad numbers."""
    if draw(st.booleans()):
        first = draw(st.sampled_from([1, 1000]))
        last = first + draw(st.sampled_from([0, 1, 60, 300]))
        run = make_run(last, 10, first, draw(st.sampled_from(["AdamW", "SGD", "NeverHeardOf"])))
    else:
        planted = st.sampled_from(sorted(PLANTED))
        run = changed(*PLANTED[draw(planted)], *PLANTED[draw(planted)])
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kept = random.random(run.step.size) < draw(st.sampled_from([1.0, 0.5, 0.0]))
    known = random.random(run.every_step["step"].size) < draw(st.sampled_from([1.0, 0.5, 0.0]))
    share = draw(st.sampled_from([0.0, 0.02, 1.0]))

    def spoil(values: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        bad = random.random(values.shape) < share
        return np.where(bad, random.choice(NASTY, values.shape), values).astype(values.dtype)

    def some(names: list[str]) -> set[str]:
        return set(names) - set(draw(st.lists(st.sampled_from(names), max_size=5)))

    statistics = some(sorted(run.statistics))
    settings_ = some(sorted(run.hyperparameters))
    counted = draw(st.sampled_from([1.0, 1.0, 2.0**40, -1.0]))  # -1: steps that descend
    columns = some(sorted(run.every_step)) | {"step"}
    groups = run.groups if draw(st.booleans()) else (Group("Other", {}), Group("Other", {}))
    others = draw(st.lists(st.sampled_from([0, 1]), min_size=len(run.names), max_size=20))
    return replace(
        run,
        parameters=tuple(
            replace(p, group=group) for p, group in zip(run.parameters, others, strict=False)
        ),
        groups=groups,
        step=run.step[kept] * counted,
        wall_time=spoil(run.wall_time[kept]),
        statistics={n: spoil(run.statistics[n][kept]) for n in sorted(statistics)},
        hyperparameters={n: spoil(run.hyperparameters[n][kept]) for n in sorted(settings_)},
        every_step={
            n: run.every_step[n][known] * counted
            if n == "step"
            else spoil(run.every_step[n][known])
            for n in sorted(columns)
        }
        if draw(st.booleans())
        else {},
        gradient_norms=draw(
            st.sampled_from(
                [None, RecordedNorms(np.array([300.0]), ("gone",), np.array([[math.nan]]))]
            )
        ),
    )


@settings(max_examples=150)
@given(runs())
def test_nothing_recorded_makes_a_rule_fail(run: RecordedRun) -> None:
    diagnosis = diagnose(run)
    evaluated = {rule.id for rule in RULES} - {rule.rule for rule in diagnosis.not_evaluated}
    for finding in diagnosis.findings:
        assert finding.rule in evaluated
        assert finding.text
        for sentence in (finding.text, finding.advice):
            said = MEANT.sub("", sentence)
            assert not NONSENSE.search(said), sentence
        assert set(finding.parameters) <= {*run.names, *(u.name for u in run.unoptimized)}
    assert diagnose(run, diagnosis).findings == diagnosis.findings


def test_nothing_at_all_is_no_failure() -> None:
    nothing = RecordedRun("nothing", (), (), np.empty(0), np.empty(0), {})
    assert diagnose(nothing).findings == ()
    no_parameters = replace(make_run(), parameters=(), statistics={}, groups=())
    assert diagnose(no_parameters).findings == ()


# --- parts --------------------------------------------------------------------------------------


def condition(holds: list[int], step: list[int] | None = None) -> Condition:
    flags = np.array(holds, bool)
    steps = np.arange(len(holds)) if step is None else np.array(step)
    values = np.arange(len(holds), dtype=float)
    return Condition(steps.astype(float), flags, values, 0.0, every_step=True)


def test_a_stretch_must_last() -> None:
    def spans(holds: list[int], points: int, gap: float = 0) -> list[tuple[int, int]]:
        found = find_stretches(condition(holds), Persistence(points), gap, 10)
        return [(s.first, s.last) for s in found]

    assert spans([0, 1, 1, 0, 1, 1, 1], 3) == [(4, 6)]
    assert spans([1, 1, 1], 3) == [(0, 2)]
    assert spans([1, 1, 0, 1, 1], 3) == []
    assert spans([1, 0, 0, 1], 1) == [(0, 0), (3, 3)]
    assert spans([1, 0, 0, 1], 1, gap=3) == [(0, 3)]
    assert spans([0, 0], 1) == []
    assert spans([1, 1], 3) == []


def test_a_stretch_must_span_steps() -> None:
    found = condition([1, 1, 1], [1, 2, 3])
    assert find_stretches(found, Persistence(3, steps=10), 0, 10) == []
    assert len(find_stretches(found, Persistence(3, steps=2), 0, 10)) == 1
    assert find_stretches(found, Persistence(4, steps=1), 0, 10) == []


def in_windows(step: Sequence[float], holds: Sequence[float], points: int) -> list[tuple[int, int]]:
    """Stretches of records; what is neither 0 nor 1 is not known."""
    known = np.array(holds)
    found = Condition(np.array(step), known == 1, np.where(known == 0.5, np.nan, known), 0.0)
    return [(s.first, s.last) for s in find_stretches(found, Persistence(points), 0, 10)]


def test_records_are_counted_in_windows_of_five_steps() -> None:
    every_step = [float(t) for t in range(1, 16)]
    assert in_windows(every_step, [1] * 15, 3) == [(0, 14)]
    assert in_windows(every_step[:10], [1] * 10, 3) == []
    # Most of a window is enough, and what does not hold is left out at the ends.
    most = [0, 0, 1, 1, 1, 1, 0, 1, 0, 1, 1, 1, 1, 0, 0]
    assert in_windows(every_step, most, 3) == [(2, 12)]
    few = [1, 1, 1, 1, 1, 1, 0, 1, 0, 0, 1, 1, 1, 1, 1]
    assert in_windows(every_step, few, 3) == []
    unknown = [0.5, 0.5, 0.5, 0.5, 1, 1, 0.5, 1, 0.5, 0, 1, 1, 0.5, 0.5, 0]
    assert in_windows(every_step, unknown, 3) == [(4, 11)]
    assert in_windows(every_step, [*unknown[:5], *[0.5] * 5, *unknown[10:]], 3) == []
    # Of two that differ the last one counts.
    assert in_windows([2, 5, 8, 10], [0, 1, 0, 1], 2) == [(1, 3)]
    assert in_windows([2, 5, 8, 10], [1, 0, 1, 0], 2) == []
    # Further apart each record is a window.
    assert in_windows([10, 60, 110], [1, 1, 1], 3) == [(0, 2)]
    assert in_windows([10, 60, 110], [1, 0, 1], 2) == []


def test_medians_are_those_of_the_last_windows() -> None:
    sparse, dense = np.arange(5.0, 101, 5), np.arange(1.0, 101)
    values = np.random.default_rng(0).random(100)
    found = recent_median(sparse, values[4::5], 4)
    assert np.isnan(found[:3]).all()
    expected = [np.median(values[4::5][i - 3 : i + 1]) for i in range(3, 20)]
    np.testing.assert_allclose(found[3:], expected)
    every = recent_median(dense, values, 4)
    assert np.isnan(every[:15]).all()
    assert every[99] == pytest.approx(np.median(values[80:]))
    assert every[97] == pytest.approx(np.median(values[80:98]))  # up to the record itself
    gaps = np.where((dense > 80) & (dense <= 85), np.nan, values)
    assert np.isnan(recent_median(dense, gaps, 4)[99])
    assert recent_median(dense, gaps, 4, least=3)[99] == pytest.approx(np.median(values[85:]))


def test_each_column_lasts_by_itself() -> None:
    holds = np.array([[1, 0], [0, 1], [1, 1]], bool)
    values = np.array([[5.0, 0.0], [0.0, 7.0], [9.0, 8.0]])
    two = Condition(10 * np.arange(3.0), holds, values, 0.0, (4, 6))
    (stretch,) = find_stretches(two, Persistence(2), 0, 10)
    assert (stretch.first, stretch.last, stretch.worst) == (1, 2, 2)
    assert stretch.columns.tolist() == [1]
    assert stretch.value == 8


def test_the_worst_point_is_a_number_where_there_is_one() -> None:
    values = np.array([3.0, math.inf, 7.0, math.nan])
    (stretch,) = find_stretches(
        Condition(np.arange(4.0), np.ones(4, bool), values, 1.0), Persistence(), 0, 10
    )
    assert (stretch.worst, stretch.value) == (2, 7)
    (stretch,) = find_stretches(
        Condition(np.arange(1.0), np.ones(1, bool), values[1:2], 1.0), Persistence(), 0, 10
    )
    assert stretch.value == math.inf


def test_too_many_stretches_are_one() -> None:
    holds = [1, 0, 0] * 5
    assert len(find_stretches(condition(holds), Persistence(), 0, 5)) == 5
    assert len(find_stretches(condition(holds), Persistence(), 0, 4)) == 1


@given(
    st.lists(
        st.lists(st.sampled_from([1.0, 2.0, 3.5, math.nan]), min_size=3, max_size=3), min_size=1
    )
)
def test_medians_leave_out_nan(rows: list[list[float]]) -> None:
    expected = [
        float(np.median(known)) if (known := [v for v in row if v == v]) else math.nan
        for row in rows
    ]
    np.testing.assert_array_equal(median(np.array(rows, np.float32)), expected)


def test_warmup_ends_where_the_learning_rate_stops_rising() -> None:
    def warmup(change: Change) -> float:
        return Signals(changed(change)).warmup_end

    assert warmup(column("lr", 1e-3)) == 0
    assert warmup(column("lr", lambda t: np.minimum(t, 40) * 1e-5)) == 40
    assert warmup(column("lr", lambda t: np.where(t < 200, 1e-3, 1e-1))) == 0


def test_names_that_differ_in_numbers_are_one() -> None:
    layers = [f"h.{i}.ln_1.bias" for i in range(12)]
    assert wording.named(layers, [*layers, "head"]) == "all 12 h.*.ln_1.bias"
    assert wording.named(layers[:3], layers) == "3 h.*.ln_1.bias"
    assert wording.named(["head"], layers) == "head"
    assert wording.named(["a", "b"], []) == "a and b"
    assert wording.named(["a", "b", "c", "d", "e"], []) == "a, b, c and 2 more"


def test_numbers_have_two_digits_that_count() -> None:
    shown = {0.08: "0.08", 3e-4: "3e-4", 1.23e-5: "1.2e-5", 0: "0", 65536: "6.6e4", 412.6: "413"}
    shown |= {99.4: "99", 99.6: "100", -2.5: "-2.5", math.inf: "∞", -math.inf: "-∞"}
    assert {value: wording.number(value) for value in shown} == shown
    assert wording.number(-0.0) == "0"
    assert [wording.percent(x) for x in (0.5, -1e-9, math.inf)] == ["50 %", "0 %", "∞ %"]
    assert [wording.decay(x) for x in (0.999, 0.95, 1 - 1e-5)] == ["0.999", "0.95", "0.99999"]
    assert wording.one_digit(3.33e-4) == 3e-4
    assert wording.decade_below(4e-5) == 1e-5


def test_the_synthetic_runs_have_every_statistic_that_rules_need() -> None:
    columns = {*schema.STEP_COLUMNS, *schema.OPTIONAL_STEP_COLUMNS}
    columns |= {"loss", "gradient_norm_before_clip", "loss_scale"}
    others = {"weight_decay", "eps", "beta1", "state_step"}
    assert set(STATISTICS_NEEDED) - columns - others <= set(make_run().statistics)
