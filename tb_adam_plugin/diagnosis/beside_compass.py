"""Findings that override the compass: those that say more than its needle, or the opposite."""

from __future__ import annotations

from collections.abc import Sequence

from .engine import thresholds
from .engine.first_steps import off_by
from .engine.rule import Finding, Rule, is_over
from .engine.signals import Signals


def first_to_see(
    factor: float,
    findings: Sequence[Finding],
    rules: Sequence[Rule],
    signals: Signals,
    *,
    at_run: bool = False,
) -> str:
    """Return the title of the finding to see before the needle, or "" if the needle can be read.

    Args:
        factor: The needle, learning rate over the best one; NaN if there is no reading.
        findings: The findings of the rules.
        rules: The rules that they come from.
        signals: The run.
        at_run: Whether the needle is about the same weights as the findings.
    """
    of = {rule.id: rule for rule in rules}
    too_low = factor < 1 / thresholds.ABOUT_RIGHT
    right = factor > 0 and off_by(factor) < thresholds.ABOUT_RIGHT
    for finding in findings:
        rule = of[finding.rule]
        if _has_ended(finding, rule, signals):
            continue
        alarm = finding.severity != "info" and rule.silences_compass
        opposite = (rule.moves_lr == "down" and too_low) or (
            rule.moves_lr == "up" and factor > 0 and not too_low
        )
        doubted = at_run and rule.id == "lr_too_high" and right
        # The reason for a missing reading would contradict a finding that steps are too short.
        silent = rule.id == "lr_too_low" and not factor > 0
        if alarm or opposite or doubted or silent:
            return _root_of(finding, findings).title
    return ""


def _has_ended(finding: Finding, rule: Rule, signals: Signals) -> bool:
    """Whether a question is about something that has ended; a setting does not end."""
    over = finding.severity == "info" and is_over(finding.last_step, signals.run)
    return over and not rule.once


def _root_of(finding: Finding, findings: Sequence[Finding]) -> Finding:
    """The finding that this one is a consequence of, which is listed before it, or itself."""
    return next((other for other in findings if other.rule == finding.consequence_of), finding)
