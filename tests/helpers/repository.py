"""The files of the repository that tests inspect."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PLUGIN = sorted(
    path
    for path in (ROOT / "tb_adam_plugin").rglob("*.py")
    if path.relative_to(ROOT / "tb_adam_plugin").parts[0] not in ("callback", "frontend_static")
)
CALLBACK = sorted((ROOT / "callback").rglob("*.py"))
TAB = ROOT / "frontend_static"
SCRIPTS = sorted(TAB.rglob("*.js"))
STYLES = sorted(TAB.rglob("*.css"))


def named(path: Path) -> str:
    return path.relative_to(ROOT / "frontend_static").as_posix()


OWN_SCRIPTS = [path for path in SCRIPTS if not named(path).startswith("vendor/")]

# All modules in Python and JavaScript, each once: the package links to two of the folders.
MODULES = [
    ROOT / "setup.py",
    *PLUGIN,
    *sorted(
        path
        for folder in (".ci", "benchmarks", "callback", "docs", "examples", TAB.name, "tests")
        for suffix in (".py", ".js", ".mjs")
        for path in (ROOT / folder).rglob(f"*{suffix}")
    ),
]
