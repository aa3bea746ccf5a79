"""What adapters report about an optimizer's state, against what the optimizer does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from adapter_rows import requested_updates, states_and_table
from optimizer_cases import CASES, OptimizerCase
from optimizer_steps import (
    NO_GRADIENT,
    Array,
    coefficients_of,
    group_of,
    make_parameters,
    states_of,
    train,
)
from torch import Tensor, nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback.optimizer_state import undefined
from tb_adam_plugin.callback.optimizer_state.coefficients import COEFFICIENTS, StepTable
from tb_adam_plugin.callback.optimizer_state.group_settings import hyperparameter
from tb_adam_plugin.callback.optimizer_state.measured_only import MeasuredOnly
from tb_adam_plugin.callback.optimizer_state.parameter_state import read
from tb_adam_plugin.callback.optimizer_state.registry import adapter_for

# Adagrad makes sparse tensors without saying whether to check them.
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")

all_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
explained_cases = pytest.mark.parametrize(
    "case", [c for c in CASES if c.update_is_known], ids=lambda case: case.name
)


@pytest.fixture(autouse=True)
def _double_numbers() -> Iterator[None]:
    """Make optimizers keep numbers such as mu_product in the precision of the parameters here."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@explained_cases
def test_requested_update_is_the_true_difference(case: OptimizerCase) -> None:
    moved = 0
    for taken in train(case):
        updates = requested_updates(taken.adapter, taken.before, taken.gradients)
        for i, update in enumerate(updates):
            true = taken.after[i] - taken.before[i]
            if taken.gradients[i] is None:
                assert update is None
                assert (i, taken.step) == NO_GRADIENT
                assert not true.any()
                continue
            assert update is not None
            torch.testing.assert_close(update, true, rtol=1e-9, atol=1e-14)
            moved += int(true.count_nonzero())
    assert moved or case.flags.get("rho") == 1.0  # then square_avg stays 0


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c.update_is_known and not (c.flags.keys() & {"differentiable", "lr"})],
    ids=lambda case: case.name,
)
def test_requested_update_in_single_precision(case: OptimizerCase) -> None:
    torch.set_default_dtype(torch.float32)
    for taken in train(case, torch.float32):
        updates = requested_updates(taken.adapter, taken.before, taken.gradients)
        for i, update in enumerate(updates):
            if update is not None:
                true = taken.after[i].double() - taken.before[i].double()
                # Decay and update round the weight once each, and the factor of decay is rounded.
                rounding = 3 * 2**-24 * taken.after[i].abs().max().item()
                atol = 1e-5 * true.abs().max().item() + rounding
                torch.testing.assert_close(update, true, rtol=0, atol=atol)


@all_cases
def test_moments_are_those_of_the_optimizer(case: OptimizerCase) -> None:
    for taken in train(case):
        for parameter, state in states_and_table(taken.adapter)[0]:
            if state is None:
                continue
            own = taken.adapter.optimizer.state[parameter]
            if own and state.exp_avg is not None and own[case.exp_avg].is_sparse:
                assert torch.equal(read(state.exp_avg), own[case.exp_avg].to_dense())
            else:
                assert state.exp_avg is own.get(case.exp_avg)
            if case.kind != "Adafactor":
                assert state.exp_avg_sq is own.get(case.exp_avg_sq)
            assert {key: id(source) for key, source in state.others.items()} == {
                key: id(own[key]) for key in case.others
            }
            assert taken.adapter.exp_avg_sq_is_root == (case.kind == "Adamax")
            if "step" in own:
                assert state.step is own["step"]
            else:
                assert isinstance(state.step, float)
                assert math.isnan(state.step)


