"""Has loading a checkpoint replaced settings that the optimizer was created with?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s, Indices
from tb_adam_plugin.languages.sentences import joined, say
from tb_adam_plugin.schema import Layout

from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import decay, number

# Settings are the checkpoint's if they are equal up to this tolerance, at this many records after
# it was loaded: otherwise a loop or a schedule sets them at every step.
SAME = 1e-6
RECORDS_AFTER = 2
# A schedule that continues from its initial setting changes the learning rate by this share of the
# replacement, on a logarithmic scale; at once.
PUT_BACK = 0.5
MOST_SHOWN = 4
_DECAYS = ("beta1", "beta2", "beta3", "alpha", "momentum")

# Old and new value, by group and name.
Replaced = dict[tuple[int, str], tuple[float, float]]


def _replaced(signals: Signals) -> dict[float, Replaced]:
    """Replaced settings that were not set again, by the first step after each checkpoint."""
    run, found = signals.run, dict[float, Replaced]()
    for first, layout in run.layouts:
        here: Replaced = {}
        for group, settings in enumerate(layout.groups):
            scheduled = settings.options.get("initial_lr") is not None
            for name, (before, after) in settings.replaced.items():
                used = _values_after(signals, name, group, first)
                if _is_used(used, before, after, scheduled=scheduled and name == "lr"):
                    here[group, name] = (before, after)
        if here and not _may_be_a_schedule(here, layout):
            found[first] = here
    return found


def _may_be_a_schedule(replaced: Replaced, layout: Layout) -> bool:
    """Whether only learning rates are lower, as after ReduceLROnPlateau."""
    return all(
        name == "lr" and after < before and "initial_lr" not in layout.groups[group].options
        for (group, name), (before, after) in replaced.items()
    )


def _values_after(signals: Signals, name: str, group: int, first: float) -> Float64s:
    """Values of a setting at the records after a checkpoint was loaded."""
    run = signals.run
    values = run.hyperparameters.get(name)
    if values is None or group >= values.shape[1]:
        return np.empty(0)
    found: Float64s = values[run.step >= first, group][:RECORDS_AFTER]
    return found


def _is_used(used: Float64s, before: float, after: float, *, scheduled: bool) -> bool:
    """Whether steps were taken with the checkpoint's value."""
    if not used.size or np.isnan(used).any():
        return False
    if not scheduled:
        return bool(np.allclose(used, after, rtol=SAME, atol=0))
    if not (used > 0).all() or not before > 0 or not after > 0:
        return True
    change = np.log(used[-1] / used[0]) / np.log(before / after)
    return bool(change < PUT_BACK)


def _condition(signals: Signals) -> Condition | None:
    found = _replaced(signals)
    if not found:
        return None
    run, first = signals.run, min(found)
    groups = {group for group, _ in found[first]}
    chosen: Indices = np.flatnonzero(np.isin(run.group_of, list(groups)))
    holds: Flags = run.step >= first
    return Condition(run.step, holds, np.ones(run.step.shape), 0.0, blame=lambda _: chosen)


def _at(e: Evidence) -> Replaced:
    found = _replaced(e.signals)
    return found[min(found)]


def _said(name: str, value: float) -> str:
    return decay(value) if name in _DECAYS else number(value)


def _message(e: Evidence) -> str:
    changes: dict[str, None] = {}
    for (_, name), (before, after) in _at(e).items():
        changes[f"{name} {_said(name, before)} → {_said(name, after)}"] = None
    shown = joined(list(changes)[:MOST_SHOWN], ", ")
    if len(changes) > MOST_SHOWN:
        shown = say("{names} and {count} more", names=shown, count=len(changes) - MOST_SHOWN)
    return say(
        "optimizer.load_state_dict() replaced settings that the optimizer was created with: "
        "{changes}. The steps after it used the values of the checkpoint.",
        changes=shown,
    )


REPLACED_SETTINGS = Rule(
    id="replaced_settings",
    title="Are the settings of the checkpoint intended?",
    needs=("step",),
    condition=_condition,
    persistence=Persistence(),
    once=True,
    severity="info",
    message=_message,
    advice=lambda e: say(
        "To use the new settings, set them in optimizer.param_groups after load_state_dict(), and "
        "create the scheduler after that."
    ),
    reference="",
    uses=("lr", "weight_decay"),
)
