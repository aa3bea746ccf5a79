"""Screenshots of the tab that are small enough for the repository."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page


def save_small_picture(page: Page, path: Path) -> None:
    """Save a screenshot of a page as PNG.

    A palette halves the file. Other ways to choose it lose the colours of small things.
    """
    picture = Image.open(io.BytesIO(page.screenshot()))
    small = picture.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE)
    small.save(path, optimize=True)
