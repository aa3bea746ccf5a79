"""Every optimizer with every flag, trained with and without the callback, and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optimizer_cases
import third_party_cases
import torch
from recorded_run import read_run
from torch import Tensor, nn
from torch.optim import Optimizer

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.optimizer_state.base import OptimizerState
from tb_adam_plugin.callback.optimizer_state.parameter_state import read
from tb_adam_plugin.callback.optimizer_state.registry import adapter_for

# For the float64 weights of torch's optimizers; packages that compute in float32 have their own.
_TOLERANCE = 1e-6

Step = Callable[[int], None]


@dataclass(frozen=True)
class Trial:
    """One optimizer with some flags.

    Attributes:
        package: Its package.
        optimizer: Name of the class.
        flags: Non-default flags, as text.
        prepare: Makes parameters, the optimizer and a function that takes a numbered step.
        tolerance: How far the requested update may be from the applied one, relative to its norm;
            None if the formula is unknown.
        dtype: Type of the parameters.
        steps: How many steps to take.
    """

    package: str
    optimizer: str
    flags: str
    prepare: Callable[[], tuple[list[nn.Parameter], Optimizer, Step]]
    tolerance: float | None
    dtype: torch.dtype
    steps: int = 4

    def __str__(self) -> str:
        return f"{self.package}.{self.optimizer} {self.flags}".rstrip()


@dataclass(frozen=True)
class Outcome:
    """The result of a training: weights before and after each step, and all bytes at the end."""

    weights: list[list[Tensor]]
    end: list[Any]
    optimizer: Optimizer


def run(trial: Trial, log_dir: Path | None) -> Outcome:
    """Train, with the callback if a folder is given."""
    with _default_dtype(trial.dtype):
        torch.manual_seed(0)
        parameters, optimizer, step = trial.prepare()
        weights = [_copies(parameters)]
        debug = None
        if log_dir is not None:
            debug = AdamDebugCallback(
                [(f"p{i}", p) for i, p in enumerate(parameters)],
                optimizer,
                log_dir=log_dir,
                every_n_steps=1,
                on_error="raise",
            )
        # torchao compiles its steps for half a minute; the arithmetic is the same without.
        with torch.compiler.set_stance("force_eager"):
            for number in range(trial.steps):
                step(number)
                weights.append(_copies(parameters))
        if debug is not None:
            debug.close()
        end = [torch.get_rng_state(), parameters, _state(optimizer), optimizer.param_groups]
        return Outcome(weights, _as_bytes(end), optimizer)


def check(trial: Trial, log_dir: Path) -> None:
    """Assert everything that the table in docs/optimizer-tests.md claims about a trial."""
    plain, watched = run(trial, None), run(trial, log_dir)
    assert watched.end == plain.end, "training is not the same, bit by bit"

    recorded = read_run(log_dir)
    adapter = adapter_for(watched.optimizer)
    owners = [g for g in watched.optimizer.param_groups for _ in g["params"]]
    final = [p for g in watched.optimizer.param_groups for p in g["params"]]
    for i, (parameter, group) in enumerate(zip(final, owners, strict=True)):
        name = f"p{i}"
        for step in range(1, trial.steps + 1):
            # The update of the training without the callback.
            change = (plain.weights[step][i].double() - plain.weights[step - 1][i].double()).numpy()
            row = recorded.of(step, name)
            true_rms = float(np.sqrt(np.mean(change**2)))
            assert np.isclose(row["update_rms"], true_rms, rtol=1e-5, atol=1e-30), (name, step)
            counts = schema.count_values(change.astype(np.float32), schema.QUANTITIES[2])
            assert recorded.histogram(step, name, "update").tolist() == counts.tolist()
            error = row["update_rounding_error"]
            if trial.tolerance is None:
                assert np.isnan(error), "an update is said to be known"
            elif not np.isnan(error):
                assert error <= trial.tolerance, (name, step, error)
        _check_moments(adapter, parameter, group, recorded, name)
    known = any(np.isfinite(table).any() for table in _column(recorded, "update_rounding_error"))
    assert known == (trial.tolerance is not None)


def _check_moments(
    adapter: OptimizerState, parameter: Tensor, group: Any, recorded: Any, name: str
) -> None:
    """The histograms of the last step are those of the state's own tensors."""
    state = adapter.state_of(parameter, group)
    if state is None:
        return
    layout = recorded.layouts[recorded.layout_at[max(recorded.layout_at)]]
    quantities = {quantity.name: quantity for quantity in layout.quantities}
    sources: dict[str, Any] = {"exp_avg": state.exp_avg, "exp_avg_sq": state.exp_avg_sq}
    for key, source in state.others.items():
        sources[schema.state_quantity(key).name] = source
    for quantity, source in sources.items():
        counts = recorded.histogram(max(recorded.layout_at), name, quantity)
        if source is None:
            assert counts.sum() == 0, quantity
            continue
        values = read(source).detach().double()
        if quantity == "exp_avg_sq" and adapter.exp_avg_sq_is_root:
            values = values**2
        expected = schema.count_values(values.numpy().astype(np.float32), quantities[quantity])
        assert counts.tolist() == expected.tolist(), quantity


