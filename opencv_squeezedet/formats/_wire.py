"""A first look at protobuf files that nobody vouches for, before the library makes an object of every message in them."""

from __future__ import annotations

from typing import Any

import numpy as np

from opencv_squeezedet.errors import ModelError

_FIXED = {1: 8, 5: 4}
_ALWAYS, _BYTES_PER_FIELD = 10_000, 32
_CHUNK = 1 << 12


def check_fields(content: bytes, descriptor: Any) -> None:
    """Count the fields of a message and of all messages in it, without making them.

    An empty message takes two bytes in a file and a hundred times that in memory, so a file of nothing else would fill it.
    A run of unpacked numbers counts as one field.

    Raises
    ------
    ModelError
        If the bytes are no such message, or there are far more fields than weights of that many bytes need.
    """
    left = _ALWAYS + len(content) // _BYTES_PER_FIELD
    waiting = [(0, len(content), descriptor)]
    while waiting:
        position, end, message = waiting.pop()
        while position < end:
            left -= 1
            if left < 0:
                raise ModelError(f"its {len(content)} bytes are split into too many fields for a network's file")
            start = position
            key, position = _varint(content, position, end)
            kind = key & 7
            if kind == 0:
                _, position = _varint(content, position, end)
            elif kind in _FIXED:
                position = _after_run(content, start, position - start + _FIXED[kind], end)
            elif kind == 2:
                length, position = _varint(content, position, end)
                field = message.fields_by_number.get(key >> 3)
                if field is not None and field.message_type is not None:
                    waiting.append((position, min(position + length, end), field.message_type))
                position += length
            else:
                raise ModelError(f"byte {start} begins a field of kind {kind}, which such files do not have")
            if position > end:
                raise ModelError(f"it ends within the field that begins at byte {start}")


def text(value: str | bytes) -> str:
    """Return a string of a message; ModelError where its bytes are no UTF-8, of which protobuf makes bytes."""
    if isinstance(value, bytes):
        raise ModelError(f"a name that is text was expected, got {value[:40]!r}")
    return value


def _varint(content: bytes, position: int, end: int) -> tuple[int, int]:
    """The number that begins at ``position``, and where it ends."""
    number = shift = 0
    for i in range(position, min(position + 10, end)):
        number |= (content[i] & 0x7F) << shift
        if content[i] < 0x80:
            return number, i + 1
        shift += 7
    raise ModelError(f"byte {position} begins no whole number")


def _after_run(content: bytes, start: int, width: int, end: int) -> int:
    """Where a run of fields of the given width ends that have the key of the first, for keys of one byte."""
    if start + width > end:
        return start + width
    if content[start] < 0x80:
        fits = min(end, start + _CHUNK * width) - start
        keys = np.frombuffer(content, np.uint8, fits, start)[: fits // width * width : width]
        other = np.flatnonzero(keys != content[start])
        return start + width * (int(other[0]) if len(other) else len(keys))
    return start + width
