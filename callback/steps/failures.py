"""Contains failures: disables as little as possible, so training continues."""

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

# Parts that can fail and are disabled separately.
STEPS, RECORDS, NORMS = "steps", "records", "gradient norms"
WRITING, LOADING = "event files", "checks of checkpoints"
DIAGNOSIS = "findings"
GAIN, STALE = "gain ratios", "checks for stale gradients"
BATCHES = "saved batches"
CLEARED = "checks for cleared gradients"

LEFT_OUT = "are left out from now on; training continues"
ENDED = "nothing more is recorded; training continues"
READS_LESS = "from now on fewer elements of each parameter are read"

# The event file is abandoned after this many failures in a row.
_FAILED_WRITES = 10


class Containment:
    """Runs code that must not end training, and remembers what is disabled.

    Attributes:
        raises: Whether to raise failures after all, as the user asked.
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
            agenda: Ended if nothing more can be recorded.
            parameters: Sampled less, or excluded, if that is enough.
            notices: Receive failures and their consequences.
            raises: Whether to raise a failure.
            agreement: The agreement with the other processes, if they must learn of a failure
                first.
        """
        self.raises = raises
        self._agenda = agenda
        self._parameters = parameters
        self._notices = notices
        self._agreement = agreement
        self._disabled: set[str] = set()
        self._failed_writes = 0

    def run(self, part: str, doing: str, function: Callable[[], None]) -> bool:
        """Run a function that must not end training; return whether it succeeded.

        Args:
            part: The part to disable if it fails; the function is skipped if the part is disabled.
            doing: What the function does, for the message.
            function: Runs so that its tensors can be written to in any autograd mode.

        Raises:
            Exception: If failures are to be raised.
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
            # In another function, because a reference to the error in this frame would form a
            # cycle.
            if not self._handle(part, doing, error):
                raise
            return False

    def is_disabled(self, part: str) -> bool:
        """Whether a part is disabled."""
        return part in self._disabled

    def disable(self, part: str) -> str:
        """Disable a part; return what to say about it."""
        self._disabled.add(part)
        if part == RECORDS:
            self._parameters.records.release()
            self._agenda.catches_up = False  # no need to catch up on a record
        return f"{part} {LEFT_OUT}"

    def notice(self, message: str, kind: str) -> None:
        """Warn about something other than a failure, once per kind."""
        self._notices.warn_once(message, kind)

    def forget_failed_writes(self) -> None:
        """Reset the count of failed writes, because a write succeeded."""
        self._failed_writes = 0

    def _handle(self, part: str, doing: str, error: Exception) -> bool:
        """Handle a failure; return False to raise it."""
        if self._agreement is not None and part in (STEPS, RECORDS, NORMS):
            self._agreement.add(self._failure(part, doing, error))
            _free_memory(error)  # it is kept until the other processes know of it
            return True
        if self.raises:
            self._agenda.enabled = False
            return False
        failure = self._failure(part, doing, error)
        outcome = self._give_up(failure)
        # A full disk causes one warning for records, and another once some are lost.
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
        """Disable as little as possible, and return what."""
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
            self._agreement.stops = True  # the others learn of it at the next step
        else:
            self._agenda.enabled = False
        return ENDED

    def _record_less(self, failure: Failure) -> str | None:
        """Read less, or exclude a parameter; say which, or return None if neither helps."""
        if failure.is_out_of_memory:
            _free_memory(failure.error)
            return READS_LESS if self._parameters.shrink() else None
        if isinstance(failure.error, CaptureError) and self._parameters.exclude(failure.parameter):
            self._parameters.follow()
            return "that parameter is no longer recorded; the others are"
        return None


@contextlib.contextmanager
def lasting_tensors() -> Iterator[None]:
    """Create tensors that can be written to later, whatever autograd mode training is in.

    A tensor created under ``torch.inference_mode()`` can only be written to in that mode.
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
        # The CPU has no specific exception for it.
        if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
            return True
        error = error.__cause__
    return False


def _free_memory(error: BaseException | None) -> None:
    """Drop the tensors that the failed calls still hold."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__
