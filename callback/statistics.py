"""The statistics of one step, from the elements that were read: pure functions.

The work is in two parts. On the device, :func:`row_sums` reduces each row of 256 elements to a few
sums, counts and maxima, for all parameters of a block at once. On the host, :func:`finish` adds
them up per parameter in float64 and completes the formulas of
:data:`tb_adam_plugin.schema.STATISTICS`.

Symbols: ``w`` weight, ``g`` gradient, ``m`` exp_avg, ``v`` exp_avg_sq, ``b`` weight before the
step, ``d`` the change the step made; ``m̂`` and ``v̂`` are bias-corrected, ``s = √v̂``. ``g'`` is the
gradient as it enters exp_avg: negated under maximize, and with ``weight_decay · b`` added where
weight decay is coupled. Everything that compares the gradient with a moment uses ``g'``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tb_adam_plugin import schema

from .optimizer_state.base import Formula

Values = npt.NDArray[np.float64]

_MEASURED = (
    "b²", "d²", "d·b", "g²", "max|d|", "max|w|", "max|g|", "w=0", "g=0", "d=0",
)  # fmt: skip
_MOMENTS = (
    "g'²", "m²", "m·g'", "v", "max|m|", "max v", "m=0", "v=0", "s<ε", "s<10ε", "m̂²/v̂",
    "(g'/max(s,ε))²", "(m̂/(s+ε))²", "v before",
)  # fmt: skip
ROW_VALUES = _MEASURED + _MOMENTS
_MAXIMA = frozenset(name for name in ROW_VALUES if name.startswith("max"))
_INDEX = {name: i for i, name in enumerate(ROW_VALUES)}
# The row value that counts the zeros of a quantity.
ZEROS = {"weight": "w=0", "gradient": "g=0", "update": "d=0", "exp_avg": "m=0", "exp_avg_sq": "v=0"}

# Added to the denominator where v is 0, so that such an element contributes nothing.
_HUGE = 1e30
# Smallest ε to divide by: the padding of a row is 0/ε, which must not become NaN.
_TINY = 1e-37


@dataclass(frozen=True, slots=True)
class Block:
    """A block's elements, each ``[rows, n]`` with zeros for padding. The moments may be missing."""

    before: Tensor
    weight: Tensor
    gradient: Tensor
    update: Tensor
    exp_avg: Tensor | None
    exp_avg_sq: Tensor | None


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Numbers of the formula, one of each per row: ``[rows, 1]``, as the elements' dtype."""

    inverse_bias_correction1: Tensor
    inverse_root_bias_correction2: Tensor
    eps: Tensor
    gradient_sign: Tensor
    coupled_weight_decay: Tensor


def coefficients(formulas: list[Formula], steps: Tensor) -> Tensor:
    """Return the fields of :class:`Coefficients` for each parameter.

    Args:
        formulas: One a parameter.
        steps: How many steps each has taken, float64 ``[parameters]``, on any device.

    Returns:
        float64 ``[fields, parameters]`` on the device of ``steps``. A parameter that has taken no
        step has ones for the bias corrections.
    """
    table = [[f.beta1, f.beta2, f.eps, f.gradient_sign, f.coupled_weight_decay] for f in formulas]
    beta1, beta2, *others = torch.tensor(table, dtype=torch.float64).T.to(steps.device)
    begun = steps > 0
    correction1 = torch.where(begun, 1 - beta1**steps, 1.0)
    correction2 = torch.where(begun, 1 - beta2**steps, 1.0)
    return torch.stack([1 / correction1, correction2.rsqrt(), *others])


