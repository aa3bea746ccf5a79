"""The docstrings of Python's standard library; run as a program, this file prints them.

Other packages change what is found there: transformers adds methods to `logging.Logger`, and an
import leaves modules behind as members of others. So `data.docstrings_text` uses a fresh process.
"""

from __future__ import annotations

import importlib
import inspect
import sys

MODULES = (
    "argparse", "asyncio", "collections", "concurrent.futures", "csv", "ctypes", "datetime",
    "decimal", "difflib", "email.message", "enum", "fractions", "functools", "heapq", "http.client",
    "inspect", "io", "itertools", "json", "logging", "mailbox", "math", "multiprocessing", "os",
    "pathlib", "pickle", "random", "re", "shutil", "socket", "sqlite3", "statistics", "string",
    "subprocess", "tarfile", "tempfile", "textwrap", "threading", "turtle", "typing",
    "unittest.mock", "urllib.request", "xml.dom.minidom", "zipfile",
)  # fmt: skip


def docstrings() -> str:
    """The docstrings of `MODULES` in this process, each once, by name."""
    texts: dict[str, None] = {}
    for name in MODULES:
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            getattr(module, public)  # some only exist after being requested
        members = [value for _, value in sorted(vars(module).items(), key=lambda item: item[0])]
        for member in [module, *members]:
            texts[_own_doc(member)] = None
            if inspect.isclass(member):
                texts.update((_own_doc(value), None) for value in vars(member).values())
    return "\n".join(texts)


def _own_doc(member: object) -> str:
    doc = getattr(member, "__doc__", None) if callable(member) or inspect.ismodule(member) else None
    return inspect.cleandoc(doc) if isinstance(doc, str) else ""


if __name__ == "__main__":
    sys.stdout.buffer.write(docstrings().encode())