@all_cases
def test_coefficients_make_the_moments_of_those_before(case: OptimizerCase) -> None:
    for taken in train(case):
        c = coefficients_of(taken.adapter)
        for i, (state, before) in enumerate(zip(taken.states, taken.states_before, strict=True)):
            gradient = taken.gradients[i]
            if state is None or gradient is None:
                continue
            g = c["gradient_sign"][i] * gradient.to_dense().numpy()
            g = g + c["coupled_weight_decay"][i] * taken.before[i].numpy()
            for moment, added in (("exp_avg", g), ("exp_avg_sq", g**2)):
                source = getattr(state, moment)
                decay, weight = c[f"{moment}_decay"][i], c[f"{moment}_weight"][i]
                explained = moment in case.decays or (
                    case.kind == "Adafactor" and moment == "exp_avg_sq" and gradient.dim() < 2
                )
                if not explained:
                    if not taken.adapter.keeps_maximum(group_of(taken.adapter, i)):
                        assert math.isnan(decay)
                        assert math.isnan(weight)
                    continue
                if before is None and case.flags.get("dampening"):
                    continue  # the first gradient is not dampened
                old = 0.0 if before is None else getattr(before, moment).numpy()
                np.testing.assert_allclose(
                    read(source).numpy(), decay * old + weight * added, rtol=1e-12, atol=1e-300
                )


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.kind == "Adafactor"], ids=lambda case: case.name
)
def test_adafactor_estimates_the_second_moment(case: OptimizerCase) -> None:
    """Shazeer & Stern 2018: means over rows and columns, each an average of its own."""
    means: dict[int, list[Array]] = {}
    taken_steps: dict[int, int] = {}
    for taken in train(case):
        c = coefficients_of(taken.adapter)
        for i, gradient in enumerate(taken.gradients):
            if gradient is None:
                continue
            group = group_of(taken.adapter, i)
            eps = group["eps"][0] or float(np.finfo(np.float64).eps)
            square = gradient.numpy() ** 2
            taken_steps[i] = taken_steps.get(i, 0) + 1
            share = taken_steps[i] ** group["beta2_decay"]
            new = [square.mean(-1), square.mean(-2)] if square.ndim > 1 else [square]
            old = means.get(i, [np.zeros_like(x) for x in new])
            means[i] = [(1 - share) * x + share * y for x, y in zip(old, new, strict=True)]
            expected = means[i][0]
            if square.ndim > 1:
                rows, columns = means[i]
                largest = np.maximum(rows.mean(-1), eps)[..., None, None]
                expected = rows[..., :, None] * columns[..., None, :] / largest
            state = taken.states[i]
            assert state is not None
            assert state.exp_avg_sq is not None
            np.testing.assert_allclose(read(state.exp_avg_sq).numpy(), expected, rtol=1e-12)
            assert c["eps"][i] == eps
            factored = square.ndim > 1
            assert state.dtypes == ({"exp_avg_sq": "float64"} if factored else {})


@pytest.mark.parametrize("case", [c for c in CASES if c.kind == "Muon"], ids=lambda c: c.name)
def test_muon_averages_gradients(case: OptimizerCase) -> None:
    averages: dict[int, Array] = {}
    for taken in train(case):
        for i, gradient in enumerate(taken.gradients):
            if gradient is not None:
                momentum = group_of(taken.adapter, i)["momentum"]
                old = averages.get(i, np.zeros(gradient.shape))
                averages[i] = momentum * old + (1 - momentum) * gradient.numpy()
                state = taken.states[i]
                assert state is not None
                assert state.exp_avg is not None
                np.testing.assert_allclose(read(state.exp_avg).numpy(), averages[i], rtol=1e-12)


@all_cases
def test_state_is_none_before_the_first_step(case: OptimizerCase) -> None:
    parameters = make_parameters(case)
    adapter = adapter_for(case.build(parameters))
    states = states_of(adapter)
    assert type(adapter).__name__ == ("AdamState" if case.kind == "AdamW" else f"{case.kind}State")
    assert adapter.notice is None
    assert adapter.update_is_known == case.update_is_known
    assert adapter.steps_taken() in (None, 0)
    assert not adapter.optimizer.state or case.kind == "Adagrad"  # nothing was put there
    assert [s is not None for s in states] == [case.state_from_start] * len(states)


