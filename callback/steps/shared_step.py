"""One step of several processes that hold parts of the same parameters.

All of them enter the same collectives in the same order, even if one of them fails, and act on the
messages of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..attach.naming import listed
from ..probes import uncounted_steps
from ..ranks.agreement import Agreement, Consequences
from ..ranks.ranks import ReducedMessage
from ..read.norms import Squares
from ..write.step_rows import Scalar
from .failures import ENDED, NORMS, READS_LESS, RECORDS, STEPS
from .parameter_records import StepRecord
from .step import StepTools
from .step_output import MOST_WAITING_ROWS


class _Exchanged(NamedTuple):
    """The reply to a message.

    Attributes:
        norm: Norm of all gradients.
        skipped: On a device, how many processes skipped the step.
        earlier: Messages about steps before this one.
        current: The message about this step, if it has already arrived.
    """

    norm: Scalar
    skipped: Tensor | None
    earlier: Sequence[ReducedMessage]
    current: ReducedMessage | None


class SharedStep:
    """Records a step together with the other processes."""

    def __init__(self, tools: StepTools, agreement: Agreement) -> None:
        """Start before the first step.

        Args:
            tools: The parts that a step uses.
            agreement: The agreement with the other processes.
        """
        self._agenda = tools.agenda
        self._parameters = tools.parameters
        self._start = tools.start
        self._output = tools.output
        self._time = tools.own_time
        self._failures = tools.failures
        self._notices = tools.notices
        self._agreement = agreement
        self._ranks = agreement.ranks
        self._record: StepRecord | None = None
        self._local_squares: tuple[Squares, Sequence[bool]] = np.zeros(0), []

    def begin_step(self) -> None:
        """Do the work before a step."""
        self._start.begin()

    def end_step(self) -> None:
        """End a step together with all other processes, whatever happened here."""
        names = self._parameters.names
        message = self._message()
        try:
            exchanged = self._exchange(message, names)
        except Exception as error:
            self._lose_ranks(error)
            return
        for earlier in exchanged.earlier:
            self._keep_norms(earlier)
            self._draw_conclusions(earlier, names)
        if exchanged.current is None or self._settle(exchanged.current, names):
            self._failures.run(STEPS, "recording a step", lambda: self._finish(exchanged))
        self._agenda.enabled &= not self._agreement.is_over

    def close(self) -> None:
        """Do nothing: there is nothing to detach."""

    def release(self) -> None:
        """Do nothing: there is nothing else to let go of."""

    # --- this process's message ---

    def _message(self) -> dict[str, Scalar]:
        """Look at the step, measure it, and return the message for the others."""
        message: dict[str, Scalar] = {}
        count = self._parameters.norms.parameters
        self._record = None
        self._local_squares = np.zeros(count), [False] * count
        run = self._failures.run
        run(STEPS, "looking at a step", lambda: self._look_at_step(message))
        self._agenda.count.number += 1
        if self._start.is_recording:
            run(RECORDS, "recording a step", lambda: self._measure(message))
        if self._agenda.history is not None:
            run(NORMS, "computing the gradient norm", lambda: self._add_up(message))
        return message

    def _look_at_step(self, message: dict[str, Scalar]) -> None:
        """Describe this step. Always fetches the gradients, because all must take part."""
        records, optimizer = self._parameters.records, self._parameters.optimizer
        assert records.gradients is not None
        gradients = records.gradients.fetch()
        has_parameters = any(
            w.shard is not None and w.shard.is_here for w in records.parameters.watched
        )
        is_phantom = self._start.had_no_state and uncounted_steps.is_phantom(optimizer, gradients)
        is_recorded = (
            self._start.is_due
            and not self._failures.is_disabled(RECORDS)
            and not self._agreement.is_ending
        )
        number = self._agenda.count.number
        skipped = uncounted_steps.scaler_flag(optimizer)
        message["real_step"] = float(has_parameters and not is_phantom)
        message["knows_step"] = float(self._agenda.count.is_exact)
        message["recording"] = float(is_recorded)
        message["histograms"] = float(is_recorded and self._agenda.wants_histograms(number + 1))
        if skipped is not None:
            message["skipped"] = skipped.detach().reshape(()).double()
        if self._ranks.is_first:
            message["stretch"] = float(self._agenda.budget.stretch(number))

    @torch.no_grad()
    def _measure(self, message: dict[str, Scalar]) -> None:
        is_changed = self._parameters.records.measure(
            bool(message["histograms"]),
            self._output.recorder.rows.upcoming_number("loss"),
            self._agenda.count.number,
        )
        message["measured"] = 1.0
        message["changed"] = float(is_changed)

    @torch.no_grad()
    def _add_up(self, message: dict[str, Scalar]) -> None:
        norms = self._parameters.norms
        squares = self._parameters.records.squares_here() if "measured" in message else None
        if squares is not None and len(squares[1]) == norms.parameters:
            self._local_squares = squares
        else:
            self._local_squares = self._start.squares or norms.squares()

    # --- the messages of all ---

    def _exchange(self, message: dict[str, Scalar], names: Sequence[str]) -> _Exchanged:
        """Send a message, and receive the reduced messages that have arrived."""
        count, number = self._parameters.norms.parameters, self._agenda.count.number
        self._agreement.check_parameters(names, count)
        failures, failed = self._agreement.report((RECORDS, NORMS), names)
        failed += [False] * (count - len(names))
        message |= {**failures, "step": number * float(message.get("knows_step", 0))}
        norm, skipped = self._ranks.send(number, message, *self._local_squares, failed)
        waiting = self._output.recorder.rows.waiting + 1
        messages = self._ranks.receive(self._start.is_due or waiting >= MOST_WAITING_ROWS)
        if messages and self._ranks.has_received_all:
            # The processes know about this step already, without asking the device.
            return _Exchanged(norm, None, messages[:-1], messages[-1])
        return _Exchanged(norm, skipped, messages, None)

    def _settle(self, message: ReducedMessage, names: Sequence[str]) -> bool:
        """Act on the reduced message about this step; return whether it was a training step."""
        count, total = self._agenda.count, message.total
        if total["knows_step"]:
            step = round(total["step"] / total["knows_step"])
            if not self._time.has_seen_a_step:  # all adopt the count of those that know it
                self._agenda.budget.begin_at(step, again=True)
            count.number = step
        counts = bool(total["real_step"] and not total["skipped"])
        if counts:
            if self._agreement.have_measured(message):
                self._failures.run(RECORDS, "recording a step", lambda: self._share_record(message))
            self._keep_norms(message._replace(number=count.number))
        self._draw_conclusions(message, names)
        if not counts:
            if total["skipped"]:
                self._output.recorder.rows.skip_step()
                self._output.batches.skip_step()
            count.number -= 1
        return counts

    def _share_record(self, message: ReducedMessage) -> None:
        self._record = self._parameters.records.share(self._ranks, message.total["changed"] > 0)
        self._agenda.catches_up = False

    def _keep_norms(self, message: ReducedMessage) -> None:
        history = self._agenda.history
        is_whole = not self._failures.is_disabled(NORMS) and not message.total["norms_failed"]
        if history is not None and is_whole and message.has_gradient.any():
            skipped = None
            if message.total["skipped"]:
                skipped = torch.tensor(message.total["skipped"], device="cpu")
            history.add(
                message.number, message.squares, tuple(message.has_gradient.tolist()), skipped
            )

    def _finish(self, exchanged: _Exchanged) -> None:
        current = exchanged.current
        has_gradient = current is None or bool(current.has_gradient.any())
        record, self._record = self._record, None
        norm = exchanged.norm if has_gradient else 0.0
        if self._agenda.history is None:
            norm = float("nan")
        self._output.end_step(self._start, record, norm, exchanged.skipped)

    # --- what follows for all ---

    def _draw_conclusions(self, message: ReducedMessage, names: Sequence[str]) -> None:
        """Do what all processes do after a step, and warn with the reasons known here.

        Raises:
            Exception: This process's failure, if failures are to be raised.
            RuntimeError: If failures are to be raised and another process failed.
        """
        consequences = self._agreement.consequences(message)
        stretch = message.total["stretch"]
        self._agenda.stretch = max(1, int(stretch)) if stretch else 1
        for part, outcome in self._give_up(message, consequences, names):
            own = self._agreement.take(part)
            elsewhere = (
                "the ranks were about to record different steps"
                if consequences.disagree and part == RECORDS
                else f"another rank failed at step {message.number}"
            )
            for what in [failure.what for failure in own] or [elsewhere]:
                self._notices.warn_once(f"{what}; {outcome}", f"{part}: {outcome}")
            if self._failures.raises:
                self._agenda.enabled = False
                raise own[0].error if own else RuntimeError(f"Adam Debug: {elsewhere}; {outcome}")

    def _give_up(
        self, message: ReducedMessage, consequences: Consequences, names: Sequence[str]
    ) -> list[tuple[str, str]]:
        """Disable what all processes disable; return which parts, and what to say about each."""
        outcomes: list[tuple[str, str]] = []
        less = self._record_less(consequences, names)
        if less is not None:
            outcomes.append((RECORDS, less))
        if consequences.without_norms:
            outcomes.append((NORMS, self._failures.disable(NORMS)))
        if consequences.stops:
            self._agreement.end_after(message)
            outcomes.append((STEPS, ENDED))
        return outcomes

    def _record_less(self, consequences: Consequences, names: Sequence[str]) -> str | None:
        """Read less, exclude parameters, or stop recording; say which, or return None."""
        parameters, excluded = self._parameters, consequences.excluded
        if consequences.reads_less and parameters.shrink():
            return READS_LESS
        if excluded and all(parameters.exclude(names[i]) for i in excluded):
            parameters.follow()
            return f"{listed(names[i] for i in excluded)} is no longer recorded; the others are"
        if consequences.without_records or consequences.reads_less or excluded:
            return self._failures.disable(RECORDS)
        return None

    def _lose_ranks(self, error: Exception) -> None:
        """Stop, because the processes can no longer agree."""
        self._agenda.enabled = False
        if self._failures.raises:
            raise error
        self._notices.warn_once(
            f"failed while talking to the other ranks at step {self._agenda.count.number} "
            f"({type(error).__name__}: {error}); {ENDED}"
        )
