"""How much is read of large parameters: more of those whose sample cannot tell its error."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tb_adam_plugin import schema

_LOG = logging.getLogger(__name__)
# Fewer elements than this of one parameter say too little of it.
_LEAST_ELEMENTS = 256
_ELEMENTS_WITHOUT_EXACT = 16_384
# A sample below this was wanted so small that it never tells its error.
_LEAST_TO_GROW = 2048
# Records in a row without a known error, after which more is read, and how much more.
_PATIENCE = 3
_FACTOR = 4
_LARGEST_FACTOR = 16
# How many elements more are read of all parameters: 4 MB of each quantity. And how often: each
# time there is a new layout.
_MOST_MORE = 1 << 20
_MOST_TIMES = 8


class Samples:
    """Sizes of the samples of parameters.

    Attributes:
        most: Largest number of elements to read of a parameter; None for all.
        grown: Of which parameters more may be read, by name, and how much.
    """

    def __init__(self, most: int | None) -> None:
        """Read the same of all."""
        self.most = most
        self.grown: Mapping[str, int] = {}
        self._unknown: dict[str, int] = {}  # records in a row
        self._times = 0

    def shrink(self) -> bool:
        """Read half of each parameter from now on; return whether that is possible."""
        now = self.most or 2 * _ELEMENTS_WITHOUT_EXACT
        if now // 2 < _LEAST_ELEMENTS:
            return False
        self.most = now // 2
        self.grown = {}
        self._times = _MOST_TIMES  # memory is short
        return True

    def note(self, layout: schema.Layout, statistics: npt.NDArray[np.float32]) -> None:
        """Note which samples could not tell their error at a record.

        Args:
            layout: Of the record.
            statistics: float32 ``[parameters, statistics]``.
        """
        if self.most is None or self.most < _LEAST_TO_GROW or self._times >= _MOST_TIMES:
            return
        error, rms, zeros = (
            statistics[:, layout.statistics.index(name)]
            for name in ("update_rms_standard_error", "update_rms", "zero_gradient_fraction")
        )
        # Where the sample has a gradient and nothing moves, a larger one would say no more.
        is_unknown = np.isnan(error) & ~((rms == 0) & (zeros < 1))
        self._unknown = {
            name: self._unknown.get(name, 0) + 1
            for i in np.flatnonzero(is_unknown)
            if layout.parameters[i].elements_read < np.prod(layout.parameters[i].shape)
            for name in (layout.parameters[i].name,)
        }

    def grow(self, names: Sequence[str]) -> bool:
        """Read more of the parameters that need it; return whether there are any.

        Args:
            names: Of the parameters that are recorded.
        """
        if self.most is None or max(self._unknown.values(), default=0) < _PATIENCE:
            return False
        grown = {name: size for name, size in self.grown.items() if name in names}
        left = _MOST_MORE - sum(size - self.most for size in grown.values())
        for name in names:
            now = grown.get(name, self.most)
            more = (_FACTOR - 1) * now
            is_small = now * _FACTOR <= self.most * _LARGEST_FACTOR
            if self._unknown.get(name, 0) >= _PATIENCE and is_small and more <= left:
                grown[name] = now + more
                left -= more
                _LOG.info(
                    "Adam Debug: reads up to %d elements of %s from now on, because %d of them "
                    "do not tell how large its sampling error is",
                    now + more,
                    name,
                    now,
                )
        self._unknown = {}
        if grown == self.grown:
            return False
        self.grown = grown
        self._times += 1
        return True
