"""``adam-debug diagnose``: what is wrong in recorded runs, and what to change."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence

from tb_adam_plugin.commands.exit_codes import FAILED
from tb_adam_plugin.commands.language import language, padded, spoken, width_of, wrapped
from tb_adam_plugin.commands.progress import Progress
from tb_adam_plugin.commands.run_names import LOGDIR_HELP, shown_name
from tb_adam_plugin.diagnosis.compass import Compass, Reading, error_bar_in_words
from tb_adam_plugin.diagnosis.engine.healthy_ranges import Kind, TypicalRatio, typical_ratios
from tb_adam_plugin.diagnosis.engine.wording import number
from tb_adam_plugin.diagnosis.rule import SEVERITIES, Finding, NotEvaluated, Severity
from tb_adam_plugin.languages.sentences import Sentence, joined, say
from tb_adam_plugin.run_data import Run
from tb_adam_plugin.serving.json_answers import diagnosis_fields, message_fields, ratio_fields

_TEXT_WIDTH = 100
# With more runs, a summary comes first.
MOST_WITHOUT_SUMMARY = 3
_SEVERITIES: Mapping[Severity, Sentence] = {
    "error": say("error"),
    "warning": say("warning"),
    "info": say("info"),
}


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "diagnose",
        help=spoken(say("say what is wrong in recorded runs, and what to change")),
        description=spoken(say("Apply the rules to every run below LOGDIR.")),
        epilog=spoken(
            say(
                "Exit codes: 0 done; 1 a finding of the --fail-on severity or worse; 2 the folder "
                "cannot be read, contains no run, or the arguments are invalid."
            )
        ),
    )
    parser.add_argument("logdir", metavar="LOGDIR", nargs="?", help=spoken(LOGDIR_HELP))
    parser.add_argument(
        "--json",
        action="store_true",
        help=spoken(say("print JSON with the evidence of each finding; default: text")),
    )
    parser.add_argument(
        "--fail-on",
        choices=SEVERITIES[:2],
        help=spoken(
            say("exit with 1 if a run has a finding of this severity or worse; default: never")
        ),
    )
    parser.set_defaults(command=diagnose)


def diagnose(runs: Sequence[Run], options: argparse.Namespace) -> int:
    """Print what the rules find in every run, and return the exit code."""
    progress = Progress()
    for place, run in enumerate(runs, 1):
        name = shown_name(run, options.logdir)
        text = say("{run}: {number} of {count} …", run=name, number=place, count=len(runs))
        with progress.on(text):
            _ = run.diagnosis  # it is cached
    if options.json:
        _print_json(runs)
    else:
        _print_runs({shown_name(run, options.logdir): run for run in runs})
    found = {finding.severity for run in runs for finding in run.findings()}
    if options.fail_on is None:
        return 0
    worst = SEVERITIES[: SEVERITIES.index(options.fail_on) + 1]
    return FAILED if found & set(worst) else 0


def _print_json(runs: Sequence[Run]) -> None:
    described = [
        {
            "run": run.name,
            **diagnosis_fields(run.name, run.diagnosis, language()),
            "update_to_weight_ratios": [
                ratio_fields(kind) for kind in typical_ratios(run.diagnosis.signals.run)
            ],
            "messages": message_fields(run.messages, language()),
        }
        for run in runs
    ]
    print(json.dumps({"runs": described}, indent=2, allow_nan=False))


def _print_runs(runs: Mapping[str, Run]) -> None:
    """Print the findings of runs, by their names; for many runs, a summary first."""
    if len(runs) > MOST_WITHOUT_SUMMARY:
        _print_summary(runs)
    skipped = [set(run.diagnosis.not_evaluated) for run in runs.values()]
    # Rules that no run could evaluate are listed once.
    common = set.intersection(*skipped) if len(runs) > 1 else set()
    for name, run in runs.items():
        print_table(run, name, common)
    if common:
        first = next(iter(runs.values())).diagnosis.not_evaluated
        _print_not_evaluated(
            say("not evaluated in any of these runs:"), [s for s in first if s in common], ""
        )


def _print_summary(runs: Mapping[str, Run]) -> None:
    """Print a line for each run, those with the worst findings first."""
    print(spoken(say("{count} runs:", count=len(runs))))
    numbers = {
        name: [_number_of(severity, run) for severity in SEVERITIES] for name, run in runs.items()
    }
    width = 2 + max(width_of(spoken(name)) for name in runs)
    for name in sorted(runs, key=lambda name: [-count for count in numbers[name]]):
        print(f"  {padded(spoken(name), width)}{spoken(_counts(runs[name]))}")
    print()


def _number_of(severity: Severity, run: Run) -> int:
    return sum(finding.severity == severity for finding in run.findings())


def _counts(run: Run) -> Sentence:
    """Say how many findings of each severity there are."""
    counts = [
        _counted(severity, number)
        for severity in SEVERITIES
        if (number := _number_of(severity, run))
    ]
    return joined(counts, ", ") if counts else say("nothing found")


def print_table(run: Run, name: str, said_later: Collection[NotEvaluated] = ()) -> None:
    """Print the findings of a run under a name.

    Args:
        run: The run.
        name: Its name.
        said_later: Rules that no run could evaluate, which are left out here.
    """
    findings = run.findings()
    print(spoken(say("{title}: {text}", title=name, text=_counts(run))))
    _print_wrapped(run.diagnosis.recording, "  ", _TEXT_WIDTH)
    for message in run.messages:
        _print_wrapped(message.text, "  ", _TEXT_WIDTH)
    if run.diagnosis.compass is not None:
        _print_compass(run.diagnosis.compass)
    _print_ratios(typical_ratios(run.diagnosis.signals.run))
    titles = {finding.rule: finding.title for finding in reversed(findings)}
    for finding in findings:
        print(heading(finding))
        advice = finding.advice and say("→ {advice}", advice=finding.advice)
        for text in (finding.text, advice, _cause(finding, titles)):
            _print_wrapped(text, " " * 11, _TEXT_WIDTH)
    skipped = [rule for rule in run.diagnosis.not_evaluated if rule not in said_later]
    if skipped:
        _print_not_evaluated(say("not evaluated:"), skipped, "  ")


def heading(finding: Finding) -> str:
    """Return the line that a finding starts with."""
    first, last = f"{finding.first_step:.0f}", f"{finding.last_step:.0f}"
    steps = say("steps {first}-{last}", first=first, last=last)
    when = spoken(say("step {step}", step=first) if first == last else steps)
    severity = spoken(_SEVERITIES[finding.severity])
    return f"  {padded(severity, 7)}  {padded(when, 16)}  {spoken(finding.title)}"


def _counted(severity: Severity, number: int) -> Sentence:
    """Say how many findings of a severity there are."""
    if severity == "info":
        return say("{count} info", count=number)
    if severity == "error":
        return say("1 error") if number == 1 else say("{count} errors", count=number)
    return say("1 warning") if number == 1 else say("{count} warnings", count=number)


def _print_wrapped(text: str, indent: str, width: int, subsequent_indent: str = "") -> None:
    """Print a text in lines of at most this many columns."""
    for line in wrapped(spoken(text), width - len(indent), subsequent_indent):
        print(indent + line)


def _print_compass(compass: Compass) -> None:
    reading, gain = compass.run, compass.gain
    print("  " + spoken(say("learning rate: {reading}", reading=_with_cosine(reading))))
    if reading.likely is not None:
        bar = error_bar_in_words(reading.likely)
        print("    " + spoken(say("four of five runs with this reading were {range}", range=bar)))
    if gain is not None:
        ratio = number(gain.gain_ratio)
        said = say("by the gain ratio: {reading} ({ratio})", reading=gain.text, ratio=ratio)
        print("  " + spoken(said))


def _with_cosine(reading: Reading) -> str:
    if not math.isfinite(reading.cosine):
        return reading.full_text
    text, cosine = reading.text, number(reading.cosine)
    if not reading.why:
        return say("{reading} (cosine {cosine})", reading=text, cosine=cosine)
    return say("{reading} (cosine {cosine}): {why}", reading=text, cosine=cosine, why=reading.why)


def _print_ratios(ratios: Sequence[TypicalRatio]) -> None:
    """Print how large the last updates are, each kind of tensor next to its healthy range."""
    if not ratios:
        return
    said = joined(
        (
            _RATIOS[kind](ratio=number(ratio), low=number(low), high=number(high))
            for kind, ratio, (low, high) in ratios
        ),
        "; ",
    )
    _print_wrapped(
        say("update / weight at the end: {ratios}", ratios=said), "  ", _TEXT_WIDTH, "  "
    )


# The text for each kind of tensors.
_RATIOS: Mapping[Kind, Callable[..., Sentence]] = {
    "matrix": lambda **numbers: say("matrices {ratio} (healthy: {low} to {high})", **numbers),
    "embedding": lambda **numbers: say("embeddings {ratio} (healthy: {low} to {high})", **numbers),
    "gain": lambda **numbers: say("gains {ratio} (healthy: {low} to {high})", **numbers),
    "bias": lambda **numbers: say("biases {ratio} (healthy: {low} to {high})", **numbers),
}


def _print_not_evaluated(heading: str, skipped: Sequence[NotEvaluated], indent: str) -> None:
    print(indent + spoken(heading))
    by_reason: dict[str, list[str]] = {}
    for rule in skipped:
        by_reason.setdefault(rule.reason, []).append(rule.rule)
    for reason, rules in by_reason.items():
        text = say("{rules} ({reason})", rules=", ".join(rules), reason=reason)
        _print_wrapped(text, f"{indent}  ", _TEXT_WIDTH, "  ")


def _cause(finding: Finding, titles: Mapping[str, str]) -> str:
    cause = finding.consequence_of
    return say("a consequence of “{title}”", title=titles.get(cause, cause)) if cause else ""
