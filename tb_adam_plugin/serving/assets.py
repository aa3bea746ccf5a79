"""The tab's files, served by exact name under a path that changes with their content.

The version and a hash of all files are part of the path, not a query: relative imports between the
files inherit a path. So an installed tab can be cached for a year. In a source checkout nothing is
cached and every request rereads the file, so edits show when the page is reloaded; it only looks up
that one file, because a page requests dozens.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from tb_adam_plugin import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.abc import Traversable

_CONTENT_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
# The style sheets in the order in which they apply, served as one file to save requests.
_STYLE = "style.css"
_LAYOUT = ("page", "side", "overview", "parameter", "narrow", "telephone")
_CONTROLS = (
    "basics", "toolbar", "buttons", "labels", "runs", "findings", "all_findings",
    "comparison", "compass", "overview", "tooltips", "tables", "what_is", "settings",
    "optimizer_card", "messages", "narrow",
)  # fmt: skip
_SHEETS = (
    "style/tokens.css",
    *(f"style/layout/{name}.css" for name in _LAYOUT),
    *(f"style/controls/{name}.css" for name in _CONTROLS),
)
_YEAR = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, ready to send.

    Attributes:
        content: Its bytes.
        content_type: A MIME type.
        expires: Seconds for which a browser may cache it; 0 for not at all.
    """

    content: bytes
    content_type: str
    expires: int


class Assets:
    """The served files of one folder."""

    def __init__(self, folder: Traversable | None = None, *, editable: bool | None = None) -> None:
        """Choose the folder; nothing is read yet.

        Args:
            folder: Folder of the files; by default that of the installed package.
            editable: Whether files may change while TensorBoard runs; by default whether the folder
                is that of a source checkout.
        """
        self._folder = folder or resources.files("tb_adam_plugin.frontend_static")
        self._editable = _is_checkout(self._folder) if editable is None else editable
        self._installed: tuple[str, dict[str, bytes]] | None = None

    def module_path(self) -> str:
        """Return the path of the tab's ES module, relative to ``static/``."""
        return f"{self._state()[0]}/index.js"

    def read(self, path: str) -> Asset | None:
        """Return the file at ``<version>-<hash>/<name>``, or None if it is not served.

        A checkout accepts any version, so an open page keeps working after an edit.
        """
        version, _, name = path.partition("/")
        if self._editable:
            edited = _read(partial(_file_at, self._folder), name)
            return None if edited is None else Asset(edited, _content_type(name), 0)
        current, contents = self._state()
        if version != current or name not in contents:
            return None
        return Asset(contents[name], _content_type(name), _YEAR)

    def _state(self) -> tuple[str, dict[str, bytes]]:
        if self._installed is not None:
            return self._installed
        files = dict(_served_files(self._folder))
        names = [*files, _STYLE]
        contents = {
            name: content for name in names if (content := _read(files.get, name)) is not None
        }
        state = f"{__version__}-{_hash(contents)}", contents
        if not self._editable:
            self._installed = state
        return state


def _is_checkout(folder: Traversable) -> bool:
    return isinstance(folder, Path) and (folder.resolve().parent / "setup.py").is_file()


def _served_files(folder: Traversable, prefix: str = "") -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _served_files(entry, f"{prefix}{entry.name}/")
        elif _suffix(entry.name) in _CONTENT_TYPES:
            found.append((prefix + entry.name, entry))
    return sorted(found, key=lambda named: named[0])


def _file_at(folder: Traversable, name: str) -> Traversable | None:
    """Follow an exact name down from a folder; None if no such file is served.

    Names are compared with the folders' listings: so there is no way up, and no alternative
    spelling if the file system accepts several for a file.
    """
    *folders, last = name.split("/")
    for part in folders:
        below = _entry(folder, part)
        if below is None or not below.is_dir():
            return None
        folder = below
    found = _entry(folder, last) if _suffix(last) in _CONTENT_TYPES else None
    return None if found is None or found.is_dir() else found


def _entry(folder: Traversable, name: str) -> Traversable | None:
    return next((entry for entry in folder.iterdir() if entry.name == name), None)


def _read(file_of: Callable[[str], Traversable | None], name: str) -> bytes | None:
    """Return the content of a served name; None if the file does not exist."""
    parts = [file_of(part) for part in (_SHEETS if name == _STYLE else (name,))]
    contents = [part.read_bytes() for part in parts if part is not None]
    return b"\n".join(contents) if len(contents) == len(parts) else None


def _suffix(name: str) -> str:
    return "." + name.rpartition(".")[2]


def _content_type(name: str) -> str:
    return _CONTENT_TYPES[_suffix(name)]


def _hash(contents: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:10]
