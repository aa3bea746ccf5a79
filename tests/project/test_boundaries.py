"""Who may import whom, as drawn in ``docs/architecture.md``.

The modules loaded by Python modules are determined in fresh processes that start outside the
repository; those that could be loaded later, within a function, from the source.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from repository import CALLBACK, PLUGIN, ROOT

# Its rooms; anything that is not a folder is a module.
PLUGIN_ROOMS = (
    "loader", "cli", "commands", "run_data", "notebook", "serving", "reading", "comparison",
    "explanations", "diagnosis", "untrusted_text", "event_files", "languages", "schema", "tfrecord",
    "arrays", "",
)  # fmt: skip
# Within the diagnosis rules ask, and the engine computes; "" are the doors.
DIAGNOSIS = [path for path in PLUGIN if "diagnosis" in path.parts]
DIAGNOSIS_ROOMS = ("", "rules", "engine")
# The rooms of the callback from the top floor down: none imports one above it. "" is the folder
# itself, whose modules users import.
ROOMS = (
    "demo", "", "steps", "ranks", "measure", "schedule", "attach", "shards", "probes", "write",
    "read", "optimizer_state", "memory", "native",
)  # fmt: skip

PLUGIN_MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in PLUGIN
    if path.stem != "__init__"
]
SHARED_MODULES = {
    "tb_adam_plugin",
    "tb_adam_plugin.schema",
    *(m for m in PLUGIN_MODULES if m.startswith("tb_adam_plugin.schema.")),
    "tb_adam_plugin.arrays",
    "tb_adam_plugin.tfrecord",
    # The definition of a gradient jump is shared by the callback and the rules.
    "tb_adam_plugin.diagnosis",
    "tb_adam_plugin.diagnosis.engine",
    "tb_adam_plugin.diagnosis.engine.thresholds",
}

NOT_FOR_THE_PLUGIN = ("torch", "tb_adam_plugin.callback")
NOT_FOR_THE_CALLBACK = (
    "werkzeug",
    "grpc",
    "tensorboard.backend",
    "tensorboard.data",
    "tb_adam_plugin.frontend_static",
    # The rules run in training, too, where that is wanted.
    *sorted(m for m in {*PLUGIN_MODULES} - SHARED_MODULES if ".diagnosis." not in m),
)


def run_python(folder: Path, script: str, *arguments: str) -> Any:
    """Run a script in a fresh process that starts in ``folder``; what it prints is JSON."""
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=folder, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


# Prints which modules each of the modules named loads that none of those before it did.
LOADED_BY = """
import importlib, json, sys
loaded_by = {}
for name in sys.argv[1:]:
    before = set(sys.modules)
    importlib.import_module(name)
    loaded_by[name] = sorted(set(sys.modules) - before)
print(json.dumps(loaded_by))
"""

# What follows it runs as where torch is not installed.
WITHOUT_TORCH = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
"""


def is_within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def imported_names(path: Path, package: str) -> Iterator[str]:
    """Names in all import statements of a file, wherever they stand.

    Of ``from a import b`` both ``a`` and ``a.b``, which may be a module.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_the_package_itself_imports_nothing(tmp_path: Path) -> None:
    loaded = run_python(tmp_path, LOADED_BY, "tb_adam_plugin")
    assert loaded == {"tb_adam_plugin": ["tb_adam_plugin"]}


def test_the_schema_needs_numpy_alone(tmp_path: Path) -> None:
    loaded = run_python(tmp_path, LOADED_BY, "numpy", "tb_adam_plugin.schema")
    packages = {name.partition(".")[0] for name in loaded["tb_adam_plugin.schema"]}
    assert packages - set(sys.stdlib_module_names) <= {"tb_adam_plugin", "numpy"}


def test_a_module_of_the_schema_leaves_its_face_alone() -> None:
    """The face imports them all, and the other way round would be a circle."""
    for path in (ROOT / "tb_adam_plugin" / "schema").glob("*.py"):
        if path.stem != "__init__":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    assert node.module not in ("tb_adam_plugin", "tb_adam_plugin.schema"), path.name


def test_the_framing_of_records_needs_the_checksums_alone(tmp_path: Path) -> None:
    loaded = run_python(tmp_path, LOADED_BY, "tb_adam_plugin.tfrecord")
    packages = {name.partition(".")[0] for name in loaded["tb_adam_plugin.tfrecord"]}
    assert packages - set(sys.stdlib_module_names) <= {"tb_adam_plugin", "google_crc32c"}


def test_the_plugin_loads_neither_torch_nor_the_callback(tmp_path: Path) -> None:
    for name, loaded in run_python(tmp_path, LOADED_BY, *PLUGIN_MODULES).items():
        assert [module for module in loaded if is_within(module, NOT_FOR_THE_PLUGIN)] == [], name


@pytest.mark.parametrize("path", PLUGIN, ids=lambda path: path.name)
def test_no_file_of_the_plugin_names_torch_or_the_callback(path: Path) -> None:
    names = imported_names(path, ".".join(path.relative_to(ROOT).parent.parts))
    assert [name for name in names if is_within(name, NOT_FOR_THE_PLUGIN)] == []


def test_the_plugin_serves_the_tab_where_torch_is_not_installed(tmp_path: Path) -> None:
    script = """
import importlib, json
from tensorboard.plugins import base_plugin
from werkzeug.test import Client

try:
    import torch
except ModuleNotFoundError:
    pass
else:
    sys.exit("torch is not blocked")
for name in sys.argv[1:]:
    importlib.import_module(name)
