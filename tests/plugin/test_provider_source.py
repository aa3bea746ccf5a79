from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from event_files import make_layout, write_run
from in_process import EXPERIMENT, provider_of
from tensorboard import errors

from tb_adam_plugin.reading.provider_source import ProviderSource
from tb_adam_plugin.reading.record_source import Stored, UnreadableError
from tb_adam_plugin.reading.records import Series, decode_statistics
from tb_adam_plugin.reading.run import StoredRun
from tb_adam_plugin.schema import Tag

LAYOUT = make_layout()
TAG = Tag("statistics", LAYOUT.id)


class Listed(NamedTuple):
    plugin_content: bytes
    max_step: int
    max_wall_time: float


class Datum(NamedTuple):
    step: int
    wall_time: float
    numpy: npt.NDArray[Any]


class Code(NamedTuple):
    name: str


class RemoteError(Exception):
    """Looks like an error of gRPC."""

    def __init__(self, code: str, details: str = "details") -> None:
        super().__init__("<_InactiveRpcError of RPC that terminated with:\n many lines")
        self._code, self._details = Code(code), details

    def code(self) -> Code:
        return self._code

    def details(self) -> str:
        return self._details


class Provider:
    """A data provider of one run that can be told to fail."""

    def __init__(self, steps: int = 3) -> None:
        self.steps = steps
        self.largest_answer = 10**9
        self.listings = 0
        self.asked: list[int] = []
        self.error: Exception | None = None

    def list_tensors(self, *_: Any, **__: Any) -> dict[str, dict[str, Listed]]:
        self.listings += 1
        if self.error:
            raise self.error
        return {"exp1": {str(TAG): Listed(LAYOUT.content(), self.steps, float(self.steps))}}

    def list_scalars(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {}

    def read_tensors(
        self, *_: Any, downsample: int, **__: Any
    ) -> Mapping[str, Mapping[str, list[Datum]]]:
        self.asked.append(downsample)
        if self.error:
            raise self.error
        count = min(self.steps, downsample)
        if count > self.largest_answer:
            raise RemoteError("RESOURCE_EXHAUSTED", "Received message larger than max")
        return {
            "exp1": {str(TAG): [Datum(t, t, np.zeros((2, 3), np.float32)) for t in range(count)]}
        }


def read(events: ProviderSource) -> Series:
    (run,) = events.listing(EXPERIMENT).runs
    decode = partial(decode_statistics, layout=LAYOUT)
    (listed,) = run.tags.values()
    series: Series = events.small(Stored(EXPERIMENT, "exp1", TAG, listed), decode)
    return series


def test_what_has_not_changed_is_not_read_again() -> None:
    provider = Provider()
    events = ProviderSource(provider)
    assert read(events) is read(events)
    assert len(provider.asked) == 1
    assert provider.asked[0] > 5000


def test_a_series_that_grew_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tb_adam_plugin.reading.provider_source._REUSE", 0)
    provider = Provider()
    events = ProviderSource(provider)
    assert read(events).step.size == 3
    provider.steps = 4
    assert read(events).step.size == 4


def test_a_listing_that_took_long_is_used_again_for_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("tb_adam_plugin.reading.provider_source.time.monotonic", lambda: now)
    provider = Provider()
    events = ProviderSource(provider)
    listing = provider.list_tensors

    def slow(*args: Any, **kwargs: Any) -> Any:
        nonlocal now
        now += 0.5
        return listing(*args, **kwargs)

    monkeypatch.setattr(provider, "list_tensors", slow)
    events.listing(EXPERIMENT)
    now += 4.9
    events.listing(EXPERIMENT)
    assert provider.listings == 1
    now += 0.2
    events.listing(EXPERIMENT)
    assert provider.listings == 2


def test_an_answer_too_large_is_asked_for_as_a_sample_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tb_adam_plugin.reading.provider_source._ANSWER_BYTES", 24 * 50)
    provider = Provider(steps=100)
    provider.largest_answer = 60
    events = ProviderSource(provider)
    assert read(events).step.size == 50
    (message,) = events.notes(EXPERIMENT, "exp1")
    assert message.severity == "warning"
    assert message.text.startswith("50 records are shown, chosen at random")


def test_a_wrong_guess_of_what_fits_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tb_adam_plugin.reading.provider_source._ANSWER_BYTES", 24 * 90)
    provider = Provider(steps=100)
    provider.largest_answer = 60
    assert read(ProviderSource(provider)).step.size == 45
    assert provider.asked[1:] == [1, 90, 45]


def test_even_one_record_may_be_too_large() -> None:
    provider = Provider()
    provider.largest_answer = 0
    with pytest.raises(UnreadableError, match="larger than max"):
        read(ProviderSource(provider))


def test_records_that_tensorboard_dropped_are_told() -> None:
    events = ProviderSource(Provider(steps=50), kept_records=50)
    read(events)
    (message,) = events.notes(EXPERIMENT, "exp1")
    assert "--samples_per_plugin=adam_debug=0" in message.text


@pytest.mark.parametrize("kept", [None, 0, 4])
def test_all_records_need_no_message(kept: int | None) -> None:
    events = ProviderSource(Provider(steps=3), kept_records=kept)
    read(events)
    assert events.notes(EXPERIMENT, "exp1") == ()


def test_a_provider_that_fails_is_explained_in_one_line() -> None:
    provider = Provider()
    provider.error = RemoteError("UNAVAILABLE", "connection refused\nmore")
    with pytest.raises(UnreadableError, match=r"list of runs: connection refused$"):
        ProviderSource(provider).listing(EXPERIMENT)


def test_a_provider_that_fails_without_a_word_is_named() -> None:
    provider = Provider()
    provider.error = KeyError()
    with pytest.raises(UnreadableError, match="cannot read the list of runs: KeyError"):
        ProviderSource(provider).listing(EXPERIMENT)


def test_public_errors_of_tensorboard_pass_through() -> None:
    provider = Provider()
    provider.error = errors.PermissionDeniedError("not yours")
    with pytest.raises(errors.PermissionDeniedError):
        ProviderSource(provider).listing(EXPERIMENT)


def test_real_event_files_are_listed(tmp_path: Path) -> None:
    layout = write_run(tmp_path / "exp1" / "adam_debug", range(1, 4))
    runs: tuple[StoredRun, ...] = provider_of(tmp_path).listing(EXPERIMENT).runs
    assert [(run.run, run.name, run.layout.newest) for run in runs] == [
        ("exp1/adam_debug", "exp1", layout)
    ]
