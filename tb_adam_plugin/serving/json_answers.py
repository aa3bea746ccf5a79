"""Converts records and diagnoses to the JSON answers. Pure functions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from tb_adam_plugin import __version__, schema
from tb_adam_plugin.diagnosis import compass as needle
from tb_adam_plugin.diagnosis.compass import Compass, GainReading, Reading
from tb_adam_plugin.diagnosis.diagnose import Diagnosis
from tb_adam_plugin.diagnosis.engine import first_steps, thresholds
from tb_adam_plugin.diagnosis.engine.healthy_ranges import TypicalRatio, kind_of, ranges_of
from tb_adam_plugin.diagnosis.rule import Finding
from tb_adam_plugin.diagnosis.rules.registry import RULES
from tb_adam_plugin.explanations.explain import Explanation
from tb_adam_plugin.languages.catalogues import ENGLISH, catalogue
from tb_adam_plugin.languages.sentences import in_language
from tb_adam_plugin.reading.answers import Runs
from tb_adam_plugin.reading.run import Message, StoredRun
from tb_adam_plugin.reading.thinning import evenly_spread
from tb_adam_plugin.serving.packing import json_text
from tb_adam_plugin.serving.run_states import NOTHING_FOUND, RunState

# Number of points in the compass' history.
_COMPASS_COLUMNS = 256
_MODULE_COLUMNS = 64


def summary(runs: Runs, language: str = ENGLISH) -> str:
    """Return the JSON of the ``summary`` route, its sentences in a language."""
    return json_text(
        {
            "version": __version__,
            "revision": runs.revision,
            "runs": [_run(run, language) for run in runs.runs],
            "statistics": [_statistic(s, language) for s in schema.STATISTICS],
            "messages": message_fields(runs.messages, language),
            "rules": [rule.id for rule in RULES],
        }
    )


def findings(run: str, diagnosis: Diagnosis, language: str = ENGLISH) -> str:
    """Return the JSON of the ``findings`` route, its sentences in a language."""
    return json_text(diagnosis_fields(run, diagnosis, language))


def diagnosis_fields(run: str, diagnosis: Diagnosis, language: str = ENGLISH) -> dict[str, Any]:
    """Return the diagnosis of a run in JSON's types.

    Args:
        run: Its name.
        diagnosis: The diagnosis, which is the same for all languages.
        language: Language of the sentences; ids, keys and names are the same in every language.
    """
    found, skipped = diagnosis.findings, diagnosis.not_evaluated
    compass = diagnosis.compass
    return {
        "findings": [finding_fields(run, finding.in_language(language)) for finding in found],
        "not_evaluated": [dataclasses.asdict(rule.in_language(language)) for rule in skipped],
        "compass": None if compass is None else compass_fields(compass, language),
        "recording": in_language(diagnosis.recording, catalogue(language)),
    }


def states(found: Mapping[str, RunState | None], busy: bool, language: str) -> str:
    """Return the JSON of the ``states`` route, with titles in a language."""
    words = catalogue(language)
    runs = []
    for run, known in found.items():
        state = known or NOTHING_FOUND
        first = in_language(state.first, words) if state.first else None
        runs.append(
            {
                "run": run,
                "worst": state.worst,
                "counts": dict(state.counts),
                "first": first,
                "pending": known is None,
            }
        )
    return json_text({"runs": runs, "busy": busy})


def explanation(kind: str, found: Explanation) -> str:
    """Return the JSON of the ``explain`` route.

    Args:
        kind: ``rule`` or ``statistic``.
        found: The explanation.
    """
    told = [section._asdict() for section in found.sections]
    return json_text({kind: found.name, "title": found.title, "sections": told})


def ratio_fields(typical: TypicalRatio) -> dict[str, Any]:
    """Return the typical update-to-weight ratio of a kind of tensors in JSON's types."""
    return {"kind": typical.kind, "ratio": typical.ratio, "healthy": typical.healthy}


def compass_fields(compass: Compass, language: str = ENGLISH) -> dict[str, Any]:
    """Return the readings of the learning-rate compass in JSON's types."""
    words = catalogue(language)
    return {
        **_reading(compass.run, _COMPASS_COLUMNS, words),
        "text": in_language(compass.run.full_text, words),
        "gain": None if compass.gain is None else _gain_reading(compass.gain, words),
        "modules": [
            {"name": reading.name, **_reading(reading, _MODULE_COLUMNS, words)}
            for reading in compass.modules
        ],
        "calibration": {
            "tasks": needle.TASKS,
            "records": needle.WINDOWS,
            "about": thresholds.ABOUT_RIGHT,
            "cosines": needle.COSINES,
            "factors": [_number(factor) for factor in needle.FACTORS],
            "first_steps": thresholds.EARLY_STEPS,
            "path_steps": thresholds.PATH_STEPS,
            "paths": first_steps.PATHS,
            "path_factors": first_steps.PATH_FACTORS,
            "gain_records": thresholds.GAIN_RATIO_WINDOWS,
            "gain_ratios": needle.GAIN_RATIOS,
            "gain_factors": [_number(factor) for factor in needle.GAIN_FACTORS],
        },
    }


