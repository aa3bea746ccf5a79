"""The checks that benchmarks/gpu.py runs."""

import sys
from pathlib import Path

# The models of the other benchmarks, which are scripts in one folder.
sys.path.append(str(Path(__file__).parents[1] / "cost"))
