"""The training loop of a typical user, with the two lines from the documents."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import torch
from torch import nn

from real.recipe.learner import Learner
from real.recipe.optimizers import make_optimizers
from real.recipe.schedules import LearningRate
from real.recipe.settings import Settings
from tb_adam_plugin.callback import AdamDebugCallback


class Part:
    """An optimizer with its callback, as a script has it for each model that it trains.

    Attributes:
        optimizer: The optimizer.
        debug: The callback.
    """

    def __init__(
        self, settings: Settings, model: nn.Module, optimizer: torch.optim.Optimizer, log_dir: Path
    ) -> None:
        """Attach the callback.

        Args:
            settings: Settings of the run.
            model: The model to train.
            optimizer: Optimizer of its parameters.
            log_dir: Folder of the recording.
        """
        self.optimizer, self._model, self._settings = optimizer, model, settings
        self._rate = LearningRate(settings, [optimizer])
        self._step = 0
        self.debug = AdamDebugCallback(
            model, optimizer, log_dir=log_dir, total_steps=settings.steps
        )

    def zero_grad(self) -> None:
        """Clear the gradients; those of a layer that gets frozen stay, as zeros."""
        self.optimizer.zero_grad(set_to_none=not self._settings.frozen)

    def clip(self) -> None:
        """Clip the gradients of the model."""
        if self._settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._model.parameters(), self._settings.clip_norm)

    def step(self, scaler: torch.amp.GradScaler | None = None) -> None:
        """Make an optimizer step, and one of the schedule."""
        self._step += 1
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
        self._rate.after_step(self._step)


def train(learner: Learner, settings: Settings, log_dir: Path) -> float:
    """Train with one loss.

    Args:
        learner: The model to train.
        settings: How to train.
        log_dir: Folder of the recording; with several optimizers, its subfolders.

    Returns:
        The loss of the last step.
    """
    model = learner.model
    _prepare(model, settings)
    optimizers = make_optimizers(settings, model)
    parts = [
        Part(settings, model, optimizer, log_dir / name if len(optimizers) > 1 else log_dir)
        for name, optimizer in optimizers.items()
    ]
    _replace(model, settings.replaced)
    scaler = torch.amp.GradScaler("cpu") if "scaled" in settings.precision else None
    last = math.nan
    for step in range(1, settings.steps + 1):
        if settings.frozen and step == settings.steps // 2:
            model.get_submodule(settings.frozen).requires_grad_(False)
        if not settings.keeps_gradients:
            for part in parts:
                part.zero_grad()
        with _autocast(settings):
            loss = learner.loss(bad=step == settings.bad_batch_at)
        (loss if scaler is None else scaler.scale(loss)).backward()
        for part in parts:
            part.debug.record(loss=loss)
        _clip_and_unscale(parts, settings, scaler)
        for part in parts:
            part.step(scaler)
        if scaler is not None:
            scaler.update()
        last = loss.item()
    for part in parts:
        part.debug.close()
    return last


def _clip_and_unscale(
    parts: list[Part], settings: Settings, scaler: torch.amp.GradScaler | None
) -> None:
    if scaler is not None and not settings.clips_before_unscaling:
        for part in parts:
            scaler.unscale_(part.optimizer)
    parts[0].clip()


def _autocast(settings: Settings) -> contextlib.AbstractContextManager[object]:
    if "autocast" in settings.precision:
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()


def _prepare(model: nn.Module, settings: Settings) -> None:
    """Apply the requested initial weights and type to the model."""
    with torch.no_grad():
        if settings.embedding_std is not None:
            for module in model.modules():
                if isinstance(module, nn.Embedding):
                    nn.init.normal_(module.weight, 0.0, settings.embedding_std)
        if settings.initial_scale != 1:
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(settings.initial_scale)
    if settings.precision == "bfloat16 weights":
        model.to(torch.bfloat16)


def _replace(model: nn.Module, name: str) -> None:
    """Replace a module, as when resizing an embedding or changing a head."""
    if not name:
        return
    parent, _, last = name.rpartition(".")
    old = model.get_submodule(name)
    if isinstance(old, nn.Embedding):
        table = nn.Embedding(old.num_embeddings, old.embedding_dim)
        nn.init.normal_(table.weight, 0.0, 0.02)
        new: nn.Module = table
    elif isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, old.out_features, bias=old.bias is not None)
    else:
        raise TypeError(f"{name} is a {type(old).__name__}: only embeddings and linear layers")
    setattr(model.get_submodule(parent), last, new)
