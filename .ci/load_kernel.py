"""Loads the native kernel of the installed wheel, without torch, and runs it: for each wheel."""

import array
import importlib.metadata
import importlib.util
import math

files = importlib.metadata.files("tb-adam-plugin") or []
(path,) = (file.locate() for file in files if file.name.startswith("_kernel."))
spec = importlib.util.spec_from_file_location("_kernel", str(path))
assert spec is not None
assert spec.loader is not None
kernel = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kernel)

# One half, as each type stores it.
stored = [array.array("f", [0.5]), array.array("H", [0x3F00]), array.array("H", [0x3800])]
numbers = [one * 10_000 for one in stored]
addresses = array.array("q", [memory.buffer_info()[0] for memory in numbers])
types = array.array("q", map(kernel.TYPES.index, ("float32", "bfloat16", "float16")))
elements = array.array("q", map(len, numbers))
for level, name in enumerate(kernel.LEVELS):
    sums = array.array("d", [0] * len(numbers))
    places = [memory.buffer_info()[0] for memory in (addresses, types, elements)]
    kernel.squares(level, *places, len(numbers), sums.buffer_info()[0])
    assert all(math.isclose(found, 2_500) for found in sums), (name, sums)
    print(f"the native kernel works: {name}")
