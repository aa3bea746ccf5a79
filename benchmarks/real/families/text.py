"""Texts that every machine has, tokenized with their own vocabulary."""

from __future__ import annotations

import os
import re
import sysconfig
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# One in this many files is held out.
_HELD_OUT_OF = 20
_NOT_READ = {"site-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__", "pydoc_data"}
# Words with the space before them, indentation, digits, and signs.
_PIECE = re.compile(r" ?[A-Za-z_]+|\n *|[0-9]| +|.", re.DOTALL)
_BYTES = 256


@dataclass(frozen=True)
class Corpus:
    """A tokenized text.

    Attributes:
        training: int32 ``[pieces]``.
        held_out: The tokens of other files.
        vocabulary: Number of distinct tokens.
    """

    training: npt.NDArray[np.int32]
    held_out: npt.NDArray[np.int32]
    vocabulary: int

    def batch(self, generator: torch.Generator, sequences: int, length: int) -> Tensor:
        """Return random stretches of the training text, int64 ``[sequences, length + 1]``."""
        return _stretches(self.training, generator, sequences, length)

    def judged(self, sequences: int, length: int) -> Tensor:
        """Return stretches of held-out text, always the same ones."""
        return _stretches(self.held_out, torch.Generator().manual_seed(0), sequences, length)


def _stretches(
    pieces: npt.NDArray[np.int32], generator: torch.Generator, sequences: int, length: int
) -> Tensor:
    starts = torch.randint(len(pieces) - length - 1, (sequences,), generator=generator).numpy()
    found = pieces[starts[:, None] + np.arange(length + 1)]
    return torch.from_numpy(found.astype(np.int64))


def standard_library() -> list[Path]:
    """Return the source files of Python's standard library, about 11 MB."""
    return _python_files(Path(sysconfig.get_paths()["stdlib"]))


def installed(*packages: str) -> list[Path]:
    """Return the source files of installed packages, or of parts of them such as "torch/nn"."""
    root = Path(sysconfig.get_paths()["purelib"])
    files = [file for package in packages for file in _python_files(root / package)]
    if not files:
        raise FileNotFoundError(f"no source of {', '.join(packages)} in {root}: install it")
    return files


def language_reference() -> list[Path]:
    """Return the documents about the Python language, 0.7 MB of English."""
    return sorted(Path(sysconfig.get_paths()["stdlib"], "pydoc_data").glob("topics.py"))


def _python_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*.py")
        if not _NOT_READ.intersection(path.relative_to(folder).parts)
    )


def corpus(
    name: str, files: Sequence[Path], vocabulary: int, cache: Path, pieces_of: str = ""
) -> Corpus:
    """Return a tokenized text, from the cache if it was tokenized before.

    Args:
        name: Name of the text.
        files: Its files.
        vocabulary: Size of the vocabulary, including 256 bytes.
        cache: A folder.
        pieces_of: Name of the text whose vocabulary to use, which is in the cache; "" for its own.
    """
    folder = cache / "texts"
    path = folder / f"{name}-{vocabulary}{'-of-' + pieces_of if pieces_of else ''}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        training, held_out = _split([file.read_text("utf-8", "replace") for file in files])
        if pieces_of:
            with np.load(folder / f"{pieces_of}-{vocabulary}.npz") as kept:
                pieces = [str(piece) for piece in kept["pieces"]]
        else:
            pieces = frequent_pieces(training, vocabulary - _BYTES)
        part = path.with_name(f"{path.name}.{os.getpid()}.part.npz")
        np.savez_compressed(
            part,
            training=in_pieces(training, pieces),
            held_out=in_pieces(held_out, pieces),
            pieces=np.array(pieces),
        )
        part.replace(path)
    with np.load(path) as kept:
        return Corpus(kept["training"], kept["held_out"], vocabulary)


def _split(texts: Sequence[str]) -> tuple[str, str]:
    """Hold out one in several files; of a single text, its end."""
    if len(texts) < _HELD_OUT_OF:
        whole = "\n".join(texts)
        cut = len(whole) - len(whole) // _HELD_OUT_OF
        return whole[:cut], whole[cut:]
    held_out = texts[::_HELD_OUT_OF]
    training = [text for i, text in enumerate(texts) if i % _HELD_OUT_OF]
    return "\n".join(training), "\n".join(held_out)


def frequent_pieces(text: str, count: int) -> list[str]:
    """Return the tokens that save the most, other than single bytes."""
    counts = Counter(_PIECE.findall(text))
    saved = {piece: (len(piece.encode()) - 1) * n for piece, n in counts.items()}
    best = sorted(saved, key=lambda piece: (-saved[piece], piece))
    return [piece for piece in best if saved[piece]][:count]


def in_pieces(text: str, pieces: Sequence[str]) -> npt.NDArray[np.int32]:
    """Return the token ids of a text; anything else is spelled in bytes."""
    known = {piece: [_BYTES + i] for i, piece in enumerate(pieces)}
    numbers: list[int] = []
    for piece in _PIECE.findall(text):
        found = known.get(piece)
        if found is None:
            found = known[piece] = list(piece.encode())
        numbers += found
    return np.array(numbers, np.int32)
