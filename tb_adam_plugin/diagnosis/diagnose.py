"""Applies the rules to a run: whether they can be evaluated, where they hold, and causes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from tb_adam_plugin.arrays import Indices
from tb_adam_plugin.languages.sentences import joined, known, say
from tb_adam_plugin.schema import LOSS

from .compass import Compass, read_compass
from .engine import thresholds
from .engine.blowup import is_loss_nan
from .engine.conditions import A_SURROGATE, too_few
from .engine.recorded_run import RecordedRun, in_order
from .engine.recording import thinned_records
from .engine.rule import (
    Condition,
    Evidence,
    Finding,
    NotEvaluated,
    Rule,
    Severity,
    together,
    worst_severity,
)
from .engine.signals import Signals
from .engine.stretches import Stretch, course_of, find_stretches
from .rules.registry import RULES


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the rules say about a run.

    Attributes:
        findings: Alarms before questions; among them root causes before their consequences, in the
            order of the registry.
        not_evaluated: Rules that could not be evaluated.
        compass: How far the learning rate is from the best one; None without a reading.
        signals: Intermediate results, which the next :func:`diagnose` of the same run can reuse.
        recording: How much less frequent records were than requested, and which option changes
            that; "" if none are missing.
    """

    findings: tuple[Finding, ...]
    not_evaluated: tuple[NotEvaluated, ...]
    compass: Compass | None
    signals: Signals
    recording: str = ""


def diagnose(
    run: RecordedRun,
    earlier: Diagnosis | None = None,
    rules: Sequence[Rule] = RULES,
    *,
    with_compass: bool = True,
) -> Diagnosis:
    """Apply rules to a run.

    Args:
        run: The recorded run.
        earlier: The diagnosis of the same run when it was shorter.
        rules: In order of precedence.
        with_compass: Whether to read the compass, which costs as much as the rules do.
    """
    signals = Signals(in_order(run), None if earlier is None else earlier.signals)
    with np.errstate(all="ignore"):
        signals.prepare(lambda asked: _ask(asked, rules, with_compass=with_compass))
    findings: list[Finding] = []
    not_evaluated: list[NotEvaluated] = []
    with np.errstate(all="ignore"):
        for rule in rules:
            reason = why_not_evaluated(rule, signals)
            found = reason or _apply(rule, signals)
            if isinstance(found, str):
                not_evaluated.append(NotEvaluated(rule.id, rule.title, found))
            else:
                findings += found
        explained = tuple(_with_causes(_of_one_mind(findings, rules), rules))
        compass = read_compass(signals, explained, rules) if with_compass else None
    recording = thinned_records(signals.run)
    signals.release()
    return Diagnosis(explained, tuple(not_evaluated), compass, signals, recording)


def _ask(signals: Signals, rules: Sequence[Rule], *, with_compass: bool) -> None:
    """Have rules ask for what they need, of a run of which little is computed yet."""
    for rule in rules:
        # What a rule trips over here it is asked for again, on what was recorded.
        with suppress(Exception):
            if not why_not_evaluated(rule, signals):
                rule.condition(signals)
    if with_compass:
        with suppress(Exception):
            read_compass(signals, (), rules)


def why_not_evaluated(rule: Rule, signals: Signals) -> str:
    """Return what a rule lacks, or ""."""
    reasons = [reason for name in rule.needs if (reason := _why_missing(name, signals))]
    if not reasons and rule.needs_any:
        missing = [
            next(filter(None, (_why_missing(name, signals) for name in names)), "")
            for names in map(together, rule.needs_any)
        ]
        reasons = missing[:1] if all(missing) else []
    return joined(dict.fromkeys(reasons), "; ")


