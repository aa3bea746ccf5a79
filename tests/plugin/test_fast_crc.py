"""``--adam_debug_fast_crc``: TensorBoard's checksums computed in C, on request only."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import google_crc32c
import numpy as np
import pytest
import tensorboard.version
from event_files import event, make_layout, statistics_of, write_events, write_run
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow
from tensorboard_process import running_tensorboard, wait_until

from tb_adam_plugin import schema
from tb_adam_plugin.loader import AdamDebugLoader
from tb_adam_plugin.serving import fast_crc
from tb_adam_plugin.serving.fast_crc import KNOWN_VERSIONS, NotReplacedError, replace_crc

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def tensorboard_module() -> Iterator[ModuleType]:
    """TensorBoard's module, as it was before each test and after it."""
    before = pywrap_tensorflow.crc32c
    yield pywrap_tensorflow
    pywrap_tensorflow.crc32c = before


def flags_of(*arguments: str) -> Any:
    parser = ArgumentParser()
    AdamDebugLoader().define_flags(parser)
    flags = parser.parse_args(arguments)
    flags.samples_per_plugin = {}
    return flags


def test_this_version_of_tensorboard_is_known() -> None:
    assert tensorboard.version.VERSION in KNOWN_VERSIONS


def test_it_is_off_unless_it_is_asked_for() -> None:
    plain = pywrap_tensorflow.crc32c
    AdamDebugLoader().fix_flags(flags_of())
    assert pywrap_tensorflow.crc32c is plain
    AdamDebugLoader().fix_flags(flags_of("--adam_debug_fast_crc"))
    assert pywrap_tensorflow.crc32c is not plain


def test_checksums_are_equal_of_random_bytes() -> None:
    plain, masked = pywrap_tensorflow.crc32c, pywrap_tensorflow.masked_crc32c
    random = np.random.default_rng(0)
    samples = [random.bytes(length) for length in [*range(70), 255, 4096, 10_001]]
    expected = [(plain(sample), masked(sample)) for sample in samples]
    replace_crc()
    assert [(pywrap_tensorflow.crc32c(s), masked(s)) for s in samples] == expected


def test_what_is_no_bytes_is_taken_as_before() -> None:
    plain = pywrap_tensorflow.crc32c
    replace_crc()
    for data in (bytearray(b"abc"), memoryview(b"abc"), [97, 98, 99]):
        assert pywrap_tensorflow.crc32c(data) == plain(b"abc")


def test_asking_twice_replaces_once() -> None:
    replace_crc()
    replaced = pywrap_tensorflow.crc32c
    replace_crc()
    assert pywrap_tensorflow.crc32c is replaced


@pytest.mark.parametrize("version", ["2.17.1", "2.22.0", "2.21.0a0"])
def test_an_unknown_version_is_left_as_it_is(
    version: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = pywrap_tensorflow.crc32c
    monkeypatch.setattr(tensorboard.version, "VERSION", version)
    AdamDebugLoader().fix_flags(flags_of("--adam_debug_fast_crc"))
    assert pywrap_tensorflow.crc32c is plain
    assert f"has no effect: TensorBoard {version}" in caplog.text


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda p: p.setattr(google_crc32c, "value", lambda data: len(data)), "different numbers"),
        (lambda p: p.setattr(google_crc32c, "implementation", "python"), "without its C extension"),
        (lambda p: p.setitem(sys.modules, "google_crc32c", None), "cannot be loaded"),
        (lambda p: p.delattr(pywrap_tensorflow, "masked_crc32c"), "lacks the functions"),
        (lambda p: p.setattr(pywrap_tensorflow, "crc32c", lambda data: 7), "different numbers"),
    ],
    ids=["another number", "no extension", "no package", "another module", "another function"],
)
def test_nothing_is_replaced_where_something_is_not_as_expected(
    spoil: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch)
    before = pywrap_tensorflow.crc32c
    with pytest.raises(NotReplacedError, match=reason):
        replace_crc()
    assert pywrap_tensorflow.crc32c is before


def test_a_masked_checksum_that_becomes_another_one_is_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = pywrap_tensorflow.crc32c

    def masked(data: bytes) -> int:
        return plain(data) if pywrap_tensorflow.crc32c is plain else 0

    monkeypatch.setattr(pywrap_tensorflow, "masked_crc32c", masked)
    with pytest.raises(NotReplacedError, match="masked_crc32c gives different numbers"):
        replace_crc()
    assert pywrap_tensorflow.crc32c is plain


def test_what_fails_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fast_crc, "replace_crc", lambda: 1 / 0)
    flags = Namespace(samples_per_plugin={}, adam_debug_fast_crc=True)
    AdamDebugLoader().fix_flags(flags)
    AdamDebugLoader().define_flags(None)
    assert "has no effect: division by zero" in caplog.text
    assert "--adam_debug_fast_crc is not available" in caplog.text


def test_tensorboards_reader_reads_the_same_and_refuses_the_same(tmp_path: Path) -> None:
    layout = make_layout()
    records = (
        event(t, [schema.statistics_tensor(layout, statistics_of(layout, t))]) for t in range(1, 6)
    )
    path = write_events(tmp_path, records)
    expected = [*RawEventFileLoader(str(path)).Load()]
    assert len(expected) >= 5
    replace_crc()
    assert [*RawEventFileLoader(str(path)).Load()] == expected
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    assert [*RawEventFileLoader(str(path)).Load()] == expected[:-1]


@pytest.mark.parametrize("option", [[], ["--adam_debug_fast_crc"]])
def test_tensorboard_says_its_version_with_it_and_without(option: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tensorboard.main", "--version", *option],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, tensorboard.version.VERSION)
    assert "Adam Debug" not in ended.stderr


def test_a_real_tensorboard_shows_a_run_with_it(tmp_path: Path) -> None:
    write_run(tmp_path / "exp1" / "adam_debug", range(1, 8))
    with running_tensorboard(tmp_path, "--load_fast=false", "--adam_debug_fast_crc") as tensorboard:
        route = "data/plugin/adam_debug/summary"
        wait_until(lambda: json.loads(tensorboard.get(route).body)["runs"], "the run")
        (run,) = json.loads(tensorboard.get(route).body)["runs"]
        assert run["last_step"] == 7
        assert "no effect" not in tensorboard.log
