"""Who may import whom, as ``docs/architecture.md`` draws it.

What Python modules load is looked up in fresh processes that start outside the repository; what
they could load later, within a function, in their source.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = sorted(
    path
    for path in (ROOT / "tb_adam_plugin").rglob("*.py")
    if path.relative_to(ROOT / "tb_adam_plugin").parts[0] not in ("callback", "frontend_static")
)
# Its rooms, likewise; what is no folder is a module.
PLUGIN_ROOMS = (
    "loader", "cli", "commands", "run_data", "serving", "reading", "diagnosis", "untrusted_text",
    "schema", "tfrecord", "arrays", "",
)  # fmt: skip
# Within the diagnosis rules ask, and the engine computes; "" are the doors.
DIAGNOSIS = [path for path in PLUGIN if "diagnosis" in path.parts]
DIAGNOSIS_ROOMS = ("", "rules", "engine")
CALLBACK = sorted((ROOT / "callback").rglob("*.py"))
# The rooms of the callback from the top floor down: none imports one above it. "" is the folder
# itself, whose modules users import.
ROOMS = (
    "demo", "", "steps", "ranks", "measure", "schedule", "attach", "shards", "probes", "write",
    "read", "optimizer_state", "memory", "native",
)  # fmt: skip
# A module that does not fit on so many lines has more than one topic.
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION, MOST_ATTRIBUTES = 60, 15
TAB = ROOT / "frontend_static"
SCRIPTS = sorted(TAB.rglob("*.js"))
STYLES = sorted(TAB.rglob("*.css"))
# The folders of the tab from the top floor down: none imports one above it. "" is the folder
# itself, whose modules wire the others.
TAB_FLOORS = ("", "view", "save", "chart", "state", "data", "host", "vendor")
LONGEST_STYLE = 250

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
    # What is a jump of the gradient is one number for the callback and for the rules.
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


# --- Python -------------------------------------------------------------------------------------


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


def test_no_function_is_too_long_and_no_class_holds_too_much() -> None:
    """The lint limits complexity and parameters; docstrings do not count here."""
    found = []
    for path in [*PLUGIN, *CALLBACK]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
                assert node.end_lineno is not None
                if node.end_lineno - first.lineno >= MOST_LINES_OF_A_FUNCTION:
                    found.append((path.name, node.name))
            elif isinstance(node, ast.ClassDef):
                attributes = {
                    target.attr
                    for target in ast.walk(node)
                    if isinstance(target, ast.Attribute)
                    and isinstance(target.ctx, ast.Store)
                    and isinstance(target.value, ast.Name)
                    and target.value.id == "self"
                }
                if len(attributes) > MOST_ATTRIBUTES:
                    found.append((path.name, node.name))
    assert found == [("kernels.py", "reduce")]  # one kernel is one function


def test_no_module_is_too_long() -> None:
    lines = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in [*PLUGIN, *CALLBACK]
    }
    assert {name for name, count in lines.items() if count > MOST_LINES} == set()


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


# --- JavaScript ---------------------------------------------------------------------------------


def named(path: Path) -> str:
    return path.relative_to(ROOT / "frontend_static").as_posix()


def code_of(path: Path) -> str:
    """The text of a script or style sheet without its comments, which hold types and prose."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    # The // of a URL stands behind a colon or a quote.
    return re.sub(r"(^|\s)//.*$", r"\1", text, flags=re.MULTILINE)


OWN_SCRIPTS = [path for path in SCRIPTS if not named(path).startswith("vendor/")]
each_script = pytest.mark.parametrize("path", OWN_SCRIPTS, ids=named)


_IMPORT = re.compile(
    r"""^\s*(?:import\b(?:[^'"();]*?\bfrom)?|export\s*(?:\*|\{[^}]*\})\s*from)\s*['"](.+?)['"]""",
    re.MULTILINE,
)


def imports_of(path: Path) -> list[str]:
    """What a script imports or re-exports from, as it is written there."""
    return _IMPORT.findall(code_of(path))


@each_script
def test_imports_lead_to_files_of_the_tab(path: Path) -> None:
    for name in imports_of(path):
        assert name.startswith(("./", "../")), name
        assert (path.parent / name).resolve() in SCRIPTS, name


