"""Detects parameters that are new in a model, for example in a replaced layer."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

# A model whose parameters keep changing is no longer checked.
_MOST_CHANGES = 8


class FollowedModel:
    """The model that gives the recorded parameters their names.

    Attributes:
        model: A module, or a list of pairs of name and parameter, which does not change.
    """

    def __init__(self, model: Any, *, is_sharded: bool) -> None:
        """Start without known parameters.

        Args:
            model: A module, or a list of pairs of name and parameter.
            is_sharded: Whether its sharding swaps its parameters back and forth.
        """
        self.model = model
        self._may_change = isinstance(model, nn.Module) and not is_sharded
        self._known: frozenset[int] = frozenset()
        self._changes = 0

    def know(self, parameters: Iterable[Tensor]) -> None:
        """Mark these parameters as known; the caller must keep them alive."""
        self._known = frozenset(map(id, parameters))

    def has_changed(self) -> bool:
        """Whether it has unknown trainable parameters; :meth:`know` must be called next."""
        if not self._may_change or self._changes >= _MOST_CHANGES:
            return False
        changed = has_new_parameters(self.model, self._known)
        self._changes += changed
        return changed


def has_new_parameters(model: nn.Module, known: Container[int]) -> bool:
    """Whether a model has an unknown trainable parameter.

    A known one may have been renamed or removed: pruning, parametrizations and adapters move
    parameters within a model. This iterates over the modules without their names, which takes a
    fraction of the time of ``model.parameters()``.

    Args:
        model: The model, which is searched completely.
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
