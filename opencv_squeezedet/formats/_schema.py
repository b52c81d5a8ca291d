"""What protobuf's messages are made of, as a table; and a message that was read by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

ARRAYS: dict[str, np.dtype[Any]] = {"float": np.dtype("<f4"), "double": np.dtype("<f8")}
"""Kinds of which a repeated field is an array, whatever its length; of integers it is a list, unless the table says array."""
RANGES = {"int32": (-(1 << 31), 1 << 31), "int64": (-(1 << 63), 1 << 63), "uint32": (0, 1 << 32), "bool": (0, 2)}
"""The whole numbers of each kind, from the first to below the second."""
Record = Mapping[str, Any]
"""A message to be written: its fields' values by name, other messages as records, what is repeated as a sequence."""
_ZEROS = {"string": "", "bytes": b"", "bool": False, "float": 0.0, "double": 0.0}


@dataclass(frozen=True)
class Field:
    """A field of a message; its kind is a scalar's, an enum's or a message's name, ``declared`` its default as text."""

    number: int
    name: str
    kind: str
    repeated: bool
    packed: bool
    array: bool
    declared: str
    default: Any


class Schema:
    """The messages of a format.

    Parameters
    ----------
    messages : mapping
        For each message its fields as ``number name kind``, semicolons between them; ``*`` repeated, ``*packed`` in one run,
        ``*array`` integers of which there may be many, ``=`` the default.
    enums : mapping
        For each enum its names in the order of their numbers, from 0.
    """

    def __init__(self, messages: Mapping[str, str], enums: Mapping[str, str] | None = None) -> None:
        self.enums = {name: names.split() for name, names in (enums or {}).items()}
        self.fields = {
            name: {field.name: field for field in map(self._field, fields.split(";"))} for name, fields in messages.items()
        }
        self.numbers = {name: {field.number: field for field in fields.values()} for name, fields in self.fields.items()}

    def fields_of(self, record: Record, kind: str) -> Iterator[tuple[Field, Any]]:
        """Yield the fields that a record gives, in the order of their numbers; a repeated one without a value is none."""
        fields = self.fields[kind]
        for name in sorted(record, key=lambda name: fields[name].number):
            if not fields[name].repeated or len(record[name]):
                yield fields[name], record[name]

    def _field(self, text: str) -> Field:
        number, name, kind = text.split()
        kind, _, default = kind.partition("=")
        kind, star, how = kind.partition("*")
        array = bool(star) and (kind in ARRAYS or how == "array")
        return Field(int(number), name, kind, bool(star), how == "packed", array, default, self._default(kind, default))

    def _default(self, kind: str, text: str) -> Any:
        if not text:
            return _ZEROS.get(kind, 0)
        if kind in self.enums:
            return self.enums[kind].index(text)
        return text == "true" if kind == "bool" else float(text) if kind in ARRAYS else int(text)


class Message:
    """A message: its fields are attributes; one that the file does not give has its default."""

    __slots__ = ("_schema", "fields", "given")

    def __init__(self, schema: Schema, kind: str) -> None:
        self._schema, self.fields = schema, schema.fields.get(kind, {})
        self.given: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        try:
            return self.given[name]
        except KeyError:
            field = self.fields[name]
        if field.array:
            return np.empty(0, ARRAYS.get(field.kind, np.int64))
        if field.repeated:
            return []
        return Message(self._schema, field.kind) if field.kind in self._schema.fields else field.default

    def has(self, name: str) -> bool:
        """Whether the file gives the field."""
        return name in self.given
