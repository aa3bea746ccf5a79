"""The parts of a tag: the kind of its tensor, and what the tensor is about."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

PLUGIN_NAME = "adam_debug"
# Named as the writer by the first event of the callback's files. In their events, histograms come
# after all other tensors, so a reader can skip them.
WRITER = "tb_adam_plugin.callback.write.event_log"

Kind = Literal["statistics", "hyperparameters", "histograms", "steps", "gradient_norms"]
_KINDS: tuple[Kind, ...] = get_args(Kind)


class Tag(NamedTuple):
    """The parts of a tag.

    Attributes:
        kind: The kind of tensor.
        id: The layout's id; for ``steps`` and ``gradient_norms`` the id of the columns.
        row: Index of the block of the layout's parameters, for ``histograms``; else None.
    """

    kind: Kind
    id: str
    row: int | None = None  # not "index", which a tuple already has

    def __str__(self) -> str:
        """Return the tag as it is written."""
        end = "" if self.row is None else f"/{self.row}"
        return f"{PLUGIN_NAME}/{self.kind}/{self.id}{end}"


def parse_tag(tag: str) -> Tag | None:
    """Split a tag, or return None if it is not one of ours."""
    parts = tag.split("/")
    if len(parts) not in (3, 4) or parts[0] != PLUGIN_NAME:
        return None
    kind = next((k for k in _KINDS if k == parts[1]), None)
    indexed = len(parts) == 4
    if kind is None or indexed != (kind == "histograms") or not parts[2]:
        return None
    if not indexed:
        return Tag(kind, parts[2])
    digits = parts[3]
    if not (digits.isascii() and digits.isdigit() and len(digits) < 8):
        return None
    return Tag(kind, parts[2], int(digits))
