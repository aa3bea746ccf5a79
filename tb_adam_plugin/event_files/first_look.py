"""Many or large event files looked at for the first time: by processes of their own.

An index is made by thousands of small reads and by a loop in Python. Beside TensorBoard's own
loader, which checks all that it reads in a Python loop, each of them would wait for the
interpreter; and one process waits for the disk where several can ask it for more.
"""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from tb_adam_plugin.event_files.run_files import RunFiles

# Starting a process takes as long as looking at so many files, or at so many bytes.
_MANY_FILES = 64
_MANY_BYTES = 256 << 20
_MOST_PROCESSES = 4
# What looking at a file costs by itself, in bytes of a large one.
_BYTES_OF_A_FILE = 4 << 20

_logger = logging.getLogger(__name__)


def first_look(runs: Mapping[str, Sequence[str]]) -> dict[str, RunFiles]:
    """Look at event files of the callback's own.

    Args:
        runs: The event files of each run, in the order of their names.

    Returns:
        What was found in them, by run. Empty where there is too little to look at; and what a
        process could not be started for is left out: whoever asks looks at it then.
    """
    work = {run: _work(paths) for run, paths in runs.items()}
    is_little = len(work) < _MANY_FILES and sum(work.values()) < _MANY_BYTES
    if is_little or not _is_python(sys.executable):
        return {}
    shares: list[tuple[int, list[str]]] = [
        (0, []) for _ in range(min(len(work), os.cpu_count() or 1, _MOST_PROCESSES))
    ]
    for run in sorted(work, key=lambda run: -work[run]):  # the largest first, to the least busy
        done, share = shares[0]
        share.append(run)
        shares[0] = done + work[run], share
        shares.sort(key=lambda s: s[0])
    found: dict[str, RunFiles] = {}
    with ThreadPoolExecutor(len(shares)) as threads:
        for part in threads.map(lambda s: _look({run: runs[run] for run in s[1]}), shares):
            found.update(part)
    return found


def _work(paths: Sequence[str]) -> int:
    size = 0
    for path in paths:
        try:
            size += os.stat(path).st_size + _BYTES_OF_A_FILE
        except OSError:
            continue
    return size


def _is_python(executable: str | None) -> bool:
    """Whether a program runs Python code, which one that brings its own interpreter does not."""
    name = os.path.basename(executable or "").lower()
    return name.startswith(("python", "pypy")) and not getattr(sys, "frozen", False)


def _look(runs: dict[str, Sequence[str]]) -> dict[str, RunFiles]:
    """Have a process look at some runs."""
    # The process imports from where this one does: not from the folder that it is started in.
    program = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main()"
    found: dict[str, RunFiles] = {}
    try:
        with subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        ) as process:
            if process.stdin is None or process.stdout is None:
                return found
            with process.stdin as asked:
                pickle.dump(runs, asked)
            for _ in runs:
                run, files = pickle.load(process.stdout)
                found[run] = files
    except Exception as error:  # pickle raises nearly anything at what it did not write
        _logger.info("Adam Debug: a process that looks at event files has ended: %r", error)
    return found


def main() -> None:
    """Look at the runs that standard input names, and write what is found to standard output."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answer:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what is printed is no answer
        runs: dict[str, list[str]] = pickle.load(sys.stdin.buffer)
        for run, paths in runs.items():
            _write(run, paths, answer)


def _write(run: str, paths: Sequence[str], answer: BinaryIO) -> None:
    files = RunFiles(is_ours=True)
    files.update(paths, 0)
    files.series()
    pickle.dump((run, files), answer, pickle.HIGHEST_PROTOCOL)
    answer.flush()
