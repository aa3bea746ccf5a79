"""Whether a model has parameters that it did not have before: of a layer that was exchanged."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

# A model that gets new parameters all the time is not looked at any more.
_MOST_CHANGES = 8


class FollowedModel:
    """The model that names what is recorded.

    Attributes:
        model: A module, or a list of pairs of name and parameter, which does not change.
    """

    def __init__(self, model: Any, *, is_sharded: bool) -> None:
        """Know none of its parameters yet.

        Args:
            model: A module, or a list of pairs of name and parameter.
            is_sharded: Whether what shards it exchanges its parameters, forth and back.
        """
        self.model = model
        self._may_change = isinstance(model, nn.Module) and not is_sharded
        self._known: frozenset[int] = frozenset()
        self._changes = 0

    def know(self, parameters: Iterable[Tensor]) -> None:
        """Take these for what it has; they have to be kept alive."""
        self._known = frozenset(map(id, parameters))

    def has_changed(self) -> bool:
        """Whether it has trainable parameters that are not known; :meth:`know` has to follow."""
        if not self._may_change or self._changes >= _MOST_CHANGES:
            return False
        changed = has_new_parameters(self.model, self._known)
        self._changes += changed
        return changed


def has_new_parameters(model: nn.Module, known: Container[int]) -> bool:
    """Whether there is a trainable parameter in a model that is not known.

    A known one may have another name now, or be gone: pruning, parametrizations and
    adapters move parameters within a model. This goes through the modules without their names,
    which takes a fraction of the time of ``model.parameters()``.

    Args:
        model: All of it is looked at.
        known: Ids of parameters that are alive.
    """
    modules: list[nn.Module] = [model]
    seen = {id(model)}
    while modules:
        module = modules.pop()
        for parameter in module._parameters.values():
            if parameter is None or id(parameter) in known or not parameter.requires_grad:
                continue
            if not isinstance(parameter, UninitializedParameter):  # it has no shape yet
                return True
        for child in module._modules.values():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                modules.append(child)
    return False
