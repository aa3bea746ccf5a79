"""The route ``findings``: its answer, its cache, and its behavior with bad data."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_files import START, event, make_layout, scalar_event, step_tensors, write_events
from generated_logs import write_run
from generated_runs import Run
from in_process import EXPERIMENT, PluginClient, provider_of, read_folder

from tb_adam_plugin import schema
from tb_adam_plugin.diagnosis.rules.registry import RULES
from tb_adam_plugin.reading.provider_source import ProviderSource
from tb_adam_plugin.reading.run_for_rules import recorded_run
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.run_data import load_runs
from tb_adam_plugin.serving.findings_cache import FindingsCache

# What the tab reads of a finding, as types.d.ts says.
FIELDS: dict[str, Any] = {
    "id": str, "run": str, "rule": str, "severity": str, "title": str, "text": str, "advice": str,
    "parameters": list, "from": (int, float), "to": (int, float), "at": (int, float, type(None)),
}  # fmt: skip


@pytest.fixture(autouse=True, params=[False, True], ids=["loader", "files"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask TensorBoard's loader, and the files."""
    monkeypatch.setattr(PluginClient, "reads_files", request.param)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    write_run(folder / "spiked", Run(spike_at=150))
    write_run(folder / "broken", Run(architecture="cnn", lr=1e-2, nan_at=120))
    return folder


def ask(client: PluginClient, run: str) -> Any:
    answer = client.get("findings", run=run)
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "application/json"
    return json.loads(answer.data)


def test_the_tab_gets_findings_as_it_expects_them(logs: Path) -> None:
    client = PluginClient(logs)
    assert client.json("summary")["rules"] == [rule.id for rule in RULES]
    findings = ask(client, "spiked/adam_debug")["findings"]
    for finding in findings:
        for field, kind in FIELDS.items():
            assert isinstance(finding[field], kind), field
        assert finding["run"] == "spiked/adam_debug"
        assert finding["severity"] in ("error", "warning", "info")
    assert len({finding["id"] for finding in findings}) == len(findings)
    (spike,) = (finding for finding in findings if finding["rule"] == "gradient_spike")
    assert spike["at"] == 150
    broken = ask(client, "broken/adam_debug")
    rules = {finding["rule"]: finding for finding in broken["findings"]}
    assert rules["nonfinite"]["from"] == 120
    assert {"rule", "title", "reason"} == set(broken["not_evaluated"][0])


def test_the_documented_example_has_the_fields_of_an_answer(logs: Path) -> None:
    text = (resources.files("tb_adam_plugin") / "http_api.md").read_text(encoding="utf-8")
    example = json.loads(text.split("## `findings")[1].split("```json\n")[1].split("```")[0])
    answer = ask(PluginClient(logs), "spiked/adam_debug")
    assert list(answer) == list(example)
    for name in ("findings", "not_evaluated"):
        assert list(answer[name][0]) == list(example[name][0])
    assert list(answer["compass"]) == list(example["compass"])
    assert list(answer["compass"]["modules"][0]) == list(example["compass"]["modules"][0])


def test_a_folder_read_directly_gives_the_same_findings(logs: Path) -> None:
    client = PluginClient(logs)
    for run in load_runs(logs):
        answer = ask(client, f"{run.name}/adam_debug")["findings"]
        assert [f["text"] for f in answer] == [f.text for f in run.findings()]
        assert answer


def test_a_diagnosis_is_kept_until_something_new_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = make_layout()
    folder = tmp_path / "exp" / "adam_debug"
    write_events(folder, [event(t, step_tensors(layout, t)) for t in (1, 2)])
    provider = read_folder(tmp_path)
    events = ProviderSource(provider)
    cache = FindingsCache(Store(events))
    first = cache.get(EXPERIMENT, "exp/adam_debug")
    assert cache.get(EXPERIMENT, "exp/adam_debug") is first
    write_events(folder, [event(3, step_tensors(layout, 3))])
    provider.reload()
    events._listings.clear()  # a listing is good for a moment
    later = cache.get(EXPERIMENT, "exp/adam_debug")
    assert later is not first
    assert later.signals.run.last_step == 3


