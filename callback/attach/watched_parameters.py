"""Which parameters to record: those of the optimizer, under their names in the model."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from tb_adam_plugin import schema

from ..optimizer_state.base import OptimizerState
from ..optimizer_state.storage import type_name
from ..read.real_numbers import as_real
from ..shards.shards import Shard
from .naming import NamedParameters, listed, named_parameters, owners
from .other_optimizers import other_optimizers

# Each block and each tag costs training time, and whoever opens one parameter reads a block.
PARAMETERS_PER_BLOCK = 8


@dataclass(frozen=True, slots=True)
class Watched:
    """A parameter that the optimizer updates.

    Attributes:
        name: Its name in the layout.
        parameter: The tensor.
        group: Index of its parameter group.
        shard: The part of it that this process has, if it is spread over several; else None.
        module: Class name of the module that it belongs to; "" if unknown.
    """

    name: str
    parameter: Tensor
    group: int
    shard: Shard | None = None
    module: str = ""

    @property
    def shape(self) -> torch.Size:
        """Shape of the whole parameter, as it is read."""
        return as_real(self.parameter).shape if self.shard is None else self.shard.shape

    def local(self) -> Tensor:
        """Return the elements that this process has."""
        return self.parameter if self.shard is None else self.shard.local(self.parameter)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What to record, and what to tell the user about it.

    Attributes:
        watched: The recorded parameters, in the optimizer's order.
        unoptimized: Parameters of the model that are in no group, with the tensors.
        notices: Sentences to warn with.
    """

    watched: tuple[Watched, ...]
    unoptimized: tuple[tuple[str, Tensor], ...]
    notices: tuple[str, ...]

    def layout(
        self,
        state: OptimizerState,
        elements_read: Sequence[int],
        quantities: Sequence[schema.Quantity],
        storage: Sequence[Mapping[str, str]],
    ) -> schema.Layout:
        """Describe the rows of the records.

        Args:
            state: The optimizer's adapter.
            elements_read: Number of elements read of each parameter.
            quantities: Quantities that have histograms.
            storage: The types that store each group's state.
        """
        # Asked every time: another optimizer may have been created since.
        held_by = self._other_optimizers()
        return schema.Layout(
            parameters=tuple(
                schema.Parameter(
                    w.name, tuple(w.shape), type_name(w.parameter), read, w.group, w.module
                )
                for w, read in zip(self.watched, elements_read, strict=True)
            ),
            groups=tuple(
                schema.Group(
                    type(state.optimizer).__name__,
                    state.options(group),
                    tuple(dict.fromkeys(state.undefined_in(group))),
                    state.meanings,
                    stored,
                    state.replaced[i] if i < len(state.replaced) else {},
                )
                for i, (group, stored) in enumerate(
                    zip(state.optimizer.param_groups, storage, strict=True)
                )
            ),
            statistics=tuple(statistic.name for statistic in schema.STATISTICS),
            quantities=tuple(quantities),
            unoptimized=tuple(
                schema.Unoptimized(
                    name,
                    tuple(parameter.shape),
                    parameter.requires_grad,
                    other,
                )
                for (name, parameter), other in zip(self.unoptimized, held_by, strict=True)
            ),
            parameters_per_block=PARAMETERS_PER_BLOCK,
        )

    def forgotten_notice(self) -> str | None:
        """A sentence about the parameters that no optimizer trains; None if there are none.

        Not called before the first step: the optimizer that holds them may be created until then.
        """
        forgotten = [
            name
            for (name, p), other in zip(self.unoptimized, self._other_optimizers(), strict=True)
            if p.requires_grad and not other
        ]
        held = {w.name for w in self.watched}
        renewed = [name for name in forgotten if f"{name}{schema.REPLACED}" in held]
        others = [name for name in forgotten if name not in renewed]
        sentences = []
        if renewed:
            sentences.append(
                f"{listed(renewed)} was replaced in the model: the optimizer still holds the old "
                "tensor and will not update the new one (add it to the optimizer, or create the "
                "optimizer after the replacement)"
            )
        if others:
            sentences.append(
                f"trainable parameters in no parameter group: {listed(others)}. The optimizer will "
                "not update them (add them to it, or set requires_grad=False if that is intended)"
            )
        return "; ".join(sentences) or None

    def _other_optimizers(self) -> list[str]:
        """Which other optimizer holds each parameter that is in no group, or "".

        Includes frozen parameters: a discriminator is frozen while the generator takes its step.
        """
        own = [w.parameter for w in self.watched]
        return other_optimizers([p for _, p in self.unoptimized], own)

    def fingerprint(self, state: OptimizerState) -> tuple[object, ...]:
        """Everything that determines a layout, cheap to compare: a change requires a new layout."""
        whole = [w.parameter for w in self.watched if w.shard is None]
        return (
            [list(map(id, group["params"])) for group in state.optimizer.param_groups],
            [state.options(group) for group in state.optimizer.param_groups],
            state.replaced,
            state.update_is_known,
            state.notice,
            # Lists of existing objects, because a tuple for each would be work for the garbage
            # collector.
            [parameter.dtype for parameter in whole],
            [parameter.device for parameter in whole],
            [parameter.shape for parameter in whole],
            [w.local().data_ptr() for w in self.watched if w.shard is not None],
            [parameter.requires_grad for _, parameter in self.unoptimized],
        )


