from __future__ import annotations

from pathlib import Path

import pytest

from tb_adam_plugin.serving.assets import Assets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a little tab in a checkout."""
    (tmp_path / "setup.py").write_text("")
    files = tmp_path / "frontend_static"
    for name in ("index.js", "state/store.js", "view/app.js", "view/overview/card.js"):
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_text(f"// {name}")
    return files


@pytest.mark.parametrize(
    ("name", "looked_into"),
    [
        ("index.js", [""]),
        ("state/store.js", ["", "state"]),
        ("view/overview/card.js", ["", "view", "view/overview"]),
        ("view/overview", [""]),
        ("index.js/store.js", [""]),
        ("nowhere/store.js", [""]),
    ],
)
def test_a_checkout_looks_only_where_the_file_can_be(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, looked_into: list[str]
) -> None:
    """A page asks for dozens: looking through all folders took longer than all else."""
    assets = Assets(folder)
    version = assets.module_path().partition("/")[0]
    listed: list[Path] = []
    iterdir = Path.iterdir

    def counted(path: Path) -> object:
        listed.append(path)
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", counted)
    found = assets.read(f"{version}/{name}")
    assert listed == [folder / where for where in looked_into]
    exists = (folder / name).is_file()
    assert (found.content.decode() if found else None) == (f"// {name}" if exists else None)
