"""Which live callback writes into which run, so no two of them write into the same one.

The first callback of a run folder writes to the usual place. While it lives, another one for the
same folder gets a separate part: ``adam_debug_2`` beside ``adam_debug``, which readers show as a
separate run. A callback that is closed, or garbage-collected, gives its place back: the next one
continues there.

Between processes, a lock decides: one byte of a file in the run's folder for each part. It is a
POSIX lock, which ends with its process in any case, and which a forked child (a worker of a
DataLoader) does not inherit. The price is that it also ends when its process closes the file for
any reason; so a process opens the file once for all of its callbacks. Where there are no such locks
(Windows, remote folders, some network disks), only the callbacks of one process are kept apart.
"""

from __future__ import annotations

import errno
import gc
import itertools
import os
import threading
import time
from collections.abc import Hashable
from contextlib import suppress
from typing import Any

from tb_adam_plugin import schema

from .event_file import is_url
from .event_log import EventLog, checked_log_dir
from .summary_writer import SharedWriter

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LOCK_FILE = ".adam_debug.lock"
_BYTES_OF_RANK = 1 << 20
# A process that gives up its last part briefly locks the whole file, to delete it.
_ATTEMPTS, _SECONDS_BETWEEN = 3, 0.01
_MOST_DELETIONS = 1000
# When searching files of others: how many of the newest to read, and how much of each.
_MOST_SEARCHED, _SEARCHED_BYTES = 16, 1 << 20
_MARK = f"{schema.PLUGIN_NAME}/".encode()
# A disk that refuses this many locks refuses all of them.
_MOST_PROCESSES = 1000


