"""The adapters of other packages' optimizers against those optimizers' behavior."""

from __future__ import annotations

import importlib
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from adapter_rows import requested_updates, states_and_table
from third_party_cases import BITSANDBYTES, CASES, TORCHAO, Case, set_lr
from torch import Tensor
from torch.nn import Parameter

from tb_adam_plugin import schema
from tb_adam_plugin.callback.optimizer_state.base import OptimizerState
from tb_adam_plugin.callback.optimizer_state.measured_only import MeasuredOnly
from tb_adam_plugin.callback.optimizer_state.parameter_state import read
from tb_adam_plugin.callback.optimizer_state.registry import adapter_for
from tb_adam_plugin.callback.optimizer_state.third_party import BY_NAME
from tb_adam_plugin.callback.optimizer_state.undefined import without

STEPS = 6
KNOWN = {
    *(s.name for s in schema.STATISTICS),
    *(q.name for q in (*schema.QUANTITIES, *schema.OPTIONAL_QUANTITIES)),
}
pytestmark = [
    # bitsandbytes, of its paged optimizers, which are ordinary ones here.
    pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU:UserWarning"),
]


def _moments(adapter: OptimizerState, name: str) -> list[Tensor | None]:
    states = [state for _, state in states_and_table(adapter)[0]]
    sources = [None if s is None else getattr(s, name) for s in states]
    return [None if s is None else read(s).double().clone() for s in sources]


class Step:
    """A step of a case: what was before it and after it."""

    def __init__(self, case: Case, adapter: OptimizerState, number: int) -> None:
        """Take step ``number``, the first one being 0."""
        parameters: list[Parameter] = [
            p for group in adapter.optimizer.param_groups for p in group["params"]
        ]
        case.set_gradients(parameters, number)
        self.gradients = [None if p.grad is None else p.grad.detach().clone() for p in parameters]
        self.before = [p.detach().clone() for p in parameters]
        self.moments_before = {m: _moments(adapter, m) for m in ("exp_avg", "exp_avg_sq")}
        adapter.before_step()
        adapter.optimizer.step()
        self.overwritten = [
            g is not None and p.grad is not None and not torch.equal(g, p.grad)
            for p, g in zip(parameters, self.gradients, strict=True)
        ]
        self.applied = [
            p.detach().double() - b.double() for p, b in zip(parameters, self.before, strict=True)
        ]
        self.requested = requested_updates(
            adapter, self.before, self.gradients, self.moments_before
        )
        self.moments = {m: _moments(adapter, m) for m in ("exp_avg", "exp_avg_sq")}
        self.coefficients = adapter.coefficients(states_and_table(adapter)[1])


class Run:
    """A case, some steps long."""

    def __init__(self, case: Case) -> None:
        """Take the steps."""
        pytest.importorskip(case.package)
        self.case = case
        self.adapter = adapter_for(case.make(case.parameters()))
        self.groups = [
            group for group in self.adapter.optimizer.param_groups for _ in group["params"]
        ]
        self.parameters: list[Parameter] = [
            p for group in self.adapter.optimizer.param_groups for p in group["params"]
        ]
        self.steps = []
        # torchao compiles its steps for half a minute; the arithmetic is the same without.
        set_stance: Any = getattr(torch.compiler, "set_stance", nullcontext)
        with set_stance("force_eager"):
            for number in range(STEPS):
                self.steps.append(Step(case, self.adapter, number))
                if number == 3:
                    set_lr(self.adapter.optimizer, 0.5)

    @property
    def stored(self) -> list[dict[str, Any]]:
        """The optimizer's own state of each parameter."""
        return [self.adapter.optimizer.state[p] for p in self.parameters]


@pytest.fixture(scope="module", params=CASES, ids=str)
def run(request: pytest.FixtureRequest) -> Run:
    """Every case in turn, run once."""
    return Run(request.param)


