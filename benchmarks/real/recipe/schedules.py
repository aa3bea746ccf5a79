"""The learning rate over time: written into the groups, or by a torch scheduler."""

from __future__ import annotations

import math

import torch
from torch.optim import lr_scheduler

from real.recipe.settings import Settings


def share_of_peak(settings: Settings, count: int) -> float:
    """Return the learning rate over its peak.

    Args:
        settings: Settings of the run.
        count: Number of steps that the schedule has taken.
    """
    if count < settings.warm_up_steps:
        return (count + 1) / (settings.warm_up_steps + 1)
    if settings.schedule == "constant":
        return 1.0
    rest = max(1, settings.length_of_schedule - settings.warm_up_steps)
    done = (count - settings.warm_up_steps) / rest
    if settings.schedule == "linear":
        return max(0.0, 1 - done)
    if settings.schedule == "cosine":
        done = min(1.0, done)
    low = settings.final_share
    return low + (1 - low) * (1 + math.cos(math.pi * done)) / 2


class LearningRate:
    """Sets the learning rate of all groups of some optimizers, as a training script does."""

    def __init__(self, settings: Settings, optimizers: list[torch.optim.Optimizer]) -> None:
        """Create the schedulers; this sets the first learning rate.

        Args:
            settings: Settings of the run.
            optimizers: Newly created, with their peak learning rates in the groups.
        """
        self._settings, self._count = settings, 0
        self._peaks = [
            (group, float(group["lr"]))
            for optimizer in optimizers
            for group in optimizer.param_groups
        ]
        self._schedulers = [s for o in optimizers if (s := self._scheduler(o)) is not None]
        # Some optimizers refuse a plain number in place of theirs.
        self._is_written = not self._schedulers and (
            settings.schedule != "constant" or settings.warm_up_steps > 0
        )
        self._write()

    def after_step(self, step: int) -> None:
        """Advance after an optimizer step, counted from 1."""
        settings = self._settings
        if step % settings.schedule_every:
            return
        for _ in range(settings.schedule_times):
            self._count += 1
            for scheduler in self._schedulers:
                # OneCycleLR refuses to continue past its end; scripts that step it too often stay
                # there.
                if settings.schedule != "onecycle" or self._count < settings.length_of_schedule:
                    scheduler.step()
        self._write()

    def _write(self) -> None:
        if not self._is_written:
            return
        share = share_of_peak(self._settings, self._count)
        for group, peak in self._peaks:
            group["lr"] = peak * share

    def _scheduler(self, optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler | None:
        settings = self._settings
        if settings.schedule == "onecycle":
            peaks = [float(group["lr"]) for group in optimizer.param_groups]
            return lr_scheduler.OneCycleLR(optimizer, peaks, settings.length_of_schedule)
        if settings.schedule in ("torch cosine", "linear"):
            return lr_scheduler.LambdaLR(optimizer, lambda count: share_of_peak(settings, count))
        return None
