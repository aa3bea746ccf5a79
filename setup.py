"""Packaging: folders side by side in the repository, one package for users.

``callback/`` and ``frontend_static/`` are installed inside ``tb_adam_plugin``. Two symlinks of the
same names in ``tb_adam_plugin/`` give a bare checkout, editors and type checkers the same picture.

One module is in C. It is optional: without a compiler the installation says so, succeeds, and
torch's operations do the same. It uses the stable interface of CPython 3.10, so that one wheel of a
platform serves every later version.
"""

import re
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
# Where the code lies. Two folders of the top level are parts of the package.
SOURCES = {
    "tb_adam_plugin": "tb_adam_plugin",
    "tb_adam_plugin.callback": "callback",
    "tb_adam_plugin.frontend_static": "frontend_static",
}
PACKAGES = {
    ".".join([package, *folder.relative_to(ROOT / source).parts]): folder.relative_to(
        ROOT
    ).as_posix()
    for package, source in SOURCES.items()
    for folder in sorted({ROOT / source, *(f.parent for f in (ROOT / source).rglob("__init__.py"))})
}
DECLARED = re.search(
    r'^__version__ = "(.+)"$',
    (ROOT / "tb_adam_plugin" / "__init__.py").read_text(encoding="utf-8"),
    re.MULTILINE,
)
assert DECLARED is not None
VERSION = DECLARED[1]

# Python without the interpreter lock has no stable interface.
IS_STABLE = not sysconfig.get_config_var("Py_GIL_DISABLED")
# No -ffast-math: a sum may be made in any order where the source says so, and nothing else changes.
GCC_OPTIONS = [
    "-O3", "-g0", "-std=c99", "-fopenmp-simd", "-ffp-contract=off", "-fno-math-errno",
    "-fno-trapping-math",
]  # fmt: skip
KERNEL = Extension(
    "tb_adam_plugin.callback.native._kernel",
    ["callback/native/kernel.c"],
    depends=[f"callback/native/{name}" for name in ("kernel.h", "body.inc", "widening.inc")],
    define_macros=[("Py_LIMITED_API", "0x030A0000")] if IS_STABLE else [],
    extra_compile_args=["/O2", "/std:c11"] if sys.platform == "win32" else GCC_OPTIONS,
    py_limited_api=IS_STABLE,
    optional=True,
)

# What is read offline: the plugin and the command show parts of these documents.
DOCUMENTS = {
    f"tb_adam_plugin/explanations/documents/{path.relative_to(ROOT / 'docs').as_posix()}": path
    for name in ("how-to-read.md", "rules.md")
    for path in sorted((ROOT / "docs").glob(f"{name}")) + sorted((ROOT / "docs").glob(f"*/{name}"))
}


class BuildWithDocuments(build_py):
    """Puts the documents into the package; in a checkout they are read where they lie."""

    def run(self) -> None:
        """Build the package."""
        super().run()
        if not self.editable_mode:
            for source, target in zip(DOCUMENTS.values(), self._documents(), strict=True):
                target.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(str(source), str(target))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return every file that is built."""
        built: list[str] = super().get_outputs(include_bytecode)
        return built if self.editable_mode else [*built, *map(str, self._documents())]

    def _documents(self) -> list[Path]:
        return [Path(self.build_lib, target) for target in DOCUMENTS]


TORCH = ["torch>=2.4"]
PLOT = ["matplotlib>=3.7"]
EXAMPLES = ["torch>=2.4", "torchvision>=0.19", "scikit-learn>=1.3", "tqdm>=4.60"]
# The oldest versions with which the tests of each framework were seen to pass.
FRAMEWORKS = {
    "accelerate": ["accelerate>=0.30"],
    "lightning": ["lightning>=2.4"],
    "transformers": ["transformers>=4.40", "accelerate>=0.30"],
}
# Address of the repository's start page; empty until it has one. The package index shows README
# outside of the repository, where relative links lead nowhere.
REPOSITORY = ""


def long_description(address: str) -> str:
    """Return README as the package index is to show it.

    Args:
        address: Of the repository, without a slash at its end. If empty, relative links become
            plain text and pictures are left out.
    """
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    # The index shows no pictures for dark pages.
    text = re.sub(r"<picture>.*?(<img [^>]*>)\s*</picture>", r"\1", text, flags=re.DOTALL)
    link, picture = r"\[([^\]]+)\]\((?!\w+://)([^)]+)\)", r'<img ([^>]*)src="(?!\w+://)([^"]+)">'
    if not address:
        return re.sub(picture, "", re.sub(link, r"\1", text))
    at = f"v{VERSION}"  # as the tags of releases are named
    text = re.sub(link, rf"[\1]({address}/blob/{at}/\2)", text)
    return re.sub(picture, rf'<img \1src="{address}/raw/{at}/\2">', text)


setup(
    name="tb-adam-plugin",
    version=VERSION,
    description="The optimizer debugger for TensorBoard: see what Adam is really doing",
    long_description=long_description(REPOSITORY),
    long_description_content_type="text/markdown",
    project_urls={"Source": REPOSITORY} if REPOSITORY else {},
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Framework :: Jupyter",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Visualization",
        "Typing :: Typed",
    ],
    keywords=["adam", "adamw", "optimizer", "pytorch", "tensorboard", "debugging"],
    packages=list(PACKAGES),
    package_dir=PACKAGES,
    ext_modules=[KERNEL],
    cmdclass={"build_py": BuildWithDocuments},
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if IS_STABLE else {},
    package_data={
        "tb_adam_plugin": ["py.typed", "http_api.md"],
        "tb_adam_plugin.languages": ["*.json"],
        "tb_adam_plugin.frontend_static": [
            f"**/*.{kind}" for kind in ("js", "css", "md", "svg", "json")
        ],
    },
    # protobuf and werkzeug come with TensorBoard, which knows the versions that fit its own code.
    install_requires=["tensorboard>=2.18", "numpy>=1.26", "google-crc32c>=1.5"],
    extras_require={
        "torch": TORCH,
        "plot": PLOT,
        "examples": EXAMPLES,
        **FRAMEWORKS,
    },
    entry_points={
        "tensorboard_plugins": ["adam_debug = tb_adam_plugin.loader:AdamDebugLoader"],
        "console_scripts": ["adam-debug = tb_adam_plugin.cli:main"],
    },
)
