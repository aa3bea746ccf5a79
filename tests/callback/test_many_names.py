"""Names of scalars, and parameters, that keep changing: one warning, and bounded rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.write.scalar_names import ScalarNames
from tb_adam_plugin.run_data import load_runs


def train(
    folder: Path, steps: int, scalars: Callable[[int], dict[str, float]]
) -> tuple[list[str], nn.Linear]:
    """Train and record scalars; return the warnings, and the model."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    debug = AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=50)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for t in range(1, steps + 1):
            optimizer.zero_grad()
            model(torch.ones(3)).sum().backward()
            debug.record(**scalars(t))
            optimizer.step()
        debug.close()
    return [str(w.message) for w in caught if "record()" in str(w.message)], model


def test_a_name_that_changes_at_every_step_is_warned_of_once_and_stops(tmp_path: Path) -> None:
    said, model = train(tmp_path, 500, lambda t: {f"loss_{t}": t, "loss": 1 / t, "steady": t})
    assert len(said) == 1
    assert "a new name at 65 steps" in said[0]
    assert "'loss_165'" in said[0]
    assert "Give the same names at every step" in said[0]
    rows = load_runs(tmp_path)[0].every_step()
    assert len(rows.names) <= len(schema.LASTING_COLUMNS) + schema.MOST_SCALARS
    assert rows["steady"].tolist() == [*range(1, 501)]
    assert rows["loss"][-1] == 1 / 500
    assert rows["loss_199"][198] == 199  # with "steady" the 200th
    assert "loss_200" not in rows.names
    assert torch.equal(model.weight, train(tmp_path / "other", 500, lambda t: {})[1].weight)


def test_too_many_names_at_once_are_warned_of(tmp_path: Path) -> None:
    names = [f"layer_{i}" for i in range(250)]
    said, _ = train(tmp_path, 60, lambda t: dict.fromkeys(names, float(t)))
    assert len(said) == 1
    assert "more than 200 different names: 'layer_200' and other new ones" in said[0]
    rows = load_runs(tmp_path)[0].every_step()
    assert [name for name in rows.names if name.startswith("layer")] == names[:200]


def test_what_the_rules_read_is_recorded_however_late_it_comes(tmp_path: Path) -> None:
    names = [f"layer_{i}" for i in range(250)]
    late = {"loss": 2.0, "loss_scale": 8.0, "gradient_norm_before_clip": 3.0, "surrogate_loss": 1.0}
    train(tmp_path, 60, lambda t: dict.fromkeys(names, 1.0) if t < 30 else late)
    rows = load_runs(tmp_path)[0].every_step()
    assert {name: rows[name][-1] for name in late} == late


@pytest.mark.parametrize(
    "scalars",
    [
        lambda t: {f"constant_{i}": 1.0 for i in range(150)},
        # A late validation with many names.
        lambda t: {"loss": 1.0} | {f"valid_{i}": 1.0 for i in range(150) if t % 120 == 0},
        # A new name occasionally.
        lambda t: {"loss": 1.0, f"stage_{t // 20}": 1.0},
    ],
    ids=["constant", "validation", "stages"],
)
def test_names_that_are_meant_are_not_warned_of(
    tmp_path: Path, scalars: Callable[[int], dict[str, float]]
) -> None:
    assert train(tmp_path, 400, scalars)[0] == []


def test_a_bad_value_is_named_and_takes_no_place(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    debug = AdamDebugCallback(
        model, torch.optim.Adam(model.parameters()), log_dir=tmp_path, every_n_steps=50
    )
    for i in range(300):
        with pytest.raises(TypeError, match=rf"record\(bad_{i}=\.\.\.\)"):
            debug.record(**{f"bad_{i}": "text"})  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        debug.record(**{f"good_{i}": 1.0 for i in range(200)})
    debug.close()


def test_a_warning_does_not_end_training_where_warnings_are_errors(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    debug = AdamDebugCallback(model, torch.optim.Adam(model.parameters()), log_dir=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        debug.record(**{f"name_{i}": 1.0 for i in range(201)})
    debug.close()


def test_names_of_one_step_in_several_calls_are_one_occasion() -> None:
    names = ScalarNames()
    for _ in range(100):
        names.end_step()
    assert all(names.refused([f"a_{i}"]) == (set(), None) for i in range(100))
    refused, notice = names.refused([f"b_{i}" for i in range(101)])
    assert refused == {"b_100"}
    assert notice is not None
    assert "'b_100'" in notice
    assert names.refused(["a_0", "b_99", "loss"]) == (set(), None)


def test_a_long_name_is_shown_in_part() -> None:
    names = ScalarNames()
    _, notice = names.refused([*map(str, range(200)), "x" * 1000])
    assert notice is not None
    assert len(notice) < 300


def test_layouts_that_keep_changing_are_warned_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "MOST_LAYOUTS", 8)  # each other one takes a third of a second
    weights = [nn.Parameter(torch.ones(n + 1)) for n in range(13)]
    optimizer = torch.optim.Adam([weights[0]])
    named = [(f"w{i}", w) for i, w in enumerate(weights)]
    debug = AdamDebugCallback(named, optimizer, log_dir=tmp_path, every_n_steps=1)
    said = []
    for n, weight in enumerate(weights):
        optimizer.param_groups[0]["params"] = [weight]
        weight.grad = torch.ones_like(weight)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            optimizer.step()
        said += [(n, str(w.message)) for w in caught if "more than 8 times" in str(w.message)]
    debug.close()
    # The ninth layout is known after its record, and told before the next one.
    assert [n for n, _ in said] == [9]
    assert "its own callback and log_dir" in said[0][1]
    (run,) = load_runs(tmp_path)
    assert [p.name for p in run.parameters] == [f"w{n}" for n in range(12, 4, -1)]


def test_layouts_that_come_back_are_no_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "MOST_LAYOUTS", 2)
    weights = [nn.Parameter(torch.ones(n + 1)) for n in range(2)]
    optimizer = torch.optim.Adam([weights[0]])
    named = [(f"w{i}", w) for i, w in enumerate(weights)]
    with AdamDebugCallback(named, optimizer, log_dir=tmp_path, every_n_steps=1):
        for n in range(8):
            optimizer.param_groups[0]["params"] = [weights[n % 2]]
            weights[n % 2].grad = torch.ones(n % 2 + 1)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                optimizer.step()
            assert not [w for w in caught if "times" in str(w.message)]
