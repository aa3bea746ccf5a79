"""Adam and AdamW in float64 NumPy, written from the papers and independent of the product.

Kingma & Ba 2015 (algorithm 1), Reddi et al. 2018 (amsgrad), Loshchilov & Hutter 2019 (decoupled
weight decay). Then, from the arrays of a step, every statistic by its definition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Hyperparameters:
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False
    amsgrad: bool = False
    maximize: bool = False


@dataclass(frozen=True)
class Step:
    """One parameter around one step."""

    h: Hyperparameters
    t: int
    weight_before: Array
    weight: Array
    gradient: Array
    averaged_gradient: Array  # as it enters the averages
    exp_avg_before: Array
    exp_avg: Array
    exp_avg_sq: Array  # the average itself
    second_before: Array  # what the denominator was computed from, one step ago
    second: Array  # what the denominator is computed from


def run_adam(weight: Array, gradients: list[Array], h: Hyperparameters) -> list[Step]:
    m, v, largest = (np.zeros_like(weight) for _ in range(3))
    steps = []
    for t, gradient in enumerate(gradients, 1):
        before, m_before = weight, m
        second_before = largest if h.amsgrad else v
        g = -gradient if h.maximize else gradient
        if h.decoupled:
            weight = weight - h.lr * h.weight_decay * weight
        else:
            g = g + h.weight_decay * before
        m = h.beta1 * m + (1 - h.beta1) * g
        v = h.beta2 * v + (1 - h.beta2) * g**2
        largest = np.maximum(largest, v)
        second = largest if h.amsgrad else v
        m_hat = m / (1 - h.beta1**t)
        v_hat = second / (1 - h.beta2**t)
        weight = weight - h.lr * m_hat / (np.sqrt(v_hat) + h.eps)
        steps.append(Step(h, t, before, weight, gradient, g, m_before, m, v, second_before, second))
    return steps


def statistics(s: Step, loss: float) -> dict[str, float]:
    """Every column of the statistics, by definition, for parameters that are read whole."""
    h, t = s.h, s.t
    update = s.weight - s.weight_before
    g = s.averaged_gradient
    m_hat = s.exp_avg / (1 - h.beta1**t)
    v_hat = s.second / (1 - h.beta2**t)
    root = np.sqrt(v_hat)
    normalized = m_hat / (root + h.eps)
    seen = s.second > 0
    decoupled = h.weight_decay if h.decoupled else 0.0
    requested = -h.lr * (normalized + decoupled * s.weight_before)
    near = np.abs(normalized)
    rows = (s.gradient != 0).reshape(len(s.gradient) if s.gradient.ndim else 1, -1)
    moves, has_gradient = requested != 0, s.gradient != 0
    with np.errstate(all="ignore"):
        before = s.second_before / (1 - h.beta2 ** (t - 1))
        surprise = float(np.sqrt(np.sum(g**2) / np.sum(before))) if t > 1 else float("nan")
        both = s.second_before > 1e-6 * s.second
        growth = np.log(v_hat[both] / before[both])
        flicker = float(np.sqrt(np.mean(growth**2)) / 2) if t > 1 else float("nan")
        if h.weight_decay == 0:
            decay = 0.0
        elif h.decoupled:
            decay = h.weight_decay * norm(s.weight_before) / norm(normalized)
        else:
            decay = h.weight_decay * norm(s.weight_before) / norm(s.gradient)
        return {
            "update_to_weight_ratio": rms(update) / rms(s.weight_before),
            "update_rms": rms(update),
            "update_absmax": absmax(update),
            "weight_rms": rms(s.weight_before),
            "weight_absmax": absmax(s.weight),
            "zero_weight_fraction": float(np.mean(s.weight == 0)),
            "gradient_rms": rms(s.gradient),
            "gradient_absmax": absmax(s.gradient),
            "gradient_kurtosis": float(np.mean(s.gradient**4) / np.mean(s.gradient**2) ** 2),
            "elasticity": norm(s.gradient) * norm(s.weight_before) / abs(loss),
            "exp_avg_rms": rms(m_hat),
            "exp_avg_absmax": absmax(m_hat),
            "exp_avg_sq_root": float(np.sqrt(np.mean(v_hat))),
            "exp_avg_sq_max": float(v_hat.max()),
            "normalized_update_rms": rms(normalized),
            "update_bimodality": float(np.mean((near > 0.8) & (near < 1.25))),
            "gradient_surprise": surprise,
            "rms_t": float(np.sqrt(np.mean(g**2 / np.maximum(v_hat, h.eps**2)))),
            "second_moment_flicker": flicker,
            "signal_to_noise": float(np.mean(m_hat[seen] ** 2 / v_hat[seen])),
            "momentum_gradient_cosine": cosine(s.exp_avg_before, g) if t > 1 else float("nan"),
            "gradient_exp_avg_cosine": cosine(s.exp_avg, g),
            "epsilon_fraction": float(np.mean(root < h.eps)),
            "epsilon_10_fraction": float(np.mean(root < 10 * h.eps)),
            "zero_second_moment_fraction": float(np.mean(s.second == 0)),
            "zero_gradient_fraction": float(np.mean(s.gradient == 0)),
            "dead_row_fraction": float(np.mean(~rows.any(axis=1))),
            "idle_row_fraction": float("nan"),  # there are fewer than 16 records
            "unchanged_fraction": float(np.mean(update == 0)),
            "lost_update_fraction": float(np.mean(update[moves] == 0)),
            "update_rounding_error": norm(update - requested) / norm(requested),
            "update_slope": float(np.sum(update * requested) / np.sum(requested**2)),
            "second_moment_frozen_fraction": 0.0,
            "second_moment_underflow_fraction": float(np.mean(s.second[has_gradient] == 0)),
            "exp_avg_rounding_error": float("nan"),
            "exp_avg_sq_rounding_error": float("nan"),
            "weight_decay_ratio": decay,
            "update_weight_cosine": cosine(update, s.weight_before),
            "nonfinite_count": 0.0,
            "state_step": float(t),
            "update_rms_standard_error": 0.0,
        }


def norm(x: Array) -> float:
    return float(np.sqrt(np.sum(x**2)))


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


def absmax(x: Array) -> float:
    return float(np.abs(x).max())


def cosine(x: Array, y: Array) -> float:
    return float(np.sum(x * y) / (norm(x) * norm(y)))