def _why_missing(name: str, signals: Signals) -> str:
    run = signals.run
    if name in _COLUMNS:
        known = np.isfinite(signals.column(name)).any()
        if name == LOSS and not known:
            return _why_no_loss(signals)
        if name == "gain_ratio" and not known and name in run.every_step:
            return say(
                "the gain ratio is not known; where gradients are clipped, call "
                "debug.record(gradient_norm_before_clip=clip_grad_norm_(...))"
            )
        return "" if known else _COLUMNS[name]
    if name == "step":
        return "" if run.step.size or signals.steps.size else say("nothing was recorded yet")
    if name in run.hyperparameters:
        known = np.isfinite(run.hyperparameters[name]).any()
        return "" if known else say("the optimizer has no {name}", name=name)
    if name not in run.statistics:
        return say("{name} was not recorded", name=name)
    if signals.is_known(name):
        return ""
    lacking = sorted({g.optimizer for g in run.groups if name in g.undefined})
    if lacking:
        optimizers = joined(lacking, ", ")
        return say("{optimizers} does not have {name}", optimizers=optimizers, name=name)
    return say("{name} has no value at any recorded step", name=name)


def _why_no_loss(signals: Signals) -> str:
    if signals.has_surrogate_loss:
        return A_SURROGATE
    given = is_loss_nan(signals) | np.isinf(signals.column(LOSS))
    return say("the loss is not finite at any step") if given.any() else _COLUMNS[LOSS]


_COLUMNS = {
    "gain_ratio": say("the gain ratio was not recorded: pass loss_closure="),
    "stale_gradient_ratio": say("what was left in .grad between steps was not recorded"),
    "loss": say("no loss was recorded: call debug.record(loss=loss)"),
    "gradient_norm": say("the gradient norm was not recorded: pass gradient_norm=True"),
    "lr": say("the optimizer has no learning rate"),
    "gradient_norm_before_clip": say(
        "the norm before clipping was not recorded: call "
        "debug.record(gradient_norm_before_clip=clip_grad_norm_(...))"
    ),
}


def _apply(rule: Rule, signals: Signals) -> list[Finding] | str:
    """The findings of a rule, or why it could not be evaluated."""
    condition = rule.condition(signals)
    if condition is None:
        return []
    if isinstance(condition, str):
        return condition
    run = signals.run
    gap = thresholds.MERGE_SHARE * max(0.0, run.last_step - run.first_step)
    most = 1 if rule.once or rule.joined else thresholds.MOST_FINDINGS_OF_A_RULE
    stretches = find_stretches(condition, rule.persistence, gap, most)
    if not stretches:
        # What has fired is reported, however few records there are.
        return too_few(condition, rule.persistence, signals) or []
    return [_finding(rule, _evidence(signals, condition, stretch)) for stretch in stretches]


def _evidence(signals: Signals, condition: Condition, stretch: Stretch) -> Evidence:
    parameters: Indices = np.asarray(condition.parameters, np.intp)
    names = condition.names
    if stretch.columns.size:
        if names:
            names = tuple(names[i] for i in stretch.columns)
        else:
            parameters = parameters[stretch.columns]
    elif condition.blame is not None:
        parameters = condition.blame(stretch.worst)
    if not names:
        names = tuple(signals.run.names[i] for i in parameters)
    return Evidence(
        signals,
        parameters,
        names,
        float(condition.step[stretch.first]),
        float(condition.step[stretch.last]),
        float(condition.step[stretch.worst]),
        stretch.value,
        condition.threshold,
        stretch.points,
        condition.compared,
        course_of(condition, stretch),
    )


def _finding(rule: Rule, evidence: Evidence) -> Finding:
    severity = rule.severity if isinstance(rule.severity, str) else rule.severity(evidence)
    return Finding(
        rule.id,
        severity,
        known((rule.question if severity == "info" else "") or rule.title),
        rule.message(evidence),
        rule.advice(evidence),
        rule.reference,
        evidence.names,
        evidence.first_step,
        evidence.last_step,
        evidence.worst_step,
        evidence.value,
        evidence.threshold,
        statistic=rule.statistic,
        course=tuple((step, value) for step, value in evidence.course.tolist()),
        as_recorded=evidence.compared != "" and evidence.compared == rule.statistic,
    )


