"""Threads switch more often while a request is answered, and as usual afterwards."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from event_files import make_layout, write_run
from in_process import PluginClient

from tb_adam_plugin.event_files import quick_turns as module
from tb_adam_plugin.event_files.quick_turns import quick_turns
from tb_adam_plugin.serving.findings_cache import FindingsCache


def test_threads_change_often_until_the_last_one_leaves() -> None:
    usual = sys.getswitchinterval()
    with quick_turns():
        with quick_turns():
            assert sys.getswitchinterval() == pytest.approx(module._SECONDS)
        assert sys.getswitchinterval() == pytest.approx(module._SECONDS)
    assert sys.getswitchinterval() == usual


def test_an_interval_that_is_shorter_already_stays() -> None:
    usual = sys.getswitchinterval()
    try:
        sys.setswitchinterval(module._SECONDS / 2)
        with quick_turns():
            assert sys.getswitchinterval() == pytest.approx(module._SECONDS / 2, abs=2e-6)
    finally:
        sys.setswitchinterval(usual)


@pytest.mark.parametrize("fails", [False, True])
def test_rules_have_quick_turns_and_leave_the_interval_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    write_run(tmp_path / "run", range(1, 21), make_layout())
    client, usual, seen = PluginClient(tmp_path), sys.getswitchinterval(), []
    get = FindingsCache.get

    def watched(*args: object) -> object:
        seen.append(sys.getswitchinterval())
        if fails:
            raise ValueError
        return get(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(FindingsCache, "get", watched)
    assert client.get("findings", run="run").status_code == (500 if fails else 200)
    assert seen == [pytest.approx(module._SECONDS)]
    assert sys.getswitchinterval() == usual
