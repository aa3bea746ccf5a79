"""The parameter ``lang`` of the routes that answer with sentences."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_files import event, make_layout, step_tensors, write_events
from generated_logs import write_run
from generated_runs import Run
from in_process import PluginClient

from tb_adam_plugin import schema
from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.run_data import load_runs
from tb_adam_plugin.serving import findings_cache

HAN = re.compile(r"[\u4e00-\u9fff]")
ENGLISH = re.compile(r"\b[a-z]+(?:,? [a-z]+){2,}\b")
RUN = "spiked/adam_debug"
SAID = {"title", "text", "advice"}


@pytest.fixture(autouse=True, params=[False, True], ids=["loader", "files"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask TensorBoard's loader, and the files."""
    monkeypatch.setattr(PluginClient, "reads_files", request.param)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    write_run(folder / "spiked", Run(spike_at=150))
    return folder


def asked(client: PluginClient, route: str, **query: str) -> Any:
    answer = client.get(route, **query)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.data)


def test_findings_differ_in_nothing_but_their_sentences(logs: Path) -> None:
    client = PluginClient(logs)
    english, default = (
        asked(client, "findings", run=RUN, lang="en"),
        asked(client, "findings", run=RUN),
    )
    chinese = asked(client, "findings", run=RUN, lang="zh")
    assert english == default
    assert english["findings"]
    for one, other in zip(english["findings"], chinese["findings"], strict=True):
        assert {name for name in one if one[name] != other[name]} == {n for n in SAID if one[n]}
        assert all(HAN.search(other[name]) for name in SAID if one[name])
    for one, other in zip(english["not_evaluated"], chinese["not_evaluated"], strict=True):
        assert one["rule"] == other["rule"]
        assert HAN.search(other["title"])
        assert not ENGLISH.search(other["reason"])
    for one, other in zip(
        [english["compass"], *english["compass"]["modules"]],
        [chinese["compass"], *chinese["compass"]["modules"]],
        strict=True,
    ):
        assert HAN.search(other["text"])
        assert {name for name in one if one[name] != other[name]} <= {"text", "gain", "modules"}


def test_one_diagnosis_serves_every_language(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counting(*arguments: Any) -> Any:
        made.append(arguments)
        return diagnose(*arguments)

    monkeypatch.setattr(findings_cache, "diagnose", counting)
    client = PluginClient(logs)
    texts = [
        asked(client, "findings", run=RUN, lang=lang)["findings"][0]["text"]
        for lang in ("en", "zh", "en", "zh")
    ]
    assert len(made) == 1
    assert texts[:2] == texts[2:]
    assert texts[0] != texts[1]


def test_a_summary_says_statistics_and_messages(tmp_path: Path) -> None:
    layout = make_layout()
    good = step_tensors(layout, 1)
    wrong = schema.TaggedTensor(good[0].tag, np.zeros((1, 1), np.float32), good[0].content)
    write_events(tmp_path / "damaged" / "adam_debug", [event(1, good), event(2, [wrong])])
    content = layout.content().replace(b'"version":%d' % schema.VERSION, b'"version":99')
    newer = schema.TaggedTensor("adam_debug/statistics/abc", good[0].tensor, content)
    write_events(tmp_path / "newer" / "adam_debug", [event(1, [newer])])
    client = PluginClient(tmp_path)
    asked(client, "findings", run="damaged/adam_debug")  # which reads what is damaged
    english, chinese = asked(client, "summary"), asked(client, "summary", lang="zh")
    assert english["revision"] == chinese["revision"]
    assert english["rules"] == chinese["rules"]
    for one, other in zip(english["statistics"], chinese["statistics"], strict=True):
        assert {name for name in one if one[name] != other[name]} <= {"label", "description"}
        assert not ENGLISH.search(other["label"])
        assert not ENGLISH.search(other["description"])
    (said,) = chinese["messages"]
    assert said["severity"] == "error"
    assert "99" in said["text"]
    (run,) = chinese["runs"]
    for message in [said, *run["messages"]]:
        assert HAN.search(message["text"])
        assert not ENGLISH.search(message["text"])
    assert any("损坏" in message["text"] for message in run["messages"])


def test_what_an_optimizer_calls_by_another_name_is_said(tmp_path: Path) -> None:
    layout = make_layout()
    (group,) = layout.groups
    meanings = {
        "exp_avg": "momentum_buffer: sum of gradients that decays by momentum",
        "x": "loss?",
    }
    changed = schema.Layout(
        layout.parameters,
        (schema.Group(**{**_fields(group), "meanings": meanings}),),
        layout.statistics,
        layout.quantities,
    )
    write_events(tmp_path / "adam_debug", [event(1, step_tensors(changed, 1))])
    (run,) = asked(PluginClient(tmp_path), "summary", lang="zh")["runs"]
    said = run["groups"][0]["meanings"]
    assert said == {"exp_avg": "momentum_buffer：按 momentum 衰减的梯度累加", "x": "loss?"}


def _fields(group: schema.Group) -> dict[str, Any]:
    return {name: getattr(group, name) for name in group.__dataclass_fields__}


@pytest.mark.parametrize("route", ["summary", "findings"])
@pytest.mark.parametrize("language", ["klingon", "ZH", "zh-CN", "", "en&lang=zh"])
def test_a_language_that_is_none_is_refused(logs: Path, route: str, language: str) -> None:
    client = PluginClient(logs)
    query = f"run={RUN}&" if route == "findings" else ""
    answer = client.open(f"{route}?{query}lang={language}")
    assert answer.status_code == 400
    assert "lang" in answer.text


def test_the_document_names_the_parameter_where_there_is_one() -> None:
    text = resources.files("tb_adam_plugin").joinpath("http_api.md").read_text(encoding="utf-8")
    routes = re.findall(r"^## `(\w+)\?(?:.*&)?lang=LANGUAGE`$", text, re.MULTILINE)
    assert routes == ["summary", "findings", "states", "compare", "explain"]


def test_a_finding_of_a_folder_can_be_said_in_chinese(logs: Path) -> None:
    (run,) = load_runs(logs)
    finding = run.findings()[0]
    said = finding.in_language("zh")
    assert HAN.search(said.title)
    assert HAN.search(said.text)
    assert (said.rule, said.value, said.course) == (finding.rule, finding.value, finding.course)
    assert finding.in_language("en") == finding
    with pytest.raises(ValueError, match="klingon"):
        finding.in_language("klingon")
