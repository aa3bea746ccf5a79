"""Write docs/optimizers.md, the supported optimizers, and docs/optimizer-tests.md, all tests.

PYTHONPATH=tests/helpers python docs/write_optimizers_page.py
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from optimizer_trials import Trial, trials

from tb_adam_plugin.callback.optimizer_state.base import OptimizerState
from tb_adam_plugin.callback.optimizer_state.registry import adapter_for

FOLDER = Path(__file__).parent

_HEAD = """\
# Optimizers

For the optimizers in this table Adam Debug knows what their state means. For any other optimizer it
records the update, the weights, the gradients and the tensors of its state as they are.

- **exp_avg**, **exp_avg_sq**: the meaning of these quantities. The tab names the statistics that an
  optimizer does not have.
- **other state** is recorded as histograms under its own name.
- **requested update**: if known, Adam Debug computes from state and hyperparameters the update
  that the step requested, and how much of it is lost to rounding (`lost_update_fraction`,
  `update_slope`).
- **tests**: number of tested combinations of flags. Each compares the records with a training
  without the callback: [all of them](optimizer-tests.md).

"Stand-in" means a class with the module path and the documented state of a package that is not
installed in the tests.

A subclass is read as its base class. What it does differently is measured: values that do not
follow from the formula are NaN. Gradients that its `step()` sets to zero in place are not known
afterwards, so their statistics are NaN, and a warning says so. Gradients that it removes
(`set_to_none=True`) are recorded. A subclass that replaces a gradient by another tensor within
`step()`, and removes that or puts the first one back, is not noticed: the first one is recorded.
"""

_TESTS_HEAD = """\
# Tests of optimizers

Written by `PYTHONPATH=tests/helpers python docs/write_optimizers_page.py` from the cases that
`tests/callback/test_every_optimizer.py` trains. [Optimizers](optimizers.md) has the summary.
Each row asserts that

- **update**: the recorded update of every element is the change that the step made to the
  weights of a training without the callback;
- **moments**: the recorded histograms are those of the tensors in the optimizer's own state;
- **formula**: the requested update, computed from state and hyperparameters, equals the applied
  one, or is declared as not known;
- **training**: weights, state and random numbers are bit-identical with and without the callback.
"""


def pages(of: Sequence[Trial]) -> dict[str, str]:
    """Return the texts of both pages, by file name."""
    sections = [_TESTS_HEAD]
    for package, group in itertools.groupby(of, lambda trial: trial.package):
        sections += [f"## {package}\n", _table(group)]
    return {
        "optimizers.md": "\n".join([_HEAD, _summary(of), ""]),
        "optimizer-tests.md": "\n".join(sections),
    }


def _summary(of: Iterable[Trial]) -> str:
    lines = [
        "| package | optimizer | exp_avg | exp_avg_sq | other state | requested update | tests |",
        "|---|---|---|---|---|---|---|",
    ]
    by_class: dict[tuple[str, str], list[Trial]] = {}
    for trial in of:
        by_class.setdefault((trial.package, trial.optimizer), []).append(trial)
    # Optimizers of one package with the same meaning share a row.
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    numbers: dict[tuple[str, tuple[str, ...]], int] = {}
    for (package, name), cases in by_class.items():
        row = package, _meaning(cases)
        alike.setdefault(row, []).append(name)
        numbers[row] = numbers.get(row, 0) + len(cases)
    for (package, meaning), names in alike.items():
        shown = "Apex, DeepSpeed (stand-ins)" if "stand-in" in package else package
        cells = [shown, ", ".join(names), *meaning, str(numbers[package, meaning])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _meaning(cases: Sequence[Trial]) -> tuple[str, ...]:
    """Return the cells that describe an optimizer's state."""
    first, second, others = set(), set(), {}
    for trial in cases:
        _, optimizer, step = trial.prepare()
        adapter: OptimizerState = adapter_for(optimizer)
        adapter.before_step()
        step(1)
        for owner in optimizer.param_groups:
            for parameter in owner["params"]:
                state = adapter.state_of(parameter, owner)
                if state is None:
                    continue
                if state.exp_avg is not None:
                    first.add(adapter.meanings.get("exp_avg", "exp_avg"))
                if state.exp_avg_sq is not None:
                    second.add(adapter.meanings.get("exp_avg_sq", "exp_avg_sq"))
                others.update(dict.fromkeys(state.others))
    return (
        "; ".join(sorted(first)).replace("|", r"\|") or "–",
        "; ".join(sorted(second)).replace("|", r"\|") or "–",
        ", ".join(f"`{key}`" for key in sorted(others)) or "–",
        "known" if cases[0].tolerance is not None else "not known",
    )


def _table(of: Iterable[Trial]) -> str:
    lines = [
        "| optimizer | flags | update | moments | formula | training |",
        "|---|---|---|---|---|---|",
    ]
    for trial in of:
        formula = "not known" if trial.tolerance is None else "equal"
        flags = f"`{trial.flags}`" if trial.flags else "defaults"
        lines.append(f"| {trial.optimizer} | {flags} | equal | equal | {formula} | identical |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for name, text in pages(trials()).items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(f"wrote {FOLDER / name}")
