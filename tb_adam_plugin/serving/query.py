"""Parses query strings strictly: invalid ones are refused with a sentence."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from tensorboard import errors
from werkzeug import Request

from tb_adam_plugin.untrusted_text import quoted

_Value = TypeVar("_Value", bound=str)


class Query:
    """The query string of a request. Errors in it raise an ``InvalidArgumentError``."""

    def __init__(self, request: Request, allowed: Collection[str]) -> None:
        """Parse the query string, which may only have the allowed parameters."""
        self._arguments = request.args
        for name in request.args:
            if name not in allowed:
                choice = f"expected {', '.join(allowed)}" if allowed else "expected none"
                raise errors.InvalidArgumentError(
                    f"unknown query parameter {quoted(name)}; {choice}"
                )

    def texts(self, name: str) -> list[str]:
        """Return all values of a parameter: at least one, none empty, none repeated."""
        values = self._arguments.getlist(name)
        if not values:
            raise errors.InvalidArgumentError(f"the query parameter {name} is missing")
        if "" in values:
            raise errors.InvalidArgumentError(f"the query parameter {name} is empty")
        if len(set(values)) < len(values):
            raise errors.InvalidArgumentError(f"the query parameter {name} names something twice")
        return values

    def text(self, name: str, default: str | None = None) -> str:
        """Return the one value of a parameter."""
        if default is not None and name not in self._arguments:
            return default
        if len(self._arguments.getlist(name)) > 1:
            raise errors.InvalidArgumentError(f"the query parameter {name} is given more than once")
        return self.texts(name)[0]

    def choice(self, name: str, values: tuple[_Value, ...]) -> _Value:
        """Return the one value of a parameter from a few choices; the first choice unless given."""
        text = self.text(name, values[0])
        if text not in values:
            raise errors.InvalidArgumentError(
                f"{name} must be one of {', '.join(values)}, got {quoted(text)}"
            )
        return values[values.index(text)]

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """Return the one integer value of a parameter, or a default."""
        if name not in self._arguments:
            return default
        text = self.text(name)
        whole = text.isascii() and text.isdigit() and len(text) <= len(str(high))
        if not whole or not low <= int(text) <= high:
            raise errors.InvalidArgumentError(
                f"{name} must be a whole number from {low} to {high}, got {quoted(text)}"
            )
        return int(text)
