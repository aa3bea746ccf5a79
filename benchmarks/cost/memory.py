"""Memory of the callback: peak resident set with it and without, in fresh processes.

Each model is trained in three ways: with torch alone; with the callback imported, but not used; and
with a record at every step. The ways alternate, round by round. The callback's memory is the third
minus the second; that of its imports the second minus the first.

    python benchmarks/cost/memory.py --rounds 3

Gradients are created at every step and dropped after it, as ``zero_grad()`` does, so one that stays
alive is visible. Linux only: peaks are read from ``/proc``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

Shapes = list[tuple[int, ...]]

STEPS = 6
# Promises of docs/cost.md: megabytes, a share of the parameters' bytes, and kilobytes per tensor
# above a number of tensors.
MEGABYTES, SHARE = 32, 0.01
TENSORS, KILOBYTES = 3000, 3


# Rows in a batch of the models with a sparse gradient, some of them repeated.
ROWS = 4096


def deep() -> Shapes:
    """Return the shapes of a narrow residual network of 110 convolutions with batch norm."""
    block: Shapes = [(32, 32, 3, 3), (32,), (32,)]
    return [(32, 3, 3, 3), (32,), *110 * block, (10, 2048), (10,)]


def resnet18() -> Shapes:
    """Return the shapes of torchvision's ResNet-18."""
    shapes: Shapes = [(64, 3, 7, 7), (64,), (64,)]
    before = 64
    for width in (64, 128, 256, 512):
        for block in range(2):
            shapes += [(width, before if block == 0 else width, 3, 3), (width,), (width,)]
            shapes += [(width, width, 3, 3), (width,), (width,)]
            if block == 0 and width != before:
                shapes += [(width, before, 1, 1), (width,), (width,)]
        before = width
    return [*shapes, (1000, 512), (1000,)]


def gpt2() -> Shapes:
    """Return the shapes of GPT-2 small."""
    layer: Shapes = [
        (2304, 768), (2304,), (768, 768), (768,), (3072, 768), (3072,), (768, 3072), *5 * [(768,)],
    ]  # fmt: skip
    return [(50257, 768), (1024, 768), *12 * layer, (768,), (768,)]


MODELS: dict[str, Callable[[], Sequence[tuple[int, ...]]]] = {
    "deep": deep,
    "1,000 tensors": lambda: [(25, 40) for _ in range(1000)],
    "3,000 tensors": lambda: [(16, 16) for _ in range(3000)],
    "resnet18": resnet18,
    "gpt2": gpt2,
    "one tensor": lambda: [(200_000, 1000)],
    # Its step writes to the gradients.
    "mlp, SGD with Nesterov momentum": lambda: 6 * [(4096, 4096), (4096,)],
    "resnet18, SGD with Nesterov momentum": resnet18,
    "embedding, SparseAdam": lambda: [(1_600_000, 64)],
    "embedding, SGD": lambda: [(1_600_000, 64)],
}


def make_optimizer(model: str, parameters: Sequence[Any]) -> Any:
    """Return the optimizer for a model."""
    from torch import optim

    _, _, kind = model.partition(", ")
    if kind == "SGD with Nesterov momentum":
        return optim.SGD(parameters, lr=1e-4, momentum=0.9, nesterov=True, foreach=True)
    if kind == "SparseAdam":
        return optim.SparseAdam(parameters, lr=1e-4)
    if kind == "SGD":
        return optim.SGD(parameters, lr=1e-4, foreach=False)
    return optim.AdamW(parameters, lr=1e-4, fused=True)


def make_gradient(model: str, parameter: Any) -> Any:
    """Return a gradient as backward() leaves it."""
    import torch

    if not model.startswith("embedding"):
        return torch.empty_like(parameter).normal_(0, 1e-3)
    rows = torch.randint(len(parameter), (1, ROWS))
    values = torch.empty(ROWS, *parameter.shape[1:], dtype=parameter.dtype).normal_(0, 1e-3)
    return torch.sparse_coo_tensor(rows, values, parameter.shape, check_invariants=False)


def train(model: str, way: str, dtype: str) -> None:
    """Train in this process, and print its peak resident set in MB and its parameters' bytes."""
    import tempfile

    import torch

    torch.set_num_threads(1)
    callback: Any = None
    if way != "torch":
        from tb_adam_plugin.callback import AdamDebugCallback
        from tb_adam_plugin.callback.write import event_file  # noqa: F401

        callback = AdamDebugCallback
    warm_up()
    parameters = [
        torch.nn.Parameter(torch.empty(shape, dtype=getattr(torch, dtype)).normal_(0, 0.02))
        for shape in MODELS[model]()
    ]
    optimizer = make_optimizer(model, parameters)
    with tempfile.TemporaryDirectory() as folder:
        debug = None
        if way == "recording":
            debug = callback(
                [(f"p{i}", p) for i, p in enumerate(parameters)],
                optimizer,
                log_dir=folder,
                every_n_steps=1,
                on_error="raise",
            )
        for _ in range(STEPS):
            for parameter in parameters:
                parameter.grad = make_gradient(model, parameter)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if debug is not None:
            debug.close()
    print(_peak(), sum(p.numel() * p.element_size() for p in parameters))


def warm_up() -> None:
    """Train a small network: what torch itself loads for that does not count for the callback."""
    import torch
    from torch import nn

    model = nn.Sequential(
        nn.Embedding(100, 32), nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 100)
    )
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for _ in range(3):
        tokens = torch.randint(100, (64,))
        logits = model(tokens)
        nn.functional.cross_entropy(logits, tokens).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        (logits.argmax(1) == tokens).float().mean().item()


def _peak() -> float:
    """Peak resident set of this process, MB; ``getrusage`` would start with the parent's."""
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def measured(model: str, way: str, dtype: str) -> tuple[float, int]:
    """Return what :func:`train` prints in a separate process."""
    command = [sys.executable, __file__, "--child", model, way, "--dtype", dtype]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    peak, size = ended.stdout.split()
    return float(peak), int(size)


def compare(models: Sequence[str], rounds: int, dtype: str) -> bool:
    """Print the table; return whether the promises of docs/cost.md hold."""
    print(
        "| | tensors | parameters' bytes | peak without | imports | **recording** | least, most "
        "| promised |"
    )
    print("|---|---|---|---|---|---|---|---|")
    kept = True
    for model in models:
        without, imports, recording = [], [], []
        size = 0
        for _ in range(rounds):
            plain, size = measured(model, "torch", dtype)
            imported, _ = measured(model, "imported", dtype)
            recorded, _ = measured(model, "recording", dtype)
            without.append(imported)
            imports.append(imported - plain)
            recording.append(recorded - imported)
        tensors = len(MODELS[model]())
        most = MEGABYTES + SHARE * size / 1e6 + max(0, tensors - TENSORS) * KILOBYTES / 1e3
        kept &= statistics.median(recording) <= most
        print(
            f"| {model} | {tensors} | {size / 1e6:.0f} MB | {statistics.median(without):.0f} MB | "
            f"{statistics.median(imports):.0f} MB | **{statistics.median(recording):.0f} MB** | "
            f"{min(recording):.0f}, {max(recording):.0f} | {most:.0f} MB |",
            flush=True,
        )
    return kept


def main() -> int:
    """Read the options; the exit status is 1 if a promise of docs/cost.md does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="float32", help="of the parameters, as bfloat16")
    parser.add_argument("--child", nargs=2, metavar=("MODEL", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        model, way = options.child
        train(model, way, options.dtype)
        return 0
    return 0 if compare(options.models, options.rounds, options.dtype) else 1


if __name__ == "__main__":
    sys.exit(main())
