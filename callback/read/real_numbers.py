"""Complex tensors as the real numbers they store.

torch's optimizers update the real and the imaginary part of a complex parameter as two real
numbers: ``_single_tensor_adam`` and similar functions start with ``torch.view_as_real``. So they
are read the same way.
"""

from __future__ import annotations

from torch import Tensor, view_as_real

from ..optimizer_state.parameter_state import Source, read


def as_real(tensor: Tensor) -> Tensor:
    """Return a real tensor unchanged, a complex one of shape ``[...]`` as real ``[..., 2]``.

    The result is a view, unless the tensor is a lazy conjugate.
    """
    return view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def real_source(source: Source | None, is_complex: bool) -> Source | None:
    """Do the same for a tensor of a parameter, or for a function that returns it.

    Args:
        source: The tensor.
        is_complex: Whether the parameter is complex; real tensors are then refused on reading,
            because they do not have a number for each of the parameter's.

    Raises:
        ValueError: If the tensor is refused.
    """
    if source is None or not is_complex:
        return source
    return lambda: _numbers_of_complex(read(source))


def _numbers_of_complex(tensor: Tensor) -> Tensor:
    if not tensor.is_complex():
        raise ValueError(f"its optimizer keeps {tensor.dtype} for complex numbers")
    return as_real(tensor)
