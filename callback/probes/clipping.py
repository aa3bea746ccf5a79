"""What clipping to a norm has multiplied a gradient by, told from what else may multiply it."""

from __future__ import annotations

import torch
from torch import Tensor

# Clipping to a norm leaves at least so much of a gradient; with a GradScaler's factor it is less.
_LEAST = 1 / 200
# Factors that differ by less, relative to them, are one; so are norms, which are rounded more.
_SAME, _SAME_NORM = 1e-4, 1e-3


class Clipping:
    """Remembers earlier recorded steps.

    A GradScaler divides by a power of two, and whoever takes the mean of batches by the same number
    again. Clipping to a norm multiplies each gradient by another number, and what is left has the
    same norm every time. What is neither, as the clipping of single values or of a part of the
    model, is not known.
    """

    def __init__(self) -> None:
        """Know of no step."""
        self._factor: Tensor | None = None  # of the last step of which it was known
        self._norm: Tensor | None = None  # of the last step that may have been clipped

    def factor(self, now: Tensor, norm: Tensor) -> Tensor:
        """Return what clipping multiplied the gradient of a step by; nothing waits for a device.

        Args:
            now: What one gradient was multiplied by since backward, 0-dim float64; NaN if that is
                not known.
            norm: Global norm of the gradient as the step used it, likewise.

        Returns:
            0-dim float64: 1 where it was not clipped, as at the first steps, of which nothing is
            known; NaN where that cannot be told.
        """
        before = torch.full_like(now, torch.nan) if self._factor is None else self._factor
        norm_before = torch.full_like(norm, torch.nan) if self._norm is None else self._norm
        is_known = ~now.isnan()
        seen = torch.where(is_known, now, before)
        exponent = torch.log2(seen)
        is_plain = seen.isnan() | ((exponent - exponent.round()).abs() < _SAME)
        is_repeated = is_known & ((now / before - 1).abs() < _SAME)
        is_to_a_norm = is_known & (now < 1) & ((norm / norm_before - 1).abs() < _SAME_NORM)
        clipped = torch.where(is_to_a_norm & (now > _LEAST), now, torch.nan)
        self._factor = seen
        self._norm = torch.where(is_plain | ~is_known, norm_before, norm)
        return torch.where(is_plain | (is_repeated & ~is_to_a_norm), 1.0, clipped)