def test_a_loss_logged_beside_the_run_is_used(tmp_path: Path) -> None:
    write_run(tmp_path / "exp", Run(steps=60), loss_writer=False)
    layout = make_layout()
    other = tmp_path / "other" / "adam_debug"
    for t in range(1, 31):
        tensors = [x for x in step_tensors(layout, t) if "/steps/" not in x.tag]
        row = np.array([[t, START + t, 1.0, 1e-3, 0.5, 0.0, 0.0, 1.0]])
        tensors.append(schema.steps_tensor(schema.Columns(schema.STEP_COLUMNS), row))
        write_events(other, [event(t, tensors)])
    losses = [scalar_event(t, {"Train/Loss": 2.0 - t / 100}) for t in range(10, 31, 10)]
    write_events(tmp_path / "other", losses)
    epochs = [scalar_event(t, {"loss": 9.0}) for t in (1, 2)]  # another counter
    write_events(tmp_path / "other", epochs)
    store = Store(provider_of(tmp_path))
    run = recorded_run(store, EXPERIMENT, "other/adam_debug")
    loss = run.every_step["loss"]
    assert run.every_step["step"][np.isfinite(loss)].tolist() == [10, 20, 30]
    np.testing.assert_allclose(loss[9], 1.9, rtol=1e-6)
    own = recorded_run(store, EXPERIMENT, "exp/adam_debug")
    assert np.isfinite(own.every_step["loss"]).all()


def test_hyperparameters_are_those_of_the_steps_with_statistics(tmp_path: Path) -> None:
    layout = make_layout(optimizers=("AdamW", "SGD"))
    events = []
    for t in (1, 2, 3):
        tensors = step_tensors(layout, t)
        events.append(event(t, tensors if t != 2 else [x for x in tensors if "hyper" not in x.tag]))
    write_events(tmp_path / "adam_debug", events)
    run = recorded_run(Store(provider_of(tmp_path)), EXPERIMENT, "adam_debug")
    np.testing.assert_array_equal(run.hyperparameters["lr"][:, 1], [1, np.nan, 3])


def test_gradient_norms_and_layouts_are_read(tmp_path: Path) -> None:
    earlier, later = make_layout(["a"]), make_layout(["a", "b"])
    steps = np.array([3, 4], np.int64)
    norms = schema.gradient_norms_tensor(["a", "b"], steps, np.array([[1.0, 2.0], [3.0, np.nan]]))
    again = schema.gradient_norms_tensor(["a"], steps[1:], np.array([[5.0]]))
    write_events(
        tmp_path / "adam_debug",
        [
            event(1, step_tensors(earlier, 1)),
            event(4, [*step_tensors(later, 4), norms]),
            event(5, [again], wall_time=START + 9),
        ],
    )
    run = recorded_run(Store(provider_of(tmp_path)), EXPERIMENT, "adam_debug")
    assert [start for start, _ in run.layouts] == [1, 4]
    assert run.gradient_norms is not None
    found = dict(zip(run.gradient_norms.names, run.gradient_norms.norms.T.tolist(), strict=True))
    assert found["a"] == pytest.approx([1, 5])
    assert found["b"][0] == pytest.approx(2)


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "code"),
    [("", 400), ("?run=", 400), ("?run=a&x=1", 400), ("?run=spiked", 404), ("?run=a&run=b", 400)],
)
def test_bad_questions_get_a_sentence(logs: Path, query: str, code: int) -> None:
    answer = PluginClient(logs).open(f"findings{query}")
    assert answer.status_code == code
    assert answer.mimetype == "text/plain"
    assert "Traceback" not in answer.text
    assert len(answer.text) > 10


def test_damaged_records_are_left_out_and_named(tmp_path: Path) -> None:
    layout = make_layout()
    good = step_tensors(layout, 1)
    content = good[0].content
    wrong = schema.TaggedTensor(good[0].tag, np.zeros((1, 1), np.float32), content)
    tag = good[2].tag.replace("/steps/", "/gradient_norms/")
    odd = schema.TaggedTensor(tag, np.zeros((2, 2)), schema.Columns(("no", "step")).content())
    write_events(tmp_path / "adam_debug", [event(1, good), event(2, [wrong, odd])])
    client = PluginClient(tmp_path)
    assert isinstance(ask(client, "adam_debug")["findings"], list)
    (run,) = client.json("summary")["runs"]
    texts = [message["text"] for message in run["messages"]]
    assert any("left out" in text for text in texts)
    assert any("do not start with step" in text for text in texts)
