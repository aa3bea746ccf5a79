"""Cost of a recorded step, in fused AdamW steps of the same model, compared with other tools.

All candidates alternate, round by round; a ratio is the median of the rounds' ratios. So other load
on the machine affects all of them.

    python benchmarks/cost/logged_step.py --model resnet18 --rounds 9
    python benchmarks/cost/logged_step.py --model resnet18 --dtype bfloat16 --skip-peers
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import peers
import torch
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback

REPEATS = 5
# Steps that take a fraction of a millisecond are repeated for at least this long.
LEAST_SECONDS = 0.02


class LanguageModel(nn.Module):
    """Embedding, transformer layers, and the embedding again as output layer."""

    def __init__(self, tokens: int, width: int, layers: int, heads: int, positions: int) -> None:
        """Build it."""
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.position = nn.Embedding(positions, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of tokens ``[batch, length]``."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self.layers(self.embedding(tokens) + self.position(positions))
        logits: Tensor = self.norm(hidden) @ self.embedding.weight.T
        return logits


def resnet18() -> tuple[nn.Module, Callable[[], Tensor]]:
    import torchvision

    return torchvision.models.resnet18(), lambda: torch.randn(4, 3, 64, 64)


def transformer() -> tuple[nn.Module, Callable[[], Tensor]]:
    model = LanguageModel(tokens=1000, width=128, layers=4, heads=4, positions=64)
    return model, lambda: torch.randint(1000, (2, 64))


def gpt2() -> tuple[nn.Module, Callable[[], Tensor]]:
    model = LanguageModel(tokens=50_257, width=768, layers=12, heads=12, positions=1024)
    return model, lambda: torch.randint(50_257, (1, 64))


clock = time.perf_counter


def median_time(function: Callable[[], object], repeats: int = REPEATS) -> float:
    times: list[float] = []
    while len(times) < repeats or sum(times) < LEAST_SECONDS:
        start = clock()
        function()
        wait_for_gpu()
        times.append(clock() - start)
    return statistics.median(times)


def wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Callable[[], Tensor]) -> None:
    """A few real steps, to give moments a realistic spread."""
    for _ in range(5):
        optimizer.zero_grad()
        model(batch()).float().square().mean().backward()
        optimizer.step()


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    # In float16 exp_avg_sq is often 0, and the usual eps would then be the only divisor.
    is_narrow = any(parameter.dtype == torch.float16 for parameter in model.parameters())
    return torch.optim.AdamW(
        model.parameters(), lr=1e-4, eps=1e-4 if is_narrow else 1e-8, fused=True
    )


def stored_as(dtype: torch.dtype, model: nn.Module) -> torch.optim.Optimizer:
    """Store a trained model's weights and gradients in a type; return its optimizer then."""
    model.to(dtype)
    for parameter in model.parameters():
        assert parameter.grad is not None
        parameter.grad = parameter.grad.to(dtype)
    optimizer = adamw(model)
    for _ in range(5):
        optimizer.step()
    return optimizer


def time_callback(
    model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path, exact: bool, native: bool
) -> tuple[float, float, float]:
    """Seconds of a recorded step and of any other, and bytes of a record."""
    os.environ["ADAM_DEBUG_NATIVE"] = str(int(native))
    # A separate one for each: if steps are counted on a GPU, an unexpected count costs a second
    # launch.
    with AdamDebugCallback(
        model, optimizer, log_dir=folder, every_n_steps=1, exact=exact, on_error="raise"
    ) as debug:
        first = debug.step
        optimizer.step()  # the first record allocates
        wait_for_gpu()
        recorded = median_time(optimizer.step)
        debug.flush()
        records = debug.step - first
        written = sum(file.stat().st_size for file in folder.rglob("*tfevents*"))
    with AdamDebugCallback(
        model, optimizer, log_dir=folder / "between", every_n_steps=10**9, on_error="raise"
    ) as debug:
        for _ in range(40):  # past the first, densely recorded steps
            optimizer.step()
        debug.flush()  # the remaining work of the thread is part of a record
        wait_for_gpu()
        between = median_time(optimizer.step)
    return recorded, between, written / records


def tensor_bytes() -> dict[int, int]:
    """Size of the memory of every tensor that Python knows, by its address."""
    gc.collect()
    tensors = [found for found in gc.get_objects() if type(found) in (Tensor, nn.Parameter)]
    return {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}


def kept_bytes(
    model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path, exact: bool
) -> int:
    """Size of the tensors that the callback keeps between records."""
    before = tensor_bytes()
    with AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=1, exact=exact):
        optimizer.step()
        return sum(size for address, size in tensor_bytes().items() if address not in before)


def hook_overhead(folder: Path) -> float:
    """Seconds that an unrecorded step adds, without the gradient norm."""
    weight = nn.Parameter(torch.ones(1))
    # Not lr=0: then every step is checked for having been taken only to create a state.
    optimizer = torch.optim.SGD([weight], lr=1e-6)
    weight.grad = torch.ones(1)
    plain = median_time(optimizer.step, 2000)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about SGD's unexplained state
        debug = AdamDebugCallback(
            [("w", weight)], optimizer, log_dir=folder, every_n_steps=10**9, gradient_norm=False
        )
    with debug:
        for _ in range(40):  # past the first, densely recorded steps
            optimizer.step()
        return median_time(optimizer.step, 2000) - plain


