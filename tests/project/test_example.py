"""The example, run as a user runs it: small data, real processes, real event files."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SCRIPT = Path(__file__).parents[2] / "examples" / "train_cnn.py"
QUICK = ("--epochs", "1", "--limit", "64")


def run_example(folder: Path, *arguments: str, **environment: str) -> Any:
    """Run the script in ``folder`` until it ends."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def read_tags(run: Path) -> dict[str, Any]:
    """Tags of a run folder by TensorBoard's own reader."""
    accumulator = EventAccumulator(str(run))
    accumulator.Reload()
    tags: dict[str, Any] = accumulator.Tags()
    return tags


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("train_cnn", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_five_epochs_of_digits_reach_95_percent_and_are_recorded(tmp_path: Path) -> None:
    ended = run_example(tmp_path)
    assert ended.returncode == 0, ended.stderr
    accuracy = re.search(r"^runs/digits/adam-lr0\.001: test accuracy (.+)%$", ended.stdout, re.M)
    assert accuracy is not None
    assert float(accuracy[1]) > 95

    run = tmp_path / "runs" / "digits" / "adam-lr0.001"
    assert sorted(read_tags(run)["scalars"]) == [
        "accuracy/test",
        "accuracy/train",
        "loss/test",
        "loss/train",
    ]
    recorded = read_tags(run / "adam_debug")["tensors"]
    kinds = {tag.split("/")[1] for tag in recorded if tag.startswith("adam_debug/")}
    assert {"statistics", "histograms", "hyperparameters", "steps"} <= kinds


def test_each_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    for _ in range(2):
        ended = run_example(tmp_path, *QUICK, "--log-dir", "logs", "--lr", "0.01")
        assert ended.returncode == 0, ended.stderr
    assert sorted(p.name for p in (tmp_path / "logs").iterdir()) == ["adam-lr0.01", "adam-lr0.01-2"]


def test_several_learning_rates_are_a_run_each(tmp_path: Path) -> None:
    ended = run_example(tmp_path, *QUICK, "--log-dir", "logs", "--lr", "1e-3", "1e-1")
    assert ended.returncode == 0, ended.stderr
    assert sorted(p.name for p in (tmp_path / "logs").iterdir()) == ["adam-lr0.001", "adam-lr0.1"]
    assert "logs/adam-lr0.1: test accuracy" in ended.stdout


def test_compare_trains_every_optimizer_into_a_sibling_folder(tmp_path: Path) -> None:
    ended = run_example(tmp_path, *QUICK, "--compare", "--log-dir", "logs")
    assert ended.returncode == 0, ended.stderr
    folders = sorted((tmp_path / "logs").iterdir())
    assert [p.name for p in folders] == [
        "adam-lr0.001",
        "adamw-lr0.001",
        "rmsprop-lr0.001",
        "sgd-lr0.05",
    ]
    for folder in folders:
        assert len(list((folder / "adam_debug").glob("events.out.tfevents.*"))) == 1
        assert f"logs/{folder.name}: test accuracy" in ended.stdout
    assert "Adam Debug" not in ended.stderr  # all of them are known


def test_fake_images_go_through_the_pooling_network(tmp_path: Path) -> None:
    ended = run_example(tmp_path, *QUICK, "--dataset", "fake")
    assert ended.returncode == 0, ended.stderr
    assert "runs/fake/adam-lr0.001: test accuracy" in ended.stdout


def test_digits_need_no_torchvision(tmp_path: Path) -> None:
    blocked = (
        "import runpy, sys; sys.modules['torchvision'] = None; "
        f"sys.path.insert(0, {str(SCRIPT.parent)!r}); "
        f"sys.argv = {[str(SCRIPT), *QUICK]!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    subprocess.run([sys.executable, "-c", blocked], cwd=tmp_path, check=True, capture_output=True)


def test_cifar10_without_network_says_what_to_do(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    ended = run_example(
        tmp_path, "--dataset", "cifar10", http_proxy=nowhere, https_proxy=nowhere, no_proxy=""
    )
    assert ended.returncode == 1
    assert "cannot download CIFAR-10 into 'data'" in ended.stderr
    assert "use --dataset digits" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "runs").exists()


def test_cifar10_on_disk_is_trained_on(
    example: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Eight images in CIFAR-10's own files, read by torchvision's own class."""
    cifar10 = pytest.importorskip("torchvision").datasets.CIFAR10
    folder = tmp_path / cifar10.base_folder
    folder.mkdir()
    monkeypatch.setattr(cifar10, "train_list", [_write_cifar10_batch(folder / "data_batch_1")])
    monkeypatch.setattr(cifar10, "test_list", [_write_cifar10_batch(folder / "test_batch")])
    names, checksum = _write_pickle(folder / "batches.meta", {"label_names": list("0123456789")})
    meta = {"filename": names, "key": "label_names", "md5": checksum}
    monkeypatch.setattr(cifar10, "meta", meta)

    logs = tmp_path / "logs"
    arguments = ["--dataset", "cifar10", "--data-dir", str(tmp_path), "--log-dir", str(logs)]
    options = example.parse_options([*arguments, "--epochs", "1", "--batch-size", "4"])
    train_images, test_images = example.load_images(options)
    assert (len(train_images), len(test_images)) == (8, 8)
    assert test_images[0][0].shape == (3, 32, 32)
    result = example.run(options, "adam", (train_images, test_images))
    assert result.startswith(f"{logs / 'adam-lr0.001'}: test accuracy ")
    assert "epoch 1/1: train loss " in capsys.readouterr().out


def _write_cifar10_batch(path: Path) -> tuple[str, str]:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 3 * 32 * 32), dtype=np.uint8)
    return _write_pickle(path, {"data": pixels, "labels": list(range(8))})


def _write_pickle(path: Path, content: object) -> tuple[str, str]:
    """Return the file's name and the checksum that torchvision asks for."""
    data = pickle.dumps(content)
    path.write_bytes(data)
    return path.name, hashlib.md5(data).hexdigest()


@pytest.mark.parametrize(
    ("ending", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_tensorboard_serves_the_tab_until_the_example_ends(
    tmp_path: Path, ending: signal.Signals, status: int
) -> None:
    command = [sys.executable, "-u", str(SCRIPT), *QUICK, "--tensorboard", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            first_line = process.stdout.readline()
            url = re.fullmatch(r"Adam Debug: (http://localhost:\d+/)#adam_debug\n", first_line)
            assert url is not None
            with urllib.request.urlopen(url[1] + "data/plugins_listing", timeout=60) as answer:
                assert b'"tab_name": "Adam Debug"' in answer.read()
            assert process.stdout.readline() == "Open it now: it shows the training live.\n"
            assert any("(Ctrl-C ends)" in line for line in process.stdout)  # trained to the end
        finally:
            process.send_signal(ending)
            process.communicate(timeout=60)
    assert process.returncode == status
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url[1], timeout=60)


def test_a_port_in_use_is_reported_before_training(tmp_path: Path) -> None:
    with socket.create_server(("localhost", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run_example(tmp_path, *QUICK, "--tensorboard", "--port", port)
    assert ended.returncode == 1
    assert f"could not bind to port {port}" in ended.stderr
    assert "test accuracy" not in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--lr -1", "argument --lr: must be a number above 0, got '-1'"),
        ("--lr fast", "argument --lr: must be a number above 0, got 'fast'"),
        ("--lr nan", "argument --lr: must be a number above 0, got 'nan'"),
        ("--lr inf", "argument --lr: must be a number above 0, got 'inf'"),
        ("--beta1 1", "argument --beta1: must be a number at least 0 and below 1, got '1'"),
        ("--weight-decay -0.1", "argument --weight-decay: must be a number at least 0"),
        ("--epochs 0", "argument --epochs: must be a whole number at least 1, got '0'"),
        ("--batch-size 1.5", "argument --batch-size: must be a whole number at least 1"),
        ("--port 65536", "argument --port: must be a whole number at least 0 and below 65536"),
        ("--optimizer lion", "argument --optimizer: invalid choice: 'lion'"),
        ("--dataset mnist", "argument --dataset: invalid choice: 'mnist'"),
        ("--optimizer sgd --eps 1e-8", "argument --eps: sgd has no such setting"),
        ("--optimizer rmsprop --beta1 0.5", "argument --beta1: rmsprop has no such setting"),
        ("--compare --optimizer adam", "not allowed with argument"),
    ],
)
def test_bad_options_are_refused_by_name(
    example: ModuleType, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        example.parse_options(arguments.split())
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "kind", "settings"),
    [
        ("", torch.optim.Adam, {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}),
        ("--optimizer adamw", torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 1e-2}),
        (
            "--optimizer adamw --lr 0.02 --beta1 0.8 --beta2 0.95 --eps 1e-6 --weight-decay 0.3",
            torch.optim.AdamW,
            {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.3},
        ),
        (
            "--optimizer rmsprop --beta2 0.9 --eps 1e-6",
            torch.optim.RMSprop,
            {"lr": 1e-3, "alpha": 0.9, "eps": 1e-6, "weight_decay": 0.0},
        ),
        (
            "--optimizer sgd --beta1 0.8 --weight-decay 0.1",
            torch.optim.SGD,
            {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.1},
        ),
    ],
)
def test_options_reach_the_optimizer(
    example: ModuleType, arguments: str, kind: type[torch.optim.Optimizer], settings: dict[str, Any]
) -> None:
    options = example.parse_options(arguments.split())
    name = options.optimizers[0]
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    chosen = example.optimizer_settings(options, name)
    optimizer = example.make_optimizer(name, chosen, parameters)
    assert isinstance(optimizer, kind)
    group = optimizer.param_groups[0]
    assert {key: group[key] for key in settings} == settings
