"""A real ``tensorboard`` process, as a user starts it, for tests of the plugin and of the tab."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

_Found = TypeVar("_Found")

_RESIDENT = re.compile(r"^VmRSS:\s+(\d+)", re.MULTILINE)
_URL = re.compile(r"TensorBoard \S+ at (http://\S+) ")


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


class TensorBoard:
    """A running process.

    Attributes:
        url: Its address, with a path prefix if there is one, ending in ``/``.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Follow the output of a process."""
        self.url = ""
        self._process = process
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        threading.Thread(target=self._follow, daemon=True).start()

    @property
    def log(self) -> str:
        """The process's terminal output so far."""
        with self._news:
            return "".join(self._lines)

    @property
    def process_id(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    @property
    def resident_megabytes(self) -> float:
        """Memory of the process and of its children, such as the data server."""
        processes = [self._process.pid]
        for process in processes:
            children = Path(f"/proc/{process}/task/{process}/children").read_text()
            processes += map(int, children.split())
        status = "".join(Path(f"/proc/{p}/status").read_text() for p in processes)
        return sum(int(kilobytes) for kilobytes in _RESIDENT.findall(status)) / 1024

    def wait_for_url(self, timeout: float) -> None:
        """Wait until the process prints its address."""
        with self._news:
            self._news.wait_for(lambda: self._ended or _URL.search("".join(self._lines)), timeout)
        found = _URL.search(self.log)
        assert found, f"TensorBoard did not start:\n{self.log}"
        self.url = found[1]

    def get(self, path: str) -> Answer:
        """Request a path below :attr:`url`; an HTTP error is an answer, too."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=60) as response:
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())

    def ask(self, path: str) -> Answer:
        """Send a request to the plugin."""
        return self.get(f"data/plugin/adam_debug/{path}")

    def _follow(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                with self._news:
                    self._lines.append(line)
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


@contextmanager
def running_tensorboard(
    log_folder: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    timeout: float = 90,
) -> Iterator[TensorBoard]:
    """Start TensorBoard on a free port, wait until it answers, and end it afterwards.

    Args:
        log_folder: The log directory; may still be empty.
        arguments: Additional command-line arguments, such as ``--load_fast=false``.
        environment: Additional environment variables.
        timeout: Seconds to wait for the start.
    """
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={log_folder}", "--port=0"]
    command += ["--host=127.0.0.1", "--reload_interval=1", *arguments]
    process = subprocess.Popen(
        command,
        cwd=log_folder,  # away from the repository, to run the installed package
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        tensorboard = TensorBoard(process)
        tensorboard.wait_for_url(timeout)
        yield tensorboard
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(question: Callable[[], _Found | None], what: str, timeout: float = 60) -> _Found:
    """Ask repeatedly until the answer is true, and return it.

    Data reach TensorBoard when it reloads; there is no notification.
    """
    end = time.monotonic() + timeout
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < end, f"waited {timeout} s for {what}"
        time.sleep(0.1)
