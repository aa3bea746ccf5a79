"""The notebook view of a run: its loss, its heat map and its findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.diagnosis.engine.wording import step
from tb_adam_plugin.diagnosis.rule import Finding, Severity
from tb_adam_plugin.languages.catalogues import catalogue
from tb_adam_plugin.languages.sentences import in_language, say
from tb_adam_plugin.notebook.pictures import MOST_ROWS, heat_map, loss_curve, svg
from tb_adam_plugin.schema import LOSS
from tb_adam_plugin.untrusted_text import printable

RATIO = "update_to_weight_ratio"
_COLOURS: Mapping[Severity, str] = {"error": "#c5221f", "warning": "#b06000", "info": "#1a73e8"}


def picture_of(run: RecordedRun, language: str) -> str:
    """Return the loss and the heat map of a run as one SVG."""
    words = catalogue(language)
    steps = run.every_step.get("step", run.step)
    values = run.statistics.get(RATIO, np.empty((0, 0), np.float32))
    names = [printable(name) for name in run.names]
    shown = (float(steps[0]) if steps.size else 0.0, run.last_step)
    unknown = np.full(steps.shape, np.nan)
    loss = run.every_step.get(LOSS, unknown)
    lost = np.isinf(loss) | (run.every_step.get("loss_is_nan", unknown) == 1)
    about_lost = in_language(_about_lost(steps, loss, lost), words)
    curve, height = loss_curve(steps, loss, lost, shown, about_lost)
    caption = say("update / weight")
    if len(names) > MOST_ROWS:
        caption = say("update / weight, {shown} of {all} tensors", shown=MOST_ROWS, all=len(names))
    caption_said = in_language(caption, words)
    drawn, more = heat_map(run.step, values, names, shown, caption_said, height)
    label = say("Loss and update-to-weight ratios of run {run}", run=printable(run.name))
    return svg(curve + drawn, max(1, height + more), in_language(label, words))


def _about_lost(steps: Float64s, loss: Float64s, lost: Flags) -> str:
    """Say where the loss is not finite; "" if it always is."""
    if not lost.any():
        return ""
    first = step(float(steps[lost][0]))
    if np.isfinite(loss[steps >= steps[lost][0]]).any():
        return say(
            "not finite at {count} steps, first at step {step}", count=lost.sum(), step=first
        )
    return say("the loss is not finite from step {step} on", step=first)


def page_of(run: RecordedRun, findings: Sequence[Finding], language: str) -> str:
    """Return a run as HTML: a summary, its picture, and its findings with advice."""
    words = catalogue(language)
    optimizers = " / ".join(dict.fromkeys(group.optimizer for group in run.groups))
    about = in_language(
        say(
            "{optimizer}, {tensors} tensors, {steps} steps",
            optimizer=optimizers,
            tensors=f"{len(run.parameters):,}",
            steps=f"{run.last_step:,.0f}",
        ),
        words,
    )
    name = "" if run.name == "." else run.name
    if findings:
        told = "".join(_finding(finding, words) for finding in findings)
        list_ = f'<ul style="list-style:none;padding:0;margin:.5em 0">{told}</ul>'
    else:
        list_ = f"<p>{_html(in_language(say('nothing found'), words))}</p>"
    return (
        f'<div lang="{language}"><b>{_html(name)}</b> {_html(about)}'
        f"<div>{picture_of(run, language)}</div>{list_}</div>"
    )


def _finding(finding: Finding, words: Mapping[str, str]) -> str:
    severity = in_language(finding.severity, words)
    title, text, advice = (
        _html(in_language(said, words)) for said in (finding.title, finding.text, finding.advice)
    )
    advised = f"<br>→ {advice}" if advice else ""
    return (
        f'<li><details><summary><b style="color:{_COLOURS[finding.severity]}">'
        f"{_html(severity)}</b> {title}</summary>"
        f'<div style="margin:0 0 .5em 1.2em">{text}{advised}</div></details></li>'
    )


def _html(text: str) -> str:
    return escape(printable(text))
