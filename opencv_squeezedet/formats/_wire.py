"""Protobuf's files without the library: written, and read without trust; nothing is made that the bytes do not pay for."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.formats._schema import ARRAYS, RANGES, Field, Message, Record, Schema

_VARINT, _LENGTH = 0, 2
_WIDTHS = {1: 8, 5: 4}
_SCALARS = {"float": (5, "<f"), "double": (1, "<d")}
_ALWAYS, _BYTES_PER_FIELD = 50_000, 32
_CHUNK, _FEW = 1 << 12, 64
_DEEPEST = 64
_MOST_LISTED = 1 << 16
_LONGEST_VARINT = 10  # bytes

Piece = bytes | memoryview


def decode(content: bytes, schema: Schema, kind: str) -> Message:
    """Read a message; fields that the schema does not have are passed over.

    An empty message takes two bytes in a file and hundreds in memory, so the number of fields is limited by that of bytes; a
    run of unpacked floats counts as one. A field that may be there once is refused where it is there twice: readers differ in
    what they make of that.

    Raises
    ------
    ModelError
        If the bytes are not such a message, or there are far more fields than weights of that many bytes need.
    """
    return _Decoder(content, schema).message(kind, 0, len(content), 0)


class Part(NamedTuple):
    """A field in the bytes of a message: where it begins and ends, and where its value begins."""

    number: int
    start: int
    begin: int
    end: int


def parts(content: bytes, begin: int, end: int) -> Iterator[Part]:
    """Yield the fields of the message that lies there, and nothing of the messages in it; ModelError as `decode`."""
    decoder = _Decoder(content, Schema({}))
    while begin < end:
        number, _, value, after = decoder.next(begin, end)
        yield Part(number, begin, value, after)
        begin = after


def written(number: int, content: bytes) -> bytes:
    """Return a field that is a message, a text or bytes."""
    return b"".join(_delimited(number, [content]))


def encode(record: Record, schema: Schema, kind: str) -> bytes:
    """Return the bytes of a message, its fields in the order of their numbers, as protobuf's own library writes them."""
    return b"".join(pieces(record, schema, kind))


def pieces(record: Record, schema: Schema, kind: str) -> list[Piece]:
    """Return what `encode` joins: megabytes of weights are then copied once, however many messages they lie in."""
    return [piece for field, value in schema.fields_of(record, kind) for piece in _encoded(field, value, schema)]


def _encoded(field: Field, value: Any, schema: Schema) -> list[Piece]:
    if field.packed and field.kind in ARRAYS:
        return _delimited(field.number, [raw(np.asarray(value, ARRAYS[field.kind]))])
    if field.packed:
        return _delimited(field.number, [b"".join(map(_number, value))])
    values = value if field.repeated else (value,)
    return [piece for each in values for piece in _one(field, each, schema)]


def _one(field: Field, value: Any, schema: Schema) -> list[Piece]:
    if field.kind in schema.fields:
        return _delimited(field.number, pieces(value, schema, field.kind))
    if field.kind == "bytes":
        return _delimited(field.number, [raw(value) if isinstance(value, np.ndarray) else value])
    if field.kind == "string":
        return _delimited(field.number, [value.encode()])
    if field.kind in _SCALARS:
        wire, layout = _SCALARS[field.kind]
        return [_number(field.number << 3 | wire) + struct.pack(layout, value)]
    return [_number(field.number << 3 | _VARINT) + _number(int(value))]


def _delimited(number: int, content: list[Piece]) -> list[Piece]:
    return [_number(number << 3 | _LENGTH) + _number(sum(map(len, content))), *content]


