"""Which other optimizers of the process hold a parameter: two optimizers may train one model."""

from __future__ import annotations

import gc
from collections.abc import Sequence

from torch import Tensor
from torch.optim import Optimizer


def other_optimizers(parameters: Sequence[Tensor]) -> list[str]:
    """Return the class name of an optimizer that holds each of some parameters, or "".

    The garbage collector knows every optimizer that is alive, whoever made it and when, and whether
    or not it has stepped. It is asked only where a parameter is missing, which is rare.

    Args:
        parameters: That the optimizer in question does not hold.
    """
    if not parameters:
        return []
    found = dict.fromkeys(map(id, parameters), "")
    for thing in gc.get_objects():
        # Not isinstance(): it asks proxies for their class, and some import modules then.
        if not issubclass(type(thing), Optimizer):
            continue
        for group in getattr(thing, "param_groups", ()):  # one that is being made has none
            for parameter in group.get("params", ()):
                if id(parameter) in found:
                    found[id(parameter)] = type(thing).__name__
    return [found[id(parameter)] for parameter in parameters]
