"""The tab in Chinese: only names are left in English, and the language is a choice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext, expect
from tab_actions import BOTH, open_settings, save_picture
from tab_page import Tab
from tensorboard_process import TensorBoard

pytest_plugins = ["tab_fixtures"]

# What Chinese practitioners say in English, units, file formats and names of this project.
TERMS = re.compile(
    r"(steps?|run|tensor|update|weight|decay|lr|loss|batch|warmup|embedding|bias|gain|ratio|nan|inf|rms"
    r"|adamw?|tensorboard|debug|exp_avg(_sq)?|gradient|parameter|png|svg|csv|esc|shift|alt"
    r"|english|eps|sweep|size|callback|markdown|min|max|float|pp|true|false|amsgrad|maximize|histograms_every_n_steps)",
    re.IGNORECASE,
)
CHINESE = re.compile(r"[\u4e00-\u9fff]")
# Paths of parameters, and options of the optimizer.
NAMES = re.compile(r"[A-Za-z_]\w*(?:\s*[./=]\s*\w+)+|\bfrozen\.weight\b|\d[\d.,]*e-?\d+|±\d?½?σ")

# All that is said in an element, or of it; of what few see at first, as in a closed list, too.
TEXTS = """root => {
  const texts = [];
  const names = ['aria-label', 'title', 'placeholder', 'aria-valuetext'];
  for (const element of [root, ...root.querySelectorAll('*')]) {
    if (element.closest('code, kbd, bdi, .crumb, .tree-row, .markdown')) continue;
    for (const name of names) texts.push(element.getAttribute(name) ?? '');
    for (const node of element.childNodes) if (node.nodeType === 3) texts.push(node.data);
  }
  return texts;
}"""
# What canvases show cannot be read from the page.
LISTEN = """
const fillText = CanvasRenderingContext2D.prototype.fillText;
globalThis.drawn = new Set();
CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
  globalThis.drawn.add(String(text));
  return fillText.call(this, text, ...place);
};
"""


@contextmanager
def opened(context: BrowserContext, url: str, link: dict[str, str]) -> Iterator[Tab]:
    page = context.new_page()
    page.set_viewport_size({"width": 1600, "height": 1000})
    page.add_init_script(LISTEN)
    tab = Tab(page)
    keys = [f"&p.adam_debug.{key}={quote(value, safe='')}" for key, value in link.items()]
    page.goto(f"{url}#adam_debug{''.join(keys)}")
    tab.locate(".panel canvas").first.wait_for(timeout=30_000)
    yield tab
    assert tab.problems == []
    page.close()


def texts_of_server(tensorboard: TensorBoard) -> list[str]:
    """What the server says: it is translated there, and tested with it."""

    def strings(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for one in [*value.keys(), *value.values()]:
                yield from strings(one)
        elif isinstance(value, list):
            for one in value:
                yield from strings(one)

    both = "run=plain%2Fadam_debug&run=spiked%2Fadam_debug"
    asked = (
        "summary?lang=zh", "findings?run=spiked%2Fadam_debug&lang=zh", f"compare?{both}&lang=zh"
    )  # fmt: skip
    found = {text for name in asked for text in strings(json.loads(tensorboard.ask(name).text))}
    # Short ones, as a name of a kind, would hide too much.
    return sorted((text for text in found if len(text) > 3), key=len, reverse=True)


def english_in(texts: list[str], server: list[str]) -> list[str]:
    """The texts in which words remain that are neither a term, nor a name, nor the server's."""
    found = []
    for text in texts:
        rest = text.strip()
        for said in server:
            whole = rf"(?<!\w){re.escape(said)}(?!\w)"
            rest = re.sub(whole, " ", rest, flags=re.IGNORECASE)
        words = re.findall(r"[A-Za-z_]{2,}", NAMES.sub(" ", rest))
        if not all(map(TERMS.fullmatch, words)):
            found.append(text.strip())
    return found


