"""Data of the tasks, without any downloads."""

from __future__ import annotations

import functools
import importlib
import inspect
import pydoc_data.topics
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_sample_images
from torch import Tensor
from torch.nn import functional

from faults.tasks import standard_library


@dataclass(frozen=True)
class Examples:
    """Pairs to learn from.

    Attributes:
        inputs: ``[examples, ...]``, floats or token numbers.
        targets: ``[examples, ...]``: class or token numbers, or floats to be predicted.
        classes: Number of classes or tokens; 0 if the targets are floats.
    """

    inputs: Tensor
    targets: Tensor
    classes: int

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.inputs)


@functools.cache
def digits() -> Examples:
    """1,797 handwritten digits: images ``[1, 8, 8]`` of mean 0 and variance 1, and 10 classes."""
    source = load_digits()
    images = torch.from_numpy(source.images).float()[:, None]
    images = (images - images.mean()) / images.std()
    return Examples(images, torch.from_numpy(source.target), 10)


@functools.cache
def images_to_restore() -> Examples:
    """The digits as vectors ``[64]``, which are their own targets."""
    vectors = digits().inputs.flatten(1)
    return Examples(vectors, vectors, 0)


@functools.cache
def square_images_to_restore() -> Examples:
    """The digits as images ``[1, 8, 8]``, which are their own targets."""
    return Examples(digits().inputs, digits().inputs, 0)


@functools.cache
def diabetes() -> Examples:
    """442 patients: 10 measurements, and the progression of their disease, standardised."""
    source = load_diabetes(scaled=False)
    inputs, targets = (torch.from_numpy(a).float() for a in (source.data, source.target[:, None]))
    return Examples(_standardised(inputs), _standardised(targets), 0)


@functools.cache
def teacher() -> Examples:
    """4,096 points ``[16]`` and a fixed random network's outputs for them, ``[4]``."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(4096, 16, generator=generator)
    hidden = torch.tanh(inputs @ torch.randn(16, 32, generator=generator) / 2)
    targets = torch.sin(2 * hidden @ torch.randn(32, 4, generator=generator) / 4)
    return Examples(inputs, _standardised(targets), 0)


@functools.cache
def sequences_to_sort() -> Examples:
    """8,192 sequences of 12 out of 16 symbols, and the same in order."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(16, (8192, 12), generator=generator)
    return Examples(inputs, inputs.sort(dim=1).values, 16)


@functools.cache
def tumours() -> Examples:
    """569 tumours: 30 measurements, standardised, and whether they are benign."""
    source = load_breast_cancer()
    inputs = torch.from_numpy(source.data).float()
    return Examples(_standardised(inputs), torch.from_numpy(source.target), 2)


@functools.cache
def photographs() -> Tensor:
    """Two photographs, ``[2, 3, 142, 213]``, of mean 0 and variance 1."""
    images = torch.stack([torch.from_numpy(image.copy()) for image in load_sample_images().images])
    small = functional.avg_pool2d(images.permute(0, 3, 1, 2).float(), 3)
    return (small - small.mean()) / small.std()


@functools.cache
def patches_to_place() -> Examples:
    """2,214 patches ``[3, 12, 12]`` of two photographs, and which third of which they show."""
    patches = photographs().unfold(2, 12, 5).unfold(3, 12, 5).permute(0, 2, 3, 1, 4, 5)
    photograph, row, _ = torch.meshgrid(*map(torch.arange, patches.shape[:3]), indexing="ij")
    places = 3 * photograph + 3 * row // patches.shape[1]
    return Examples(patches.reshape(-1, 3, 12, 12), places.flatten(), 6)


@functools.cache
def pixels() -> Examples:
    """7,597 points ``[2]`` of a photograph, and its brightness there, ``[1]``."""
    brightness = photographs()[1].mean(0)[::2, ::2]
    axes = (torch.linspace(-1, 1, size) for size in brightness.shape)
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 2)
    return Examples(points, _standardised(brightness.reshape(-1, 1)), 0)


@functools.cache
def sums_modulo_53() -> Examples:
    """All 2,809 pairs of numbers below 53, and their sum modulo 53."""
    pairs = torch.cartesian_prod(torch.arange(53), torch.arange(53))
    return Examples(pairs, pairs.sum(dim=1) % 53, 53)


@functools.cache
def topics_text() -> str:
    """Python's language reference, as available in ``help()``: about 460,000 characters."""
    return "\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))


@functools.cache
def docstrings_text() -> str:
    """The docstrings of Python's standard library: about 715,000 characters."""
    bare = [sys.executable, "-I", "-S", "-W", "ignore", standard_library.__file__]
    return subprocess.run(bare, capture_output=True, check=True).stdout.decode()


@functools.cache
def sources() -> tuple[str, ...]:
    """The source of some pure-Python modules of the standard library, one text each."""
    modules = [importlib.import_module(name) for name in standard_library.MODULES]
    written = [m for m in modules if (getattr(m, "__file__", None) or "").endswith(".py")]
    return tuple(inspect.getsource(module) for module in written)


@functools.cache
def modules_to_name(length: int, vocabulary: int) -> Examples:
    """Pieces of source with this many words, and the index of the module that they are from."""
    parts = [_words(text) for text in sources()]
    numbers = _numbered([word for part in parts for word in part], vocabulary)
    pieces = [
        torch.tensor([numbers.get(word, 0) for word in part]).unfold(0, length, length)
        for part in parts
    ]
    names = torch.cat([torch.full((len(piece),), i) for i, piece in enumerate(pieces)])
    return Examples(torch.cat(pieces), names, len(pieces))


def characters(text: str, length: int) -> Examples:
    """Cut a text into sequences; the target of a character is the one that follows.

    Args:
        text: Characters that occur fewer than 20 times count as one.
        length: Length of a sequence.
    """
    counts = Counter(text)
    alphabet = sorted(character for character, count in counts.items() if count >= 20)
    numbers = {character: number for number, character in enumerate(alphabet, start=1)}
    return _windows([numbers.get(c, 0) for c in text], length, len(alphabet) + 1)


def words(text: str, length: int, vocabulary: int) -> Examples:
    """Cut a text into sequences of words; the target of a word is the one that follows.

    Args:
        text: Split at everything that is neither letter nor digit; signs are separate words.
        length: Length of a sequence.
        vocabulary: Number of distinct words; all others count as one.
    """
    parts = _words(text)
    numbers = _numbered(parts, vocabulary)
    return _windows([numbers.get(word, 0) for word in parts], length, vocabulary)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text.lower())


def _numbered(parts: list[str], vocabulary: int) -> dict[str, int]:
    frequent = [word for word, _ in Counter(parts).most_common(vocabulary - 1)]
    return {word: number for number, word in enumerate(frequent, start=1)}


def _windows(tokens: list[int], length: int, classes: int) -> Examples:
    windows = torch.tensor(tokens).unfold(0, length + 1, length)
    return Examples(windows[:, :-1].contiguous(), windows[:, 1:].contiguous(), classes)


def _standardised(values: Tensor) -> Tensor:
    return (values - values.mean(0)) / values.std(0)
