"""Indexes many or large event files for the first time, in separate processes.

Building an index takes thousands of small reads and a Python loop. While TensorBoard's own loader
checks everything it reads in a Python loop, each read would wait for the GIL; and a single process
waits for the disk where several can have requests in flight.
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

# Starting a process takes as long as indexing this many files, or this many bytes.
_MANY_FILES = 64
_MANY_BYTES = 256 << 20
_MOST_PROCESSES = 4
# Cost of a single file, in bytes of a large one.
_BYTES_OF_A_FILE = 4 << 20

_logger = logging.getLogger(__name__)


def first_look(runs: Mapping[str, Sequence[str]]) -> dict[str, RunFiles]:
    """Index the callback's own event files.

    Args:
        runs: The event files of each run, sorted by name.

    Returns:
        The indexes, by run. Empty if there is too little to index; runs whose process could not be
        started are missing, and are indexed by whoever asks for them.
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
    """Whether a program runs Python code; one with an embedded interpreter does not."""
    name = os.path.basename(executable or "").lower()
    return name.startswith(("python", "pypy")) and not getattr(sys, "frozen", False)


def _look(runs: dict[str, Sequence[str]]) -> dict[str, RunFiles]:
    """Have a process index some runs."""
    # The process imports from the same places as this one, not from its working directory.
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
    except Exception as error:  # pickle may raise nearly anything for foreign data
        _logger.info("Adam Debug: a process that looks at event files has ended: %r", error)
    return found


def main() -> None:
    """Index the runs named on standard input, and write the result to standard output."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answer:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # keeps prints out of the answer
        runs: dict[str, list[str]] = pickle.load(sys.stdin.buffer)
        for run, paths in runs.items():
            _write(run, paths, answer)


def _write(run: str, paths: Sequence[str], answer: BinaryIO) -> None:
    files = RunFiles(is_ours=True)
    files.update(paths, 0)
    files.series()
    pickle.dump((run, files), answer, pickle.HIGHEST_PROTOCOL)
    answer.flush()
