"""Assembles everything that follows an optimizer's steps from the user's arguments."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from torch import nn
from torch.optim import Optimizer

from tb_adam_plugin import schema

from ..attach.arguments import Arguments
from ..optimizer_state.base import OptimizerState
from ..probes.gain_ratio import GainRatio
from ..ranks.agreement import Agreement
from ..ranks.placement import Copies, Placement
from ..schedule import intervals
from ..schedule.gradient_history import GradientHistory
from ..write.run_claims import RunClaim
from .agenda import Agenda, StepCount
from .failures import Containment, lasting_tensors
from .followed_parameters import FollowedParameters
from .notices import Notices
from .opening import Opening
from .own_time import OwnTime
from .parameter_records import ParameterRecords
from .shared_step import SharedStep
from .step import Step, StepTools
from .step_output import StepOutput
from .step_start import StepStart

if TYPE_CHECKING:
    from .findings import Findings


class Assembly(NamedTuple):
    """The assembled parts.

    Attributes:
        opening: Opens the event file.
        tools: The parts that a step uses.
        steps: Begins and ends each step.
    """

    opening: Opening
    tools: StepTools
    steps: Step | SharedStep


def agenda_of(arguments: Arguments, state: OptimizerState) -> Agenda:
    """Set up when to record.

    Args:
        arguments: The user's arguments.
        state: The optimizer's adapter, which reads its step count.
    """
    every_n_steps, total_steps = arguments.every_n_steps, arguments.total_steps
    histograms_every = arguments.histograms_every_n_steps
    schedule = intervals.choose(every_n_steps, total_steps)
    return Agenda(
        StepCount(state, arguments.initial_step),
        schedule,
        schedule if histograms_every is None else intervals.choose(histograms_every, total_steps),
        arguments.overhead_limit,
        GradientHistory() if arguments.gradient_norm else None,
    )


def assemble(
    arguments: Arguments,
    optimizer: Optimizer,
    state: OptimizerState,
    placement: Placement,
    agenda: Agenda,
) -> Assembly:
    """Assemble the parts, and choose the class that handles a step.

    Args:
        arguments: The user's arguments.
        optimizer: The optimizer to record.
        state: Its adapter.
        placement: What this process records.
        agenda: Decides when to record.

    Raises:
        ValueError: If the optimizer holds no parameter of the model.
        OSError: If the output folder cannot be written to.
    """
    notices = Notices()
    with lasting_tensors():
        records = _records(arguments, optimizer, state, placement)
    parameters = FollowedParameters(optimizer, state, records, placement, agenda.history, notices)
    findings = _findings(arguments, notices) if placement.writes else None
    gain = _gain(arguments)
    opening = _opening(arguments, placement, parameters, notices)
    agreement = None if placement.ranks is None else Agreement(placement.ranks)
    raises = arguments.on_error == "raise"
    failures = Containment(agenda, parameters, notices, raises=raises, agreement=agreement)
    recorder = opening.recorder
    own_time = OwnTime(
        parameters,
        agenda.budget,
        is_shared=agreement is not None,
        on_thread=lambda: recorder.seconds_on_thread,
    )
    output = StepOutput(
        recorder,
        agenda,
        parameters,
        own_time,
        failures,
        findings,
        mirrors_scalars=arguments.mirror_scalars,
    )
    start = StepStart(agenda, parameters, recorder, failures, notices)
    tools = StepTools(agenda, parameters, start, output, own_time, failures, notices)
    steps = Step(tools, gain) if agreement is None else SharedStep(tools, agreement)
    return Assembly(opening, tools, steps)


def _records(
    arguments: Arguments, optimizer: Optimizer, state: OptimizerState, placement: Placement
) -> ParameterRecords:
    """Find out what there is to record."""
    optional = schema.OPTIONAL_QUANTITIES if arguments.normalized_update else ()
    return ParameterRecords(
        arguments.named_parameters,
        optimizer,
        state,
        arguments.most_elements,
        (*schema.QUANTITIES, *optional),
        placement,
    )


def _opening(
    arguments: Arguments, placement: Placement, parameters: FollowedParameters, notices: Notices
) -> Opening:
    """Claim an output folder, if this process writes."""
    copies: Copies | None = None
    if placement.may_have_copies and arguments.log_dir is not None:
        watched = [(w.name, w.shape) for w in parameters.records.parameters.watched]
        copies = Copies(watched, os.fspath(arguments.log_dir))
    claim: RunClaim | None = None
    if placement.writes:
        claim = RunClaim(arguments.log_dir, arguments.writer, placement.folder)
    return Opening(claim, copies, notices)


def _findings(arguments: Arguments, notices: Notices) -> Findings | None:
    """Diagnose the records, if the user asked for it."""
    if arguments.on_finding is None:
        return None
    from .findings import Findings  # load the rules only if they are needed

    return Findings(arguments.total_steps, arguments.on_finding, notices)


def _gain(arguments: Arguments) -> GainRatio | None:
    """Evaluate the loss around recorded steps, if the user gave a closure."""
    if arguments.loss_closure is None:
        return None
    assert isinstance(arguments.model, nn.Module)
    gain = GainRatio(arguments.loss_closure, arguments.model)
    gain.remember_random_state()
    return gain