def _reading(reading: Reading, columns: int, words: Mapping[str, str]) -> dict[str, Any]:
    return {
        "text": in_language(reading.text, words),
        "factor": _number(reading.factor),
        "cosine": _number(reading.cosine),
        "likely": reading.likely,
        **_history(reading, columns),
    }


def _gain_reading(reading: GainReading, words: Mapping[str, str]) -> dict[str, Any]:
    return {
        "text": in_language(reading.text, words),
        "factor": _number(reading.factor),
        "gain_ratio": _number(reading.gain_ratio),
        **_history(reading, _COMPASS_COLUMNS),
    }


def _history(reading: Reading | GainReading, columns: int) -> dict[str, Any]:
    kept = evenly_spread(reading.step.size, columns)
    return {
        "steps": reading.step[kept].tolist(),
        "factors": [_number(value) for value in reading.factors[kept].tolist()],
    }


def _number(value: float) -> float | None:
    """Round a number to four significant digits, or return None for NaN and infinity."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def finding_fields(run: str, finding: Finding) -> dict[str, Any]:
    """Return a finding in JSON's types."""
    return {
        "id": f"{finding.rule}-{finding.first_step:.0f}",
        "run": run,
        "rule": finding.rule,
        "severity": finding.severity,
        "title": finding.title,
        "text": finding.text,
        "advice": finding.advice,
        "reference": finding.reference,
        "parameters": finding.parameters,
        "from": finding.first_step,
        "to": finding.last_step,
        "at": finding.worst_step,
        "value": _number(finding.value),
        "threshold": finding.threshold,
        "consequence_of": finding.consequence_of,
        "statistic": finding.statistic,
        "as_recorded": finding.as_recorded,
        "course": [[step, _number(value)] for step, value in finding.course],
    }


def revision(runs: Runs) -> str:
    """Return the JSON of the ``revision`` route."""
    return json_text({"revision": runs.revision})


def _run(run: StoredRun, language: str) -> dict[str, Any]:
    layout, words = run.layout, catalogue(language)
    last_step, last_wall_time = run.last
    return {
        "run": run.run,
        "name": run.name,
        "last_step": last_step,
        "last_wall_time": last_wall_time,
        "parameters": [
            {
                "name": p.name,
                "shape": p.shape,
                "dtype": p.dtype,
                "elements": p.elements,
                "elements_read": p.elements_read,
                "group": p.group,
                "kind": kind_of(p) or "",
            }
            for p in layout.parameters
        ],
        "groups": [
            {
                "optimizer": group.optimizer,
                "options": {name: _finite(value) for name, value in group.options.items()},
                "undefined": group.undefined,
                "meanings": {
                    name: in_language(meaning, words) for name, meaning in group.meanings.items()
                },
                "storage": group.storage,
                "healthy_ratios": dict(ranges_of(group)),
            }
            for group in layout.groups
        ],
        "unoptimized": [dataclasses.asdict(u) for u in layout.newest.unoptimized],
        "statistics": layout.statistics,
        "quantities": [{"name": q.name, "signed": q.signed} for q in layout.quantities],
        "step_columns": run.step_columns,
        "strip_columns": [
            name for name in run.step_columns if name not in schema.UNCHARTED_STEP_COLUMNS
        ],
        "gradient_norms": bool(run.gradient_norms),
        "scalars": [scalar._asdict() for scalar in run.scalars],
        "messages": message_fields(run.messages, language),
    }


def _statistic(statistic: schema.Statistic, language: str) -> dict[str, Any]:
    fields = dataclasses.asdict(statistic)
    del fields["needs"]  # only used by the training side
    words = catalogue(language)
    for name in ("label", "description"):
        fields[name] = in_language(fields[name], words)
    return fields


def message_fields(messages: tuple[Message, ...], language: str) -> list[dict[str, str]]:
    """Return messages in JSON's types, in a language."""
    words = catalogue(language)
    return [{"severity": m.severity, "text": in_language(m.text, words)} for m in messages]


def _finite(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
