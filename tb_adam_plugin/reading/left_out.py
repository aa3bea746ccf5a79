"""Messages about what is not shown because there is too much of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tb_adam_plugin import schema
from tb_adam_plugin.languages.sentences import say
from tb_adam_plugin.reading.limits import MOST_OLDER_PARAMETERS
from tb_adam_plugin.reading.run import LOSS_TAGS, Message, Scalar, StoredRun

# Ordinary scalars beside a run, offered in a list.
MOST_SCALARS_BESIDE = 500
MOST_MESSAGES = 50


def messages_of(run: StoredRun, notes: Iterable[Message] = ()) -> tuple[Message, ...]:
    """Return the messages about a run, limited to a readable number.

    Args:
        run: The run.
        notes: Messages found while reading it.
    """
    left_out: list[Message] = []
    if count := len(run.all_step_columns) - len(run.step_columns):
        text = say(
            "{count} step scalars are not shown: a run shows at most {most} in addition to those "
            "that every run has. Give debug.record() the same names at every step.",
            count=f"{count:,}",
            most=schema.MOST_SCALARS,
        )
        left_out.append(Message("warning", text))
    if count := len(run.all_hyperparameters) - len(run.shown_hyperparameters):
        text = say(
            "{count} hyperparameters are not shown: a run shows at most {most} in addition to "
            "those that every run has. Write the same ones for every layout.",
            count=f"{count:,}",
            most=schema.MOST_SCALARS,
        )
        left_out.append(Message("warning", text))
    return few_messages((*run.messages, *left_out, *notes))


def few_messages(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Return the first messages and, where there are many, one that counts the others."""
    messages = tuple(messages)
    if len(messages) <= MOST_MESSAGES:
        return messages
    others = messages[MOST_MESSAGES - 1 :]
    text = say("{count} more messages like these are left out.", count=f"{len(others):,}")
    has_errors = any(message.severity == "error" for message in others)
    return (*messages[: MOST_MESSAGES - 1], Message("error" if has_errors else "warning", text))


def layouts_messages(count: int, left_out: int) -> tuple[Message, ...]:
    """Report how many of a run's layouts are left out, if any."""
    if not left_out:
        return ()
    text = say(
        "The oldest {left_out} of {count} layouts are not shown: a run shows at most {layouts}, "
        "with at most {parameters} parameters that the newest one does not have. Keep the names "
        "and shapes of parameters, or give each model its own log_dir.",
        left_out=f"{left_out:,}",
        count=f"{count:,}",
        layouts=schema.MOST_LAYOUTS,
        parameters=f"{MOST_OLDER_PARAMETERS:,}",
    )
    return (Message("warning", text),)


def shown_scalars(scalars: Sequence[Scalar]) -> tuple[tuple[Scalar, ...], tuple[Message, ...]]:
    """Return the ordinary scalars to list beside a run, and a message about the others.

    Possible training losses are always listed.
    """
    if len(scalars) <= MOST_SCALARS_BESIDE:
        return tuple(scalars), ()
    losses = [scalar for scalar in scalars if scalar.tag.lower() in LOSS_TAGS]
    others = [scalar for scalar in scalars if scalar.tag.lower() not in LOSS_TAGS]
    over = set(others[max(0, MOST_SCALARS_BESIDE - len(losses)) :])
    text = say(
        "{left_out} of {count} ordinary scalars are not listed with this run, which lists at "
        "most {most}. TensorBoard's Scalars tab has them all.",
        left_out=f"{len(over):,}",
        count=f"{len(scalars):,}",
        most=MOST_SCALARS_BESIDE,
    )
    kept = tuple(scalar for scalar in scalars if scalar not in over)
    return kept, (Message("warning", text),)
