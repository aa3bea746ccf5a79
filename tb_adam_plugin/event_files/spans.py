"""Parts of a file that are read together."""

from __future__ import annotations

from collections.abc import Iterator

from tb_adam_plugin.arrays import Int64s

# Size of a span that is read at once, if at most a third of it is unwanted.
_SPAN = 1 << 22
_MOST_UNWANTED = 1.5
# Smaller gaps between two parts are read, too: it takes no longer than another call.
_NEAR = 1 << 15


def spans_of(at: Int64s, size: Int64s) -> Iterator[tuple[int, int]]:
    """Group neighbouring parts: the start and end of each group."""
    first, wanted = 0, 0
    starts, sizes = at.tolist(), size.tolist()
    for i, (start, length) in enumerate(zip(starts, sizes, strict=True)):
        span = start + length - starts[first]
        is_near = i > first and start - (starts[i - 1] + sizes[i - 1]) <= _NEAR
        is_dense = is_near or span <= (wanted + length) * _MOST_UNWANTED
        if i > first and (span > _SPAN or not is_dense):
            yield first, i
            first, wanted = i, 0
        wanted += length
    yield first, len(starts)
