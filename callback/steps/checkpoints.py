"""Handles ``optimizer.load_state_dict()``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.optim import Optimizer

from ..optimizer_state import storage
from ..optimizer_state.replaced_settings import Numbers, numbers_of, replaced
from .agenda import Agenda
from .failures import LOADING, Containment
from .followed_parameters import FollowedParameters
from .notices import Notices


class Checkpoints:
    """Restarts the agenda after a checkpoint is loaded, and compares types and settings."""

    def __init__(
        self,
        agenda: Agenda,
        parameters: FollowedParameters,
        failures: Containment,
        notices: Notices,
    ) -> None:
        """Start without a checkpoint.

        Args:
            agenda: Restarted after a load.
            parameters: Give access to the optimizer's state.
            failures: Contains failures.
            notices: Receive what the checkpoint has changed.
        """
        self._agenda = agenda
        self._parameters = parameters
        self._failures = failures
        self._notices = notices
        self._types: Mapping[str, str] = {}
        self._settings: Sequence[Numbers] = ()

    def before_load(self, _: Optimizer, state_dict: dict[str, Any]) -> None:
        """Look at a checkpoint, in the hook before it is loaded."""
        self._failures.run(LOADING, "looking at a checkpoint", lambda: self._look_at(state_dict))

    def after_load(self, *_: object) -> None:
        """Follow the optimizer's count and compare, in the hook after a checkpoint is loaded."""
        self._agenda.restart()
        self._failures.run(LOADING, "comparing a checkpoint", self._compare)

    def _look_at(self, state_dict: dict[str, Any]) -> None:
        self._types = storage.types_by_key(state_dict["state"].values())
        self._settings = numbers_of(self._parameters.optimizer.param_groups)

    def _compare(self) -> None:
        settings = numbers_of(self._parameters.optimizer.param_groups)
        self._parameters.state.replaced = replaced(self._settings, settings)
        loaded = storage.types_by_key(self._parameters.optimizer.state.values())
        for key, types in self._types.items():
            if key != "step" and key in loaded and loaded[key] != types:
                self._notices.warn_once(
                    f"load_state_dict changed the type of {key} from {types} to {loaded[key]}: "
                    "torch casts the state to the type of the weights"
                )