def row_sums(
    block: Block, c: Coefficients | None, plain: bool, out: Tensor, scratch: Tensor
) -> None:
    """Reduce each row of a block.

    Args:
        block: What was read.
        c: Needed where the block has moments.
        plain: Whether g' is g for every parameter of the block.
        out: ``[len(ROW_VALUES), rows]``; filled, but for "v before" (and the other moments' rows
            where the block has none).
        scratch: ``[3, rows, n]``; overwritten.
    """
    t, e, s = scratch

    def put(name: str, values: Tensor) -> None:
        reduce = torch.amax if name in _MAXIMA else torch.sum
        reduce(values, 1, out=out[_INDEX[name]])

    b, w, g, d = block.before, block.weight, block.gradient, block.update
    for name, x, y in (("b²", b, b), ("d²", d, d), ("d·b", d, b), ("g²", g, g)):
        put(name, torch.mul(x, y, out=t))
    for name, x in (("max|d|", d), ("max|w|", w), ("max|g|", g)):
        put(name, torch.abs(x, out=t))
    for name, x in (("w=0", w), ("g=0", g), ("d=0", d)):
        put(name, torch.eq(x, 0, out=t))
    m, v = block.exp_avg, block.exp_avg_sq
    if m is None or v is None or c is None:
        return
    if plain:
        e = g
        out[_INDEX["g'²"]] = out[_INDEX["g²"]]
    else:
        torch.mul(b, c.coupled_weight_decay, out=e)
        e.addcmul_(g, c.gradient_sign)
        put("g'²", torch.mul(e, e, out=t))
    put("m²", torch.mul(m, m, out=t))
    put("m·g'", torch.mul(m, e, out=t))
    put("max|m|", torch.abs(m, out=t))
    put("m=0", torch.eq(m, 0, out=t))
    put("v", v)
    put("max v", v)
    torch.sqrt(v, out=s).mul_(c.inverse_root_bias_correction2)
    put("s<ε", torch.lt(s, c.eps, out=t))
    put("s<10ε", torch.lt(s, c.eps * 10, out=t))
    eps = c.eps.clamp_min(_TINY)
    torch.div(e, torch.maximum(s, eps, out=t), out=t)
    put("(g'/max(s,ε))²", t.mul_(t))
    # g' is not needed any more: its memory takes m̂.
    mhat = torch.mul(m, c.inverse_bias_correction1, out=scratch[1])
    put("v=0", torch.eq(v, 0, out=t))
    torch.div(mhat, torch.add(s, t, alpha=_HUGE, out=t), out=t)
    put("m̂²/v̂", t.mul_(t))
    torch.div(mhat, s.add_(eps), out=t)
    put("(m̂/(s+ε))²", t.mul_(t))


def row_second_moment_before(exp_avg_sq: Tensor, out: Tensor) -> None:
    """Put the sums of exp_avg_sq before the step where :func:`finish` looks for them.

    Args:
        exp_avg_sq: A block's elements, ``[rows, n]``.
        out: ``[len(ROW_VALUES), rows]``.
    """
    torch.sum(exp_avg_sq, 1, out=out[_INDEX["v before"]])


@dataclass(frozen=True, slots=True)
class ParameterSums:
    """What :func:`finish` needs of ``K`` parameters, on the host.

    Attributes:
        total: From :func:`add_up`.
        update_spread: From :func:`update_spread`.
        rows: Number of rows of each parameter, ``[K]``.
        elements: Of the whole parameter, ``[K]``.
        elements_read: How many of them the rows hold, ``[K]``.
        padding: How many elements of the parameter's rows are none of its own, ``[K]``.
        exact: Sums over all elements, for those of ``b²``, ``g²``, ``m²`` and ``v`` that are known:
            float64 ``[K]``, NaN-free where the values are finite.
        nonfinite: Elements of w, g, m and v that are not finite, over all elements, ``[K]``.
        has_gradient: ``[K]``.
        has_moments: ``[K]``.
        steps: Steps that the parameter has taken, ``[K]``.
        formulas: One a parameter; None for an unknown formula.
        second_moment_before_is_known: Whether "v before" was measured; else it is computed back.
    """

    total: Mapping[str, Values]
    update_spread: Values
    rows: npt.NDArray[np.int64]
    elements: npt.NDArray[np.int64]
    elements_read: npt.NDArray[np.int64]
    padding: npt.NDArray[np.int64]
    exact: Mapping[str, Values]
    nonfinite: Values
    has_gradient: npt.NDArray[np.bool_]
    has_moments: npt.NDArray[np.bool_]
    steps: Values
    formulas: list[Formula | None]
    second_moment_before_is_known: bool


