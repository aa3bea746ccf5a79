"""What the two documented lines record of a short run, and what that costs.

Three kinds of training, 200 and 300 steps each, with and without ``total_steps``: the number of
records, the seconds that the callback counted, and the additional time compared with the same run
without it. The two alternate, round by round, each in a separate process.

    python benchmarks/cost/default_run.py --rounds 5
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.run_data import Run, load_runs

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_cnn.py"
STEPS = (200, 300)

Loss = Callable[[], Tensor]


def example() -> tuple[nn.Module, Loss]:
    """The network of the example, and batches of its digits."""
    spec = importlib.util.spec_from_file_location("train_cnn", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(EXAMPLE.parent))  # its imports are in the same folder
    spec.loader.exec_module(module)
    model: nn.Module = module.ConvNet(pooling=False)
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.tensor(found.images / 16, dtype=torch.float32)[:, None].expand(-1, 3, 8, 8)
    labels = torch.tensor(found.target)

    def loss() -> Tensor:
        batch = torch.randint(len(images), (64,))
        return functional.cross_entropy(model(images[batch]), labels[batch])

    return model, loss


class LanguageModel(nn.Module):
    """Predicts the next byte; 0.5 million parameters."""

    def __init__(self) -> None:
        """Build it."""
        super().__init__()
        self.embedding, self.position = nn.Embedding(256, 128), nn.Embedding(64, 128)
        layer = nn.TransformerEncoderLayer(
            128, 4, 512, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(128), nn.Linear(128, 256)
        self.register_buffer("mask", torch.triu(torch.ones(64, 64, dtype=torch.bool), 1))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of tokens ``[batch, 64]``."""
        hidden = self.embedding(tokens) + self.position.weight
        logits: Tensor = self.head(self.norm(self.layers(hidden, mask=self.mask)))
        return logits


def language_model() -> tuple[nn.Module, Loss]:
    """Bytes of torch's own source, 16 lines of 64 a step."""
    text = Path(torch.nn.functional.__file__).read_bytes()
    data, model = torch.frombuffer(bytearray(text), dtype=torch.uint8).long(), LanguageModel()

    def loss() -> Tensor:
        at = torch.randint(len(data) - 65, (16, 1)) + torch.arange(65)
        batch = data[at]
        logits = model(batch[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())

    return model, loss


def reinforcement() -> tuple[nn.Module, Loss]:
    """A policy and its baseline that learn to balance a pole, 32 poles per step."""
    model = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
    heads = nn.ModuleDict({"policy": nn.Linear(64, 2), "value": nn.Linear(64, 1)})
    state = torch.randn(32, 4) * 0.05

    def loss() -> Tensor:
        nonlocal state
        hidden = model(state)
        chosen = torch.distributions.Categorical(logits=heads["policy"](hidden))
        action = chosen.sample()
        force = action.float() * 2 - 1
        moved = state + 0.02 * torch.stack(
            [state[:, 1], force, state[:, 3], 10 * state[:, 2] - force], 1
        )
        fell = moved[:, 2].abs() > 0.2
        value = heads["value"](hidden)[:, 0]
        advantage = (~fell).float() - value
        state = torch.where(fell[:, None], torch.randn(32, 4) * 0.05, moved).detach()
        policy = -(chosen.log_prob(action) * advantage.detach()).mean()
        total: Tensor = policy + advantage.square().mean()
        return total

    return nn.ModuleList([model, heads]), loss


TRAININGS = {"example": example, "language model": language_model, "reinforcement": reinforcement}


def train(kind: str, steps: int, options: dict[str, Any], log_dir: str | None) -> float:
    """Train as a user does, and return the seconds from the first step to the end."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, loss_of = TRAININGS[kind]()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    started = time.perf_counter()
    with _recording(model, optimizer, options, log_dir) as debug:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = loss_of()
            loss.backward()  # type: ignore[no-untyped-call]
            if debug is not None:
                debug.record(loss=loss)
            optimizer.step()
    return time.perf_counter() - started


@contextlib.contextmanager
def _recording(
    model: nn.Module, optimizer: torch.optim.Optimizer, options: dict[str, Any], log_dir: str | None
) -> Iterator[AdamDebugCallback | None]:
    if log_dir is None:
        yield None
        return
    with AdamDebugCallback(model, optimizer, log_dir=log_dir, **options) as debug:
        yield debug


def in_a_process(*arguments: Any) -> float:
    """Train in a fresh process."""
    command = [sys.executable, __file__, "--train", json.dumps(arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(kind: str, steps: int, known: bool, rounds: int) -> str:
    """Return a row of the table."""
    options = {"total_steps": steps} if known else {}
    records, counted, longer, share = [], [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            without = in_a_process(kind, steps, options, None)
            took = in_a_process(kind, steps, options, folder) - without
            (run,) = load_runs(folder)
        records.append(len(run.steps))
        counted.append(_column(run, "callback_milliseconds").sum() / 1000)
        longer.append(took)
        share.append(took / without)
    given = "given" if known else "not given"
    return (
        f"| {kind}, {steps} steps | {given} | {_least_to_most(records, '.0f')} "
        f"| {_least_to_most(counted, '.2f')} | {_least_to_most(longer, '.2f')} "
        f"| {_least_to_most(share, '.2f')} |"
    )


def _column(run: Run, name: str) -> npt.NDArray[np.float64]:
    records = run.every_step()
    values: npt.NDArray[np.float64] = records.values[records.names.index(name)]
    return values


def _least_to_most(values: Sequence[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        print(train(*json.loads(options.train)))
        return
    print("| | `total_steps` | records | s counted by the callback | s longer | longer, ratio |")
    print("|---|---|---|---|---|---|")
    for kind in TRAININGS:
        for steps in STEPS:
            for known in (True, False):
                print(measure(kind, steps, known, options.rounds), flush=True)


if __name__ == "__main__":
    main()
