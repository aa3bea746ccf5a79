"""The followed optimizer, its records and gradient norms, as its parameters change."""

from __future__ import annotations

from torch.optim import Optimizer

from ..optimizer_state.base import OptimizerState
from ..ranks.placement import Placement
from ..read.norms import GradientNorms
from ..schedule.gradient_history import GradientHistory
from .notices import Notices
from .parameter_records import ParameterRecords


class FollowedParameters:
    """The optimizer and its current parameters.

    Attributes:
        optimizer: The recorded optimizer.
        state: Its adapter.
        records: Measures the recorded parameters.
        norms: Gradient norms of all of the optimizer's parameters.
        is_on_cuda: Whether any parameter is on a CUDA device.
        is_on_device: Whether any parameter is not on the CPU.
        overwrites_gradients: Whether a step changes gradients, so they must be read before it.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        state: OptimizerState,
        records: ParameterRecords,
        placement: Placement,
        history: GradientHistory | None,
        notices: Notices,
    ) -> None:
        """Look at the parameters.

        Args:
            optimizer: The optimizer to record.
            state: Its adapter.
            records: Measures its parameters.
            placement: Which part of them this process has.
            history: Cleared when the parameters change; or None.
            notices: Receive observations about the parameters.
        """
        self.optimizer = optimizer
        self.state = state
        self.records = records
        self._placement = placement
        self._history = history
        self._notices = notices
        self.follow()

    @property
    def names(self) -> list[str]:
        """Names of the recorded parameters, in layout order."""
        return [watched.name for watched in self.records.parameters.watched]

    def follow(self) -> None:
        """Follow the gradients of the current parameters, and report observations."""
        self._look_at_gradients()
        followed = self.records.followed
        self.is_on_cuda = any(p.is_cuda for p in followed)
        self.is_on_device = any(p.device.type != "cpu" for p in followed)
        groups = self.optimizer.param_groups
        self._ids = self._ids_now()
        self.overwrites_gradients = any(map(self.state.overwrites_gradient, groups))
        if self._history is not None:
            self._history.clear()
        self._looks_for_forgotten = True
        self._warn(*self.records.notices)

    def follow_new_ones(self) -> bool:
        """Follow parameters added to the optimizer; return whether its parameters have changed.

        A replaced parameter counts, too: otherwise the old one would be kept and its gradient read.
        """
        if self._ids_now() == self._ids:
            return False
        self.follow()
        return True

    def before_step(self) -> None:
        """Read what the step is about to change."""
        if self.records.refresh():
            self.follow()
        elif self.records.grow():
            self._look_at_gradients()
        self._warn(self.records.layout_notice)
        if self._looks_for_forgotten:
            self._looks_for_forgotten = False
            self._warn(self.records.parameters.forgotten_notice())
        self.records.before_step()

    def shrink(self) -> bool:
        """Read fewer elements; return whether that is possible."""
        if not self.records.shrink():
            return False
        self._look_at_gradients()
        return True

    def exclude(self, name: str) -> bool:
        """Stop recording a parameter; return whether others are left.

        :meth:`follow` must be called afterwards.
        """
        return self.records.exclude(name)

    def forget_gradients(self) -> None:
        """Drop a step's gradients."""
        if self.records.gradients is not None:
            self.records.gradients.forget()

    def release(self) -> None:
        """Keep nothing of the training alive; only the layout remains available."""
        self.records.forget()
        del self.optimizer, self.state, self.norms, self._placement, self._history

    def _warn(self, *messages: str | None) -> None:
        ranks = self._placement.ranks
        if ranks is None or ranks.is_first:  # all have the same parameters
            for message in filter(None, messages):
                self._notices.warn_once(message)

    def _ids_now(self) -> list[list[int]]:
        groups = self._placement.groups or self.optimizer.param_groups
        return [[*map(id, group["params"])] for group in groups]

    def _look_at_gradients(self) -> None:
        gradients = self.records.gradients
        self.norms = GradientNorms(
            self.records.followed, None if gradients is None else gradients.fetch
        )
