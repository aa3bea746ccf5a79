"""Train a small convolutional network and record what its optimizer does.

    python examples/train_cnn.py --tensorboard         # digits, Adam, five epochs
    python examples/train_cnn.py --compare             # the same network, once per optimizer
    python examples/train_cnn.py --dataset cifar10 --optimizer adamw --epochs 20

Every run gets its own folder inside ``--log-dir``. Three lines belong to Adam Debug: its import,
:func:`run` creates the callback, and :func:`train` passes it the loss. The rest is plain PyTorch.
"""

from __future__ import annotations

import argparse
import math
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from images import DATASETS, Images, load_images
from tb_adam_plugin.callback import AdamDebugCallback

Batches = DataLoader[Any]

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

# Options of each optimizer, with their defaults. beta1 is sgd's momentum, beta2 is rmsprop's alpha.
OPTIMIZERS: dict[str, dict[str, float]] = {
    "adam": {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0},
    "adamw": {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 1e-2},
    "rmsprop": {"lr": 1e-3, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.0},
    "sgd": {"lr": 0.05, "beta1": 0.9, "weight_decay": 0.0},
}


# --- network, training, test ----------------------------------------------------------------------


class ConvNet(nn.Module):
    """Two convolutions and two fully connected layers.

    Args:
        pooling: Whether a 2×2 max-pooling follows each convolution, which brings 32×32 images down
            to the 8×8 that the fully connected layer expects.
    """

    def __init__(self, pooling: bool) -> None:
        """Make the layers, with PyTorch's default initialization."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(64, 64, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(64 * 8 * 8, 512)
        self.fc2 = nn.Linear(512, 10)
        self.pool = nn.MaxPool2d(2) if pooling else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``[batch, 10]`` of images ``[batch, 3, height, width]``."""
        features = self.pool(functional.relu(self.conv1(images)))
        features = self.pool(functional.relu(self.conv2(features)))
        hidden = functional.relu(self.fc1(features.flatten(start_dim=1)))
        logits: Tensor = self.fc2(hidden)
        return logits


def train(
    model: ConvNet,
    batches: Batches,
    optimizer: torch.optim.Optimizer,
    debug: AdamDebugCallback,
    title: str,
) -> tuple[float, float]:
    """Train for one epoch.

    Returns:
        Mean loss and accuracy (0 to 1) over the epoch, each batch evaluated before its own step.
    """
    model.train()
    # Sums stay on the device: reading them waits for the GPU, so it is only done occasionally.
    loss_sum, correct, seen = torch.zeros((), device=DEVICE), torch.zeros((), device=DEVICE), 0
    with tqdm(batches, desc=title, unit="batch", disable=None) as bar:
        for index, (images, labels) in enumerate(bar, start=1):
            images, labels = images.to(DEVICE), labels.to(DEVICE)
            logits = model(images)
            loss = functional.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            debug.record(loss=loss)
            optimizer.step()

            seen += len(labels)
            loss_sum += loss.detach() * len(labels)
            correct += (logits.argmax(dim=1) == labels).sum()
            if index % 10 == 0 or index == len(batches):
                loss_now, accuracy_now = float(loss_sum) / seen, float(correct) / seen
                bar.set_postfix(loss=f"{loss_now:.4f}", accuracy=f"{accuracy_now:.2%}")
    return float(loss_sum) / seen, float(correct) / seen


@torch.no_grad()
def test(model: ConvNet, batches: Batches) -> tuple[float, float]:
    """Return mean loss and accuracy (0 to 1) over all images."""
    model.eval()
    loss_sum, correct, seen = torch.zeros((), device=DEVICE), torch.zeros((), device=DEVICE), 0
    for images, labels in batches:
        images, labels = images.to(DEVICE), labels.to(DEVICE)
        logits = model(images)
        loss_sum += functional.cross_entropy(logits, labels, reduction="sum")
        correct += (logits.argmax(dim=1) == labels).sum()
        seen += len(labels)
    return float(loss_sum) / seen, float(correct) / seen


