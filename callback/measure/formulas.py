"""The formula of each statistic, from sums over whole parameters: pure functions, in float64.

:data:`FORMULAS` has one function for each of :data:`tb_adam_plugin.schema.STATISTICS`. The
catalogue lists what each statistic needs; :func:`finish` skips it if a need is not met, so its
formula need not check. The symbols are those of :mod:`.row_value_table`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Flags, Float64s

from .parameter_sums import ParameterSums
from .row_value_table import LEAST_BEFORE
from .sampling_error import REGRESSORS, relative_errors

# Whether a step meets a need of the statistics. The other needs concern an optimizer as a whole:
# the layout names the unmet ones.
_HAS: Mapping[schema.Need, Callable[[ParameterSums], Flags]] = {
    "gradient": lambda p: p.has_gradient,
    "previous step": lambda p: p.begun,
    "update": lambda p: p.knows_update,
    "exp_avg": lambda p: p.has_exp_avg,
    "exp_avg_sq": lambda p: p.has_exp_avg_sq,
    "rounded exp_avg": lambda p: p.rounds_exp_avg,
    "rounded exp_avg_sq": lambda p: p.rounds_exp_avg_sq,
}
# Defined even for a parameter without elements.
_OF_NOTHING = ("nonfinite_count", "update_rms_standard_error")
# Which of :data:`_HAS`, and in the last row elements, each statistic needs: 1 or 0.
_NEEDS = np.array(
    [
        [*(need in statistic.needs for need in _HAS), statistic.name not in _OF_NOTHING]
        for statistic in schema.STATISTICS
    ],
    np.float32,
)


def finish(p: ParameterSums) -> npt.NDArray[np.float32]:
    """Evaluate the formulas.

    Returns:
        float32 ``[K, len(schema.STATISTICS)]``; NaN where a statistic is not defined.
    """
    lacking = [np.logical_not(has(p)) for has in _HAS.values()]
    lacks = np.matmul(_NEEDS, np.array([*lacking, p.elements == 0], np.float32))
    is_known = lacks == 0
    table = np.full(lacks.shape, np.nan, np.float32)
    with np.errstate(all="ignore"):
        for row, statistic, known_of_any in zip(
            table, schema.STATISTICS, is_known.any(1).tolist(), strict=True
        ):
            if known_of_any:
                row[:] = FORMULAS[statistic.name](p)
        table[~is_known] = np.nan
    return np.ascontiguousarray(table.T)


def _update_rms(p: ParameterSums) -> Float64s:
    rms: Float64s = np.sqrt(p.total["d²"] / p.elements_read)
    return rms


def _weight_rms(p: ParameterSums) -> Float64s:
    rms: Float64s = np.sqrt(p.exact["b²"] / p.elements)
    return rms


def _update_to_weight_ratio(p: ParameterSums) -> Float64s:
    update_rms = _update_rms(p)
    ratio = np.where(np.isfinite(update_rms), update_rms / _weight_rms(p), np.nan)
    return np.where(update_rms == 0, 0.0, ratio)  # also where a weight of 0 stays 0


def _gradient_kurtosis(p: ParameterSums) -> Float64s:
    kurtosis: Float64s = p.elements_read * p.gradient_fourth_powers / p.total["g²"] ** 2
    return kurtosis


def _elasticity(p: ParameterSums) -> Float64s:
    elasticity: Float64s = np.sqrt(p.exact["g²"]) * np.sqrt(p.exact["b²"]) / abs(p.loss)
    return elasticity


def _zeros(p: ParameterSums, name: str) -> Float64s:
    """Number of zeros among the elements read, by the name of the row value."""
    return p.total[name] - p.padding


def _zero_gradient_fraction(p: ParameterSums) -> Float64s:
    return _zeros(p, "g=0") / p.elements_read


def _dead_row_fraction(p: ParameterSums) -> Float64s:
    rows = p.dead_row_fraction
    return np.where(np.isnan(rows), _zero_gradient_fraction(p), rows)


def _exp_avg_rms(p: ParameterSums) -> Float64s:
    scale = np.abs(p.coefficients["exp_avg_scale"])
    rms: Float64s = np.sqrt(p.exact["m²"] / p.elements) * scale
    return rms


def _exp_avg_absmax(p: ParameterSums) -> Float64s:
    largest: Float64s = p.total["max|m|"] * np.abs(p.coefficients["exp_avg_scale"])
    return largest


def _exp_avg_sq_root(p: ParameterSums) -> Float64s:
    root: Float64s = np.sqrt(p.exact["v"] / p.elements) * p.coefficients["exp_avg_sq_scale"]
    return root


def _exp_avg_sq_max(p: ParameterSums) -> Float64s:
    return p.total["max v"] * p.coefficients["exp_avg_sq_scale"] ** 2


def _direction_rms(p: ParameterSums) -> Float64s:
    rms: Float64s = np.sqrt(p.total["n²"] / p.elements_read)
    return rms


def _gradient_surprise(p: ParameterSums) -> Float64s:
    c, total = p.coefficients, p.total
    from_after = total["v"] - c["exp_avg_sq_weight"] * total["g'²"]
    # If two nearly equal float32 numbers are subtracted, only their rounding error is left.
    from_after = np.where(from_after < LEAST_BEFORE * total["v"], np.nan, from_after)
    before = np.where(
        p.second_moment_before_is_known, total["v before"], from_after / c["exp_avg_sq_decay"]
    )
    surprise: Float64s = np.sqrt(total["g'²"] / (before * c["exp_avg_sq_scale_before"] ** 2))
    return surprise


def _rms_t(p: ParameterSums) -> Float64s:
    rms: Float64s = np.sqrt(p.total["(g'/max(s,ε))²"] / p.elements_read)
    return rms


def _second_moment_flicker(p: ParameterSums) -> Float64s:
    flicker: Float64s = 0.5 * np.sqrt(p.total["(ln v̂/v̂ before)²"] / p.total["v before≠0"])
    return flicker


def _signal_to_noise(p: ParameterSums) -> Float64s:
    return p.total["m̂²/v̂"] / (p.elements_read - _zeros(p, "v=0"))


def _momentum_gradient_cosine(p: ParameterSums) -> Float64s:
    """Cosine of exp_avg before the step, (m - weight·g')/decay, and g', from sums after it."""
    a, mm, gg = p.total["m·g'"], p.total["m²"], p.total["g'²"]
    decay, weight = p.coefficients["exp_avg_decay"], p.coefficients["exp_avg_weight"]
    product = (a - weight * gg) / decay
    before = (mm - 2 * weight * a + weight**2 * gg) / decay**2
    return _cosine(product, before, gg)


def _epsilon_fraction(p: ParameterSums, name: str) -> Float64s:
    # The padding is counted as below eps, too, unless eps is 0: 0 is not below 0.
    return (p.total[name] - p.padding * (p.coefficients["eps"] > 0)) / p.elements_read


def _lost_update_fraction(p: ParameterSums) -> Float64s:
    wanted = p.total["r≠0"]
    return np.where(wanted > 0, p.total["r≠0, d=0"] / wanted, np.nan)


def _update_slope(p: ParameterSums) -> Float64s:
    """Σ d·r / Σ r², by (d - r)² = d² - 2 d·r + r²."""
    requested = p.total["r²"]
    slope: Float64s = (p.total["d²"] + requested - p.total["(d-r)²"]) / (2 * requested)
    return slope


def _second_moment_frozen_fraction(p: ParameterSums) -> Float64s:
    counted = p.total["v frozen"] / (p.elements_read - _zeros(p, "v=0"))
    # In float32, usually no v satisfies round(``decay · v``) == v.
    in_float32 = np.where(1 - p.coefficients["exp_avg_sq_decay"] > 2**-23, 0.0, np.nan)
    of_other_types = np.where(p.rounds_exp_avg_sq, np.nan, in_float32)
    return np.where(p.halves_exp_avg_sq, counted, of_other_types)


def _second_moment_underflow_fraction(p: ParameterSums) -> Float64s:
    return p.total["v<tiny, g≠0"] / (p.elements_read - _zeros(p, "g=0"))


def _root_of_quotient(p: ParameterSums, error: str, of: str) -> Float64s:
    relative: Float64s = np.sqrt(p.total[error] / p.total[of])
    return relative


def _weight_decay_ratio(p: ParameterSums) -> Float64s:
    coupled, decoupled = p.coefficients["coupled_weight_decay"], p.coefficients["weight_decay"]
    ratio = np.where(
        decoupled != 0,
        decoupled * _weight_rms(p) / _direction_rms(p),
        coupled * np.sqrt(p.exact["b²"] / p.exact["g²"]),
    )
    return np.where(coupled + decoupled == 0, 0.0, ratio)


def _cosine(product: Float64s, first: Float64s, second: Float64s) -> Float64s:
    # Squares below this have lost digits in float32, so the quotient would be noise.
    lost = np.minimum(first, second) < 1e-30
    cosine = product / np.sqrt(first * second)
    return np.where(lost, np.nan, np.minimum(np.maximum(cosine, -1), 1))


def _update_rms_standard_error(p: ParameterSums) -> Float64s:
    """Relative standard error of the update RMS; see :mod:`.sampling_error`."""
    errors = np.zeros(len(p.elements))
    sampled = p.sampled.parameters
    if len(sampled):
        exact = np.array([p.exact[name][sampled] for name in REGRESSORS])
        errors[sampled] = relative_errors(p.sampled, exact, p.elements[sampled])
        # With a step size of 0 nothing moves, whatever is not read.
        errors[(p.coefficients["step_size"] == 0) & (p.total["d²"] == 0)] = 0
    return errors


# By name of the statistic: float64 ``[K]`` from the sums of ``K`` parameters.
FORMULAS: Mapping[str, Callable[[ParameterSums], Float64s]] = {
    "update_to_weight_ratio": _update_to_weight_ratio,
    "update_rms": _update_rms,
    "update_absmax": lambda p: p.total["max|d|"],
    "weight_rms": _weight_rms,
    "weight_absmax": lambda p: p.total["max|w|"],
    "zero_weight_fraction": lambda p: _zeros(p, "w=0") / p.elements_read,
    "gradient_rms": lambda p: np.sqrt(p.exact["g²"] / p.elements),
    "gradient_absmax": lambda p: p.total["max|g|"],
    "gradient_kurtosis": _gradient_kurtosis,
    "elasticity": _elasticity,
    "exp_avg_rms": _exp_avg_rms,
    "exp_avg_absmax": _exp_avg_absmax,
    "exp_avg_sq_root": _exp_avg_sq_root,
    "exp_avg_sq_max": _exp_avg_sq_max,
    "normalized_update_rms": _direction_rms,
    "update_bimodality": lambda p: p.total["n≈±1"] / p.elements_read,
    "gradient_surprise": _gradient_surprise,
    "rms_t": _rms_t,
    "second_moment_flicker": _second_moment_flicker,
    "signal_to_noise": _signal_to_noise,
    "momentum_gradient_cosine": _momentum_gradient_cosine,
    "gradient_exp_avg_cosine": lambda p: _cosine(p.total["m·g'"], p.total["m²"], p.total["g'²"]),
    "epsilon_fraction": lambda p: _epsilon_fraction(p, "s<ε"),
    "epsilon_10_fraction": lambda p: _epsilon_fraction(p, "s<10ε"),
    "zero_second_moment_fraction": lambda p: _zeros(p, "v=0") / p.elements_read,
    "zero_gradient_fraction": _zero_gradient_fraction,
    "dead_row_fraction": _dead_row_fraction,
    "idle_row_fraction": lambda p: p.idle_row_fraction,
    "unchanged_fraction": lambda p: _zeros(p, "d=0") / p.elements_read,
    "lost_update_fraction": _lost_update_fraction,
    "update_rounding_error": lambda p: _root_of_quotient(p, "(d-r)²", "r²"),
    "update_slope": _update_slope,
    "second_moment_frozen_fraction": _second_moment_frozen_fraction,
    "second_moment_underflow_fraction": _second_moment_underflow_fraction,
    "exp_avg_rounding_error": lambda p: _root_of_quotient(p, "(m-exact)²", "exact m²"),
    "exp_avg_sq_rounding_error": lambda p: _root_of_quotient(p, "(v-exact)²", "exact v²"),
    "weight_decay_ratio": _weight_decay_ratio,
    "update_weight_cosine": lambda p: _cosine(p.total["d·b"], p.total["d²"], p.total["b²"]),
    "nonfinite_count": lambda p: p.nonfinite,
    "state_step": lambda p: p.state_step,
    "update_rms_standard_error": _update_rms_standard_error,
}
