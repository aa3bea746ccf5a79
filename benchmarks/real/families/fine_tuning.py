"""A small language model that is pre-trained once, and continues with another text."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from real.families import language_model, text
from real.families.language_model import SMALL, LanguageModel, TextLearner
from real.families.text import Corpus
from real.recipe.learner import Start
from real.recipe.settings import Half, Settings

_PRE_TRAINING_STEPS = 1000
_SEED = 77
# Rank and alpha of the adapters, as published by their authors for GPT-2 and in recipes since.
_RANK, _ALPHA = 8, 16.0
_ADAPTED = ("qkv", "attended")


def settings_of(half: Half) -> Settings:
    """Return the defaults of the Trainer of transformers, with a warm-up of 6 %."""
    return Settings(
        steps=400,
        batch_size=512 // language_model.sequence_length(half),
        learning_rate=5e-5,
        weight_decay=0.01,
        decays="matrices",
        warm_up_steps=24,
        schedule="linear",
        clip_norm=1.0,
    )


def settings_of_adapters(half: Half) -> Settings:
    """Return the published settings for LoRA: a higher learning rate, and no decay."""
    return Settings(
        steps=400,
        batch_size=512 // language_model.sequence_length(half),
        learning_rate=3e-4,
        warm_up_steps=40,
        schedule="linear",
        clip_norm=1.0,
    )


def make(start: Start) -> TextLearner:
    """Load the pre-trained model, and read the other text."""
    model = _pre_trained(start.half, start.cache)
    return TextLearner(start, model, _text(start), language_model.sequence_length(start.half))


def make_with_adapters(start: Start) -> TextLearner:
    """Do the same with adapters on the attention's matrices as the only trained parameters."""
    model = _pre_trained(start.half, start.cache)
    model.requires_grad_(False)
    for block in model.blocks:
        for name in _ADAPTED:
            setattr(block, name, Adapted(block.get_submodule(name)))
    return TextLearner(start, model, _text(start), language_model.sequence_length(start.half))


class Adapted(nn.Module):
    """A frozen linear layer plus a product of two small matrices."""

    def __init__(self, base: nn.Module) -> None:
        """Make the small matrices: the first one random, the second one zero.

        Args:
            base: The linear layer.
        """
        super().__init__()
        assert isinstance(base, nn.Linear)
        self.base = base
        self.lora_a = nn.Linear(base.in_features, _RANK, bias=False)
        self.lora_b = nn.Linear(_RANK, base.out_features, bias=False)
        nn.init.zeros_(self.lora_b.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum, float ``[..., width]``."""
        out: Tensor = self.base(x) + self.lora_b(self.lora_a(x)) * (_ALPHA / _RANK)
        return out


def _text(start: Start) -> Corpus:
    """The other text, tokenized with the first one's vocabulary."""
    language_model.corpus_of(start.half, start.cache)
    pieces = language_model.vocabulary_of(start.half)
    if start.half == "tuning":
        return text.corpus(
            "language_reference", text.language_reference(), pieces, start.cache, "standard_library"
        )
    return text.corpus("sympy", text.installed("sympy"), pieces, start.cache, "numpy_and_torch")


def _pre_trained(half: Half, cache: Path) -> LanguageModel:
    """The small model after pre-training, which is kept in the cache."""
    path = cache / "pretrained" / f"{half}.pt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = language_model.model_of(half, SMALL)
        if path.exists():
            model.load_state_dict(torch.load(path, weights_only=True))
            return model
        _pre_train(model, half, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    torch.save(model.state_dict(), part)
    part.replace(path)
    return model


def _pre_train(model: LanguageModel, half: Half, cache: Path) -> None:
    settings = language_model.settings_of(half)
    generator = torch.Generator().manual_seed(_SEED)
    corpus = language_model.corpus_of(half, cache)
    learner = TextLearner(
        Start(half, settings, generator, cache), model, corpus, language_model.sequence_length(half)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, _PRE_TRAINING_STEPS
    )
    for _ in range(_PRE_TRAINING_STEPS):
        optimizer.zero_grad()
        learner.loss(bad=False).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