from tb_adam_plugin.loader import AdamDebugLoader
plugin = AdamDebugLoader().load(base_plugin.TBContext(data_provider=None))
module = plugin.frontend_metadata().es_module_path
answer = Client(plugin.get_plugin_apps()["/static/*"]).get(module)
print(json.dumps([answer.status_code, answer.text]))
"""
    status, text = run_python(tmp_path, WITHOUT_TORCH + script, *PLUGIN_MODULES)
    assert status == 200
    assert text == (ROOT / "frontend_static" / "index.js").read_text(encoding="utf-8")


def test_the_callback_loads_nothing_of_a_server(tmp_path: Path) -> None:
    """Neither when it is imported nor when it records."""
    script = """
import json, sys
import torch
before = set(sys.modules)
from tb_adam_plugin.callback import AdamDebugCallback
imported = sorted(set(sys.modules) - before)
weight = torch.nn.Parameter(torch.ones(3))
optimizer = torch.optim.AdamW([weight])
with AdamDebugCallback([("weight", weight)], optimizer, log_dir="run", on_error="raise") as debug:
    for _ in range(2):
        weight.square().sum().backward()
        optimizer.step()
print(json.dumps([debug.step, imported, sorted(sys.modules)]))
"""
    steps, imported, loaded = run_python(tmp_path, script)
    assert steps == 2
    assert [name for name in imported if is_within(name, NOT_FOR_THE_CALLBACK)] == []
    assert [name for name in loaded if is_within(name, NOT_FOR_THE_CALLBACK)] == []
    frameworks = ("accelerate", "lightning", "pytorch_lightning", "transformers")
    assert [name for name in imported if is_within(name, frameworks)] == []
    ours = {name for name in loaded if is_within(name, ("tb_adam_plugin",))}
    assert {name for name in ours if not is_within(name, ("tb_adam_plugin.callback",))} == (
        SHARED_MODULES
    )
    assert "callback" not in loaded  # one file under two names would make two classes of one


@pytest.mark.parametrize(
    "path", CALLBACK, ids=lambda path: path.relative_to(ROOT / "callback").as_posix()
)
def test_no_file_of_the_callback_names_anything_of_a_server(path: Path) -> None:
    package = ".".join(["tb_adam_plugin", *path.parent.relative_to(ROOT).parts])
    names = list(imported_names(path, package))
    assert [name for name in names if is_within(name, NOT_FOR_THE_CALLBACK)] == []
    assert [name for name in names if is_within(name, ("callback", "frontend_static"))] == []


def check_floors(path: Path, folder: Path, package: str, rooms: tuple[str, ...]) -> None:
    """Check that a file of a package imports nothing of a room above its own."""

    def floor(module: str) -> int:
        room = module.partition(".")[0]
        return rooms.index(room if room in rooms else "")

    inside = path.relative_to(folder)
    own = floor(".".join(inside.with_suffix("").parts))
    for name in imported_names(path, ".".join([package, *inside.parent.parts])):
        if name.startswith(f"{package}."):
            assert floor(name.removeprefix(f"{package}.")) >= own, name


@pytest.mark.parametrize(
    "path", CALLBACK, ids=lambda path: path.relative_to(ROOT / "callback").as_posix()
)
def test_no_room_of_the_callback_imports_one_above_it(path: Path) -> None:
    check_floors(path, ROOT / "callback", "tb_adam_plugin.callback", ROOMS)


@pytest.mark.parametrize(
    "path", PLUGIN, ids=lambda path: path.relative_to(ROOT / "tb_adam_plugin").as_posix()
)
def test_no_room_of_the_plugin_imports_one_above_it(path: Path) -> None:
    check_floors(path, ROOT / "tb_adam_plugin", "tb_adam_plugin", PLUGIN_ROOMS)


def test_every_folder_of_the_plugin_is_a_room_that_says_what_it_is_for() -> None:
    top = ROOT / "tb_adam_plugin"
    folders = {path.parent for path in PLUGIN if path.parent != top}
    assert {folder.relative_to(top).parts[0] for folder in folders} <= {*PLUGIN_ROOMS}
    for folder in folders:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    own = [path for path in PLUGIN if path.parent == top]
    assert len(own) <= 7


@pytest.mark.parametrize(
    "path", DIAGNOSIS, ids=lambda path: path.relative_to(ROOT / "tb_adam_plugin").as_posix()
)
def test_no_room_of_the_diagnosis_imports_one_above_it(path: Path) -> None:
    folder = ROOT / "tb_adam_plugin" / "diagnosis"
    check_floors(path, folder, "tb_adam_plugin.diagnosis", DIAGNOSIS_ROOMS)


def test_numbers_of_a_rule_are_its_own() -> None:
    """A rule may ask what another one asks, but has its thresholds from nowhere else."""
    package = "tb_adam_plugin.diagnosis.rules"
    for path in DIAGNOSIS:
        if path.parent.name == "rules" and path.stem != "registry":
            for name in imported_names(path, package):
                if name.startswith(f"{package}."):
                    assert name.rpartition(".")[2].islower(), f"{path.name}: {name}"


def test_numbers_that_several_files_share_import_nothing() -> None:
    path = ROOT / "tb_adam_plugin" / "diagnosis" / "engine" / "thresholds.py"
    assert {*imported_names(path, "")} == {"__future__", "__future__.annotations"}


def test_every_folder_of_the_callback_is_a_room_that_says_what_it_is_for() -> None:
    folders = {path.parent for path in CALLBACK if path.parent != ROOT / "callback"}
    assert {folder.relative_to(ROOT / "callback").parts[0] for folder in folders} == {*ROOMS} - {""}
    for folder in folders:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    own = [path for path in CALLBACK if path.parent == ROOT / "callback"]
    assert len(own) <= 6
