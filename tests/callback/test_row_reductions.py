"""Reductions and comparisons of rows, against torch's plain operations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tb_adam_plugin.callback.measure import row_reductions
from tb_adam_plugin.callback.measure.row_reductions import Relation


@pytest.mark.parametrize("columns", [1, 8, 13, 256, 2040, 2048])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_masks_of_any_length_are_counted(columns: int, share: float) -> None:
    masks = torch.rand(3, 5, columns) < share
    out = torch.full((6, 5), -1.0)
    row_reductions.put_counts(masks, [4, 0, 2], out)
    assert out[[4, 0, 2]].tolist() == masks.sum(2).tolist()
    assert (out[[1, 3, 5]] == -1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_are_added_up_with_either_version_of_numpy(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = torch.randn(2, 7, 256, dtype=dtype).unbind(0)
    newest, older = torch.empty(2, 7, dtype=dtype).unbind(0)
    row_reductions.dot(x, y, newest)
    monkeypatch.delattr(np, "vecdot", raising=False)
    row_reductions.dot(x, y, older)
    torch.testing.assert_close(newest, (x * y).sum(1))
    torch.testing.assert_close(older, (x * y).sum(1))


@pytest.mark.parametrize(
    ("relation", "expected"),
    [
        ("equal", [False, True, False, False]),
        ("not_equal", [True, False, True, True]),
        ("less", [True, False, False, False]),
        ("greater", [False, False, True, False]),
    ],
)
def test_rows_are_compared_with_a_number_and_with_numbers_of_their_own(
    relation: Relation, expected: list[bool]
) -> None:
    x = torch.tensor([[-1.0, 2.0, 3.0, torch.nan]] * 2)
    out = torch.empty(2, 4, dtype=torch.bool)
    with np.errstate(all="ignore"):
        assert row_reductions.compare(relation, x, 2, out).tolist() == [expected] * 2
        own = torch.tensor([[2.0], [2.0]])
        assert row_reductions.compare(relation, x, own, out).tolist() == [expected] * 2


def test_the_largest_magnitude_is_that_of_either_sign_or_nan() -> None:
    x = torch.tensor([[1.0, -3.0], [4.0, -2.0], [torch.nan, 1.0], [-torch.inf, 0.0]])
    out = torch.empty(4)
    row_reductions.largest_magnitude(x, out)
    torch.testing.assert_close(out, torch.tensor([3.0, 4.0, torch.nan, torch.inf]), equal_nan=True)


def test_whether_a_mask_may_hold_anywhere() -> None:
    assert not row_reductions.may_hold(torch.zeros(2, 3, dtype=torch.bool))
    assert row_reductions.may_hold(torch.tensor([[False, True]]))
    assert row_reductions.may_hold(torch.zeros(2, 3, dtype=torch.bool, device="meta"))
