"""What a page of another origin can do to a TensorBoard on localhost: as much as without us."""

from __future__ import annotations

import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from event_files import make_layout, write_run
from playwright.sync_api import Browser
from tensorboard_process import TensorBoard, running_tensorboard

pytest_plugins = ["tab_fixtures"]

RUN = quote("run/adam_debug", safe="")
WEIGHT = quote(make_layout().parameters[0].name, safe="")
ROUTES = {
    "summary": "",
    "revision": "",
    "overview": f"run={RUN}",
    "series": f"run={RUN}&parameter={WEIGHT}",
    "steps": f"run={RUN}",
    "gradient_norms": f"run={RUN}&parameter={WEIGHT}",
    "scalar": "run=run&tag=loss",
    "hyperparameters": f"run={RUN}",
    "histograms": f"run={RUN}&parameter={WEIGHT}&quantity=update",
    "findings": f"run={RUN}",
    "states": "",
    "compare": f"runs={RUN}",
    "explain": "",
}
# A script of this type from another origin is run: what it says must be no data of a run.
SCRIPTS = ("text/javascript", "application/javascript")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorBoard]:
    folder = tmp_path_factory.mktemp("logs")
    write_run(folder / "run" / "adam_debug", range(1, 21), make_layout(), histograms=True)
    with running_tensorboard(folder) as process:
        yield process


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>another origin</title>")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    server.server_close()


def ask(
    board: TensorBoard, route: str, method: str = "GET", origin: str = ""
) -> tuple[int, Mapping[str, str]]:
    """Status and headers of an answer."""
    url = f"{board.url}data/plugin/adam_debug/{route}?{ROUTES[route]}"
    request = urllib.request.Request(url, headers={"Origin": origin}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, dict(answer.headers.items())
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers.items())


def test_every_route_is_asked() -> None:
    source = Path(__file__).parents[2] / "tb_adam_plugin" / "serving" / "plugin.py"
    served = re.findall(r'"/(\w+)": self\._', source.read_text(encoding="utf-8"))
    assert sorted(ROUTES) == sorted(served)


@pytest.mark.parametrize("route", ROUTES)
def test_no_answer_may_be_read_by_another_origin(board: TensorBoard, route: str) -> None:
    _, headers = ask(board, route, origin="http://other.example")
    assert [name for name in headers if name.lower().startswith("access-control")] == []
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Type"].split(";")[0] not in SCRIPTS


def test_a_page_of_another_origin_reads_as_little_as_of_tensorboard_itself(
    browser: Browser, board: TensorBoard, elsewhere: str
) -> None:
    ours = [f"data/plugin/adam_debug/{route}?{ROUTES[route]}" for route in ROUTES]
    theirs = ["data/environment", "data/runs", "data/plugins_listing"]
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(elsewhere)
        read = page.evaluate(
            """async ([url, paths]) => {
                const read = [];
                for (const path of paths) {
                    try {
                        await (await fetch(url + path)).text();
                        read.push(path);
                    } catch {
                        // This is what should happen.
                    }
                }
                return read;
            }""",
            [board.url, [*ours, *theirs]],
        )
        assert read == []
        run = page.evaluate(
            """async ([url, paths]) => {
                const run = [];
                for (const path of paths) {
                    const script = document.createElement('script');
                    script.src = url + path;
                    const ended = new Promise((resolve) => {
                        script.onload = () => resolve(true);
                        script.onerror = () => resolve(false);
                    });
                    document.head.append(script);
                    if (await ended) run.push(path);
                }
                return run;
            }""",
            [board.url, ours],
        )
        assert run == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("route", ROUTES)
def test_nothing_but_reading_is_allowed(board: TensorBoard, route: str, method: str) -> None:
    status, headers = ask(board, route, method)
    assert status == 405
    assert "access-control-allow-methods" not in {name.lower() for name in headers}
