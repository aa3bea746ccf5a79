"""Sparse gradients are read like the dense ones, without making them dense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from recorded_run import read_run
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.native.loading import VARIABLE
from tb_adam_plugin.callback.read import norms, sparse_rows
from tb_adam_plugin.callback.read.gradient_sums import gradient_sums


def gradient_of(shape: tuple[int, ...], rows: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    indices = torch.randint(shape[0], (1, rows), generator=generator)
    values = torch.randn(rows, *shape[1:], generator=generator).to(dtype)
    values[::3] = 0  # a row that is there, and has no gradient
    return torch.sparse_coo_tensor(indices, values, shape, check_invariants=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("rows", [0, 1, 700])
@pytest.mark.parametrize(
    "shape", [(40_000, 64), (50_000, 50), (9_000, 3, 7), (90_000, 1), (20, 65_536)]
)
def test_norms_elements_and_dead_rows_are_those_of_the_dense_gradient(
    shape: tuple[int, ...], rows: int, dtype: torch.dtype
) -> None:
    sparse = gradient_of(shape, min(rows, 40), dtype).coalesce()
    dense = sparse.to_dense()
    of_norms = torch.float64 if dtype == torch.float64 else torch.float32
    found = gradient_sums(sparse, of_norms).numpy()
    expected = gradient_sums(dense, of_norms).numpy()
    if norms.has_row_norms(dense):
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-15)
        # Parts, in the same order; how many are empty may differ.
        of_parts = sparse_rows.partial_norms(sparse, of_norms)
        of_dense = norms.partial_norms(dense, of_norms)
        np.testing.assert_array_equal(of_parts[of_parts > 0], of_dense[of_dense > 0])
    dead = int((dense == 0).flatten(1).all(1).sum())
    np.testing.assert_array_equal(found[1], dead)
    np.testing.assert_allclose(found[0], float(dense.double().square().sum()), rtol=1e-5)
    indices = torch.arange(0, dense.numel(), 13)
    assert torch.equal(sparse_rows.elements(sparse, indices), dense.view(-1)[indices])


@pytest.mark.parametrize(
    ("kind", "most"),
    [(torch.optim.SparseAdam, 1024), (torch.optim.SGD, 1024), (torch.optim.SparseAdam, 10**6)],
)
@pytest.mark.parametrize("width", [16, 10, 64])
def test_a_record_is_that_of_a_gradient_that_is_made_dense(
    kind: type[torch.optim.Optimizer],
    most: int,
    width: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "0")  # which would add up the dense one in another order

    def trained(folder: Path) -> list[bytes]:
        torch.manual_seed(0)
        model = nn.Embedding(3_000, width, sparse=True)
        optimizer = kind(model.parameters(), lr=1e-2)  # type: ignore[call-arg]
        with AdamDebugCallback(
            model,
            optimizer,
            log_dir=folder,
            every_n_steps=1,
            max_sampled_elements=most,
            on_error="raise",
        ):
            for _ in range(3):
                model(torch.randint(3_000, (900,))).square().sum().backward()
                optimizer.step()
                optimizer.zero_grad()
        run = read_run(folder)
        return [run.statistics[step].tobytes() for step in sorted(run.statistics)] + [
            run.histogram(3, "weight", q).tobytes() for q in ("gradient", "update")
        ]

    as_it_is = trained(tmp_path / "sparse")
    assert len(as_it_is) == 5
    made_dense: list[tuple[int, ...]] = []
    to_dense = Tensor.to_dense

    def noted(tensor: Tensor) -> Tensor:
        made_dense.append(tuple(tensor.shape))
        return to_dense(tensor)

    monkeypatch.setattr(Tensor, "to_dense", noted)
    assert trained(tmp_path / "again") == as_it_is
    assert bool(made_dense) == (most > 3_000 * width)
    monkeypatch.setattr(sparse_rows, "can_be_read", lambda _: False)
    assert trained(tmp_path / "dense") == as_it_is
    assert made_dense
