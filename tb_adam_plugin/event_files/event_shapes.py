"""The structure of a file's events, apart from their numbers.

Events of one callback differ in little else. So the bytes between the numbers are compared with
those of earlier events, and only an event that differs is parsed. Histograms come last in an event,
there are many of them and few are requested: they are parsed later.
"""

from __future__ import annotations

from typing import NamedTuple

from tb_adam_plugin import schema
from tb_adam_plugin.event_files.windowed_file import WindowedFile
from tb_adam_plugin.event_files.wire import (
    MalformedError,
    TensorPlace,
    after,
    find_tensor,
    float64,
    signed,
    to_varint,
    varint,
)

_PREFIX = f"{schema.PLUGIN_NAME}/".encode()
_HISTOGRAMS = _PREFIX + b"histograms/"
_LONGEST_TAG = 512
_LONGEST_FIELD = 32  # a key, and a number or a length
_LONGEST_HEAD = 48  # wall time, step, and length of the summary
_LONGEST_TENSOR_HEAD = 256  # type and shape
_COMPARED = 4  # shapes to compare before parsing an event
_SMALL_EVENT = 1 << 16  # an event up to this size is read whole

_VALUE_KEY, _TAG_KEY, _TENSOR_KEY, _METADATA_KEY = 0x0A, 0x0A, 0x42, 0x4A
_WALL_TIME_KEY, _STEP_KEY, _SUMMARY_KEY, _SOURCE_KEY = 0x09, 0x10, 0x2A, 0x52
_WRITER = f"\x0a{chr(len(schema.WRITER))}{schema.WRITER}".encode()  # its field in the source


class StoredTensor(NamedTuple):
    """A tensor of ours in an event; positions are relative to the event's first value.

    Attributes:
        tag: Its tag.
        message: Position of its message.
        message_size: Size of the message in bytes.
        place: Its type, its shape and its numbers.
        metadata: Position of the tag's metadata.
        metadata_size: Size of the metadata in bytes; 0 if there is none.
    """

    tag: str
    message: int
    message_size: int
    place: TensorPlace
    metadata: int
    metadata_size: int


class EventShape(NamedTuple):
    """The common structure of some events.

    Attributes:
        pieces: Constant bytes, each with the number of variable bytes that follow.
        tensors: Our tensors.
    """

    pieces: tuple[tuple[bytes, int], ...]
    tensors: tuple[StoredTensor, ...]


class EventHead(NamedTuple):
    """The head of an event.

    Attributes:
        wall_time: Seconds since the epoch.
        step: Training step.
        values: Offset of its values from its first byte.
        size: Size of the values in bytes; 0 if there are none.
        is_ours: Whether it names the callback as the writer of the file.
    """

    wall_time: float
    step: int
    values: int
    size: int
    is_ours: bool


class FoundEvent(NamedTuple):
    """A parsed or recognized event.

    Attributes:
        shape: Index of its shape; -1 if it has none of our tensors, apart from histograms.
        histograms: Offset of its histograms from its first value; -1 if there are none.
        layout: Index of their layout.
    """

    shape: int
    histograms: int
    layout: int


