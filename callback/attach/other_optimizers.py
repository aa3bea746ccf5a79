"""Finds other optimizers of the process that hold a parameter: a model may be trained by two."""

from __future__ import annotations

import gc
from collections.abc import Sequence

from torch import Tensor
from torch.optim import Optimizer


def other_optimizers(parameters: Sequence[Tensor], own: Sequence[Tensor]) -> list[str]:
    """Return the class name of an optimizer that trains each parameter, or "".

    The garbage collector knows every live optimizer, whoever created it and when. It is only asked
    if a parameter is missing, which is rare. Optimizers that train a model together hold disjoint
    parameters. One that also holds parameters of this optimizer may have been replaced by it, and
    only counts for parameters that it has stepped.

    Args:
        parameters: Parameters that this optimizer does not hold.
        own: Some parameters that it holds.
    """
    if not parameters:
        return []
    found = dict.fromkeys(map(id, parameters), "")
    ours = set(map(id, own))
    for thing in gc.get_objects():
        # Not isinstance(): it asks proxies for their class, which makes some of them import
        # modules.
        if not issubclass(type(thing), Optimizer):
            continue
        groups = getattr(thing, "param_groups", ())  # missing while an optimizer is being created
        held = [parameter for group in groups for parameter in group.get("params", ())]
        overlaps = any(id(parameter) in ours for parameter in held)
        for parameter in held:
            if id(parameter) in found and not (overlaps and not thing.state.get(parameter)):
                found[id(parameter)] = type(thing).__name__
    return [found[id(parameter)] for parameter in parameters]
