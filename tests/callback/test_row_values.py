"""The tables of row values, formulas and needs are consistent with each other."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

import numpy as np
import pytest
import torch

from tb_adam_plugin import schema
from tb_adam_plugin.callback.measure import row_values
from tb_adam_plugin.callback.measure.formulas import FORMULAS
from tb_adam_plugin.callback.measure.parameter_sums import FLAGS, ParameterSums, add_up
from tb_adam_plugin.callback.measure.row_value_table import (
    MAXIMA,
    NAMES,
    OVER_ALL,
    POSITION,
    ROW_VALUES,
    SUMS,
    ZEROS,
)
from tb_adam_plugin.callback.optimizer_state import undefined
from tb_adam_plugin.callback.optimizer_state.adam import AdamState
from tb_adam_plugin.callback.optimizer_state.coefficients import COEFFICIENTS, Coefficients

ROWS, N = 3, 256


def block(stored: bool) -> row_values.BlockValues:
    """A block of elements that has everything; moments before the step where they are rounded."""
    generator = torch.Generator().manual_seed(0)
    before, weight, gradient, first, second = torch.randn(5, ROWS, N, generator=generator)
    moments_before = {"exp_avg": first * 0.9, "exp_avg_sq": second.square()} if stored else {}
    return row_values.BlockValues(
        before=before,
        weight=weight,
        gradient=gradient,
        update=weight - before,
        exp_avg=first,
        exp_avg_sq=second.square(),
        others={},
        moments_before=moments_before,
    )


def reduced(plain_gradient: bool) -> torch.Tensor:
    """Row values of a block, all of them NaN before."""
    out = torch.full((len(NAMES), ROWS), torch.nan)
    column = torch.full((ROWS, 1), 0.5)
    columns: dict[str, Any] = dict.fromkeys(COEFFICIENTS, column)
    c = Coefficients(**columns)
    plan = row_values.Plan(
        plain_gradient=plain_gradient,
        has_weight_decay=not plain_gradient,
        knows_update=True,
        counts_direction=True,
        half_precision={torch.bfloat16: torch.ones(ROWS, 1, dtype=torch.bool)},
        rounded_after={},
    )
    elements = block(stored=True)
    state = AdamState(torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))]))
    row_values.row_second_moment_before(elements.moments_before["exp_avg_sq"], out)
    scratch = torch.empty(row_values.SCRATCH, ROWS, N)
    masks = torch.empty(row_values.MASKS, ROWS, N, dtype=torch.bool)
    smallest = torch.full((ROWS, 1), 1e-38)
    entering, _ = row_values.row_sums(elements, state, c, smallest, plan, out, scratch, masks)
    moments = ((elements.exp_avg, entering, "m"), (elements.exp_avg_sq, entering**2, "v"))
    for (after, added, symbol), key in zip(moments, ("exp_avg", "exp_avg_sq"), strict=True):
        assert after is not None
        names = (f"({symbol}-exact)²", f"exact {symbol}²")
        before = elements.moments_before[key]
        row_values.row_rounding(before, after, added, column, column, names, out)
    return out


@pytest.mark.parametrize("plain_gradient", [True, False])
def test_torch_computes_every_row_value(plain_gradient: bool) -> None:
    out = reduced(plain_gradient)
    assert [name for name, values in zip(NAMES, out, strict=True) if values.isnan().any()] == []


def test_row_values_are_what_their_formulas_say() -> None:
    elements, found = block(stored=True), dict(zip(NAMES, reduced(True).double(), strict=True))
    w, d, g = (x.double() for x in (elements.weight, elements.update, elements.gradient))
    expected = {
        "d²": (d * d).sum(1),
        "g⁴": (g**4).sum(1) / (g * g).sum(1) ** 2,
        "max|w|": w.abs().amax(1),
        "g'²": (g * g).sum(1),
        "v before": elements.moments_before["exp_avg_sq"].double().sum(1),
        "w=0": (w == 0).sum(1).double(),
    }
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-5, atol=0)


def test_names_and_positions_are_those_of_the_table() -> None:
    assert len(set(NAMES)) == len(NAMES) == len(ROW_VALUES)
    assert [POSITION[name] for name in NAMES] == list(range(len(NAMES)))
    assert {*SUMS, *MAXIMA} == set(NAMES)
    assert len(SUMS) + len(MAXIMA) == len(NAMES)
    assert all(value.formula for value in ROW_VALUES)
    assert set(ZEROS) == {q.name for q in (*schema.QUANTITIES, *schema.OPTIONAL_QUANTITIES)}
    assert list(OVER_ALL) == ["before", "gradient", "exp_avg", "exp_avg_sq"]


def test_rows_combine_as_the_table_says() -> None:
    rows = np.tile(np.array([1.0, 3.0, 5.0], np.float32), (len(NAMES), 1))
    total = add_up(rows, np.array([0, 2]))
    for value in ROW_VALUES:
        expected = [4, 5] if value.combined_by == "sum" else [3, 5]
        assert total[value.name].tolist() == expected, value.name


def test_every_statistic_has_a_formula() -> None:
    assert set(FORMULAS) == {statistic.name for statistic in schema.STATISTICS}


def test_every_need_is_one_of_a_statistic() -> None:
    needed = {need for statistic in schema.STATISTICS for need in statistic.needs}
    assert needed == set(get_args(schema.Need))


def test_what_needs_something_is_undefined_without_it() -> None:
    assert undefined.without([]) == ()
    assert undefined.without(["step count"]) == ("state_step",)
    names = {s.name for s in schema.STATISTICS if {"update", "eps"} & set(s.needs)}
    assert set(undefined.without(["update", "eps"])) == {*names, "normalized_update"}


def test_flags_are_those_of_the_sums() -> None:
    assert set(FLAGS) < {field.name for field in fields(ParameterSums)}
    assert len(FLAGS) == 9
