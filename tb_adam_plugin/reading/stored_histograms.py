"""Histograms of one parameter, from the blocks that store them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Indices
from tb_adam_plugin.reading.answers import HistogramRecords
from tb_adam_plugin.reading.merged_steps import merge_steps
from tb_adam_plugin.reading.records import Series, damaged_records, decode_block
from tb_adam_plugin.reading.run import StoredRun
from tb_adam_plugin.reading.thinning import evenly_spread
from tb_adam_plugin.schema import FormatError, Parameter, Quantity, Tag


class BlockPlace(NamedTuple):
    """Where the blocks of a tag hold the histograms of a parameter.

    Attributes:
        quantities: The counted quantities.
        row: Row of the parameter in a block.
        parameters: Number of parameters per block.
    """

    quantities: tuple[Quantity, ...]
    row: int
    parameters: int


def places_of(parameter: str, run: StoredRun) -> dict[Tag, BlockPlace]:
    """Return where the histograms of a parameter are stored, by tag, the newest layout first."""
    places: dict[Tag, BlockPlace] = {}
    for id_, row in run.layout.rows_of(parameter).items():
        layout = run.layout.layouts[id_]
        block, row_in_block, parameters = layout.block_of(row)
        tag = Tag("histograms", id_, block)
        if tag in run.tags:
            places[tag] = BlockPlace(layout.quantities, row_in_block, parameters)
    return places


def unpack_histograms(
    parameter: Parameter,
    quantities: tuple[Quantity, ...],
    places: Mapping[Tag, BlockPlace],
    logs: Mapping[Tag, Series],
    columns: int,
    since: float,
) -> tuple[HistogramRecords, dict[Tag, str]]:
    """Unpack at most ``columns`` histograms of a parameter, evenly spread after ``since``.

    Args:
        parameter: The parameter.
        quantities: The quantities.
        places: Where the parameter is in the blocks of each tag.
        logs: The blocks of each tag.
        columns: How many histograms are wanted.
        since: The last step that the client has.

    Returns:
        The histograms, and for each tag the damage found in the blocks read, or "".
    """
    step, wall_time, placements = merge_steps(list(logs.values()))
    earlier = int(np.searchsorted(step, since, "right"))
    kept = earlier + evenly_spread(step.size - earlier, columns)
    counts: dict[int, schema.Counts] = {}
    damage: dict[Tag, str] = {}
    for (tag, series), (rows, positions) in zip(logs.items(), placements, strict=True):
        chosen = np.isin(positions, kept)
        decoded, damage[tag] = _decode_blocks(series, rows[chosen], places[tag], quantities)
        counts |= {int(positions[chosen][i]): row for i, row in decoded.items()}
    intact = np.array(sorted(counts), np.intp)
    shape = (0, len(quantities), schema.BINS + len(schema.SPECIAL))
    stacked = np.stack([counts[i] for i in intact]) if counts else np.empty(shape, np.int64)
    records = HistogramRecords(
        parameter,
        step[intact],
        wall_time[intact],
        quantities,
        stacked,
        step,
        wall_time,
        earlier,
    )
    return records, damage


def _decode_blocks(
    series: Series, rows: Indices, place: BlockPlace, wanted: tuple[Quantity, ...]
) -> tuple[dict[int, schema.Counts], str]:
    decode = partial(
        decode_block,
        quantities=place.quantities,
        wanted=wanted,
        place=place.row,
        parameters=place.parameters,
    )
    decoded: dict[int, schema.Counts] = {}
    damaged: list[int] = []
    reason = ""
    taken = [] if series.blocks is None else series.blocks.take(rows.tolist())
    for i, (row, block) in enumerate(zip(rows.tolist(), taken, strict=True)):
        if block is None:
            continue
        try:
            decoded[i] = decode(block)
        except FormatError as error:
            damaged.append(int(series.step[row]))
            reason = reason or str(error)
    return decoded, damaged_records(damaged, reason)
