"""Time of TensorBoard's Python loader for 100 MB, with and without ``--adam_debug_fast_crc``.

The folder is the start of one run of ``scale.py``, 723 tensors and 500 logged steps. A separate
process loads it as TensorBoard does, three times alternately each way; the figures are medians.

    PYTHONPATH=tests/helpers python benchmarks/cost/python_loader.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from made_up_runs import decoder_layout, write_run

STEPS, HISTOGRAM_EVERY, TIMES = 500, 5, 3
LOAD = """
import sys, time
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.compat import tf
from tb_adam_plugin.serving.fast_crc import replace_crc
if sys.argv[2] == "fast":
    replace_crc()
start = time.process_time()
EventMultiplexer(tensor_size_guidance={"adam_debug": 5000}).AddRunsFromDirectory(
    sys.argv[1]).Reload()
print(time.process_time() - start)
"""


def main() -> None:
    """Write the folder, load it and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_run(folder / "run", decoder_layout(), STEPS, HISTOGRAM_EVERY, 0)
        size = sum(path.stat().st_size for path in folder.rglob("events*"))
        taken: dict[str, list[float]] = {"plain": [], "fast": []}
        for _ in range(TIMES):
            for how, seconds in taken.items():
                command = [sys.executable, "-c", LOAD, name, how]
                ended = subprocess.run(command, capture_output=True, text=True, check=True)
                seconds.append(float(ended.stdout))
    print(f"{size / 1e6:.0f} MB, seconds of the processor, medians of {TIMES}")
    for how, seconds in taken.items():
        print(f"{how:6}{median(seconds):6.1f}   ({', '.join(f'{s:.1f}' for s in seconds)})")


if __name__ == "__main__":
    main()
