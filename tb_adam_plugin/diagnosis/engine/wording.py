"""Numbers and names as sentences need them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from functools import lru_cache

_MOST_PATTERNS = 3


def number(value: float) -> str:
    """A number with two digits that count: ``0.08``, ``3e-4``."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if value != 0 and not 1e-2 <= abs(value) < 1e4:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    # 99.5 would be 1e+02 with two digits, and zero may have a sign.
    return f"{value + 0.0:.2g}" if abs(value) < 99.5 else f"{value:.0f}"


def decay(value: float) -> str:
    """A decay rate, in which the digits after the nines are what counts: ``0.999``."""
    return f"{value + 0.0:.6g}"


def percent(share: float) -> str:
    """A share as percent."""
    shown = f"{100 * share:.0f}" if math.isfinite(share) else number(share)
    return f"{'0' if shown == '-0' else shown} %"


def one_digit(value: float) -> float:
    """A hyperparameter as one would write it: one digit that counts."""
    return float(f"{value:.0e}") if value > 0 and math.isfinite(value) else value


def decade_below(value: float) -> float:
    """The power of ten at or below a positive number, or hardly above it."""
    return float(f"1e{math.floor(math.log10(value) + 0.05)}")


def step(value: float) -> str:
    """A step number."""
    return f"{value:,.0f}"


def counted(number: int, thing: str) -> str:
    """So many of a thing, as "1 record" or "9 records"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def named(names: Sequence[str], among: Collection[str] = ()) -> str:
    """Names in few words: those that differ in numbers only are one.

    Args:
        names: To be named, at least one.
        among: All names there are; where every one of a pattern is named, that is said.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_pattern(name), []).append(name)
    counts: dict[str, int] = {}
    for name in among:
        counts[_pattern(name)] = counts.get(_pattern(name), 0) + 1
    parts = []
    for pattern, members in list(groups.items())[:_MOST_PATTERNS]:
        if len(members) == 1:
            parts.append(members[0])
        elif len(members) == counts.get(pattern):
            parts.append(f"all {len(members)} {pattern}")
        else:
            parts.append(f"{len(members)} {pattern}")
    rest = len(names) - sum(len(m) for m in list(groups.values())[:_MOST_PATTERNS])
    if rest and 2 * len(names) > len(among) > 0:  # what they have in common is that they are most
        few = len(names) < len(among)
        return f"{len(names)} of {len(among)} tensors" if few else f"all {len(names)} tensors"
    if rest:
        return f"{', '.join(parts)} and {rest} more"
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


@lru_cache(maxsize=65_536)
def _pattern(name: str) -> str:
    return re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", name)
