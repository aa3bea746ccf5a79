"""When to start writing: at once, or at the first step if the folder is still unclaimed."""

from __future__ import annotations

from ..ranks.placement import Copies
from ..write.output import NoLog, Recorder
from ..write.run_claims import RunClaim
from .agenda import Agenda
from .followed_parameters import FollowedParameters
from .notices import Notices


class Opening:
    """Opens the event file.

    Attributes:
        recorder: The callback's output.
    """

    def __init__(self, claim: RunClaim | None, copies: Copies | None, notices: Notices) -> None:
        """Start writing unless there is something to wait for.

        Args:
            claim: The claimed output folder; None if another process writes.
            copies: Detects whether another process records the same parameters, if that is
                possible.
            notices: Receive where the output goes.

        Raises:
            OSError: If the folder cannot be written to.
        """
        self._claim = claim
        self._copies = copies
        self._notices = notices
        if claim is None:
            self.recorder = Recorder(NoLog())
        elif (copies is not None and not copies.is_first) or claim.may_become_free:
            self.recorder = Recorder(NoLog(claim.location), claim)
        else:
            self._claim = None
            self.recorder = self._open_now(claim)

    @property
    def is_waiting(self) -> bool:
        """Whether :meth:`open_unless_copy` must be called."""
        return self._claim is not None

    def open_unless_copy(self, agenda: Agenda, parameters: FollowedParameters) -> None:
        """Start writing, or leave it to the rank that these parameters were copied from.

        Args:
            agenda: Ended in a copy.
            parameters: Released in a copy.

        Raises:
            OSError: If the folder cannot be written to.
        """
        claim, self._claim = self._claim, None
        assert claim is not None
        if self._copies is not None and self._copies.is_copy():
            agenda.enabled = False
            agenda.count.read_anew()
            parameters.records.release()
            claim.release()
            return
        claim.settle()
        self.recorder.log = claim.open(late=True)
        if claim.notice:
            self._notices.warn_once(claim.notice)

    def _open_now(self, claim: RunClaim) -> Recorder:
        recorder = Recorder(NoLog(), claim)
        try:
            recorder.log = claim.open()
            if claim.notice:
                self._notices.warn_once(claim.notice)
        except BaseException:
            recorder.close()
            raise
        return recorder
