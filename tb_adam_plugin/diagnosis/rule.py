"""What the rules hand out: :class:`Finding`, at the place where users import it from."""

from __future__ import annotations

from .engine.rule import SEVERITIES, Finding, NotEvaluated, Severity, worst_severity

__all__ = ["SEVERITIES", "Finding", "NotEvaluated", "Severity", "worst_severity"]
