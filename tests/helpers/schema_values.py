"""What the format can hold, made up by Hypothesis, and one layout as an example."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tb_adam_plugin import schema
from tb_adam_plugin.schema import (
    BINS,
    SPECIAL,
    Counts,
    Group,
    Layout,
    Parameter,
    Quantity,
    Unoptimized,
)

# Names are whatever a user calls things: any code points, also those that UTF-8 alone refuses.
names = st.text(st.characters(), max_size=8)
several_names = st.lists(names, max_size=4).map(tuple)
shapes = st.lists(st.integers(0, 2**15), max_size=4).map(tuple) | st.just((2**62,))
options = st.dictionaries(
    names,
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names,
    max_size=4,
)
finite = st.floats(allow_nan=False, allow_infinity=False)
replaced_settings = st.dictionaries(names, st.tuples(finite, finite), max_size=2)
quantities = st.sampled_from(schema.QUANTITIES) | st.builds(
    Quantity, names, st.booleans(), st.integers(-150, 150)
)
statistics = st.sampled_from([statistic.name for statistic in schema.STATISTICS]) | names


def _name(item: Parameter | Quantity) -> str:
    return item.name


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    group = st.builds(Group, names, options, several_names, replaced=replaced_settings)
    groups = draw(st.lists(group, max_size=3))
    parameter = st.builds(
        Parameter, names, shapes, names, st.integers(0, 2**40), st.integers(0, len(groups) - 1)
    )
    return Layout(
        tuple(draw(st.lists(parameter, max_size=4, unique_by=_name))) if groups else (),
        tuple(groups),
        tuple(draw(st.lists(statistics, max_size=6))),
        tuple(draw(st.lists(quantities, max_size=6, unique_by=_name))),
        tuple(draw(st.lists(st.builds(Unoptimized, names, shapes, st.booleans()), max_size=3))),
    )


# Bytes that a count takes, on both sides of every limit.
WIDTH_OF = {
    2**8 - 1: 1,
    2**8: 2,
    2**16 - 1: 2,
    2**16: 4,
    2**32 - 1: 4,
    2**32: 8,
    2**63 - 1: 8,
}


@st.composite
def histograms(draw: st.DrawFn) -> Counts:
    """Some filled bins, ``[parameters, quantities, BINS + len(SPECIAL)]``."""
    shape = draw(st.integers(0, 3)), draw(st.integers(0, 6)), BINS + len(SPECIAL)
    counts = np.zeros(shape, np.int64)
    if counts.size:
        bins = st.integers(0, shape[2] - 1) | st.sampled_from([0, BINS - 1, BINS, shape[2] - 1])
        place = st.tuples(st.integers(0, shape[0] - 1), st.integers(0, shape[1] - 1), bins)
        largest = draw(st.sampled_from(list(WIDTH_OF)))
        for at, count in draw(st.dictionaries(place, st.integers(0, largest), max_size=12)).items():
            counts[at] = count
        counts[draw(place)] = largest
    return counts


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


def json_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """A copy of a JSON value with something within it replaced, left out or repeated."""
    value = copy.deepcopy(value)
    part = value
    while True:
        if isinstance(part, dict):
            key: Any = draw(st.sampled_from(sorted(part)))
        else:
            key = draw(st.integers(0, len(part) - 1))
        if not (isinstance(part[key], (dict, list)) and part[key] and draw(st.booleans())):
            break
        part = part[key]
    change = draw(st.sampled_from(["replace", "leave out", "repeat"]))
    if change == "leave out":
        del part[key]
    elif change == "repeat" and isinstance(part, list):
        part.insert(key, part[key])
    else:
        part[key] = draw(json_values)
    return value


def example_layout() -> Layout:
    return Layout(
        (Parameter("a", (3, 4), "float32", 12, 0), Parameter("b", (), "bfloat16", 1, 0)),
        (Group("AdamW", {"amsgrad": False, "fused": None}, ("weight_decay_ratio",)),),
        ("update_rms", "weight_rms", "nonfinite_count"),
        (Quantity("update", True, -52), Quantity("exp_avg_sq", False, -104)),
        (Unoptimized("c", (1,), True),),
    )


LAYOUT = example_layout()