def test_words_that_are_left_are_found() -> None:
    texts = [
        "筛选张量（正则）",
        "step 200",
        "transformer / wte",
        "Show all",
        "28 tensors",
        "lr 2e-4",
    ]
    assert english_in([*texts, "gradient norm of it"], ["gradient norm"]) == [
        "Show all",
        "28 tensors",
        "gradient norm of it",
    ]


def test_nothing_in_english_is_left_in_the_chinese_tab(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    server = texts_of_server(tensorboard)
    areas = (".tab", ".side")
    with (
        browser.new_context(locale="zh-CN") as context,
        opened(context, tensorboard.url, {**BOTH, "ref": "plain/adam_debug"}) as tab,
    ):

        def check(*selectors: str) -> None:
            for selector in selectors:
                texts = tab.locate(selector).first.evaluate(TEXTS)
                assert any(CHINESE.search(text) for text in texts), selector
                assert english_in(texts, server) == [], selector

        expect(tab.locate("html")).to_have_attribute("lang", "zh-CN")
        check(*areas)
        tab.page.mouse.move(900, 300)
        tab.locate(".tip").first.wait_for()
        check(".tip")
        box = tab.locate(".lines-plot").bounding_box()
        assert box is not None
        tab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
        check(".lines-tip")
        tab.page.mouse.move(5, 5)
        tab.locate(".compass-head > button").click()
        check(".compass-body")
        tab.locate(".compass-head > button").click()
        pane = open_settings(tab)
        check(".settings")
        save_picture(tab, "zh-settings")
        pane.locator(".pair input").first.fill("x")
        pane.locator(".pair input").first.press("Enter")
        pane.locator('[role="alert"]').first.wait_for()
        check(".settings")
        tab.locate(".settings-button").click()
        for kind in ("single", "bands", "density", "ridgeline", "table"):
            at = ["ridgeline", "density", "bands", "single", "table"].index(kind)
            tab.locate(".kinds").first.locator("button").nth(at).click()
        tab.locate(".picture-table").wait_for()
        tab.locate(".lines .menu-button").click()
        check(".detail")
        tab.page.keyboard.press("Escape")
        for button in (".what", ":not(.what)"):
            tab.locate(f".detail .menu .icon-button{button}").first.click()
            check(".detail")
            tab.page.keyboard.press("Escape")
        tab.locate('button[aria-label="以表格显示热力图"]').click()
        tab.locate(".overview .picture-table").wait_for()
        check(".overview")
        tab.locate(".main .toggle").click()
        tab.shows(".overview .sub", "÷ plain")
        check(".overview")
        tab.page.keyboard.press("+")
        tab.locate(".overview .card-head button.link").wait_for()
        check(".overview")
        tab.locate(".optimizer button.link").first.click()
        tab.locate(".optimizer-card").wait_for()
        check(".optimizer-card")
        tab.locate(".compare-runs").click()
        tab.locate(".compare table").wait_for()
        tab.locate(".compare .what").click()
        tab.locate(".what-is-text").wait_for()
        check(".compare")
        save_picture(tab, "zh-compare")
        tab.page.keyboard.press("Escape")
        tab.locate(".compare-runs").click()
        tab.page.keyboard.press("?")
        tab.locate(".dialog").wait_for()
        check(".dialog")
        save_picture(tab, "zh-help")
        tab.page.keyboard.press("Escape")
        tab.locate(".tensor-filter input").fill("no such tensor")
        check(".main")
        drawn = tab.locate("html").evaluate("() => [...globalThis.drawn]")
        assert any(CHINESE.search(text) for text in drawn)
        assert english_in(drawn, server) == []


def test_the_language_is_a_setting_that_applies_at_once_and_is_kept(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    with (
        browser.new_context(locale="en-US") as context,
        opened(context, tensorboard.url, BOTH) as tab,
    ):
        asked = [response.url for response in tab.responses]
        assert [url for url in asked if "lang=zh" in url or "languages/" in url] == []
        expect(tab.locate("html")).to_have_attribute("lang", "en")
        tab.locate('button[aria-label="Pin this tensor below"]').click()
        pane = open_settings(tab)
        language = pane.locator("#language")
        assert language.locator("option").all_inner_texts() == ["Automatic", "English", "中文"]
        with tab.page.expect_response(lambda response: "summary?lang=zh" in response.url):
            language.select_option("zh")
        expect(tab.locate(".settings h4").first).to_have_text("常规")
        expect(tab.locate("#language")).to_be_focused()
        expect(tab.locate("html")).to_have_attribute("lang", "zh-CN")
        # What was open is open, and drawn anew.
        expect(tab.locate('button[aria-label="取消固定该 tensor"]')).to_have_count(1)
        expect(tab.locate("#app > .tab")).to_have_count(1)
        expect(tab.locate(".heat-rows canvas")).to_have_attribute("aria-label", CHINESE)
        tab.page.keyboard.press("?")  # the keyboard goes to the new tab alone
        expect(tab.locate(".dialog")).to_have_count(0)  # a field has the focus
        tab.locate("h2").first.click()
        tab.page.keyboard.press("?")
        expect(tab.locate(".dialog h2")).to_have_text("帮助")
        tab.page.keyboard.press("Escape")

        # A tab of its own forgets what was chosen before; this page does not.
        later = context.new_page()
        later.goto(f"{tensorboard.url}#adam_debug")
        frame = later.frame_locator("iframe")
        frame.locator(".settings-button", has_text="设置").click(timeout=30_000)
        expect(frame.locator("#language")).to_have_value("zh")
        frame.locator("button", has_text="恢复默认设置").click()
        expect(frame.locator(".settings h4").first).to_have_text("General")
        expect(frame.locator("#language")).to_have_value("")
        expect(frame.locator("html")).to_have_attribute("lang", "en")


@pytest.mark.parametrize("size", [(800, 500), (1280, 800), (1600, 1000)])
def test_nothing_overflows_in_chinese(
    browser: Browser, tensorboard: TensorBoard, size: tuple[int, int]
) -> None:
    with (
        browser.new_context(locale="zh-CN") as context,
        opened(context, tensorboard.url, {**BOTH, "ref": "plain/adam_debug"}) as tab,
    ):
        tab.page.set_viewport_size({"width": size[0], "height": size[1]})
        open_settings(tab)
        wide = tab.locate("body").evaluate(
            """() => ['html', '.bar', '.main .bar', '.content', '.card-head', '.settings']
                .flatMap((s) => [...document.querySelectorAll(s)])
                .filter((e) => e.scrollWidth > e.clientWidth + 1)
                .map((e) => `${e.className} ${e.scrollWidth} > ${e.clientWidth}`)"""
        )
        assert wide == []
        # Chinese may break anywhere: what is one line in English is one line here.
        broken = tab.locate("body").evaluate(
            """body => [...body.querySelectorAll('.section, .label, button, h2, h4, th, .chip')]
                .filter((e) => e.closest('.finding, .findings, .compass') === null)
                .flatMap((e) => [...e.childNodes].filter((node) => node.nodeType === 3))
                .filter((node) => {
                  const range = document.createRange();
                  range.selectNodeContents(node);
                  return new Set([...range.getClientRects()].map((box) => box.top)).size > 1;
                })
                .map((node) => node.data)"""
        )
        assert broken == []
        save_picture(tab, f"zh-{size[0]}x{size[1]}")


def test_without_its_catalogue_the_tab_speaks_english(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    with browser.new_context(locale="zh-CN") as context:
        page = context.new_page()
        page.route("**/languages/zh.json", lambda route: route.abort())
        page.goto(f"{tensorboard.url}#adam_debug")
        tab = Tab(page)
        tab.locate(".panel canvas").first.wait_for(timeout=30_000)
        tab.shows(".settings-button", "Settings")
        expect(tab.locate("html")).to_have_attribute("lang", "en")