def run(options: argparse.Namespace, optimizer_name: str, images: tuple[Images, Images]) -> str:
    """Train one network from scratch, and return a line with the results."""
    torch.manual_seed(options.seed)
    settings = optimizer_settings(options, optimizer_name)
    model = ConvNet(pooling=options.dataset != "digits").to(DEVICE)
    optimizer = make_optimizer(optimizer_name, settings, model.parameters())
    # Decoding images takes extra processes; the digits are already tensors.
    workers = 0 if options.dataset == "digits" else 2
    train_batches = DataLoader(images[0], options.batch_size, shuffle=True, num_workers=workers)
    test_batches = DataLoader(images[1], 256, num_workers=workers)

    folder = new_folder(options.log_dir, f"{optimizer_name}-lr{settings['lr']:g}")
    print(f"{folder}: {settings} on {DEVICE}")
    total_steps = options.epochs * len(train_batches)
    with (
        SummaryWriter(str(folder), flush_secs=10) as writer,
        AdamDebugCallback(
            model,
            optimizer,
            log_dir=folder,
            every_n_steps=options.every,
            total_steps=total_steps,
        ) as debug,
    ):
        for epoch in range(1, options.epochs + 1):
            title = f"epoch {epoch}/{options.epochs}"
            train_loss, train_accuracy = train(model, train_batches, optimizer, debug, title)
            test_loss, test_accuracy = test(model, test_batches)
            writer.add_scalar("loss/train", train_loss, debug.step)
            writer.add_scalar("loss/test", test_loss, debug.step)
            writer.add_scalar("accuracy/train", train_accuracy, debug.step)
            writer.add_scalar("accuracy/test", test_accuracy, debug.step)
            print(
                f"{title}: train loss {train_loss:.4f}, accuracy {train_accuracy:.2%}; "
                f"test loss {test_loss:.4f}, accuracy {test_accuracy:.2%}"
            )
    return f"{folder}: test accuracy {test_accuracy:.2%}"


def optimizer_settings(options: argparse.Namespace, name: str) -> dict[str, float]:
    """Return the optimizer's settings: those requested, else its defaults."""
    given = vars(options)
    return {
        key: default if given[key] is None else given[key]
        for key, default in OPTIMIZERS[name].items()
    }


