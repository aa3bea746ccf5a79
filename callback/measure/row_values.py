"""The statistics of one step, from the elements that were read: pure functions.

The work is in two parts. On the device, :func:`row_sums` reduces each row of 256 elements to a few
sums, counts and maxima, for all parameters of a block at once. On the host, :func:`finish` adds
them up per parameter in float64 and completes the formulas of
:data:`tb_adam_plugin.schema.STATISTICS`.

Symbols: ``w`` weight, ``g`` gradient, ``m`` exp_avg, ``v`` exp_avg_sq, ``b`` weight before the
step, ``d`` the change the step made; ``m̂`` and ``v̂`` are bias-corrected, ``s = √v̂``. ``g'`` is the
gradient as it enters the moments: negated under maximize, and with ``weight_decay · b`` added where
weight decay is coupled. Everything that compares the gradient with a moment uses ``g'``. ``n`` is
the direction of :mod:`..optimizer_state.base` (Adam: m̂/(s+ε)) and ``r`` the update that was
requested, ``-lr·(n + weight_decay·b)``: ``d`` is what the weights' precision left of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tb_adam_plugin import schema

from ..memory.to_host import on_device
from ..optimizer_state.base import OptimizerState, Rows
from ..optimizer_state.coefficients import COEFFICIENTS, Coefficients
from .row_reductions import both, compare, dot, largest_magnitude, may_hold, put_counts

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_MEASURED = (
    "b²", "d²", "d·b", "g²", "g⁴", "max|d|", "max|w|", "max|g|", "w=0", "g=0", "d=0",
)  # fmt: skip
_MOMENTS = (
    "g'²", "m²", "m·g'", "v", "max|m|", "max v", "m=0", "v=0", "s<ε", "s<10ε", "m̂²/v̂",
    "(g'/max(s,ε))²", "v before", "v<tiny, g≠0", "v frozen", "(ln v̂/v̂ before)²", "v before≠0",
)  # fmt: skip
_REQUESTED = ("n²", "n≈±1", "n=0", "r²", "(d-r)²", "r≠0", "r≠0, d=0")
_ROUNDING = ("(m-exact)²", "exact m²", "(v-exact)²", "exact v²")
ROW_VALUES = _MEASURED + _MOMENTS + _REQUESTED + _ROUNDING
MAXIMA = frozenset(name for name in ROW_VALUES if name.startswith("max"))
_INDEX = {name: i for i, name in enumerate(ROW_VALUES)}
# The row value that counts the zeros of a quantity.
ZEROS = {
    "weight": "w=0", "gradient": "g=0", "update": "d=0", "exp_avg": "m=0", "exp_avg_sq": "v=0",
    "normalized_update": "n=0",
}  # fmt: skip

# Smallest ε to divide by: the padding of a row is 0/ε, which must not become NaN.
TINY = 1e-37
# Below this share of v, float32 cannot tell what v was before the step from zero.
LEAST_BEFORE = 1e-6
# Normalized updates of either sign that count as ±1.
NEAR_ONE = (0.8, 1.25)


@dataclass(frozen=True, slots=True)
class Block:
    """A block's elements, each ``[rows, n]`` with zeros for padding. The moments may be missing.

    ``moments_before`` has, by "exp_avg" and "exp_avg_sq", those before the step that are known.
    """

    before: Tensor
    weight: Tensor
    gradient: Tensor
    update: Tensor
    exp_avg: Tensor | None
    exp_avg_sq: Tensor | None
    others: Mapping[str, Tensor]
    moments_before: Mapping[str, Tensor]


class RowCoefficients:
    """Numbers of the formula for every row, from those of every parameter."""

    def __init__(self, c: Coefficients, row_parameter: Tensor, dtype: torch.dtype) -> None:
        """Spread the numbers.

        Args:
            c: float64 ``[parameters]``.
            row_parameter: Index of each row's parameter, ``[rows]``, on the elements' device.
            dtype: Of the elements.
        """
        by_parameter = torch.stack([getattr(c, name) for name in COEFFICIENTS] + [*c.own.values()])
        # A device may have no float64.
        table = on_device(by_parameter.to(dtype), row_parameter.device)
        table[COEFFICIENTS.index("denominator_constant")].clamp_(min=TINY)
        self._own = tuple(c.own)
        self._constants = c.constants
        self._table = table[:, row_parameter, None]

    def of(self, rows: slice) -> Coefficients:
        """Return the numbers of some rows, ``[rows, 1]``."""
        columns = self._table[:, rows]
        own = dict(zip(self._own, columns[len(COEFFICIENTS) :], strict=True))
        named = dict(zip(COEFFICIENTS, columns, strict=False))
        return Coefficients(**named, own=own, constants=self._constants)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to compute of a block, decided on the host.

    Attributes:
        plain_gradient: Whether g' is g for every parameter.
        has_weight_decay: Whether any parameter has decoupled weight decay.
        knows_update: Whether the update of each element is known.
        counts_direction: Whether its zeros are to be counted, for a histogram.
        half_precision: Half-precision types in which exp_avg_sq of some parameter is stored, each
            with the rows of those parameters: bool ``[rows, 1]``.
        rounded_after: By "exp_avg" and "exp_avg_sq", the rows in which the step used the moment
            before it was rounded to what is stored: bool ``[rows, 1]``.
    """

    plain_gradient: bool
    has_weight_decay: bool
    knows_update: bool
    counts_direction: bool
    half_precision: Mapping[torch.dtype, Tensor]
    rounded_after: Mapping[str, Tensor]

    def of_rows(self, rows: slice) -> Plan:
        """Return the plan of some rows."""
        return replace(
            self,
            half_precision={key: table[rows] for key, table in self.half_precision.items()},
            rounded_after={key: table[rows] for key, table in self.rounded_after.items()},
        )