KNOWN = {
    *(s.name for s in schema.STATISTICS),
    *(q.name for q in (*schema.QUANTITIES, *schema.OPTIONAL_QUANTITIES)),
}


@all_cases
def test_undefined_is_what_the_state_does_not_give(case: OptimizerCase) -> None:
    taken = next(train(case))
    adapter = taken.adapter
    c = coefficients_of(adapter)
    gaps = [adapter.undefined_in(group) for group in adapter.optimizer.param_groups]
    for gap in gaps:
        assert len(set(gap)) == len(gap)
        assert set(gap) <= KNOWN
        assert ("update_rounding_error" in gap) == (not case.update_is_known)
    first = 0
    for group, gap in zip(adapter.optimizer.param_groups, gaps, strict=True):
        indices = range(first, first + len(group["params"]))
        first += len(group["params"])
        states = [s for i in indices if (s := taken.states[i]) is not None]
        has_first = any(s.exp_avg is not None for s in states)
        has_second = any(s.exp_avg_sq is not None for s in states)
        assert has_first == (not set(undefined.without(["exp_avg"])) <= set(gap))
        assert has_first == ("exp_avg" not in gap)
        assert has_second == (not set(undefined.without(["exp_avg_sq"])) <= set(gap))
        assert has_second == ("exp_avg_sq" not in gap)
        knows_direction = has_second and case.update_is_known
        assert knows_direction == ("normalized_update_rms" not in gap)
        for moment in ("exp_avg", "exp_avg_sq"):
            decays = [not math.isnan(c[f"{moment}_decay"][i]) for i in indices]
            assert any(decays) == (f"{moment}_rounding_error" not in gap)


@all_cases
def test_coefficients_do_not_wait_for_a_device(case: OptimizerCase) -> None:
    """On the meta device nothing can be read back, nor anything be branched upon."""
    adapter = next(train(case)).adapter
    pairs, table = states_and_table(adapter)
    on_meta = StepTable(table.groups, [s for _, s in pairs], table.steps.to("meta"))
    c = adapter.coefficients(on_meta)
    columns = [getattr(c, name) for name in COEFFICIENTS] + list(c.own.values())
    assert {column.device.type for column in columns} == {"meta"}
    assert {column.dtype for column in columns} == {torch.float64}
    assert {column.shape for column in columns} == {table.steps.shape}


