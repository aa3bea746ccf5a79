"""Cases of the laboratory of planted faults, and diagnoses of synthetic runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from faults.runs.cases import Case, cases_of
from faults.verdict.diagnosed_runs import DiagnosedRun

from tb_adam_plugin.diagnosis.rule import Finding, Severity

TUNING, REPORTING = cases_of("tuning"), cases_of("reporting")


@pytest.fixture(autouse=True)
def one_core() -> Iterator[None]:
    """Train as the laboratory does: for such small networks, threads cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def case_of(what: str, task: str = "") -> Case:
    """The first case of the tuning half with this in its name."""
    return next(c for c in TUNING if what in c.name and f"/{task}" in c.name)


def finding(
    rule: str, severity: Severity = "warning", *, first: float = 10.0, last: float = 300.0,
    advice: str = "", consequence_of: str | None = None,
) -> Finding:  # fmt: skip
    return Finding(
        rule, severity, rule, "", advice, "", (), first, last, None, 1.0, 0.5, consequence_of
    )


def diagnosed(case: Case, progress: float, *findings: Finding) -> DiagnosedRun:
    return DiagnosedRun(case, progress, findings, 20.0 if findings else None)