SCRATCH = 4
MASKS = 9


@np.errstate(all="ignore")
def row_sums(
    block: Block,
    state: OptimizerState,
    c: Coefficients,
    smallest_normal: Tensor,
    plan: Plan,
    out: Tensor,
    scratch: Tensor,
    masks: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """Reduce each row of a block.

    Args:
        block: What was read.
        state: Of the optimizer.
        c: The numbers of the rows, ``[rows, 1]``.
        smallest_normal: Of the type in which exp_avg_sq is stored, ``[rows, 1]``.
        plan: What to compute.
        out: ``[len(ROW_VALUES), rows]``. What is not computed keeps its values.
        scratch: ``[SCRATCH, rows, n]``; overwritten.
        masks: bool ``[MASKS, rows, n]``; overwritten.

    Returns:
        g' of each element, ``[rows, n]``, part of ``scratch`` or of ``block``; and the direction
        likewise, or None where it is not known.
    """
    t, s, n, e = scratch.unbind(0)
    d_is_zero, *free, mask = masks.unbind(0)
    # Masks are counted together, because each call has its cost, and used again after that.
    counted = [_INDEX["d=0"]]

    def mask_of(name: str) -> Tensor:
        counted.append(_INDEX[name])
        return free[len(counted) - 2]

    put = dict(zip(ROW_VALUES, out.unbind(0), strict=True))
    b, w, g, d = block.before, block.weight, block.gradient, block.update
    dot(b, b, put["b²"])
    dot(d, d, put["d²"])
    dot(d, b, put["d·b"])
    dot(g, g, put["g²"])
    # In units of the row's Σg², because the fourth power leaves the range of float32.
    torch.mul(g, g, out=t).mul_(put["g²"].clamp(min=TINY).reciprocal_()[:, None])
    dot(t, t, put["g⁴"])
    for name, x in (("max|d|", d), ("max|w|", w), ("max|g|", g)):
        largest_magnitude(x, put[name])
    compare("equal", w, 0, mask_of("w=0"))
    g_is_zero = compare("equal", g, 0, mask_of("g=0"))
    compare("equal", d, 0, d_is_zero)
    if plan.plain_gradient:
        e = g
        put["g'²"].copy_(put["g²"])
    else:
        torch.mul(b, c.coupled_weight_decay, out=e)
        e.addcmul_(g, c.gradient_sign)
        dot(e, e, put["g'²"])
    m, v = block.exp_avg, block.exp_avg_sq
    rows = Rows(b, e, m, v, block.others)
    if m is not None:
        dot(m, m, put["m²"])
        dot(m, e, put["m·g'"])
        largest_magnitude(m, put["max|m|"])
        m_is_zero = compare("equal", m, 0, mask_of("m=0"))
    root = None
    if v is not None:
        torch.sum(v, 1, out=put["v"])
        torch.amax(v, 1, out=put["max v"])
        v_is_zero = compare("equal", v, 0, mask_of("v=0"))
        root = state.root(rows, c, s)
        if m is not None:
            torch.div(m, torch.clamp_min(root, TINY, out=t), out=t)
            if may_hold(compare("greater", v_is_zero, m_is_zero, mask)):
                t.masked_fill_(v_is_zero, 0.0)
            dot(t, t, put["m̂²/v̂"])
            put["m̂²/v̂"].mul_(c.exp_avg_scale[:, 0] ** 2)
        compare("less", root, c.eps, mask_of("s<ε"))
        compare("less", root, c.eps * 10, mask_of("s<10ε"))
        torch.div(e, torch.maximum(root, c.eps.clamp_min(TINY), out=t), out=t)
        dot(t, t, put["(g'/max(s,ε))²"])
        _put_flicker(put, block, e, c, t, n)
        is_tiny = compare("less", v, smallest_normal, mask_of("v<tiny, g≠0"))
        compare("greater", is_tiny, g_is_zero, is_tiny)
        frozen = put["v frozen"].zero_()
        for dtype, rows_of_dtype in plan.half_precision.items():
            decayed = torch.mul(v, c.exp_avg_sq_decay, out=t).to(dtype)
            torch.eq(decayed, v, out=t)
            frozen += t.mul_(torch.ne(v, 0, out=n)).mul_(rows_of_dtype).sum(1)
    put_counts(masks[: len(counted)], counted, out)
    direction = None
    if plan.knows_update:
        del counted[1:]
        if plan.rounded_after:
            rows = _as_used(rows, block.moments_before, plan.rounded_after, c)
            root = None if v is None else state.root(rows, c, s)
        direction = state.direction(rows, c, root, n)
        torch.mul(direction, direction, out=t)
        torch.sum(t, 1, out=put["n²"])
        smallest, largest = NEAR_ONE
        is_near = compare("greater", t, smallest**2, mask_of("n≈±1"))
        both(is_near, compare("less", t, largest**2, mask), is_near)
        if plan.counts_direction:
            compare("equal", direction, 0, mask_of("n=0"))
        # The root has served.
        if plan.has_weight_decay:
            r = torch.addcmul(direction, b, c.weight_decay, out=s).mul_(-c.step_size)
        else:
            r = torch.mul(direction, -c.step_size, out=s)
        dot(r, r, put["r²"])
        torch.sub(d, r, out=t)
        dot(t, t, put["(d-r)²"])
        is_wanted = compare("not_equal", r, 0, mask_of("r≠0"))
        both(is_wanted, d_is_zero, mask_of("r≠0, d=0"))
        put_counts(masks[1 : len(counted)], counted[1:], out)
    return e, direction


def _put_flicker(
    put: Mapping[str, Tensor],
    block: Block,
    entering: Tensor,
    c: Coefficients,
    t: Tensor,
    seen: Tensor,
) -> None:
    """Compare exp_avg_sq with itself one step ago; ``t`` and ``seen`` are overwritten."""
    v = block.exp_avg_sq
    assert v is not None
    before = block.moments_before.get("exp_avg_sq")
    if before is None:
        before = torch.mul(entering, entering, out=t).mul_(-c.exp_avg_sq_weight).add_(v)
        before.div_(c.exp_avg_sq_decay)
    share = torch.div(before, v, out=t)
    torch.sum(torch.gt(share, LEAST_BEFORE, out=seen), 1, out=put["v before≠0"])
    # Where there was nothing to compare with, NaN from 0/0 too, the logarithm must become 0.
    share.nan_to_num_(nan=1.0, posinf=torch.inf, neginf=1.0).clamp_min_(LEAST_BEFORE)
    share.mul_((c.exp_avg_sq_scale_before / c.exp_avg_sq_scale) ** 2)
    share.log_().mul_(seen)
    dot(share, share, put["(ln v̂/v̂ before)²"])


def _as_used(
    rows: Rows, before: Mapping[str, Tensor], rounded_after: Mapping[str, Tensor], c: Coefficients
) -> Rows:
    """Return the moments as the step used them, where it rounded them afterwards."""
    moments: dict[str, Any] = {"exp_avg": rows.exp_avg, "exp_avg_sq": rows.exp_avg_sq}
    for name, where in rounded_after.items():
        stored = moments[name]
        if stored is None:
            continue
        is_first = name == "exp_avg"
        added = rows.gradient if is_first else rows.gradient * rows.gradient
        exact = added * (c.exp_avg_weight if is_first else c.exp_avg_sq_weight)
        if name in before:
            exact.addcmul_(before[name], c.exp_avg_decay if is_first else c.exp_avg_sq_decay)
        moments[name] = torch.where(where, exact, stored)
    return replace(rows, **moments)


def row_second_moment_before(exp_avg_sq: Tensor, out: Tensor) -> None:
    """Put the sums of exp_avg_sq before the step where :func:`finish` looks for them.

    Args:
        exp_avg_sq: A block's elements, ``[rows, n]``.
        out: ``[len(ROW_VALUES), rows]``.
    """
    torch.sum(exp_avg_sq, 1, out=out[_INDEX["v before"]])


def row_rounding(
    before: Tensor,
    after: Tensor,
    added: Tensor,
    decay: Tensor,
    weight: Tensor,
    names: tuple[str, str],
    out: Tensor,
) -> None:
    """Compare a moment with ``decay · before + weight · added``, its value without rounding.

    Args:
        before: A block's elements of the moment before the step, ``[rows, n]``; overwritten.
        after: Those after it.
        added: g', or its square.
        decay: ``[rows, 1]``.
        weight: ``[rows, 1]``.
        names: Row values for the squared difference and the squared exact moment.
        out: ``[len(ROW_VALUES), rows]``.
    """
    exact = before.mul_(decay).addcmul_(added, weight)
    for name, values in zip(names, (after - exact, exact), strict=True):
        torch.sum(values * values, 1, out=out[_INDEX[name]])


@dataclass(frozen=True, slots=True)
class ParameterSums:
    """What :func:`finish` needs of ``K`` parameters, on the host.

    Attributes:
        total: From :func:`add_up`.
        update_spread: From :func:`update_spread`.
        gradient_fourth_powers: From :func:`gradient_fourth_powers`.
        dead_row_fraction: Share of rows along the first dimension without gradient, ``[K]``; NaN
            for a parameter of less than two dimensions, whose rows are its elements.
        loss: Of this step; NaN where it is not known.
        rows: Number of rows of each parameter, ``[K]``.
        elements: Of the whole parameter, ``[K]``.
        elements_read: How many of them the rows hold, ``[K]``.
        padding: How many elements of the parameter's rows are none of its own, ``[K]``.
        exact: Sums over all elements, for those of ``b²``, ``g²``, ``m²`` and ``v`` that are known:
            float64 ``[K]``, NaN-free where the values are finite.
        nonfinite: Elements of w, g, m and v that are not finite, over all elements, ``[K]``.
        has_gradient: ``[K]``.
        has_exp_avg: ``[K]``.
        has_exp_avg_sq: ``[K]``.
        knows_update: Whether the requested update is known, ``[K]``.
        state_step: Steps that the state has counted, NaN where it counts none, ``[K]``.
        begun: Whether the parameter had a state before the step, ``[K]``.
        coefficients: By name, ``[K]``.
        second_moment_before_is_known: Whether "v before" was measured; else it is computed back,
            ``[K]``.
        rounds_exp_avg: Whether exp_avg is stored in less than float32, ``[K]``.
        rounds_exp_avg_sq: Likewise; False for a maximum, which is not rounded, ``[K]``.
        halves_exp_avg_sq: Whether it is stored in a half-precision type, ``[K]``.
    """

    total: Mapping[str, Values]
    update_spread: Values
    gradient_fourth_powers: Values
    dead_row_fraction: Values
    loss: float
    rows: npt.NDArray[np.int64]
    elements: npt.NDArray[np.int64]
    elements_read: npt.NDArray[np.int64]
    padding: npt.NDArray[np.int64]
    exact: Mapping[str, Values]
    nonfinite: Values
    has_gradient: Flags
    has_exp_avg: Flags
    has_exp_avg_sq: Flags
    knows_update: Flags
    state_step: Values
    begun: Flags
    coefficients: Mapping[str, Values]
    second_moment_before_is_known: Flags
    rounds_exp_avg: Flags
    rounds_exp_avg_sq: Flags
    halves_exp_avg_sq: Flags


def add_up(rows: npt.NDArray[Any], first_rows: npt.NDArray[np.int64]) -> dict[str, Values]:
    """Combine row values into one value a parameter: float64 ``[K]`` by name of the row value.

    Args:
        rows: From :func:`row_sums`, on the host.
        first_rows: Index of each parameter's first row, ``[K]``.
    """
    with np.errstate(all="ignore"):  # inf - inf
        return {
            name: (np.maximum if name in MAXIMA else np.add).reduceat(
                rows[i], first_rows, dtype=np.float64
            )
            for name, i in _INDEX.items()
        }


def update_squares(rows: npt.NDArray[Any]) -> Values:
    """Return Σd² of each row, from :func:`row_sums`."""
    squares: Values = rows[_INDEX["d²"]].astype(np.float64)
    return squares


def update_spread(
    squares: Values, first_rows: npt.NDArray[np.int64], row_elements: npt.NDArray[np.int64]
) -> Values:
    """Return how much the rows of a parameter differ in Σd²: a sum of squared deviations, ``[K]``.

    Args:
        squares: From :func:`update_squares`.
        first_rows: Index of each parameter's first row, ``[K]``.
        row_elements: Elements of each row that are no padding, ``[rows]``.
    """
    lengths = np.diff(np.append(first_rows, len(squares)))
    with np.errstate(all="ignore"):
        mean = np.add.reduceat(squares, first_rows) / np.add.reduceat(row_elements, first_rows)
        deviation = squares - np.repeat(mean, lengths) * row_elements
        return np.add.reduceat(deviation**2, first_rows)


def gradient_fourth_powers(rows: npt.NDArray[Any], first_rows: npt.NDArray[np.int64]) -> Values:
    """Return Σg⁴ of the elements read of each parameter, ``[K]``.

    Args:
        rows: From :func:`row_sums`, on the host.
        first_rows: Index of each parameter's first row, ``[K]``.
    """
    unit = np.maximum(rows[_INDEX["g²"]].astype(np.float64), TINY)
    with np.errstate(all="ignore"):
        return np.add.reduceat(rows[_INDEX["g⁴"]] * unit**2, first_rows)


def finish(p: ParameterSums) -> npt.NDArray[np.float32]:
    """Complete the formulas.

    Returns:
        float32 ``[K, len(schema.STATISTICS)]``; NaN where a statistic is not defined.
    """
    with np.errstate(all="ignore"):
        columns = {**_measured(p, p.total), **_of_moments(p, p.total), **_of_request(p, p.total)}
    for name in columns.keys() - {"nonfinite_count", "update_rms_standard_error"}:
        columns[name] = np.where(p.elements == 0, np.nan, columns[name])
    table = np.empty((len(p.elements), len(schema.STATISTICS)), np.float32)
    with np.errstate(over="ignore"):
        for i, statistic in enumerate(schema.STATISTICS):
            table[:, i] = columns[statistic.name]
    return table


def _measured(p: ParameterSums, total: Mapping[str, Values]) -> dict[str, Values]:
    n, k = p.elements.astype(np.float64), p.elements_read.astype(np.float64)
    update_rms = np.sqrt(total["d²"] / k)
    weight_rms = np.sqrt(p.exact["b²"] / n)
    ratio = np.where(np.isfinite(update_rms), update_rms / weight_rms, np.nan)
    ratio = np.where(update_rms == 0, 0.0, ratio)  # where a weight of 0 stays 0, too
    zero_gradient = (total["g=0"] - p.padding) / k
    gradient = {
        "gradient_rms": np.sqrt(p.exact["g²"] / n),
        "gradient_absmax": total["max|g|"],
        "gradient_kurtosis": k * p.gradient_fourth_powers / total["g²"] ** 2,
        "elasticity": np.sqrt(p.exact["g²"]) * np.sqrt(p.exact["b²"]) / abs(p.loss),
        "zero_gradient_fraction": zero_gradient,
        "dead_row_fraction": np.where(
            np.isnan(p.dead_row_fraction), zero_gradient, p.dead_row_fraction
        ),
    }
    return {
        "update_to_weight_ratio": ratio,
        "update_rms": update_rms,
        "update_absmax": total["max|d|"],
        "weight_rms": weight_rms,
        "weight_absmax": total["max|w|"],
        **_where(p.has_gradient, gradient),
        "unchanged_fraction": (total["d=0"] - p.padding) / k,
        "update_weight_cosine": _cosine(total["d·b"], total["d²"], total["b²"]),
        "nonfinite_count": p.nonfinite,
        "state_step": p.state_step,
        "update_rms_standard_error": _update_standard_error(p),
    }


def _of_moments(p: ParameterSums, total: Mapping[str, Values]) -> dict[str, Values]:
    n, k = p.elements.astype(np.float64), p.elements_read.astype(np.float64)
    c = p.coefficients
    first_scale, second_scale = c["exp_avg_scale"], c["exp_avg_sq_scale"]
    zero_second = total["v=0"] - p.padding
    from_before = total["v"] - c["exp_avg_sq_weight"] * total["g'²"]
    # What is left where a difference of float32 numbers all but cancels is their rounding.
    from_before = np.where(from_before < LEAST_BEFORE * total["v"], np.nan, from_before)
    v_before = np.where(
        p.begun,
        np.where(
            p.second_moment_before_is_known,
            total["v before"],
            from_before / c["exp_avg_sq_decay"],
        ),
        np.nan,
    )
    first = {
        "exp_avg_rms": np.sqrt(p.exact["m²"] / n) * np.abs(first_scale),
        "exp_avg_absmax": total["max|m|"] * np.abs(first_scale),
    }
    second = {
        "exp_avg_sq_root": np.sqrt(p.exact["v"] / n) * second_scale,
        "exp_avg_sq_max": total["max v"] * second_scale**2,
        "epsilon_fraction": (total["s<ε"] - p.padding * (c["eps"] > 0)) / k,
        "epsilon_10_fraction": (total["s<10ε"] - p.padding * (c["eps"] > 0)) / k,
        "zero_second_moment_fraction": zero_second / k,
        "second_moment_frozen_fraction": np.where(
            p.halves_exp_avg_sq,
            total["v frozen"] / (k - zero_second),
            np.where(p.rounds_exp_avg_sq, np.nan, _frozen_in_float32(c)),
        ),
    }
    with_gradient = {
        "gradient_surprise": np.sqrt(total["g'²"] / (v_before * c["exp_avg_sq_scale_before"] ** 2)),
        "rms_t": np.sqrt(total["(g'/max(s,ε))²"] / k),
        "second_moment_underflow_fraction": total["v<tiny, g≠0"] / (k - (total["g=0"] - p.padding)),
    }
    flicker = {
        "second_moment_flicker": 0.5 * np.sqrt(total["(ln v̂/v̂ before)²"] / total["v before≠0"])
    }
    cosines = {
        "momentum_gradient_cosine": _lagged_cosine(p, total),
        "gradient_exp_avg_cosine": _cosine(total["m·g'"], total["m²"], total["g'²"]),
    }
    first_rounding = {"exp_avg_rounding_error": np.sqrt(total["(m-exact)²"] / total["exact m²"])}
    second_rounding = {
        "exp_avg_sq_rounding_error": np.sqrt(total["(v-exact)²"] / total["exact v²"])
    }
    signal_to_noise = {"signal_to_noise": total["m̂²/v̂"] / (k - zero_second)}
    # Without a gradient the step left the moments as they were.
    averaged = p.begun & p.has_gradient
    return {
        **_where(p.has_exp_avg, first),
        **_where(p.has_exp_avg_sq, second),
        **_where(p.has_exp_avg_sq & p.has_gradient, with_gradient),
        **_where(p.has_exp_avg_sq & p.has_gradient & p.begun, flicker),
        **_where(p.has_exp_avg & p.has_gradient, cosines),
        **_where(p.has_exp_avg & p.has_exp_avg_sq, signal_to_noise),
        **_where(p.rounds_exp_avg & averaged, first_rounding),
        **_where(p.rounds_exp_avg_sq & averaged, second_rounding),
    }


def _of_request(p: ParameterSums, total: Mapping[str, Values]) -> dict[str, Values]:
    n, k = p.elements.astype(np.float64), p.elements_read.astype(np.float64)
    coupled, decoupled = p.coefficients["coupled_weight_decay"], p.coefficients["weight_decay"]
    weight_rms = np.sqrt(p.exact["b²"] / n)
    direction_rms = np.sqrt(total["n²"] / k)
    decay = np.where(
        decoupled != 0,
        decoupled * weight_rms / direction_rms,
        coupled * np.sqrt(p.exact["b²"] / p.exact["g²"]),
    )
    values = {
        "normalized_update_rms": np.where(p.has_exp_avg_sq, direction_rms, np.nan),
        "update_bimodality": np.where(p.has_exp_avg_sq, total["n≈±1"] / k, np.nan),
        "lost_update_fraction": np.where(
            total["r≠0"] > 0, total["r≠0, d=0"] / total["r≠0"], np.nan
        ),
        "update_rounding_error": np.sqrt(total["(d-r)²"] / total["r²"]),
    }
    ratio = {"weight_decay_ratio": np.where(coupled + decoupled == 0, 0.0, decay)}
    return {
        **_where(p.knows_update, values),
        **_where(p.knows_update & p.has_gradient, ratio),
    }


def _where(condition: Flags, columns: Mapping[str, Values]) -> dict[str, Values]:
    return {name: np.where(condition, values, np.nan) for name, values in columns.items()}


def _frozen_in_float32(c: Mapping[str, Values]) -> Values:
    """Share of float32 numbers v for which ``decay · v`` rounds back to v: none as a rule."""
    return np.where(1 - c["exp_avg_sq_decay"] > 2**-23, 0.0, np.nan)


def _lagged_cosine(p: ParameterSums, total: Mapping[str, Values]) -> Values:
    """Cosine of exp_avg before the step, (m - weight·g')/decay, and g', from sums after it."""
    a, mm, gg = total["m·g'"], total["m²"], total["g'²"]
    decay, weight = p.coefficients["exp_avg_decay"], p.coefficients["exp_avg_weight"]
    product = (a - weight * gg) / decay
    before = (mm - 2 * weight * a + weight**2 * gg) / decay**2
    return np.where(p.begun, _cosine(product, before, gg), np.nan)


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
