"""Findings are fully translated to Chinese, with the same numbers, and correct spacing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from repository import ROOT
from rule_runs.diagnosed import found, not_evaluated
from rule_runs.every_rule import NEAR, PLANTED
from rule_runs.parts import NAN, WITHOUT_FIRST, WITHOUT_SECOND
from said_texts import templates_in
from synthetic_runs import Change, changed, column, hyperparameter, optimizer, without_column

from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine import wording
from tb_adam_plugin.diagnosis.engine.rule import Finding
from tb_adam_plugin.languages.catalogues import catalogue
from tb_adam_plugin.languages.sentences import in_language

CHINESE = catalogue("zh")
DIAGNOSIS = ROOT / "tb_adam_plugin" / "diagnosis"
GAP = re.compile(r"{\w+}")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e-?\d+)?")
IN_WORDS = {"zero": "0", "four": "4"}
ENGLISH = re.compile(r"\b[a-z]+(?:,? [a-z]+){2,}\b")
# Chinese and Latin stand apart, but for punctuation, which needs no space; no two spaces in a row.
UNSPACED = re.compile(
    r"[一-鿿][A-Za-z0-9√]|[A-Za-z0-9%√][一-鿿]|  |[一-鿿] [一-鿿]|[。，：；（？] | [。，：；）？]"
)


def chinese(text: str) -> str:
    return in_language(text, CHINESE)


def numbers(text: str) -> set[str]:
    return set(NUMBER.findall(text))


def have_the_same_numbers(english: str, said: str) -> bool:
    """Whether all numbers of a text are in its translation, and no others but those in words."""
    words = {number for word, number in IN_WORDS.items() if re.search(rf"\b{word}\b", english)}
    return numbers(english) <= numbers(said) <= numbers(english) | words


def check(text: str) -> None:
    said = chinese(text)
    assert not ENGLISH.findall(said), said
    assert re.search("[一-鿿]", said), said
    assert not UNSPACED.findall(said), said
    assert have_the_same_numbers(text, said), said


def check_all(findings: Sequence[Finding]) -> None:
    for finding in findings:
        for text in filter(None, (finding.title, finding.text, finding.advice)):
            check(text)


@pytest.mark.parametrize("rule", PLANTED)
def test_what_a_rule_finds_is_said_in_chinese(rule: str) -> None:
    run = changed(*PLANTED[rule])
    assert rule in found(run)
    check_all(diagnose(run).findings)


TWISTS: dict[str, Sequence[Change]] = {
    "no loss": [without_column("loss")],
    "a surrogate": [without_column("loss"), column("surrogate_loss", 1.0)],
    "no learning rate": [without_column("lr"), hyperparameter("lr", NAN)],
    "no beta2": [hyperparameter("beta2", NAN)],
    "no moments": [optimizer("SGD", (*WITHOUT_FIRST, *WITHOUT_SECOND))],
    "clipped": [column("gradient_norm_before_clip", 4.0), column("gradient_norm", 1.0)],
}


@pytest.mark.parametrize("twist", TWISTS)
@pytest.mark.parametrize("rule", PLANTED)
def test_what_is_found_in_another_run_is_said_in_chinese(rule: str, twist: str) -> None:
    check_all(diagnose(changed(*PLANTED[rule], *TWISTS[twist])).findings)


@pytest.mark.parametrize("changes", [pytest.param(c, id=f"{r}: {w}") for r, w, c in NEAR])
def test_what_else_is_found_is_said_in_chinese(changes: Sequence[Change]) -> None:
    check_all(diagnose(changed(*changes)).findings)


@pytest.mark.parametrize("path", sorted(DIAGNOSIS.rglob("*.py")), ids=lambda path: path.stem)
def test_every_sentence_of_diagnosis_has_the_numbers_of_its_translation(path: Path) -> None:
    for template in {template for template, _ in templates_in(path)} & set(CHINESE):
        said = CHINESE[template]
        assert not ENGLISH.findall(said), said
        assert not UNSPACED.findall(said), said
        assert have_the_same_numbers(GAP.sub("", template), GAP.sub("", said)), said


def test_names_and_counts_are_said_in_chinese() -> None:
    layers = [f"h.{i}.weight" for i in range(12)]
    assert chinese(wording.named(layers, [*layers, "head"])) == "全部 12 个 h.*.weight"
    assert chinese(wording.named(layers[:3], layers)) == "3 个 h.*.weight"
    assert chinese(wording.named(["head"])) == "head"
    assert chinese(wording.named(["a", "b", "c", "d", "e"])) == "a、b、c 及另外 2 个 tensor"
    assert chinese(wording.named(["a", "b", "c"])) == "a、b 和 c"
    assert chinese(wording.named(["a", "b", "c", "d"], list("abcde"))) == "4/5 个 tensor"
    assert chinese(wording.counted(1, "step")) == "1 步"
    assert chinese(wording.counted(1200, "record")) == "1,200 条记录"


def test_why_a_rule_is_not_evaluated_is_said_in_chinese() -> None:
    def reason(*changes: Change, rule: str = "lr_too_low") -> str:
        said = not_evaluated(diagnose(changed(*changes)))[rule]
        check(said)
        return chinese(said)

    converged = reason(column("loss", lambda t: 2.0 * np.exp(-t / 5)))
    assert converged == "第 50 步之后：训练已经收敛（45 条记录中的 45 条）"
    low = [column("lr", 1e-5, from_step=51), hyperparameter("lr", 1e-5, from_step=51)]
    assert "学习率低于峰值的 50 %" in reason(*low)
    assert "学习率仍在上升" in reason(column("lr", lambda t: 1e-6 * t))


@pytest.mark.parametrize(
    ("rule", "changes", "said"),
    [
        (
            "gradient_spike",
            [column("gradient_norm", 40.0, from_step=300, to_step=300)],
            "第 300 步的梯度是平时的 42 倍。exp_avg 会把它延续 10 步；"
            "之后最多 1,000 步内 √v̂ 偏大、步长偏小。",
        ),
        (
            "lr_jump",
            PLANTED["lr_jump"],
            "学习率在第 200 步突然从 1e-3 升到 0.1，是原来的 100 倍，此前从未这么高。",
        ),
        (
            "lr_too_high",
            PLANTED["lr_too_high"],
            "前 10 步的更新累计达到典型权重矩阵大小的 2.5 倍（最大的单次更新：0.25；"
            "健康训练后期很少超过 0.04）：初始权重已所剩无几。",
        ),
        (
            "state_reset",
            PLANTED["state_reset"],
            "第 200 步，全部 12 个 tensor 的一阶矩和二阶矩在训练中途从零重新开始："
            "接下来的更新会沿各梯度的符号方向，以完整的学习率迈步。",
        ),
        (
            "lost_updates",
            PLANTED["lost_updates"],
            "优化器要求的改变中有 80 % 小于相邻 bfloat16 数值间距的一半：权重保持不变。",
        ),
    ],
)
def test_a_finding_reads_in_chinese(rule: str, changes: Sequence[Change], said: str) -> None:
    assert chinese(found(changed(*changes))[rule].text) == said
