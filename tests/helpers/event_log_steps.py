"""Steps that are written to an event file and read back, in this process or another one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from event_files import START, make_layout, step_tensors
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2

from tb_adam_plugin.callback.write.event_log import EventLog

LAYOUT = make_layout()
STATISTICS = f"adam_debug/statistics/{LAYOUT.id}"


def write_steps(log: EventLog, steps: Iterable[int]) -> None:
    for t in steps:
        log.write(t, START + t, step_tensors(LAYOUT, t, histograms=True), {"adam_debug/lr": t})


def events_of(path: Path) -> list[Any]:
    """All events, each checked against its CRC by TensorBoard's own reader."""
    return [event_pb2.Event.FromString(data) for data in RawEventFileLoader(str(path)).Load()]


def steps_in(folder: Path) -> list[int]:
    """The steps of our statistics in a folder's event files, in the order of the file names."""
    return [
        event.step
        for path in sorted(folder.glob("events.out.tfevents.*"))
        for event in events_of(path)
        if any(value.tag == STATISTICS for value in event.summary.value)
    ]


def run_python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script with the imports of ``PRELUDE``, and ``folder``."""
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


PRELUDE = """
import fsspec, os, sys
from pathlib import Path
from event_log_steps import *
from gated_storage import *
from torch.utils.tensorboard import SummaryWriter
from tb_adam_plugin.callback.write import run_folder_writer
folder = Path(sys.argv[1])
"""


def writer_threads(others: Collection[threading.Thread] = ()) -> list[threading.Thread]:
    """The threads that write event files, except those that existed before."""
    return [t for t in threading.enumerate() if t.name == "adam-debug-writer" and t not in others]
