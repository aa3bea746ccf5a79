from __future__ import annotations

from typing import NamedTuple

import pytest
from event_files import STEPS, make_layout

from tb_adam_plugin import schema
from tb_adam_plugin.reading.joined_layouts import join_layouts
from tb_adam_plugin.reading.run import Scalar
from tb_adam_plugin.reading.run_listing import RunListing
from tb_adam_plugin.reading.run_parts import run_name
from tb_adam_plugin.schema import Layout, Quantity


class Listed(NamedTuple):
    plugin_content: bytes
    max_step: int = 5
    max_wall_time: float = 5.0


def tags_of(layout: Layout, wall_time: float = 5.0) -> dict[str, Listed]:
    return {
        f"adam_debug/statistics/{layout.id}": Listed(layout.content(), 5, wall_time),
        f"adam_debug/hyperparameters/{layout.id}": Listed(schema.HYPERPARAMETERS.content()),
        f"adam_debug/steps/{STEPS.id}": Listed(STEPS.content()),
    }


@pytest.mark.parametrize(
    ("run", "runs", "name"),
    [
        ("exp1/adam_debug", [], "exp1"),
        ("a/b/adam_debug", [], "a/b"),
        ("a\\b\\adam_debug", [], "a\\b"),
        ("adam_debug", [], "."),
        ("exp1", [], "exp1"),
        ("exp1/not_adam_debug", [], "exp1/not_adam_debug"),
        ("exp1/adam_debug", ["exp1"], "exp1/adam_debug"),
        ("exp1/adam_debug_2", [], "exp1 (2)"),
        ("exp1/adam_debug_2", ["exp1", "exp1/adam_debug"], "exp1 (2)"),
        ("a\\b\\adam_debug_12_rank3", [], "a\\b (12)"),
        ("adam_debug_2", [], ". (2)"),
        # A folder that has that name.
        ("exp1/adam_debug_2", ["exp1 (2)"], "exp1/adam_debug_2"),
        ("exp1/adam_debug_2", ["exp1 (2)/adam_debug"], "exp1/adam_debug_2"),
        ("exp1/adam_debug_1", [], "exp1/adam_debug_1"),
        ("exp1/adam_debug_02", [], "exp1/adam_debug_02"),
        ("exp1/adam_debug_2nd", [], "exp1/adam_debug_2nd"),
        ("exp1/adam_debug_2/adam_debug", [], "exp1/adam_debug_2"),
    ],
)
def test_a_run_is_shown_without_our_own_folder(run: str, runs: list[str], name: str) -> None:
    assert run_name(run, [run, *runs]) == name


def test_scalars_beside_a_run_are_found_without_our_mirrors() -> None:
    layout = make_layout()
    scalars = {
        "exp1": ["loss", "accuracy", "adam_debug/gradient_norm"],
        "exp1/adam_debug": ["adam_debug/lr"],
        "exp2": ["loss"],
    }
    (run,), messages = RunListing().describe({"exp1/adam_debug": tags_of(layout)}, scalars)
    assert run.scalars == (Scalar("exp1", "accuracy"), Scalar("exp1", "loss"))
    assert run.step_columns == STEPS.names
    assert messages == []


def test_callbacks_in_one_folder_are_runs_of_their_own() -> None:
    same, other = tags_of(make_layout()), tags_of(make_layout(["stage1.weight"]))
    tensors = {
        "exp/adam_debug": same,
        "exp/adam_debug_rank1": other,
        "exp/adam_debug_2": same,
        "exp/adam_debug_2_rank1": other,
        "exp/adam_debug_10": same,
        "exp (2)/adam_debug": other,
    }
    runs, messages = RunListing().describe(tensors, {"exp": ["loss"], "exp (2)": ["accuracy"]})
    assert messages == []
    assert {run.name: (run.number, run.parts, run.scalars) for run in runs} == {
        "exp": (1, ("exp/adam_debug", "exp/adam_debug_rank1"), (Scalar("exp", "loss"),)),
        "exp/adam_debug_2": (
            2,
            ("exp/adam_debug_2", "exp/adam_debug_2_rank1"),
            (Scalar("exp", "loss"),),
        ),
        "exp (10)": (10, ("exp/adam_debug_10",), (Scalar("exp", "loss"),)),
        "exp (2)": (1, ("exp (2)/adam_debug",), (Scalar("exp (2)", "accuracy"),)),
    }


