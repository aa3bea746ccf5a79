"""Small trainings whose rows lack a gradient for various reasons, recorded and diagnosed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.run_data import load_runs

STEPS = 240
AT_FAULT = 60
# A loss of a model and a step.
Loss = Callable[[nn.Module, int], Tensor]
RULES = {"dead_units", "unused_rows", "rare_rows", "idle_rows_decay"}


def inputs(step: int, samples: int) -> Tensor:
    return torch.randn(samples, 20, generator=torch.Generator().manual_seed(step))


def classified(samples: int) -> Loss:
    """Tell whether a sum is positive."""
    return lambda model, step: cross_entropy(
        model(x := inputs(step, samples)), (x.sum(1) > 0).long()
    )


def relu_network() -> nn.Module:
    return nn.Sequential(
        nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2)
    )


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 20)), nn.Conv1d(1, 64, 3), nn.ReLU(), nn.Conv1d(64, 64, 3), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 2),
    )  # fmt: skip


def with_dying(share: float, loss: Loss, bias: str) -> Loss:
    """Let a share of the units of a layer die at a step."""

    def dying(model: nn.Module, step: int) -> Tensor:
        if step == AT_FAULT:
            with torch.no_grad():
                parameter = model.get_parameter(bias)
                parameter[: int(share * len(parameter))] -= 1e3
        return loss(model, step)

    return dying


class Words(nn.Module):
    """An embedding, its mean, and a layer."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 16)
        self.out = nn.Linear(16, 2)

    def forward(self, words: Tensor) -> Tensor:
        out: Tensor = self.out(self.embedding(words).mean(1))
        return out


def texts(words: int, exponent: float) -> Loss:
    """Texts in which the n-th word occurs in proportion to n to the power of -exponent."""
    share = np.arange(1, words + 1) ** -exponent

    def loss(model: nn.Module, step: int) -> Tensor:
        random = np.random.default_rng(step)
        chosen = torch.from_numpy(random.choice(words, (16, 16), p=share / share.sum()))
        return cross_entropy(model(chosen), chosen.sum(1) % 2)

    return loss


class Experts(nn.Module):
    """Two of eight experts for each sample."""

    def __init__(self, never: int | None = None) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(8, 20, 32) / 20**0.5)
        self.w2 = nn.Parameter(torch.randn(8, 32, 2) / 32**0.5)
        self.router = nn.Linear(20, 8)
        self.never = never

    def forward(self, x: Tensor) -> Tensor:
        logits = self.router(x)
        if self.never is not None:
            logits = logits.masked_fill(torch.arange(8) == self.never, -1e9)
        best, chosen = logits.topk(2, dim=1)
        out = torch.zeros(len(x), 2)
        for gate, expert in zip(best.softmax(1).T, chosen.T, strict=True):
            hidden = torch.einsum("nd,ndh->nh", x, self.w1[expert]).relu()
            out = out + gate[:, None] * torch.einsum("nh,nhd->nd", hidden, self.w2[expert])
        return out


class Quantized(nn.Module):
    """An autoencoder with a codebook, most of whose entries are far away."""

    def __init__(self, entries: int, near: int, *, is_bare: bool = False) -> None:
        super().__init__()
        codes = torch.randn(entries, 8)
        codes[near:] += 100
        self.encoder, self.decoder = nn.Linear(20, 8), nn.Linear(8, 20)
        self.entries: nn.Parameter | nn.Embedding = (
            nn.Parameter(codes) if is_bare else nn.Embedding.from_pretrained(codes, freeze=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        found = self.encoder(x)
        codes = self.entries if isinstance(self.entries, nn.Parameter) else self.entries.weight
        nearest = codes[torch.cdist(found, codes).argmin(1)]
        out = self.decoder(found + (nearest - found).detach())
        to_codes = (nearest - found.detach()).square().mean()
        to_found = (nearest.detach() - found).square().mean()
        reconstructed: Tensor = (out - x).square().mean() + to_codes + 0.25 * to_found
        return reconstructed


def reconstructed(model: nn.Module, step: int) -> Tensor:
    loss: Tensor = model(inputs(step, 128))
    return loss


def found(folder: Path, model: nn.Module, loss: Loss) -> dict[str, tuple[str, str]]:
    """Train, and return severity and text by rule."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=2) as debug:
        for step in range(1, STEPS + 1):
            optimizer.zero_grad()
            now = loss(model, step)
            now.backward()
            debug.record(loss=now)
            optimizer.step()
    (run,) = load_runs(folder)
    return {f.rule: (f.severity, f.text) for f in run.findings() if f.rule in RULES}


@pytest.mark.parametrize(
    ("make", "loss"),
    [
        (relu_network, classified(64)),
        (relu_network, classified(1)),  # half of the units at each step, and others each time
        (convolutions, classified(16)),
        (lambda: Words(2000), texts(2000, 1.0)),
        (lambda: Words(4000), texts(2000, 1.0)),
        (lambda: Words(256), texts(128, 0.0)),  # half of the words never occur, the others always
        (Experts, classified(64)),
        (lambda: Quantized(64, 64), reconstructed),
    ],
    ids=["units", "batch of one", "channels", "words", "half of them", "bytes", "experts", "codes"],
)
def test_rows_that_are_used_are_no_fault(
    tmp_path: Path, make: Callable[[], nn.Module], loss: Loss
) -> None:
    torch.manual_seed(0)
    assert found(tmp_path, make(), loss) == {}


@pytest.mark.parametrize(
    ("make", "loss", "rule", "severity", "text"),
    [
        (relu_network, with_dying(0.95, classified(64), "2.bias"), "dead_units", "warning",
         "the same rows of 2.weight got no gradient at any record"),
        (convolutions, with_dying(0.95, classified(16), "3.bias"), "dead_units", "warning",
         "the same rows of 3.weight got no gradient at any record"),
        (lambda: Experts(3), classified(64), "unused_rows", "info", "of the 8 slices of w1 and w2"),
        (lambda: Quantized(512, 40), reconstructed, "unused_rows", "info",
         "rows of entries.weight had no gradient"),
        (lambda: Quantized(512, 40, is_bare=True), reconstructed, "unused_rows", "info",
         "rows of entries had no gradient"),
    ],
    ids=["units", "channels", "expert", "codebook", "bare codebook"],
)  # fmt: skip
def test_rows_that_are_never_used_are_named(
    tmp_path: Path,
    make: Callable[[], nn.Module],
    loss: Loss,
    rule: str,
    severity: str,
    text: str,
) -> None:
    torch.manual_seed(0)
    findings = found(tmp_path, make(), loss)
    assert set(findings) == {rule}
    assert findings[rule][0] == severity
    assert text in findings[rule][1]
