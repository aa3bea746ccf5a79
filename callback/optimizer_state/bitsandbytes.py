"""Adam, Lion and AdEMAMix of bitsandbytes, with moments in 8 or 32 bits, paged or not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tb_adam_plugin import schema

from ..memory.to_host import on_device
from .adam import adam_moments
from .ademamix import AdEMAMixFormula, warmed_up_alpha
from .base import OptimizerState
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings, hyperparameter
from .lion import LionFormula, lion_moments
from .parameter_state import ParameterState, Source

# Elements that share one scale.
_BLOCK = 256
# Settings that the package allows to override for individual parameters.
_SETTINGS = ("lr", "beta1", "beta2", "beta3", "eps", "weight_decay", "alpha", "t_alpha")


class BitsandbytesState(OptimizerState, ABC):
    """Common base of the adapters for bitsandbytes.

    In 8 bits a moment is a table of 256 values, a code for each element and a scale for every 256
    elements; a parameter with fewer than 4096 elements has float32 moments. Overrides for
    individual parameters (``GlobalOptimManager``) are respected. Unknown element by element: an
    update clipped by its norm (``max_unorm``) and one that skips zeros (``skip_zeros``).

    The formulas are those of the package's CPU and PyTorch code.
    """

    rounds_after_step = True

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None before its first step."""
        state = self.optimizer.state.get(parameter)
        if not state or "state1" not in state:
            return None
        sources = self.sources(state, parameter.device)
        types = {
            name: str(state["state2" if name == "exp_avg_sq" else "state1"].dtype)
            for name in sources
        }
        return ParameterState(
            sources.pop("exp_avg"),
            sources.pop("exp_avg_sq", None),
            sources,
            step=state["step"],
            numbers=self._settings(parameter, group),
            dtypes={name: dtype.removeprefix("torch.") for name, dtype in types.items()},
        )

    @abstractmethod
    def sources(self, state: Mapping[str, Any], device: torch.device) -> dict[str, Source]:
        """The tensors of one parameter's state, by their names here."""

    def _settings(self, parameter: Tensor, group: GroupSettings) -> dict[str, Tensor | float]:
        """This parameter's numbers that may differ from its group's."""
        arguments = self._arguments()
        settings: Mapping[str, Any] = {name: getattr(arguments, name, 0) for name in _UNKNOWN}
        own: dict[str, Tensor | float] = {}
        manager = self.optimizer.mng  # type: ignore[attr-defined]
        if manager.index2config or manager.pid2config:
            settings = self._config_of(parameter, group)
            own = {name: hyperparameter(settings, name) for name in _SETTINGS}
        if any(settings[name] for name in _UNKNOWN):
            own["lr"] = float("nan")
        return own

    def _config_of(self, parameter: Tensor, group: GroupSettings) -> Mapping[str, Any]:
        groups = self.optimizer.param_groups
        group_index = next(i for i, g in enumerate(groups) if g is group)
        index = next(i for i, p in enumerate(group["params"]) if p is parameter)
        config: Mapping[str, Any] = self.optimizer.get_config(  # type: ignore[attr-defined]
            group_index, index, group
        )
        return config

    def _arguments(self) -> Any:
        return self.optimizer.args  # type: ignore[attr-defined]


# Settings under which the update of an element is not a function of that element alone.
_UNKNOWN = ("max_unorm", "skip_zeros")


class _SettingsOfParameters(StepTable):
    """A table in which a parameter's own settings override its group's."""

    def __init__(self, table: StepTable) -> None:
        super().__init__(table.groups, table.states, table.steps, rows_of=table)

    def number(self, name: str) -> Tensor:
        of_group, own = super().number(name), self.state_number(name)
        has_own = torch.tensor(
            [s is not None and name in s.numbers for s in self.states], device="cpu"
        )
        return torch.where(on_device(has_own, own.device), own, of_group)


class BitsandbytesAdamState(BitsandbytesState):
    """Adam and AdamW: both have decoupled weight decay."""

    def sources(self, state: Mapping[str, Any], device: torch.device) -> dict[str, Source]:
        """The two moments."""
        return {
            "exp_avg": _source(state, "1", device),
            "exp_avg_sq": _source(state, "2", device),
        }

    def coefficients(self, table: StepTable) -> Coefficients:
        """AdamW's."""
        table = _SettingsOfParameters(table)
        return Coefficients.of(
            table,
            **adam_moments(table),
            step_size=table.number("lr"),
            weight_decay=table.number("weight_decay"),
        )


class BitsandbytesLionState(LionFormula, BitsandbytesState):
    """Lion."""

    def sources(self, state: Mapping[str, Any], device: torch.device) -> dict[str, Source]:
        """The one moment."""
        return {"exp_avg": _source(state, "1", device)}

    def coefficients(self, table: StepTable) -> Coefficients:
        """See :class:`.lion.LionFormula`."""
        table = _SettingsOfParameters(table)
        return Coefficients.of(
            table,
            **lion_moments(table),
            step_size=table.number("lr"),
            weight_decay=table.number("weight_decay"),
        )


class BitsandbytesAdEMAMixState(AdEMAMixFormula, BitsandbytesState):
    """AdEMAMix, whose first state holds two moments.

    In 8 bits the update is unknown: the step used the slow average before rounding.
    """

    def lacks_in(self, group: GroupSettings) -> tuple[schema.Need, ...]:
        """In 8 bits, no requested update."""
        return (*self.lacks, "update") if self._quantizes() else self.lacks

    def sources(self, state: Mapping[str, Any], device: torch.device) -> dict[str, Source]:
        """The three moments."""
        return {
            "exp_avg": _source(state, "1", device, 0),
            "exp_avg_sq": _source(state, "2", device),
            "exp_avg_slow": _source(state, "1", device, 1),
        }

    def coefficients(self, table: StepTable) -> Coefficients:
        """See :class:`.ademamix.AdEMAMixFormula`."""
        table = _SettingsOfParameters(table)
        return Coefficients.of(
            table,
            own={"alpha": warmed_up_alpha(table, "t_alpha")},
            **adam_moments(table),
            step_size=table.number("lr") * (float("nan") if self._quantizes() else 1.0),
            weight_decay=table.number("weight_decay"),
        )

    def _quantizes(self) -> bool:
        return bool(self._arguments().optim_bits == 8)


def _source(
    state: Mapping[str, Any], which: str, device: torch.device, index: int | None = None
) -> Source:
    """Return a moment, or a function that unpacks it; ``index`` if one tensor holds several."""
    stored: Tensor = state[f"state{which}"]
    stored = stored if index is None else stored[index]
    if stored.dtype != torch.uint8:
        # PyTorch sees paged memory as host memory.
        return stored if stored.device == device else partial(stored.to, device)
    scales: Tensor = state[f"absmax{which}"]
    scales = scales if index is None else scales[index]
    return partial(_dequantized, stored, state[f"qmap{which}"], scales, device)


def _dequantized(codes: Tensor, values: Tensor, scales: Tensor, device: torch.device) -> Tensor:
    """Return float32 with the shape of the codes: ``values[code] · scale of the block``."""
    flat = values[codes.reshape(-1).to(device).int()]
    whole = flat.numel() // _BLOCK
    flat[: whole * _BLOCK].view(-1, _BLOCK).mul_(scales[:whole, None])
    flat[whole * _BLOCK :].mul_(scales[whole:])
    return flat.view(codes.shape)
