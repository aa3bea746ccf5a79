"""Trains the same small model again and again, and kills it.

``training_to_kill.py FOLDER KILLS SEED``: every training is a fork of this process, which has
imported torch once. It resumes from the last checkpoint, records every step, and says through a
pipe how far it has come, before it is killed at a random moment. At last one training runs to its
end. Another one, beside it, is never killed. On stdout: a JSON list with, for each training, the
step that it resumed from and the last one that it has said is recorded.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import sys
import time
from pathlib import Path

import torch
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback

STEPS = 1500  # more than all killed trainings come to, however fast they are
CHECKPOINT_EVERY = 3
# A step takes a few milliseconds, and until the first one some tens pass.
_LONGEST_PAUSE, _STARTING = 0.01, 0.1

_MESSAGE = struct.Struct("<qq")


def train(folder: Path, steps: int = STEPS, told: int | None = None) -> None:
    """Train from the last checkpoint, if there is one.

    Args:
        folder: Folder of the checkpoint and the log.
        steps: The last step.
        told: Receives the step that was resumed from, and each recorded step.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    checkpoint, start = folder / "checkpoint.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        start = saved["step"]
    with AdamDebugCallback(model, optimizer, log_dir=folder / "logs", every_n_steps=1) as debug:
        for step in range(start + 1, steps + 1):
            inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
            loss.backward()  # type: ignore[no-untyped-call]
            debug.record(loss=loss)
            optimizer.step()
            if told is not None:
                os.write(told, _MESSAGE.pack(start, step))
            if step % CHECKPOINT_EVERY == 0:
                state = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                }
                torch.save(state, folder / "new.pt")
                os.replace(folder / "new.pt", checkpoint)


def killed_training(source: random.Random, folder: Path) -> tuple[int, int] | None:
    """Train in a fork and kill it; return what it has said last, if anything."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            train(folder, told=writing)
        finally:
            os._exit(1)  # nobody has killed it
    os.close(writing)
    # Counted in steps, so a busy machine kills as late in training as a quiet one.
    steps = source.randrange(12)
    with open(reading, "rb", buffering=0) as pipe:
        said = b"".join(pipe.read(_MESSAGE.size) for _ in range(steps))
        time.sleep(source.uniform(0, _LONGEST_PAUSE if steps else _STARTING))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "it ended by itself"
        said += pipe.read()
    return _MESSAGE.unpack(said[-_MESSAGE.size :]) if said else None


def main(folder: Path, kills: int, seed: int) -> None:
    """Train without an interruption; then kill so many trainings, and let one end."""
    source = random.Random(seed)
    (folder / "killed").mkdir()
    (folder / "whole").mkdir()
    train(folder / "whole")  # first: the forks inherit what it has imported
    told = [killed_training(source, folder / "killed") for _ in range(kills)]
    train(folder / "killed")
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
