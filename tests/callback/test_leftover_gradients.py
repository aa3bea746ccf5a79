"""Gradients left over from the backward pass of another optimizer's loss."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from recorded_run import read_run
from torch import Tensor, nn
from torch.optim import optimizer as torch_optimizer

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.probes import leftover_gradients

STEPS = 8


class Ours(nn.Module):
    """The gradient of its weight is the factor, everywhere, and so is that of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(100))

    def forward(self, factor: float | Tensor) -> Tensor:
        found: Tensor = (self.weight * factor).sum()
        return found


class Pair:
    """A parameter that is watched, another one, and what trains each."""

    def __init__(self) -> None:
        self.ours, self.theirs = Ours(), nn.Parameter(torch.ones(1))
        self.optimizer = torch.optim.Adam(self.ours.parameters())
        self.other = torch.optim.SGD([self.theirs], lr=0.0)

    def loss_of_both(self, factor: float) -> Tensor:
        found: Tensor = self.ours(self.theirs * factor)
        return found


Loop = Callable[[Pair], None]


def ratios(folder: Path, loop: Loop, every_n_steps: int = 1) -> list[float]:
    """The ratio of each step; NaN if there is none."""
    pair = Pair()
    options = {"log_dir": folder, "every_n_steps": every_n_steps, "on_error": "raise"}
    with AdamDebugCallback(pair.ours, pair.optimizer, **options):  # type: ignore[arg-type]
        while pair.optimizer.state.get(pair.ours.weight, {}).get("step", 0) < STEPS:
            loop(pair)
    assert not torch_optimizer._global_optimizer_post_hooks
    rows = read_run(folder).steps.values()
    return [row.get("leftover_gradient_ratio", float("nan")) for row in rows]


def step(optimizer: torch.optim.Optimizer) -> None:
    optimizer.step()
    optimizer.zero_grad()


def left_by_the_other(pair: Pair) -> None:
    pair.loss_of_both(3).backward()
    step(pair.other)
    pair.ours(2).backward()
    step(pair.optimizer)


def left_once_in_two_steps(pair: Pair) -> None:
    left_by_the_other(pair)
    pair.ours(2).backward()
    step(pair.optimizer)


def left_before_two_backward_passes(pair: Pair) -> None:
    pair.loss_of_both(1).backward()
    step(pair.other)
    pair.ours(2).backward()
    pair.ours(2).backward()
    step(pair.optimizer)


def cleared(pair: Pair) -> None:
    pair.loss_of_both(3).backward()
    step(pair.other)
    pair.optimizer.zero_grad()
    pair.ours(2).backward()
    step(pair.optimizer)


def cleared_to_zeros(pair: Pair) -> None:
    pair.loss_of_both(3).backward()
    step(pair.other)
    pair.optimizer.zero_grad(set_to_none=False)
    pair.ours(2).backward()
    step(pair.optimizer)


def micro_batches(pair: Pair) -> None:
    for _ in range(3):
        pair.ours(2).backward()
    step(pair.optimizer)


def shared_micro_batches(pair: Pair) -> None:
    for _ in range(3):
        pair.loss_of_both(2).backward()
    step(pair.other)
    step(pair.optimizer)


def ours_less_often_and_first(pair: Pair) -> None:
    """The other one steps for every loss, this one for every second; both add up the same loss."""
    for _ in range(2):
        pair.loss_of_both(2).backward()
        if _:
            step(pair.optimizer)
        step(pair.other)


def ours_less_often_and_last(pair: Pair) -> None:
    for _ in range(2):
        pair.loss_of_both(2).backward()
        step(pair.other)
    step(pair.optimizer)


def heads_of_their_own(pair: Pair) -> None:
    """A trunk that accumulates the losses of several heads, each with its own optimizer."""
    for _ in range(3):
        head = nn.Parameter(torch.ones(1))
        optimizer = torch.optim.SGD([head], lr=0.0)
        pair.ours(head).backward()
        step(optimizer)
    step(pair.optimizer)


def inner_loops(pair: Pair) -> None:
    """Each task adapts a copy with an optimizer of its own; then comes the gradient."""
    for _ in range(2):
        copy = nn.Parameter(torch.ones(100))
        optimizer = torch.optim.SGD([copy], lr=0.1)
        copy.sum().backward()
        step(optimizer)
        pair.ours(2).backward()
    step(pair.optimizer)


@pytest.mark.parametrize("every_n_steps", [1, 4])
@pytest.mark.parametrize(
    ("loop", "ratio"),
    [(left_by_the_other, 1.5), (left_before_two_backward_passes, 0.5)],
)
def test_what_another_loss_has_left_is_compared_with_what_comes(
    loop: Loop, ratio: float, every_n_steps: int, tmp_path: Path
) -> None:
    found = ratios(tmp_path, loop, every_n_steps)
    # A parameter is watched from the first step on; whether another loss ends with a step of
    # another optimizer is known one step later.
    assert found[3:] == pytest.approx([ratio] * (STEPS - 3))


def test_steps_without_a_pass_of_the_other_have_none(tmp_path: Path) -> None:
    assert ratios(tmp_path, left_once_in_two_steps)[4:] == pytest.approx([1.5, 0, 1.5, 0])


@pytest.mark.parametrize(
    "loop",
    [
        cleared, cleared_to_zeros, micro_batches, shared_micro_batches, ours_less_often_and_first,
        ours_less_often_and_last, heads_of_their_own, inner_loops,
    ],
)  # fmt: skip
def test_what_is_cleared_or_added_up_on_purpose_is_not_left(loop: Loop, tmp_path: Path) -> None:
    assert not [ratio for ratio in ratios(tmp_path, loop) if ratio > 0]


def test_other_optimizers_are_not_followed_where_nothing_is_added_up(tmp_path: Path) -> None:
    pair = Pair()
    with AdamDebugCallback(pair.ours, pair.optimizer, log_dir=tmp_path):
        for _ in range(STEPS):
            cleared(pair)
        assert not torch_optimizer._global_optimizer_post_hooks
        left_by_the_other(pair)
        assert len(torch_optimizer._global_optimizer_post_hooks) == 1
    assert not torch_optimizer._global_optimizer_post_hooks


def test_nothing_is_kept_alive(tmp_path: Path) -> None:
    pair = Pair()
    with AdamDebugCallback(pair.ours, pair.optimizer, log_dir=tmp_path):
        for _ in range(4):
            left_by_the_other(pair)
        other = weakref.ref(pair.other)
        del pair.other
        gc.collect()
        assert other() is None


def test_a_follower_that_is_lost_leaves_no_hook() -> None:
    steps = leftover_gradients.OtherSteps()
    steps.follow(nn.Parameter(torch.ones(3)))
    assert len(torch_optimizer._global_optimizer_post_hooks) == 1
    del steps
    gc.collect()
    assert not torch_optimizer._global_optimizer_post_hooks


def test_an_optimizer_that_cannot_be_asked_ends_it_quietly(tmp_path: Path) -> None:
    pair = Pair()
    with AdamDebugCallback(pair.ours, pair.optimizer, log_dir=tmp_path, on_error="raise"):
        for _ in range(4):
            left_by_the_other(pair)
        steps = leftover_gradients.OtherSteps()
        steps.follow(pair.ours.weight)
        hook = leftover_gradients._hook_of(steps)
        hook(object())
        assert steps._other_has_stepped  # it holds nothing
        steps.gradient_comes()

        class Odd:
            param_groups: tuple[dict[str, object]] = ({},)

        hook(Odd())
        assert not steps.is_following
