"""Writes events to the file of the user's SummaryWriter.

Events are packed before they are handed over: the user may close the writer at any time, and events
still held by a thread of ours would be lost. The writer's own thread writes them.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from tensorboard.compat.proto import event_pb2

from .step_event import Packer, StepEvent


class SharedWriter:
    """The event file of a ``torch.utils.tensorboard`` or ``tensorboardX`` SummaryWriter.

    Attributes:
        location: The folder it writes to.
        lost_events: Always 0.
        seconds_on_thread: Always 0, because there is no thread of ours.
    """

    lost_events = 0
    seconds_on_thread = 0.0

    def __init__(self, writer: Any) -> None:
        """Check that it is such a writer, and still open.

        Raises:
            TypeError: If it is something else.
            ValueError: If it is closed.
        """
        if not (hasattr(writer, "file_writer") and hasattr(writer, "flush")):
            raise TypeError(
                "writer must be a SummaryWriter of torch.utils.tensorboard or tensorboardX, "
                f"got {type(writer).__name__}"
            )
        self._writer = writer
        if self.current_file is None:
            raise ValueError("writer is a SummaryWriter that is already closed")
        self.location = os.fspath(self.current_file.get_logdir())
        self._event_class = _event_class(self.current_file)
        self._packer = Packer()
        self._packed_for: object = None  # the file in which the packer has described tags

    @property
    def current_file(self) -> Any:
        """The current file writer: it changes if the user closes the writer and continues."""
        return self._writer.file_writer

    def write(self, event: StepEvent, share_of_queue: float) -> bool:
        """Hand over an event; waits if the writer's own queue is full.

        Args:
            event: The event to write.
            share_of_queue: Ignored, because nothing is refused here.

        Returns:
            True.

        Raises:
            OSError: If the writer is closed, or failed.
        """
        if self.current_file is None:
            raise OSError(f"the SummaryWriter of {self.location!r} is closed")
        self._follow_file()
        packed = self._packer.pack(event)
        try:
            message = self._event_class.FromString(packed)
            self.current_file.add_event(message, message.step, message.wall_time)
        except Exception as error:
            self._packer.describe_again()
            raise self._failure(error) from error
        return True

    def raise_error(self) -> None:
        """Do nothing: nothing is queued here."""

    def flush(self) -> None:
        """Flush the writer, if it is open.

        Raises:
            OSError: If the writer failed.
        """
        try:
            self._writer.flush()
        except Exception as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Flush; the writer stays the user's."""
        self.flush()

    def _follow_file(self) -> None:
        """Describe the tags again in a file that the user's SummaryWriter has started since."""
        if self.current_file is not self._packed_for:
            self._packed_for = self.current_file
            self._packer.describe_again()

    def _failure(self, error: Exception) -> OSError:
        return OSError(f"the SummaryWriter of {self.location!r} cannot write: {error!r}")


def _event_class(file_writer: Any) -> Any:
    # tensorboardX has its own message classes, equal on the wire, and accepts no others.
    for base in type(file_writer).__mro__:
        if base.__module__.partition(".")[0] == "tensorboardX":
            return importlib.import_module("tensorboardX.proto.event_pb2").Event
    return event_pb2.Event
