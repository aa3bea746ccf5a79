"""torch's optimizers with their flags, and what each one's adapter should find in its state."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


@dataclass(frozen=True)
class OptimizerCase:
    """An optimizer with some flags.

    Attributes:
        kind: Name of the class in ``torch.optim``.
        flags: Non-default flags.
        second_group: Flags that differ in the second half of the parameters; None if there can only
            be one group.
        exp_avg: Key of the state tensor that is the first moment, or None.
        exp_avg_sq: Key of the tensor from which the second moment is computed, or None.
        others: Keys of other tensors.
        decays: Moments that a step updates as ``decay · before + weight · added``.
        update_is_known: Whether the update of each element follows from the state.
        shapes: Suitable parameter shapes.
        gradients: ``dense`` or ``sparse``.
        needs_closure: Whether ``step`` requires a closure.
        state_from_start: Whether there is a state before the first step.
    """

    kind: str
    flags: Mapping[str, Any] = field(default_factory=dict)
    second_group: Mapping[str, Any] | None = None
    exp_avg: str | None = None
    exp_avg_sq: str | None = None
    others: tuple[str, ...] = ()
    decays: tuple[str, ...] = ()
    update_is_known: bool = True
    shapes: tuple[tuple[int, ...], ...] = ((4, 3), (5,), (2, 3, 2), ())
    gradients: str = "dense"
    needs_closure: bool = False
    state_from_start: bool = False

    @property
    def name(self) -> str:
        """Class and flags, such as ``SGD momentum=0.9 nesterov``."""
        sparse = ["sparse gradients"] if self.gradients == "sparse" else []
        return " ".join([self.kind, *map(_text, self.flags, self.flags.values()), *sparse])

    @property
    def requires_grad(self) -> bool:
        """Whether parameters may require gradients: not if the step itself is differentiated."""
        return not self.flags.get("differentiable")

    def build(self, parameters: Sequence[Tensor]) -> Optimizer:
        """Make the optimizer, with two groups if it supports them."""
        make = getattr(torch.optim, self.kind)
        flags = copy.deepcopy(dict(self.flags))
        if self.second_group is None:
            return make(list(parameters), **flags)  # type: ignore[no-any-return]
        half = (len(parameters) + 1) // 2
        groups = [
            {"params": list(parameters[:half])},
            {"params": list(parameters[half:]), **copy.deepcopy(dict(self.second_group))},
        ]
        return make(groups, **flags)  # type: ignore[no-any-return]


def _text(flag: str, value: Any) -> str:
    if value is True:
        return flag
    return f"{flag}={'tensor' if isinstance(value, Tensor) else value}"


def _every(**choices: Sequence[Any]) -> list[dict[str, Any]]:
    """Every combination of some values; False, 0 and None stand for the default."""
    combinations = product(*choices.values())
    return [{k: v for k, v in zip(choices, values, strict=True) if v} for values in combinations]


_MAXIMIZE = (False, True)
_DECAY = (0, 0.1)
_TENSOR_LR = {"lr": torch.tensor(0.01, dtype=torch.float64)}
_VARIANTS: list[dict[str, Any]] = [{"foreach": True}, {"differentiable": True}, _TENSOR_LR]
_FUSED: list[dict[str, Any]] = [{"fused": True}]
_ADAM = {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-5}
_MOMENTS = ("exp_avg", "exp_avg_sq")


def _with_variants(
    flags: list[dict[str, Any]], variants: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Add the implementation variants: each to the simplest and to the fullest of ``flags``."""
    fullest = max(flags, key=len)
    ends = [flags[0]] if fullest == flags[0] else [flags[0], fullest]
    return [*flags, *({**end, **variant} for end in ends for variant in variants)]