def used_by(path: Path) -> list[Path]:
    """What a script loads of the tab, at once or later."""
    names = [*imports_of(path), *re.findall(r"\bimport\s*\(\s*'(.+?)'", code_of(path))]
    return [(path.parent / name).resolve() for name in names]


def known_to(path: Path) -> list[Path]:
    """What a script loads of the tab, or names the types of, which stand in comments."""
    types = re.findall(r"\bimport\('(.+?\.js)'\)", path.read_text(encoding="utf-8"))
    return [*used_by(path), *((path.parent / name).resolve() for name in types)]


@each_script
def test_no_folder_of_the_tab_imports_one_above_it(path: Path) -> None:
    def floor(script: Path) -> int:
        return TAB_FLOORS.index(named(script).rpartition("/")[0].partition("/")[0])

    for other in known_to(path):
        assert floor(other) >= floor(path), named(other)


def test_scripts_do_not_import_each_other_in_a_circle() -> None:
    ways = {path: known_to(path) for path in SCRIPTS}
    assert sum(map(len, ways.values())) > len(SCRIPTS)  # they were found
    rest = set(SCRIPTS)
    while free := {path for path in rest if not rest.intersection(ways[path])}:
        rest -= free
    assert sorted(map(named, rest)) == []  # each of them leads to a circle


def test_every_folder_of_the_tab_has_a_floor() -> None:
    folders = {path.parent for path in OWN_SCRIPTS}
    assert {named(folder).partition("/")[0] for folder in folders} - {"."} == (
        {*TAB_FLOORS} - {"", "vendor"}
    )


@pytest.mark.parametrize("path", [*OWN_SCRIPTS, *STYLES], ids=named)
def test_no_file_of_the_tab_is_too_long_to_be_read(path: Path) -> None:
    most = LONGEST_STYLE if path.suffix == ".css" else MOST_LINES
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= most


def test_a_first_visit_asks_for_every_script_that_it_needs_and_no_other() -> None:
    """The heat map and the card below it; what comes later is not in the way of them."""
    listed = re.search(r"const FIRST = \[(.*?)\];", code_of(TAB / "index.js"), re.DOTALL)
    assert listed
    names = re.findall(r"'(.+?)'", listed[1])
    needed: set[Path] = set()
    following = [TAB / "start.js", TAB / "view" / "parameter" / "parameter_card.js"]
    while following:
        path = following.pop()
        if path not in needed:
            needed.add(path)
            following += [(path.parent / name).resolve() for name in imports_of(path)]
    assert sorted(names) == sorted(map(named, needed))


@each_script
def test_only_one_view_knows_preact(path: Path) -> None:
    vendored = {name for name in imports_of(path) if "vendor/" in name}
    assert vendored == ({"../vendor/preact.js"} if named(path) == "view/ui.js" else set())


@each_script
def test_what_is_loaded_late_is_a_file_of_the_tab(path: Path) -> None:
    for name in re.findall(r"\bimport\s*\(([^)]*)\)", code_of(path)):
        assert re.fullmatch(r"'(?:\./|(?:\.\./)+)[\w/]+\.js'", name), name
        assert (path.parent / name.strip("'")).resolve() in SCRIPTS, name


# Everything by which a page sends a request, `fetch` passed on as a value included.
REQUESTS = re.compile(
    r"(?<![.\w])(?:fetch|XMLHttpRequest|EventSource|WebSocket|importScripts|Worker)\b"
    r"|\.fetch\b|\bsendBeacon\b"
)


# The entry asks for the first answer while the rest of the tab is still on its way.
ASKING = ("data/api.js", "index.js", "start.js")


@pytest.mark.parametrize("path", SCRIPTS, ids=named)
def test_only_data_and_the_entry_send_requests(path: Path) -> None:
    if named(path) in ASKING:
        assert set(REQUESTS.findall(code_of(path))) == {"fetch"}
    else:
        assert REQUESTS.findall(code_of(path)) == []


@pytest.mark.parametrize("path", [*SCRIPTS, *STYLES], ids=named)
def test_nothing_is_asked_of_another_server(path: Path) -> None:
    text = code_of(path).replace("http://www.w3.org/", "")  # names of XML, which no one fetches
    assert re.findall(r"\b\w+://\S*", text) == []
    assert re.findall(r"""['"`(]\s*//\S*""", text) == []
    assert re.findall(r"@import\b", text) == []