class BasicBlock(nn.Module):
    """Two convolutions with batch norm, beside a shortcut."""

    def __init__(self, width: int) -> None:
        """Build it."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[batch, width, height, width]``."""
        return torch.relu(x + self.layers(x))


def deep() -> tuple[nn.Module, Callable[[], Tensor]]:
    blocks = [BasicBlock(32) for _ in range(55)]
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), *blocks, nn.Flatten(), nn.Linear(32 * 64, 10)
    )
    return model, lambda: torch.randn(2, 3, 8, 8)


class ManySmall(nn.Module):
    """Many tiny tensors, as in adapters."""

    def __init__(self, tensors: int, width: int) -> None:
        """Build it."""
        super().__init__()
        self.weights = nn.ParameterList(
            torch.randn(width, width) / width**0.5 for _ in range(tensors)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[batch, width]``."""
        for weight in self.weights:
            x = x + 0.1 * torch.tanh(x @ weight)
        return x


def small() -> tuple[nn.Module, Callable[[], Tensor]]:
    return ManySmall(3_000, 16), lambda: torch.randn(4, 16)


def rl() -> tuple[nn.Module, Callable[[], Tensor]]:
    model = nn.Sequential(
        nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2)
    )
    return model, lambda: torch.randn(32, 4)


MODELS = {
    "gpt2": gpt2,
    "resnet18": resnet18,
    "transformer": transformer,
    "deep": deep,
    "small": small,
    "rl": rl,
}


def machine(options: argparse.Namespace) -> str:
    if torch.device(options.device).type == "cuda":
        return torch.cuda.get_device_name(options.device)
    return f"{options.threads} of {os.cpu_count()} cores"


def measure(options: argparse.Namespace) -> None:
    """Alternate, and print the table."""
    torch.manual_seed(0)
    model, make_batch = MODELS[options.model]()
    model.to(options.device)

    dtype = getattr(torch, options.dtype)

    def batch() -> Tensor:
        made = make_batch().to(options.device)
        return made.to(next(model.parameters()).dtype) if made.is_floating_point() else made

    optimizer = adamw(model)
    train(model, optimizer, batch)
    if dtype != torch.float32:
        optimizer = stored_as(dtype, model)
    quantities = peers.Quantities(model, optimizer)

    def train_step() -> None:
        optimizer.zero_grad()
        model(batch()).float().square().mean().backward()
        optimizer.step()

    ratios: dict[str, list[float]] = {}
    steps, size, share = [], 0.0, []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(options.rounds):
            step = median_time(optimizer.step)
            steps.append(step)

            def add(name: str, seconds: float, step: float = step) -> None:
                ratios.setdefault(name, []).append(seconds / step)

            for native in (False, True):
                recorded, between, size = time_callback(
                    model, optimizer, Path(folder, f"callback{i}-{native}"), options.exact, native
                )
                way = "" if native else ", by torch's operations"
                add(f"a recorded step{way}", recorded - step)
                add(f"a step between records, with the gradient norm{way}", between - step)
            whole = median_time(train_step, 3)
            share.append((recorded - between) / 10 / whole)
            if not options.skip_peers:
                add("Composer: norms alone", median_time(lambda: peers.norms(quantities), 2))
                seconds = median_time(lambda: peers.linear_histograms(quantities), 1)
                add("Weights & Biases: three linear histograms", seconds)
                target = Path(folder, f"peer{i}")
                seconds = median_time(lambda: peers.summary_writer(quantities, target), 1)  # noqa: B023
                add("SummaryWriter.add_histogram, five quantities", seconds)
                ratios.setdefault("SummaryWriter / recorded step", []).append(
                    seconds / (recorded - step)
                )
        overhead = hook_overhead(Path(folder, "overhead"))
        kept = kept_bytes(model, optimizer, Path(folder, "kept"), options.exact)
    sizes = [parameter.numel() for parameter in model.parameters()]
    print(
        f"{options.model}: {sum(sizes) / 1e6:.1f}M parameters of {options.dtype} in {len(sizes)} "
        f"tensors, "
        f"{machine(options)}, torch {torch.__version__}, "
        f"{options.rounds} rounds; one fused AdamW step takes "
        f"{statistics.median(steps) * 1e3:.2f} ms"
    )
    print("\n| | fused AdamW steps | least and most of the rounds |\n|---|---|---|")
    for name, values in ratios.items():
        print(
            f"| {name} | {statistics.median(values):.2f} | {min(values):.2f}, {max(values):.2f} |"
        )
    print(
        f"\nRecording every 10 steps takes {100 * statistics.median(share):.2f} % of the training "
        f"time, with a tiny batch.\nA step between records, without the norm: "
        f"{overhead * 1e6:.0f} µs.\nOne record is {size / 1e3:.0f} kB in the event file.\n"
        f"The callback keeps {kept / 1e6:.0f} MB of tensors."
    )


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, default="resnet18")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", help="for example cuda")
    types = ("float32", "bfloat16", "float16")
    parser.add_argument("--dtype", choices=types, default="float32", help="of weights and state")
    parser.add_argument(
        "--cpu-time", action="store_true", help="time of the process, on a machine that is busy"
    )
    parser.add_argument("--exact", action="store_true", help="read every element")
    parser.add_argument("--skip-peers", action="store_true", help="leave out the slow ones")
    options = parser.parse_args()
    if options.cpu_time:
        global clock
        clock = time.process_time
    torch.set_num_threads(options.threads)
    measure(options)


if __name__ == "__main__":
    main()
