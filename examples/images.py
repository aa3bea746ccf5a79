"""The images that the example learns from: handwritten digits, CIFAR-10 or noise."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

Images = Dataset[Any]  # of pairs: image [3, height, width], label 0 to 9

DATASETS = ("digits", "cifar10", "fake")


def load_images(options: argparse.Namespace) -> tuple[Images, Images]:
    """Return the images to train on and those to test with, at most ``--limit`` of each."""
    if options.dataset == "digits":
        images = load_digits_images()
    elif options.dataset == "cifar10":
        images = load_cifar10(options.data_dir)
    else:
        images = make_fake_images(options.seed)
    if options.limit is None:
        return images
    train_images, test_images = images
    return (_first(train_images, options.limit), _first(test_images, options.limit))


def load_digits_images() -> tuple[Images, Images]:
    """Return the 1,797 handwritten digits of scikit-learn; a fifth is for testing.

    8×8 pixels from 0 to 1, repeated to three channels.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        sys.exit(f"--dataset digits needs scikit-learn: pip install scikit-learn ({error})")

    digits = load_digits()
    pixels = torch.from_numpy(digits.images).float().div(16)
    pixels = pixels[:, None].repeat(1, 3, 1, 1)
    labels = torch.from_numpy(digits.target)
    split = train_test_split(pixels, labels, test_size=0.2, random_state=0, stratify=digits.target)
    train_pixels, test_pixels, train_labels, test_labels = split
    return TensorDataset(train_pixels, train_labels), TensorDataset(test_pixels, test_labels)


def load_cifar10(folder: Path) -> tuple[Images, Images]:
    """Return CIFAR-10, downloaded into ``folder`` unless it is there already."""
    torchvision = import_torchvision("cifar10")
    augment, plain = image_transforms()
    cifar10 = torchvision.datasets.CIFAR10
    try:
        return (
            cifar10(folder, train=True, transform=augment, download=True),
            cifar10(folder, train=False, transform=plain, download=True),
        )
    except (OSError, RuntimeError) as error:  # no network; a damaged file
        sys.exit(
            f"--dataset cifar10: cannot download CIFAR-10 into {str(folder)!r}: {error}\n"
            f"Put the folder cifar-10-batches-py there by hand, or use --dataset digits."
        )


def make_fake_images(seed: int) -> tuple[Images, Images]:
    """Return random noise with random labels: nothing to learn, but good for timing."""
    torchvision = import_torchvision("fake")
    _, plain = image_transforms()
    fake = torchvision.datasets.FakeData
    shape = (3, 32, 32)
    return (
        fake(2000, shape, 10, transform=plain, random_offset=seed),
        fake(500, shape, 10, transform=plain, random_offset=seed + 2000),
    )


def image_transforms() -> tuple[Callable[[Any], Tensor], Callable[[Any], Tensor]]:
    """Return the transforms of images for training, with augmentation, and for testing."""
    from torchvision import transforms

    plain = [
        transforms.ToTensor(),
        transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ]
    augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    return transforms.Compose([*augment, *plain]), transforms.Compose(plain)


def import_torchvision(dataset: str) -> Any:
    """Import torchvision here rather than at the top, because the digits do not need it."""
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        sys.exit(
            f"--dataset {dataset} needs a torchvision that matches the installed torch; "
            f"install both together: pip install torch torchvision ({error})"
        )
    return torchvision


def _first(images: Images, limit: int) -> Images:
    return Subset(images, range(min(limit, len(images))))  # type: ignore[arg-type]