def test_the_requested_update_is_the_applied_one(run: Run) -> None:
    case = run.case
    assert type(run.adapter) is case.adapter
    moved = 0
    for step in run.steps:
        for requested, applied, before in zip(
            step.requested, step.applied, step.before, strict=True
        ):
            if requested is None:
                assert not applied.any()
                continue
            if case.tolerance is None:
                assert requested.isnan().all() or not run.adapter.update_is_known
                continue
            moved += int(applied.count_nonzero())
            rounding = torch.finfo(case.dtype).eps * before.abs().max()
            allowed = case.tolerance * applied.abs().max() + 4 * rounding
            assert ((requested - applied).abs() <= allowed).all()
    assert case.tolerance is None or moved


def test_the_moments_average_what_they_are_said_to(run: Run) -> None:
    case = run.case
    tolerance = case.quantization_error or (1e-9 if case.dtype == torch.float64 else 1e-5)
    for step in run.steps:
        c = step.coefficients
        for i, (gradient, before) in enumerate(zip(step.gradients, step.before, strict=True)):
            if gradient is None or run.adapter.keeps_maximum(run.groups[i]):
                continue
            g = c.gradient_sign[i] * gradient.double() + c.coupled_weight_decay[i] * before.double()
            for name, added in (("exp_avg", g), ("exp_avg_sq", g * g)):
                old, after = step.moments_before[name][i], step.moments[name][i]
                decay, weight = (getattr(c, f"{name}_{what}")[i] for what in ("decay", "weight"))
                if after is None or decay.isnan():
                    continue
                expected = weight * added + (0 if old is None else decay * old)
                atol = tolerance * expected.abs().max().item()
                torch.testing.assert_close(after, expected, rtol=0, atol=atol)


def test_a_gradient_that_the_step_overwrites_is_announced(run: Run) -> None:
    announced = [run.adapter.overwrites_gradient(group) for group in run.groups]
    for step in run.steps:
        for overwritten, said in zip(step.overwritten, announced, strict=True):
            assert said or not overwritten
    overwrites = any(any(step.overwritten) for step in run.steps)
    # A factor of 1 changes nothing; for an unknown optimizer it cannot be known.
    leaves = run.case.flags.get("max_grad_norm") == 0 or isinstance(run.adapter, MeasuredOnly)
    assert overwrites == any(announced) or leaves


def test_what_is_not_known_is_said_to_be_undefined(run: Run) -> None:
    for p, group in zip(run.parameters, run.groups, strict=True):
        undefined = run.adapter.undefined_in(group)
        assert set(undefined) <= KNOWN
        assert (set(without(["update"])) <= set(undefined)) == (run.case.tolerance is None)
        state = run.adapter.state_of(p, group)
        assert state is not None
        assert (state.exp_avg is None) == ("exp_avg" in undefined)
        assert (state.exp_avg_sq is None) == ("exp_avg_sq" in undefined)
        for source in (state.exp_avg, state.exp_avg_sq, *state.others.values()):
            assert source is None or read(source).shape == p.shape


def test_the_steps_are_counted_where_the_optimizer_does(run: Run) -> None:
    counts_none = run.case.package == "timm" and run.case.name == "Lion"
    assert run.adapter.steps_taken() == (None if counts_none else STEPS)


@pytest.mark.parametrize("case", [c for c in BITSANDBYTES if c.quantization_error], ids=str)
def test_codes_of_bitsandbytes_are_read_as_it_reads_them(case: Case) -> None:
    run = Run(case)
    adapter, stored = run.adapter, run.stored
    functional = importlib.import_module("bitsandbytes.functional")
    states = [state for _, state in states_and_table(adapter)[0]]
    for state, own in zip(states[:2], stored[:2], strict=True):
        assert state is not None
        names = {"exp_avg": ("1", 0), "exp_avg_slow": ("1", 1), "exp_avg_sq": ("2", None)}
        sources = {"exp_avg": state.exp_avg, "exp_avg_sq": state.exp_avg_sq, **state.others}
        for name, source in sources.items():
            if source is None:
                continue
            which, index = names[name]
            codes, scales = own[f"state{which}"], own[f"absmax{which}"]
            if scales.dim() == 2:
                codes, scales = codes[index], scales[index]
            expected = functional.dequantize_blockwise(
                codes, absmax=scales, code=own[f"qmap{which}"], blocksize=256
            )
            assert torch.equal(read(source), expected)
            assert state.dtypes[name] == "uint8"
    assert states[2] is not None
    assert set(states[2].dtypes.values()) == {"float32"}
    assert states[2].exp_avg is stored[2]["state1"] or case.name.endswith("AdEMAMix8bit")


