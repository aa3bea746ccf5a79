"""How the tab opens: data is requested while the code that draws it is still loading."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Browser, Route
from tab_page import Tab
from tensorboard_process import TensorBoard

pytest_plugins = ["tab_fixtures"]

TAB = Path(__file__).parents[2] / "frontend_static"


def text_of(script: Path) -> str:
    """A script without its comments, which name types of other files."""
    return re.sub(r"/\*.*?\*/", "", script.read_text(encoding="utf-8"), flags=re.DOTALL)


def loaded_with(script: Path) -> set[str]:
    """A script and all that it imports, directly or not, before it runs."""
    found: set[Path] = set()
    following = [script]
    while following:
        path = following.pop()
        if path not in found:
            found.add(path)
            names = re.findall(r"""\bfrom\s+['"](.+?)['"]""", text_of(path))
            following += [(path.parent / name).resolve() for name in names]
    return {path.relative_to(TAB).as_posix() for path in found}


def test_what_asks_for_data_needs_nothing_that_draws_them() -> None:
    """Files that draw have a low priority: what needs them would wait for all of them."""
    listed = re.search(r"const DRAWS = /(.+?)/;", text_of(TAB / "index.js"))
    assert listed
    draws = re.compile(listed[1].replace(r"\/", "/"))
    asking = loaded_with(TAB / "start.js")
    assert {"start.js", "data/api.js", "state/questions.js"} <= asking
    assert [name for name in sorted(asking) if draws.match(name)] == []
    drawing = loaded_with(TAB / "view" / "app.js") - asking
    assert [name for name in sorted(drawing) if not draws.match(name)] == ["state/axis.js"]


def test_the_picture_is_asked_for_once_and_before_the_view_is_here(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    with browser.new_context(viewport={"width": 1600, "height": 1000}) as context:
        page = context.new_page()
        tab = Tab(page)
        held: list[Route] = []
        page.route("**/view/app.js", lambda route: held.append(route))
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        with page.expect_request(lambda request: "/overview?" in request.url, timeout=60_000):
            page.goto(f"{tensorboard.url}#adam_debug&p.adam_debug.metric=gradient_rms")
        assert len(held) == 1
        held[0].continue_()
        tab.locate(".heat-rows canvas").wait_for(timeout=30_000)
        tab.shows(".overview h2", "Gradient")
        pictures = [url for url in asked if "/overview?" in url]
        assert len(pictures) == 1, pictures
        assert "statistic=gradient_rms" in pictures[0]
        assert tab.problems == []


def test_the_preload_hints_name_the_files_that_are_then_used(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    """A file that is asked for twice, or for nothing, costs more than it saves."""
    with browser.new_context(viewport={"width": 1600, "height": 1000}) as context:
        page = context.new_page()
        tab = Tab(page)
        page.goto(f"{tensorboard.url}#adam_debug")
        tab.locate(".lines-plot canvas").first.wait_for(timeout=60_000)
        page.wait_for_load_state("networkidle")
        scripts = [r.url for r in tab.responses if r.url.endswith(".js")]
        assert len(scripts) == len(set(scripts))
        hints = tab.locate("html").evaluate(
            "html => [...html.querySelectorAll('link[rel=modulepreload]')].map(link => link.href)"
        )
        assert len(hints) > 40
        assert {*hints} <= {*scripts}
        assert tab.problems == []
