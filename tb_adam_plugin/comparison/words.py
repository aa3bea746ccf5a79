"""A comparison in sentences."""

from __future__ import annotations

import math

from tb_adam_plugin.comparison.compare import Comparison, Pair, RunLoss
from tb_adam_plugin.comparison.losses import Lead
from tb_adam_plugin.comparison.parting import Parting
from tb_adam_plugin.comparison.sweep import Sweep
from tb_adam_plugin.diagnosis.engine.wording import listed, number, step
from tb_adam_plugin.languages.sentences import joined, known, say
from tb_adam_plugin.schema import STATISTIC_BY_NAME


def shown_loss(loss: float) -> str:
    """Return a loss for a table."""
    if math.isinf(loss):
        return say("not finite")
    return "–" if math.isnan(loss) else f"{loss:.4g}"


def about_loss(loss: RunLoss) -> str:
    """Say why the loss of a run is not compared, or where it was lost; "" if it is compared."""
    if loss.lack == "no loss":
        return say("no loss was recorded: call debug.record(loss=loss)")
    if loss.lack == "surrogate":
        return say("a surrogate loss does not measure progress and is not compared")
    if math.isfinite(loss.gone_at):
        return say("the loss is not finite from step {step} on", step=step(loss.gone_at))
    return ""


def about_losses(found: Comparison) -> str:
    """Say what can be concluded from the losses of all runs."""
    compared = [loss for loss in found.losses if not loss.lack]
    if len(compared) < 2:
        return say("Fewer than two of these runs have a loss that can be compared.")
    if math.isnan(found.common_end):
        return say("Not enough data: the runs have too few losses at common steps.")
    if not found.best:
        return say("No run ends with a finite loss.")
    texts = [
        say(
            "Losses up to step {step}, averaged over windows; a difference counts if it exceeds "
            "both the noise of the loss and the usual difference between seeds.",
            step=step(found.common_end),
        )
    ]
    if found.repeats:
        texts.append(say("The spread of runs with the same settings counts as noise."))
    if found.other_start:
        texts.append(
            say(
                "The runs start at very different losses: compare them only if it is the same loss "
                "on the same data."
            )
        )
    return joined(texts)


def verdict(pair: Pair, found: Comparison) -> str:
    """Say which of two runs did better, and from which step on; "" if losses cannot say."""
    lacking = {loss.run for loss in found.losses if loss.lack or math.isnan(loss.common)}
    if not found.best or pair.other in lacking:
        return ""
    lead = pair.lead
    earlier = [
        _was_ahead(other, pair)
        for other in pair.leads
        if not other.lasts and (lead is None or other.first != lead.first)
    ]
    both = {"best": pair.best, "other": pair.other}
    if math.isfinite(pair.gone_at):
        ahead = [_was_ahead(other, pair) for other in pair.leads if not other.lasts]
        at = step(pair.gone_at)
        last = say("the loss of {run} is not finite from step {step} on", run=pair.other, step=at)
        if not ahead:
            return say(
                "The loss of {run} is not finite from step {step} on.", run=pair.other, step=at
            )
        return say("{sentences}.", sentences=joined([*ahead, last], "; "))
    if lead is None:
        last = say("{best} and {other}: no difference beyond noise at the end", **both)
        return say("{sentences}.", sentences=joined([*earlier, last], "; "))
    if not lead.first:
        both = {"best": pair.other, "other": pair.best}
    if lead.start <= found.common_end / 20:
        last = say("{best} is better than {other} from the start", **both)
    else:
        start = step(lead.start)
        last = say("{best} is better than {other} from about step {step} on", step=start, **both)
    return say("{sentences}.", sentences=joined([*earlier, last], "; "))


def _was_ahead(lead: Lead, pair: Pair) -> str:
    return say(
        "{run} is ahead from about step {first} to {last}",
        run=pair.best if lead.first else pair.other,
        first=step(lead.start),
        last=step(lead.end),
    )


def about_sweep(sweep: Sweep) -> str:
    """Say which value of a sweep won, and where to continue."""
    value, name = sweep.values[sweep.best], sweep.setting
    ties = [sweep.values[i] for i in sweep.ties]
    if len(ties) == len(sweep.values) - 1:
        values = listed(sweep.values)
        return say("{name}: no difference beyond noise between {values}.", name=name, values=values)
    if ties:
        best = say(
            "The best {name} is {value}; within noise of it: {values}.",
            name=name,
            value=value,
            values=joined(ties, ", "),
        )
    else:
        best = say("The best {name} is {value}.", name=name, value=value)
    if sweep.edge == "largest":
        return joined([best, say("It is the largest value tried: try a larger one.")])
    if sweep.edge == "smallest" and value != "0":
        return joined([best, say("It is the smallest value tried: try a smaller one.")])
    return best


def about_parting(parting: Parting, pair: Pair) -> str:
    """Say in which tensors a statistic parts, naming the runs in the order of :func:`verdict`."""
    statistic = STATISTIC_BY_NAME[parting.statistic]
    gaps = {
        "step": step(parting.step),
        "statistic": known(statistic.label),
        "tensor": parting.parameters[0],
    }
    values = [(pair.best, number(parting.first)), (pair.other, number(parting.second))]
    if _names_other_first(pair):
        values.reverse()
    (gaps["run"], gaps["first"]), (gaps["other"], gaps["second"]) = values
    rest = len(parting.parameters) - 1
    if not rest:
        return say(
            "step {step}: {statistic} of {tensor}, {first} ({run}) against {second} ({other})",
            **gaps,
        )
    return say(
        "step {step}: {statistic} of {tensor}, {first} ({run}) against {second} ({other}), and of "
        "{count} more",
        count=rest,
        **gaps,
    )


def _names_other_first(pair: Pair) -> bool:
    """Whether the sentence about the losses begins with the run that is not the best one."""
    lead = pair.lead
    if math.isfinite(pair.gone_at):
        earlier = [other for other in pair.leads if not other.lasts]
        return not earlier or not earlier[0].first
    before = [x for x in pair.leads if not x.lasts and (lead is None or x.first != lead.first)]
    shown = before[0] if before else lead
    return shown is not None and not shown.first


def about_partings(pair: Pair) -> str:
    """Say that statistics do not part, or were not compared; "" if they do."""
    if pair.partings:
        return ""
    if not pair.parted:
        return say(
            "The statistics of the other runs were not compared: compare fewer runs to see them."
        )
    return say("At common recorded steps no statistic differs by more than its own variation.")
