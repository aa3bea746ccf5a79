from __future__ import annotations

import logging
import sys
from argparse import Namespace

import pytest

from tb_adam_plugin.loader import AdamDebugLoader


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({"logdir": "runs"}, 1),
        ({"logdir": "", "logdir_spec": "a:runs,b:other"}, 1),
        ({"logdir": "gs://bucket/runs"}, 5000),
        ({"logdir_spec": "a:runs,b:gs://bucket/runs"}, 5000),
        ({"logdir": "runs", "grpc_data_provider": "localhost:1234"}, 5000),
        ({}, 5000),
    ],
)
def test_tensorboard_is_asked_to_keep_records_that_are_not_read_directly(
    where: dict[str, str], kept: int
) -> None:
    flags = Namespace(samples_per_plugin={"images": 3}, **where)
    AdamDebugLoader().fix_flags(flags)
    assert flags.samples_per_plugin == {"images": 3, "adam_debug": kept}


def test_the_choice_of_the_user_wins() -> None:
    flags = Namespace(samples_per_plugin={"adam_debug": 50})
    AdamDebugLoader().fix_flags(flags)
    assert flags.samples_per_plugin == {"adam_debug": 50}


@pytest.mark.parametrize("flags", [Namespace(), Namespace(samples_per_plugin=None), None])
def test_flags_of_another_tensorboard_do_no_harm(
    flags: Namespace | None, caplog: pytest.LogCaptureFixture
) -> None:
    AdamDebugLoader().fix_flags(flags)
    assert "a sample of the steps" in caplog.text


def test_a_plugin_that_does_not_import_hides_the_tab(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "tb_adam_plugin.serving.plugin", None)
    with caplog.at_level(logging.ERROR):
        assert AdamDebugLoader().load(None) is None
    (record,) = caplog.records
    assert "failed to load" in record.message


def test_a_plugin_that_does_not_start_hides_the_tab(caplog: pytest.LogCaptureFixture) -> None:
    assert AdamDebugLoader().load(object()) is None
    assert "failed to load" in caplog.text
