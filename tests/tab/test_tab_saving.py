"""Exports of the tab: pictures, tables of numbers, links."""

from __future__ import annotations

import csv
from xml.etree import ElementTree

import numpy as np
import pytest
from tab_actions import SAVE_MENUS, download
from tab_page import Tab
from tab_runs import ATTENTION, EMBEDDING, logged_value, share_of
from tensorboard_process import TensorBoard

pytest_plugins = ["tab_fixtures"]


@pytest.mark.parametrize("menu", SAVE_MENUS)
def test_every_chart_can_be_saved_as_a_picture(tab: Tab, menu: str) -> None:
    png = download(tab, tab.locate(menu), "PNG").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert len(png) > 10_000
    text = download(tab, tab.locate(menu), "SVG").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    names = {element.tag.partition("}")[2] for element in root.iter()}
    assert {"title", "text", "rect", "svg"} <= names
    assert names & {"path", "image"}
    texts = [e.text or "" for e in root.iter() if e.tag.endswith("text")]
    words = " ".join(texts)
    # The legend of the heat map says it, and nothing else does.
    assert words.count("NaN") == texts.count("NaN") == int("heat map" in menu)
    assert "spiked" in words or "update / weight" in words


def test_lines_as_csv_are_the_logged_numbers(tab: Tab, tensorboard: TensorBoard) -> None:
    file = download(tab, tab.locate(SAVE_MENUS[1]), "CSV")
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["run"] == "spiked"]
    assert [int(row["step"]) for row in rows][-3:] == [190, 195, 200]
    name = "update_to_weight_ratio"
    value = logged_value(tensorboard, "spiked/adam_debug", EMBEDDING, name, 195)
    assert np.float32(rows[-2][name]) == np.float32(value)


def test_heat_map_as_csv_has_what_is_in_sight(tab: Tab, tensorboard: TensorBoard) -> None:
    with download(tab, tab.locate(SAVE_MENUS[0]), "CSV").open(newline="") as lines:
        rows = {row["parameter"]: row for row in csv.DictReader(lines)}
    assert len(rows) == 28
    value = logged_value(tensorboard, "spiked/adam_debug", ATTENTION, "update_to_weight_ratio", 150)
    assert np.float32(rows[ATTENTION]["150"]) == np.float32(value)


def test_histograms_as_csv_add_up_to_the_elements_read(tab: Tab) -> None:
    with download(tab, tab.locate(SAVE_MENUS[2]), "CSV").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["step"] == "200"]
    assert sum(int(row["count"]) for row in rows) == 256
    assert all(float(r["from"]) < float(r["to"]) for r in rows if r["from"] != r["to"])


def test_link_to_the_view_can_be_copied(tab: Tab) -> None:
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.click_cell(ATTENTION, share_of(100))
    tab.shows(".step-panel h3", "At step 100")
    tab.locate('button[aria-label="Copy link to this view"]').click()
    tab.shows(".bar .copied", "Copied")
    copied = tab.page.evaluate("navigator.clipboard.readText()")
    assert copied == tab.page.url
    assert f"p.adam_debug.tensor={ATTENTION}" in copied
