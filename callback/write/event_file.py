"""Our own event file: its name, its first record, and where it is written.

TensorBoard's own writer reopens a local file for every record. Here it stays open.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import FileIO
from typing import Any, Protocol

from tensorboard.compat.proto import event_pb2

from tb_adam_plugin.schema import WRITER
from tb_adam_plugin.tfrecord import to_record

_FILE_NUMBER = itertools.count()
_NAME = "events.out.tfevents."
_SECONDS_IN_NAME = re.compile(re.escape(_NAME) + r"(\d{10})\.")


class EventFile(Protocol):
    """Accepts whole records. Every error is an OSError that names :attr:`location`."""

    location: str

    def write(self, records: bytes) -> None:
        """Write records where other processes can read them. On an error, none is kept."""

    def check(self) -> None:
        """Raise OSError if written data is known to be gone."""

    def close(self) -> None:
        """Close the file. May be called twice."""


def create(folder: str) -> EventFile:
    """Start an event file in a folder, which is created if it does not exist.

    Args:
        folder: A local path, or a URL that TensorBoard's file layer supports (``gs://``, ``s3://``
            …).

    Raises:
        OSError: If the folder cannot be written to.
        ValueError: If there is no file system for the URL.
    """
    return RemoteFile(folder) if is_url(folder) else LocalFile(folder)


def is_url(path: str) -> bool:
    """Whether a path is for TensorBoard's file layer rather than the local disk."""
    return "://" in path


class LocalFile:
    """An event file on a local disk, kept open.

    Attributes:
        location: Its path.
    """

    def __init__(self, folder: str) -> None:
        """Create the folder and the file."""
        self._folder = folder
        self.location = folder
        for path in (os.path.dirname(folder), folder):
            if os.path.isfile(path):
                raise NotADirectoryError(
                    errno.ENOTDIR, "log_dir needs a folder, found a file", path
                )
        try:
            os.makedirs(folder, exist_ok=True)
            self._open()
        except OSError as error:
            raise _with_path(error, self.location) from error

    def write(self, records: bytes) -> None:
        """See :class:`EventFile`."""
        try:
            if self._torn:
                self.close()
                self._open()
            self._append(records)
        except OSError as error:
            raise _with_path(error, self.location) from error
        self.check()

    def check(self) -> None:
        """See :class:`EventFile`."""
        # Writing to a deleted file succeeds. (Some file systems never count links.)
        if self._counts_links and not os.fstat(self._file.fileno()).st_nlink:
            raise FileNotFoundError(errno.ENOENT, "the event file was deleted", self.location)

    def close(self) -> None:
        """See :class:`EventFile`."""
        self._file.close()

    def _open(self) -> None:
        for name in _file_names(os.listdir(self._folder)):
            self.location = os.path.join(self._folder, name)
            with suppress(FileExistsError):
                self._file = FileIO(self.location, "xb")
                break
        self._counts_links = os.fstat(self._file.fileno()).st_nlink > 0
        self._size = 0
        self._torn = False
        try:
            self._append(_first_record())
        except BaseException:
            self._file.close()
            with suppress(OSError):
                os.unlink(self.location)
            raise

    def _append(self, records: bytes) -> None:
        """Write everything, or leave the file as it was: readers stop at a torn record."""
        rest = memoryview(records)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except BaseException:
            try:
                self._file.truncate(self._size)
                self._file.seek(self._size)
            except OSError:
                self._torn = True  # the next write starts another file
            raise
        self._size += len(records)


class RemoteFile:
    """An event file written through TensorBoard's file layer, as a SummaryWriter does.

    Attributes:
        location: Its URL.
    """

    def __init__(self, folder: str) -> None:
        """Create the folder and the file."""
        from tensorboard.compat import tf  # late: it imports TensorFlow if installed

        self._layer: Any = tf.io.gfile
        self._folder = folder.rstrip("/")
        self.location = self._folder
        try:
            self._layer.exists(self._folder)
        except (ValueError, ImportError) as error:
            raise ValueError(
                f"log_dir {folder!r}: TensorBoard has no file system for it ({error}). "
                "Install fsspec and the package for this kind of storage, or give a local folder"
            ) from error
        except Exception as error:
            raise _remote_error(error, self.location) from error
        self._file: Any = None
        self.write(b"")

    def write(self, records: bytes) -> None:
        """See :class:`EventFile`."""
        try:
            if self._file is None:
                self._layer.makedirs(self._folder)
                self._file = self._layer.GFile(self._unused_location(), "wb")
                records = _first_record() + records
            self._file.write(records)
            self._file.flush()
        except Exception as error:  # every storage has its own exceptions
            self._file = None  # its end may be torn: continue in another one
            raise _remote_error(error, self.location) from error

    def check(self) -> None:
        """See :class:`EventFile`. Checking a remote storage would cost a round trip."""

    def close(self) -> None:
        """See :class:`EventFile`."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            file.close()
        except Exception as error:
            raise _remote_error(error, self.location) from error

    def _unused_location(self) -> str:
        existing: list[str] = []
        with suppress(Exception):  # an object store has no empty folders
            existing = self._layer.listdir(self._folder)
        for name in _file_names(existing):
            self.location = f"{self._folder}/{name}"
            if not self._layer.exists(self.location):
                break
        return self.location


def _file_names(existing: Iterable[str]) -> Iterator[str]:
    # Readers go through a folder's files in the order of their names, which start with the seconds,
    # and let the last of equal steps win. A restart must come last, even within the same second or
    # after the clock was set back.
    found = (_SECONDS_IN_NAME.match(name.rpartition("/")[2]) for name in existing)
    newest = max((int(match[1]) for match in found if match), default=-1)
    seconds = min(max(int(time.time()), newest + 1), 10**10 - 1)
    # Two containers that share a folder may have the same host name and process id, so there are
    # several names.
    for number in _FILE_NUMBER:
        yield f"{_NAME}{seconds:010d}.{socket.gethostname()}.{os.getpid()}.{number}"


def _first_record() -> bytes:
    event = event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2")
    event.source_metadata.writer = WRITER
    return to_record(event.SerializeToString())


def _with_path(error: OSError, path: str) -> OSError:
    """Return the error as "cannot write the event file", with its path."""
    reason = error.strerror or str(error)
    return OSError(error.errno, f"cannot write the event file: {reason}", error.filename or path)


def _remote_error(error: Exception, location: str) -> OSError:
    return OSError(f"cannot write the event file {location!r}: {error or type(error).__name__}")
