"""Write ``docs/gallery/``: each fault in the tab, and the effect of its fix.

``PYTHONPATH=tests/helpers python docs/write_gallery.py [LOGDIR]`` trains the demonstrations, unless
LOGDIR has them, and takes the screenshots in a headless browser. It takes a few minutes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Browser, sync_playwright
from small_pictures import save_small_picture
from tab_page import launch, open_tab
from tensorboard_process import running_tensorboard

from tb_adam_plugin.callback.demo import demonstrations
from tb_adam_plugin.callback.demo.demonstrations import DEMONSTRATIONS, THEMES, Demonstration
from tb_adam_plugin.explanations.documents import anchor
from tb_adam_plugin.run_data import Run, load_runs

GALLERY = Path(__file__).parent / "gallery"

_HEAD = """# Gallery of failures

What each fault looks like in the tab, what the rules say about it, and the same run with the fix.
The runs are small: a network of four layers, 320 steps, a few seconds each. `adam-debug demo`
trains them for you to explore: `adam-debug demo --list` shows their names, and `adam-debug demo
NAME` trains one. `PYTHONPATH=tests/helpers python docs/write_gallery.py` writes this page.

| fault | first finding | loss at the end | with the fix |
|---|---|---|---|
"""


def main() -> None:
    """Train missing runs, and write the page and its pictures."""
    GALLERY.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        log_dir = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        losses = _train(log_dir)
        page = _page(log_dir, losses)
        with (
            running_tensorboard(log_dir) as tensorboard,
            sync_playwright() as playwright,
        ):
            browser = launch(playwright)
            for demonstration in DEMONSTRATIONS:
                _take_picture(browser, tensorboard.url, demonstration)
    (GALLERY / "README.md").write_text(page, encoding="utf-8")


def _train(log_dir: Path) -> dict[str, tuple[float, float]]:
    kept = log_dir / "losses.json"
    if kept.exists():
        known: dict[str, tuple[float, float]] = json.loads(kept.read_text())
        return known
    losses = {}
    for demonstration in DEMONSTRATIONS:
        folder = log_dir / demonstration.name
        losses[demonstration.name] = demonstrations.train_both(demonstration, folder)
    kept.write_text(json.dumps(losses))
    return losses


def _page(log_dir: Path, losses: dict[str, tuple[float, float]]) -> str:
    rows, texts = [], []
    for theme, shown in THEMES.items():
        rows.append(f"| **{theme}** | | | |")
        texts.append(f"## {theme}\n")
        for demonstration in shown:
            row, text = _section(log_dir, demonstration, losses)
            rows.append(row)
            texts.append(text)
    return _HEAD + "\n".join(rows) + "\n\n" + "\n".join(texts)


def _section(
    log_dir: Path, demonstration: Demonstration, losses: dict[str, tuple[float, float]]
) -> tuple[str, str]:
    fault, fixed = (
        run for kind in ("fault", "fixed") for run in load_runs(log_dir / demonstration.name / kind)
    )
    first = fault.findings()[0]
    with_fault, with_fix = (
        f"{loss:.2f}".replace("nan", "NaN") for loss in losses[demonstration.name]
    )
    link = f"[{demonstration.title}](#{anchor(demonstration.title)})"
    row = f"| {link} | {first.title} | {with_fault} | {with_fix} |"
    return row, "\n".join([
        f"### {demonstration.title}\n",
        f"![The tab with this fault]({demonstration.name}.png)\n",
        f"> **{first.title}{'' if first.title.endswith('?') else '.'}** {first.text}",
        ">",
        f"> {first.advice}\n",
        f"The fix: {demonstration.change}. The loss of the last 20 steps goes from {with_fault} to "
        f"{with_fix}, and {_left(fixed)}.\n",
    ])  # fmt: skip


def _left(fixed: Run) -> str:
    alarms = [finding.title for finding in fixed.findings() if finding.severity != "info"]
    return f"the rules find {', '.join(alarms)}" if alarms else "no rule raises an alarm"


def _take_picture(browser: Browser, url: str, demonstration: Demonstration) -> None:
    runs = [f"{demonstration.name}/{kind}/adam_debug" for kind in ("fault", "fixed")]
    link = {"run": runs[0], "runs": ",".join(quote(run, safe="") for run in runs)}
    with open_tab(browser, url, link, size=(1360, 860)) as tab:
        tab.locate(".finding").first.wait_for(timeout=30_000)
        tab.locate(".finding").first.click()
        tab.page.wait_for_timeout(1500)
        save_small_picture(tab.page, GALLERY / f"{demonstration.name}.png")


if __name__ == "__main__":
    main()
