"""The rows of the statistics and the histograms: parameters and their groups."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tb_adam_plugin.schema.blocks import MOST_PARAMETERS_PER_BLOCK
from tb_adam_plugin.schema.columns import HistogramSource
from tb_adam_plugin.schema.content import VERSION, FormatError, canonical, read_content, short_hash
from tb_adam_plugin.schema.quantities import Quantity
from tb_adam_plugin.schema.tags import Tag

Option = bool | int | float | str | None

# Suffix of a tensor that the optimizer still holds while the model now has another one by that
# name.
REPLACED = " (replaced)"
_MOST_ELEMENTS = 2**63 - 1  # of one tensor


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row: a parameter tensor that the optimizer updates.

    Attributes:
        name: As in ``model.named_parameters()``. If the model now has another tensor by that name,
            :data:`REPLACED` is appended.
        shape: Shape of the whole tensor.
        dtype: Type of the weight, without ``torch.``.
        elements_read: Number of elements covered by the histograms and the sampled statistics;
            equal to :attr:`elements` if all are read.
        group: Index into :attr:`Layout.groups`.
        module: Class name of the module that it belongs to, such as ``Embedding``; "" if unknown.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    elements_read: int
    group: int
    module: str = ""

    @property
    def elements(self) -> int:
        """Number of elements of the whole tensor."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Group:
    """One parameter group of the optimizer.

    Attributes:
        optimizer: Class name, such as ``AdamW``.
        options: Settings that are not numbers over time: ``amsgrad``, ``maximize``,
            ``decoupled_weight_decay``, ``foreach``, ``fused``, ``capturable`` …
        undefined: Statistics and quantities that this optimizer does not have. Their cells are NaN.
        meanings: What a quantity is in this optimizer, if its name is misleading.
        storage: Types that store the state's tensors, by quantity; several are joined by commas.
        replaced: Settings that loading a checkpoint has replaced, each with the old and the new
            value.
    """

    optimizer: str
    options: Mapping[str, Option]
    undefined: tuple[str, ...] = ()
    meanings: Mapping[str, str] = field(default_factory=dict)
    storage: Mapping[str, str] = field(default_factory=dict)
    replaced: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unoptimized:
    """A parameter of the model that is in no group, so the optimizer never updates it.

    Attributes:
        name: Its name in the model.
        shape: Shape of the whole parameter.
        trainable: Whether it requires a gradient.
        other_optimizer: Class name of another optimizer that holds it; "" if none was found.
    """

    name: str
    shape: tuple[int, ...]
    trainable: bool
    other_optimizer: str = ""


