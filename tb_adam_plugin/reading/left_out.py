"""What is said of that which is not shown because there is too much of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tb_adam_plugin import schema
from tb_adam_plugin.reading.limits import MOST_OLDER_PARAMETERS
from tb_adam_plugin.reading.run import LOSS_TAGS, Message, Scalar, StoredRun

# Ordinary scalars beside a run, for a list to choose from.
MOST_SCALARS_BESIDE = 500
MOST_MESSAGES = 50


def messages_of(run: StoredRun, notes: Iterable[Message] = ()) -> tuple[Message, ...]:
    """Return what is to be told about a run: not more messages than somebody reads.

    Args:
        run: Any.
        notes: What reading it has shown.
    """
    scalars = _columns_message(
        run.all_step_columns,
        run.step_columns,
        "scalars of the steps",
        "give debug.record() the same names at every step",
    )
    settings = _columns_message(
        run.all_hyperparameters,
        run.shown_hyperparameters,
        "hyperparameters",
        "write the same ones for every layout",
    )
    return few_messages((*run.messages, *scalars, *settings, *notes))


def few_messages(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Return the first messages and, where there are many, one that counts the others."""
    messages = tuple(messages)
    if len(messages) <= MOST_MESSAGES:
        return messages
    others = messages[MOST_MESSAGES - 1 :]
    text = f"{len(others):,} more messages like these are left out."
    has_errors = any(message.severity == "error" for message in others)
    return (*messages[: MOST_MESSAGES - 1], Message("error" if has_errors else "warning", text))


def layouts_messages(count: int, left_out: int) -> tuple[Message, ...]:
    """Say how many of a run's layouts are left out, if any are."""
    if not left_out:
        return ()
    text = (
        f"The oldest {left_out:,} of {count:,} layouts are not shown, because a run shows at most "
        f"{schema.MOST_LAYOUTS}, with at most {MOST_OLDER_PARAMETERS:,} parameters that the newest "
        "does not have: keep names and shapes of parameters, or give each model a log_dir of its "
        "own."
    )
    return (Message("warning", text),)


def shown_scalars(scalars: Sequence[Scalar]) -> tuple[tuple[Scalar, ...], tuple[Message, ...]]:
    """Return the ordinary scalars to list beside a run, and what to say of the others.

    Those that may be the training's loss are always among them.
    """
    if len(scalars) <= MOST_SCALARS_BESIDE:
        return tuple(scalars), ()
    losses = [scalar for scalar in scalars if scalar.tag.lower() in LOSS_TAGS]
    others = [scalar for scalar in scalars if scalar.tag.lower() not in LOSS_TAGS]
    over = set(others[max(0, MOST_SCALARS_BESIDE - len(losses)) :])
    text = (
        f"{len(over):,} of {len(scalars):,} ordinary scalars are not listed beside this run, which "
        f"lists at most {MOST_SCALARS_BESIDE}: find them in TensorBoard's own tab of scalars."
    )
    kept = tuple(scalar for scalar in scalars if scalar not in over)
    return kept, (Message("warning", text),)


def _columns_message(
    names: Sequence[str], shown: Sequence[str], what: str, advice: str
) -> tuple[Message, ...]:
    if len(names) == len(shown):
        return ()
    text = (
        f"{len(names) - len(shown):,} {what} are not shown, because a run shows at most "
        f"{schema.MOST_SCALARS} beside those that every run has: {advice}."
    )
    return (Message("warning", text),)
