"""AdamW in NumPy on synthetic gradients, with all numbers that are logged."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from generated_runs import Run

from tb_adam_plugin import schema
from tb_adam_plugin.schema import Parameter

BETA1, BETA2, EPS, WEIGHT_DECAY = 0.9, 0.999, 1e-8, 0.1
SPIKE = 30.0  # the factor of ``spike_at`` on a step's gradients

Array = npt.NDArray[np.float64]


class Adam:
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
        """Distance from the target, scaled like a cross-entropy; without NaN."""
        distance = np.where(self._mask, (self.w - self._target) / self._scale, np.nan)
        return float(0.3 + 20 * np.nanmean(distance**2) + 0.02 * self._random.normal())

    def gradient_norms(self) -> Array:
        """Norm of each parameter, over all elements, extrapolated from those that are read."""
        elements = np.array([p.elements for p in self._layout.parameters])
        norms: Array = np.sqrt(self._mean(self.g.astype(np.float64) ** 2) * elements)
        return norms

    def gradient_norm(self) -> float:
        """Norm over all parameters."""
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
            "dead_row_fraction": self._mean(g == 0),  # for rows of one element
            "idle_row_fraction": np.full(len(w), np.nan),  # for a vector
            "unchanged_fraction": self._mean(update == 0),
            "lost_update_fraction": self._mean((update == 0) & (m != 0)) / self._mean(m != 0),
            # For a weight whose last bit is rounded.
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
            # For an RMS of independent normal elements.
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


def _initial_weight(parameter: Parameter) -> tuple[float, float]:
    """Mean and standard deviation: norms start at one, biases at zero."""
    if len(parameter.shape) > 1:
        return 0.0, 0.05
    return (0.0, 0.0) if parameter.name.endswith("bias") else (1.0, 0.0)
