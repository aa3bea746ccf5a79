"""Ten thousand damaged inputs: none ends in an exception, a 500, a hang, or memory without bound.

Where the format is refused there is a FormatError; damaged records are left out. All damage is
drawn from seeds: a failing test names the seed that reproduces it.
"""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import LAYOUTS, damage_bytes, damage_json, damaged_run, good_events, limits
from event_files import (
    STEPS,
    counts_of,
    event,
    record,
    step_tensors,
    write_events,
    write_run,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import PluginClient, read_folder
from tensorboard.compat.proto import event_pb2
from tensorboard_process import running_tensorboard, wait_until
from werkzeug.test import TestResponse

from tb_adam_plugin import schema
from tb_adam_plugin.event_files.run_files import RunFiles
from tb_adam_plugin.schema import Columns, FormatError, Layout

CONTENTS, BLOCKS, FILES, HYPOTHESIS_FILES, RUNS, SERVED_RUNS = 4900, 1500, 2000, 500, 900, 100

EVENTS = good_events()
ALLOWED = (200, 404, 503)
# Run folders below that of a training: its own, or one for each of two ranks.
PARTS = (("",), ("",), (schema.RUN_FOLDER, f"{schema.PART_FOLDER}1"))


def test_the_inputs_are_ten_thousand() -> None:
    served_by_both_loaders = 2 * SERVED_RUNS
    inputs = CONTENTS + BLOCKS + FILES + HYPOTHESIS_FILES + RUNS + served_by_both_loaders
    assert inputs == 10_000


def test_damaged_contents_of_tags_are_refused_or_can_be_shown() -> None:
    columns = Columns(("step", "wall_time", "loss"))
    refused = 0
    with limits() as begin:
        for seed in range(CONTENTS):
            source = random.Random(seed)
            begin()
            whole = source.choice((*LAYOUTS, columns))
            damage = source.choice((damage_json, damage_json, damage_bytes))
            content = damage(source, whole.content())
            try:
                read = type(whole).from_content(content)
            except FormatError:
                refused += 1
                continue
            if isinstance(read, Layout):
                json.dumps([g.options for g in read.groups])
                assert all(0 <= p.elements < 2**63 for p in read.parameters), seed
                assert len({p.name for p in read.parameters}) == len(read.parameters), seed
    assert CONTENTS / 4 < refused < CONTENTS


def test_damaged_histograms_are_refused_or_counts() -> None:
    blocks = [
        (block, len(layout.quantities), len(layout.parameters))
        for layout in LAYOUTS
        for block in schema.encode_histograms(counts_of(layout, 1), len(layout.parameters))
    ]
    refused = 0
    with limits() as begin:
        for seed in range(BLOCKS):
            source = random.Random(seed)
            begin()
            block, quantities, parameters = source.choice(blocks)
            if source.random() < 0.5:  # what the checksum of zlib would notice
                unpacked = damage_bytes(source, zlib.decompress(block[1:]))
                block = block[:1] + zlib.compress(unpacked)
            else:
                block = damage_bytes(source, block)
            try:
                counts = schema.decode_histograms(block, quantities, parameters)
            except FormatError:
                refused += 1
                continue
            shape = (quantities * parameters, schema.BINS + len(schema.SPECIAL))
            assert counts.shape == shape, seed
            assert counts.min() >= 0, seed
    assert BLOCKS / 4 < refused < BLOCKS


# --- files --------------------------------------------------------------------------------------


RECORDS = [record(data) for data in EVENTS]
WHOLE = b"".join(RECORDS)
ENDS = np.cumsum([len(one) for one in RECORDS])


def steps_read(path: Path) -> list[int]:
    """The steps of the events with rows of steps that are read from a folder."""
    files = RunFiles(is_ours=True)
    files.update(sorted(map(str, path.glob("*tfevents*"))), 0)
    found = files.records(f"adam_debug/steps/{STEPS.id}")
    return [step for records in found for step in records.step.tolist()]


def test_a_file_cut_anywhere_keeps_all_whole_records(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    places = random.Random(0).sample(range(len(WHOLE) + 1), 300)
    for cut in {*places, *ENDS.tolist(), *(ENDS - 1).tolist(), 0, 1, 11, 12}:
        path.write_bytes(WHOLE[:cut])
        expected = [t for t, end in enumerate(ENDS.tolist(), 1) if end <= cut]
        assert steps_read(tmp_path) == expected, cut


def read_damaged(path: Path, content: bytes) -> int:
    path.write_bytes(content)
    return len(steps_read(path.parent))


def test_damaged_files_are_read_as_far_as_they_can_be(tmp_path: Path) -> None:
    found = 0
    with limits() as begin:
        for seed in range(FILES):
            begin()
            damaged = damage_bytes(random.Random(seed), WHOLE)
            found += read_damaged(tmp_path / "events.out.tfevents.1", damaged)
    # What comes before the damage is read, and after a flipped byte what comes behind it, too.
    assert 0.5 * FILES * len(RECORDS) < found < FILES * len(RECORDS)


@settings(max_examples=HYPOTHESIS_FILES, derandomize=True)
@given(
    st.lists(
        st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 200), st.binary(max_size=40)),
        min_size=1,
        max_size=4,
    )
)
def test_no_replacement_of_bytes_whatsoever_makes_reading_fail(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int, bytes]]
) -> None:
    damaged = bytearray(WHOLE)
    for at, length, new in changes:
        damaged[at : at + length] = new
    folder = tmp_path_factory.getbasetemp() / "hypothesis"
    folder.mkdir(exist_ok=True)
    read_damaged(folder / "events.out.tfevents.1", bytes(damaged))


