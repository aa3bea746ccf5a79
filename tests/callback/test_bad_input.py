"""Invalid arguments: the message names the argument, the reason and the remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorded_run import read_run
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback


def make() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(3, 2)
    return model, torch.optim.Adam(model.parameters())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every_n_steps": 0}, ValueError, "every_n_steps=0: expected at least 1"),
        ({"every_n_steps": 2.5}, TypeError, "every_n_steps=2.5: expected an int"),
        ({"every_n_steps": True}, TypeError, "every_n_steps=True"),
        ({"histograms_every_n_steps": -1}, ValueError, "histograms_every_n_steps=-1"),
        ({"total_steps": 0}, ValueError, "total_steps=0"),
        ({"total_steps": "many"}, TypeError, "total_steps='many'"),
        ({"max_sampled_elements": 15}, ValueError, "max_sampled_elements=15: expected at least 16"),
        ({"max_sampled_elements": None}, TypeError, "max_sampled_elements=None"),
        ({"exact": 1}, TypeError, "exact=1: expected True or False"),
        ({"gradient_norm": "yes"}, TypeError, "gradient_norm='yes'"),
        ({"mirror_scalars": None}, TypeError, "mirror_scalars=None"),
        ({"initial_step": -3}, ValueError, "initial_step=-3: expected at least 0"),
        ({"on_error": "ignore"}, ValueError, "on_error='ignore': expected one of 'warn', 'raise'"),
        ({"log_dir": None}, ValueError, "exactly one of log_dir and writer is needed, got neither"),
        ({"writer": object()}, ValueError, "got both"),
        ({"log_dir": 3}, TypeError, "log_dir=3: expected a path"),
        ({"log_dir": ""}, ValueError, "log_dir is empty"),
        ({"log_dir": None, "writer": 3}, TypeError, "writer"),
    ],
)
def test_a_bad_option_is_named_with_its_value(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    model, optimizer = make()
    with pytest.raises(error, match=re.escape(message)):
        AdamDebugCallback(model, optimizer, **{"log_dir": tmp_path, **options})
    # Nothing is left attached.
    AdamDebugCallback(model, optimizer, log_dir=tmp_path).close()


def test_options_cannot_be_given_by_position(tmp_path: Path) -> None:
    model, optimizer = make()
    with pytest.raises(TypeError, match="positional"):
        AdamDebugCallback(model, optimizer, tmp_path)  # type: ignore[misc]


def test_a_file_in_the_place_of_the_log_folder_is_an_error(tmp_path: Path) -> None:
    model, optimizer = make()
    (tmp_path / "taken").write_text("here")
    with pytest.raises(OSError, match="taken"):
        AdamDebugCallback(model, optimizer, log_dir=tmp_path / "taken")
    AdamDebugCallback(model, optimizer, log_dir=tmp_path).close()


@pytest.mark.parametrize("log_dir", ["~/runs", Path("~/runs")], ids=["text", "path"])
def test_a_tilde_is_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_dir: str | Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    AdamDebugCallback(*make(), log_dir=log_dir).close()
    assert (tmp_path / "home" / "runs" / "adam_debug").is_dir()
    assert not (tmp_path / "~").exists()


def test_a_scalar_without_data_is_refused_and_a_sparse_one_is_kept(tmp_path: Path) -> None:
    model, optimizer = make()
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, on_error="raise") as debug:
        with pytest.raises(ValueError, match=r"record\(good=...\).*without data \(meta\)"):
            debug.record(good=torch.ones((), device="meta"))
        debug.record(good=torch.ones(1).to_sparse())
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
    assert read_run(tmp_path).steps[1]["good"] == 1


@pytest.mark.parametrize("optimizer", [None, nn.Linear(1, 1), "adam"])
def test_what_is_no_optimizer_is_refused(tmp_path: Path, optimizer: Any) -> None:
    with pytest.raises(TypeError, match=r"expected a torch\.optim\.Optimizer"):
        AdamDebugCallback(nn.Linear(1, 1), optimizer, log_dir=tmp_path)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    _, optimizer = make()
    with pytest.raises(TypeError, match=r"model is a int: pass an nn\.Module"):
        AdamDebugCallback(3, optimizer, log_dir=tmp_path)  # type: ignore[arg-type]


def test_an_optimizer_of_another_model_is_refused(tmp_path: Path) -> None:
    _, optimizer = make()
    with pytest.raises(ValueError, match=r"none of the model's parameters \(weight, bias\)"):
        AdamDebugCallback(nn.Linear(3, 2), optimizer, log_dir=tmp_path)


def test_a_watched_optimizer_is_refused_until_its_callback_is_closed(tmp_path: Path) -> None:
    model, optimizer = make()
    first = AdamDebugCallback(model, optimizer, log_dir=tmp_path / "a")
    with pytest.raises(ValueError, match=r"watched by another .*adam_debug.*close\(\)"):
        AdamDebugCallback(model, optimizer, log_dir=tmp_path / "b")
    assert not (tmp_path / "b").exists()
    first.close()
    AdamDebugCallback(model, optimizer, log_dir=tmp_path / "b").close()


def test_a_forgotten_parameter_is_warned_about_by_name(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    model[1].bias.requires_grad_(False)
    optimizer = torch.optim.Adam(model[0].parameters())
    debug = AdamDebugCallback(model, optimizer, log_dir=tmp_path)
    with pytest.warns(
        UserWarning, match=r"in no parameter group: 1\.weight\. The optimizer will not"
    ) as caught:
        optimizer.step()
    assert len(caught) == 1  # bias is frozen on purpose
    unoptimized = debug._parameters.records.parameters.unoptimized
    assert {name: parameter.requires_grad for name, parameter in unoptimized} == {
        "1.weight": True,
        "1.bias": False,
    }
    debug.close()


def test_a_parameter_that_is_not_in_the_model_gets_a_name_and_a_warning(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    extra = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([{"params": list(model.parameters())}, {"params": [extra]}])
    with pytest.warns(UserWarning, match=r"not in the model: group1\.parameter0"):
        debug = AdamDebugCallback(model, optimizer, log_dir=tmp_path)
    assert [w.name for w in debug._parameters.records.parameters.watched] == [
        "weight",
        "bias",
        "group1.parameter0",
    ]
    debug.close()


def test_a_model_on_the_meta_device_is_refused(tmp_path: Path) -> None:
    model = nn.Linear(3, 2, device="meta")
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(ValueError, match=r"weight is on the meta device: materialise"):
        AdamDebugCallback(model, optimizer, log_dir=tmp_path)


def test_a_lazy_model_that_never_ran_is_refused(tmp_path: Path) -> None:
    model = nn.LazyLinear(2)
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(ValueError, match="has no shape yet: run the model once"):
        AdamDebugCallback(model, optimizer, log_dir=tmp_path)


@pytest.mark.parametrize("name", ["step", "wall_time", "gradient_norm", "lr"])
def test_a_reserved_name_cannot_be_recorded(tmp_path: Path, name: str) -> None:
    model, optimizer = make()
    with (
        AdamDebugCallback(model, optimizer, log_dir=tmp_path) as debug,
        pytest.raises(ValueError, match=rf"record\({name}=\.\.\.\): that name is taken"),
    ):
        debug.record(**{name: 1.0})


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (torch.ones(3), ValueError, r"got a tensor of shape (3,)"),
        (torch.ones(0), ValueError, r"shape (0,)"),
        (torch.ones((), dtype=torch.complex64), ValueError, "complex64"),
        ("0.5", TypeError, "expected a number or a tensor of one element, got str"),
        (None, TypeError, "got NoneType"),
        (1 + 2j, TypeError, "got complex"),
    ],
)
def test_what_is_no_number_cannot_be_recorded(
    tmp_path: Path, value: Any, error: type[Exception], message: str
) -> None:
    model, optimizer = make()
    with (
        AdamDebugCallback(model, optimizer, log_dir=tmp_path) as debug,
        pytest.raises(error, match=r"record\(loss=\.\.\.\).*" + re.escape(message)),
    ):
        debug.record(good=1, loss=value)


@pytest.mark.parametrize("step", [-1, 1.5, None])
def test_a_step_that_is_no_count_is_refused(tmp_path: Path, step: Any) -> None:
    model, optimizer = make()
    with (
        AdamDebugCallback(model, optimizer, log_dir=tmp_path) as debug,
        pytest.raises((TypeError, ValueError), match=f"step={step}"),
    ):
        debug.step = step


def test_integers_of_numpy_are_counts(tmp_path: Path) -> None:
    model, optimizer = make()
    options: dict[str, Any] = {"total_steps": np.int64(40), "every_n_steps": np.uint8(2)}
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, **options) as debug:
        assert debug.step == 0
    options["total_steps"] = np.float64(40)
    with pytest.raises(TypeError, match="total_steps="):
        AdamDebugCallback(model, optimizer, log_dir=tmp_path, **options)
