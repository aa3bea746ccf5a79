"""Planted faults, and the rules that name them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from real.recipe.settings import Settings

Change = Callable[[Settings], Settings]


@dataclass(frozen=True)
class Kind:
    """A way to train: a healthy one, or one with a fault.

    Attributes:
        name: Such as "lr x10".
        change: Changes the family's settings.
        rules: Ids of the rules that name the fault; empty for a healthy kind.
        begins: Step before which findings are not about the fault; a share of the run if below 1.
        by_its_harm: Whether it is only a fault if it does harm: otherwise, it is a healthy run.
    """

    name: str
    change: Change
    rules: tuple[str, ...] = ()
    begins: float = 0.0
    by_its_harm: bool = False

    @property
    def is_fault(self) -> bool:
        """Whether something is planted."""
        return bool(self.rules)


def changed(**values: object) -> Change:
    """Return the change that sets fields."""
    return lambda settings: dataclasses.replace(settings, **values)  # type: ignore[arg-type]


def times(**factors: float) -> Change:
    """Return the change that multiplies fields."""

    def change(settings: Settings) -> Settings:
        values = {name: getattr(settings, name) * factor for name, factor in factors.items()}
        return changed(**values)(settings)

    return change


def both(*changes: Change) -> Change:
    """Return several changes, one after the other."""

    def change(settings: Settings) -> Settings:
        for each in changes:
            settings = each(settings)
        return settings

    return change


def _warm_up_too_long(settings: Settings) -> Settings:
    return dataclasses.replace(settings, warm_up_steps=20 * settings.steps)


def _bad_batch(settings: Settings) -> Settings:
    return dataclasses.replace(settings, bad_batch_at=settings.steps // 3)


HIGH = ("lr_too_high", "loss_blowup", "weights_grow")
LOW = ("lr_too_low",)
NEVER_NEAR = ("warmup_not_over", "lr_far_below_schedule", "lr_too_low")
EPSILON = ("eps_dominates", "eps_influences")
DECAY = ("weight_decay_too_strong", "weight_decay_overshoots", "short_memory")
SPIKE = ("gradient_spike",)

HEALTHY = Kind("healthy", changed())
LR_3 = Kind("lr x3", times(learning_rate=3), HIGH, by_its_harm=True)
LR_10 = Kind("lr x10", times(learning_rate=10), HIGH)
LR_30 = Kind("lr x30", times(learning_rate=30), HIGH)
LR_TENTH = Kind("lr x0.1", times(learning_rate=0.1), LOW)
LR_0 = Kind("lr 0", changed(learning_rate=0.0), ("lr_zero",))
LR_HUNDREDTH = Kind("lr x0.01", times(learning_rate=0.01), LOW)
NO_WARM_UP = Kind(
    "lr x3 without warm-up", both(times(learning_rate=3), changed(warm_up_steps=0)), HIGH
)
WARM_UP_TOO_LONG = Kind("warm-up longer than the run", _warm_up_too_long, NEVER_NEAR)
DECAY_30 = Kind("weight decay x30", times(weight_decay=30), DECAY)
EPS = Kind("eps 1e-3", changed(epsilon=1e-3), EPSILON)
BETA2_LOW = Kind("beta2 0.5", changed(beta2=0.5), ("beta2_too_low",))
BETA2_HIGH = Kind("beta2 0.9999", changed(beta2=0.9999), ("stale_second_moment",), by_its_harm=True)
BF16 = Kind("bf16 weights", changed(precision="bfloat16 weights"), ("lost_updates",))
BF16_AT_A_TENTH = Kind(
    "bf16 weights at lr x0.1",
    both(times(learning_rate=0.1), changed(precision="bfloat16 weights")),
    ("lost_updates",),
)
BAD_BATCH = Kind("bad batch", _bad_batch, SPIKE, begins=1 / 3)
BAD_BATCH_NO_CLIP = Kind(
    "bad batch without clipping", both(_bad_batch, changed(clip_norm=None)), SPIKE, begins=1 / 3
)
PER_EPOCH = Kind(
    "schedule stepped per epoch",
    lambda s: dataclasses.replace(s, schedule_every=max(1, s.steps // 5)),
    NEVER_NEAR,
)
SEVERAL_TIMES = Kind(
    "schedule stepped 8 times",
    changed(schedule_times=8),
    ("lr_decayed_early", "lr_rises_again"),
)
CLIPS_BEFORE_UNSCALING = Kind(
    "clipping before unscaling",
    changed(precision="bfloat16 autocast, scaled", clips_before_unscaling=True),
    ("clipped_before_unscaling",),
)
UNSCALES_BEFORE_CLIPPING = Kind("healthy, scaled", changed(precision="bfloat16 autocast, scaled"))
DECAY_ON_GAINS = Kind("decay on gains", changed(decays="everything"), ("decayed_gains",))
# With gradient clipping, which the recipe does not have.
UNSCALES = Kind(
    "healthy, scaled and clipped", changed(precision="bfloat16 autocast, scaled", clip_norm=1.0)
)
CLIPS_BEFORE_UNSCALING_AT_1 = Kind(
    "clipping at 1 before unscaling",
    changed(precision="bfloat16 autocast, scaled", clip_norm=1.0, clips_before_unscaling=True),
    ("clipped_before_unscaling",),
)
NO_CLIPPING = Kind("healthy, without clipping", changed(clip_norm=None))
LONGER_WARM_UP = Kind(
    "healthy, warm-up of a half",
    lambda s: dataclasses.replace(s, warm_up_steps=s.steps // 2),
)
LARGE_EMBEDDING = Kind("embedding N(0, 1)", changed(embedding_std=1.0), ("init_too_large",))
LARGE_WEIGHTS = Kind("initial weights x5", changed(initial_scale=5.0), ("init_too_large",))
LEFTOVER_GRADIENTS = Kind(
    "leftover gradients", changed(keeps_gradients=True), ("leftover_gradient", "stale_gradient")
)
FAST_DISCRIMINATOR = Kind(
    "discriminator x30", changed(discriminator_factor=30.0), HIGH, by_its_harm=True
)
KEEPS_GRADIENTS = Kind("zero_grad missing", changed(keeps_gradients=True), ("stale_gradient",))


def replaced(module: str) -> Kind:
    """Return the fault of a module that is replaced after the optimizer is created."""
    return Kind(f"{module} replaced", changed(replaced=module), ("not_in_optimizer",))


def left_out(module: str) -> Kind:
    """Return the fault of a module that the optimizer was not given."""
    return Kind(f"{module} left out", changed(left_out=module), ("not_in_optimizer",))


def frozen(module: str) -> Kind:
    """Return the fault of a module that is frozen during the run and keeps moving."""
    rules = ("moved_without_gradient", "frozen")
    return Kind(f"{module} frozen in mid-run", changed(frozen=module), rules, begins=0.4)