@pytest.mark.parametrize("length", [2**32, 2**40, 2**62, 2**64 - 1])
def test_a_header_that_claims_gigabytes_allocates_nothing(tmp_path: Path, length: int) -> None:
    claim = struct.pack("<Q", length)
    header = claim + record(claim)[-4:]  # the checksum of a record's data is that of its bytes
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(RECORDS[0] + header + RECORDS[1])
    tracemalloc.start()
    try:
        assert steps_read(tmp_path) == [1]
        if length < 2**40:  # a file with holes has the size that is claimed, and no such memory
            with path.open("r+b") as file:
                file.seek(len(RECORDS[0]) + 12 + length + 4)
                file.write(RECORDS[1])
            assert steps_read(tmp_path) == [1, 2]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20


# --- everything that is served ------------------------------------------------------------------


def questions(summary: dict[str, Any]) -> list[str]:
    """One question to each route, about things that the summary says there are."""
    asked = ["summary", "revision"]
    for run in summary["runs"]:
        name = run["run"]
        ask = [
            "overview?columns=5",
            "overview?columns=3&crowded=latest&since=3",
            f"overview?crowded=mean&columns=2&against={name}&axis=relative",
            "steps",
            "hyperparameters",
            "gradient_norms",
            "findings",
        ]
        if run["parameters"]:
            # Names may be anything now; the first parameter of a good layout is enough.
            ask += ["series?parameter=conv1.bias", "gradient_norms?parameter=conv1.bias"]
            ask += ["histograms?parameter=conv1.bias&quantity=exp_avg&quantity=exp_avg_sq"]
        asked += [f"{question}{'&' if '?' in question else '?'}run={name}" for question in ask]
    return asked


def check(answer: TestResponse, seed: int) -> None:
    assert answer.status_code in ALLOWED, (seed, answer.text)
    assert answer.status_code == 200 or "<" not in answer.text, seed


def test_no_damaged_run_makes_a_route_fail(tmp_path: Path) -> None:
    shown = 0
    # A complete record that is not an event stops TensorBoard's Python loader.
    nothing = read_folder(tmp_path / "nothing")
    with limits() as begin:
        for seed in range(RUNS):
            begin()
            folder, source = tmp_path / str(seed), random.Random(seed)
            for part in source.choice(PARTS):
                write_events(folder / "run" / part, damaged_run(source, EVENTS))
            client = PluginClient(folder, nothing, files=True)
            summary = client.get("summary")
            assert summary.status_code == 200, (seed, summary.text)
            shown += len(json.loads(summary.data)["runs"])
            for question in questions(json.loads(summary.data)):
                check(client.open(question), seed)
    assert RUNS / 2 < shown < RUNS


@pytest.mark.parametrize("loader", ["true", "false"])
def test_no_damaged_run_makes_a_real_tensorboard_fail(tmp_path: Path, loader: str) -> None:
    for seed in range(SERVED_RUNS):
        source = random.Random(10_000 + seed)
        # A complete record that is not an event stops the loading thread of TensorBoard's Python
        # loader.
        damaged = damaged_run(source, EVENTS, readable=loader == "false")
        if seed % 2:
            damaged = [damage_bytes(source, b"".join(damaged))]
        write_events(tmp_path / f"damaged{seed}", damaged)
    write_run(tmp_path / "good", range(1, 21))
    with running_tensorboard(tmp_path, f"--load_fast={loader}") as tensorboard:

        def summary_with_all() -> dict[str, Any] | None:
            answer = tensorboard.ask("summary")
            assert answer.status == 200, answer.text
            found: dict[str, Any] = json.loads(answer.body)
            # Runs are loaded in the order of their names.
            return found if "good" in {run["run"] for run in found["runs"]} else None

        found = wait_until(summary_with_all, "the run that is whole")
        assert len(found["runs"]) > SERVED_RUNS / 2
        for question in questions(found):
            answer = tensorboard.ask(question)
            assert answer.status in ALLOWED, (question, answer.text)
        assert tensorboard.alive
        log = tensorboard.log
        assert "Adam Debug could not answer" not in log, log


def test_claims_of_a_trillion_elements_allocate_nothing(tmp_path: Path) -> None:
    """Shapes and numbers of elements that no file could hold, and zlib streams of 64 MiB."""
    layout = LAYOUTS[0]
    fields = json.loads(layout.content())
    for parameter in fields["parameters"]:
        parameter[1], parameter[3] = [10**6, 10**6], 10**12
    packer = zlib.compressobj(9)
    bomb = b"\x11" + b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    tensors = []
    for tagged in step_tensors(layout, 1, histograms=True):
        tensor, content = tagged.tensor, tagged.content
        if "/statistics/" in tagged.tag:
            content = json.dumps(fields).encode()
        if "/histograms/" in tagged.tag:
            tensor = np.frombuffer(bomb, np.uint8)
        tensors.append(schema.TaggedTensor(tagged.tag, tensor, content))
    claiming = event_pb2.Event.FromString(event(2, step_tensors(layout, 2))[12:-4])
    for value in claiming.summary.value:
        value.tensor.tensor_shape.dim[0].size = 10**12
    write_events(tmp_path / "run", [event(1, tensors), record(claiming.SerializeToString())])
    client = PluginClient(tmp_path, files=True)  # TensorBoard's loader reads 16 MiB at a time
    tracemalloc.start()
    try:
        (run,) = client.json("summary")["runs"]
        assert run["parameters"][0]["elements"] == 10**12
        for question in questions({"runs": [run]}):
            check(client.open(question), 0)
        (run,) = client.json("summary")["runs"]
        assert any("too long" in message["text"] for message in run["messages"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20