def trials() -> list[Trial]:
    """Every trial, torch's own optimizers first."""
    return [*map(_of_torch, optimizer_cases.CASES), *map(_of_package, third_party_cases.CASES)]


def _of_torch(case: optimizer_cases.OptimizerCase) -> Trial:
    def prepare() -> tuple[list[nn.Parameter], Optimizer, Step]:
        parameters = [
            nn.Parameter(0.3 * torch.randn(shape), requires_grad=case.requires_grad)
            for shape in case.shapes
        ]
        optimizer = case.build(parameters)

        def loss() -> float:
            optimizer.zero_grad()
            total = torch.stack([((p - 0.3) ** 2).sum() for p in parameters]).sum()
            total.backward()
            return total.item()

        def step(number: int) -> None:
            if case.needs_closure:
                optimizer.step(loss)
                return
            for parameter in parameters:
                parameter.grad = _gradient(parameter, case.gradients == "sparse")
            optimizer.step()

        return parameters, optimizer, step

    flags = case.name.removeprefix(case.kind).strip()
    tolerance = _TOLERANCE if case.update_is_known else None
    return Trial("torch", case.kind, flags, prepare, tolerance, torch.float64)


def _of_package(case: third_party_cases.Case) -> Trial:
    def prepare() -> tuple[list[nn.Parameter], Optimizer, Step]:
        parameters = case.parameters()
        optimizer = case.make(parameters)

        def step(number: int) -> None:
            case.set_gradients(parameters, number)
            optimizer.step()

        return parameters, optimizer, step

    flags = " ".join(f"{key}={value}" for key, value in case.flags.items())
    package = f"{case.package} (stand-in)" if case.stand_in else case.package
    tolerance = case.tolerance
    if tolerance is not None:
        # The package's tolerance is relative to the largest element, without rounding of a float32
        # weight.
        tolerance = max(_TOLERANCE, 30 * tolerance) + (1e-4 if case.dtype == torch.float32 else 0)
    # A rectified optimizer starts with steps of another kind.
    steps = 8 if case.flags.get("rectify") else 4
    return Trial(package, case.name, flags, prepare, tolerance, case.dtype, steps)


def _gradient(parameter: Tensor, sparse: bool) -> Tensor:
    scale = 10.0 ** torch.randint(-4, 2, parameter.shape)
    gradient = torch.randn(parameter.shape) * scale * (torch.rand(parameter.shape) > 0.2)
    if not sparse:
        return gradient
    indices = torch.randint(0, len(parameter), (1, 4))
    return torch.sparse_coo_tensor(
        indices, gradient[indices[0]], parameter.shape, check_invariants=True
    )


def _column(recorded: Any, statistic: str) -> Iterator[Any]:
    column = [s.name for s in schema.STATISTICS].index(statistic)
    return (table[:, column] for table in recorded.statistics.values())


def _copies(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def _state(optimizer: Optimizer) -> list[Any]:
    return [optimizer.state[p] for group in optimizer.param_groups for p in group["params"]]


def _as_bytes(value: Any) -> Any:
    """Replace every tensor in nested containers by its content, to the last bit."""
    if hasattr(value, "dequantize") and isinstance(value, Tensor) and type(value) is not Tensor:
        value = value.dequantize() if not isinstance(value, nn.Parameter) else value
    if isinstance(value, Tensor):
        value = value.detach()
        dense = value.to_dense() if value.is_sparse else value
        return (str(dense.dtype), tuple(dense.shape), dense.contiguous().reshape(-1)
                .view(torch.uint8).numpy().tobytes())  # fmt: skip
    if isinstance(value, dict):
        return {key: _as_bytes(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_bytes(item) for item in value]
    return value if isinstance(value, int | float | str | bool | None) else repr(type(value))


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make optimizers keep their own numbers in the parameters' precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype if dtype == torch.float64 else torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