def _adam() -> Iterator[OptimizerCase]:
    for kind in ("Adam", "AdamW"):
        # AdamW decays by default, so a decay of 0 is a variant there.
        flags = [
            {**f, **({"weight_decay": 0} if kind == "AdamW" and "weight_decay" not in f else {})}
            for f in _every(weight_decay=_DECAY, amsgrad=_MAXIMIZE, maximize=_MAXIMIZE)
        ]
        for f in _with_variants(flags, _VARIANTS + _FUSED):
            yield OptimizerCase(
                kind,
                f,
                {**_ADAM, "weight_decay": 0.3 if f["weight_decay"] else 0}
                if "weight_decay" in f
                else _ADAM,
                "exp_avg",
                "max_exp_avg_sq" if f.get("amsgrad") else "exp_avg_sq",
                decays=("exp_avg",) if f.get("amsgrad") else _MOMENTS,
            )


def _adam_likes() -> Iterator[OptimizerCase]:
    flags = _every(
        weight_decay=_DECAY, decoupled_weight_decay=_MAXIMIZE, maximize=_MAXIMIZE
    ) + _every(momentum_decay=[0.1], betas=[(0.7, 0.9)])
    for f in _with_variants(flags, _VARIANTS):
        second = {**_ADAM, "momentum_decay": 0.02, "weight_decay": 0.3}
        yield OptimizerCase("NAdam", f, second, "exp_avg", "exp_avg_sq", decays=_MOMENTS)
    flags = _every(weight_decay=_DECAY, decoupled_weight_decay=_MAXIMIZE, maximize=_MAXIMIZE)
    for f in _with_variants([*flags, {"betas": (0.7, 0.9)}], _VARIANTS):
        second = {**_ADAM, "weight_decay": 0.3}
        yield OptimizerCase("RAdam", f, second, "exp_avg", "exp_avg_sq", decays=_MOMENTS)
    flags = _every(weight_decay=_DECAY, maximize=_MAXIMIZE, betas=(None, (0.7, 0.9)))
    for f in _with_variants(flags, _VARIANTS):
        second = {**_ADAM, "weight_decay": 0.3}
        yield OptimizerCase("Adamax", f, second, "exp_avg", "exp_inf", decays=("exp_avg",))
    for f in [*_every(maximize=_MAXIMIZE, betas=(None, (0.7, 0.9))), _TENSOR_LR]:
        yield OptimizerCase(
            "SparseAdam",
            f,
            _ADAM,
            "exp_avg",
            "exp_avg_sq",
            shapes=((6, 3), (9,), (5, 2, 2)),
            gradients="sparse",
        )


def _second_moments_only() -> Iterator[OptimizerCase]:
    second: dict[str, Any] = {"lr": 0.05, "lr_decay": 0.2, "eps": 1e-4, "weight_decay": 0.3}
    flags = _every(
        weight_decay=_DECAY,
        maximize=_MAXIMIZE,
        lr_decay=(0, 0.1),
        initial_accumulator_value=(0, 0.5),
    )
    for f in _with_variants(flags, _VARIANTS + _FUSED):
        yield OptimizerCase(
            "Adagrad", f, second, None, "sum", decays=("exp_avg_sq",), state_from_start=True
        )
    yield OptimizerCase(
        "Adagrad",
        {"lr_decay": 0.1},
        {"lr": 0.05, "eps": 1e-4},
        None,
        "sum",
        decays=("exp_avg_sq",),
        shapes=((6, 3), (9,), (5, 2, 2)),
        gradients="sparse",
        state_from_start=True,
    )
    second = {"lr": 0.5, "rho": 0.7, "eps": 1e-3, "weight_decay": 0.3}
    flags = [*_every(weight_decay=_DECAY, maximize=_MAXIMIZE), {"rho": 0.0}, {"rho": 1.0}]
    for f in _with_variants(flags, _VARIANTS):
        yield OptimizerCase(
            "Adadelta", f, second, None, "square_avg", ("acc_delta",), ("exp_avg_sq",)
        )
    second = {"lr": 0.05, "alpha": 0.8, "eps": 1e-4, "weight_decay": 0.3}
    for momentum, centered in product((0, 0.9), _MAXIMIZE):
        chosen = _every(momentum=[momentum], centered=[centered])[0]
        flags = [{**chosen, **f} for f in _every(weight_decay=_DECAY, maximize=_MAXIMIZE)]
        keys = (*(["grad_avg"] if centered else []), *(["momentum_buffer"] if momentum else []))
        for f in _with_variants(flags, _VARIANTS):
            yield OptimizerCase("RMSprop", f, second, None, "square_avg", keys, ("exp_avg_sq",))
    second = {"lr": 0.05, "beta2_decay": -0.5, "eps": (1e-4, 1e-2), "d": 2.0, "weight_decay": 0.3}
    flags = _every(weight_decay=_DECAY, maximize=_MAXIMIZE, foreach=_MAXIMIZE)
    for f in [*flags, _TENSOR_LR]:
        # Without the second moment, which a test computes itself.
        yield OptimizerCase("Adafactor", f, second, update_is_known=False)


