"""What the tasks learn from: nothing that has to be downloaded."""

from __future__ import annotations

import functools
import importlib
import inspect
import pydoc_data.topics
import re
from collections import Counter
from dataclasses import dataclass

import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor

_DOCUMENTED_MODULES = (
    "argparse", "asyncio", "collections", "concurrent.futures", "csv", "ctypes", "datetime",
    "decimal", "difflib", "email.message", "enum", "fractions", "functools", "heapq", "http.client",
    "inspect", "io", "itertools", "json", "logging", "mailbox", "math", "multiprocessing", "os",
    "pathlib", "pickle", "random", "re", "shutil", "socket", "sqlite3", "statistics", "string",
    "subprocess", "tarfile", "tempfile", "textwrap", "threading", "turtle", "typing",
    "unittest.mock", "urllib.request", "xml.dom.minidom", "zipfile",
)  # fmt: skip


@dataclass(frozen=True)
class Examples:
    """Pairs to learn from.

    Attributes:
        inputs: ``[examples, ...]``, floats or token numbers.
        targets: ``[examples, ...]``: class or token numbers, or floats to be predicted.
        classes: How many classes or tokens there are; 0 if the targets are floats.
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
def diabetes() -> Examples:
    """442 patients: 10 measurements, and the progression of their disease, standardised."""
    source = load_diabetes(scaled=False)
    inputs, targets = (torch.from_numpy(a).float() for a in (source.data, source.target[:, None]))
    return Examples(_standardised(inputs), _standardised(targets), 0)


@functools.cache
def teacher() -> Examples:
    """4,096 points ``[16]`` and what a fixed random network makes of them, ``[4]``."""
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
def topics_text() -> str:
    """Python's language reference, as far as ``help()`` has it: about 460,000 characters."""
    return "\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))


@functools.cache
def docstrings_text() -> str:
    """The docstrings of Python's standard library: several hundred thousand characters."""
    texts: dict[str, None] = {}
    for name in _DOCUMENTED_MODULES:
        module = importlib.import_module(name)
        members = [value for _, value in sorted(vars(module).items(), key=lambda item: item[0])]
        for member in [module, *members]:
            texts[_own_doc(member)] = None
            if inspect.isclass(member):
                texts.update((_own_doc(value), None) for value in vars(member).values())
    return "\n".join(texts)


def _own_doc(member: object) -> str:
    doc = getattr(member, "__doc__", None) if callable(member) or inspect.ismodule(member) else None
    return inspect.cleandoc(doc) if isinstance(doc, str) else ""


def characters(text: str, length: int) -> Examples:
    """Cut a text into sequences; the target of a character is the one that follows.

    Args:
        text: Characters seen fewer than 20 times count as one.
        length: Of a sequence.
    """
    counts = Counter(text)
    alphabet = sorted(character for character, count in counts.items() if count >= 20)
    numbers = {character: number for number, character in enumerate(alphabet, start=1)}
    return _windows([numbers.get(c, 0) for c in text], length, len(alphabet) + 1)


def words(text: str, length: int, vocabulary: int) -> Examples:
    """Cut a text into sequences of words; the target of a word is the one that follows.

    Args:
        text: Split at what is neither letter nor digit; signs are words of their own.
        length: Of a sequence.
        vocabulary: How many words are told apart; all others count as one.
    """
    parts = re.findall(r"\w+|[^\w\s]", text.lower())
    frequent = [word for word, _ in Counter(parts).most_common(vocabulary - 1)]
    numbers = {word: number for number, word in enumerate(frequent, start=1)}
    return _windows([numbers.get(word, 0) for word in parts], length, vocabulary)


def _windows(tokens: list[int], length: int, classes: int) -> Examples:
    windows = torch.tensor(tokens).unfold(0, length + 1, length)
    return Examples(windows[:, :-1].contiguous(), windows[:, 1:].contiguous(), classes)


def _standardised(values: Tensor) -> Tensor:
    return (values - values.mean(0)) / values.std(0)
