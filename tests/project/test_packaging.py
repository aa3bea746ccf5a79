"""What users install: the wheel, the sdist, a plain checkout, and an editable install."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LINKS = ("tb_adam_plugin/callback", "tb_adam_plugin/frontend_static")
# Where the folders of the repository lie in a wheel.
INSTALLED_AS = {
    "tb_adam_plugin/": "tb_adam_plugin/",
    "callback/": "tb_adam_plugin/callback/",
    "frontend_static/": "tb_adam_plugin/frontend_static/",
}


def has_compiler() -> bool:
    """Whether modules in C can be built here."""
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return headers.exists() and (sys.platform == "win32" or shutil.which("cc") is not None)


def run(
    *command: str | Path,
    folder: Path,
    python_path: Path | None = None,
    with_errors: bool = False,
    **variables: str,
) -> str:
    """Run a Python module or script in a folder, and return what it prints."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | variables
    if python_path is not None:
        environment["PYTHONPATH"] = str(python_path)
    ended = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + (ended.stderr if with_errors else "")


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """The files that git knows."""
    # A container often checks out as another user, which git refuses unless told.
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and os.path.lexists(ROOT / name)]


def check_out(tracked: list[str], folder: Path) -> Path:
    """Copy the tracked files as they are, the links as links."""
    for name in tracked:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, path, follow_symlinks=False)
    for link in LINKS:
        assert (folder / link).is_symlink()
    return folder


def build(source: Path, out: Path, *options: str) -> Path:
    """Build a wheel, and what else is asked for, and return the wheel."""
    run("-m", "build", "--outdir", out, *options, source, folder=out.parent)
    (wheel,) = out.glob("*.whl")
    return wheel


def checksums(wheel: Path) -> dict[str, int]:
    """Name and CRC of every file in a wheel."""
    with zipfile.ZipFile(wheel) as file:
        return {entry.filename: entry.CRC for entry in file.infolist()}


