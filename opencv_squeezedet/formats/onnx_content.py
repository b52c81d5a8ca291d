"""The bytes of an ONNX file, with all of its constants in it: no library is left to open files that it names."""

from __future__ import annotations

import os
from typing import Any

from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.formats._onnx_schema import SCHEMA
from opencv_squeezedet.formats._onnx_structure import bytes_of, check_shape, is_external
from opencv_squeezedet.formats._wire import Part, decode, parts, written
from opencv_squeezedet.model_files import MOST_BYTES, named, read_file

_GRAPH, _INITIALIZER = 7, 5
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14


def onnx_content(path: str, most: int = MOST_BYTES) -> bytes:
    """Return the content of an ONNX file; constants that lie in other files of its folder are taken into it.

    Raises
    ------
    ModelError
        If it is not an ONNX file, or names a file outside its folder, or more values than a file there has.
    OSError
        If a file cannot be read.
    """
    content = read_file(path, most)
    with named(path):
        return _Inlined(content, os.path.dirname(os.path.realpath(path)), most).content


class _Inlined:
    """Takes the values that constants have elsewhere into the file."""

    def __init__(self, content: bytes, folder: str, most: int) -> None:
        self._content, self._folder, self._left = content, folder, most - len(content)
        self.content = self._message(0, len(content), _GRAPH, self._graph)

    def _message(self, begin: int, end: int, number: int, change: Any) -> bytes:
        """The message with another content of its fields of one number."""
        pieces, copied = [], begin
        for part in parts(self._content, begin, end):
            if part.number == number and (changed := change(part)) is not None:
                pieces += [self._content[copied : part.start], written(number, changed)]
                copied = part.end
        return b"".join((*pieces, self._content[copied:end])) if pieces else self._content[begin:end]

    def _graph(self, part: Part) -> bytes | None:
        changed = self._message(part.begin, part.end, _INITIALIZER, self._initializer)
        return None if len(changed) == part.end - part.begin else changed

    def _initializer(self, part: Part) -> bytes | None:
        """The tensor, if its values lie elsewhere, with the values."""
        numbers = {inner.number for inner in parts(self._content, part.begin, part.end)}
        if numbers.isdisjoint((_EXTERNAL_DATA, _DATA_LOCATION)):
            return None
        tensor = decode(self._content[part.begin : part.end], SCHEMA, "TensorProto")
        if not is_external(tensor):
            return None
        kept = [
            self._content[inner.start : inner.end]
            for inner in parts(self._content, part.begin, part.end)
            if inner.number not in (_EXTERNAL_DATA, _DATA_LOCATION)
        ]
        return b"".join((*kept, written(_RAW_DATA, self._values(tensor))))

    def _values(self, tensor: Any) -> bytes:
        check_shape(tensor, tensor.name)
        size = bytes_of(tensor)
        fields = {entry.key: entry.value for entry in tensor.external_data}
        try:
            offset, length = int(fields.get("offset", 0)), int(fields.get("length", size))
        except ValueError:
            offset = length = -1
        if size < 0 or length != size or offset < 0 or len(fields) < len(tensor.external_data):
            raise ModelError(f"constant {tensor.name!r}: an offset and a length of {size} bytes were expected, got {fields}")
        self._left -= size
        if self._left < 0:
            raise ModelError("with the values that lie in other files it is too long")
        path = self._path(tensor.name, fields.get("location", ""))
        with open(path, "rb") as file:
            file.seek(offset)
            values = file.read(size) if os.fstat(file.fileno()).st_size >= offset + size else b""
        if len(values) != size:
            raise ModelError(f"constant {tensor.name!r}: {path!r} ends before its {size} bytes from {offset} on")
        return values

    def _path(self, name: str, location: str) -> str:
        """The file, which has to lie in the model's folder, links followed."""
        path = os.path.realpath(os.path.join(self._folder, location)) if location and "\0" not in location else ""
        if os.path.isabs(location) or not path.startswith(os.path.join(self._folder, "")):
            raise ModelError(f"constant {name!r}: its values were expected in the model's folder, got {location[:200]!r}")
        if os.path.exists(path) and not os.path.isfile(path):
            raise ModelError(f"constant {name!r}: its values were expected in a regular file, got {location[:200]!r}")
        return path
