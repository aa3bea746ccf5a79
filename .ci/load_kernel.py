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

numbers = array.array("f", [0.5] * 10_000)
addresses = array.array("q", [numbers.buffer_info()[0]])
elements = array.array("q", [len(numbers)])
for level, name in enumerate(kernel.LEVELS):
    sums = array.array("d", [0])
    places = [memory.buffer_info()[0] for memory in (addresses, elements)]
    kernel.squares(level, *places, 1, sums.buffer_info()[0])
    assert math.isclose(sums[0], 2_500), (name, sums[0])
    print(f"the native kernel works: {name}")