@pytest.mark.parametrize("case", [c for c in TORCHAO if c.quantization_error], ids=str)
def test_codes_of_torchao_are_read_as_it_reads_them(case: Case) -> None:
    run = Run(case)
    adapter, stored = run.adapter, run.stored
    states = [state for _, state in states_and_table(adapter)[0]]
    assert states[0] is not None
    assert states[1] is not None
    assert states[0].exp_avg is not None
    assert states[0].exp_avg_sq is not None
    assert torch.equal(read(states[0].exp_avg), stored[0]["exp_avg"].dequantize())
    assert torch.equal(read(states[0].exp_avg_sq), stored[0]["exp_avg_sq"].dequantize())
    names = {"8bit": "uint8", "4bit": "uint8, 4 bits", "Fp8": "float8_e4m3fn"}
    dtype = next(name for end, name in names.items() if case.name.endswith(end))
    assert dict(states[0].dtypes) == {"exp_avg": dtype, "exp_avg_sq": dtype}
    # Not a whole number of blocks: kept as it is.
    assert states[1].exp_avg is stored[1]["exp_avg"]
    assert dict(states[1].dtypes) == {"exp_avg": "float32", "exp_avg_sq": "float32"}


@pytest.mark.parametrize("name", [n for n in BY_NAME if not n.startswith(("apex.", "deepspeed."))])
def test_every_name_is_that_of_a_class(name: str) -> None:
    module, _, kind = name.rpartition(".")
    pytest.importorskip(module.partition(".")[0])
    found = getattr(importlib.import_module(module), kind)
    assert issubclass(found, torch.optim.Optimizer)
    assert f"{found.__module__}.{found.__qualname__}" == name


def test_settings_of_one_parameter_in_bitsandbytes_are_followed() -> None:
    optim = pytest.importorskip("bitsandbytes").optim
    manager = optim.GlobalOptimManager.get_instance()
    case = next(c for c in BITSANDBYTES if c.name == "AdamW8bit")
    parameters = case.parameters()
    manager.register_parameters(parameters)
    own = {"lr": 0.05, "betas": (0.5, 0.6), "weight_decay": 0.3, "optim_bits": 32}
    try:
        manager.override_config(parameters[0], key_value_dict=own)
        adapter = adapter_for(case.make(parameters))
        for number in range(3):
            step = Step(case, adapter, number)
            assert step.requested[0] is not None
            torch.testing.assert_close(step.requested[0], step.applied[0], rtol=0, atol=1e-6)
        manager.override_config(parameters[0], "skip_zeros", True)
        unknown = Step(case, adapter, 3).requested
        assert unknown[0] is not None
        assert unknown[1] is not None
        assert unknown[0].isnan().all()
        assert not unknown[1].isnan().any()
    finally:
        manager.pid2config.clear()
        manager.index2config.clear()


def test_prodigy_says_nothing_of_a_step_whose_d_it_did_not_note() -> None:
    case = next(c for c in CASES if c.name == "Prodigy")
    pytest.importorskip(case.package)
    parameters = case.parameters()
    adapter = adapter_for(case.make(parameters))
    case.set_gradients(parameters, 1)
    adapter.optimizer.step()
    for requested in requested_updates(adapter, parameters):
        assert requested is not None
        assert requested.isnan().all()


def test_adafactor_shows_the_learning_rate_that_it_makes_itself() -> None:
    case = next(c for c in CASES if c.name == "Adafactor" and c.flags.get("warmup_init"))
    pytest.importorskip(case.package)
    parameters = case.parameters()
    adapter = adapter_for(case.make(parameters))
    column = adapter.hyperparameter_names.index("lr")
    for number in range(3):
        Step(case, adapter, number)
        values = adapter.hyperparameters(adapter.optimizer.param_groups[0])
        assert values[column] == pytest.approx(1e-6 * (number + 1))