@pytest.fixture(scope="module")
def built(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("release")
    build(check_out(tracked, folder / "checkout"), folder / "dist")
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel alone was installed."""
    folder = tmp_path_factory.mktemp("installed")
    options = ("--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check")
    run("-m", "pip", "install", *options, "--target", folder, wheel, folder=folder)
    return folder


# Prints where the modules come from, what the entry point is, and how the tab is served.
USE = """
import importlib.metadata, json, sys
import tb_adam_plugin.callback, tb_adam_plugin.frontend_static, tb_adam_plugin.schema
from tensorboard.plugins import base_plugin
from werkzeug.test import Client

found = {name: module.__file__ for name, module in sys.modules.items() if "tb_adam" in name}
found = {name: file for name, file in found.items() if not name.startswith("__editable__")}

entries = importlib.metadata.entry_points(group="tensorboard_plugins", name="adam_debug")
distribution = importlib.metadata.distribution("tb-adam-plugin")
(own_entry,) = distribution.entry_points.select(group="tensorboard_plugins")

plugin = own_entry.load()().load(base_plugin.TBContext(data_provider=None))
folder = plugin.frontend_metadata().es_module_path.rpartition("/")[0]
client = Client(plugin.get_plugin_apps()["/static/*"])
answers = {name: client.get(f"{folder}/{name}") for name in sys.argv[1:]}
print(json.dumps({
    "callback": tb_adam_plugin.callback.__all__,
    "files": found,
    "entries": [[entry.name, entry.value] for entry in entries],
    "own entry": [own_entry.name, own_entry.value],
    "version": distribution.version,
    "assets": {name: [answer.status_code, answer.text] for name, answer in answers.items()},
    "kept": {name: answer.cache_control.max_age or 0 for name, answer in answers.items()},
}))
"""
# What the module in C is made of, and where it lies in a wheel.
C_SOURCES = (".c", ".h", ".inc")
KERNEL = "tb_adam_plugin/callback/native/_kernel." + (
    "pyd" if sys.platform == "win32" else "abi3.so"
)
DOCUMENTS = "tb_adam_plugin/explanations/documents"
ENTRY = ["adam_debug", "tb_adam_plugin.loader:AdamDebugLoader"]


@pytest.fixture(scope="module")
def assets(tracked: list[str]) -> Mapping[str, str]:
    """Text of the files of the tab that a browser asks for, by name."""
    prefix = "frontend_static/"
    return {
        name.removeprefix(prefix): (ROOT / name).read_text(encoding="utf-8")
        for name in tracked
        if name.startswith(prefix) and name.endswith((".js", ".css", ".svg"))
    }


def use(assets: Mapping[str, str], folder: Path, python_path: Path | None = None) -> Any:
    """Load the callback and the plugin in a fresh process, and check that the tab is served."""
    used = json.loads(run("-c", USE, *assets, folder=folder, python_path=python_path))
    assert used["callback"] == ["AdamDebugCallback"]
    assert used["assets"] == {name: [200, text] for name, text in assets.items()}
    return used


# --- what is in it ------------------------------------------------------------------------------


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path, tracked: list[str]) -> None:
    expected = {
        target + name.removeprefix(folder)
        for folder, target in INSTALLED_AS.items()
        for name in tracked
        # Types of the JavaScript are for `tsc` in the repository; no browser reads them. The
        # sources of the kernel come with the sdist.
        if name.startswith(folder)
        and name not in LINKS
        and not name.endswith((".d.ts", *C_SOURCES))
    }
    expected |= {
        f"{DOCUMENTS}/{name.removeprefix('docs/')}"
        for name in tracked
        if name.startswith("docs/") and name.endswith(("/how-to-read.md", "/rules.md"))
    }
    if has_compiler():
        expected.add(KERNEL)
    version = wheel.name.split("-")[1]
    about = f"tb_adam_plugin-{version}.dist-info/"
    found = set(checksums(wheel))
    assert {name for name in found if not name.startswith(about)} == expected
    assert {name.removeprefix(about) for name in found if name.startswith(about)} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
        "top_level.txt",
    }
    assert found >= {
        "tb_adam_plugin/py.typed",
        "tb_adam_plugin/http_api.md",
        "tb_adam_plugin/callback/__init__.py",
        "tb_adam_plugin/frontend_static/index.js",
        "tb_adam_plugin/frontend_static/vendor/LICENSES.md",
    }


def test_the_wheel_carries_the_documents_that_are_read_offline(
    wheel: Path, installed: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(wheel) as file:
        for name in ("how-to-read.md", "rules.md"):
            assert file.read(f"{DOCUMENTS}/{name}") == (ROOT / "docs" / name).read_bytes()
    command = ("-m", "tb_adam_plugin.cli", "explain", "lr_zero", "--lang", "en")
    said = run(*command, folder=tmp_path, python_path=installed)
    assert "scheduler.step()" in said


def test_one_wheel_serves_every_version_of_python(wheel: Path) -> None:
    assert re.search(r"-cp310-abi3-\w+\.whl$", wheel.name), wheel.name


def test_the_sdist_holds_the_sources_of_the_kernel(built: Path, tracked: list[str]) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        found = {name.partition("/")[2] for name in file.getnames()}
    sources = {n for n in tracked if n.startswith("callback/native/") and n.endswith(C_SOURCES)}
    assert len(sources) == 4
    assert sources <= found


def test_the_package_index_would_take_the_release(built: Path) -> None:
    files = sorted(built.iterdir())
    assert sorted(file.suffix for file in files) == [".gz", ".whl"]
    run("-m", "twine", "check", "--strict", *files, folder=built)


def test_the_wheel_has_one_name_for_import(wheel: Path) -> None:
    run("-m", "check_wheel_contents", "--config", ROOT / "pyproject.toml", wheel, folder=ROOT)
    with zipfile.ZipFile(wheel) as file:
        (top_level,) = (name for name in file.namelist() if name.endswith("/top_level.txt"))
        assert file.read(top_level).decode().split() == ["tb_adam_plugin"]
        for entry in file.infolist():
            first = entry.filename.partition("/")[0]
            assert first == "tb_adam_plugin" or first.endswith(".dist-info")


def test_the_wheel_carries_the_licences_word_for_word(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        (licence,) = (name for name in file.namelist() if name.endswith("/licenses/LICENSE"))
        assert file.read(licence) == (ROOT / "LICENSE").read_bytes()
        vendored = file.read("tb_adam_plugin/frontend_static/vendor/LICENSES.md")
        assert vendored == (ROOT / "frontend_static" / "vendor" / "LICENSES.md").read_bytes()


def test_a_wheel_of_the_checkout_is_the_same(
    wheel: Path, tracked: list[str], tmp_path: Path
) -> None:
    source = check_out(tracked, tmp_path / "checkout")
    assert checksums(build(source, tmp_path / "dist", "--wheel")) == checksums(wheel)


def test_a_wheel_of_a_checkout_without_links_is_the_same(
    wheel: Path, tracked: list[str], tmp_path: Path
) -> None:
    """Where links need a right of their own, as on Windows, git writes files instead."""
    source = check_out(tracked, tmp_path / "checkout")
    for link in LINKS:
        target = os.readlink(source / link)
        (source / link).unlink()
        (source / link).write_text(target)
    assert checksums(build(source, tmp_path / "dist", "--wheel")) == checksums(wheel)
    for link in LINKS:
        (source / link).unlink()
    shutil.rmtree(source / "build")
    assert checksums(build(source, tmp_path / "again", "--wheel")) == checksums(wheel)


# --- how it is used -----------------------------------------------------------------------------


def test_the_installed_wheel_works_from_anywhere(
    installed: Path, assets: Mapping[str, str], tmp_path: Path
) -> None:
    used = use(assets, tmp_path, python_path=installed)
    assert used["files"]
    for name, file in used["files"].items():
        assert Path(file).is_relative_to(installed), name
    assert used["own entry"] == ENTRY
    year = 365 * 24 * 3600
    assert set(used["kept"].values()) == {year}


def test_the_installed_wheel_works_in_the_folder_of_the_repository(
    installed: Path, assets: Mapping[str, str], tracked: list[str], tmp_path: Path
) -> None:
    """There Python finds the checkout first, and the checkout is whole."""
    source = check_out(tracked, tmp_path / "checkout")
    used = use(assets, source, python_path=installed)
    for name, file in used["files"].items():
        assert Path(file).is_relative_to(source), name
    assert set(used["kept"].values()) == {0}


# Records a step, and prints how it was reduced.
RECORD = """
import torch
from tb_adam_plugin.callback import AdamDebugCallback
weight = torch.nn.Parameter(torch.ones(3))
optimizer = torch.optim.AdamW([weight])
with AdamDebugCallback([("weight", weight)], optimizer, log_dir="run", on_error="raise") as debug:
    weight.square().sum().backward()
    optimizer.step()
    print(type(debug._parameters.records._measurements[0]._reduction).__name__)
"""


def test_the_installed_wheel_records_with_the_kernel(installed: Path, tmp_path: Path) -> None:
    expected = "NativePass" if has_compiler() else "BlockReduction"
    assert run("-c", RECORD, folder=tmp_path, python_path=installed).split() == [expected]
    found = run("-c", RECORD, folder=tmp_path, python_path=installed, ADAM_DEBUG_NATIVE="0")
    assert found.split() == ["BlockReduction"]


def test_without_a_compiler_the_package_works(tracked: list[str], tmp_path: Path) -> None:
    source = check_out(tracked, tmp_path / "checkout")
    folder = tmp_path / "installed"
    options = ("--no-deps", "--no-build-isolation", "--no-compile", "--disable-pip-version-check")
    said = run(
        *("-m", "pip", "install", "-v", *options, "--target", folder, source),
        folder=tmp_path,
        with_errors=True,
        CC=str(tmp_path / "none"),
        PATH=str(Path(sys.executable).parent),
    )
    assert said.count('building extension "tb_adam_plugin.callback.native._kernel" failed') == 1
    assert not (folder / KERNEL).exists()
    found = run("-c", RECORD, folder=tmp_path, python_path=folder)
    assert found.split() == ["BlockReduction"]


def test_a_bare_checkout_imports_the_callback(tracked: list[str], tmp_path: Path) -> None:
    source = check_out(tracked, tmp_path / "checkout")
    # -S leaves out whatever is installed, also the editable install; what it depends on comes back.
    script = """
import json, sys
sys.path.append(sys.argv[1])
import tb_adam_plugin.callback as callback
print(json.dumps([callback.__file__, callback.__all__]))
"""
    site_packages = Path(pytest.__file__).parents[1]
    file, names = json.loads(run("-S", "-c", script, site_packages, folder=source))
    assert Path(file) == source / "tb_adam_plugin" / "callback" / "__init__.py"
    assert names == ["AdamDebugCallback"]


def test_an_editable_install_shows_the_repository(
    assets: Mapping[str, str], tmp_path: Path
) -> None:
    used = use(assets, tmp_path)
    for name, file in used["files"].items():
        assert Path(file).is_relative_to(ROOT), name
    assert used["entries"] == [ENTRY]


def test_the_oldest_versions_that_are_tested_are_the_declared_ones() -> None:
    lines = (ROOT / "tests/oldest_versions.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if "==" in line)
    declared = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', (ROOT / "setup.py").read_text("utf-8")))
    of_tests = (ROOT / "tests/requirements.txt").read_text(encoding="utf-8").splitlines()
    declared |= dict(line.split(">=") for line in of_tests if ">=" in line)
    for name, version in tested.items():
        # pip reads 2.18 as 2.18.0.
        assert version.removesuffix(".0") == declared[name].removesuffix(".0"), name
    assert {"tensorboard", "numpy", "google-crc32c"} <= set(tested)