def test_one_group_of_sgd_has_momentum() -> None:
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(3)) for _ in range(2)]
    groups: list[dict[str, Any]] = [
        {"params": parameters[:1], "momentum": 0.9},
        {"params": parameters[1:]},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    adapter = adapter_for(optimizer)
    for _ in range(2):
        before = [p.detach().clone() for p in parameters]
        for parameter in parameters:
            parameter.grad = torch.randn(3)
        optimizer.step()
        for update, b, p in zip(
            requested_updates(adapter, before), before, parameters, strict=True
        ):
            assert update is not None
            torch.testing.assert_close(update, p.detach() - b)
    gaps = [adapter.undefined_in(group) for group in optimizer.param_groups]
    assert "exp_avg" not in gaps[0]
    assert "exp_avg" in gaps[1]


def test_momentum_that_was_switched_off_is_not_read() -> None:
    parameter = nn.Parameter(torch.ones(2))
    for optimizer in (
        torch.optim.SGD([parameter], lr=0.1, momentum=0.9),
        torch.optim.RMSprop([parameter], lr=0.1, momentum=0.9, centered=True),
    ):
        adapter = adapter_for(optimizer)
        parameter.grad = torch.ones(2)
        optimizer.step()
        optimizer.param_groups[0].update(momentum=0, centered=False)
        before = parameter.detach().clone()
        optimizer.step()
        (update,) = requested_updates(adapter, [before])
        assert update is not None
        torch.testing.assert_close(update, parameter.detach() - before)
        state = adapter.state_of(parameter, optimizer.param_groups[0])
        assert state is not None
        assert state.exp_avg is None
        assert not state.others


def test_asgd_without_a_look_before_the_step_assumes_the_same_learning_rate() -> None:
    parameter = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.ASGD([parameter], lr=0.1, lambd=0.3)
    adapter = adapter_for(optimizer)
    parameter.grad = torch.tensor([1.0, -2.0])
    for _ in range(4):
        before = parameter.detach().clone()
        optimizer.step()
        (update,) = requested_updates(adapter, [before])
        assert update is not None
        torch.testing.assert_close(update, parameter.detach() - before, rtol=1e-12, atol=0)


def test_subclasses_have_the_adapter_of_their_base() -> None:
    class Renamed(torch.optim.RMSprop):
        pass

    adapter = adapter_for(Renamed([nn.Parameter(torch.ones(2))]))
    assert type(adapter).__name__ == "RMSpropState"


class Unknown(torch.optim.Optimizer):
    """An optimizer of the user's own."""

    def __init__(self, parameters: list[Tensor]) -> None:
        super().__init__(parameters, {"lr": 0.1, "scales": (1.0, 2.0), "name": "x"})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter] = {
                "step": 1,
                "velocity": torch.ones_like(parameter),
                "count": torch.ones(parameter.shape, dtype=torch.int64),
                "norm": torch.ones(()),
                "row": torch.ones(2, 1),
                "sparse": torch.ones(parameter.shape).to_sparse(),
                "text": "x",
            }
            with torch.no_grad():
                parameter -= 0.1


def test_state_of_an_unknown_optimizer_is_listed() -> None:
    parameter = nn.Parameter(torch.ones(2, 3))
    optimizer = Unknown([parameter])
    adapter = adapter_for(optimizer)
    group = optimizer.param_groups[0]
    assert isinstance(adapter, MeasuredOnly)
    assert adapter.notice is not None
    assert "Unknown" in adapter.notice
    assert adapter.state_of(parameter, group) is None
    optimizer.step()
    state = adapter.state_of(parameter, group)
    assert state is not None
    assert list(state.others) == ["velocity"]
    assert state.exp_avg is None
    assert state.exp_avg_sq is None
    assert state.step == 1
    assert not adapter.update_is_known
    for count, expected in ((torch.tensor(3.0), 3), (None, math.nan), (torch.ones(2), math.nan)):
        optimizer.state[parameter]["step"] = count
        state = adapter.state_of(parameter, group)
        assert state is not None
        assert float(state.step) == pytest.approx(expected, nan_ok=True)
    del optimizer.state[parameter]["step"]
    state = adapter.state_of(parameter, group)
    assert state is not None
    assert math.isnan(state.step)
    assert {"exp_avg", "exp_avg_sq", "lost_update_fraction"} <= set(adapter.undefined_in(group))


def test_numbers_in_tuples_are_hyperparameters() -> None:
    parameter = nn.Parameter(torch.ones(2))
    for optimizer, expected in (
        (
            torch.optim.Rprop([parameter], etas=(0.4, 1.3), step_sizes=(1e-5, 40)),
            {"eta1": 0.4, "eta2": 1.3, "step_size1": 1e-5, "step_size2": 40},
        ),
        (torch.optim.NAdam([parameter], betas=(0.8, 0.9)), {"beta1": 0.8, "momentum_decay": 4e-3}),
        (Unknown([parameter]), {"scale1": 1, "scale2": 2}),
    ):
        adapter = adapter_for(optimizer)
        names = adapter.hyperparameter_names
        assert len(set(names)) == len(names)
        values = dict(zip(names, adapter.hyperparameters(optimizer.param_groups[0]), strict=True))
        assert {name: values[name] for name in expected} == expected
    assert hyperparameter({"eps": (1e-30, 1e-3)}, "eps2") == 1e-3
    assert math.isnan(hyperparameter({"betas": (0.9,)}, "beta2"))
