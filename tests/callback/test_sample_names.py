"""Which elements are read follows from the name of a parameter."""

from __future__ import annotations

import subprocess
import sys

import torch

from tb_adam_plugin.callback.read.sampling import choose_lines, chosen_elements
from tb_adam_plugin.callback.shards.shards import WholeShard

MOST = 16_384


def test_tensors_of_one_size_are_read_through_different_samples() -> None:
    samples = []
    for name in ("encoder.weight", "decoder.weight", "layers.1.weight", "layers.2.weight", "ü"):
        lines = choose_lines(name, 1_000_000, MOST)
        assert lines is not None
        samples.append(set(lines.tolist()))
    for i, one in enumerate(samples):
        for other in samples[:i]:
            assert len(one & other) < 0.1 * len(one)


def test_the_sample_of_a_name_is_the_same_in_every_process() -> None:
    code = (
        "from tb_adam_plugin.callback.read.sampling import chosen_elements\n"
        "print(chosen_elements('layers.3.weight', 123_457, 512).tolist())"
    )
    for seed in ("1", "2"):
        printed = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": ":".join(filter(None, sys.path)), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        chosen = chosen_elements("layers.3.weight", 123_457, 512)
        assert chosen is not None
        assert printed.stdout.strip() == str(chosen.tolist())


def test_the_sample_of_a_part_is_that_of_the_name() -> None:
    weight = torch.zeros(200, 300)
    sample = WholeShard(weight.shape, True).sample("layer.weight", weight, 4096)
    chosen = chosen_elements("layer.weight", 60_000, 4096)
    assert sample is not None
    assert chosen is not None
    assert sample.elements.tolist() == chosen.tolist()


def test_training_sees_the_same_random_numbers() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    choose_lines("weight", 1_000_000, MOST)
    assert torch.equal(torch.rand(4), expected)