def raw(values: NDArray[Any]) -> memoryview:
    """Return the bytes of an array."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def _number(value: int) -> bytes:
    """A whole number, seven bits a byte; a negative one as 64 bits."""
    value &= (1 << 64) - 1
    content = bytearray()
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    content.append(value)
    return bytes(content)


class _Decoder:
    def __init__(self, content: bytes, schema: Schema) -> None:
        self._content, self._schema = content, schema
        self._left = _ALWAYS + len(content) // _BYTES_PER_FIELD

    def message(self, kind: str, position: int, end: int, depth: int) -> Message:
        """The message that lies from ``position`` to ``end``."""
        if depth > _DEEPEST:
            raise ModelError(f"byte {position} begins a message that lies in more than {_DEEPEST} others")
        message, fields = Message(self._schema, kind), self._schema.numbers[kind]
        pieces: dict[str, list[NDArray[Any]]] = {}
        while position < end:
            start = position
            number, wire, begin, position = self.next(start, end)
            field = fields.get(number)
            if field is None:
                continue
            if field.array:
                pieces.setdefault(field.name, []).append(self._array(field, wire, start, begin, position))
            elif field.repeated:
                self._add(message.given.setdefault(field.name, []), field, wire, begin, position, depth)
            elif field.name in message.given:
                raise ModelError(f"byte {start} begins the field {field.name!r} of a {kind}, which has it already")
            else:
                message.given[field.name] = self._value(field, wire, begin, position, depth)
        for name, arrays in pieces.items():
            message.given[name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        return message

    def next(self, start: int, end: int) -> tuple[int, int, int, int]:
        """The number of the field that begins at ``start``, how it is stored, and where its value begins and ends."""
        self._left -= 1
        if self._left < 0:
            raise ModelError(f"its {len(self._content)} bytes are split into too many fields for a network's file")
        key, begin = self._varint(start, end)
        wire = key & 7
        if wire == _LENGTH:
            length, begin = self._varint(begin, end)
            position = begin + length
        elif wire == _VARINT:
            _, position = self._varint(begin, end)
        elif wire in _WIDTHS:
            position = self._after_run(start, begin - start + _WIDTHS[wire], end)
        else:
            raise ModelError(f"byte {start} begins a field of kind {wire}, which such files do not have")
        if position > end:
            raise ModelError(f"it ends within the field that begins at byte {start}")
        return key >> 3, wire, begin, position

    def _value(self, field: Field, wire: int, begin: int, end: int, depth: int) -> Any:
        """One value of a field that is not an array."""
        kind = field.kind
        if wire == _LENGTH and kind in self._schema.fields:
            return self.message(kind, begin, end, depth + 1)
        if wire == _LENGTH and kind == "bytes":
            return self._content[begin:end]
        if wire == _LENGTH and kind == "string":
            return self._text(begin, end)
        if kind in ARRAYS and wire in _WIDTHS and end - begin == ARRAYS[kind].itemsize:
            return float(np.frombuffer(self._content, ARRAYS[kind], 1, begin)[0])
        if wire == _VARINT and (kind in RANGES or kind in self._schema.enums):
            return self._integer(field, self._varint(begin, end)[0])
        raise self._stored_otherwise(field, begin)

    def _add(self, values: list[Any], field: Field, wire: int, begin: int, end: int, depth: int) -> None:
        """Add the value, or those in one run, of a repeated field."""
        if wire == _LENGTH and (field.kind in RANGES or field.kind in self._schema.enums):
            _check_count(field, (end - begin) // _LONGEST_VARINT)  # before there is an object for each
            numbers = self._varints(begin, end)
            _check_count(field, len(values) + len(numbers))
            values += [self._integer(field, number) for number in numbers.view(np.uint64).tolist()]
        else:
            _check_count(field, len(values) + 1)
            values.append(self._value(field, wire, begin, end, depth))

    def _array(self, field: Field, wire: int, start: int, begin: int, end: int) -> NDArray[Any]:
        """The numbers of a field of many: in one run, or each, or several, with the field's key before them."""
        kind = ARRAYS.get(field.kind)
        if kind is None:
            if wire in (_VARINT, _LENGTH):
                return self._varints(begin, end)
        elif wire == _LENGTH and (end - begin) % kind.itemsize == 0:
            return np.frombuffer(self._content, kind, (end - begin) // kind.itemsize, begin)
        elif _WIDTHS.get(wire) == kind.itemsize:
            run = np.dtype([("key", "u1", (begin - start,)), ("value", kind)])
            return np.frombuffer(self._content, run, (end - start) // run.itemsize, start)["value"]
        raise self._stored_otherwise(field, begin)

    def _stored_otherwise(self, field: Field, begin: int) -> ModelError:
        return ModelError(f"byte {begin} begins a value of {field.name!r} that is not stored as a {field.kind} is")

    def _integer(self, field: Field, number: int) -> int:
        if field.kind in self._schema.enums:
            least, end = 0, len(self._schema.enums[field.kind])
        else:
            least, end = RANGES[field.kind]
        if least < 0 and number >= 1 << 63:
            number -= 1 << 64
        if not least <= number < end:
            raise ModelError(f"{field.name!r} is {number}, not a valid {field.kind}")
        return number

    def _text(self, begin: int, end: int) -> str:
        content = self._content[begin:end]
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            raise ModelError(f"a name that is text was expected, got {content[:40]!r}") from None

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """The number that begins at ``position``, and where it ends."""
        number = shift = 0
        for i in range(position, min(position + _LONGEST_VARINT, end)):
            byte = self._content[i]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                if number >> 64:
                    break
                return number, i + 1
            shift += 7
        raise ModelError(f"byte {position} begins no whole number")

    def _varints(self, begin: int, end: int) -> NDArray[np.int64]:
        """The numbers that follow each other from ``begin`` to ``end``."""
        if end - begin <= _FEW:  # as of a blob's shape, of which there are many
            found = []
            while begin < end:
                number, begin = self._varint(begin, end)
                found.append(number)
            return np.array(found, np.uint64).view(np.int64)
        parts = []
        while begin < end:
            data = np.frombuffer(self._content, np.uint8, min(end - begin, _CHUNK), begin)
            last = np.flatnonzero(data < 0x80)
            first = np.concatenate(([0], last[:-1] + 1))
            lengths = last - first + 1 if len(last) else np.array([_CHUNK])
            if lengths.max() > _LONGEST_VARINT or (end - begin <= _CHUNK and last[-1] != len(data) - 1):
                raise ModelError(f"from byte {begin} on, whole numbers were expected")
            numbers = np.zeros(len(last), np.uint64)
            for i in range(int(lengths.max())):
                more = lengths > i
                numbers[more] |= (data[first[more] + i] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * i)
            parts.append(numbers.view(np.int64))
            begin += int(last[-1]) + 1
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _after_run(self, start: int, width: int, end: int) -> int:
        """Where a run of fields of the given width ends that have the key of the first, for keys of one byte."""
        content = self._content
        if start + width > end or content[start] >= 0x80:
            return start + width
        fits = min(end, start + _CHUNK * width) - start
        keys = np.frombuffer(content, np.uint8, fits, start)[: fits // width * width : width]
        other = np.flatnonzero(keys != content[start])
        return start + width * (int(other[0]) if len(other) else len(keys))


def _check_count(field: Field, count: int) -> None:
    if count > _MOST_LISTED:
        raise ModelError(f"{field.name!r} has more than {_MOST_LISTED} values")
