"""A task is a network, its data, and suitable learning rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from faults.tasks.data import Examples

Half = Literal["tuning", "reporting"]
# Tasks to which faults and controls were assigned together. The second and the third were once the
# reporting half; what was read of them has been used since.
Series = Literal[1, 2, 3, 4]
HALVES: dict[Series, Half] = {1: "tuning", 2: "tuning", 3: "tuning", 4: "reporting"}

SGD_WITHOUT_MOMENTUM = "sgd without momentum"


@dataclass(frozen=True)
class Task:
    """A network and what it learns.

    Attributes:
        name: Name of the task, which is that of the network.
        series: Series of the task.
        examples: Its data.
        model: Creates the network, with the current random state.
        learning_rates: A suitable one for each optimizer, by name; optimizers that train the task
            badly at any learning rate are missing.
        matrix: Name of a weight matrix in the middle of the network.
        relu_layer: Name of a module with a bias whose outputs go through a ReLU, or None.
        deep_sigmoid: The same network with sigmoids everywhere, or None if it is not deep.
        large_embedding: Whether most rows of its embedding are unused in a batch.
        float16: Whether it trains on a CPU with weights in half precision.
        batch_size: Number of examples per step.
        steps: Usual number of steps of its runs.
    """

    name: str
    series: Series
    examples: Callable[[], Examples]
    model: Callable[[], nn.Module]
    learning_rates: Mapping[str, float]
    matrix: str
    relu_layer: str | None = None
    deep_sigmoid: Callable[[], nn.Module] | None = None
    large_embedding: bool = False
    float16: bool = False
    batch_size: int = 32
    steps: int = 200

    @property
    def half(self) -> Half:
        """The half of the laboratory that it belongs to."""
        return HALVES[self.series]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss: cross entropy of logits, or the squared error of floats."""
        if targets.is_floating_point():
            return functional.mse_loss(outputs.float(), targets.float())
        return functional.cross_entropy(outputs.float().flatten(0, -2), targets.flatten())
