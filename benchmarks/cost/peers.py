"""One logged step of other tools that watch an optimizer, for comparison.

Each function does the device and host work of one log of one model, without sending it anywhere.
The formulas are those published by the projects; the code is our own.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

QUANTITIES = ("exp_avg", "exp_avg_sq", "update", "weight", "gradient")


class Quantities:
    """The five quantities of every parameter of a model that has trained a few steps."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Take references; only the update is synthetic, with a realistic size."""
        self._update = {name: torch.randn_like(p) * 1e-3 for name, p in model.named_parameters()}
        self.model, self.optimizer = model, optimizer

    def of_parameters(self) -> list[tuple[str, dict[str, Tensor]]]:
        """Name and tensors of each parameter."""
        found = []
        for name, parameter in self.model.named_parameters():
            state, gradient = self.optimizer.state[parameter], parameter.grad
            assert gradient is not None
            values = (
                state["exp_avg"], state["exp_avg_sq"], self._update[name],
                parameter.detach(), gradient,
            )  # fmt: skip
            found.append((name, dict(zip(QUANTITIES, values, strict=True))))
        return found


def summary_writer(quantities: Quantities, folder: Path) -> None:
    """``SummaryWriter.add_histogram`` of all five, flushed."""
    with SummaryWriter(str(folder)) as writer:
        for name, tensors in quantities.of_parameters():
            for quantity, tensor in tensors.items():
                writer.add_histogram(f"{quantity}/{name}", tensor, 1)
        writer.flush()


def linear_histograms(quantities: Quantities) -> None:
    """Histograms like those of Weights & Biases' ``watch``, of exp_avg, exp_avg_sq and update.

    Checks for non-finite values, then 64 linear bins between minimum and maximum, each copied to
    the host separately.
    """
    for _, tensors in quantities.of_parameters():
        for quantity in ("exp_avg", "exp_avg_sq", "update"):
            flat = tensors[quantity].reshape(-1)
            if not bool(torch.isfinite(flat).all()):
                flat = flat[torch.isfinite(flat)]
            low, high = flat.min().item(), flat.max().item()
            flat.histc(bins=64, min=low, max=high).cpu().tolist()


def norms(quantities: Quantities) -> None:
    """L2 norms as Composer's OptimizerMonitor logs them: gradient, weight, exp_avg and update.

    The update is computed from the moments, and every norm is copied to the host separately.
    """
    group = quantities.optimizer.param_groups[0]
    beta1, beta2 = group["betas"]
    for parameter, (_, tensors) in zip(
        quantities.model.parameters(), quantities.of_parameters(), strict=True
    ):
        step = float(quantities.optimizer.state[parameter]["step"])
        denominator = (tensors["exp_avg_sq"].sqrt() / (1 - beta2**step) ** 0.5).add_(group["eps"])
        update = tensors["exp_avg"].div(denominator).mul_(group["lr"] / (1 - beta1**step))
        update.add_(tensors["weight"], alpha=-group["weight_decay"])
        for tensor in (tensors["gradient"], tensors["weight"], tensors["exp_avg"], update):
            torch.linalg.vector_norm(tensor).item()
