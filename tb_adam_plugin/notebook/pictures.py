"""A loss and a heat map as SVG, without a plotting library.

Text inherits the surrounding colour, so it is readable in both dark and light notebooks.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.arrays import Flags, Float32s, Float64s
from tb_adam_plugin.diagnosis.engine.wording import number

WIDTH, MOST_ROWS = 720, 60
_LEFT, _RIGHT = 200, 10
_LOSS_HEIGHT = 110
_MOST_POINTS, _COLUMNS = 600, 510
# Non-finite losses this close to each other share a shade.
_MERGED = 2
_ROW = 12
# Update-to-weight ratio in decades: from far too small over usual to far too large.
LOW, MIDDLE, HIGH = -6.0, -3.0, -0.5
# "vik" of Fabio Crameri's Scientific colour maps, as in the tab.
_STOPS = (
    "001261 023779 307da6 7aaec8 c6dbe6 ece5e0 e3bca5 cf8e68 b3531f 832106 590008"
)  # fmt: skip
_FONT = 'font-family="system-ui, sans-serif" font-size="10"'

Pixels = npt.NDArray[np.uint8]


def loss_curve(
    steps: Float64s, loss: Float64s, lost: Flags, shown: tuple[float, float], caption: str
) -> tuple[str, int]:
    """Draw a loss over the steps, with a shade where it is not finite.

    Args:
        steps: float64 ``[steps]``, ascending.
        loss: float64 ``[steps]``; NaN where there is none.
        lost: Where the loss is not finite, bool ``[steps]``.
        shown: The first and the last step of the axis.
        caption: Text of the first shade.

    Returns:
        SVG elements, and their height; ("", 0) without a loss.
    """
    known = np.isfinite(loss)
    if np.count_nonzero(known) < 2 and not lost.any():
        return "", 0
    drawn = _shades(steps, lost, shown, caption) + _text(6, 12, "loss", "start")
    if np.count_nonzero(known) > 1:
        at, loss = steps[known], loss[known]
        low, high = float(loss.min()), float(loss.max())
        x = _places(at, shown)
        y = 8 + (high - loss) / ((high - low) or 1.0) * (_LOSS_HEIGHT - 30)
        kept = np.unique(np.linspace(0, at.size - 1, _MOST_POINTS).round().astype(int))
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[kept], y[kept], strict=True))
        drawn += (
            f'<polyline points="{points}" fill="none" stroke="#0c9bb0" stroke-width="1.2"/>'
            + _text(_LEFT - 6, 12, number(high), "end")
            + _text(_LEFT - 6, _LOSS_HEIGHT - 18, number(low), "end")
        )
    return drawn + _axis(shown, _LOSS_HEIGHT - 6), _LOSS_HEIGHT


def _places(steps: Float64s, shown: tuple[float, float]) -> Float64s:
    """Positions of steps on the axis."""
    first, last = shown
    places: Float64s = _LEFT + (steps - first) / max(1.0, last - first) * (WIDTH - _LEFT - _RIGHT)
    return places


def _shades(steps: Float64s, lost: Flags, shown: tuple[float, float], caption: str) -> str:
    """Shade the steps whose loss is not finite, at most a column wide each."""
    if not lost.any():
        return ""
    columns = np.unique(np.floor(_places(steps[lost], shown)))
    ends = np.flatnonzero(np.diff(columns, append=np.inf) > _MERGED)
    starts = np.concatenate([[0], ends[:-1] + 1])
    shades = "".join(
        f'<rect x="{columns[a]:.0f}" y="8" width="{max(1.0, columns[b] - columns[a]):.0f}" '
        f'height="{_LOSS_HEIGHT - 30}" fill="#c5221f" fill-opacity="0.15"/>'
        for a, b in zip(starts.tolist(), ends.tolist(), strict=True)
    )
    middle = _LEFT + (WIDTH - _LEFT - _RIGHT) / 2
    left = columns[0] <= middle
    return shades + _text(columns[0] + (4 if left else -4), 20, caption, "start" if left else "end")


def heat_map(
    steps: Float64s,
    values: Float32s,
    names: Sequence[str],
    shown: tuple[float, float],
    caption: str,
    top: int = 0,
) -> tuple[str, int]:
    """Draw the update-to-weight ratio of every tensor; each record lasts to the next one.

    Args:
        steps: float64 ``[records]``.
        values: float32 ``[records, parameters]``; NaN is left transparent.
        names: Names of the parameters; if there are more than :data:`MOST_ROWS`, some are drawn,
            evenly spread.
        shown: The first and the last step of the axis.
        caption: Text below the map.
        top: Where it begins.

    Returns:
        SVG elements, and their height; ("", 0) without a record.
    """
    if not values.size:
        return "", 0
    rows = _spread(len(names), MOST_ROWS)
    records = np.searchsorted(steps, np.linspace(*shown, _COLUMNS), "right") - 1
    ratios = np.where(records[:, None] >= 0, values[np.ix_(np.maximum(records, 0), rows)], np.nan)
    pixels = _coloured(ratios.T)
    height = max(3 * _ROW, _ROW * rows.size)
    width = WIDTH - _LEFT - _RIGHT
    picture = base64.b64encode(_png(pixels)).decode()
    labels = "".join(
        _text(_LEFT - 6, top + height * (place + 0.5) / rows.size + 3, _short(names[row]), "end")
        for place, row in enumerate(rows.tolist())
    )
    return (
        f'<image x="{_LEFT}" y="{top}" width="{width}" height="{height}" '
        f'preserveAspectRatio="none" image-rendering="pixelated" '
        f'href="data:image/png;base64,{picture}"/>'
        + labels
        + _axis(shown, top + height + 14)
        + _text(_LEFT + width / 2, top + height + 14, caption, "middle")
    ), height + 20


def svg(elements: str, height: int, label: str) -> str:
    """Return a picture of elements.

    Args:
        elements: As drawn by the functions of this module.
        height: Their height.
        label: A description of the picture, for screen readers.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}" '
        f'style="max-width:100%;height:auto">{elements}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="currentColor" {_FONT}>'
        f"{escape(text)}</text>"
    )