class RunClaim:
    """A place in a run's folder, held until it is released.

    Attributes:
        number: Index of this callback among the run's live ones, from 1.
        is_used: Whether something was written there.
        holds_records: Whether an earlier training left records there.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None,
        writer: Any,
        folder: str = schema.RUN_FOLDER,
    ) -> None:
        """Take the first free place.

        Args:
            log_dir: As for :class:`.event_log.EventLog`.
            writer: The user's writer, if it is used; its folder is claimed.
            folder: Subfolder of the first callback that writes there.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If ``log_dir`` is empty, or ``writer`` is closed.
        """
        self._log_dir, self._writer, self._folder = log_dir, writer, folder
        if log_dir is None:
            given = SharedWriter(writer).location
            head, own = os.path.split(given.rstrip("/" + os.sep))
            self._given = head or os.curdir if own == schema.RUN_FOLDER else given
        else:
            self._given = checked_log_dir(log_dir)
        self._run = self._given
        if not is_url(self._given):
            # The working directory may change before the file is opened.
            with suppress(OSError):  # or may be gone
                self._run = os.path.abspath(self._given)
        part = schema.part_of(folder)
        self._rank = 0 if part is None else part.rank
        self._process = os.getpid()
        self.is_used = False
        with _guard:
            self._entry = _entry_of(self._run)
            self.number, self._rivals = self._entry.take(self._rank, self)
        if self._rivals:
            self.settle()
        if log_dir is None and self.number == 1:
            self.holds_records = _has_records_of_ours(self.location)
        else:
            self.holds_records = _has_event_file(self.location)

    @property
    def may_become_free(self) -> bool:
        """Whether an earlier callback, which has already written, may be gone by the first step.

        When a notebook cell is run again, the new callback is created before its variable releases
        the old one.
        """
        return any(rival.is_used for rival in self._rivals)

    @property
    def location(self) -> str:
        """The folder to write to."""
        if self.number == 1 and self._log_dir is None:
            return self._given
        separator = "/" if is_url(self._given) else os.sep
        return self._given.rstrip(separator) + separator + self._own_folder

    @property
    def notice(self) -> str:
        """What to tell the user about the place; "" if it is the first one."""
        if self.number == 1:
            return ""
        rival = "another AdamDebugCallback" if self._rivals else "another process"
        what = "log_dir" if self._writer is None else "the folder of writer"
        return (
            f"{what} {self._given!r} is in use by {rival}: this one writes to {self.location!r}, "
            f'and is shown as a separate run with "({self.number})" after the name. Give each its '
            "own log_dir to name them, or close() the other one first to continue in its place"
        )

    def settle(self) -> None:
        """Take an earlier place, if one has become free."""
        if self.number == 1:
            return
        gc.collect()  # a callback and its optimizer form a cycle
        with _guard:
            number, self._rivals = self._entry.take(self._rank, self, below=self.number)
            if number < self.number:
                self._entry.give_back(self._rank, self.number)
                self.number = number

    def open(self, *, late: bool = False) -> EventLog:
        """Start the event file, or share the writer's.

        Args:
            late: Whether the working directory may have changed since.

        Raises:
            OSError: If the folder cannot be written to.
            ValueError: If there is no file system for a URL.
        """
        if self.number == 1 and (self._log_dir is None or not late):
            return EventLog(self._log_dir, writer=self._writer, folder=self._folder)
        return EventLog(self._run, folder=self._own_folder)

    def release(self) -> None:
        """Release the place. May be called twice; in a forked child, the parent keeps it."""
        if os.getpid() == self._process:
            with _guard:
                self._entry.give_back(self._rank, self.number, of=self)

    @property
    def _own_folder(self) -> str:
        return schema.numbered_folder(self._folder, self.number)


class _RunFolder:
    """The places in one run's folder that this process's callbacks hold."""

    def __init__(self, key: Hashable, lock_file: str | None) -> None:
        self._key = key
        self._path = lock_file
        self._claims: dict[tuple[int, int], RunClaim] = {}
        self._lock: int | None = None

    @property
    def is_gone(self) -> bool:
        """Whether the user has deleted, and possibly recreated, the folder since."""
        return self._lock is not None and not _is_file_at(self._lock, self._path)

    def take(
        self, rank: int, claim: RunClaim, below: int | None = None
    ) -> tuple[int, list[RunClaim]]:
        """Return the first free number, and the owners of earlier ones, as far as known."""
        rivals: list[RunClaim] = []
        refused: list[int] = []
        for number in itertools.count(1):
            if number == below:
                return number, rivals
            rival = self._claims.get((rank, number))
            if rival is not None:
                rivals.append(rival)
            elif self._lock_byte(
                rank * _BYTES_OF_RANK + number, attempts=1 if refused else _ATTEMPTS
            ):
                break
            else:
                refused.append(number)
            if len(refused) == _MOST_PROCESSES:
                number = refused[0]
                break
        self._claims[rank, number] = claim
        return number, rivals

    def give_back(self, rank: int, number: int, of: RunClaim | None = None) -> None:
        """Free a number, if that claim owns it."""
        if of is not None and self._claims.get((rank, number)) is not of:
            return
        del self._claims[rank, number]
        if self._claims:
            if self._lock is not None:
                with suppress(OSError):
                    fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, rank * _BYTES_OF_RANK + number)
            return
        if _run_folders.get(self._key) is self:
            del _run_folders[self._key]
        self._close_lock()

    def _lock_byte(self, byte: int, attempts: int) -> bool:
        """Lock a byte of the file; return False if another process holds it."""
        refused = 0
        for _ in range(_MOST_DELETIONS):
            try:
                if self._lock is None:
                    self._open_lock()
                if self._lock is None:
                    return True
                fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN) or self._lock is None:
                    return True  # locks are not supported here
                refused += 1
                if refused == attempts:
                    return False
                time.sleep(_SECONDS_BETWEEN)
            else:
                if self._claims or _is_file_at(self._lock, self._path):
                    return True
            if not self._claims and not _is_file_at(self._lock, self._path):
                # Another process has deleted the file between our two calls: we locked, or were
                # refused, a file that no process will open again.
                os.close(self._lock)
                self._lock = None
        return False

    def _open_lock(self) -> None:
        if fcntl is None or self._path is None:
            return
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        self._lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def _close_lock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is None or self._path is None:
            return
        with suppress(OSError):
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody else holds a part
            if _is_file_at(lock, self._path):
                os.unlink(self._path)
        with suppress(OSError):
            os.close(lock)


def _entry_of(run: str) -> _RunFolder:
    if is_url(run):
        key: Hashable = run.rstrip("/")
        path = None
    else:
        with suppress(OSError):
            os.makedirs(run, exist_ok=True)
        try:
            status = os.stat(run)
            key = (status.st_dev, status.st_ino)  # independent of links and spellings
        except (OSError, ValueError):
            key = run
        path = os.path.join(run, _LOCK_FILE)
    entry = _run_folders.get(key)
    if entry is None or entry.is_gone:
        entry = _run_folders[key] = _RunFolder(key, path)
    return entry


def _has_event_file(folder: str) -> bool:
    if is_url(folder):
        return False
    try:
        with os.scandir(folder) as entries:
            return any("tfevents" in entry.name for entry in entries)
    except (OSError, ValueError):
        return False


def _has_records_of_ours(folder: str) -> bool:
    """Whether a shared folder has our records: near the start of a file."""
    if is_url(folder):
        return False
    with suppress(OSError, ValueError), os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if "tfevents" in entry.name)
        for name in names[-_MOST_SEARCHED:]:
            with open(os.path.join(folder, name), "rb") as file:
                if _MARK in file.read(_SEARCHED_BYTES):
                    return True
    return False


def _is_file_at(descriptor: int, path: str | None) -> bool:
    try:
        return path is not None and os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


_run_folders: dict[Hashable, _RunFolder] = {}
_guard = threading.RLock()  # a finalizer may release a place while another one is being taken


def _forget() -> None:
    """Reset in a forked child: the places, and the locks, belong to the parent."""
    global _guard
    _guard = threading.RLock()
    _run_folders.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
