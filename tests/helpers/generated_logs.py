"""Realistic log folders without training: AdamW runs in NumPy on made-up gradients.

Every number that is logged is taken from one simulated optimizer, so that statistics, histograms,
hyperparameters and the rows of all steps agree with each other as those of a real run do. What is
made up is the model (names and shapes of a GPT or a CNN) and its gradients (a noisy pull towards a
hidden target). ``python tests/helpers/generated_logs.py FOLDER`` writes runs to look at.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from event_files import scalar_event, write_events

from tb_adam_plugin import schema
from tb_adam_plugin.callback.schedule.gradient_history import DETAILED_STEPS, KEPT_STEPS
from tb_adam_plugin.callback.write.event_log import EventLog
from tb_adam_plugin.schema import Columns, Group, Layout, Parameter, Unoptimized

START = 1_767_225_600.0  # wall time of step 0
SECONDS_A_STEP = 0.25
COLUMNS = Columns((*schema.STEP_COLUMNS, "loss"))
BETA1, BETA2, EPS, WEIGHT_DECAY = 0.9, 0.999, 1e-8, 0.1
SPIKE = 30.0  # the factor that ``spike_at`` puts on the gradients of a step

Array = npt.NDArray[np.float64]
_Shapes = list[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Run:
    """What to simulate.

    Attributes:
        architecture: Whose names and shapes.
        parameters: How many parameter tensors; the model gets as many blocks as that takes.
        steps: The last optimizer step.
        every: Logged are the steps 1, 2, 4 … 32 and the multiples of this.
        histogram_every: Histograms are logged at step 1 and at the logged multiples of this.
        seed: Runs of other seeds have other gradients.
        lr: At the end of the warmup, which takes a tenth of the run. A cosine to lr / 10 follows.
        elements_read: Larger tensors are sampled at so many elements.
        spike_at: A step whose gradients are ``SPIKE`` times as large.
        spike_in: The one parameter that the spike is in; of all by default.
        nan_at: A step from which on a part of the last parameter's gradient is NaN.
        follow_spike: Whether the gradient norms before the spike are logged, and the 16 steps after
            it in full, as the callback does.
    """

    architecture: Literal["gpt", "cnn"] = "gpt"
    parameters: int = 28
    steps: int = 200
    every: int = 5
    histogram_every: int = 20
    seed: int = 0
    lr: float = 3e-4
    elements_read: int = 256
    spike_at: int | None = None
    spike_in: str | None = None
    nan_at: int | None = None
    follow_spike: bool = False

    @property
    def layout(self) -> Layout:
        """The parameters; the second is one that no gradient reaches."""
        shapes = _gpt(self.parameters) if self.architecture == "gpt" else _cnn(self.parameters)
        parameters = [
            Parameter(
                name,
                shape,
                "float32",
                min(self.elements_read, math.prod(shape)),
                0 if len(shape) > 1 else 1,
            )
            for name, shape in shapes
        ]
        options = {"amsgrad": False, "maximize": False, "decoupled_weight_decay": True}
        return Layout(
            tuple(parameters),
            (Group("AdamW", options), Group("AdamW", options)),
            tuple(s.name for s in schema.STATISTICS),
            schema.QUANTITIES,
            (Unoptimized("frozen.weight", (16, 8), False),),
        )

    @property
    def logged_steps(self) -> list[int]:
        """Steps with statistics."""
        wanted = {1, 2, 4, 8, 16, 32}
        if self.follow_spike and self.spike_at is not None:
            wanted |= set(range(self.spike_at + 1, self.spike_at + DETAILED_STEPS + 1))
        return [t for t in range(1, self.steps + 1) if t in wanted or t % self.every == 0]

    @property
    def histogram_steps(self) -> list[int]:
        """Steps with histograms."""
        return [t for t in self.logged_steps if t == 1 or t % self.histogram_every == 0]


class Step(NamedTuple):
    """What is known of one step.

    Attributes:
        step: Its number.
        row: Of every step, float64 ``[columns]``.
        statistics: float32 ``[parameters, statistics]``, if it is logged.
        hyperparameters: float64 ``[groups, columns]``, if it is logged.
        counts: int64 ``[parameters, quantities, BINS + len(SPECIAL)]``, if it has histograms.
        norms: Of the gradients, float64 ``[parameters]``.
    """

    step: int
    row: Array
    statistics: npt.NDArray[np.float32] | None
    hyperparameters: Array | None
    counts: schema.Counts | None
    norms: Array


def simulate(run: Run) -> Iterator[Step]:
    """Train, and yield every step."""
    adam = _Adam(run)
    logged, with_histograms = set(run.logged_steps), set(run.histogram_steps)
    for t in range(1, run.steps + 1):
        lr = _lr(run, t)
        adam.step(t, lr)
        loss = adam.loss()
        row = [t, wall_time(t), adam.gradient_norm(), lr, 0.4, 0.0, 0.0, 1.0, loss]
        yield Step(
            t,
            np.array(row),
            adam.statistics(t, loss) if t in logged else None,
            adam.hyperparameters(lr) if t in logged else None,
            adam.counts() if t in with_histograms else None,
            adam.gradient_norms(),
        )


def write_run(folder: Path, run: Run | None = None, *, loss_writer: bool = True) -> Layout:
    """Write a run as the callback does, into ``folder/adam_debug``.

    Args:
        folder: The run's own folder, as given to a callback as ``log_dir``.
        run: What to simulate.
        loss_writer: Whether ``folder`` itself gets ``loss/train``, as from a SummaryWriter.
    """
    run = run or Run()
    layout = run.layout
    log = EventLog(folder)
    losses: dict[int, float] = {}
    rows: list[Array] = []
    norms: deque[Array] = deque(maxlen=KEPT_STEPS)
    for t, row, statistics, hyperparameters, counts, norms_now in simulate(run):
        rows.append(row)
        norms.append(norms_now)
        losses[t] = float(row[-1])
        if run.follow_spike and t == run.spike_at:
            names = [p.name for p in layout.parameters]
            steps = np.arange(t - len(norms) + 1, t + 1)
            around = schema.gradient_norms_tensor(names, steps, np.array(norms))
            log.write(t, wall_time(t), [around, schema.steps_tensor(COLUMNS, np.array(rows))])
            rows.clear()
        if statistics is None or hyperparameters is None:
            continue
        tensors = [
            schema.statistics_tensor(layout, statistics),
            schema.hyperparameters_tensor(layout, hyperparameters),
        ]
        if rows:
            tensors.append(schema.steps_tensor(COLUMNS, np.array(rows)))
        rows.clear()
        if counts is not None:
            tensors += schema.histogram_tensors(layout, counts)
        log.write(t, wall_time(t), tensors, {"adam_debug/lr/0": float(hyperparameters[0, 0])})
    if rows:
        log.write(run.steps, wall_time(run.steps), [schema.steps_tensor(COLUMNS, np.array(rows))])
    log.close()
    if loss_writer:
        write_events(folder, (scalar_event(t, {"loss/train": x}) for t, x in losses.items()))
    return layout


def wall_time(step: int) -> float:
    """When a step ended, seconds since the epoch."""
    return START + SECONDS_A_STEP * step


def main(arguments: Sequence[str]) -> None:
    """Write four runs that look different into the folder given."""
    folder = Path(arguments[0])
    for name, run in {
        "gpt-lr3e-4": Run(steps=1000, parameters=76),
        "gpt-lr3e-3": Run(steps=1000, parameters=76, lr=3e-3, spike_at=600),
        "cnn": Run(architecture="cnn", steps=1000, parameters=62, lr=1e-3),
        "cnn-nan": Run(architecture="cnn", steps=400, parameters=62, lr=1e-2, nan_at=333),
    }.items():
        write_run(folder / name, run)
        print(folder / name)


class _Adam:
    """AdamW on the sampled elements of all parameters at once: arrays ``[parameters, elements]``.

    Rows of smaller parameters are padded with zeros.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._layout = run.layout
        self._random = np.random.default_rng([run.seed, 0])
        parameters = self._layout.parameters
        self._read = np.array([p.elements_read for p in parameters])[:, None]
        self._mask = np.arange(self._read.max()) < self._read
        shape = self._mask.shape
        kinds = [_initial_weight(p) for p in parameters]
        mean, std = (np.array(x)[:, None] for x in zip(*kinds, strict=True))
        self._scale = np.where(std > 0, std, 0.05)
        self._decay = np.array([WEIGHT_DECAY if p.group == 0 else 0.0 for p in parameters])[:, None]
        self._gradient_scale = self._random.lognormal(-6, 1, (len(parameters), 1))
        self._gradient_scale[1] = 0.0
        w = mean + std * self._random.normal(size=shape)
        self._target = w + 0.3 * self._scale * self._random.normal(size=shape)
        zero = np.zeros(shape, np.float32)
        self.w = np.where(self._mask, w, 0).astype(np.float32)
        self.g, self.m, self.v, self.update = zero, zero, zero, zero
        self._before = self.w
        self._m_before, self._v_before = zero, zero

    def step(self, t: int, lr: float) -> None:
        noise = self._random.normal(size=self.w.shape)
        gradient = self._gradient_scale * ((self.w - self._target) / self._scale + noise)
        if t == self._run.spike_at:
            names = [p.name for p in self._layout.parameters]
            gradient[names.index(self._run.spike_in) if self._run.spike_in else ...] *= SPIKE
        if self._run.nan_at is not None and t >= self._run.nan_at:
            gradient[-1, :4] = np.nan
        self.g = np.where(self._mask, gradient, 0).astype(np.float32)
        self._before, self._m_before, self._v_before = self.w, self.m, self.v
        self.m = (BETA1 * self.m + (1 - BETA1) * self.g).astype(np.float32)
        self.v = (BETA2 * self.v + (1 - BETA2) * self.g**2).astype(np.float32)
        mhat, root = self._corrected(t)
        change = lr * (mhat / (root + EPS) + self._decay * self.w)
        self.w = (self.w - change).astype(np.float32)
        self.update = self.w - self._before

    def loss(self) -> float:
        """Distance from the target, as a cross-entropy would look; without what is NaN."""
        distance = np.where(self._mask, (self.w - self._target) / self._scale, np.nan)
        return float(0.3 + 20 * np.nanmean(distance**2) + 0.02 * self._random.normal())

    def gradient_norms(self) -> Array:
        """Of each parameter, over all elements: those read stand for the others."""
        elements = np.array([p.elements for p in self._layout.parameters])
        norms: Array = np.sqrt(self._mean(self.g.astype(np.float64) ** 2) * elements)
        return norms

    def gradient_norm(self) -> float:
        """Over all parameters."""
        return float(np.sqrt((self.gradient_norms() ** 2).sum()))

    def hyperparameters(self, lr: float) -> Array:
        return np.array([[lr, BETA1, BETA2, EPS, decay] for decay in (WEIGHT_DECAY, 0.0)])

    def counts(self) -> schema.Counts:
        arrays = {
            "exp_avg": self.m,
            "exp_avg_sq": self.v,
            "update": self.update,
            "weight": self.w,
            "gradient": self.g,
        }
        return np.array(
            [
                [
                    schema.count_values(arrays[q.name][row, :read], q)
                    for q in self._layout.quantities
                ]
                for row, read in enumerate(self._read[:, 0].tolist())
            ]
        )

    def statistics(self, t: int, loss: float) -> npt.NDArray[np.float32]:
        with np.errstate(all="ignore"):
            columns = self._statistics(t, loss)
        return np.stack([columns[s] for s in self._layout.statistics], axis=1).astype(np.float32)

    def _statistics(self, t: int, loss: float) -> dict[str, Array]:
        w, g, m, update, before = (
            x.astype(np.float64) for x in (self.w, self.g, self.m, self.update, self._before)
        )
        mhat, root = self._corrected(t)
        v_before = self._v_before / (1 - BETA2 ** (t - 1)) if t > 1 else np.full_like(w, np.nan)
        direction = mhat / (root + EPS)
        normalized = self._rms(direction)
        near = np.abs(direction)
        growth = np.where(self._v_before > 1e-6 * self.v, np.log(root**2 / v_before), np.nan)
        elements = np.array([p.elements for p in self._layout.parameters])
        squared_ratio = np.where(self.v > 0, mhat**2 / root**2, np.nan)
        parts = (self.w, self.g, self.m, self.v)
        unread = 1 - self._read[:, 0] / elements
        return {
            "update_to_weight_ratio": self._rms(update) / self._rms(before),
            "update_rms": self._rms(update),
            "update_absmax": self._absmax(update),
            "weight_rms": self._rms(before),
            "weight_absmax": self._absmax(w),
            "zero_weight_fraction": self._mean(w == 0),
            "gradient_rms": self._rms(g),
            "gradient_absmax": self._absmax(g),
            "gradient_kurtosis": self._mean(g**4) / self._mean(g**2) ** 2,
            "elasticity": elements * self._rms(g) * self._rms(before) / abs(loss),
            "exp_avg_rms": self._rms(mhat),
            "exp_avg_absmax": self._absmax(mhat),
            "exp_avg_sq_root": self._rms(root),
            "exp_avg_sq_max": self._absmax(root) ** 2,
            "normalized_update_rms": normalized,
            "update_bimodality": self._mean((near > 0.8) & (near < 1.25)),
            "second_moment_flicker": np.sqrt(
                np.nansum(growth**2, axis=1) / np.isfinite(growth).sum(axis=1)
            )
            / 2,
            "gradient_surprise": np.sqrt(self._mean(g**2) / self._mean(v_before)),
            "rms_t": self._rms(g / np.maximum(root, EPS)),
            "signal_to_noise": np.nansum(squared_ratio, axis=1) / (self.v > 0).sum(axis=1),
            "momentum_gradient_cosine": _cosine(self._m_before.astype(np.float64), g),
            "gradient_exp_avg_cosine": _cosine(m, g),
            "epsilon_fraction": self._mean(root < EPS),
            "epsilon_10_fraction": self._mean(root < 10 * EPS),
            "zero_second_moment_fraction": self._mean(self.v == 0),
            "zero_gradient_fraction": self._mean(g == 0),
            "dead_row_fraction": self._mean(g == 0),  # of rows of one element
            "unchanged_fraction": self._mean(update == 0),
            "lost_update_fraction": self._mean((update == 0) & (m != 0)) / self._mean(m != 0),
            # Of a weight whose last bit is rounded.
            "update_rounding_error": 2**-25 * self._rms(before) / self._rms(update),
            "update_slope": np.ones(len(w)),
            "second_moment_frozen_fraction": np.zeros(len(w)),
            "second_moment_underflow_fraction": self._mean((self.v == 0) & (g != 0)),
            "exp_avg_rounding_error": np.full(len(w), np.nan),
            "exp_avg_sq_rounding_error": np.full(len(w), np.nan),
            "weight_decay_ratio": np.where(
                self._decay[:, 0] > 0, self._decay[:, 0] * self._rms(before) / normalized, 0.0
            ),
            "update_weight_cosine": _cosine(update, before),
            "state_step": np.full(len(w), t, dtype=float),
            "nonfinite_count": np.sum([~np.isfinite(x) for x in parts], axis=(0, 2), dtype=float),
            # Of an RMS of independent normal elements.
            "update_rms_standard_error": np.sqrt(unread / (2 * self._read[:, 0])),
        }

    def _corrected(self, t: int) -> tuple[Array, Array]:
        mhat = self.m.astype(np.float64) / (1 - BETA1**t)
        return mhat, np.sqrt(self.v.astype(np.float64) / (1 - BETA2**t))

    def _mean(self, values: npt.NDArray[Any]) -> Array:
        mean: Array = np.where(self._mask, values, 0).sum(axis=1) / self._read[:, 0]
        return mean

    def _rms(self, values: Array) -> Array:
        root: Array = np.sqrt(self._mean(values**2))
        return root

    def _absmax(self, values: Array) -> Array:
        largest: Array = np.abs(np.where(self._mask, values, 0)).max(axis=1)
        return largest