def _descents() -> Iterator[OptimizerCase]:
    momenta: list[dict[str, Any]] = [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.3},
        {"momentum": 0.9, "nesterov": True},
    ]
    for chosen in momenta:
        flags = [{**chosen, **f} for f in _every(weight_decay=_DECAY, maximize=_MAXIMIZE)]
        second: dict[str, Any] = {"lr": 0.05, "weight_decay": 0.3}
        if chosen:
            second["momentum"] = 0.7
        for f in _with_variants(flags, _VARIANTS + _FUSED):
            yield OptimizerCase(
                "SGD",
                f,
                second,
                "momentum_buffer" if chosen else None,
                decays=("exp_avg",) if chosen else (),
                state_from_start=not chosen,
            )
    yield OptimizerCase(
        "SGD",
        {"momentum": 0.9},
        {"lr": 0.05},
        "momentum_buffer",
        decays=("exp_avg",),
        gradients="sparse",
        shapes=((6, 3), (9,), (5, 2, 2)),
    )
    second = {"lr": 0.05, "lambd": 0.05, "alpha": 0.5, "t0": 3, "weight_decay": 0.3}
    for f in _with_variants(
        _every(weight_decay=_DECAY, maximize=_MAXIMIZE, lambd=(0, 0.1), t0=(0, 2)), _VARIANTS
    ):
        yield OptimizerCase("ASGD", f, second, others=("ax",))
    second = {"lr": 0.05, "etas": (0.4, 1.5), "step_sizes": (1e-3, 0.06)}
    for f in _with_variants(_every(maximize=_MAXIMIZE, etas=(None, (0.6, 1.1))), _VARIANTS):
        yield OptimizerCase("Rprop", f, second, others=("prev", "step_size"))


def _whole_tensors() -> Iterator[OptimizerCase]:
    second = {"lr": 0.05, "momentum": 0.7, "weight_decay": 0.3, "nesterov": False}
    adjustments = (None, "match_rms_adamw")
    for f in _every(weight_decay=(None, 0.2), momentum=(None, 0.8), adjust_lr_fn=adjustments):
        yield OptimizerCase(
            "Muon",
            f,
            second,
            "momentum_buffer",
            decays=("exp_avg",),
            update_is_known=False,
            shapes=((4, 3), (5, 2), (3, 3), (2, 6)),
        )
    lines = (None, "strong_wolfe")
    for f in _every(line_search_fn=lines, history_size=(None, 3), maximize=_MAXIMIZE):
        yield OptimizerCase(
            "LBFGS", {"max_iter": 4, **f}, update_is_known=False, needs_closure=True
        )


def _defaults(kind: str) -> dict[str, Any]:
    make = getattr(torch.optim, kind)
    return make([torch.zeros(1, 1)]).defaults  # type: ignore[no-any-return]


CASES: tuple[OptimizerCase, ...] = tuple(
    case
    for family in (_adam, _adam_likes, _second_moments_only, _descents, _whole_tensors)
    for case in family()
    # Older versions of torch have fewer of both.
    if hasattr(torch.optim, case.kind) and case.flags.keys() <= _defaults(case.kind).keys()
)