class EventShapes:
    """The shapes of the events of one file.

    Attributes:
        shapes: Shapes with tensors of ours, in the order of first occurrence.
        by_tag: Which shapes have a tensor of a tag, and that tensor.
        histogram_layouts: Index of each layout of histograms that come last, by id.
        histograms_come_last: Whether the file's writer guarantees it.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.shapes: list[EventShape] = []
        self.by_tag: dict[str, list[tuple[int, StoredTensor]]] = {}
        self.histogram_layouts: dict[str, int] = {}
        self._numbers: dict[EventShape, int] = {}
        self._recent: list[tuple[int, EventShape]] = []
        self.histograms_come_last = False

    def find(self, file: WindowedFile, start: int, size: int) -> FoundEvent:
        """Identify the values of an event.

        Args:
            file: The file.
            start: Start of the values.
            size: Size of the values in bytes.

        Raises:
            MalformedError, IndexError, struct.error, UnicodeDecodeError: If they are not valid
            values.
        """
        return self._as_before(file, start, size) or self._take_apart(file, start, size)

    def _as_before(self, file: WindowedFile, start: int, size: int) -> FoundEvent | None:
        is_small = size <= _SMALL_EVENT
        for order, (number, shape) in enumerate(self._recent):
            done = 0
            i = file.at(start, size) if is_small else 0
            for piece, gap in shape.pieces:
                if not is_small:
                    i = file.at(start + done, len(piece)) - done
                if not file.data.startswith(piece, i + done):
                    break
                done += len(piece) + gap
            else:
                layout = None
                if done < size and (
                    self.histograms_come_last
                    or _histograms_start(file, start + done, size - done) == 0
                ):
                    layout = self._histograms_at(file, start + done)
                if done != size and layout is None:
                    continue
                if order:
                    self._recent.insert(0, self._recent.pop(order))
                return FoundEvent(number, -1 if layout is None else done, layout or 0)
        return None

    def _take_apart(self, file: WindowedFile, start: int, size: int) -> FoundEvent:
        tensors: list[StoredTensor] = []
        gaps: list[tuple[int, int]] = []
        at, layout = 0, None
        first = 0 if self.histograms_come_last else _histograms_start(file, start, size)
        while at < size:
            if at >= first:
                layout = self._histograms_at(file, start + at)
            if layout is not None:
                break
            at = _find_value(file, start, at, tensors, gaps)
        if at > size:
            raise MalformedError("the last value is too long")
        pieces, done = [], 0
        for gap, width in [*gaps, (at, 0)]:
            i = file.at(start + done, gap - done)
            pieces.append((file.data[i : i + gap - done], width))
            done = gap + width
        shape = EventShape(tuple(pieces), tuple(tensors))
        return FoundEvent(self._number(shape), -1 if layout is None else at, layout or 0)

    def _number(self, shape: EventShape) -> int:
        number = -1
        if shape.tensors:  # with others' data, every event may have a different shape
            number = self._numbers.setdefault(shape, len(self.shapes))
        if number == len(self.shapes):
            self.shapes.append(shape)
            for tensor in shape.tensors:
                self.by_tag.setdefault(tensor.tag, []).append((number, tensor))
        self._recent = [(number, shape), *self._recent][:_COMPARED]
        return number

    def _histograms_at(self, file: WindowedFile, position: int) -> int | None:
        """Index of the layout whose histograms start at a value and go on to the end, or None."""
        i = file.at(position, _LONGEST_TAG)
        data = file.data
        if data[i] != _VALUE_KEY:
            return None
        _, i = varint(data, i + 1)
        if data[i] != _TAG_KEY:
            return None
        length, i = varint(data, i + 1)
        if length > _LONGEST_TAG or not data.startswith(_HISTOGRAMS, i):
            return None
        tag = schema.parse_tag(data[i : i + length].decode())
        if tag is None:
            return None
        return self.histogram_layouts.setdefault(tag.id, len(self.histogram_layouts))


def find_head(file: WindowedFile, start: int, length: int) -> EventHead:
    """Parse the fields of an event.

    Args:
        file: The file.
        start: Start of the event.
        length: Length of the event in bytes.

    Raises:
        MalformedError, IndexError, struct.error: If it is not an event.
    """
    i = file.at(start, _LONGEST_HEAD)
    data = file.data
    if data[i] == _WALL_TIME_KEY and data[i + 9] == _STEP_KEY:  # the usual order of fields
        wall_time = float64(data, i + 1)
        step, at = varint(data, i + 10)
        if data[at] == _SUMMARY_KEY:
            size, at = varint(data, at + 1)
            if at - i + size == length:
                return EventHead(wall_time, signed(step), at - i, size, is_ours=False)
    wall_time, step, values, size, is_ours = 0.0, 0, 0, 0, False
    at = 0
    while at < length:
        i = before = file.at(start + at, _LONGEST_FIELD)
        key, i = varint(file.data, i)
        if key == _WALL_TIME_KEY:
            wall_time = float64(file.data, i)
            i += 8
        elif key == _STEP_KEY:
            value, i = varint(file.data, i)
            step = signed(value)
        elif key == _SUMMARY_KEY:
            size, i = varint(file.data, i)
            values = at + i - before
            i += size
        elif key == _SOURCE_KEY:
            source, i = varint(file.data, i)
            j = file.at(start + at + i - before, source)
            is_ours = file.data[j : j + source] == _WRITER
            at += i - before + source
            continue
        else:
            i = after(file.data, i, key)
        at += i - before
    if at != length:
        raise MalformedError("an event does not end where it should")
    return EventHead(wall_time, step, values, size, is_ours)


def _histograms_start(file: WindowedFile, start: int, size: int) -> int:
    """Where the trailing values start whose tensors of ours are all histograms of one layout.

    Relative to ``start``, the start of the first value; ``size`` if there are none.
    """
    first, last = size, ""
    at = 0
    while at < size:
        tensors: list[StoredTensor] = []
        following = _find_value(file, start, at, tensors, [])
        for tensor in tensors:
            tag = schema.parse_tag(tensor.tag)
            layout = tag.id if tag is not None and tag.kind == "histograms" else ""
            if layout != last:
                first, last = at, layout
        at = following
    return first if last else size


def tensors_in(file: WindowedFile, start: int, size: int) -> list[StoredTensor]:
    """Return our tensors among some values; positions are relative to ``start``."""
    tensors: list[StoredTensor] = []
    at = 0
    while at < size:
        at = _find_value(file, start, at, tensors, [])
    return tensors


def find_value(file: WindowedFile, start: int, size: int, tag: str) -> StoredTensor | None:
    """Return the tensor of a tag among some values; positions are relative to ``start``.

    Values of other tags are skipped. None if the tag is missing.
    """
    wanted = tag.encode()
    head = bytes([_TAG_KEY, *to_varint(len(wanted))]) + wanted
    at = 0
    while at < size:
        i = before = file.at(start + at, len(head) + _LONGEST_FIELD)
        key, i = varint(file.data, i)
        length, i = varint(file.data, i)
        if key != _VALUE_KEY or at + i - before + length > size:
            raise MalformedError("something other than a value")
        if file.data.startswith(head, i):
            tensors: list[StoredTensor] = []
            _find_value(file, start, at, tensors, [])
            return tensors[0] if tensors else None
        at += i - before + length
    return None


def _find_value(
    file: WindowedFile,
    start: int,
    at: int,
    tensors: list[StoredTensor],
    gaps: list[tuple[int, int]],
) -> int:
    """Parse one value.

    Args:
        file: The file.
        start: Origin of the positions.
        at: Start of the value.
        tensors: Receives our tensors.
        gaps: Receives the positions and sizes of bytes that differ between events.

    Returns:
        Start of the next value.
    """
    i = before = file.at(start + at, _LONGEST_FIELD)
    key, i = varint(file.data, i)
    if key != _VALUE_KEY:
        return at + after(file.data, i, key) - before
    size, i = varint(file.data, i)
    at += i - before
    end = at + size
    tag, first = b"", at
    message, metadata = (0, 0), (0, 0)
    while at < end:
        i = before = file.at(start + at, _LONGEST_FIELD)
        key, i = varint(file.data, i)
        value = i
        following = after(file.data, i, key)
        if key in (_TAG_KEY, _TENSOR_KEY, _METADATA_KEY):
            length, value = varint(file.data, i)
            place = (at + value - before, length)
            if key == _TENSOR_KEY:
                message = place
            elif key == _METADATA_KEY:
                metadata = place
            elif length <= _LONGEST_TAG:
                i = file.at(start + place[0], length)
                tag = file.data[i : i + length]
                first = place[0] + length
        at += following - before
    if at != end:
        raise MalformedError("a value does not end where it should")
    is_ours = tag.startswith(_PREFIX) and schema.parse_tag(tag.decode()) is not None
    if not is_ours or not message[1]:
        if end > first:
            gaps.append((first, end - first))
        return end
    tensor = _tensor(file, start, *message)
    others = [(tensor.at, tensor.size)] if tensor.at else []
    if metadata[1] > _LONGEST_FIELD:
        others.append(metadata)
    gaps += sorted(others)
    tensors.append(StoredTensor(tag.decode(), *message, tensor, *metadata))
    return end


def _tensor(file: WindowedFile, start: int, at: int, size: int) -> TensorPlace:
    i = file.at(start + at, min(size, _LONGEST_TENSOR_HEAD))
    try:
        place = find_tensor(file.data, i, i + size)
    except IndexError:  # there are fields after the numbers
        i = file.at(start + at, size)
        place = find_tensor(file.data, i, i + size)
    return place._replace(at=place.at - i + at) if place.at else place