def _cosine(a: Array, b: Array) -> Array:
    cosine: Array = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return cosine


def _lr(run: Run, t: int) -> float:
    warmup = max(1, run.steps // 10)
    if t <= warmup:
        return run.lr * t / warmup
    cosine = 0.5 * (1 + math.cos(math.pi * (t - warmup) / max(1, run.steps - warmup)))
    return run.lr * (0.1 + 0.9 * cosine)


def _initial_weight(parameter: Parameter) -> tuple[float, float]:
    """Mean and standard deviation: norms start at one, biases at zero."""
    if len(parameter.shape) > 1:
        return 0.0, 0.05
    return (0.0, 0.0) if parameter.name.endswith("bias") else (1.0, 0.0)


def _gpt(parameters: int) -> _Shapes:
    d = 64
    shapes: _Shapes = [("transformer.wte.weight", (512, d)), ("transformer.ln_0.weight", (d,))]
    block = 0
    while len(shapes) < parameters:
        for name, shape in (
            ("ln_1", (d,)),
            ("attn.c_attn", (3 * d, d)),
            ("attn.c_proj", (d, d)),
            ("ln_2", (d,)),
            ("mlp.c_fc", (4 * d, d)),
            ("mlp.c_proj", (d, 4 * d)),
        ):
            prefix = f"transformer.h.{block}.{name}"
            shapes += [(f"{prefix}.weight", shape), (f"{prefix}.bias", shape[:1])]
        block += 1
    return [*shapes[: parameters - 1], ("lm_head.weight", (512, d))]


def _cnn(parameters: int) -> _Shapes:
    shapes: _Shapes = [("conv1.weight", (64, 3, 3, 3)), ("bn1.weight", (64,)), ("bn1.bias", (64,))]
    block = 0
    while len(shapes) < parameters:
        width = 64 << min(block // 2, 3)
        prefix = f"layer{block // 2 + 1}.{block % 2}"
        for i in (1, 2):
            shapes += [
                (f"{prefix}.conv{i}.weight", (width, width, 3, 3)),
                (f"{prefix}.bn{i}.weight", (width,)),
                (f"{prefix}.bn{i}.bias", (width,)),
            ]
        block += 1
    return [*shapes[: parameters - 1], ("fc.weight", (10, 512))]


if __name__ == "__main__":
    main(sys.argv[1:])