def test_a_run_without_a_readable_layout_is_left_out() -> None:
    tags = {f"adam_debug/steps/{STEPS.id}": Listed(STEPS.content())}
    assert RunListing().describe({"young": tags}, {}) == ([], [])


def test_a_newer_format_is_a_polite_message() -> None:
    content = make_layout().content().replace(b'"version":%d' % schema.VERSION, b'"version":99')
    runs, messages = RunListing().describe(
        {"exp1": {"adam_debug/statistics/abc": Listed(content)}}, {}
    )
    assert runs == []
    assert [m.severity for m in messages] == ["error"]
    assert messages[0].text == (
        "Run exp1: adam_debug/statistics/abc cannot be shown: it was written by format version 99, "
        f"but this reader knows only versions up to {schema.VERSION}; update tb-adam-plugin."
    )


@pytest.mark.parametrize(
    ("tag", "content"),
    [
        ("adam_debug/statistics/x", b"{"),
        ("adam_debug/statistics/x", b'{"version":1}'),
        ("adam_debug/steps/x", b'{"columns":["loss"],"version":1}'),
        ("adam_debug/hyperparameters/x", b"\xff"),
    ],
)
def test_one_damaged_content_spoils_only_its_tag(tag: str, content: bytes) -> None:
    tags = tags_of(make_layout()) | {tag: Listed(content)}
    (run,), messages = RunListing().describe({"exp1": tags}, {})
    assert messages == []
    assert len(run.messages) == 1
    assert run.messages[0].text.startswith(f"{tag} cannot be shown: ")
    assert len(run.tags) == 3


def test_foreign_tags_are_ignored() -> None:
    tags = tags_of(make_layout()) | {"adam_debug/unknown/x": Listed(b""), "other": Listed(b"")}
    (run,), _ = RunListing().describe({"exp1": tags}, {})
    assert len(run.tags) == 3
    assert run.messages == ()


def test_layouts_join_by_name_and_the_newest_has_the_say() -> None:
    old = make_layout(["a", "b"], elements=4, statistics=["update_rms", "weight_rms"])
    new = make_layout(["c", "a"], elements=8, statistics=["weight_rms", "rms_t"])
    tags = tags_of(old, wall_time=1.0) | tags_of(new, wall_time=2.0)
    (run,), _ = RunListing().describe({"exp1": tags}, {})
    layout = run.layout
    assert layout.newest == new
    assert [(p.name, p.elements) for p in layout.parameters] == [("c", 8), ("a", 8), ("b", 4)]
    assert layout.statistics == ("weight_rms", "rms_t", "update_rms")
    assert layout.rows_of("a") == {new.id: 1, old.id: 0}
    assert layout.rows_of("b") == {old.id: 1}


def test_groups_are_the_same_by_place_and_optimizer() -> None:
    old = make_layout(["a"], optimizers=["Adam", "SGD"])
    new = make_layout(["a", "b"], optimizers=["Adam", "Adam"])
    joined = join_layouts({"new": new, "old": old})
    assert [g.optimizer for g in joined.groups] == ["Adam", "Adam", "SGD"]
    assert joined.group_rows == {"new": (0, 1), "old": (0, 2)}


def test_quantities_of_one_name_keep_the_newest_bins() -> None:
    old = make_layout(quantities=[Quantity("weight", True, -40), Quantity("update", True, -52)])
    new = make_layout(quantities=[Quantity("weight", True, -52)])
    joined = join_layouts({"new": new, "old": old})
    assert joined.quantities == (Quantity("weight", True, -52), Quantity("update", True, -52))