def _of_one_mind(findings: Sequence[Finding], rules: Sequence[Rule]) -> list[Finding]:
    """Remove findings that would change the learning rate in opposite directions.

    A finding that steps are too short is a question, and asks without a value if another finding
    says that they are too long.
    """
    down = {rule.id for rule in rules if rule.moves_lr == "down"}
    lower = [f for f in findings if f.rule in down]
    if not lower:
        return list(findings)
    worst = worst_severity(*(f.severity for f in lower))
    title = next(f.title for f in lower if f.severity == worst)
    other = say("“{title}” argues against a higher learning rate: answer that first.", title=title)
    return [replace(f, advice=other) if f.rule == "lr_too_low" else f for f in findings]


def _with_causes(findings: Sequence[Finding], rules: Sequence[Rule]) -> list[Finding]:
    """Link consequences to their causes; a cause is as severe as the worst of its consequences.

    A question explains an alarm only if the alarm is a symptom that began later, and comes after
    all alarms. A question whether there is a fault at all explains nothing else.
    """
    explains = {rule.id: rule.explains for rule in rules}
    direction = {rule.id: rule.moves_lr for rule in rules}
    sets = {rule.id: rule.sets for rule in rules}
    symptoms = {rule.id for rule in rules if rule.symptom}
    questions = {(rule.id, rule.question) for rule in rules if rule.question}
    explained: list[Finding] = []
    for finding in _causes_first(findings, explains):
        cause = next(
            (
                other
                for other in explained
                if finding.rule in explains[other.rule]
                and other.first_step <= finding.last_step
                and (
                    _is_cause(other, finding, symptoms)
                    if finding.severity != "info"
                    else (other.rule, other.title) not in questions
                )
            ),
            None,
        )
        if cause is not None:
            root = cause.consequence_of or cause.rule
            title = next(other.title for other in explained if other.rule == root)
            # The advice for a consequence alone is often the opposite of what its cause does, and
            # if both change the same setting, the second value assumes the old one.
            is_same = any(
                of[finding.rule] and of[finding.rule] == of[root] for of in (direction, sets)
            )
            advice = (
                say("Answer “{title}” first.", title=title)
                if title.endswith("?")
                else say("Fix “{title}” first.", title=title)
            )
            if finding.advice and not is_same:
                later = say("If this remains: {advice}", advice=finding.advice)
                advice = joined([advice, later])
            finding = replace(finding, consequence_of=root, advice=advice)
        explained.append(finding)
    worst: dict[str | None, Severity] = {}
    for finding in explained:
        of = finding.consequence_of
        worst[of] = worst_severity(worst.get(of, "info"), finding.severity)
    # If the same rule has an alarm, that is the explanation, and a question stays one.
    alarms = {finding.rule for finding in explained if finding.severity != "info"}
    raised = [
        replace(f, severity=worst_severity(f.severity, worst[f.rule]))
        if f.rule in worst and (f.severity != "info" or f.rule not in alarms)
        else f
        for f in explained
    ]
    return sorted(raised, key=lambda finding: finding.severity == "info")


def _is_cause(other: Finding, alarm: Finding, symptoms: Collection[str]) -> bool:
    """Whether a possible explanation is an alarm's cause: another alarm, or an earlier question."""
    if other.severity != "info":
        return True
    return alarm.rule in symptoms and other.first_step <= alarm.first_step


def _causes_first(
    findings: Sequence[Finding], explains: Mapping[str, Sequence[str]]
) -> list[Finding]:
    """Move findings that began before their consequences to before them, against the rules' order.

    Findings that began together with a consequence also come before it, unless it may explain them,
    too.
    """
    ordered: list[Finding] = []
    for finding in findings:
        consequences = (
            place
            for place, other in enumerate(ordered)
            if other.rule in explains[finding.rule]
            and (finding.first_step, finding.rule in explains[other.rule])
            <= (other.first_step, False)
        )
        ordered.insert(next(consequences, len(ordered)), finding)
    return ordered
