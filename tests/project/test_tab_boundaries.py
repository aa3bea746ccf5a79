"""Which script of the tab may import which, as drawn in ``docs/architecture.md``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from repository import OWN_SCRIPTS, SCRIPTS, STYLES, TAB, named

# The folders of the tab from the top floor down: none imports one above it. "" is the folder
# itself, whose modules wire the others.
TAB_FLOORS = ("", "view", "save", "chart", "state", "data", "host", "vendor")


def code_of(path: Path) -> str:
    """The text of a script or style sheet without its comments, which hold types and prose."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    # The // of a URL stands behind a colon or a quote.
    return re.sub(r"(^|\s)//.*$", r"\1", text, flags=re.MULTILINE)


each_script = pytest.mark.parametrize("path", OWN_SCRIPTS, ids=named)

_IMPORT = re.compile(
    r"""^\s*(?:import\b(?:[^'"();]*?\bfrom)?|export\s*(?:\*|\{[^}]*\})\s*from)\s*['"](.+?)['"]""",
    re.MULTILINE,
)


def imports_of(path: Path) -> list[str]:
    """What a script imports or re-exports from, as it is written there."""
    return _IMPORT.findall(code_of(path))


@each_script
def test_imports_lead_to_files_of_the_tab(path: Path) -> None:
    for name in imports_of(path):
        assert name.startswith(("./", "../")), name
        assert (path.parent / name).resolve() in SCRIPTS, name


def used_by(path: Path) -> list[Path]:
    """What a script loads of the tab, at once or later."""
    names = [*imports_of(path), *re.findall(r"\bimport\s*\(\s*'(.+?)'", code_of(path))]
    return [(path.parent / name).resolve() for name in names]


def known_to(path: Path) -> list[Path]:
    """What a script loads of the tab, or names the types of, which stand in comments."""
    types = re.findall(r"\bimport\('(.+?\.js)'\)", path.read_text(encoding="utf-8"))
    return [*used_by(path), *((path.parent / name).resolve() for name in types)]


@each_script
def test_no_folder_of_the_tab_imports_one_above_it(path: Path) -> None:
    def floor(script: Path) -> int:
        return TAB_FLOORS.index(named(script).rpartition("/")[0].partition("/")[0])

    for other in known_to(path):
        assert floor(other) >= floor(path), named(other)


def test_scripts_do_not_import_each_other_in_a_circle() -> None:
    ways = {path: known_to(path) for path in SCRIPTS}
    assert sum(map(len, ways.values())) > len(SCRIPTS)  # they were found
    rest = set(SCRIPTS)
    while free := {path for path in rest if not rest.intersection(ways[path])}:
        rest -= free
    assert sorted(map(named, rest)) == []  # each of them leads to a circle


def test_every_folder_of_the_tab_has_a_floor() -> None:
    folders = {path.parent for path in OWN_SCRIPTS}
    assert {named(folder).partition("/")[0] for folder in folders} - {"."} == (
        {*TAB_FLOORS} - {"", "vendor"}
    )


def test_a_first_visit_asks_for_every_script_that_it_needs_and_no_other() -> None:
    """The heat map and the card below it; what comes later is not in the way of them."""
    listed = re.search(r"const FIRST = \[(.*?)\];", code_of(TAB / "index.js"), re.DOTALL)
    assert listed
    names = re.findall(r"'(.+?)'", listed[1])
    needed: set[Path] = set()
    entries = ("start.js", "view/app.js", "view/parameter/parameter_card.js")
    following = [TAB / name for name in entries]
    while following:
        path = following.pop()
        if path not in needed:
            needed.add(path)
            following += [(path.parent / name).resolve() for name in imports_of(path)]
    assert sorted(names) == sorted(map(named, needed))


@each_script
def test_only_one_view_knows_preact(path: Path) -> None:
    vendored = {name for name in imports_of(path) if "vendor/" in name}
    assert vendored == ({"../vendor/preact.js"} if named(path) == "view/ui.js" else set())


@each_script
def test_what_is_loaded_late_is_a_file_of_the_tab(path: Path) -> None:
    for name in re.findall(r"\bimport\s*\(([^)]*)\)", code_of(path)):
        assert re.fullmatch(r"'(?:\./|(?:\.\./)+)[\w/]+\.js'", name), name
        assert (path.parent / name.strip("'")).resolve() in SCRIPTS, name


# Everything by which a page sends a request, `fetch` passed on as a value included.
REQUESTS = re.compile(
    r"(?<![.\w])(?:fetch|XMLHttpRequest|EventSource|WebSocket|importScripts|Worker)\b"
    r"|\.fetch\b|\bsendBeacon\b"
)

# The entry asks for the first answer while the rest of the tab is still on its way; a catalogue of
# texts is asked for where another language is chosen, and a thread's script where a filter is slow.
ASKING = ("data/api.js", "host/language.js", "index.js", "start.js")


@pytest.mark.parametrize("path", SCRIPTS, ids=named)
def test_only_data_the_entry_and_languages_send_requests(path: Path) -> None:
    if named(path) in ASKING:
        assert set(REQUESTS.findall(code_of(path))) == {"fetch"}
    elif named(path) == "view/hooks/filter.js":
        assert REQUESTS.findall(code_of(path)) == ["Worker"]
        assert "new Worker(new URL('../filter_worker.js', import.meta.url)" in code_of(path)
    else:
        assert REQUESTS.findall(code_of(path)) == []


@pytest.mark.parametrize("path", [*SCRIPTS, *STYLES], ids=named)
def test_nothing_is_asked_of_another_server(path: Path) -> None:
    text = code_of(path).replace("http://www.w3.org/", "")  # names of XML, which no one fetches
    assert re.findall(r"\b\w+://\S*", text) == []
    assert re.findall(r"""['"`(]\s*//\S*""", text) == []
    assert re.findall(r"@import\b", text) == []
