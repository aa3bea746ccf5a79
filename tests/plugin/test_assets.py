from __future__ import annotations

import importlib.resources
import zipfile
from pathlib import Path

import pytest

from tb_adam_plugin import __version__
from tb_adam_plugin.serving.assets import Assets

# The style sheets in the order in which they apply: colours, then where things are, then what they
# look like; what overrules others of its folder comes after them.
SHEETS = (
    "tokens",
    "layout/page", "layout/side", "layout/overview", "layout/parameter", "layout/narrow",
    "layout/telephone",
    "controls/basics", "controls/toolbar", "controls/buttons", "controls/labels", "controls/runs",
    "controls/findings", "controls/all_findings", "controls/comparison", "controls/compass",
    "controls/overview", "controls/tooltips", "controls/tables", "controls/what_is",
    "controls/settings", "controls/optimizer_card", "controls/messages", "controls/narrow",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a little tab, and some that must stay private."""
    files = tmp_path / "frontend_static"
    (files / "view").mkdir(parents=True)
    (files / "__init__.py").write_text('"""Package."""')
    (files / "README.md").write_text("# Tab")
    (files / "types.d.ts").write_text("export {}")
    (files / "index.js").write_text("import './view/app.js';")
    (files / "view" / "app.js").write_text("export {};")
    (files / "view" / "app.css").write_text("body {}")
    (tmp_path / "secret.js").write_text("secret")
    return files


def version_of(assets: Assets) -> str:
    version, _, name = assets.module_path().partition("/")
    assert name == "index.js"
    return version


def test_installed_files_may_be_kept_for_a_year(folder: Path) -> None:
    assets = Assets(folder)
    version = version_of(assets)
    assert version.startswith(f"{__version__}-")
    script = assets.read(f"{version}/index.js")
    assert script is not None
    assert script.content == b"import './view/app.js';"
    assert (script.content_type, script.expires) == ("text/javascript", 31536000)
    style = assets.read(f"{version}/view/app.css")
    assert style is not None
    assert style.content_type == "text/css"


def test_installed_files_answer_only_to_their_own_version(folder: Path) -> None:
    assets = Assets(folder)
    assert assets.read("0.0.1-0123456789/index.js") is None
    assert assets.read("index.js") is None


def test_the_path_changes_with_any_file(folder: Path) -> None:
    before = version_of(Assets(folder))
    assert version_of(Assets(folder)) == before
    (folder / "view" / "app.css").write_text("body { margin: 0 }")
    changed = version_of(Assets(folder))
    (folder / "view" / "app.css").rename(folder / "view" / "page.css")
    renamed = version_of(Assets(folder))
    assert len({before, changed, renamed}) == 3


def test_an_edit_in_a_checkout_shows_at_once_also_in_an_open_page(folder: Path) -> None:
    (folder.parent / "setup.py").write_text("")
    assets = Assets(folder)
    opened = version_of(assets)
    (folder / "index.js").write_text("edited")
    (folder / "new.js").write_text("new")
    assert version_of(assets) != opened
    for version in (opened, version_of(assets)):
        edited, new = assets.read(f"{version}/index.js"), assets.read(f"{version}/new.js")
        assert edited is not None
        assert new is not None
        assert (edited.content, edited.expires) == (b"edited", 0)
        assert new.content == b"new"


@pytest.mark.parametrize("checkout", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "../secret.js",
        "view/../../secret.js",
        "%2e%2e/secret.js",
        "..\\secret.js",
        "/etc/passwd",
        "view",
        "view/",
        "view//app.js",
        "./index.js",
        "index.js/",
        "INDEX.JS",
        "__init__.py",
        "README.md",
        "types.d.ts",
        "index.js\0",
        "",
    ],
)
def test_nothing_else_is_served(folder: Path, name: str, checkout: bool) -> None:
    assets = Assets(folder, editable=checkout)
    assert assets.read(f"{version_of(assets)}/{name}") is None


def test_a_package_in_a_zip_file_is_served(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "package.zip", "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder.parent))
    assets = Assets(zipfile.Path(tmp_path / "package.zip", "frontend_static/"))
    assert version_of(assets) == version_of(Assets(folder))
    found = assets.read(f"{version_of(assets)}/view/app.js")
    assert found is not None
    assert found.content == b"export {};"


def test_every_file_of_the_tab_is_served_with_its_type() -> None:
    folder = importlib.resources.files("tb_adam_plugin.frontend_static")
    assert isinstance(folder, Path)
    types = {".js": "text/javascript", ".css": "text/css"}
    assets = Assets()
    version = version_of(assets)
    for path in folder.rglob("*"):
        if path.suffix in types:
            found = assets.read(f"{version}/{path.relative_to(folder).as_posix()}")
            assert found is not None, path
            assert found.content_type == types[path.suffix]
            assert found.content == path.read_bytes()


@pytest.mark.parametrize("editable", [False, True])
def test_the_style_sheets_are_one_file_in_the_order_in_which_they_apply(
    folder: Path, editable: bool
) -> None:
    assets = Assets(folder, editable=editable)
    assert assets.read(f"{version_of(assets)}/style.css") is None
    for name in reversed(SHEETS):
        sheet = folder / "style" / f"{name}.css"
        sheet.parent.mkdir(parents=True, exist_ok=True)
        sheet.write_text(f".{name} {{}}")
    assets = Assets(folder, editable=editable)
    style = assets.read(f"{version_of(assets)}/style.css")
    assert style is not None
    assert style.content.decode() == "\n".join(f".{name} {{}}" for name in SHEETS)
    assert style.content_type == "text/css"


def test_every_style_sheet_of_the_tab_applies() -> None:
    folder = importlib.resources.files("tb_adam_plugin.frontend_static")
    assert isinstance(folder, Path)
    found = {path.relative_to(folder / "style") for path in folder.rglob("*.css")}
    assert {path.with_suffix("").as_posix() for path in found} == {*SHEETS}
    assets = Assets()
    style = assets.read(f"{version_of(assets)}/style.css")
    assert style is not None
    sheets = [(folder / "style" / f"{name}.css").read_bytes() for name in SHEETS]
    assert style.content == b"\n".join(sheets)
