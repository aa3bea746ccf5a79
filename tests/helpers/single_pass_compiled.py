"""The Triton kernels compiled for GPUs, without one."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tb_adam_plugin.callback.measure.gpu import launches

TYPES = ("WEIGHT", "GRADIENT", "EXP_AVG", "EXP_AVG_SQ")


def compile_for_gpus() -> None:
    """Compile the kernels for a step with every quantity, with and without all other options."""
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from tb_adam_plugin.callback.measure.gpu import kernel_layout

    kernels = launches.Kernels.loaded()
    pointers = {
        "chunk_parameter": "*i32", "table": "*i64", "lines": "*i32", "numbers": "*fp32",
        "values": "*fp32", "row_squares": "*fp32", "counts": "*i32", "alive": "*u8",
        "steps": "*fp32", "parameters": "i32", "chunks": "i32",
    }  # fmt: skip
    for capability, kind, is_all in (
        (80, kernel_layout.FLOAT32, False),
        (90, kernel_layout.FLOAT32, False),
        (90, kernel_layout.MIXED, True),
    ):
        for kernel in (kernels.keep, kernels.reduce, kernels.totals):
            names = kernel.arg_names
            settings: dict[str, Any] = {name: is_all for name in names if name not in pointers}
            settings |= {name: kind for name in settings if name in TYPES}
            counted = [name for name in settings if name.startswith("COUNT")]
            settings |= {name: i for i, name in enumerate(counted)}
            always = {"HAS_EXP_AVG": True, "HAS_EXP_AVG_SQ": True, "KNOWS_UPDATE": True}
            always |= {"SAMPLED": True, "IS_BEFORE": False, "ALIGNED": True}
            settings |= {name: value for name, value in always.items() if name in settings}
            source = ASTSource(
                kernel,
                {name: pointers.get(name, "constexpr") for name in names},
                {(names.index(name),): value for name, value in settings.items()},
            )
            is_total = kernel is kernels.totals
            warps = kernel_layout.WHOLE_WARPS if is_total else kernel_layout.WARPS
            target = GPUTarget("cuda", capability, 32)
            compiled = compile(source, target=target, options={"num_warps": warps})
            registers, spilled = resources_of(compiled.asm["cubin"])
            print(f"{kernel.__name__} {capability} {warps} {registers} {spilled}")
            assert registers <= kernel_layout.MOST_REGISTERS
            assert spilled == 0
            # Four numbers at a time, if a thread has that many side by side.
            assert not is_total or ".v4.b32" in compiled.asm["ptx"]


def resources_of(cubin: bytes) -> tuple[int, int]:
    """Return a compiled kernel's registers per thread, and the bytes that it spills."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        listed = subprocess.run(
            [tool, "--dump-resource-usage", file.name], check=True, capture_output=True, text=True
        ).stdout
    found = {name: int(n) for name, n in re.findall(r"(REG|STACK|LOCAL):(\d+)", listed)}
    return found["REG"], found["STACK"] + found["LOCAL"]
