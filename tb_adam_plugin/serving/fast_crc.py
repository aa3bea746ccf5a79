"""A TensorBoard option that makes its Python loader check event files ten times faster.

That loader computes the CRC-32C of every byte in a Python loop. google-crc32c computes the same in
C. TensorBoard's function is only replaced if the user asks for it with ``--adam_debug_fast_crc``,
in versions of TensorBoard whose function is known, and if both agree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FLAG = "adam_debug_fast_crc"
# These have the same pywrap_tensorflow.py. Other versions are left alone until checked: this
# replaces a function of TensorBoard's.
KNOWN_VERSIONS = ("2.18.0", "2.19.0", "2.20.0", "2.21.0")

# Lengths around those that implementations treat separately: empty, a word, a cache line, blocks.
_LENGTHS = (0, 1, 3, 8, 12, 63, 64, 65, 255, 1024, 4099)

Crc = Callable[[Any], int]


class NotReplacedError(Exception):
    """TensorBoard's function was left as it is. The message says why."""


def define_flag(parser: Any) -> None:
    """Add the option to TensorBoard's own.

    Args:
        parser: TensorBoard's ``argparse.ArgumentParser``.
    """
    parser.add_argument_group("Adam Debug plugin").add_argument(
        f"--{FLAG}",
        action="store_true",
        help="Compute checksums of event files with google-crc32c instead of TensorBoard's Python "
        "loop, for its Python loader (--load_fast=false, or without a data server). "
        f"Has no effect in versions of TensorBoard other than {', '.join(KNOWN_VERSIONS)}.",
    )


def replace_crc() -> None:
    """Make TensorBoard's Python loader compute CRC-32C with google-crc32c.

    Raises:
        NotReplacedError: If that cannot be done, or is not known to be correct; nothing is changed.
    """
    from tensorboard import version

    if version.VERSION not in KNOWN_VERSIONS:
        raise NotReplacedError(
            f"TensorBoard {version.VERSION} is not one of the supported versions "
            f"({', '.join(KNOWN_VERSIONS)})"
        )
    try:
        from tensorboard.compat.tensorflow_stub import pywrap_tensorflow as module
    except ImportError as error:
        raise NotReplacedError(f"TensorBoard has no Python loop: {error}") from error
    plain, masked = getattr(module, "crc32c", None), getattr(module, "masked_crc32c", None)
    if getattr(plain, "replaced", None):
        return
    if not callable(plain) or not callable(masked):
        raise NotReplacedError("TensorBoard lacks the functions crc32c and masked_crc32c")
    fast = _beside(plain)
    samples = _samples()
    before = [masked(sample) for sample in samples]
    if [fast(sample) for sample in samples] != [plain(sample) for sample in samples]:
        raise NotReplacedError("google-crc32c and TensorBoard's function give different numbers")
    module.crc32c = fast
    if [masked(sample) for sample in samples] != before:
        module.crc32c = plain
        raise NotReplacedError(
            "with google-crc32c TensorBoard's masked_crc32c gives different numbers"
        )


def _beside(plain: Crc) -> Crc:
    """Return a function that accepts what ``plain`` does, and is fast for bytes."""
    try:
        import google_crc32c
    except ImportError as error:
        raise NotReplacedError(f"google-crc32c cannot be loaded: {error}") from error
    if google_crc32c.implementation != "c":
        raise NotReplacedError("google-crc32c is installed without its C extension")
    of_bytes: Crc = google_crc32c.value

    def crc32c(data: Any) -> int:
        """Compute the CRC-32C of bytes, or of anything that TensorBoard's own function accepts."""
        return of_bytes(data) if type(data) is bytes else plain(data)

    crc32c.replaced = plain  # type: ignore[attr-defined]
    return crc32c


def _samples() -> list[bytes]:
    """Return byte strings of several lengths, without a pattern that could hide an error."""
    stream, state = bytearray(), 1
    for _ in range(max(_LENGTHS)):
        state = (state * 1_103_515_245 + 12_345) % 2**31
        stream.append(state >> 16 & 0xFF)
    return [b"\0" * 32, b"\xff" * 32, *(bytes(stream[:length]) for length in _LENGTHS)]
