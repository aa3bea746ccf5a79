"""Names that look like paths, markup, escape sequences or formulas are shown as text."""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from event_files import event, make_layout, scalar_event, step_tensors, write_events
from in_process import PluginClient
from playwright.sync_api import Browser
from tab_page import open_tab
from tensorboard_process import running_tensorboard, wait_until

from tb_adam_plugin.untrusted_text import cell_text, printable

MARKUP = (
    "<img src=x onerror=document.title='taken'>",
    "\"><script>document.title='taken'</script>",
    "' onmouseover='document.title=1' x='",
    "javascript:document.title='taken'",
    "${document.title='taken'}",
    "a&lt;b&amp;c",
)
FORMULAS = ('=HYPERLINK("http://x")', "+1+1", "-2+3", "@SUM(A1)")
CONTROL = (
    "\x1b[31mred\x1b[0m",
    "bell\x07back\x08\x08",
    "line\nbreak\r",
    "\x9b31m",
    "\u202egnp.exe",
)
PATHS = ("../../etc/passwd", "..\\..\\windows", "/etc/passwd", "a/../../b", "%2e%2e%2f")
OTHERS = ("\ud800half", "__proto__", "constructor", "", " ", "x" * 300)
pytest_plugins = ["tab_fixtures"]

NAMES = MARKUP + FORMULAS + CONTROL + PATHS + OTHERS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a hostile name whose parameters have all the hostile names, with a finding."""
    written = tmp_path_factory.mktemp("logs")
    layout = make_layout(NAMES, statistics=("update_to_weight_ratio", "nonfinite_count"))
    run = written / f"{FORMULAS[1]}{MARKUP[0]}{CONTROL[0]}"
    events = []
    for t in range(1, 31):
        tensors = step_tensors(layout, t)
        tensors[0].tensor[:, 1] = 1.0  # each parameter has a value that is not finite
        events.append(event(t, tensors))
    write_events(run, events)
    write_events(run, [scalar_event(t, {MARKUP[1]: 1.0}) for t in (1, 2)])
    return written


@pytest.fixture(scope="module")
def run(folder: Path) -> str:
    (path,) = folder.iterdir()
    return path.name


# --- HTTP ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(folder: Path) -> PluginClient:
    return PluginClient(folder, files=True)


@pytest.mark.parametrize("name", [*PATHS, "..%2f..%2fsetup.py", "%2e%2e/setup.py", "..%5csetup.py"])
@pytest.mark.parametrize("route", ["static/{}", "static/x/{}", "static/x/../{}", "overview?run={}"])
def test_no_path_leads_out_of_the_served_files(client: PluginClient, route: str, name: str) -> None:
    for text in (name, quote(name, safe=""), quote(quote(name, safe=""), safe="")):
        answer = client.open(route.format(text))
        assert answer.status_code == 404, answer.data[:200]
        assert answer.mimetype in ("text/plain", "text/html")
        assert b"root:" not in answer.data


def test_the_served_files_are_those_of_the_tab(client: PluginClient) -> None:
    served = {path for path in client.plugin._assets._state()[1]}
    assert served
    for path in served:
        assert re.fullmatch(r"[a-z_]+(/[a-z_0-9]+)*(\.[a-z]+)+", path), path


# An empty value counts as a missing one, and half a character cannot be asked for.
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("", OTHERS[0])])
def test_every_name_can_be_asked_for_and_none_is_markup(
    client: PluginClient, run: str, name: str
) -> None:
    answer = client.get("series", run=run, parameter=name)
    assert answer.status_code == 200, answer.text
    wrong = client.get("series", run=run, parameter=f"{name}?")
    assert wrong.status_code == 404
    assert wrong.mimetype == "text/plain"
    assert wrong.headers["X-Content-Type-Options"] == "nosniff"
    assert "\x1b" not in str(wrong.headers)


def test_the_log_of_the_server_has_no_escape_sequence(
    client: PluginClient,
    run: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("gone \x1b[2J")

    fresh = PluginClient(Path("unused"), client.provider)
    monkeypatch.setattr(client.provider, "read_tensors", fail)
    with caplog.at_level(logging.WARNING):
        assert fresh.get("overview", run=run).status_code == 503
    assert "gone" in caplog.text
    assert "\x1b" not in caplog.text


# --- terminal and files -------------------------------------------------------------------------


def adam_debug(
    *arguments: str | Path, encoding: str = "utf-8"
) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    return subprocess.run(
        [sys.executable, "-m", "tb_adam_plugin.cli", *map(str, arguments)],
        capture_output=True,
        env=environment,
    )


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_name_reaches_the_terminal_as_a_command(folder: Path, run: str, encoding: str) -> None:
    done = adam_debug("diagnose", folder, encoding=encoding)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding)
    assert shown.replace("\n", "").isprintable()
    assert printable(run) in shown
    assert "\\x1b[31mred" in shown
    assert "nan" in shown.lower()  # the finding that names the parameters


def test_json_for_a_terminal_is_ascii(folder: Path, run: str) -> None:
    done = adam_debug("diagnose", folder, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.replace(b"\n", b"").decode("ascii").isprintable()
    assert json.loads(done.stdout)["runs"][0]["run"] == run


def test_a_run_that_cannot_be_read_is_named_without_escape_sequences(tmp_path: Path) -> None:
    layout = make_layout()
    tensors = step_tensors(layout, 1)
    damaged = tensors[0].__class__(tensors[0].tag, tensors[0].tensor, b"\x1b no JSON")
    write_events(tmp_path / CONTROL[0], [event(1, [damaged])])
    done = adam_debug("diagnose", tmp_path)
    assert done.returncode == 2
    assert b"\\x1b[31mred" in done.stderr
    assert b"\x1b" not in done.stderr


def test_no_cell_of_an_exported_table_is_a_formula(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    done = adam_debug("export", folder, "--csv", out)
    assert done.returncode == 0, done.stderr
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1 + 30 * len(NAMES)
    for row in rows:
        assert not [cell for cell in row[:3] if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert {row[2] for row in rows[1:]} == {
        cell_text(name).encode("utf-8", "backslashreplace").decode() for name in NAMES
    }


def test_exported_arrays_lie_in_no_other_folder(folder: Path, run: str, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    done = adam_debug("export", folder, "--npz", out)
    assert done.returncode == 0, done.stderr
    with np.load(out) as arrays:
        assert set(arrays) == {
            f"{printable(run)}/{name}"
            for name in ("step", "parameters", "update_to_weight_ratio", "nonfinite_count")
        }


# --- the tab ------------------------------------------------------------------------------------


def test_the_tab_shows_names_as_text(folder: Path, run: str, browser: Browser) -> None:
    with running_tensorboard(folder) as tensorboard:
        wait_until(lambda: b'"last_step":30' in tensorboard.ask("summary").body, "the run")
        link = {"run": run, "tensor": MARKUP[0], "pins": quote(MARKUP[1], safe="")}
        # Violations of the page's policy, as by an inline script, are problems of the tab.
        with open_tab(browser, tensorboard.url, link) as tab:
            tab.locate(".tensor-filter input").wait_for()
            rows = tab.locate(".tree-row")
            assert rows.count() > 5
            titles = [rows.nth(i).get_attribute("title") for i in range(rows.count())]
            assert MARKUP[0] in titles
            tab.shows(".crumb", MARKUP[0][:12])
            finding = tab.locate(".finding").first
            finding.click()
            for selector in ("img", "script:not([src]):not([type])", "[onerror]", "[onmouseover]"):
                assert tab.locate(f"body {selector}").count() == 0, selector
            frame = tab.page.frames[-1]
            assert "taken" not in (tab.page.title(), frame.title())
