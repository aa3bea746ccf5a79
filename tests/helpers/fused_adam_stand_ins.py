"""Stand-ins for the fused Adams of Apex and DeepSpeed, whose packages only build with CUDA.

They have the module and class names of the real ones and keep the same state in the same places;
the arithmetic is that of the kernels, in plain PyTorch. They do not prove that a released version
still works like this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class _FusedAdam(torch.optim.Optimizer):
    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        bias_correction: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        adam_w_mode: bool = True,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "bias_correction": bias_correction,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)
        self.adam_w_mode = 1 if adam_w_mode else 0

    def _counted(self, group: dict[str, Any], parameters: list[Tensor]) -> list[int]:
        """Count a step of a group; return the step used by each parameter's bias correction."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            for p in parameters:
                if not self.state[p]:
                    self.state[p].update(
                        exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p)
                    )
            steps = self._counted(group, parameters)
            for p, step in zip(parameters, steps, strict=True):
                self._move(p, group, step)

    def _move(self, p: Tensor, group: dict[str, Any], step: int) -> None:
        state, (beta1, beta2), decay = self.state[p], group["betas"], group["weight_decay"]
        assert p.grad is not None
        gradient = p.grad if self.adam_w_mode else p.grad + decay * p
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m.copy_(beta1 * m + (1 - beta1) * gradient)
        v.copy_(beta2 * v + (1 - beta2) * gradient * gradient)
        corrections = (1 - beta1**step, 1 - beta2**step)
        first, second = corrections if group["bias_correction"] else (1.0, 1.0)
        update = (m / first) / ((v / second).sqrt() + group["eps"])
        if self.adam_w_mode:
            update = update + decay * p
        p.sub_(group["lr"] * update)


class ApexFusedAdam(_FusedAdam):
    """apex.optimizers.FusedAdam."""

    def _counted(self, group: dict[str, Any], parameters: list[Tensor]) -> list[int]:
        group["step"] = group.get("step", 0) + 1
        return [group["step"]] * len(parameters)


class DeepSpeedFusedAdam(_FusedAdam):
    """deepspeed.ops.adam.FusedAdam: only the last parameter's count advances, for its group."""

    def _counted(self, group: dict[str, Any], parameters: list[Tensor]) -> list[int]:
        group.setdefault("step", 0)
        for p in parameters:
            self.state[p].setdefault("step", group["step"])
        if not parameters:
            return []
        last = self.state[parameters[-1]]
        last["step"] += 1
        return [last["step"]] * len(parameters)


class DeepSpeedCPUAdam(_FusedAdam):
    """deepspeed.ops.adam.DeepSpeedCPUAdam: every parameter has its own count."""

    def _counted(self, group: dict[str, Any], parameters: list[Tensor]) -> list[int]:
        for p in parameters:
            self.state[p]["step"] = self.state[p].get("step", 0) + 1
        return [self.state[p]["step"] for p in parameters]


for _class, _module, _name in (
    (ApexFusedAdam, "apex.optimizers.fused_adam", "FusedAdam"),
    (DeepSpeedFusedAdam, "deepspeed.ops.adam.fused_adam", "FusedAdam"),
    (DeepSpeedCPUAdam, "deepspeed.ops.adam.cpu_adam", "DeepSpeedCPUAdam"),
):
    _class.__module__, _class.__qualname__ = _module, _name
