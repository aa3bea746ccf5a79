"""Converts a comparison of runs to JSON, as described in ``http_api.md``. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tb_adam_plugin.comparison import words
from tb_adam_plugin.comparison.compare import Comparison, Pair, RunLoss
from tb_adam_plugin.comparison.parting import Parting
from tb_adam_plugin.comparison.settings import Setting
from tb_adam_plugin.comparison.sweep import Sweep
from tb_adam_plugin.languages.catalogues import ENGLISH, catalogue
from tb_adam_plugin.languages.sentences import in_language


def comparison_fields(
    found: Comparison,
    language: str = ENGLISH,
    ids: Mapping[str, str] | None = None,
    left_out: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return a comparison in JSON's types.

    Args:
        found: The comparison.
        language: Language of the sentences; names and numbers are the same in every language.
        ids: Ids of runs outside of sentences, by their names; by default the names.
        left_out: Why some of the runs are not compared.
    """
    ids = ids or {run: run for run in found.runs}
    return {
        "runs": [{"run": ids[loss.run], **_loss(loss, language)} for loss in found.losses],
        "left_out": [
            {"run": run, "text": _said(text, language)} for run, text in (left_out or {}).items()
        ],
        "settings": [_setting(setting, language) for setting in found.settings],
        "same": [_same(setting, language) for setting in found.same],
        "common_step": _number(found.common_end),
        "text": _said(words.about_losses(found), language),
        "best": ids[found.best] if found.best else None,
        "pairs": [_pair(pair, found, language, ids) for pair in found.pairs],
        "sweep": None if found.sweep is None else _sweep(found.sweep, language),
    }


def _said(text: str, language: str) -> str:
    return in_language(text, catalogue(language))


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _loss(loss: RunLoss, language: str) -> dict[str, Any]:
    return {
        "last_step": loss.last_step,
        "final_loss": _number(loss.final),
        "common_loss": _number(loss.common),
        "not_finite_from": _number(loss.gone_at),
        "note": _said(words.about_loss(loss), language),
    }


def _setting(setting: Setting, language: str) -> dict[str, Any]:
    return {
        "name": setting.name,
        "label": _said(setting.label, language),
        "values": [_said(value, language) for value in setting.values],
        "numbers": [_number(value) for value in setting.numbers],
        "same_as": setting.same_as,
    }


def _same(setting: Setting, language: str) -> dict[str, Any]:
    return {
        "name": setting.name,
        "label": _said(setting.label, language),
        "value": _said(setting.known, language),
    }


def _pair(pair: Pair, found: Comparison, language: str, ids: Mapping[str, str]) -> dict[str, Any]:
    lead = pair.lead
    better = None if lead is None else ids[pair.best if lead.first else pair.other]
    return {
        "run": ids[pair.best],
        "against": ids[pair.other],
        "better": better,
        "from": None if lead is None else lead.start,
        "text": _said(words.verdict(pair, found), language),
        "parted": pair.parted,
        "partings": [_parting(parting, pair, language) for parting in pair.partings],
        "partings_text": _said(words.about_partings(pair), language),
    }


def _parting(parting: Parting, pair: Pair, language: str) -> dict[str, Any]:
    return {
        "step": parting.step,
        "statistic": parting.statistic,
        "parameters": parting.parameters,
        "values": [_number(parting.first), _number(parting.second)],
        "text": _said(words.about_parting(parting, pair), language),
    }


def _sweep(sweep: Sweep, language: str) -> dict[str, Any]:
    return {
        "setting": sweep.setting,
        "values": sweep.values,
        "losses": [_number(final) for final in sweep.finals],
        "best": sweep.values[sweep.best],
        "as_good": [sweep.values[i] for i in sweep.ties],
        "edge": sweep.edge or None,
        "text": _said(words.about_sweep(sweep), language),
    }
