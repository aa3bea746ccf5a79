"""The tab in a headless browser, inside a real TensorBoard, watched for any failure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from playwright.sync_api import (
    Browser,
    BrowserContext,
    FrameLocator,
    Locator,
    Page,
    Playwright,
    Response,
    expect,
)

expect.set_options(timeout=20_000)  # on a busy machine a frame takes seconds

_SYSTEM_CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_PREPARE = """
localStorage.clear();
addEventListener('securitypolicyviolation', (event) =>
  console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI}`));
"""
_READ_PIXELS = """
(canvas, points) => {
  const ratio = canvas.width / canvas.clientWidth;
  const {data, width} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return points.map(([x, y]) => {
    const at = 4 * (Math.floor(y * ratio) * width + Math.floor(x * ratio));
    return [...data.slice(at, at + 3)];
  });
}
"""


class Pixel(NamedTuple):
    """A colour, 0 to 255 a channel."""

    red: int
    green: int
    blue: int

    @property
    def is_grey(self) -> bool:
        """Whether the channels are nearly equal."""
        return max(self) - min(self) < 14


def launch(playwright: Playwright) -> Browser:
    """Start the system's Chromium, or else the one that playwright has installed."""
    path = str(_SYSTEM_CHROMIUM) if _SYSTEM_CHROMIUM.exists() else None
    return playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)


class Tab:
    """An open tab.

    Attributes:
        page: TensorBoard's page.
        frame: The plugin's frame in it.
        responses: Every answer to the plugin's frame.
        problems: Errors of pages and console, violations, failed requests.
    """

    def __init__(self, page: Page) -> None:
        """Watch a page before anything is loaded."""
        self.page = page
        self.frame: FrameLocator = page.frame_locator("iframe")
        self.responses: list[Response] = []
        self.problems: list[str] = []
        page.add_init_script(_PREPARE)
        page.on("pageerror", lambda error: self.problems.append(f"page: {error}"))
        page.on("console", self._on_console)
        page.on("response", self._on_response)
        page.on("requestfailed", self._on_failure)

    def locate(self, selector: str, **options: str | re.Pattern[str]) -> Locator:
        """Find elements within the tab."""
        return self.frame.locator(selector, **options)  # type: ignore[arg-type]

    def pixel(self, canvas: Locator, x: float, y: float) -> Pixel:
        """Read the colour of a canvas at CSS pixels."""
        return self.pixels(canvas, [(x, y)])[0]

    def pixels(self, canvas: Locator, points: Iterable[tuple[float, float]]) -> list[Pixel]:
        """Read many colours of a canvas at once, at CSS pixels."""
        return [Pixel(*colour) for colour in canvas.evaluate(_READ_PIXELS, [*map(list, points)])]

    def cell(self, row: str, share: float, dy: float = 0) -> Pixel:
        """Read the colour of the heat map in a tensor's row, at a share of its width."""
        return self.cells(row, share, [0], dy)[0]

    def cells(self, row: str, share: float, dx: Iterable[float], dy: float = 0) -> list[Pixel]:
        """Read colours of the heat map in a tensor's row, at pixel offsets from a share."""
        canvas = self.locate(".heat-rows canvas")
        box, tree_row = canvas.bounding_box(), self.row(row).bounding_box()
        assert box is not None
        assert tree_row is not None
        y = tree_row["y"] + tree_row["height"] / 2 - box["y"]
        x = share * (box["width"] - 1)
        return self.pixels(canvas, [(x + right, y + dy) for right in dx])

    def click_cell(self, row: str, share: float) -> None:
        """Click into the heat map in a tensor's row, at a share of its width."""
        heat, tree_row = self.locate(".heat").bounding_box(), self.row(row).bounding_box()
        assert heat is not None
        assert tree_row is not None
        y = tree_row["y"] + tree_row["height"] / 2
        self.page.mouse.click(heat["x"] + share * heat["width"], y)

    def row(self, name: str) -> Locator:
        """The row of the tree with a full name."""
        return self.locate(f'.tree-row[title="{name}"]')

    def number(self, statistic: str, column: int = 0) -> str:
        """A number in the table at the step."""
        cells = self.locate(f'tr[data-statistic="{statistic}"] td')
        return cells.nth(column).inner_text()

    def shows(self, selector: str, text: str | re.Pattern[str], *, seconds: float = 15) -> None:
        """Wait until the first element with a selector contains a text."""
        expect(self.locate(selector).first).to_contain_text(text, timeout=seconds * 1000)

    def _on_console(self, message: object) -> None:
        if getattr(message, "type", "") == "error":
            self.problems.append(f"console: {getattr(message, 'text', '')}")

    def _on_response(self, response: Response) -> None:
        if "adam_debug" in response.url:
            self.responses.append(response)
            if response.status >= 400:
                self.problems.append(f"{response.status}: {response.url}")

    def _on_failure(self, request: object) -> None:
        # The tab cancels requests whose answers are no longer needed.
        failure = str(getattr(request, "failure", ""))
        if "adam_debug" in getattr(request, "url", "") and "ERR_ABORTED" not in failure:
            self.problems.append(f"{failure}: {getattr(request, 'url', '')}")


@contextmanager
def open_tab(
    browser: Browser,
    url: str,
    link: Mapping[str, str] | None = None,
    *,
    size: tuple[int, int] = (1600, 1000),
    wait_for: str = ".heat-rows canvas",
    shared: bool = True,
    context: BrowserContext | None = None,
) -> Iterator[Tab]:
    """Open the tab, wait until it shows something, and check at the end that nothing went wrong.

    Args:
        browser: The browser.
        url: TensorBoard's address.
        link: State to restore from the address, such as ``{"run": "a/adam_debug"}``.
        size: Size of the window, in pixels.
        wait_for: Selector of an element to wait for.
        shared: Whether to share the cache with other tabs, which saves reloading TensorBoard.
        context: Context to open the tab in, for another language or permissions; it stays open.
    """
    is_ours = context is None and not shared
    if context is None:
        context = browser.contexts[0] if shared and browser.contexts else browser.new_context()
    page = context.new_page()
    try:
        page.set_viewport_size({"width": size[0], "height": size[1]})
        tab = Tab(page)
        keys = [
            f"&p.adam_debug.{key}={quote(value, safe='')}" for key, value in (link or {}).items()
        ]
        tab.page.goto(f"{url}#adam_debug{''.join(keys)}")
        tab.locate(wait_for).first.wait_for(timeout=30_000)
        yield tab
        assert tab.problems == []
    finally:
        page.close()
        if is_ours:
            context.close()