def add_up(rows: npt.NDArray[Any], first_rows: npt.NDArray[np.int64]) -> dict[str, Values]:
    """Combine row values into one value a parameter: float64 ``[K]`` by name of the row value.

    Args:
        rows: From :func:`row_sums`, on the host.
        first_rows: Index of each parameter's first row, ``[K]``.
    """
    return {
        name: (np.maximum if name in _MAXIMA else np.add).reduceat(
            rows[i], first_rows, dtype=np.float64
        )
        for name, i in _INDEX.items()
    }


def update_spread(
    rows: npt.NDArray[Any], first_rows: npt.NDArray[np.int64], row_elements: npt.NDArray[np.int64]
) -> Values:
    """Return how much the rows of a parameter differ in Σd²: a sum of squared deviations, ``[K]``.

    Args:
        rows: From :func:`row_sums`, on the host.
        first_rows: Index of each parameter's first row, ``[K]``.
        row_elements: Elements of each row that are no padding, ``[rows]``.
    """
    squares = rows[_INDEX["d²"]].astype(np.float64)
    lengths = np.diff(np.append(first_rows, len(squares)))
    with np.errstate(all="ignore"):
        mean = np.add.reduceat(squares, first_rows) / np.add.reduceat(row_elements, first_rows)
        deviation = squares - np.repeat(mean, lengths) * row_elements
        return np.add.reduceat(deviation**2, first_rows)


def finish(p: ParameterSums) -> npt.NDArray[np.float32]:
    """Complete the formulas.

    Returns:
        float32 ``[K, len(schema.STATISTICS)]``; NaN where a statistic is not defined.
    """
    with np.errstate(all="ignore"):
        columns = {**_measured(p, p.total), **_of_moments(p, p.total)}
    for name in columns.keys() - {"nonfinite_count", "update_rms_standard_error"}:
        columns[name] = np.where(p.elements == 0, np.nan, columns[name])
    table = np.stack([columns[s.name] for s in schema.STATISTICS], axis=1)
    with np.errstate(over="ignore"):
        return table.astype(np.float32)


def _measured(p: ParameterSums, total: Mapping[str, Values]) -> dict[str, Values]:
    n, k = p.elements.astype(np.float64), p.elements_read.astype(np.float64)
    update_rms = np.sqrt(total["d²"] / k)
    weight_rms = np.sqrt(p.exact["b²"] / n)
    ratio = np.where(np.isfinite(update_rms), update_rms / weight_rms, np.nan)
    gradient = {
        "gradient_rms": np.sqrt(p.exact["g²"] / n),
        "gradient_absmax": total["max|g|"],
        "zero_gradient_fraction": (total["g=0"] - p.padding) / k,
    }
    return {
        "update_to_weight_ratio": ratio,
        "update_rms": update_rms,
        "update_absmax": total["max|d|"],
        "weight_rms": weight_rms,
        "weight_absmax": total["max|w|"],
        **{name: np.where(p.has_gradient, x, np.nan) for name, x in gradient.items()},
        "unchanged_fraction": (total["d=0"] - p.padding) / k,
        "update_weight_cosine": _cosine(total["d·b"], total["d²"], total["b²"]),
        "nonfinite_count": p.nonfinite,
        "update_rms_standard_error": _update_standard_error(p),
    }


