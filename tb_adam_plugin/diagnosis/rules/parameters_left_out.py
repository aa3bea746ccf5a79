"""Are there parameters that this optimizer does not update?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tb_adam_plugin.languages.sentences import joined, say
from tb_adam_plugin.schema import REPLACED

from ..engine.conditions import all_along
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.signals import Signals
from ..engine.wording import named, step


def _unoptimized(signals: Signals, *, trainable: bool) -> tuple[str, ...]:
    """Names of the parameters that neither a group nor another optimizer holds."""
    return tuple(
        u.name
        for u in signals.run.unoptimized
        if u.trainable == trainable and not u.other_optimizer
    )


def _not_in_optimizer(signals: Signals) -> Condition | None:
    names = _unoptimized(signals, trainable=True)
    found = all_along(signals, names=names)
    since = _replaced_at(signals, names)
    if found is None or len(since) < len(names):
        return found
    first = max(min(since.values()), signals.run.first_step)
    return replace(found, step=np.array([first, signals.run.last_step]))


def _replaced_at(signals: Signals, names: Sequence[str]) -> dict[str, float]:
    """Since when the optimizer has held another tensor than the model, by name."""
    former = {f"{name}{REPLACED}": name for name in names}
    since: dict[str, float] = {}
    for first_step, layout in signals.run.layouts:
        for parameter in layout.parameters:
            if parameter.name in former:
                since.setdefault(former[parameter.name], first_step)
    return since


def _not_in_optimizer_message(e: Evidence) -> str:
    since = _replaced_at(e.signals, e.names)
    others = [name for name in e.names if name not in since]
    parts = []
    if since:
        first = min(since.values())
        about = first > e.signals.run.first_step
        said = {"names": named(list(since)), "step": step(first)}
        parts.append(
            _replaced_about(len(since), said) if about else _replaced_before(len(since), said)
        )
    if len(others) > 1:
        parts.append(
            say(
                "{names}: trainable (requires_grad is True), but in no parameter group, so this "
                "optimizer never updates them.",
                names=named(others),
            )
        )
    elif others:
        parts.append(
            say(
                "{names}: trainable (requires_grad is True), but in no parameter group, so this "
                "optimizer never updates it.",
                names=named(others),
            )
        )
    return joined(parts)


def _replaced_about(count: int, said: Mapping[str, str]) -> str:
    if count > 1:
        return say(
            "{names} of the model were replaced at about step {step}: the optimizer still holds "
            "the old tensors and never updates the new ones.",
            **said,
        )
    return say(
        "{names} of the model was replaced at about step {step}: the optimizer still holds the old "
        "tensor and never updates the new one.",
        **said,
    )


def _replaced_before(count: int, said: Mapping[str, str]) -> str:
    if count > 1:
        return say(
            "{names} of the model were replaced before step {step}: the optimizer still holds the "
            "old tensors and never updates the new ones.",
            **said,
        )
    return say(
        "{names} of the model was replaced before step {step}: the optimizer still holds the old "
        "tensor and never updates the new one.",
        **said,
    )


def _not_in_optimizer_advice(e: Evidence) -> str:
    if _replaced_at(e.signals, e.names):
        return say(
            "Add the new tensor to the optimizer with add_param_group(), or create the optimizer "
            "after the call that replaces it, such as resize_token_embeddings()."
        )
    if len(e.names) > 1:
        return say(
            "Add them to the optimizer. If another optimizer updates them, or no optimizer should, "
            "set requires_grad_(False) or ignore this. If a layer was swapped after the optimizer "
            "was created, create the optimizer afterwards."
        )
    return say(
        "Add it to the optimizer. If another optimizer updates it, or no optimizer should, set "
        "requires_grad_(False) or ignore this. If a layer was swapped after the optimizer was "
        "created, create the optimizer afterwards."
    )


NOT_IN_OPTIMIZER = Rule(
    id="not_in_optimizer",
    title="Trainable parameters are in no group",
    needs=("step",),
    condition=_not_in_optimizer,
    persistence=Persistence(),
    severity="warning",
    message=_not_in_optimizer_message,
    advice=_not_in_optimizer_advice,
    reference="",
    explains=("plateau", "weight_decay_too_strong"),
)


def _resting(signals: Signals) -> tuple[str, ...]:
    return tuple(signals.run.names[i] for i in signals.run.resting)


def _frozen_message(e: Evidence) -> str:
    resting = _resting(e.signals)
    untrainable = [name for name in e.names if name not in set(resting)]
    parts = []
    if untrainable:
        parts.append(say("{names}: requires_grad is False.", names=named(untrainable)))
    if resting:
        names = named(resting, e.signals.run.names)
        parts.append(
            say("{names}: the learning rate of the group is 0 at every record.", names=names)
        )
    return joined([*parts, say("Is that intended?")])


def _frozen_severity(e: Evidence) -> Severity:
    """A question, unless nothing moves at all."""
    return "warning" if e.signals.run.resting.size == len(e.signals.run.parameters) else "info"


FROZEN_PARAMETERS = Rule(
    id="frozen",
    title="Some parameters are frozen",
    needs=("step",),
    condition=lambda s: all_along(s, names=_unoptimized(s, trainable=False) + _resting(s)),
    persistence=Persistence(),
    severity=_frozen_severity,
    message=_frozen_message,
    advice=lambda e: "",
    reference="",
    uses=("lr",),
)