def find_parameters(
    model: nn.Module | Iterable[tuple[str, Tensor]],
    groups: Sequence[Mapping[str, Any]],
    excluded: Container[str] = (),
    shard_of: Callable[[str, Tensor], Shard] | None = None,
    former_names: Mapping[int, str] = {},
) -> Parameters:
    """Match the parameters of a model with those of an optimizer's groups.

    Args:
        model: A module, or pairs of name and parameter.
        groups: The optimizer's parameter groups.
        excluded: Names of parameters not to record.
        shard_of: Returns the part of a named parameter that is here, in sharded training.
        former_names: Names of the parameters recorded so far, by their ids. A parameter that is no
            longer in the model keeps its name.

    Raises:
        TypeError: If ``model`` is neither a module nor pairs of name and parameter.
        ValueError: If the two have no parameter in common, or a parameter cannot be read.
    """
    pairs = named_parameters(model)
    name_of = {id(parameter): name for name, parameter in pairs}
    names = set(name_of.values())
    module_of = owners(model) if isinstance(model, nn.Module) else {}
    watched: list[Watched] = []
    unnamed: list[str] = []
    skipped: list[str] = []
    twice: list[str] = []
    seen: set[int] = set()
    for g, group in enumerate(groups):
        for i, parameter in enumerate(group["params"]):
            name = name_of.get(id(parameter), "")
            if id(parameter) not in name_of:
                former = former_names.get(id(parameter))
                name = _name_outside(former, f"group{g}.parameter{i}", names)
                names.add(name)
                unnamed.append(name)
            if id(parameter) in seen:
                twice.append(name)
            if name in excluded or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            is_whole = shard_of is None or not parameter.is_complex()
            if _is_readable(name, parameter) and is_whole:
                shard = None if shard_of is None else shard_of(name, parameter)
                module = module_of.get(id(parameter), "")
                watched.append(Watched(name, parameter, g, shard, module))
            else:
                skipped.append(f"{name} ({type_name(parameter)})")
    given = [id(parameter) for group in groups for parameter in group["params"]]
    if not any(parameter in name_of or parameter in former_names for parameter in given):
        raise ValueError(
            f"optimizer has none of the model's parameters ({_described(pairs)}): pass the model "
            "and the optimizer that trains it"
        )
    if not watched:
        raise ValueError(
            "optimizer has no dense floating-point parameter, and only such ones can be recorded: "
            f"{listed(skipped)}"
        )
    optimized = {id(p) for group in groups for p in group["params"]}
    unoptimized = tuple((n, p) for n, p in pairs if id(p) not in optimized)
    return Parameters(tuple(watched), unoptimized, tuple(_notices(unnamed, skipped, twice)))


def _notices(unnamed: list[str], skipped: list[str], twice: list[str]) -> Iterable[str]:
    outside = [name for name in unnamed if not name.endswith(schema.REPLACED)]
    if outside:
        yield f"the optimizer has parameters that are not in the model: {listed(outside)}"
    if twice:
        yield (
            f"the optimizer holds {listed(twice)} more than once, and updates it as often in each "
            "step: give tied weights to one group, once"
        )
    if skipped:
        yield f"only dense floating-point parameters are recorded, not {listed(skipped)}"


def _name_outside(former: str | None, otherwise: str, names: Container[str]) -> str:
    """Return the name of a parameter that is not, or no longer, in the model.

    Args:
        former: Its previous name; None if it has none.
        otherwise: The name to use then.
        names: Names that are taken.
    """
    if former is None:
        return _unused(otherwise, names)
    return _unused(former + schema.REPLACED if former in names else former, names)


def _unused(name: str, names: Container[str]) -> str:
    """Return a name that no parameter of the model has, the same one each time."""
    while name in names:
        name += " (unnamed)"
    return name


def _is_readable(name: str, parameter: Tensor) -> bool:
    if isinstance(parameter, UninitializedParameter):
        raise ValueError(f"parameter {name} has no shape yet: run the model once first")
    if parameter.is_meta:
        raise ValueError(f"parameter {name} is on the meta device: materialise the model first")
    if not _has_float64(parameter.device):
        raise ValueError(
            f"parameter {name} is on {parameter.device.type}, which has no float64: "
            "train on the CPU or on CUDA, or leave the callback out"
        )
    is_number = parameter.is_floating_point() or parameter.is_complex()
    return is_number and parameter.layout == torch.strided


def _has_float64(device: torch.device) -> bool:
    """Whether a device supports float64: Apple's do not, nor do some of Intel's."""
    if device.type == "xpu":
        return bool(getattr(torch.xpu.get_device_properties(device), "has_fp64", True))
    return device.type != "mps"


def _described(pairs: NamedParameters) -> str:
    return listed((name for name, _ in pairs), most=3) or "it has no parameters"
