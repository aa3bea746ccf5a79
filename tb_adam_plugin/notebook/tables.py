"""Features that need other libraries: pandas tables, matplotlib charts."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.arrays import Float32s
from tb_adam_plugin.schema import STATISTIC_BY_NAME


def frame(
    columns: Mapping[str, npt.NDArray[Any]] | npt.NDArray[Any],
    index: npt.NDArray[Any],
    names: Sequence[str] | None = None,
) -> Any:
    """Return a ``pandas.DataFrame`` with an index of steps.

    Args:
        columns: By name, or a matrix.
        index: The step of each row.
        names: Names of a matrix's columns.

    Raises:
        ImportError: If pandas is not installed.
    """
    pandas = _needed("pandas", "to_pandas()")
    return pandas.DataFrame(
        columns, index=pandas.Index(index.astype(np.int64), name="step"), columns=names
    )


def plot_statistic(
    statistic: str,
    steps: npt.NDArray[np.int64],
    values: Float32s,
    names: Sequence[str],
    axes: Any = None,
) -> Any:
    """Draw a line for each tensor, and return matplotlib's axes.

    Args:
        statistic: Its name.
        steps: int64 ``[records]``.
        values: float32 ``[records, names]``.
        names: Names of the tensors.
        axes: The axes to draw into; new ones by default.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    if axes is None:
        pyplot = _needed("matplotlib.pyplot", "plot()")
        _, axes = pyplot.subplots(layout="constrained")
    shown = STATISTIC_BY_NAME[statistic]
    for name, line in zip(names, values.T, strict=True):
        axes.plot(steps, line, label=name, linewidth=1)
    if shown.scale == "log" and bool((values > 0).any()):
        axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel(shown.label)
    if len(names) <= 12:
        axes.legend(fontsize="small")
    return axes


def _needed(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f"{what} needs {package}: pip install {package}") from error
