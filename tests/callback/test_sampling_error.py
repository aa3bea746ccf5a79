"""The sampling error of the update RMS: true for updates of every kind, or not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from tb_adam_plugin import schema
from tb_adam_plugin.callback.attach.watched_parameters import Watched
from tb_adam_plugin.callback.measure.measurement import Measurement
from tb_adam_plugin.callback.measure.native_pass import NativePass
from tb_adam_plugin.callback.measure.sampling_error import SampledRows, relative_errors
from tb_adam_plugin.callback.native import loading
from tb_adam_plugin.callback.optimizer_state.registry import adapter_for
from tb_adam_plugin.callback.read.rows import ROW
from tb_adam_plugin.callback.read.sampling import chosen_elements

Array = npt.NDArray[np.float64]
MOST = 16_384
SHAPE = (4096, 128)
SAMPLES = 150
STEPS = 6
NAMES = [statistic.name for statistic in schema.STATISTICS]


class Kind(NamedTuple):
    """A kind of gradients.

    Attributes:
        gradient: Of a step, made of random numbers and of which rows and columns are hot.
        most_unknown: The largest share of samples that may not know their error.
    """

    gradient: Callable[[np.random.Generator, Array], Array]
    most_unknown: float = 0.02


def _signs(random: np.random.Generator) -> Array:
    return random.choice([-1.0, 1.0], SHAPE)


def _hot_rows(count: int) -> Callable[[np.random.Generator, Array], Array]:
    """Rows that have thirty times the gradient, the same ones at each step."""

    def gradient(random: np.random.Generator, order: Array) -> Array:
        return random.standard_normal(SHAPE) * np.where(order < count, 30.0, 1.0)[:, None]

    return gradient


def _hot_columns(random: np.random.Generator, order: Array) -> Array:
    return random.standard_normal(SHAPE) * np.where(order[:128] % 32 == 0, 30.0, 1.0)


def _embedding(share: float) -> Callable[[np.random.Generator, Array], Array]:
    """Few rows have a gradient, others at each step."""

    def gradient(random: np.random.Generator, order: Array) -> Array:
        return random.standard_normal(SHAPE) * (random.random(len(order)) < share)[:, None]

    return gradient


def _words(random: np.random.Generator, order: Array) -> Array:
    """Rows whose shares of the steps fall as those of words do."""
    return random.standard_normal(SHAPE) * (random.random(len(order)) < 30 / (1 + order))[:, None]


KINDS: Mapping[str, Kind] = {
    "normal": Kind(lambda random, order: random.standard_normal(SHAPE)),
    "lognormal": Kind(lambda random, order: random.lognormal(0, 1, SHAPE) * _signs(random)),
    "heavy lognormal": Kind(lambda random, order: random.lognormal(0, 2, SHAPE) * _signs(random)),
    "Student's t, 3": Kind(lambda random, order: random.standard_t(3, SHAPE)),
    # Σg² of a few elements is as large as that of all others.
    "Student's t, 2": Kind(lambda random, order: random.standard_t(2, SHAPE), 0.1),
    "hot rows": Kind(_hot_rows(40)),
    # One row in a thousand: a sample may have none of them, and say so.
    "few hot rows": Kind(_hot_rows(4), 0.6),
    "a hot block": Kind(_hot_rows(1024)),
    "hot columns": Kind(_hot_columns),
    "embedding": Kind(_embedding(0.05)),
    "sparse embedding": Kind(_embedding(0.01)),
    "very sparse embedding": Kind(_embedding(0.001), 1.0),
    "words": Kind(_words, 0.1),
}
OPTIMIZERS: Mapping[str, Callable[[list[nn.Parameter]], Optimizer]] = {
    "SGD": lambda p: SGD(p, lr=0.01),
    "SGD, momentum": lambda p: SGD(p, lr=0.01, momentum=0.9),
    "AdamW": lambda p: AdamW(p, lr=1e-3, weight_decay=0.1),
    "RMSprop": lambda p: RMSprop(p, lr=1e-3),
}
# Each kind with two of the optimizers: all pairs take too long.
PAIRS = [
    (kind, [*OPTIMIZERS][(i + j) % len(OPTIMIZERS)]) for i, kind in enumerate(KINDS) for j in (0, 2)
]


class Found(NamedTuple):
    """What samples say of one update: how far off they are, and the error that they know."""

    missed_by: Array
    said: Array


def samples_of(weight: nn.Parameter, optimizer: Optimizer, take_step: Callable[[], None]) -> Found:
    """Measure one step of a weight through the samples of many names."""
    watched = [Watched(f"layer.{i}.weight", weight, 0) for i in range(SAMPLES)]
    measurement = Measurement(watched, adapter_for(optimizer), MOST)
    before = weight.detach().clone()
    with torch.no_grad():
        measurement.before_step()
        take_step()
        table = measurement.after_step(with_histograms=False).statistics.astype(np.float64)
    truth = float((weight.detach() - before).double().square().mean().sqrt())
    rms, said = (table[:, NAMES.index(n)] for n in ("update_rms", "update_rms_standard_error"))
    return Found(rms / truth - 1, said)


def trained(kind: str, optimizer: str, steps: int) -> tuple[nn.Parameter, Optimizer]:
    """Return a weight and its optimizer before the last of some steps, with its gradient."""
    random = np.random.default_rng([ord(letter) for letter in kind + optimizer])
    order = random.permutation(SHAPE[0]).astype(np.float64)
    if kind == "a hot block":
        order.sort()
    weight = nn.Parameter(torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)) * 0.05)
    optimizing = OPTIMIZERS[optimizer]([weight])
    for step in range(steps):
        if step:
            optimizing.step()
        weight.grad = torch.from_numpy(KINDS[kind].gradient(random, order)).float()
    return weight, optimizing


@pytest.mark.parametrize(("kind", "optimizer"), PAIRS)
def test_the_error_covers_the_truth_or_is_not_known(kind: str, optimizer: str) -> None:
    weight, optimizing = trained(kind, optimizer, STEPS)
    missed_by, said = samples_of(weight, optimizing, lambda: optimizing.step() and None)
    is_known = ~np.isnan(said)
    assert 1 - is_known.mean() <= KINDS[kind].most_unknown
    if is_known.any():
        # 1e-6 is what the sums of float32 differ by, where the error is known exactly.
        within = np.abs(missed_by[is_known]) <= 2 * said[is_known] + 1e-6
        assert within.mean() >= 0.9


@pytest.mark.parametrize("optimizer", ["SGD", "SGD, momentum"])
@pytest.mark.parametrize("kind", ["normal", "lognormal", "hot rows", "a hot block", "embedding"])
def test_the_error_is_no_larger_than_it_has_to_be(kind: str, optimizer: str) -> None:
    weight, optimizing = trained(kind, optimizer, STEPS)
    missed_by, said = samples_of(weight, optimizing, lambda: optimizing.step() and None)
    real = np.sqrt(np.mean(missed_by**2))
    assert real > 0.002
    assert np.sqrt(np.mean(said**2)) == pytest.approx(real, rel=0.25)


# --- by another computation ---


def refitted(weight: Array, sums: Array, exact: Array, unread: float) -> float:
    """The error by regressions that are made anew without each row.

    Args:
        weight: Elements of each row over their average, ``[rows]``.
        sums: Σd², Σg² and Σm² of each row, ``[3, rows]``.
        exact: What a row of average length would have of the whole parameter's g² and m².
        unread: Share of the elements that are not read.
    """
    n = len(weight)
    x = np.stack([weight, *sums[1:]], 1) / np.append(1.0, sums[1:].mean(1))
    whole = np.append(1.0, exact / sums[1:].mean(1))
    y = sums[0] / sums[0].mean()
    variance = 0.0
    # What each row adds to the estimate: it is linear in y.
    shares = whole @ np.linalg.pinv(x)
    for i in range(n):
        others = np.arange(n) != i
        without = np.linalg.lstsq(x[others], y[others], rcond=None)[0]
        variance += (shares[i] * (y[i] - x[i] @ without)) ** 2
    estimate = float(whole @ np.linalg.lstsq(x, y, rcond=None)[0])
    noise = 0.5 * np.sqrt(unread * variance) / estimate
    return float(np.hypot(np.sqrt(1 / estimate) - 1, noise))


@pytest.mark.parametrize("way", ["torch", "native"])
# Rows of one length; and a short last one, whose share of the slopes is another one here.
@pytest.mark.parametrize(
    ("elements", "most", "close"), [(40_000, 4096, 1e-3), (40_011, 4090, 0.02)]
)
def test_the_error_is_that_of_regressions_made_anew_without_each_row(
    monkeypatch: pytest.MonkeyPatch, way: str, elements: int, most: int, close: float
) -> None:
    if way == "torch":
        monkeypatch.setenv(loading.VARIABLE, "0")
    elif loading.find_kernel() is None:
        pytest.skip("the native kernel was not built: there is no C compiler")
    random = np.random.default_rng(elements)
    names, weights = ["first", "read whole", "second"], []
    for n in (elements, 300, elements):
        weights.append(nn.Parameter(torch.from_numpy(random.standard_normal(n)).float()))
    optimizer = Adam(weights, lr=0.01)
    watched = [Watched(name, w, 0) for name, w in zip(names, weights, strict=True)]
    measurement = Measurement(watched, adapter_for(optimizer), most)
    assert isinstance(measurement._reduction, NativePass) == (way == "native")
    for _ in range(4):
        for w in weights:
            size = np.repeat(random.lognormal(0, 1, len(w) // 50 + 1), 50)[: len(w)]
            w.grad = torch.from_numpy(random.standard_normal(len(w)) * size).float()
        before = [w.detach().double().numpy() for w in weights]
        with torch.no_grad():
            measurement.before_step()
            optimizer.step()
            table = measurement.after_step(with_histograms=False).statistics
    found = table[:, NAMES.index("update_rms_standard_error")]
    assert found[1] == 0
    for i in (0, 2):
        w = weights[i]
        assert w.grad is not None
        squares = np.stack(
            [
                (w.detach().double().numpy() - before[i]) ** 2,
                w.grad.double().numpy() ** 2,
                optimizer.state[w]["exp_avg"].double().numpy() ** 2,
            ]
        )
        chosen = chosen_elements(names[i], len(w), most)
        assert chosen is not None
        rows = [chosen[at : at + ROW] for at in range(0, len(chosen), ROW)]
        sums = np.stack([squares[:, row].sum(1) for row in rows], 1)
        lengths = np.array([len(row) for row in rows]) * len(rows) / len(chosen)
        exact = squares[1:].mean(1) * len(chosen) / len(rows)
        expected = refitted(lengths, sums, exact, 1 - len(chosen) / len(w))
        assert 0.001 < expected < 0.2
        assert found[i] == pytest.approx(expected, rel=close, abs=1e-5)
    assert found[0] != found[2]


# --- what a sample cannot tell ---


def error_of(
    update: Array, gradient: Array, exp_avg: Array, exact: tuple[float, float], times: float = 100.0
) -> float:
    """The error of a parameter that is so many times as large as its sample, among two others.

    Args:
        update: Σd² of its rows. Likewise the next two.
        gradient: Σg².
        exp_avg: Σm².
        exact: Of both what a row has of all elements.
        times: How much of the parameter is read.
    """
    squares = np.stack([update, gradient, exp_avg])
    n = squares.shape[1]
    random = np.random.default_rng(2)
    other = np.broadcast_to(random.random(9) + 1, (3, 9))
    rows = SampledRows(
        np.array([0, 3, 4]),
        np.concatenate([other, squares, other], 1),
        np.array([0, 9, 9 + n]),
        np.full(n + 18, ROW),
    )
    sums = np.array([[13.0, exact[0] * n, 14.0], [13.0, exact[1] * n, 14.0]])
    sums *= np.array([50.0, times, 50.0])
    elements = (np.array([9, n, 9]) * ROW * np.array([50.0, times, 50.0])).astype(np.int64)
    found = relative_errors(rows, sums, elements)
    assert np.isfinite(found[[0, 2]]).all()
    return float(found[1])


ROWS = 64
NONE = np.zeros(ROWS)
NOISE = 1 + 0.1 * np.random.default_rng(0).standard_normal((3, ROWS))


def one_at(position: int, value: float = 1.0) -> Array:
    return np.where(np.arange(ROWS) == position, value, 0.0)


def test_an_update_like_the_gradient_is_known_as_well_as_its_rounding() -> None:
    gradient = NOISE[1]
    assert error_of(gradient, gradient, NONE, (gradient.mean() * 1.21, 0)) == pytest.approx(
        1 - 1 / 1.1, rel=1e-6
    )


def test_a_sample_without_the_rows_that_have_a_gradient_does_not_know() -> None:
    assert np.isnan(error_of(NONE, NONE, NONE, (0.5, 0)))
    assert np.isnan(error_of(NOISE[0], NONE, NONE, (0.5, 0)))  # moved by weight decay alone
    assert np.isnan(error_of(NOISE[0], NOISE[1], NONE, (1.0, 0.5)))
    assert np.isfinite(error_of(NOISE[0], NOISE[1], NONE, (1.0, 0)))


def test_a_sample_with_one_row_that_has_a_gradient_does_not_know() -> None:
    assert np.isnan(error_of(one_at(5), one_at(5), NONE, (1 / ROWS, 0)))
    two = one_at(5) + one_at(40)
    assert np.isfinite(error_of(two, two, NONE, (2 / ROWS, 0)))


def test_a_sample_far_from_the_whole_does_not_know() -> None:
    """Where the other rows have a thousand times the gradient, nothing says how they move."""
    assert np.isnan(error_of(NOISE[0], NOISE[1], NONE, (1000.0, 0)))
    # Nor where the slope is known to a factor of two, and is all that tells.
    noise = 0.1 * np.random.default_rng(3).standard_normal(ROWS)
    for slope, is_known in ((0.2, True), (0.1, False)):
        update = 1 + slope * (NOISE[1] - 1) + noise
        assert np.isfinite(error_of(update, NOISE[1], NONE, (100.0, 0))) == is_known
    # Without spread there is no slope at all.
    assert np.isnan(error_of(NOISE[0], np.ones(ROWS), NONE, (1.5, 0)))
    assert np.isfinite(error_of(NOISE[0], np.ones(ROWS), NONE, (1.001, 0)))


def test_two_moments_that_say_the_same_of_the_sample_have_to_say_it_of_the_whole() -> None:
    g = NOISE[1]
    alike = error_of(g * NOISE[0], g, 0.01 * g, (1.1 * g.mean(), 0.011 * g.mean()))
    assert alike == pytest.approx(error_of(g * NOISE[0], g, NONE, (1.1 * g.mean(), 0.0)), rel=1e-9)
    assert np.isnan(error_of(g * NOISE[0], g, 0.01 * g, (1.1 * g.mean(), 0.02 * g.mean())))


def test_few_rows_do_not_know() -> None:
    first, second = NOISE[0], NOISE[1]
    for n, is_known in ((1, False), (2, False), (7, False), (8, True)):
        found = error_of(first[:n], second[:n], np.zeros(n), (1.0, 0))
        assert np.isfinite(found) == is_known


def test_without_sums_over_all_elements_rows_have_to_be_alike() -> None:
    nan, inf = float("nan"), float("inf")
    for exact in ((nan, nan), (inf, 0), (1e-40, 0)):
        found = error_of(NOISE[0], NOISE[1], NONE, exact)
        expected = 0.5 * np.std(NOISE[0] / NOISE[0].mean()) / np.sqrt(ROWS)
        assert found == pytest.approx(expected, rel=0.05)
        assert np.isnan(error_of(one_at(3, 40) + NOISE[0], NOISE[1], NONE, exact))
    overflown = NOISE[1] + one_at(7, inf)
    assert np.isfinite(error_of(NOISE[0], overflown, NONE, (1.0, 0)))
    assert np.isnan(error_of(NOISE[0] + one_at(7, inf), NOISE[1], NONE, (1.0, 0)))


def test_where_nothing_can_move_there_is_no_error() -> None:
    assert error_of(NONE, NONE, NONE, (0, 0)) == 0
    assert np.isnan(error_of(NONE, NOISE[1], NONE, (1, 0)))  # lost in rounding, as far as is seen


@pytest.mark.parametrize(("lr", "is_known"), [(0.0, True), (1e-12, False)])
def test_with_a_step_size_of_0_there_is_no_error(lr: float, is_known: bool) -> None:
    weight = nn.Parameter(torch.ones(40_000))
    optimizer = SGD([weight], lr=lr)
    weight.grad = torch.randn(40_000, generator=torch.Generator().manual_seed(0))
    measurement = Measurement([Watched("w", weight, 0)], adapter_for(optimizer), 4096)
    with torch.no_grad():
        measurement.before_step()
        optimizer.step()
        table = measurement.after_step(with_histograms=False).statistics
    assert table[0, NAMES.index("update_rms")] == 0
    error = table[0, NAMES.index("update_rms_standard_error")]
    assert error == 0 if is_known else np.isnan(error)
