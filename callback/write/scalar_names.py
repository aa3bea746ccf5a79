"""The names of the user's scalars: how many there are, and whether they keep changing."""

from __future__ import annotations

from collections.abc import Iterable

from tb_adam_plugin import schema

# New names are normal at the start, and occasionally later: a validation records its scalars late,
# and all at once. A name that contains the step changes at most steps.
_STEPS_TO_BEGIN = 100
_MOST_STEPS_WITH_NEW_NAMES = 64
_LONGEST_NAME = 60


class ScalarNames:
    """Accepts names until there are :data:`tb_adam_plugin.schema.MOST_SCALARS`.

    Each name becomes a column of the rows of all later steps. Names that the rules read are always
    accepted, and do not count.
    """

    def __init__(self) -> None:
        """Start without names."""
        self._known: set[str] = set()
        self._steps = 0
        self._step_of_last_new = -1
        self._steps_with_new = 0

    def end_step(self) -> None:
        """Count a step."""
        self._steps += 1

    def refused(self, names: Iterable[str]) -> tuple[set[str], str | None]:
        """Accept the names of the coming step.

        Returns:
            The names that are too long or too many, and a message for the user, if any.
        """
        names = list(names)
        long = {name for name in names if len(name) > schema.LONGEST_SCALAR_NAME}
        refused, notice = self._too_many(name for name in names if name not in long)
        if long:
            notice = (
                f"record() was given a name of {max(map(len, long)):,} characters, "
                f"{_shown(min(long))}: names of more than {schema.LONGEST_SCALAR_NAME} are not "
                "recorded. Give a short name; SummaryWriter.add_text() keeps longer texts"
            )
        return refused | long, notice

    def _too_many(self, names: Iterable[str]) -> tuple[set[str], str | None]:
        """Accept names while there is room; return the same as :meth:`refused`."""
        new = [n for n in names if n not in self._known and n not in schema.LASTING_COLUMNS]
        if not new:
            return set(), None
        room = max(0, schema.MOST_SCALARS - len(self._known))
        self._known.update(new[:room])
        if new[room:]:
            return {*new[room:]}, (
                f"record() was given more than {schema.MOST_SCALARS} different names: "
                f"{_shown(new[room])} and other new ones are not recorded; earlier ones still are. "
                f"{_ADVICE}"
            )
        if self._steps >= _STEPS_TO_BEGIN and self._step_of_last_new != self._steps:
            self._step_of_last_new = self._steps
            self._steps_with_new += 1
            if self._steps_with_new > _MOST_STEPS_WITH_NEW_NAMES:
                return set(), (
                    f"record() was given a new name at {self._steps_with_new} steps since step "
                    f"{_STEPS_TO_BEGIN}, last {_shown(new[-1])}: beyond {schema.MOST_SCALARS} "
                    f"names new ones are not recorded. {_ADVICE}"
                )
        return set(), None


_ADVICE = "Give the same names at every step: each name is a column of all steps"


def _shown(name: str) -> str:
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…")
