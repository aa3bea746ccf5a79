"""What a training opens to write and whom it calls: its log folder, and nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TRAINING = """
import json, os, sys
import torch
from torch import nn
from tb_adam_plugin.callback import AdamDebugCallback

written, called = [], []
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

def watch(name, arguments):
    if name == "open":
        path, mode, flags = arguments
        if isinstance(path, int) or not flags & WRITES and not set(mode or "") & set("wax+"):
            return
        written.append(os.fspath(path))
    elif name in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink"):
        written.append(os.fspath(arguments[0]))
    elif name.startswith(("socket.", "subprocess.", "os.exec", "urllib.")):
        if name != "socket.gethostname":  # a part of the file's name
            called.append(name)

# The first step of any optimizer makes a folder of torch's own for temporary files.
first = nn.Parameter(torch.ones(1))
first.grad = torch.ones(1)
torch.optim.AdamW([first]).step()
sys.addaudithook(watch)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
with AdamDebugCallback(model, optimizer, log_dir=sys.argv[1], total_steps=60) as debug:
    for step in range(60):
        inputs = torch.randn(16, 4) * (1e4 if step == 40 else 1)
        debug.keep_batch(inputs)
        loss = (model(inputs) - inputs[:, :2]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        debug.record(loss=loss)
        optimizer.step()
sys.stdout.write(json.dumps([[os.path.abspath(p) for p in map(os.fsdecode, written)], called]))
"""


def test_a_training_writes_to_its_folder_and_calls_nobody(tmp_path: Path) -> None:
    log_dir, elsewhere = tmp_path / "logs", tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {
        **os.environ,
        "HOME": str(elsewhere),
        "TMPDIR": str(elsewhere),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    process = subprocess.run(
        [sys.executable, "-c", TRAINING, str(log_dir)],
        cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    written, called = json.loads(process.stdout)
    assert called == []
    assert any("adam_debug" in path for path in written)
    assert any("batches" in path for path in written)
    outside = [p for p in written if not Path(p).is_relative_to(log_dir) and p != os.devnull]
    assert outside == []
