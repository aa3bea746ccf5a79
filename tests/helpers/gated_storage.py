"""Remote files in memory, behind a gate."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from event_log_steps import steps_in
from fsspec.implementations.memory import MemoryFileSystem


class GatedFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """In-memory files behind a gate that the test opens and closes, and that may be broken."""

    protocol = "gated"
    store: dict[str, Any] = {}  # noqa: RUF012  as the class it extends
    pseudo_dirs = [""]  # noqa: RUF012
    gate = threading.Event()
    waiting = threading.Event()
    broken = False

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if "r" not in mode:
            self.waiting.set()
            assert self.gate.wait(60)
        file = super()._open(path, mode, **options)
        if self.broken and "r" not in mode:
            file.write(b"torn")
            raise ConnectionError("the bucket is out of reach")
        return file


def remote_steps(tmp_path: Path) -> list[int]:
    """The steps in the remote files."""
    for path, file in GatedFileSystem.store.items():
        (tmp_path / Path(path).name).write_bytes(file.getvalue())
    return steps_in(tmp_path)
