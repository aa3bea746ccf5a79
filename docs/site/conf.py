"""Sphinx configuration: builds a web site from the documents, the API reference and the gallery.

The pages are the repository's Markdown files in their places: links between them work on the site
as they do in the repository. README is the start page; :data:`CONTENTS` lists the others.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

import tb_adam_plugin

project = "Adam Debug"
author = "the Adam Debug authors"
release = version = tb_adam_plugin.__version__

# Contents of the menu, by heading. An unlisted page is a warning, which fails the build.
CONTENTS = {
    "Start": [
        "docs/quickstart",
        "docs/how-to-read",
        "docs/rules",
        "docs/gallery/README",
        "examples/README",
    ],
    "Use": [
        "docs/installation",
        "docs/options",
        "docs/diagnosis",
        "docs/statistics",
        "docs/cost",
        "docs/reference/index",
    ],
    "Your setup": [
        "docs/frameworks",
        "docs/recipes",
        "docs/distributed",
        "docs/optimizers",
        "docs/optimizer-tests",
        "docs/compatibility",
    ],
    "Evidence": [
        "docs/reliability",
        "docs/scale",
        "benchmarks/README",
        "benchmarks/faults/README",
        "benchmarks/real/README",
    ],
    "Internals": [
        "docs/architecture",
        "docs/format",
        "tb_adam_plugin/http_api",
        "docs/upstream/tensorboard-crc",
        "CONTRIBUTING",
        "SECURITY",
        "CHANGELOG",
    ],
    "中文": [
        "README.zh-CN",
        "docs/zh/quickstart",
        "docs/zh/how-to-read",
        "docs/zh/rules",
        "docs/zh/installation",
        "docs/zh/options",
        "docs/zh/diagnosis",
        "docs/zh/statistics",
        "docs/zh/cost",
    ],
}

root_doc = "README"
include_patterns = [
    "*.md",
    "docs/**.md",
    "docs/reference/index.rst",
    "examples/*.md",
    "benchmarks/**.md",
    "tb_adam_plugin/http_api.md",
]
# Folders without pages, which may hold many files.
exclude_patterns = [
    ".*", "build", "callback", "data", "dist", "frontend_static", "node_modules", "runs", "tests",
    "tb_adam_plugin/callback", "tb_adam_plugin/frontend_static", "*.egg-info",
]  # fmt: skip

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.doctest"]
myst_heading_anchors = 4
# Anchors of headings in links within the repository.
myst_heading_slug_func = "tb_adam_plugin.explanations.documents.anchor"
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
suppress_warnings = ["misc.highlighting_failure"]  # patches, and truncated code
html_theme = "alabaster"
html_theme_options = {
    "description": "The optimizer debugger for TensorBoard",
    "font_family": "system-ui, sans-serif",
    "page_width": "1200px",
    "sidebar_width": "240px",
}
html_show_sourcelink = False

_PICTURE = re.compile(r'<picture>.*?<img alt="([^"]*)" src="([^"]*)">\s*</picture>', re.DOTALL)


def _complete(_app: Sphinx, page: str, source: list[str]) -> None:
    """Show the picture of a start page, and give README the menu of the site."""
    source[0] = _PICTURE.sub(r"![\1](\2)", source[0])
    if page == root_doc:
        for caption, pages in CONTENTS.items():
            listed = "\n".join(pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"


def _write_index(app: Sphinx, failed: Exception | None) -> None:
    """Make the folder itself lead to the start page."""
    if failed is None and app.builder.name == "html":
        to_start = f'<!doctype html><meta http-equiv="refresh" content="0; url={root_doc}.html">\n'
        Path(app.outdir, "index.html").write_text(to_start, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Attach to the build."""
    app.connect("source-read", _complete)
    app.connect("build-finished", _write_index)
