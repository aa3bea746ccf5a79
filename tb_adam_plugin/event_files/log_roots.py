"""Which event files belong to which run, and the run's name in TensorBoard's run selector."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_FILE_MARK = "tfevents"
# TensorBoard's own test for an address.
_ADDRESS = re.compile(r"[a-zA-Z][0-9a-zA-Z.]*://.*")
# Deeper than anybody nests folders, and within Python's recursion limit.
_DEEPEST = 200


class LogRoots:
    """The folders that TensorBoard reads, as ``--logdir`` or ``--logdir_spec`` names them."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        """Set the folders.

        Args:
            folders: Prefix of the run names in each folder, by its path; "" for none.
        """
        self._folders = dict(folders)

    @classmethod
    def of_folder(cls, folder: str | os.PathLike[str]) -> LogRoots:
        """Return the single folder given as ``--logdir``; ``~`` is a home folder."""
        return cls({os.path.expanduser(os.fspath(folder)): ""})

    @classmethod
    def of_flags(cls, flags: Any) -> LogRoots | None:
        """Return the folders in TensorBoard's flags; None if they are not all on this machine."""
        folder = str(getattr(flags, "logdir", "") or "")
        specified = str(getattr(flags, "logdir_spec", "") or "")
        if getattr(flags, "grpc_data_provider", ""):
            return None
        roots = cls.of_folder(folder) if folder else cls(_parse_specification(specified))
        remote = any(_ADDRESS.match(path) for path in roots._folders)
        return None if remote or not roots._folders else roots

    def event_files(self) -> dict[str, list[str]]:
        """Return the event files of every run, sorted by name.

        Linked folders are followed, except into a folder that is already being visited. A folder
        that cannot be read has no runs, as in TensorBoard.
        """
        found: dict[str, list[str]] = {}
        for root, name in self._folders.items():
            for folder, files in _folders_with_files(root):
                below = os.path.relpath(folder, root)
                found[os.path.join(name, below) if name else below] = files
        return found


def _parse_specification(specification: str) -> dict[str, str]:
    """Parse ``--logdir_spec`` as TensorBoard does: paths with or without a name."""
    folders: dict[str, str] = {}
    for part in filter(None, specification.split(",")):
        name, path = "", part
        is_named = ":" in part and not part.startswith("/") and not os.path.splitdrive(part)[0]
        if is_named and not _ADDRESS.match(part):
            name, _, path = part.partition(":")
        if not _ADDRESS.match(path):
            path = os.path.realpath(os.path.expanduser(path))
        folders[path] = name
    return folders


def _folders_with_files(root: str) -> list[tuple[str, list[str]]]:
    """Return every folder with event files, starting from the root, and its files."""
    found: list[tuple[str, list[str]]] = []
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [(root, ())]
    while waiting:
        folder, above = waiting.pop()
        files: list[str] = []
        below: list[str] = []
        try:
            status = os.stat(folder)
            identity = (status.st_dev, status.st_ino)
            if identity in above or len(above) > _DEEPEST:
                continue
            with os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(OSError):  # for a single broken link
                        if _FILE_MARK in entry.name and entry.is_file():
                            files.append(entry.path)
                        elif entry.is_dir():
                            below.append(entry.path)
        except OSError:
            continue
        if files:
            found.append((folder, sorted(files, key=os.path.basename)))
        waiting += [(path, (*above, identity)) for path in sorted(below, reverse=True)]
    return found
