"""The JSON that the first summary of a tag carries: its bytes, its version, its hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any

VERSION = 2


class FormatError(ValueError):
    """Stored data does not follow the format."""


class NewerVersionError(FormatError):
    """Stored data was written in a newer version of the format.

    Attributes:
        version: Version of the format that wrote it.
    """

    def __init__(self, version: int) -> None:
        """Name the version, and say what to do."""
        super().__init__(
            f"written by format version {version}, this reader knows up to {VERSION}: "
            "update tb-adam-plugin"
        )
        self.version = version


def short_hash(content: bytes) -> str:
    """Return 10 hexadecimal digits that identify ``content``."""
    return hashlib.sha256(content).hexdigest()[:10]


def canonical(value: object) -> bytes:
    """Return a value as JSON that is identical wherever it is written."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def read_content(content: bytes) -> dict[str, Any]:
    """Read the fields of a tag's content.

    Raises:
        NewerVersionError: If a newer version wrote it.
        FormatError: If it is not JSON, or has no version.
    """
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"content is not JSON: {error}") from error
    version = fields.get("version") if isinstance(fields, dict) else None
    if type(version) is not int:
        raise FormatError("content has no version")
    if version > VERSION:
        raise NewerVersionError(version)
    assert isinstance(fields, dict)
    return fields
