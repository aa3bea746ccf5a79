"""Did the type of weights or state change?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Indices
from tb_adam_plugin.languages.sentences import joined, say

from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import named, step


def _type_changes(signals: Signals) -> list[tuple[float, str, Indices]]:
    """Steps at which a stored type changed, what changed, and for which parameters."""
    run = signals.run
    place = {name: i for i, name in enumerate(run.names)}
    changes = []
    for (_, old), (start, new) in zip(run.layouts, run.layouts[1:], strict=False):
        before = {p.name: (p.dtype, old.groups[p.group].storage) for p in old.parameters}
        texts: dict[str, list[int]] = {}
        for p in new.parameters:
            if p.name not in before or p.name not in place:
                continue
            dtype, storage = before[p.name]
            found = [
                say("{key} from {was} to {now}", key=key, was=storage[key], now=now)
                for key, now in new.groups[p.group].storage.items()
                if storage.get(key, now) != now
            ]
            if p.dtype != dtype:
                weights = say("weights from {was} to {now}", was=dtype, now=p.dtype)
                found.insert(0, weights)
            for text in found:
                texts.setdefault(text, []).append(place[p.name])
        changes += [(start, text, np.array(rows, np.intp)) for text, rows in texts.items()]
    return changes


def _type_changed(signals: Signals) -> Condition | None:
    changes = _type_changes(signals)
    if not changes:
        return None
    steps = np.unique(np.array([start for start, _, _ in changes], np.float64))

    def blame(point: int) -> Indices:
        return np.unique(np.concatenate([r for s, _, r in changes if s == steps[point]]))

    ones = np.ones(steps.shape)
    return Condition(steps, ones > 0, ones, 0.0, blame=blame)


def _type_changed_message(e: Evidence) -> str:
    texts = [t for s, t, _ in _type_changes(e.signals) if s == e.worst_step]
    return say(
        "At step {step} the stored type changed: {changes} ({names}). load_state_dict casts the "
        "state to the type of the weights.",
        step=step(e.worst_step),
        changes=joined(dict.fromkeys(texts), ", "),
        names=named(e.names, e.signals.run.names),
    )


TYPE_CHANGED = Rule(
    id="state_type_changed",
    title="The type of weights or state changed",
    needs=("step",),
    condition=_type_changed,
    persistence=Persistence(),
    severity="warning",
    message=_type_changed_message,
    advice=lambda e: say(
        "Set the type of the model before you create the optimizer and load its state, to the same "
        "type as when the checkpoint was written."
    ),
    reference="",
    explains=("second_moment_underflow", "second_moment_frozen", "lost_updates", "nonfinite"),
)
