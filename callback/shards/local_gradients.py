"""This process's part of the gradients of sharded parameters."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .dtensor_shards import DTensorShard
from .shards import Shard


class LocalGradients:
    """This process's part of some parameters' gradients, fetched once per step.

    A gradient that tensor parallelism has not reduced yet is reduced here, in an operation that
    needs all processes of its mesh: so they must all ask at the same steps.
    """

    def __init__(self, parameters: Sequence[Tensor], shards: Sequence[Shard]) -> None:
        """Look at the gradients of ``parameters``."""
        self._parameters = parameters
        self._shards = shards
        self._index = {id(parameter): i for i, parameter in enumerate(parameters)}
        self._known: list[Tensor | None] | None = None

    def forget(self) -> None:
        """Fetch the gradients again next time."""
        self._known = None

    def fetch(self) -> list[Tensor | None]:
        """Return the gradients, one per parameter."""
        if self._known is None:
            self._known = [
                None if parameter.grad is None else self._fetch(parameter.grad, shard)
                for parameter, shard in zip(self._parameters, self._shards, strict=True)
            ]
        return self._known

    def of(self, parameter: Tensor) -> Tensor | None:
        """Return the gradient of one parameter."""
        return self.fetch()[self._index[id(parameter)]]

    @staticmethod
    def _fetch(gradient: Tensor, shard: Shard) -> Tensor:
        if isinstance(shard, DTensorShard) and shard.is_partial(gradient):
            gradient = shard.redistributed(gradient)
        return shard.local(gradient)