def make_optimizer(
    name: str, settings: dict[str, float], parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Make the named optimizer."""
    lr, weight_decay = settings["lr"], settings["weight_decay"]
    if name == "sgd":
        momentum = settings["beta1"]
        return torch.optim.SGD(parameters, lr, momentum=momentum, weight_decay=weight_decay)
    if name == "rmsprop":
        alpha, eps = settings["beta2"], settings["eps"]
        return torch.optim.RMSprop(parameters, lr, alpha=alpha, eps=eps, weight_decay=weight_decay)
    kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    betas = settings["beta1"], settings["beta2"]
    return kind(parameters, lr, betas=betas, eps=settings["eps"], weight_decay=weight_decay)


def new_folder(parent: Path, name: str) -> Path:
    """Make a folder that no earlier run wrote to, with a number appended if necessary."""
    parent.mkdir(parents=True, exist_ok=True)
    count = 1
    while True:
        folder = parent / (name if count == 1 else f"{name}-{count}")
        try:
            folder.mkdir()
        except FileExistsError:
            count += 1
        else:
            return folder


# --- TensorBoard ----------------------------------------------------------------------------------


@contextmanager
def serve_tensorboard(folder: Path, port: int) -> Iterator[str]:
    """Run TensorBoard in a separate process and yield the URL of the Adam Debug tab.

    Args:
        folder: The folder of the runs.
        port: Port to serve on; 0 picks a free port.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Makes the server end with this process, whether by Ctrl-C or by kill.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)]
    with tempfile.TemporaryFile("w+") as output:
        server = subprocess.Popen(
            [*command, "--port", str(port)], stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield f"{_wait_for_url(server, output)}#adam_debug"
        finally:
            server.terminate()
            server.wait()


def _wait_for_url(server: subprocess.Popen[bytes], output: Any) -> str:
    while server.poll() is None:
        output.seek(0)
        text = output.read()
        if started := re.search(r"^TensorBoard \S+ at (\S+)", text, re.MULTILINE):
            return started[1]
        time.sleep(0.1)
    output.seek(0)  # its last output may have arrived since
    sys.exit(f"TensorBoard did not start:\n{output.read()}")


# --- command line ---------------------------------------------------------------------------------


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Train a small convolutional network and record what its optimizer does."
    )
    add = parser.add_argument
    add("--dataset", choices=DATASETS, default="digits", help="default: %(default)s")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--optimizer", choices=OPTIMIZERS, help="default: adam")
    which.add_argument("--compare", action="store_true", help="one run for each optimizer")
    positive, count = _number(float, above=0), _number(int, minimum=1)
    decay_rate = _number(float, minimum=0, below=1)
    lr_help = "learning rate, or several for a run each; default: 0.05 for sgd, else 0.001"
    add("--lr", type=positive, nargs="+", metavar="LR", dest="learning_rates", help=lr_help)
    add("--beta1", type=decay_rate, help="of exp_avg; momentum of sgd; default: 0.9")
    beta2_help = "of exp_avg_sq; alpha of rmsprop; default: 0.999, 0.99 for rmsprop"
    add("--beta2", type=decay_rate, help=beta2_help)
    add("--eps", type=positive, help="added to the denominator; default: 1e-8")
    weight_decay_help = "default: 0.01 for adamw, else 0"
    add("--weight-decay", type=_number(float, minimum=0), help=weight_decay_help)
    add("--epochs", type=count, default=5, help="default: %(default)s")
    add("--batch-size", type=count, default=32, help="default: %(default)s")
    add("--limit", type=count, metavar="N", help="use only the first N images of each part")
    add("--seed", type=_number(int, minimum=0), default=0, help="default: %(default)s")
    add("--log-dir", type=Path, help="folder of the runs; default: runs/DATASET")
    add("--data-dir", type=Path, default=Path("data"), help="of CIFAR-10; default: %(default)s")
    add(
        "--every",
        type=count,
        metavar="N",
        help="record every N steps; default: 100 to 200 records per run",
    )
    add("--tensorboard", action="store_true", help="serve --log-dir, until Ctrl-C")
    port = _number(int, minimum=0, below=65536)
    add("--port", type=port, default=6006, help="of --tensorboard, 0 for any; default: %(default)s")

    options = parser.parse_args(arguments)
    options.log_dir = options.log_dir or Path("runs", options.dataset)
    options.optimizers = list(OPTIMIZERS) if options.compare else [options.optimizer or "adam"]
    options.learning_rates = options.learning_rates or [None]
    options.lr = options.learning_rates[0]
    for key in ("lr", "beta1", "beta2", "eps", "weight_decay"):
        known = any(key in OPTIMIZERS[name] for name in options.optimizers)
        if not known and getattr(options, key) is not None:
            name = "--" + key.replace("_", "-")
            parser.error(f"argument {name}: {options.optimizers[0]} has no such setting")
    return options


def _number(
    kind: type[int] | type[float],
    minimum: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> Callable[[str], float]:
    """Return a parser of numbers within bounds, which reports what is wrong with others."""
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("at least", minimum), ("above", above), ("below", below))
        if math.isfinite(bound)
    ]
    wanted = f"{'a whole' if kind is int else 'a'} number {' and '.join(bounds)}"

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (value >= minimum and above < value < below):
            raise argparse.ArgumentTypeError(f"must be {wanted}, got {text!r}")
        return value

    return read


def main() -> None:
    """Train what the command line requests."""
    options = parse_options()
    images = load_images(options)
    with ExitStack() as stack:
        url = None
        if options.tensorboard:
            url = stack.enter_context(serve_tensorboard(options.log_dir, options.port))
            print(f"Adam Debug: {url}\nOpen it now: it shows the training live.\n", flush=True)
        results = []
        for name in options.optimizers:
            for lr in options.learning_rates:
                options.lr = lr
                results.append(run(options, name, images))
        print("", *results, sep="\n")
        if url is not None:
            show_until_interrupt(f"\nAdam Debug: {url}  (Ctrl-C ends)")


def show_until_interrupt(message: str) -> None:
    """Print, and return when Ctrl-C is pressed."""
    try:
        print(message, flush=True)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; the records so far are kept")
