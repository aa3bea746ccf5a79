"""Names of parameters: the name in the model, without the components that wrappers add."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

# Path components that torch.compile, FullyShardedDataParallel and activation checkpointing insert.
_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})

NamedParameters = list[tuple[str, Tensor]]


def named_parameters(model: nn.Module | Iterable[tuple[str, Tensor]]) -> NamedParameters:
    """List a model's parameters under the names that users know.

    Args:
        model: A module, or pairs of name and parameter.

    Returns:
        Every parameter once, under its first name (tied weights have several).

    Raises:
        TypeError: If ``model`` is neither.
        ValueError: If two parameters have the same name.
    """
    if isinstance(model, nn.Module):
        pairs: NamedParameters = list(model.named_parameters())
    else:
        pairs = _checked_pairs(model)
    once = list({id(parameter): (name, parameter) for name, parameter in reversed(pairs)}.values())
    once.reverse()
    names = plain_names([name for name, _ in once])
    return [(name, parameter) for name, (_, parameter) in zip(names, once, strict=True)]


def owners(model: nn.Module) -> dict[int, str]:
    """Return the class name of the module that each parameter belongs to, by the parameter's id.

    If several modules share a weight, the first one counts.
    """
    found: dict[int, str] = {}
    for module in model.modules():
        kind = type(module)
        # fully_shard gives a module a class created from this one and its original class.
        if kind.__bases__[0].__name__ == "FSDPModule":
            kind = kind.__bases__[-1]
        for parameter in module.parameters(recurse=False):
            found.setdefault(id(parameter), kind.__name__)
    return found


def plain_names(names: list[str]) -> list[str]:
    """Remove what wrappers add, except where two parameters would get the same name."""
    plain = [".".join(part for part in n.split(".") if part not in _WRAPPERS) for n in names]
    # DataParallel's prefix is on every name; a user's submodule named "module" is not.
    while plain and all(name.startswith("module.") for name in plain):
        plain = [name.removeprefix("module.") for name in plain]
    ambiguous = (
        {name for name in plain if plain.count(name) > 1} if len(set(plain)) < len(plain) else set()
    )
    unique = [old if new in ambiguous else new for old, new in zip(names, plain, strict=True)]
    # A name that is kept may equal another name, shortened.
    return unique if len(set(unique)) == len(set(names)) else names


def listed(names: Iterable[str], most: int = 5) -> str:
    """Join names for a message; shorten a long list to the first names and the number of others."""
    names = list(names)
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _checked_pairs(model: Iterable[tuple[str, Tensor]]) -> NamedParameters:
    remedy = "pass an nn.Module, or pairs such as model.named_parameters()"
    try:
        pairs = [(name, parameter) for name, parameter in model]
    except (TypeError, ValueError) as error:
        raise TypeError(f"model is a {type(model).__name__}: {remedy}") from error
    parameter_of: dict[str, Tensor] = {}
    for name, parameter in pairs:
        if not isinstance(name, str) or not isinstance(parameter, Tensor):
            found = f"({type(name).__name__}, {type(parameter).__name__})"
            raise TypeError(f"model yields {found} instead of (str, Tensor): {remedy}")
        if parameter_of.setdefault(name, parameter) is not parameter:
            raise ValueError(f"model names two parameters {name!r}: give each its own name")
    return pairs
