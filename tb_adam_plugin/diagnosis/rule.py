"""Re-exports :class:`Finding`, the rules' output, where users import it from."""

from __future__ import annotations

from .engine.rule import SEVERITIES, Finding, NotEvaluated, Severity, worst_severity

__all__ = ["SEVERITIES", "Finding", "NotEvaluated", "Severity", "worst_severity"]
