"""Failures are contained: as little as possible is given up, and training goes on."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator

import torch

from ..ranks.agreement import Agreement, Failure
from ..read.tensor_reader import CaptureError
from .agenda import Agenda
from .followed_parameters import FollowedParameters
from .notices import Notices

# Parts that fail, and are given up, each on its own.
STEPS, RECORDS, NORMS = "steps", "records", "gradient norms"
WRITING, LOADING = "event files", "checks of checkpoints"
DIAGNOSIS = "findings"
GAIN, STALE = "gain ratios", "checks for stale gradients"
BATCHES = "saved batches"
CLEARED = "checks for cleared gradients"

LEFT_OUT = "are left out from now on; training continues"
ENDED = "nothing more is recorded; training continues"
READS_LESS = "from now on fewer elements of each parameter are read"

# After so many failures in a row the event file is given up.
_FAILED_WRITES = 10


class Containment:
    """Runs what must not end training, and remembers what is given up.

    Attributes:
        raises: Whether a failure is raised all the same, as the user wants it.
    """

    def __init__(
        self,
        agenda: Agenda,
        parameters: FollowedParameters,
        notices: Notices,
        *,
        raises: bool,
        agreement: Agreement | None = None,
    ) -> None:
        """Start without failures.

        Args:
            agenda: Ended where nothing more can be recorded.
            parameters: Read less of, or left out, where that is enough.
            notices: Get what failed and what follows from it.
            raises: Whether to raise a failure.
            agreement: Where other processes have to know first.
        """
        self.raises = raises
        self._agenda = agenda
        self._parameters = parameters
        self._notices = notices
        self._agreement = agreement
        self._disabled: set[str] = set()
        self._failed_writes = 0

    def run(self, part: str, doing: str, function: Callable[[], None]) -> bool:
        """Run something that must not end training; return whether it succeeded.

        Args:
            part: That is given up if it fails; not run where that has happened before.
            doing: What it does, for the message.
            function: Is run, such that its tensors can be written to in any mode.

        Raises:
            Exception: Where failures are to be raised.
        """
        if part in self._disabled:
            return False
        try:
            if torch.is_inference_mode_enabled():
                with lasting_tensors():
                    function()
            else:
                function()
            return True
        except Exception as error:
            # Elsewhere, because what is kept of the error in this frame would keep itself alive.
            if not self._handle(part, doing, error):
                raise
            return False

    def is_disabled(self, part: str) -> bool:
        """Whether a part was given up."""
        return part in self._disabled

    def disable(self, part: str) -> str:
        """Give a part up; return what to say of it."""
        self._disabled.add(part)
        if part == RECORDS:
            self._parameters.records.release()
            self._agenda.catches_up = False  # no need to catch up on a record
        return f"{part} {LEFT_OUT}"

    def notice(self, message: str, kind: str) -> None:
        """Warn of what is no failure, once for each kind."""
        self._notices.warn_once(message, kind)

    def forget_failed_writes(self) -> None:
        """Something was written: failures before it are no reason to give the event file up."""
        self._failed_writes = 0

    def _handle(self, part: str, doing: str, error: Exception) -> bool:
        """Do what is to be done about a failure; return False to raise it."""
        if self._agreement is not None and part in (STEPS, RECORDS, NORMS):
            self._agreement.add(self._failure(part, doing, error))
            _free_memory(error)  # it is kept until the others have been told
            return True
        if self.raises:
            self._agenda.enabled = False
            return False
        failure = self._failure(part, doing, error)
        outcome = self._give_up(failure)
        # A disk that is full is warned of once for records, and once more where some are lost.
        of = doing if part == WRITING else getattr(error, "parameter", "")
        kind = f"{part}: {outcome} {of}"
        self._notices.warn_once(f"{failure.what}; {outcome}", kind)
        return True

    def _failure(self, part: str, doing: str, error: Exception) -> Failure:
        return Failure(
            part,
            f"failed while {doing} at step {self._agenda.count.number} "
            f"({type(error).__name__}: {error})",
            error,
            error.parameter if isinstance(error, CaptureError) else "",
            _is_out_of_memory(error),
        )

    def _give_up(self, failure: Failure) -> str:
        """Disable as little as possible, and say what."""
        part, error = failure.part, failure.error
        if part == RECORDS:
            with contextlib.suppress(Exception):
                outcome = self._record_less(failure)
                if outcome is not None:
                    return outcome
        if part == WRITING and isinstance(error, OSError):
            self._failed_writes += 1
            if self._failed_writes < _FAILED_WRITES:
                return "training and attempts to write continue"
        if part in (RECORDS, NORMS, LOADING, DIAGNOSIS, GAIN, STALE, BATCHES, CLEARED):
            return self.disable(part)
        if self._agreement is not None:
            self._agreement.stops = True  # the others are told with the next step
        else:
            self._agenda.enabled = False
        return ENDED

    def _record_less(self, failure: Failure) -> str | None:
        """Read less, or leave a parameter out; say which, or return None where neither helps."""
        if failure.is_out_of_memory:
            _free_memory(failure.error)
            return READS_LESS if self._parameters.shrink() else None
        if isinstance(failure.error, CaptureError) and self._parameters.exclude(failure.parameter):
            self._parameters.follow()
            return "that parameter is no longer recorded; the others are"
        return None


@contextlib.contextmanager
def lasting_tensors() -> Iterator[None]:
    """Let tensors be made that can be written to later, whatever mode the training is in.

    One made under ``torch.inference_mode()`` can be written to in that mode alone.
    """
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        yield


def _is_out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
            return True
        # The CPU has no exception of its own for it.
        if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
            return True
        error = error.__cause__
    return False


def _free_memory(error: BaseException | None) -> None:
    """Drop the tensors that the calls which failed still hold."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__
