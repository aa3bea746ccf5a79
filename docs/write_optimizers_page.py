"""Writes docs/optimizers.md: which optimizers are understood, and what is tested of each.

PYTHONPATH=tests/helpers python docs/write_optimizers_page.py
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from optimizer_trials import Trial, trials

from tb_adam_plugin.callback.optimizer_state.base import OptimizerState
from tb_adam_plugin.callback.optimizer_state.registry import adapter_for

PAGE = Path(__file__).parent / "optimizers.md"

_HEAD = """\
# Optimizers

Written by `PYTHONPATH=tests/helpers python docs/write_optimizers_page.py` from the cases that
`tests/callback/test_every_optimizer.py` trains. For each row it asserts that

- **update**: the recorded update of every element is the difference that the step made to the
  weights of a training without the callback;
- **moments**: the recorded histograms are those of the tensors in the optimizer's own state;
- **formula**: the update that the step asked for, from state and hyperparameters, equals the
  applied one (this is what tells how much rounding loses), or is said not to be known;
- **training**: weights, state and random numbers are bit-identical with and without the callback.

"Stand-in" means a class with the module path and the documented state of one that is not
installed in the tests. Of optimizers that are not listed the update, weight, gradient and the
tensors of their state are recorded.
"""


def page(of: Sequence[Trial]) -> str:
    """Return the page's text."""
    sections = [_HEAD, _summary(of)]
    for package, group in itertools.groupby(of, lambda trial: trial.package):
        sections += [f"\n## {package}, case by case\n", _table(group)]
    return "\n".join(sections)


def _summary(of: Iterable[Trial]) -> str:
    lines = [
        "| optimizer | exp_avg | exp_avg_sq | other tensors | formula | cases |",
        "|---|---|---|---|---|---|",
    ]
    by_class: dict[str, list[Trial]] = {}
    for trial in of:
        by_class.setdefault(f"{trial.package}.{trial.optimizer}", []).append(trial)
    for name, cases in by_class.items():
        first, second, others = set(), set(), {}
        adapter: OptimizerState | None = None
        for trial in cases:
            _, optimizer, step = trial.prepare()
            adapter = adapter_for(optimizer)
            adapter.before_step()
            step(1)
            meanings = adapter.meanings
            for owner in optimizer.param_groups:
                for parameter in owner["params"]:
                    state = adapter.state_of(parameter, owner)
                    if state is not None:
                        if state.exp_avg is not None:
                            first.add(meanings.get("exp_avg", "exp_avg"))
                        if state.exp_avg_sq is not None:
                            second.add(meanings.get("exp_avg_sq", "exp_avg_sq"))
                        others.update(dict.fromkeys(state.others))
        cells = [
            name,
            "; ".join(sorted(first)).replace("|", r"\|") or "–",
            "; ".join(sorted(second)).replace("|", r"\|") or "–",
            ", ".join(f"`{key}`" for key in sorted(others)) or "–",
            "known" if cases[0].tolerance is not None else "not known",
            str(len(cases)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


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
    PAGE.write_text(page(trials()), encoding="utf-8")
    print(f"wrote {PAGE}")
