"""Trains missing runs, each in a separate process on one core."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from real.recordings.cases import Case
from real.recordings.keeping import Advised, Outcome, folder_of, is_recorded

STATUS = "STATUS.txt"


@dataclass(frozen=True)
class Queue:
    """Settings for training runs.

    Attributes:
        cache: Folder of the recordings.
        jobs: Number of runs at a time.
        niceness: Niceness of the processes.
        say: Receives a line about every run.
    """

    cache: Path
    jobs: int
    niceness: int
    say: Callable[[str], None]
    _running: set[subprocess.Popen[str]] = field(default_factory=set)

    def train_missing(
        self, cases: Sequence[Case], advised: Sequence[Advised | None] | None = None
    ) -> list[str]:
        """Train missing runs.

        Args:
            cases: The runs, in training order.
            advised: The changed setting of each; None for no change.

        Returns:
            Names of runs that failed; the others exist.
        """
        wanted = zip(cases, advised or [None] * len(cases), strict=True)
        missing = [run for run in wanted if not is_recorded(run[0], self.cache, run[1])]
        self.cache.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(self.jobs) as threads:
            futures = [threads.submit(self._train, *run) for run in missing]
            try:
                succeeded = [future.result() for future in futures]
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                for process in list(self._running):
                    process.terminate()
                raise
        return [run[0].name for run, fine in zip(missing, succeeded, strict=True) if not fine]

    def _train(self, case: Case, advised: Advised | None) -> bool:
        if is_recorded(case, self.cache, advised):  # recorded by another queue in the meantime
            return True
        start = time.perf_counter()
        change = [] if advised is None else ["--with", str(advised)]
        done = self._run_process(case.name, change)
        seconds = time.perf_counter() - start
        folder = folder_of(case, self.cache, advised)
        if done.returncode == 0:
            outcome = Outcome.load(folder)
            name = folder.relative_to(self.cache)
            line = f"{name}: {outcome.measure} {outcome.before:.3f} -> {outcome.after:.3f}"
        else:
            last = "".join(done.stderr.strip().splitlines()[-1:])
            line = f"{case.name}: FAILED with {done.returncode}: {last}"
        line = f"{time.strftime('%H:%M:%S')} {line}, {seconds:.0f} s"
        with (self.cache / STATUS).open("a", encoding="utf-8") as status:
            status.write(line + "\n")
        self.say(line)
        return done.returncode == 0

    def _run_process(self, name: str, change: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "real", "--one", name, "--cache", str(self.cache)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [*command, "--nice", str(self.niceness), *change],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._running.add(process)
        try:
            _, errors = process.communicate()
        finally:
            self._running.discard(process)
        return subprocess.CompletedProcess(command, process.returncode, "", errors)
