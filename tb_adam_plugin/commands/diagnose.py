"""``adam-debug diagnose``: what is wrong in recorded runs, and what to change."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import textwrap
from collections.abc import Mapping, Sequence

from tb_adam_plugin.commands.exit_codes import FAILED
from tb_adam_plugin.commands.run_names import shown_name
from tb_adam_plugin.diagnosis.compass import Compass, error_bar_in_words
from tb_adam_plugin.diagnosis.engine.healthy_ranges import TypicalRatio, typical_ratios
from tb_adam_plugin.diagnosis.engine.wording import number
from tb_adam_plugin.diagnosis.rule import SEVERITIES, Finding, NotEvaluated
from tb_adam_plugin.run_data import Run
from tb_adam_plugin.serving.json_answers import compass_fields, finding_fields, ratio_fields
from tb_adam_plugin.untrusted_text import printable

_TEXT_WIDTH = 100
_PLURALS = {"matrix": "matrices", "embedding": "embeddings", "gain": "gains", "bias": "biases"}


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "diagnose",
        help="say what is wrong in recorded runs, and what to change",
        description="Apply the rules to every run below LOGDIR.",
        epilog="Exit codes: 0 done; 1 --fail-on was given and there is such a finding; "
        "2 the folder cannot be read, holds no run, or the command was not understood.",
    )
    parser.add_argument("logdir", metavar="LOGDIR")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--fail-on",
        choices=SEVERITIES[:2],
        help="exit with 1 if a run has a finding of this severity or a worse one",
    )
    parser.set_defaults(command=diagnose)


def diagnose(runs: Sequence[Run], options: argparse.Namespace) -> int:
    """Print what the rules find in every run, and return the exit code."""
    if options.json:
        _print_json(runs)
    else:
        for run in runs:
            print_table(run, shown_name(run, options.logdir))
    found = {finding.severity for run in runs for finding in run.findings()}
    if options.fail_on is None:
        return 0
    worst = SEVERITIES[: SEVERITIES.index(options.fail_on) + 1]
    return FAILED if found & set(worst) else 0


def _print_json(runs: Sequence[Run]) -> None:
    described = [
        {
            "run": run.name,
            "findings": [finding_fields(run.name, finding) for finding in run.findings()],
            "not_evaluated": [dataclasses.asdict(rule) for rule in run.diagnosis.not_evaluated],
            "compass": compass_fields(run.diagnosis.compass) if run.diagnosis.compass else None,
            "update_to_weight_ratios": [
                ratio_fields(kind) for kind in typical_ratios(run.diagnosis.signals.run)
            ],
            "recording": run.diagnosis.recording,
            "messages": [message._asdict() for message in run.messages],
        }
        for run in runs
    ]
    print(json.dumps({"runs": described}, indent=2, allow_nan=False))


def print_table(run: Run, name: str) -> None:
    """Print the findings of a run under a name."""
    findings = run.findings()
    counts = [
        f"{n} {severity}{'s' if n > 1 and severity != 'info' else ''}"
        for severity in SEVERITIES
        if (n := sum(finding.severity == severity for finding in findings))
    ]
    print(f"{printable(name)}: {', '.join(counts) or 'nothing found'}")
    for text in (run.diagnosis.recording, *(message.text for message in run.messages)):
        for line in textwrap.wrap(printable(text), _TEXT_WIDTH - 2):
            print(f"  {line}")
    if run.diagnosis.compass is not None:
        _print_compass(run.diagnosis.compass)
    _print_ratios(typical_ratios(run.diagnosis.signals.run))
    titles = {finding.rule: finding.title for finding in reversed(findings)}
    for finding in findings:
        print(heading(finding))
        advice = finding.advice and f"→ {finding.advice}"
        for text in (finding.text, advice, _cause(finding, titles)):
            for line in textwrap.wrap(printable(text), _TEXT_WIDTH - 11):
                print(f"           {line}")
    if run.diagnosis.not_evaluated:
        _print_not_evaluated(run.diagnosis.not_evaluated)


def heading(finding: Finding) -> str:
    """Return the line that a finding starts with."""
    first, last = f"{finding.first_step:.0f}", f"{finding.last_step:.0f}"
    when = f"step {first}" if first == last else f"steps {first}-{last}"
    return f"  {finding.severity:<7}  {when:<16}  {finding.title}"


def _print_compass(compass: Compass) -> None:
    reading, gain = compass.run, compass.gain
    cosine = f" (cosine {number(reading.cosine)})" if math.isfinite(reading.cosine) else ""
    why = f": {reading.why}" if reading.why else ""
    print(f"  learning rate: {reading.text}{cosine}{why}")
    if reading.likely is not None:
        print(f"    four of five runs that read so were {error_bar_in_words(reading.likely)}")
    if gain is not None:
        print(f"  by the gain ratio: {gain.text} ({number(gain.gain_ratio)})")


def _print_ratios(ratios: Sequence[TypicalRatio]) -> None:
    """Print how large the last updates are, each kind of tensor beside what is healthy."""
    said = "; ".join(
        f"{_PLURALS[kind]} {number(ratio)} (healthy: {number(low)} to {number(high)})"
        for kind, ratio, (low, high) in ratios
    )
    text = said and f"update / weight at the end: {said}"
    for line in textwrap.wrap(text, _TEXT_WIDTH - 2, subsequent_indent="  "):
        print(f"  {line}")


def _print_not_evaluated(skipped: Sequence[NotEvaluated]) -> None:
    print("  not evaluated:")
    by_reason: dict[str, list[str]] = {}
    for rule in skipped:
        by_reason.setdefault(rule.reason, []).append(rule.rule)
    for reason, rules in by_reason.items():
        text = printable(f"{', '.join(rules)} ({reason})")
        for line in textwrap.wrap(text, _TEXT_WIDTH - 4, subsequent_indent="  "):
            print(f"    {line}")


def _cause(finding: Finding, titles: Mapping[str, str]) -> str:
    cause = finding.consequence_of
    return f"a consequence of “{titles.get(cause, cause)}”" if cause else ""