def _of_moments(p: ParameterSums, total: Mapping[str, Values]) -> dict[str, Values]:
    n, k = p.elements.astype(np.float64), p.elements_read.astype(np.float64)
    beta1, beta2, coupled, decoupled = _formula_columns(p.formulas)
    t = p.steps
    correction1, correction2 = 1 - beta1**t, 1 - beta2**t
    normalized = np.sqrt(total["(m̂/(s+ε))²"] / k)
    decay = np.where(
        decoupled != 0,
        decoupled * np.sqrt(p.exact["b²"] / n) / normalized,
        coupled * np.sqrt(p.exact["b²"] / p.exact["g²"]),
    )
    v_before = np.where(
        t > 1,
        total["v before"]
        if p.second_moment_before_is_known
        else (total["v"] - (1 - beta2) * total["g'²"]) / beta2,
        np.nan,
    )
    moments = {
        "exp_avg_rms": np.sqrt(p.exact["m²"] / n) / np.abs(correction1),
        "exp_avg_absmax": total["max|m|"] / correction1,
        "exp_avg_sq_root": np.sqrt(p.exact["v"] / n / correction2),
        "exp_avg_sq_max": total["max v"] / correction2,
        "normalized_update_rms": normalized,
        "signal_to_noise": total["m̂²/v̂"] / (k - (total["v=0"] - p.padding)),
        "epsilon_fraction": (total["s<ε"] - p.padding) / k,
        "epsilon_10_fraction": (total["s<10ε"] - p.padding) / k,
        "zero_second_moment_fraction": (total["v=0"] - p.padding) / k,
    }
    with_gradient = {
        "gradient_surprise": np.sqrt(total["g'²"] / (v_before / (1 - beta2 ** (t - 1)))),
        "rms_t": np.sqrt(total["(g'/max(s,ε))²"] / k),
        "momentum_gradient_cosine": _lagged_cosine(p, total, beta1),
        "gradient_exp_avg_cosine": _cosine(total["m·g'"], total["m²"], total["g'²"]),
        "weight_decay_ratio": np.where(coupled + decoupled == 0, 0.0, decay),
    }
    both = p.has_moments & p.has_gradient
    return {
        **{name: np.where(p.has_moments, x, np.nan) for name, x in moments.items()},
        **{name: np.where(both, x, np.nan) for name, x in with_gradient.items()},
    }


def _lagged_cosine(p: ParameterSums, total: Mapping[str, Values], beta1: Values) -> Values:
    """Cosine of exp_avg before the step, (m - (1-β1)g')/β1, and g', from sums after the step."""
    a, mm, gg = total["m·g'"], total["m²"], total["g'²"]
    weight = 1 - beta1
    product = (a - weight * gg) / beta1
    before = (mm - 2 * weight * a + weight**2 * gg) / beta1**2
    return np.where(p.steps > 1, _cosine(product, before, gg), np.nan)


def _cosine(product: Values, first: Values, second: Values) -> Values:
    # Squares below this have lost digits in float32, so that the quotient would be noise.
    lost = np.minimum(first, second) < 1e-30
    return np.where(lost, np.nan, np.clip(product / np.sqrt(first * second), -1, 1))


def _update_standard_error(p: ParameterSums) -> Values:
    """Relative standard error of the update RMS, from how much its rows differ.

    Ratio estimator of a mean over rows drawn without replacement (Cochran, Sampling Techniques,
    chapter 6); a root has half the relative error.
    """
    k, rows = p.elements_read.astype(np.float64), p.rows.astype(np.float64)
    unread = 1 - k / p.elements
    variance = unread * rows / (rows - 1) * p.update_spread / k**2
    mean = p.total["d²"] / k
    error = np.where(mean > 0, 0.5 * np.sqrt(variance) / mean, 0.0)
    return np.where(p.elements_read == p.elements, 0.0, np.where(rows > 1, error, np.nan))


def _formula_columns(formulas: list[Formula | None]) -> list[Values]:
    nan = float("nan")
    table = [
        (nan,) * 4
        if f is None
        else (f.beta1, f.beta2, f.coupled_weight_decay, f.decoupled_weight_decay)
        for f in formulas
    ]
    return list(np.array(table, np.float64).reshape(-1, 4).T)
