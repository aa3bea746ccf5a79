"""Numbers and names formatted for sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Literal

from tb_adam_plugin.languages.sentences import Sentence, joined, say

_MOST_PATTERNS = 3

Thing = Literal["record", "step", "gradient norm", "gain ratio"]

# For each thing, its singular and its plural.
_COUNTED: Mapping[Thing, tuple[Callable[[], Sentence], Callable[[str], Sentence]]] = {
    "record": (lambda: say("1 record"), lambda count: say("{count} records", count=count)),
    "step": (lambda: say("1 step"), lambda count: say("{count} steps", count=count)),
    "gradient norm": (
        lambda: say("1 gradient norm"),
        lambda count: say("{count} gradient norms", count=count),
    ),
    "gain ratio": (
        lambda: say("1 gain ratio"),
        lambda count: say("{count} gain ratios", count=count),
    ),
}


def number(value: float) -> str:
    """A number with two significant digits: ``0.08``, ``3e-4``."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if value != 0 and not 1e-2 <= abs(value) < 1e4:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    # 99.5 would be 1e+02 with two digits, and zero may have a sign.
    return f"{value + 0.0:.2g}" if abs(value) < 99.5 else f"{value:.0f}"


def decay(value: float) -> str:
    """A decay rate, for which the digits after the nines matter: ``0.999``."""
    return f"{value + 0.0:.6g}"


def percent(share: float) -> str:
    """A share as percent."""
    shown = f"{100 * share:.0f}" if math.isfinite(share) else number(share)
    return f"{'0' if shown == '-0' else shown} %"


def one_digit(value: float) -> float:
    """A hyperparameter as people write it: one significant digit."""
    return float(f"{value:.0e}") if value > 0 and math.isfinite(value) else value


def try_lr(wanted: float, lr: float, ratio: float) -> Sentence:
    """Advise another learning rate, and predict the update-to-weight ratio."""
    return say(
        "Try lr {wanted} instead of {lr}: update-to-weight ratio {ratio} → about {then}.",
        wanted=number(wanted),
        lr=number(lr),
        ratio=number(ratio),
        then=number(ratio * wanted / lr),
    )


def decade_below(value: float) -> float:
    """The power of ten at or below a positive number, or barely above it."""
    return float(f"1e{math.floor(math.log10(value) + 0.05)}")


def step(value: float) -> str:
    """A step number."""
    return f"{value:,.0f}"


def counted(number: int, thing: Thing) -> Sentence:
    """A number of things, such as "1 record" or "9 records"."""
    one, several = _COUNTED[thing]
    return one() if number == 1 else several(f"{number:,}")


def named(names: Sequence[str], among: Collection[str] = ()) -> Sentence:
    """Names in a few words: names that only differ in numbers are combined.

    Args:
        names: The names, at least one.
        among: All existing names; if all of a pattern are included, the text says so.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_pattern(name), []).append(name)
    counts: dict[str, int] = {}
    for name in among:
        counts[_pattern(name)] = counts.get(_pattern(name), 0) + 1
    shown = list(groups.items())[:_MOST_PATTERNS]
    parts = [
        _group(pattern, members, whole=len(members) == counts.get(pattern))
        for pattern, members in shown
    ]
    rest = len(names) - sum(len(members) for _, members in shown)
    if rest and 2 * len(names) > len(among) > 0:  # what they have in common is that they are most
        if len(names) < len(among):
            return say("{count} of {all} tensors", count=len(names), all=len(among))
        return say("all {count} tensors", count=len(names))
    if rest:
        return say("{names} and {count} more", names=joined(parts, ", "), count=rest)
    return listed(parts)


def listed(texts: Sequence[str]) -> Sentence:
    """Join texts as in "a, b and c"; at least one."""
    if len(texts) == 1:
        return joined(texts)
    return say("{names} and {last}", names=joined(texts[:-1], ", "), last=texts[-1])


def _group(pattern: str, members: Sequence[str], *, whole: bool) -> str:
    """Names of one pattern: the name if there is only one, else their number."""
    if len(members) == 1:
        return members[0]
    if whole:
        return say("all {count} {pattern}", count=len(members), pattern=pattern)
    return say("{count} {pattern}", count=len(members), pattern=pattern)


@lru_cache(maxsize=65_536)
def _pattern(name: str) -> str:
    return re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", name)
