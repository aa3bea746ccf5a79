"""The plugin within the test's own process, with TensorBoard's Python loader."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from tensorboard import context
from tensorboard.backend import application
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from werkzeug.test import Client, TestResponse

from tb_adam_plugin.event_files.log_roots import LogRoots
from tb_adam_plugin.loader import AdamDebugLoader
from tb_adam_plugin.reading.file_scalars import FileScalars
from tb_adam_plugin.reading.file_source import FileSource
from tb_adam_plugin.reading.provider_source import ProviderSource
from tb_adam_plugin.reading.record_source import Experiment, RecordSource

PREFIX = "/data/plugin/adam_debug/"
EXPERIMENT = Experiment(context.RequestContext(), "")


def read_folder(folder: Path, kept: int = 5000) -> Any:
    """Return the data provider of a log directory, loaded once; ``.reload()`` loads what is new."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer(
        tensor_size_guidance={"adam_debug": kept}
    )
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))

    def reload() -> None:
        multiplexer.AddRunsFromDirectory(str(folder))
        multiplexer.Reload()

    provider.reload = reload
    reload()
    return provider


def files_of(folder: Path) -> RecordSource:
    """Return a log directory that is read directly."""
    roots = LogRoots.of_folder(folder)
    return FileSource(roots, FileScalars(roots))


def provider_of(folder: Path) -> RecordSource:
    """Return a log directory as loaded by TensorBoard's Python loader."""
    return ProviderSource(read_folder(folder))


class PluginClient:
    """Sends requests to the plugin like the tab, without a server.

    Attributes:
        reads_files: Whether the plugin reads files itself by default.
    """

    reads_files = False

    def __init__(self, folder: Path, provider: Any = None, *, files: bool | None = None) -> None:
        """Load a log directory, with TensorBoard's Python loader unless there is a provider.

        Args:
            folder: The log directory.
            provider: A data provider.
            files: Whether the plugin knows the files' location, and reads them itself.
        """
        self.provider = read_folder(folder) if provider is None else provider
        flags = SimpleNamespace(logdir=str(folder), logdir_spec="", grpc_data_provider="")
        tb_context = base_plugin.TBContext(
            logdir=str(folder),
            data_provider=self.provider,
            flags=flags if files or (files is None and self.reads_files) else None,
        )
        plugin = AdamDebugLoader().load(tb_context)
        assert plugin is not None
        self.plugin = plugin
        self._client = Client(application.TensorBoardWSGI([plugin]))

    def get(self, route: str, **query: str | int | list[str]) -> TestResponse:
        """Request a route."""
        return self._client.get(PREFIX + route, query_string=query)

    def open(self, path: str, method: str = "GET") -> TestResponse:
        """Request an exact path and query."""
        return self._client.open(PREFIX + path, method=method)

    def json(self, route: str) -> Any:
        """Request a JSON route that must succeed."""
        answer = self.get(route)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.data)

    def packed(
        self, route: str, **query: str | int | list[str]
    ) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Request a packed route that must succeed."""
        answer = self.get(route, **query)
        assert answer.status_code == 200, answer.text
        assert answer.mimetype == "application/octet-stream"
        return unpack(answer.data)


def unpack(answer: bytes) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Read a packed answer as ``http_api.md`` describes it: header and arrays."""
    assert answer[:4] == b"ADBG"
    (length,) = struct.unpack_from("<I", answer, 4)
    header = json.loads(answer[8 : 8 + length])
    assert (8 + length) % 8 == 0
    arrays = {}
    for listed in header.pop("arrays"):
        dtype = np.dtype(listed["dtype"]).newbyteorder("<")
        assert listed["offset"] % 8 == 0
        count = int(np.prod(listed["shape"]))
        array = np.frombuffer(answer, dtype, count, listed["offset"])
        arrays[listed["name"]] = array.reshape(listed["shape"])
    return header, arrays