@dataclass(frozen=True)  # no slots: derived values are cached
class Layout:
    """The rows and columns of the statistics, and the histograms.

    Attributes:
        parameters: The rows.
        groups: The optimizer's parameter groups.
        statistics: The columns, by name.
        quantities: Quantities that have histograms.
        unoptimized: Parameters that the optimizer does not update.
        parameters_per_block: Number of consecutive parameters that share a histograms tag.
    """

    parameters: tuple[Parameter, ...]
    groups: tuple[Group, ...]
    statistics: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    unoptimized: tuple[Unoptimized, ...] = ()
    parameters_per_block: int = 1

    def content(self) -> bytes:
        """Return the layout as canonical JSON."""
        return self._content

    @cached_property
    def id(self) -> str:
        """The layout's name within tags: a hash of its content."""
        return short_hash(self._content)

    @cached_property
    def _content(self) -> bytes:
        return canonical(
            {
                "version": VERSION,
                "parameters": [
                    [p.name, list(p.shape), p.dtype, p.elements_read, p.group]
                    for p in self.parameters
                ],
                "groups": [
                    [
                        g.optimizer,
                        dict(g.options),
                        list(g.undefined),
                        dict(g.meanings),
                        dict(g.storage),
                    ]
                    for g in self.groups
                ],
                "statistics": list(self.statistics),
                "quantities": [[q.name, q.signed, q.lowest_exponent] for q in self.quantities],
                "unoptimized": [[u.name, list(u.shape), u.trainable] for u in self.unoptimized],
                "parameters_per_block": self.parameters_per_block,
                **(
                    {"modules": modules}
                    if any(modules := [p.module for p in self.parameters])
                    else {}
                ),
                **(
                    {"replaced_settings": replaced}
                    if any(replaced := [_as_lists(g.replaced) for g in self.groups])
                    else {}
                ),
                **(
                    {"other_optimizers": others}
                    if any(others := [u.other_optimizer for u in self.unoptimized])
                    else {}
                ),
            }
        )

    @cached_property
    def histogram_tags(self) -> list[tuple[str, bytes]]:
        """Tag and content of each block of histograms."""
        quantities = tuple(q.name for q in self.quantities)
        names = [p.name for p in self.parameters]
        return [
            (
                str(Tag("histograms", self.id, i)),
                HistogramSource(
                    tuple(names[first : first + self.parameters_per_block]), quantities
                ).content(),
            )
            for i, first in enumerate(range(0, len(names), self.parameters_per_block))
        ]

    def block_of(self, row: int) -> tuple[int, int, int]:
        """Return where the histograms of a parameter are stored.

        Args:
            row: Row of the parameter.

        Returns:
            The block, the parameter's index in it, and the number of parameters in it.
        """
        block, place = divmod(row, self.parameters_per_block)
        first = block * self.parameters_per_block
        return block, place, min(self.parameters_per_block, len(self.parameters) - first)

    @staticmethod
    def from_content(content: bytes) -> Layout:
        """Read a layout from the content of its tag.

        Raises:
            NewerVersionError: If a newer version wrote it.
            FormatError: If it is not a layout.
        """
        fields = read_content(content)
        try:
            modules = fields.get("modules") or [""] * len(fields["parameters"])
            others = fields.get("other_optimizers") or [""] * len(fields["unoptimized"])
            replaced = fields.get("replaced_settings") or [{}] * len(fields["groups"])
            layout = Layout(
                tuple(
                    Parameter(
                        str(name), _shape(shape), str(dtype), int(read), int(group), str(module)
                    )
                    for (name, shape, dtype, read, group), module in zip(
                        fields["parameters"], modules, strict=True
                    )
                ),
                tuple(
                    Group(
                        str(optimizer),
                        _options(options),
                        tuple(map(str, undefined)),
                        _texts(meanings),
                        _texts(storage),
                        _pairs(settings),
                    )
                    for (optimizer, options, undefined, meanings, storage), settings in zip(
                        fields["groups"], replaced, strict=True
                    )
                ),
                tuple(map(str, fields["statistics"])),
                tuple(
                    Quantity(str(name), bool(signed), int(lowest))
                    for name, signed, lowest in fields["quantities"]
                ),
                tuple(
                    Unoptimized(str(name), _shape(shape), bool(trainable), str(other))
                    for (name, shape, trainable), other in zip(
                        fields["unoptimized"], others, strict=True
                    )
                ),
                int(fields.get("parameters_per_block", 1)),  # missing in version 1
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"not a layout: {error!r}") from error
        _check(layout)
        return layout


def _check(layout: Layout) -> None:
    """Refuse values that no training has, before anything is allocated for them."""
    if any(not 0 <= p.group < len(layout.groups) for p in layout.parameters):
        raise FormatError("not a layout: a parameter names a group that does not exist")
    if any(not 0 <= p.elements_read <= _MOST_ELEMENTS for p in layout.parameters):
        raise FormatError("not a layout: the number of elements read is out of range")
    for named in (layout.parameters, layout.quantities):
        if len({item.name for item in named}) < len(named):
            raise FormatError("not a layout: two parameters or quantities have the same name")
    if not 1 <= layout.parameters_per_block <= MOST_PARAMETERS_PER_BLOCK:
        raise FormatError("not a layout: the number of parameters in a block is wrong")
    if any(abs(q.lowest_exponent) > 150 for q in layout.quantities):
        raise FormatError("not a layout: a quantity's bins lie outside float32")


def _options(value: Any) -> dict[str, Option]:
    options = dict(value)
    for name, option in options.items():
        if not isinstance(name, str) or not isinstance(option, Option):
            raise TypeError(f"option {name!r} is {option!r}")
    return options


def _as_lists(pairs: Mapping[str, tuple[float, float]]) -> dict[str, list[float]]:
    return {name: list(values) for name, values in pairs.items()}


def _pairs(value: Any) -> dict[str, tuple[float, float]]:
    pairs = {
        str(name): (float(before), float(after)) for name, (before, after) in dict(value).items()
    }
    if not all(map(math.isfinite, [number for pair in pairs.values() for number in pair])):
        raise ValueError("a replaced setting is not a number")
    return pairs


def _texts(value: Any) -> dict[str, str]:
    return {str(name): str(text) for name, text in dict(value).items()}


def _shape(value: Any) -> tuple[int, ...]:
    shape = tuple(int(n) for n in value)
    elements = 1
    for n in shape:
        if n < 0:
            raise ValueError(f"negative size {n} in a shape")
        elements *= n
        if elements > _MOST_ELEMENTS:  # checked with each size, so the product stays small
            raise ValueError("a shape of 2^63 elements or more")
    return shape