def _axis(shown: tuple[float, float], y: int) -> str:
    first, last = f"{shown[0]:,.0f}", f"step {shown[1]:,.0f}"
    return _text(_LEFT, y, first, "start") + _text(WIDTH - _RIGHT, y, last, "end")


def _short(name: str) -> str:
    return name if len(name) <= 34 else f"…{name[-33:]}"


def _spread(count: int, most: int) -> npt.NDArray[np.intp]:
    """Evenly spread indices, at most this many."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def _coloured(ratios: Float32s) -> Pixels:
    """Colours of ratios, uint8 ``[rows, columns, 4]``: unknown ones are transparent."""
    with np.errstate(all="ignore"):
        decades = np.log10(ratios.astype(np.float64))
    known = ~np.isnan(ratios)
    decades = np.where(np.isinf(ratios), MIDDLE, decades)  # the weight was 0, which is fine
    position = np.interp(decades, [LOW, MIDDLE, HIGH], [0.0, 0.5, 1.0])
    stops = np.array([[*bytes.fromhex(stop)] for stop in _STOPS.split()], np.float64)
    at = np.linspace(0, 1, len(stops))
    pixels = np.zeros((*ratios.shape, 4), np.uint8)
    for channel in range(3):
        colour = np.interp(np.where(known, position, 0.5), at, stops[:, channel])
        pixels[..., channel] = colour.round()
    pixels[..., 3] = np.where(known, 255, 0)
    return pixels


def _png(pixels: Pixels) -> bytes:
    """Pack pixels, uint8 ``[rows, columns, 4]``, as a PNG file."""
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
