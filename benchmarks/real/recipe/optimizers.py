"""The optimizers by name, with a model's parameters grouped as in a training script."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from real.recipe.settings import Settings

# Muon trains a language model's blocks; embeddings and the head use AdamW, as its authors do.
_NOT_FOR_MUON = ("tokens", "positions", "head")
# Without these it has a different learning rate.
_OPTIONS = {
    "transformers.optimization:Adafactor": {"relative_step": False, "scale_parameter": False}
}


def make_optimizers(settings: Settings, model: nn.Module) -> dict[str, torch.optim.Optimizer]:
    """Return the optimizers that train a model, by name; usually one.

    Args:
        settings: Settings of the run.
        model: The model; its parameters that require a gradient are trained.
    """
    left_out = settings.left_out
    named = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not (left_out and name.startswith(left_out))
    }
    if settings.optimizer == "muon and adamw":
        of_muon = {
            name
            for name, parameter in named.items()
            if parameter.dim() == 2 and not name.startswith(_NOT_FOR_MUON)
        }
        muon = torch.optim.Muon(
            [named[name] for name in sorted(of_muon)],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        rest = {name: p for name, p in named.items() if name not in of_muon}
        return {"muon": muon, "adamw": _adamw(settings, _groups(settings, rest))}
    return {settings.optimizer.split(":")[-1].lower(): _single(settings, _groups(settings, named))}


def _groups(settings: Settings, named: dict[str, nn.Parameter]) -> list[dict[str, Any]]:
    if settings.decays == "everything":
        return [{"params": list(named.values())}]
    matrices = [parameter for parameter in named.values() if parameter.dim() > 1]
    others = [parameter for parameter in named.values() if parameter.dim() <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices}]
    if others:
        groups.append({"params": others, "weight_decay": 0.0})
    return groups


def _adamw(settings: Settings, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        groups,
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
    )


def _single(settings: Settings, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if settings.optimizer == "adamw":
        return _adamw(settings, groups)
    if settings.optimizer == "adam":
        return torch.optim.Adam(
            groups,
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
        )
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            groups,
            lr=settings.learning_rate,
            momentum=settings.beta1,
            weight_decay=settings.weight_decay,
        )
    # "package.module:Class", with its own defaults except for the learning rate.
    module, _, name = settings.optimizer.partition(":")
    optimizer: torch.optim.Optimizer = getattr(importlib.import_module(module), name)(
        groups, lr=settings.learning_rate, **_OPTIONS.get(settings.optimizer, {})
    )
    return optimizer
