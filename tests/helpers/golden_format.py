"""One synthetic step and its exact bytes, stored for every version of the format.

``python tests/helpers/golden_format.py`` writes the file of the current ``schema`` version. Changed
bytes mean another format: raise ``schema.VERSION`` first, unless no release wrote the old ones.
Files of older versions stay as they are, and readable.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tb_adam_plugin import schema
from tb_adam_plugin.callback.write.event_log import EventLog
from tb_adam_plugin.schema import (
    Columns,
    Group,
    Layout,
    Parameter,
    Quantity,
    TaggedTensor,
    Unoptimized,
)

FOLDER = Path(__file__).parents[1] / "golden"

STEP = 1_234
WALL_TIME = 1_700_000_000.25
SCALARS = {"adam_debug/lr": 0.5}

# Independent of the schema's current catalogue: new statistics do not change stored bytes.
LAYOUT = Layout(
    (
        Parameter("encoder.weight", (64, 3, 3, 3), "bfloat16", 512, 0),
        Parameter("größe/β", (), "float32", 1, 1),
    ),
    (
        Group("AdamW", {"amsgrad": False, "foreach": None, "note": 'a "β"', "scale": 0.1}),
        Group("SGD", {"momentum": 1e-300, "workers": 2}, ("exp_avg", "exp_avg_rms")),
    ),
    ("update_to_weight_ratio", "exp_avg_rms", "nonfinite_count"),
    (Quantity("update", True, -52), Quantity("exp_avg_sq", False, -104)),
    (Unoptimized("frozen", (2, 0), False), Unoptimized("forgotten", (5,), True)),
)
STATISTICS = np.array([[1e-3, 0.25, 0], [np.inf, np.nan, 3]], np.float32)
HYPERPARAMETER_COLUMNS = Columns(("lr", "beta1", "beta2", "eps", "weight_decay"))
HYPERPARAMETERS = np.array([[1e-3, 0.9, 0.999, 1e-8, 0.01], [0.1, np.nan, np.nan, np.nan, 0]])
STEP_COLUMNS = Columns(("step", "wall_time", "gradient_norm", "loss"))
STEPS = np.array([[1_233, 1_700_000_000, 0.75, 2.5], [1_234, WALL_TIME, np.nan, 2.25]])


class Golden(NamedTuple):
    """The stored data of a version.

    Attributes:
        tensors: The summaries of the step; for histograms the tensor is a block.
        record: The whole event as a record of an event file, with the blocks of ``tensors``.
    """

    tensors: tuple[TaggedTensor, ...]
    record: bytes


def counts() -> schema.Counts:
    """Histograms whose two parameters take counts of 4 and of 1 byte."""
    values = np.zeros((2, 2, schema.BINS + len(schema.SPECIAL)), np.int64)
    values[0, 0, [3, 4, 300]] = [7, 70_000, 1]
    values[0, 0, schema.BINS :] = [5, 4, 3, 2, 1]
    values[0, 1, 0] = values[0, 1, schema.BINS - 1] = 255
    values[1, 0, 256] = 1
    return values


def encode_tensors() -> tuple[TaggedTensor, ...]:
    """Return the summaries of the step as the current schema writes them."""
    return (
        schema.statistics_tensor(LAYOUT, STATISTICS),
        schema.hyperparameters_tensor(LAYOUT, HYPERPARAMETERS, HYPERPARAMETER_COLUMNS),
        schema.steps_tensor(STEP_COLUMNS, STEPS),
        *schema.histogram_tensors(LAYOUT, counts()),
    )


def encode_record(tensors: Sequence[TaggedTensor]) -> bytes:
    """Return the record of the step as the current event log writes it."""
    with tempfile.TemporaryDirectory() as folder:
        log = EventLog(folder)
        log.write(STEP, WALL_TIME, tensors, SCALARS)
        log.close()
        content = Path(log.location).read_bytes()
    first_length = int.from_bytes(content[:8], "little")
    return content[8 + 4 + first_length + 4 :]  # after the record that starts every event file


def unpacked(tagged: TaggedTensor) -> bytes:
    """The bytes of a tensor, decompressed for blocks: builds of zlib compress differently."""
    data = tagged.tensor.tobytes()
    if not tagged.tag.startswith(f"{schema.PLUGIN_NAME}/histograms/"):
        return data
    return data[:1] + zlib.decompress(data[1:])


def path_of(version: int) -> Path:
    """Return the path of a version's bytes."""
    return FOLDER / f"version_{version}.json"


def read(version: int) -> Golden:
    """Return the stored data of a version."""
    fields = json.loads(path_of(version).read_text(encoding="utf-8"))
    tensors = tuple(
        TaggedTensor(
            stored["tag"],
            np.frombuffer(b64decode(stored["bytes"]), stored["dtype"]).reshape(stored["shape"]),
            stored["content"].encode(),
        )
        for stored in fields["tensors"]
    )
    return Golden(tensors, b64decode(fields["record"]))


def write() -> Path:
    """Store the bytes of the current schema version."""
    tensors = encode_tensors()
    fields = {
        "tensors": [
            {
                "tag": tagged.tag,
                "content": tagged.content.decode(),
                "dtype": tagged.tensor.dtype.str,
                "shape": tagged.tensor.shape,
                "bytes": b64encode(tagged.tensor.tobytes()).decode(),
            }
            for tagged in tensors
        ],
        "record": b64encode(encode_record(tensors)).decode(),
    }
    path = path_of(schema.VERSION)
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(fields, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    print(f"wrote {write()}")
