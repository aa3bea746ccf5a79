"""Which other optimizers of the process hold a parameter: two optimizers may train one model."""

from __future__ import annotations

import gc
from collections.abc import Sequence

from torch import Tensor
from torch.optim import Optimizer


def other_optimizers(parameters: Sequence[Tensor], own: Sequence[Tensor]) -> list[str]:
    """Return the class name of an optimizer that trains each of some parameters, or "".

    The garbage collector knows every optimizer that is alive, whoever made it and when. It is asked
    only where a parameter is missing, which is rare. Partners share out the parameters. One that
    holds some of those of the optimizer in question, too, may be one that it has replaced, and
    counts only for what it has stepped.

    Args:
        parameters: That the optimizer in question does not hold.
        own: Some that it holds.
    """
    if not parameters:
        return []
    found = dict.fromkeys(map(id, parameters), "")
    ours = set(map(id, own))
    for thing in gc.get_objects():
        # Not isinstance(): it asks proxies for their class, and some import modules then.
        if not issubclass(type(thing), Optimizer):
            continue
        groups = getattr(thing, "param_groups", ())  # one that is being made has none
        held = [parameter for group in groups for parameter in group.get("params", ())]
        overlaps = any(id(parameter) in ours for parameter in held)
        for parameter in held:
            if id(parameter) in found and not (overlaps and not thing.state.get(parameter)):
                found[id(parameter)] = type(thing).__name__
    return [found[id(parameter)] for parameter in parameters]
